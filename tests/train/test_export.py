"""The exported nets give what the classes that define them give, in any engine, and serve as docs/export.md says."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from model.digit_net import DigitNet
from model.engine import Engine
from model.record import INK_WEIGHTS, NUMBER_WEIGHTS, WEIGHTS
from operate.config import ROOT
from train.export import export


def test_the_class_and_both_engines_read_mnist_alike(
    shipped_net: DigitNet, mnist_test: tuple[Tensor, Tensor], engine: Engine
) -> None:
    pixels = mnist_test[0]
    session = onnxruntime.InferenceSession(WEIGHTS)
    with torch.inference_mode():
        defined = torch.cat([shipped_net(part).argmax(1) for part in pixels.split(500)]).numpy()
    ported = np.concatenate([session.run(None, {"inputs": part.numpy()})[0] for part in pixels.split(500)])
    served = engine.classify(pixels.numpy())
    assert np.count_nonzero(served.argmax(1) != ported.argmax(1)) == 0
    # The class multiplies in 32 bits what is served in 8: a few digits are on the border.
    differ = served.argmax(1) != defined
    assert np.count_nonzero(differ) <= 3
    assert np.diff(np.sort(served[differ])[:, -2:]).max(initial=0) < 0.1
    assert np.abs(served - ported).max() < 0.05


@pytest.mark.parametrize("file", [WEIGHTS, INK_WEIGHTS, NUMBER_WEIGHTS], ids=lambda file: file.stem)
def test_an_exported_net_is_small_and_says_nothing_of_the_machine_that_made_it(file: Path) -> None:
    content = file.read_bytes()
    assert len(content) < 3_500_000
    assert not re.search(rb"\.py|site-packages|/home/", content)
    for part in onnx.load(file).graph.initializer:
        if part.name.endswith("_quantized"):
            # With more, sums overflow on processors with AVX2 alone.
            assert np.abs(onnx.numpy_helper.to_array(part).astype(int)).max() <= 64, part.name


def test_exporting_again_gives_the_same_file(shipped_net: DigitNet, tmp_path: Path) -> None:
    pixels = torch.arange(4 * 784, dtype=torch.uint8).view(4, 1, 28, 28)
    files = [tmp_path / f"{number}.onnx" for number in (1, 2)]
    for file in files:
        export(shipped_net, nn.Softmax(1), pixels, file)
    assert files[0].read_bytes() == files[1].read_bytes()


def test_the_page_runs() -> None:
    (program,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "export.md").read_text(), re.DOTALL)
    found: dict[str, Any] = {}
    exec(program, found)  # noqa: S102
    assert found["probabilities"].argmax(1).tolist() == [1]

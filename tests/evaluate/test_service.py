"""scripts/evaluate measures a running service."""

import re
import subprocess
from pathlib import Path

import pytest
from torch import Tensor

from evaluate.numbers import make_strings
from evaluate.predictions import predict_in_process
from evaluate.report import tabulate_numbers
from operate.config import ROOT
from tests.harness.service import Service


@pytest.mark.server
@pytest.mark.slow
def test_the_service_reads_digits_and_numbers_as_the_nets_do(
    service: Service, mnist_test: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    strings = make_strings(mnist_test[0][:, 0].numpy(), mnist_test[1].numpy(), 20)
    for number, (text, upload) in enumerate(zip(strings.texts, strings.uploads, strict=True)):
        (tmp_path / text).mkdir(exist_ok=True)
        (tmp_path / text / f"{number}.png").write_bytes(upload)
    command = [ROOT / "scripts" / "evaluate", "--url", service.config.inference, "--limit", "2000", tmp_path]
    run = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "0 of 2,000 MNIST digits are read differently" in run.stdout
    share = re.search(r"^MNIST test +2,000 +([0-9.]+) ", run.stdout, re.MULTILINE)
    assert share, run.stdout
    assert float(share[1]) >= 99.2
    in_process = predict_in_process(0.9, strings.uploads, "", with_numbers=True)
    (_, expected) = tabulate_numbers([(strings, in_process)])
    row = re.search(rf"^{tmp_path.name}, numbers +20 +(.*)$", run.stdout, re.MULTILINE)
    assert row, run.stdout
    assert re.split(" {2,}", row[1]) == expected[2:]

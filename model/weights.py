"""Reads weights that torch saved, without torch, which would take 350 MB in each worker."""

import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

# Those that are shipped, of DigitNet and of InkNet.
WEIGHTS, INK_WEIGHTS = (Path(__file__).with_name(name) for name in ("digit_net.pt", "ink_net.pt"))

Weights = dict[str, NDArray[np.float32]]


def load_weights(file: Path) -> Weights:
    """Return the float32 tensors of a state dict by their names. Raises RuntimeError if the file is damaged."""
    try:
        with zipfile.ZipFile(file) as parts:
            (index,) = (name for name in parts.namelist() if name.endswith("/data.pkl"))
            with parts.open(index) as pickled:
                return dict(StateDict(pickled, parts, index.removesuffix(".pkl")).load())
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile, pickle.UnpicklingError) as cause:
        raise RuntimeError(f"{file.name} cannot be read as weights: {cause}") from cause


class StateDict(pickle.Unpickler):
    """Reads the index of a file of torch.save (a zip archive), which may hold float32 tensors and nothing else."""

    def __init__(self, pickled: IO[bytes], parts: zipfile.ZipFile, folder: str) -> None:
        super().__init__(pickled)
        self.parts, self.folder = parts, folder

    def find_class(self, module: str, name: str) -> object:
        """Return what stands for one of torch's names. Raises UnpicklingError for any that weights have no use for."""
        known = {"OrderedDict": OrderedDict, "_rebuild_tensor_v2": rebuild, "FloatStorage": np.float32}
        if name not in known or module not in ("collections", "torch", "torch._utils"):
            raise pickle.UnpicklingError(f"it holds {module}.{name}")
        return known[name]

    def persistent_load(self, pid: tuple[str, type[np.float32], str, str, int]) -> NDArray[np.float32]:
        """Return the numbers that a tensor is a view of."""
        _, dtype, key, _, _ = pid
        return np.frombuffer(self.parts.read(f"{self.folder}/{key}"), dtype)


def rebuild(
    numbers: NDArray[np.float32], offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: object
) -> NDArray[np.float32]:
    """Return a tensor of a shape whose numbers lie strides apart."""
    steps = [step * numbers.itemsize for step in strides]
    return np.lib.stride_tricks.as_strided(numbers[offset:], shape, steps).copy()

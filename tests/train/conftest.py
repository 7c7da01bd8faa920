"""Handwriting for all tests of training."""

import pytest

from train.strokes import Sample, read_held_out_samples


@pytest.fixture(scope="session")
def samples() -> list[Sample]:
    """Handwriting that training never saw."""
    return read_held_out_samples()

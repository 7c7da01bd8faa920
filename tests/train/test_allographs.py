"""The catalogue's forms can be read as the digits that they are labelled with."""

import numpy as np

from evaluate.allographs import draw
from evaluate.pictures import png
from evaluate.predictions import predict_in_process
from train.allographs import FORMS, IN_ROWS, ONE_OR_SEVEN, build, build_samples


def test_each_form_is_written_differently_each_time() -> None:
    chance = np.random.default_rng(0)
    for form in (*FORMS, *IN_ROWS):
        once, again = build(form, chance), build(form, chance)
        assert once.digit == again.digit == form.digit
        assert once.lines.shape == again.lines.shape
        assert 0.01 < np.abs(once.lines - again.lines).mean() < 0.2
        assert np.abs(once.lines).max() <= 0.5 + 1e-6


def test_the_shipped_net_reads_nearly_every_form() -> None:
    samples = build_samples(10, seed=1)
    read = predict_in_process(0.8, [png(draw(sample.lines)) for sample in samples], "")
    right = np.array([each.digit for each in samples]) == read.digits
    for number, form in enumerate(FORMS):
        if form.digit == ONE_OR_SEVEN:
            assert set(read.digits[10 * number : 10 * number + 10]) <= {1, 7}
        else:
            assert right[10 * number : 10 * number + 10].sum() >= 6, form.name

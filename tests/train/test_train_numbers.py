"""Pages of numbers are made the same each time, the net is taught where each digit is, and its doubt is calibrated."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from model.number_net import MAPS, NumberNet, Probabilities
from model.numbers import CLASSES, INK, MARK, find_peaks, overlap
from operate.config import ROOT
from train.export import load
from train.sheets.numbers import Hand, Page, is_usual, list_numbers, make_page
from train.strokes import Sample
from train.train_ink import LEAST_BATCHES
from train.train_numbers import (
    BATCH,
    MEASURE,
    SHAPES,
    RandomBatches,
    fit_certainty,
    make_target,
    number_loss,
)

LEAST_PAGES = LEAST_BATCHES * BATCH


@pytest.fixture(scope="module")
def pages(samples: list[Sample]) -> list[Page]:
    """Pages of all shapes."""
    hand = Hand(samples)
    return [make_page(hand, SHAPES[number % len(SHAPES)], np.random.default_rng((4, number))) for number in range(120)]


@pytest.mark.slow
def test_training_learns_and_writes_weights_with_a_record(tmp_path: Path) -> None:
    weights = tmp_path / "number.onnx"
    command: list[str | Path] = [ROOT / "scripts" / "train-numbers", "--pages", str(LEAST_PAGES), "--weights", weights]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    losses = [float(line.split()[-1]) for line in run.stdout.splitlines() if "loss" in line]
    assert losses[-1] < 0.85 * losses[0]
    record = json.loads(weights.with_suffix(".json").read_text())
    assert {"seed": 0, "pages": LEAST_PAGES}.items() <= record.items()
    assert 0 <= record[MEASURE] < 1
    load(NumberNet(), weights)


def test_a_batch_depends_on_the_seed_and_its_number_alone(samples: list[Sample]) -> None:
    one, same, other = (RandomBatches(samples, range(first, 9), seed) for first, seed in ((0, 1), (5, 1), (0, 2)))
    assert torch.equal(one[5][0], same[0][0])
    assert torch.equal(one[5][1], same[0][1])
    assert one[5][0].shape != other[5][0].shape or not torch.equal(one[5][0], other[5][0])


def test_pages_have_digits_and_marks_where_they_say(pages: list[Page]) -> None:
    labels = np.concatenate([page.labels for page in pages])
    assert set(labels.tolist()) == {*range(10), MARK}
    inside = []
    for page in pages:
        height, width = page.grey.shape
        assert page.grey.dtype == np.uint8
        assert page.ink.shape == page.grey.shape
        assert (page.boxes >= 0).all()
        assert (page.boxes[:, [2, 3]] <= [width, height]).all()
        covered = np.zeros(page.grey.shape, bool)
        for left, top, right, bottom in page.boxes.astype(int):
            covered[max(0, top - 3) : bottom + 4, max(0, left - 3) : right + 4] = True
        if page.ink.sum() > 1:
            inside.append(page.ink[covered].sum() / page.ink.sum())
    # What the rim cuts to a sliver has ink but no box.
    assert np.mean(inside) > 0.97
    assert any(not len(page.labels) for page in pages)


def test_the_target_says_where_each_digit_is(pages: list[Page]) -> None:
    found, written = 0, 0
    for page in pages:
        target = make_target(page)
        maps = target[INK:].copy()
        maps[CLASSES:] = np.exp(maps[CLASSES:])
        classes, boxes, _ = find_peaks(maps)
        for label, box in zip(page.labels, page.boxes, strict=True):
            # Small ones may share a place with others.
            if min(box[2] - box[0], box[3] - box[1]) > 12:
                written += 1
                same = boxes[classes.argmax(1) == label]
                found += bool(len(same)) and bool(overlap(np.vstack([box[None], same]))[0, 1:].max() > 0.8)
    assert written > 200
    assert found / written > 0.95


def test_the_loss_is_small_for_the_right_maps_alone(pages: list[Page]) -> None:
    page = next(page for page in pages if len(page.labels) > 3)
    target = torch.from_numpy(make_target(page))[None]
    ink, digits, mark, sides = target.split([INK, MARK, 1, 4], 1)
    logits = torch.logit(torch.cat([ink, digits.amax(1, keepdim=True), mark], 1).clamp(1e-4, 1 - 1e-4))
    maps = torch.cat([logits, 20 * functional.one_hot(digits.argmax(1), MARK).permute(0, 3, 1, 2), sides], 1)
    served = Probabilities()(maps)
    assert torch.allclose(served[:, :INK], ink, atol=1e-3)
    assert torch.allclose(served[:, INK : INK + MARK].sum(1), digits.amax(1), atol=1e-3)
    right = number_loss(maps, target).item()
    for number in range(len(MAPS)):
        parts = list(maps.split(MAPS, 1))
        parts[number] = parts[number].flip(3)
        assert number_loss(torch.cat(parts, 1), target).item() > 1.5 * right


def test_the_numbers_of_a_page_are_known(pages: list[Page]) -> None:
    page = next(page for page in pages if len(page.labels) > 3 and (page.labels != MARK).all())
    texts = [text for text, _ in list_numbers(page)]
    assert sorted("".join(texts)) == sorted("".join(map(str, page.labels)))


def write(lefts: Sequence[int], level: int) -> Page:
    """Return a page with strokes of a grey level, labelled as digits, that begin at some columns."""
    grey, ink = np.full((80, 200), 220, np.uint8), np.zeros((80, 200), np.float32)
    for left in lefts:
        grey[20:50, left : left + 6], ink[20:50, left : left + 6] = level, 1
    boxes = np.array([[left, 20, left + 20, 50] for left in lefts], np.float32).reshape(-1, 4)
    return Page(grey, ink, np.arange(len(lefts)), boxes)


@pytest.mark.parametrize(
    ("lefts", "level", "is_as_sent"),
    [
        ((30, 60, 90), 40, True),
        ((), 40, True),
        # Two numbers, one that the rim cuts, one that is hardly seen.
        ((30, 60, 150), 40, False),
        ((0, 30, 60), 40, False),
        ((30, 60, 90), 217, False),
    ],
)
def test_usual_pages_have_one_number_plain_to_see_or_none(lefts: Sequence[int], level: int, is_as_sent: bool) -> None:
    assert is_usual(write(lefts, level)) == is_as_sent


def test_the_confidence_is_how_often_numbers_with_such_signs_are_right() -> None:
    chance = np.random.default_rng(0)
    levels = chance.normal(0, 2, 4000)
    is_right = (chance.random(4000) < 1 / (1 + np.exp(-(1.5 * levels - 1)))).tolist()
    signs = [{"digits": float(level), "rim": 0.0, "unexplained": 0.0, "bias": 1.0} for level in levels]
    # Those that are capped do not count.
    signs += [{"digits": 5.0, "rim": 1.0, "unexplained": 0.0, "bias": 1.0}] * 500
    weights = fit_certainty(signs, is_right + [False] * 500)
    assert weights["digits"] == pytest.approx(1.5, abs=0.15)
    assert weights["bias"] == pytest.approx(-1, abs=0.15)
    assert weights.get("rim", 0) == 0

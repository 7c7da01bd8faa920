"""Every augmentation has its effect on the pictures it is meant for, and only there."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.train.shapes import BLANK, CHECKS, GREY, ONE, SEVEN, SQUARE, ZERO, amount, box, centre, copies, seeded, tilt
from train import augment

Augmentation = Callable[[Tensor, torch.Generator], Tensor]
ALL = frozenset({"styles", "geometry", "elastic", "strokes", "corruptions"})


def vary(seed: int) -> Tensor:
    """Return copies of one picture, each varied."""
    digits = torch.ones(len(copies(ONE)), dtype=torch.int64)
    return augment.augment(copies(ONE).byte(), digits, seeded(seed))


def test_varied_pictures_stay_pixels_and_differ() -> None:
    varied = vary(0)
    assert (varied.shape, varied.dtype) == (copies(ONE).shape, torch.float32)
    assert varied.min() >= 0
    assert varied.amax((1, 2, 3)).min() > 40
    assert varied.max() <= 255
    assert len(varied.unique(dim=0)) == len(varied)


def test_the_same_seed_gives_the_same_pictures() -> None:
    assert torch.equal(vary(1), vary(1))
    assert not torch.equal(vary(1), vary(2))


@pytest.mark.parametrize(
    ("add", "digit", "inked", "untouched"),
    [
        (augment.add_upstroke, ONE, [box(4, 14, 4, 12)], box(0, 28, 18, 28)),
        (augment.add_foot, ONE, [box(20, 28, 4, 12), box(20, 28, 15, 24)], box(0, 20, 0, 28)),
        (augment.strike, ZERO, [box(12, 16, 12, 16)], box(0, 28, 0, 2)),
        (augment.cross, SEVEN, [box(8, 22, 4, 16), box(8, 22, 19, 28)], box(0, 8, 0, 28)),
    ],
)
def test_a_style_adds_its_stroke_in_its_place(
    add: Augmentation, digit: Tensor, inked: list[Tensor], untouched: Tensor
) -> None:
    added = torch.maximum(add(copies(digit), seeded()) - digit, BLANK)
    for place in inked:
        assert (amount(added * place / 255) > 255).double().mean() > 0.95
    assert amount(added * untouched).max() == 0


def test_styles_are_given_to_some_ones_zeros_and_sevens_alone() -> None:
    for digit, picture in enumerate([ZERO, ONE, *[SQUARE] * 5, SEVEN, *[SQUARE] * 2]):
        before = copies(picture)
        after = augment.restyle(before, torch.full((len(before),), digit), seeded())
        share = (after != before).any(3).any(2).double().mean()
        assert 0.05 < share < 0.7 if digit in (0, 1, 7) else share == 0


def test_geometry_turns_shears_shifts_and_scales() -> None:
    turns_deg = []
    for mild in (True, False):
        upright = augment.bend(copies(ONE), seeded(), frozenset({"elastic"}), mild=mild)
        lying = augment.bend(copies(ONE.T), seeded(), frozenset({"elastic"}), mild=mild)
        turns_deg.append(tilt(lying.transpose(2, 3)).std())
        # Shear tilts what is upright only.
        assert tilt(upright).std() > turns_deg[-1] + 1
        assert centre(upright).std(0).min() > 0.5
        assert centre(upright).mean(0).tolist() == pytest.approx([13.5, 13.5], abs=0.6)
        assert 0.1 < (amount(upright) / amount(copies(ONE))).std() < 0.6
    assert 4 < turns_deg[0] < 9
    assert turns_deg[0] + 2 < turns_deg[1] < 20


def test_geometry_centres_a_digit_whose_strokes_moved_its_centre_of_mass() -> None:
    bent = augment.bend(copies(box(8, 27, 3, 6)), seeded(), frozenset({"elastic"}), mild=True)
    assert centre(bent).mean(0).tolist() == pytest.approx([13.5, 13.5], abs=0.6)


def test_elastic_bends_strokes_where_they_are() -> None:
    before = copies(ONE)
    after = augment.bend(before, seeded(), frozenset({"geometry"}))
    assert (after - before).abs().mean((1, 2, 3)).min() > 2
    assert (centre(after) - centre(before)).abs().mean() < 1
    assert (amount(after) / amount(before)).mean().item() == pytest.approx(1, abs=0.1)


def test_a_wide_pen_adds_ink_and_a_fine_one_removes_it() -> None:
    before, share = copies(ONE), torch.linspace(0.1, 1, len(copies(ONE)))[:, None, None, None]
    wide, fine = augment.widen(before, share), augment.thin(before, share)
    assert (wide >= before).all()
    assert (fine <= before).all()
    assert (amount(wide) / amount(before)).min() > 1.05
    assert (amount(fine) / amount(before)).max() < 0.97
    # No further than two pixels.
    assert amount(wide * (255 - box(2, 26, 10, 17))).max() == 0


def test_some_strokes_get_wider_some_finer_and_some_stay() -> None:
    change = amount(augment.vary_strokes(copies(ONE), seeded())) - amount(copies(ONE))
    shares = [chosen.double().mean().item() for chosen in (change > 0, change < 0, change == 0)]
    assert shares == pytest.approx([0.3, 0.3, 0.4], abs=0.1)


def roughness(ink: Tensor) -> Tensor:
    """Return the total variation (B,) of each picture."""
    return ink.diff(dim=2).abs().sum((1, 2, 3)) + ink.diff(dim=3).abs().sum((1, 2, 3))


def smooths(before: Tensor, after: Tensor) -> bool:
    return bool((roughness(after) < 0.95 * roughness(before)).all())


def frays(before: Tensor, after: Tensor) -> bool:
    same_amount = (amount(after) / amount(before) - 1).abs() < 0.2
    return bool((roughness(after) > 1.1 * roughness(before)).all() and same_amount.all())


def loses_fine_lines(before: Tensor, after: Tensor) -> bool:
    return bool(after[before > 0].mean() < 200)


def keeps_only_edges(_: Tensor, after: Tensor) -> bool:
    return bool(after[:, :, 9:19, 9:19].max() == 0 and after[:, :, 7:21, 7:21].amax((1, 2, 3)).min() > 200)


def pales_in_places(before: Tensor, after: Tensor) -> bool:
    return bool((after <= before).all() and (after.amin((1, 2, 3)) < 100).double().mean() > 0.9)


def adds_marks(before: Tensor, after: Tensor) -> bool:
    inked = (after > 60).double().mean((1, 2, 3))
    return bool((after >= before).all() and (inked > 0.01).double().mean() > 0.6 and inked.mean() < 0.3)


def brightens_the_background(before: Tensor, after: Tensor) -> bool:
    return bool((after >= before).all() and after[before == 0].mean() > 40 and after[before == 255].min() == 255)


def inverts_a_part(before: Tensor, after: Tensor) -> bool:
    inverted, kept = after == 255 - before, after == before
    return bool((inverted | kept).all() and inverted.any(3).any(2).all() and kept.any(3).any(2).all())


def adds_grain(before: Tensor, after: Tensor) -> bool:
    return bool((after - before).std((1, 2, 3)).min() > 5 and (after - before).mean((1, 2, 3)).abs().max() < 20)


EFFECTS: dict[Augmentation, tuple[Tensor, Callable[[Tensor, Tensor], bool]]] = {
    augment.blur: (CHECKS, smooths),
    augment.shake: (SQUARE, frays),
    augment.coarsen: (box(0, 28, 9, 10), loses_fine_lines),
    augment.outline: (SQUARE, keeps_only_edges),
    augment.fade: (GREY, pales_in_places),
    augment.draw_lines: (BLANK, adds_marks),
    augment.splash: (BLANK, adds_marks),
    augment.lift: (SQUARE, brightens_the_background),
    augment.invert_part: (SQUARE, inverts_a_part),
    augment.add_noise: (GREY, adds_grain),
}


@pytest.mark.parametrize("corruption", augment.CORRUPTIONS)
def test_a_corruption_has_its_effect(corruption: Augmentation) -> None:
    picture, has_its_effect = EFFECTS[corruption]
    before = copies(picture)
    assert has_its_effect(before, corruption(before, seeded()).clamp(0, 255))


def test_some_pictures_are_corrupted_and_none_vanishes() -> None:
    before = copies(box(8, 20, 13, 14))
    after = augment.corrupt(before, seeded())
    brightest = after.amax((2, 3), keepdim=True)
    # The others only lose contrast.
    others = (after / brightest - before / 255).abs().amax((1, 2, 3)) < 1e-3
    assert 0.3 < others.double().mean() < 0.7
    assert 40 < brightest.min() < 200


@pytest.mark.parametrize("share", [augment.MILD_SHARE, 0.8, 1.0])
def test_pictures_that_are_varied_mildly_are_not_corrupted(share: float) -> None:
    before = copies(ONE)
    after = augment.augment(before.byte(), torch.ones(len(before)), seeded(), ALL - {"corruptions"}, share)
    changed = ((after - before).abs() > 0.1).any(3).any(2)[:, 0]
    mild = round(share * len(before))
    assert not changed[:mild].any()
    assert mild == len(before) or changed[mild:].double().mean() > 0.5


def test_without_every_ingredient_pictures_stay_as_they_are() -> None:
    before = copies(ONE)
    assert torch.allclose(augment.augment(before.byte(), torch.ones(len(before)), seeded(), ALL), before, atol=0.01)


@pytest.mark.parametrize("ingredient", sorted(ALL))
def test_each_ingredient_alone_changes_pictures(ingredient: str) -> None:
    before = copies(ONE)
    after = augment.augment(before.byte(), torch.ones(len(before)), seeded(), ALL - {ingredient})
    assert ((after - before).abs().amax((1, 2, 3)) > 20).double().mean() > 0.2

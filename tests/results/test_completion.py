import pytest
import torch

from dip.prior.losses import blurred
from dip.results.patches.completion import Completion

PICTURE = torch.rand(1, 3, 40, 48, generator=torch.Generator().manual_seed(0))
HOLE = torch.zeros(1, 1, 40, 48, dtype=torch.bool)
HOLE[..., 14:27, 15:31] = True
OPTIONS = {"patch": 5, "guide_sd": 2.0, "guide_weight": 3.0, "repeat_weight": 3.0}


def completed(picture, hole=HOLE, known=None, **changed):
    return Completion(**OPTIONS | changed)(picture, hole, ~hole if known is None else known)


def colours(picture, region):
    return {tuple(colour.tolist()) for colour in picture[0, :, region[0, 0]].T}


@pytest.mark.parametrize("corner", [(14, 15), (0, 0), (27, 32)])
def test_a_hole_gets_copies_of_known_pixels_and_nothing_else_changes(corner):
    hole = HOLE.roll((corner[0] - 14, corner[1] - 15), dims=(2, 3))
    result = completed(torch.where(hole, 0.5, PICTURE), hole)
    assert torch.equal(result.where(~hole, 0), PICTURE.where(~hole, 0))
    assert colours(result, hole) <= colours(PICTURE, ~hole)
    assert torch.equal(result, completed(torch.where(hole, 0.5, PICTURE), hole))


def test_what_is_neither_known_nor_filled_is_not_copied():
    known = ~HOLE
    known[..., 30:, :] = False
    result = completed(torch.where(HOLE, 0.5, PICTURE), known=known)
    assert colours(result, HOLE) <= colours(PICTURE, known)
    assert torch.equal(result.where(~HOLE, 0), PICTURE.where(~HOLE, 0))


def test_without_a_known_patch_nothing_changes():
    known = torch.zeros_like(HOLE)
    known[..., :4, :] = True
    assert torch.equal(completed(PICTURE, known=known), PICTURE)


def test_the_picture_in_the_hole_says_which_colours_are_copied():
    halves = torch.where(torch.arange(40)[:, None] < 20, 0.2, 0.8) + 0.1 * (PICTURE - 0.5)
    for colour in (0.2, 0.8):
        result = completed(torch.where(HOLE, colour, halves))
        assert (result[..., 17:24, 18:28] - colour).abs().max() < 0.1


def test_what_the_picture_shows_blurred_is_copied_sharp():
    stripes = torch.where(torch.arange(48) % 12 < 6, 0.3, 0.7).expand(1, 3, 40, 48)
    result = completed(torch.where(HOLE, blurred(stripes, 2.0), stripes))
    assert (result - stripes).abs().gt(0.1)[HOLE.expand_as(stripes)].float().mean() < 0.05


def test_a_weight_on_repeats_copies_more_places():
    often, rarely = (completed(torch.where(HOLE, 0.5, PICTURE), repeat_weight=weight) for weight in (0.0, 3.0))
    assert len(colours(rarely, HOLE)) > 1.1 * len(colours(often, HOLE))

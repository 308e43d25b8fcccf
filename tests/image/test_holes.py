import numpy as np
import pytest
import torch

from dip.image.holes import area, deep_part, hole_depth, owned, regions_around, split_by_depth


@pytest.mark.usefixtures("every_size_is_large")
@pytest.mark.parametrize(
    ("boxes_of_holes", "boxes"),
    [
        ([(40, 30, 44, 34)], [(34, 24, 50, 40)]),
        ([(40, 30, 52, 34)], [(28, 18, 64, 46)]),  # as far as the hole is long
        ([(0, 0, 4, 4)], [(0, 0, 10, 10)]),
        ([(20, 20, 24, 24), (30, 20, 34, 24)], [(14, 14, 40, 30)]),  # margins meet
        ([(10, 10, 14, 14), (90, 70, 94, 74)], [(4, 4, 20, 20), (84, 64, 100, 80)]),
        ([(20, 20, 24, 24), (24, 24, 28, 28)], [(12, 12, 36, 36)]),  # one hole, across a corner
        ([(4, 4, 60, 50)], [(0, 0, 120, 90)]),  # saves too little
    ],
)
def test_boxes_hold_every_hole_with_a_margin(with_holes, boxes_of_holes, boxes):
    assert regions_around(with_holes(90, 120, *boxes_of_holes)) == boxes


def test_a_small_picture_is_worked_on_as_a_whole(with_holes):
    assert regions_around(with_holes(256, 384, (10, 10, 14, 14))) == [(0, 0, 384, 256)]
    assert regions_around(with_holes(1600, 1200, (500, 500, 600, 540))) == [(400, 400, 700, 640)]


@pytest.mark.usefixtures("every_size_is_large")
def test_boxes_are_apart_and_hold_all_holes_wherever_these_are():
    rng = np.random.default_rng(0)
    for _ in range(20):
        mask = torch.from_numpy(rng.random((80, 110)) > rng.choice([0.0005, 0.002]))[None, None].float()
        covered = torch.zeros_like(mask)
        for left, top, right, bottom in regions_around(mask):
            covered[..., top:bottom, left:right] += 1
        assert covered.max() <= 1
        assert (covered[mask == 0] == 1).all()


def test_a_hole_is_large_by_its_depth_and_little_of_another_kind_goes_with_it(with_holes):
    stroke, square, speck = (2, 2, 90, 8), (20, 30, 60, 60), (90, 70, 92, 72)
    assert list(split_by_depth(with_holes(90, 120, stroke), 8)) == ["thin"]
    assert list(split_by_depth(with_holes(90, 120, square), 8)) == ["large"]
    assert list(split_by_depth(with_holes(90, 120, square, speck), 8)) == ["large"]
    both = split_by_depth(with_holes(90, 120, stroke, square), 8)
    assert {kind: region.sum().item() for kind, region in both.items()} == {"thin": 88 * 6, "large": 40 * 30}
    assert hole_depth(with_holes(90, 120, square)) == 15
    assert list(split_by_depth(with_holes(90, 120, square), 15)) == ["large"]
    assert list(split_by_depth(with_holes(90, 120, square), 15.1)) == ["thin"]


def with_lines(height, width, *steps):
    """A mask with a line of 3 pixels for each step, which says how many columns it moves on for a row."""
    mask = torch.ones(1, 1, height, width)
    rows = torch.arange(20, height - 20)
    for step in steps:
        for shift in range(3):
            mask[0, 0, rows, (20 + (rows * step).long() + shift) % (width - 40) + 20] = 0
    return mask


@pytest.mark.parametrize("steps", [(1.4,), (1.4, -1.4), (0.0,)], ids=["diagonal", "cross", "vertical"])
def test_a_hairline_across_a_picture_that_would_be_reduced_is_cut_into_pieces(steps):
    mask = with_lines(1000, 1500, *steps)
    found = regions_around(mask, 256)
    assert len(found) > 1
    assert max(map(area, found)) <= 256**2
    assert sum(map(area, found)) < 0.6 * 1000 * 1500
    count = torch.zeros(1000, 1500)
    for number, (left, top, right, bottom) in enumerate(found):
        count[top:bottom, left:right] += torch.from_numpy(owned(found, number, (1500, 1000)))
    assert (count[mask[0, 0] == 0] == 1).all()


def test_only_what_would_be_reduced_is_cut_and_only_thin_holes_are(with_holes):
    diagonal = with_lines(1000, 1500, 1.4)
    assert regions_around(diagonal, None) == regions_around(diagonal, 2000) == [(0, 0, 1500, 1000)]
    assert regions_around(with_holes(1000, 1500, (100, 100, 1300, 900)), 256) == [(0, 0, 1500, 1000)]
    both = torch.minimum(diagonal, with_holes(1000, 1500, (1200, 100, 1240, 140)))
    found = regions_around(both, 256)
    assert (1104, 4, 1336, 236) in found  # the deep hole as ever
    assert len(found) > 5


def test_of_two_boxes_the_one_whose_edge_is_farther_has_a_pixel_and_the_pictures_edge_is_none():
    boxes = [(0, 0, 60, 50), (40, 0, 100, 50)]
    first, second = (owned(boxes, number, (100, 50)) for number in range(2))
    assert first[:, :50].all()
    assert not first[:, 50:].any()
    assert second[:, 10:].all()
    assert not second[:, :10].any()


def test_the_deep_part_of_a_hole_is_all_of_a_stroke_and_nothing_of_single_pixels_beside_it():
    stroke = torch.zeros(1, 1, 40, 60, dtype=torch.bool)
    stroke[..., 10:18, 5:50] = True
    scattered = torch.rand(1, 1, 40, 60) < 0.5
    scattered[..., :22, :] = False
    bridge = torch.zeros_like(stroke)
    bridge[..., 18:24, 20] = True  # so that both are one hole
    assert torch.equal(deep_part(stroke | bridge | scattered, 3.5)[..., :18, :], stroke[..., :18, :])
    assert not deep_part(stroke | bridge | scattered, 3.5)[..., 22:, :].any()
    assert not deep_part(scattered, 3.5).any()

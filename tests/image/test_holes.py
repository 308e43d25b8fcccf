import numpy as np
import pytest
import torch

from dip.image.holes import hole_depth, regions_around, split_by_depth


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

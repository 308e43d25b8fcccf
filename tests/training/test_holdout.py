import numpy as np
import pytest
import torch
from scipy import ndimage

from dip.image import masks
from dip.training.holdout import choose_pixels


def with_hole(*boxes, height=80, width=100):
    mask = torch.ones(1, 1, height, width)
    for left, top, right, bottom in boxes:
        mask[..., top:bottom, left:right] = 0
    return mask


@pytest.mark.parametrize(
    "mask",
    [
        with_hole((40, 30, 60, 45)),
        with_hole((5, 5, 12, 12), (50, 20, 58, 60)),
        masks.random_pixels(60, 60, known_share=0.3, seed=1),
        masks.text(80, 100, "held out", 16),
    ],
    ids=["a hole", "two holes", "pixels", "text"],
)
def test_held_out_pixels_are_known_about_as_many_as_wanted_and_reproducible(mask):
    chosen = choose_pixels(mask, 0.05, seed=0)
    assert chosen.shape == mask.shape
    assert chosen.dtype == torch.bool
    assert not (chosen & (mask == 0)).any()
    assert 0.03 < chosen.sum() / mask.sum() < 0.056
    assert torch.equal(chosen, choose_pixels(mask, 0.05, seed=0))
    assert not torch.equal(chosen, choose_pixels(mask, 0.05, seed=1))


def test_a_hole_within_the_wanted_fraction_is_copied_as_it_is():
    mask = with_hole((40, 30, 52, 40))
    chosen = choose_pixels(mask, 0.02, seed=0)[0, 0].numpy()
    sizes = [(y.stop - y.start, x.stop - x.start) for y, x in ndimage.find_objects(ndimage.label(chosen)[0])]
    assert (10, 12) in sizes


@pytest.mark.parametrize("side", [1, 3, 5])
def test_a_single_speck_is_copied_until_no_handful_of_pixels_decides(side):
    mask = with_hole((40, 30, 40 + side, 30 + side))
    chosen = choose_pixels(mask, 0.05, seed=0)
    assert chosen.sum() >= min(100 * side**2 * 0.9, 350)
    assert ndimage.label(chosen[0, 0].numpy())[1] >= 10


def test_nothing_is_held_out_where_it_would_be_a_handful():
    assert choose_pixels(with_hole((4, 4, 6, 6), height=20, width=20), 0.05, seed=0) is None
    lone = torch.zeros(1, 1, 30, 40)
    lone[..., 0, 0] = 1
    assert choose_pixels(lone, 0.5, seed=0) is None


def test_a_larger_hole_is_shrunk_and_placed_away_from_it():
    mask = with_hole((10, 10, 50, 50))
    chosen = choose_pixels(mask, 0.05, seed=0)[0, 0].numpy()
    ((rows, columns),) = ndimage.find_objects(ndimage.label(chosen)[0])
    assert chosen[rows, columns].all()  # a square, like the hole
    assert abs((rows.stop - rows.start) - (columns.stop - columns.start)) <= 1
    assert not (ndimage.binary_dilation(mask[0, 0].numpy() == 0) & chosen).any()


def test_single_pixels_are_held_out_where_single_pixels_are_missing():
    mask = masks.random_pixels(60, 60, known_share=0.5, seed=0)
    chosen = choose_pixels(mask, 0.05, seed=0)[0, 0].numpy()
    assert chosen.sum() == np.round(0.05 * mask.sum().item())
    _, parts = ndimage.label(chosen)
    assert parts > 0.8 * chosen.sum()


def test_of_a_mask_for_each_channel_the_copies_lack_what_the_hole_lacks_together():
    random = np.random.default_rng(0)
    mask = torch.ones(1, 4, 64, 64)
    mask[..., 20:24, :] = 0  # in all channels
    mask[:, 3, 50, 50] = 0
    chosen = choose_pixels(mask, 0.05, 0)
    assert chosen.shape == mask.shape
    assert not (chosen & (mask == 0)).any()
    assert 0.03 < chosen.sum() / mask.sum() < 0.08
    counts = chosen.sum(dim=1).unique(return_counts=True)
    assert dict(zip(*(each.tolist() for each in counts), strict=True))[4] > 0.8 * chosen.any(dim=1).sum()

    scattered = torch.from_numpy((random.random((1, 4, 64, 64)) < 0.5).astype(np.float32))
    chosen = choose_pixels(scattered, 0.05, 0)
    assert not (chosen & (scattered == 0)).any()
    assert 0.04 < chosen.sum() / scattered.sum() < 0.06
    assert chosen.any(dim=3).any(dim=2).all()

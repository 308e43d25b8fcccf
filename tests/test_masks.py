import numpy as np
import pytest
import torch
from PIL import Image

from dip import masks


@pytest.mark.parametrize(("hole", "known"), [("black", [1, 1, 0, 0]), ("white", [0, 0, 1, 1])])
def test_the_colour_of_the_hole_decides(tmp_path, hole, known):
    path = tmp_path / "mask.png"
    Image.fromarray(np.array([[255, 128, 127, 0]], dtype=np.uint8)).save(path)
    assert masks.read(path, hole).tolist() == [[[known]]]


def test_a_colour_mask_counts_as_grey(tmp_path):
    path = tmp_path / "mask.png"
    Image.fromarray(np.array([[[255, 255, 255], [0, 0, 0]]], dtype=np.uint8)).save(path)
    assert masks.read(path, "black").tolist() == [[[[1, 0]]]]


def test_random_pixels_keeps_exactly_the_share_and_has_its_own_generator():
    mask = masks.random_pixels(30, 40, known_share=0.3, seed=1)
    assert mask.shape == (1, 1, 30, 40)
    assert mask.sum() == 360
    torch.manual_seed(99)
    assert torch.equal(mask, masks.random_pixels(30, 40, known_share=0.3, seed=1))
    assert not torch.equal(mask, masks.random_pixels(30, 40, known_share=0.3, seed=2))


@pytest.mark.parametrize("share", [0.0, 1.0, -0.5, 50.0])
def test_random_pixels_refuses_a_share_outside_its_range(share):
    with pytest.raises(ValueError, match=f"data.mask.known_share={share}"):
        masks.random_pixels(4, 4, share, seed=0)


def test_text_covers_the_whole_picture_thinly():
    mask = masks.text(128, 192, words="some words", font_size=16)
    assert mask.shape == (1, 1, 128, 192)
    assert set(mask.unique().tolist()) == {0, 1}
    assert 0.02 < 1 - mask.mean() < 0.3
    quarters = mask.view(2, 64, 2, 96).mean(dim=(1, 3))
    assert (quarters < 0.98).all()

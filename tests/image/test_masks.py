import numpy as np
import pytest
import torch
from PIL import Image

from dip.config.build import read_data
from dip.config.compose import compose
from dip.errors import UserError
from dip.image import masks
from dip.image.photo import damage


@pytest.mark.parametrize(("hole", "known"), [("black", [1, 1, 0, 0]), ("white", [0, 0, 1, 1])])
def test_the_colour_of_the_hole_decides(tmp_path, hole, known):
    path = tmp_path / "mask.png"
    Image.fromarray(np.array([[255, 128, 127, 0]], dtype=np.uint8)).save(path)
    assert masks.read_mask(path, hole).tolist() == [[[known]]]


def test_a_colour_mask_counts_as_grey(tmp_path):
    path = tmp_path / "mask.png"
    Image.fromarray(np.array([[[255, 255, 255], [0, 0, 0]]], dtype=np.uint8)).save(path)
    assert masks.read_mask(path, "black").tolist() == [[[[1, 0]]]]


def test_white_ink_of_a_mask_is_white(tmp_path):
    pixels = np.array([[[255, 255, 255], [0, 0, 0]]], dtype=np.uint8)
    Image.fromarray(pixels).convert("CMYK").save(tmp_path / "mask.tif")
    assert masks.read_mask(tmp_path / "mask.tif", "black").tolist() == [[[[1, 0]]]]
    black = Image.merge("CMYK", [Image.new("L", (2, 1))] * 3 + [Image.fromarray(np.array([[0, 255]], np.uint8))])
    black.save(tmp_path / "black_ink.tif")
    assert masks.read_mask(tmp_path / "black_ink.tif", "black").tolist() == [[[[1, 0]]]]


def test_the_hole_can_be_what_is_transparent(tmp_path):
    pixels = np.full((1, 4, 4), 255, dtype=np.uint8)
    pixels[0, :, 3] = [255, 128, 127, 0]
    Image.fromarray(pixels).save(tmp_path / "mask.png")
    assert masks.read_mask(tmp_path / "mask.png", "alpha").tolist() == [[[[1, 1, 0, 0]]]]
    with pytest.raises(
        ValueError, match=r"mask\.png has transparent pixels; if they are the hole, give data.hole=alpha"
    ):
        masks.read_mask(tmp_path / "mask.png", "black")
    Image.new("L", (4, 4), 255).save(tmp_path / "opaque.png")
    with pytest.raises(UserError, match=r"data.mask=.*opaque\.png has no alpha channel for data.hole=alpha"):
        masks.read_mask(tmp_path / "opaque.png", "alpha")


@pytest.mark.parametrize(("mode", "white"), [("1", 1), ("I;16", 65535), ("I;16", 1), ("P", 255)])
def test_a_mask_of_any_depth_is_black_and_white(tmp_path, mode, white):
    pixels = np.array([[white, 0]], dtype=np.uint16 if mode == "I;16" else np.uint8)
    mask = (
        Image.fromarray(pixels)
        if mode == "I;16"
        else Image.fromarray((pixels > 0).astype(np.uint8) * 255).convert(mode)
    )
    mask.save(tmp_path / "mask.png")
    assert masks.read_mask(tmp_path / "mask.png", "black").tolist() == [[[[1, 0]]]]


def test_a_hole_grows_to_every_side(config):
    mask = torch.ones(1, 1, 7, 9)
    mask[..., 3, 4] = 0
    assert torch.equal(masks.grow_hole(mask, 0), mask)
    expected = torch.ones(1, 1, 7, 9)
    expected[..., 1:6, 2:7] = 0
    assert torch.equal(masks.grow_hole(mask, 2), expected)
    with pytest.raises(UserError, match=r"data.grow_hole=-1, but it must be a whole number, at least 0"):
        read_data(config("data.grow_hole=-1"))


def test_random_pixels_keeps_exactly_the_share_and_has_its_own_generator():
    mask = masks.random_pixels(30, 40, known_share=0.3, seed=1)
    assert mask.shape == (1, 1, 30, 40)
    assert mask.sum() == 360
    torch.manual_seed(99)
    assert torch.equal(mask, masks.random_pixels(30, 40, known_share=0.3, seed=1))
    assert not torch.equal(mask, masks.random_pixels(30, 40, known_share=0.3, seed=2))


@pytest.mark.parametrize("share", [0.0, 1.0, -0.5, 50.0])
def test_random_pixels_refuses_a_share_outside_its_range(config, share):
    with pytest.raises(UserError, match=f"data.mask.known_share={share}, but it must be a number, above 0 and below 1"):
        read_data(config("data=random_pixels", f"data.mask.known_share={share}"))


def test_a_share_that_rounds_to_nothing_is_refused():
    for share, message in ((0.001, "leaves no pixel known"), (0.999, "has no hole")):
        with pytest.raises(UserError, match=message):
            damage(Image.new("L", (10, 10)), lambda *size, s=share: masks.random_pixels(*size, s, 0))


def test_a_mask_of_zeros_and_ones_is_refused(tmp_path):
    Image.fromarray(np.eye(9, dtype=np.uint8)).save(tmp_path / "mask.png")
    with pytest.raises(UserError, match="is black all over, but a mask has white"):
        masks.read_mask(tmp_path / "mask.png", "black")


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("words=' '", "data.example.mask.words=' ', but it must have a letter"),
        ("font_size=0", "data.example.mask.font_size=0, but it must be a whole number, at least 1"),
    ],
)
def test_text_refuses_to_write_nothing(option, message):
    with pytest.raises(UserError, match=message):
        read_data(compose([f"data.example.mask.{option}"]))


def test_text_covers_the_whole_picture_thinly():
    mask = masks.text(128, 192, words="some words", font_size=16)
    assert mask.shape == (1, 1, 128, 192)
    assert set(mask.unique().tolist()) == {0, 1}
    assert 0.02 < 1 - mask.mean() < 0.3
    quarters = mask.view(2, 64, 2, 96).mean(dim=(1, 3))
    assert (quarters < 0.98).all()

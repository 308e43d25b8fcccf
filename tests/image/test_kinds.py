"""Files that are not pictures for Pillow, too large, damaged, or with mad values: what is said, and what is saved."""

import numpy as np
import pytest
import torch
from PIL import Image

from dip.errors import UserError
from dip.image import tensors
from dip.image.files import opening
from dip.image.files.kinds import help_for, readable_endings
from dip.image.photo import Photo

FTYP = b"\0\0\0\x18ftyp"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.heic", FTYP + b"heic", "is HEIC, which Pillow does not read; pip install pillow-heif"),
        ("a.jpg", FTYP + b"mif1", "is HEIC, which Pillow does not read; pip install pillow-heif"),
        ("a.jxl", b"\xff\x0a" + bytes(9), "is JPEG XL, .* pip install pillow-jxl-plugin"),
        ("a.cr3", FTYP + b"crx ", "is a raw photograph, .* raw converter"),
        ("a.raf", b"FUJIFILMCCD-RAW 0201", "is a raw photograph, .* raw converter"),
        ("a.mp4", FTYP + b"isom", "is a video, .* give one frame of it"),
        ("a.svg", b"<?xml version='1.0'?><svg/>", "is a vector drawing, .* export it as a PNG"),
        ("a.pdf", b"%PDF-1.4", "is a PDF"),
        ("a.psb", b"8BPS\0\2" + bytes(20), "is a picture of layers, .* export it as a PNG or TIFF"),
        ("a.exr", b"\x76\x2f\x31\x01" + bytes(9), "is a picture of high dynamic range"),
        ("a.jpg", b"<!DOCTYPE html><html>", "is a web page, .* download the picture itself"),
        ("a.png", b"version https://git-lfs.github.com/spec/v1", "is a pointer of Git LFS"),
        ("a.png", b"just some text", "is not a picture that can be read"),
    ],
)
def test_what_pillow_does_not_read_is_named_with_what_helps(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message) as refused:
        opening.open_picture(tmp_path / name, "data.image")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("name", "tags"), [("a.nef", {}), ("a.tif", {50706: b"\1\4\0\0"})])
def test_the_thumbnail_of_a_raw_photograph_is_not_taken_for_it(tmp_path, name, tags):
    Image.new("RGB", (16, 12)).save(tmp_path / name, "TIFF", tiffinfo=tags)
    with pytest.raises(UserError, match="is a raw photograph" if name.endswith("nef") else "raw"):
        opening.open_picture(tmp_path / name, "data.image")


def test_endings_that_pillow_only_knows_by_name_are_none_of_pictures():
    endings = readable_endings()
    assert {".jpg", ".png", ".tif", ".webp"} <= endings
    assert not endings & {".mpg", ".h5", ".pdf", ".eps", ".nef", ".txt"}
    assert help_for(".heic") == "pip install pillow-heif"
    assert not help_for(".txt")


def test_a_file_larger_than_the_limit_is_refused_before_it_is_decoded(tmp_path):
    Image.new("1", (2000, 1000)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match=r"has 2 megapixels, and data.max_megapixels=1.5; give a larger one if you"):
        opening.open_picture(tmp_path / "a.png", "data.mask", 1.5)
    assert opening.open_picture(tmp_path / "a.png", "data.mask", 2).size == (2000, 1000)


@pytest.mark.parametrize("ending", [".jpg", ".png"])
def test_what_can_be_read_of_a_damaged_photograph_is_used_but_of_no_mask(tmp_path, caplog, ending):
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    noise.save(tmp_path / f"whole{ending}")
    content, path = (tmp_path / f"whole{ending}").read_bytes(), tmp_path / f"half{ending}"
    path.write_bytes(content[: len(content) * 2 // 3])
    opened = opening.open_picture(path, "data.image")
    whole = opening.open_picture(tmp_path / f"whole{ending}", "data.image")
    assert np.array_equal(np.array(opened)[:16], np.array(whole)[:16])
    assert "is damaged: " in caplog.text
    assert "what can be read of it is used" in caplog.text
    with pytest.raises(UserError, match="cannot be read"):
        opening.open_picture(path, "data.mask")
    path.write_bytes(content[: content.index(b"IDAT") + 6 if ending == ".png" else content.index(b"\xff\xda") + 2])
    with pytest.raises(UserError, match=r"cannot be read|is not a picture"):
        opening.open_picture(path, "data.image")


def with_hole(values):
    mask = torch.ones(1, 1, *values.shape)
    mask[..., 4:8, 4:8] = 0
    return Photo(Image.fromarray(values.astype(np.float32)), mask)


@pytest.mark.parametrize("mad", [1e30, -1e30, np.inf, -np.inf, 3.4e38])
def test_one_mad_value_does_not_set_the_range_of_the_rest(mad):
    values = np.linspace(1000, 3000, 320).reshape(16, 20)
    clean = with_hole(values)
    values[12, 15] = mad
    spoiled = with_hole(values)
    assert spoiled.levels == pytest.approx(clean.levels)
    assert ((spoiled.work.target >= 0) & (spoiled.work.target <= 1)).all()
    result = np.array(spoiled.paste(torch.full((1, 1, 16, 20), 0.5)))
    assert result[12, 15] == np.float32(mad)
    assert result[5, 5] == pytest.approx(2000, rel=0.01)


def test_a_few_bright_pixels_of_a_dark_picture_keep_the_range():
    values = np.linspace(0, 100, 400 * 300).reshape(300, 400).astype(np.float32)
    values[100:104, 100:110] = 900  # within reach
    values[200:210, 100:110] = 5000  # and more than a few
    assert tensors.full_range(Image.fromarray(values)) == (0, 5000)


@pytest.mark.parametrize("within", [np.nan, np.inf, -9999.0, 1e30])
def test_values_in_the_hole_do_not_matter(within):
    values = np.linspace(0, 1, 320).reshape(16, 20)
    clean, spoiled = values.copy(), values.copy()
    clean[4:8, 4:8], spoiled[4:8, 4:8] = 0, within
    drawn = torch.rand(1, 1, 16, 20)
    first, second = with_hole(clean), with_hole(spoiled)
    assert first.levels == second.levels
    assert torch.equal(first.work.target, second.work.target)
    assert np.array_equal(np.array(first.paste(drawn)), np.array(second.paste(drawn)))


def test_what_is_no_number_outside_the_hole_is_refused_by_its_count():
    values = np.zeros((16, 20))
    values[0, :3] = np.nan
    with pytest.raises(
        UserError, match=r"data.image has 3 pixels outside the hole that are no numbers \(NaN\); data.missing=nan"
    ):
        with_hole(values)

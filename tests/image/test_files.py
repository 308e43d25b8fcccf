import io
import os
from pathlib import Path

import numpy as np
import PIL
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageCms

from dip.errors import UserError
from dip.image import tensors
from dip.image.files import opening, writing
from dip.image.files.metadata import XMP

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (18, 22, 3), dtype=np.uint8)
DEEP = RNG.integers(100, 4000, (18, 22), dtype=np.uint16)
HOLE = (slice(5, 12), slice(8, 20))
# Each mode with the formats that hold it.
HELD = [
    *(("1", ending) for ending in (".png", ".tif", ".bmp")),
    *(("L", ending) for ending in (".png", ".jpg", ".bmp")),
    *(("LA", ending) for ending in (".png", ".tif")),
    *(("P", ending) for ending in (".png", ".gif", ".bmp", ".tif")),
    *(("RGB", ending) for ending in (".png", ".jpg", ".webp", ".bmp", ".tif")),
    *(("RGBA", ending) for ending in (".png", ".webp", ".tif")),
    *(("CMYK", ending) for ending in (".jpg", ".tif")),
    *([("YCbCr", ".tif")] if int(PIL.__version__.partition(".")[0]) >= 13 else []),  # before it Pillow reads none right
    *(("I;16", ending) for ending in (".png", ".tif")),
    *((mode, ".tif") for mode in ("I", "F")),
]


def picture(mode):
    if mode == "I;16":
        return Image.fromarray(DEEP)
    converted = Image.fromarray(PIXELS).convert(mode)
    if mode in ("LA", "RGBA"):
        converted.putalpha(Image.fromarray(PIXELS[..., 1]))
    return converted


def repaired(opened, hole=HOLE):
    """The picture with random values drawn in the hole, and where the hole is not."""
    known = torch.ones(1, 1, opened.height, opened.width)
    known[(..., *hole)] = 0
    levels = tensors.full_range(opened, known)
    drawn = torch.rand(1, tensors.from_pil(opened).shape[1], opened.height, opened.width)
    box = (0, 0, *opened.size)
    return tensors.paste(opened, drawn, known, box, levels), known[0, 0].numpy() == 1


@pytest.mark.parametrize(("mode", "ending"), HELD)
def test_the_result_has_the_pictures_mode_and_every_known_bit(tmp_path, mode, ending):
    picture(mode).save(tmp_path / f"a{ending}", **({"exact": True, "lossless": True} if ending == ".webp" else {}))
    opened = opening.open_picture(tmp_path / f"a{ending}", "data.image")
    assert opened.mode == mode
    result, known = repaired(opened)
    written = tmp_path / f"fixed{writing.lossless_ending(opened)}"
    writing.write(result, written)
    before, after = np.array(opened), np.array(opening.open_picture(written, "data.image"))
    assert (before.dtype, before.shape) == (after.dtype, after.shape)
    assert np.array_equal(before[known], after[known])
    assert not np.array_equal(before, after)
    if mode in ("LA", "RGBA"):
        assert np.array_equal(before[..., -1], after[..., -1])


def test_what_a_format_holds_is_found_out_by_trying():
    holding = {
        mode: {
            format for format in ("PNG", "TIFF", "JPEG", "WEBP", "BMP", "GIF") if writing.holds(format, picture(mode))
        }
        for mode in ("RGB", "RGBA", "P", "CMYK", "I;16", "F")
    }
    assert holding == {
        "RGB": {"PNG", "TIFF", "JPEG", "WEBP", "BMP"},
        "RGBA": {"PNG", "TIFF", "WEBP"},
        "P": {"PNG", "TIFF", "WEBP", "BMP", "GIF"},
        "CMYK": {"TIFF", "JPEG"},
        "I;16": {"PNG", "TIFF"},
        "F": {"TIFF"},
    }


def test_deep_pictures_are_stretched_to_what_is_known_of_their_range():
    known = torch.ones(1, 1, 18, 22)
    known[0, 0, 0, 0] = 0
    pixels = DEEP.astype(np.float32)
    pixels[0, 0] = -9999.0  # what some instruments write where they know nothing
    opened = Image.fromarray(pixels)
    levels = tensors.full_range(opened, known)
    assert levels == (DEEP.reshape(-1)[1:].min(), DEEP.reshape(-1)[1:].max())
    drawn = torch.full((1, 1, 18, 22), 0.5)
    filled = np.array(tensors.paste(opened, drawn, known, (0, 0, 22, 18), levels))
    assert filled[0, 0] == pytest.approx(sum(levels) / 2)


def with_metadata(ending):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    exif[ExifTags.Base.Make] = "Maker"
    exif[ExifTags.Base.ImageWidth] = 22  # of the picture as it lies in the file
    exif.get_ifd(ExifTags.IFD.GPSInfo)[1] = "N"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return {
        "exif": exif.tobytes(),
        "icc_profile": profile,
        "dpi": (300, 300),
        "xmp": b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>',
    }


@pytest.mark.parametrize("ending", [".jpg", ".png", ".tif", ".webp"])
@pytest.mark.parametrize("into", [".jpg", ".png", ".tif", ".webp"])
def test_metadata_goes_with_the_picture_and_its_rotation_is_done_once(tmp_path, ending, into):
    said = with_metadata(ending)
    Image.fromarray(PIXELS).save(tmp_path / f"a{ending}", **said)
    opened = opening.open_picture(tmp_path / f"a{ending}", "data.image")
    assert opened.size == (18, 22)
    writing.write(repaired(opened)[0], tmp_path / f"b{into}")
    with Image.open(tmp_path / f"b{into}") as result:
        assert result.size == (18, 22)
        exif = result.getexif()
        assert exif[ExifTags.Base.Make] == "Maker"
        assert exif.get(ExifTags.Base.Orientation, 1) == 1
        assert exif.get_ifd(ExifTags.IFD.GPSInfo)[1] == "N"
        assert result.info["icc_profile"] == said["icc_profile"]
        if ".webp" not in (ending, into):
            assert tuple(round(float(value)) for value in result.info["dpi"]) == (300, 300)
        if ending not in (".png", ".tif"):  # to which Pillow does not write it of itself
            assert said["xmp"] in (result.info.get("xmp"), result.info.get(XMP, "").encode())


def test_texts_of_a_png_stay(tmp_path):
    from PIL.PngImagePlugin import PngInfo

    texts = PngInfo()
    texts.add_text("Title", "Bär")
    Image.fromarray(PIXELS).save(tmp_path / "a.png", pnginfo=texts)
    writing.write(opening.open_picture(tmp_path / "a.png", "data.image"), tmp_path / "b.png")
    with Image.open(tmp_path / "b.png") as result:
        assert result.text["Title"] == "Bär"


@pytest.mark.parametrize(("mode", "key"), [("P", 0), ("L", 7), ("RGB", (1, 2, 3))])
def test_a_transparent_colour_becomes_an_alpha_channel(tmp_path, mode, key):
    opaque = Image.new("RGB", (6, 4), (1, 2, 3)).convert(mode)
    if mode == "L":
        opaque = Image.new("L", (6, 4), 7)
    opaque.putpixel((0, 0), 9 if mode == "L" else 1 if mode == "P" else (9, 9, 9))
    opaque.save(tmp_path / "a.png", transparency=key)
    opened = opening.open_picture(tmp_path / "a.png", "data.image")
    assert opened.mode == ("LA" if mode == "L" else "RGBA")
    assert tensors.alpha(opened).sum() == 1


def test_further_pictures_are_spoken_of(tmp_path, caplog):
    Image.fromarray(PIXELS).save(tmp_path / "two.gif", save_all=True, append_images=[Image.fromarray(PIXELS[::-1])])
    opening.open_picture(tmp_path / "two.gif", "data.image")
    assert "two.gif holds 2 pictures, of which the first is taken" in caplog.text


@pytest.mark.parametrize(
    ("name", "mode", "message"),
    [
        (
            "there.png",
            "RGB",
            r"output.path=.*there\.png is there already; give another name, or set output.overwrite=true",
        ),
        ("folder", "RGB", r"folder is a folder; give a file, such as .*folder/fixed\.png"),
        ("a.xyz", "RGB", r"a\.xyz: Pillow writes no files of this ending"),
        ("a", "RGB", "Pillow writes no files of this ending"),
        ("a.jpg", "RGBA", r"a\.jpg: JPEG cannot hold this picture \(mode RGBA\), but \.png, \.tif, \.webp can"),
        ("a.png", "CMYK", r"PNG cannot hold this picture \(mode CMYK\), but \.tif, \.jpg can"),
        ("no/a.png", "RGB", "cannot be written: No such file or directory; give another folder"),
        ("there.png/a.png", "RGB", "cannot be written: Not a directory"),
    ],
)
def test_an_output_that_could_not_be_written_is_refused(tmp_path, name, mode, message):
    (tmp_path / "there.png").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match=message):
        writing.check_output(picture(mode), tmp_path / name, overwrite=False)
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(("name", "size"), [("a.webp", (17000, 2)), ("a.ico", (300, 20))])
def test_a_format_that_is_too_small_for_the_picture_is_refused(tmp_path, name, size):
    for mode in ("RGB", "P"):
        with pytest.raises(
            ValueError, match=rf"cannot hold a picture of {size[0]}x{size[1]}; end it with .png or .tif"
        ):
            writing.check_output(Image.new("RGB", size).convert(mode), tmp_path / name, overwrite=False)
    writing.check_output(Image.new("RGB", size), tmp_path / "a.png", overwrite=False)


def test_overwriting_is_allowed_by_name(tmp_path):
    (tmp_path / "there.png").write_text("old")
    writing.check_output(picture("RGB"), tmp_path / "there.png", overwrite=True)
    writing.write(picture("RGB"), tmp_path / "there.png")
    with Image.open(tmp_path / "there.png") as result:
        assert result.size == (22, 18)
    assert os.listdir(tmp_path) == ["there.png"]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    mode=st.sampled_from(sorted({mode for mode, _ in HELD})),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    seed=st.integers(0, 2**32 - 1),
    orientation=st.integers(1, 8),
)
def test_whatever_the_size_mode_mask_and_rotation_known_pixels_stay(tmp_path, mode, size, seed, orientation):
    rng = np.random.default_rng(seed)
    original = picture(mode).resize(size)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    path = tmp_path / f"a{writing.lossless_ending(original)}"
    original.save(path, exif=exif)
    opened = opening.open_picture(path, "data.image")
    known = torch.from_numpy(rng.random(opened.size[::-1]) < 0.7)[None, None].float()
    left, top = rng.integers(0, opened.width), rng.integers(0, opened.height)
    box = (int(left), int(top), opened.width, opened.height)
    drawn = torch.rand(1, tensors.from_pil(opened).shape[1], opened.height - box[1], opened.width - box[0]) * 3 - 1
    levels = tensors.full_range(opened, known) if known.any() else (0.0, 1.0)
    inside = known[..., box[1] :, box[0] :]
    result = tensors.paste(opened, drawn, inside, box, levels)
    kept = np.ones(opened.size[::-1], dtype=bool)
    kept[box[1] :, box[0] :] = inside[0, 0].numpy() == 1
    back = Image.open(io.BytesIO(writing.encoded(result, "TIFF")))
    assert (back.mode, back.size) == (opened.mode, opened.size)
    assert np.array_equal(np.array(back)[kept], np.array(opened)[kept])
    assert Path(path).exists()

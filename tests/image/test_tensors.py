import numpy as np
import pytest
import torch
from PIL import Image

from dip.errors import UserError
from dip.image import tensors

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 7, 3), dtype=np.uint8)


def test_eight_bits_come_back_exactly(tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    picture = tensors.read_tensor(tmp_path / "a.png", "data.image")
    assert picture.shape == (1, 3, 6, 7)
    assert picture.dtype == torch.float32
    assert np.array_equal(np.array(tensors.to_pil(picture)), PIXELS)


@pytest.mark.parametrize("mode", ["1", "L", "LA"])
def test_grey_stays_grey(tmp_path, mode):
    Image.fromarray(PIXELS).convert("L").convert(mode).save(tmp_path / "a.png")
    picture = tensors.read_tensor(tmp_path / "a.png", "data.image")
    assert picture.shape == (1, 1, 6, 7)
    assert tensors.to_pil(picture).mode == "L"


@pytest.mark.parametrize("mode", ["P", "RGBA"])
def test_opaque_colour_of_any_mode_becomes_rgb(tmp_path, mode):
    picture = Image.fromarray(PIXELS).convert(mode)
    picture.save(tmp_path / "a.png")
    expected = np.array(picture.convert("RGB"))
    assert np.array_equal(np.array(tensors.to_pil(tensors.read_tensor(tmp_path / "a.png", "data.image"))), expected)


def test_the_camera_s_rotation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to see it upright
    Image.fromarray(PIXELS).save(tmp_path / "a.png", exif=exif)
    picture = tensors.read_tensor(tmp_path / "a.png", "data.image")
    assert np.array_equal(np.array(tensors.to_pil(picture)), np.rot90(PIXELS, -1))


def test_values_outside_the_range_are_clipped():
    assert tensors.to_pil(torch.tensor([-1.0, 2.0]).view(1, 1, 1, 2)).tobytes() == b"\x00\xff"


def write(path, content):
    if isinstance(content, Image.Image):
        content.save(path)
    elif content is not None:
        path.write_bytes(content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no such file"),
        (b"", "is an empty file"),
        (b"just some text", "is not a picture"),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path, content, message):
    write(tmp_path / "a.png", content)
    with pytest.raises(UserError, match=rf"data.image=.*a\.png {message}|data.image=.*a\.png: {message}"):
        tensors.read_tensor(tmp_path / "a.png", "data.image")


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(UserError, match="is a folder"):
        tensors.read_tensor(tmp_path, "data.image")


def test_photographs_have_the_size_that_was_asked_for():
    assert tensors.photograph("coffee", 96, 64).shape == (1, 3, 64, 96)
    assert tensors.photograph("camera", 30, 20).shape == (1, 1, 20, 30)
    with pytest.raises(UserError, match=r"data.example.photograph=lena is not in scikit-image"):
        tensors.photograph("lena", 96, 64)


def test_the_brightest_of_32_bits_does_not_wrap():
    picture = Image.fromarray(np.array([[2**31 - 1, 0]], dtype=np.int32))
    hole, box = torch.tensor([[[[1.0, 0.0]]]]), (0, 0, 2, 1)
    drawn = tensors.paste(picture, torch.ones(1, 1, 1, 2), hole, box, (0, 2.0**31))
    assert np.array(drawn).tolist() == [[2**31 - 1, 2**31 - 1]]

import numpy as np
import pytest
import torch
from PIL import Image

from dip import data, masks


def picture(photograph, mask, truth=None, hole="black"):
    return data.picture(
        None if photograph is None else str(photograph),
        None if mask is None else str(mask),
        None if truth is None else str(truth),
        hole,
        lambda: pytest.fail("the example was not asked for"),
    ).sample


def test_the_target_holds_nothing_of_the_hole(photograph, mask):
    sample = picture(photograph, mask, truth=photograph)
    assert sample.target.shape == (1, 3, 32, 40)
    assert sample.mask.shape == (1, 1, 32, 40)
    assert (sample.target[..., 8:16, 20:30] == 0).all()
    assert torch.equal(sample.target, sample.truth * sample.mask)


def test_hole_white_turns_the_mask_round(photograph, mask):
    assert torch.equal(picture(photograph, mask, hole="white").mask, 1 - picture(photograph, mask).mask)


def test_composite_keeps_known_pixels_and_takes_the_hole_from_the_output(photograph, mask):
    sample = picture(photograph, mask)
    output = torch.rand_like(sample.target)
    known = sample.mask.bool().expand_as(output)
    composite = sample.composite(output)
    assert torch.equal(composite[known], sample.target[known])
    assert torch.equal(composite[~known], output[~known])


def test_without_files_the_example_is_repaired():
    example = data.example("coffee", 48, 32, lambda height, width: masks.random_pixels(height, width, 0.5, seed=0))
    assert data.picture(None, None, None, "black", lambda: example) is example
    assert torch.equal(example.sample.target, example.sample.truth * example.sample.mask)


def test_random_pixels_knows_the_truth(photograph):
    sample = data.random_pixels(
        str(photograph), lambda height, width: masks.random_pixels(height, width, 0.5, seed=0)
    ).sample
    assert sample.mask.mean() == 0.5
    assert torch.equal(sample.target, sample.truth * sample.mask)


def test_bad_pairs_are_refused(photograph, mask, tmp_path):
    Image.new("L", (40, 31), 255).save(tmp_path / "small.png")
    Image.new("L", (40, 32), 255).save(tmp_path / "known.png")
    Image.new("L", (40, 32), 0).save(tmp_path / "hole.png")
    for arguments, message in [
        ((photograph, None), "data.image=.* has no mask; give data.mask=PATH"),
        ((None, mask), "give data.image=PATH as well"),
        ((None, None, photograph), "give data.image=PATH as well"),
        ((photograph, tmp_path / "small.png"), r"small\.png is 40x31 but the image is 40x32"),
        ((photograph, tmp_path / "known.png"), "data.mask has no hole"),
        ((photograph, tmp_path / "hole.png"), "is black all over"),
        ((photograph, tmp_path / "hole.png", None, "white"), "is black all over"),
        ((photograph, tmp_path / "known.png", None, "white"), "leaves no pixel known"),
        ((photograph, mask, tmp_path / "small.png"), r"data.truth=.*small\.png is 40x31"),
        ((photograph, mask, tmp_path / "hole.png"), "one is grey and one is in colour"),
    ]:
        with pytest.raises(ValueError, match=message):
            picture(*arguments)


def test_a_tiny_picture_is_refused():
    with pytest.raises(ValueError, match="7x9, but each side needs at least 8 pixels"):
        data.damaged(torch.rand(1, 3, 9, 7), lambda height, width: masks.random_pixels(height, width, 0.5, seed=0))


def test_grey_files_give_one_channel(tmp_path, mask):
    Image.fromarray(np.arange(1280, dtype=np.uint32).reshape(32, 40).astype(np.uint8)).save(tmp_path / "grey.png")
    assert picture(tmp_path / "grey.png", mask).target.shape == (1, 1, 32, 40)


def test_the_sample_moves_to_the_device_once():
    example = data.example("coffee", 48, 32, lambda height, width: masks.random_pixels(height, width, 0.5, seed=0))
    first, second = (example.transfer_batch_to_device(example.sample, torch.device("meta"), 0) for _ in range(2))
    assert first is second
    assert {tensor.device.type for tensor in first} == {"meta"}
    assert example.sample.target.device.type == "cpu"

import numpy as np
import pytest
import torch
from PIL import Image

from dip import data, masks


def loaded(photograph, mask, truth=None, **turned):
    paths = (None if path is None else str(path) for path in (photograph, mask, truth))
    keys = {"hole": "black", "soft_mask": "threshold", "resize_mask": False, "grow_hole": 0, "crop": "auto"}
    keys |= {"max_side": None, "example": lambda: pytest.fail("the example was not asked for")}
    return data.picture(*paths, **keys | turned)


def picture(photograph, mask, truth=None, **turned):
    return loaded(photograph, mask, truth, **turned).sample


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
    sample = picture(None, None, example=lambda: data.example("coffee", 48, 32, half))
    assert sample.target.shape == (1, 3, 32, 48)
    assert torch.equal(sample.target, sample.truth * sample.mask)


def half(height, width):
    return masks.random_pixels(height, width, 0.5, seed=0)


def test_random_pixels_knows_the_truth(photograph):
    sample = data.random_pixels(str(photograph), half).sample
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
        ((photograph, mask, tmp_path / "small.png"), r"data.truth=.*small\.png is 40x31"),
        (
            (photograph, mask, tmp_path / "hole.png"),
            "data.truth=.* is L but data.image=.* is RGB; both must have the same",
        ),
    ]:
        with pytest.raises(ValueError, match=message):
            picture(*arguments)
    for name, message in (("hole.png", "is black all over"), ("known.png", "leaves no pixel known")):
        with pytest.raises(ValueError, match=message):
            picture(photograph, tmp_path / name, hole="white")


def test_a_tiny_picture_is_refused():
    with pytest.raises(ValueError, match="7x9, but each side needs at least 8 pixels"):
        data.SingleSample(data.damaged(Image.new("RGB", (7, 9)), half))


def test_grey_files_give_one_channel(tmp_path, mask):
    Image.fromarray(np.arange(1280, dtype=np.uint32).reshape(32, 40).astype(np.uint8)).save(tmp_path / "grey.png")
    assert picture(tmp_path / "grey.png", mask).target.shape == (1, 1, 32, 40)


def test_the_sample_moves_to_the_device_once():
    example = data.SingleSample(data.example("coffee", 48, 32, half))
    first, second = (example.transfer_batch_to_device(example.sample, torch.device("meta"), 0) for _ in range(2))
    assert first is second
    assert {tensor.device.type for tensor in first if tensor is not None} == {"meta"}
    assert example.sample.target.device.type == "cpu"


def soft_mask(tmp_path):
    pixels = np.full((32, 40), 255, dtype=np.uint8)
    pixels[8:16, 20:30] = 0
    pixels[8:16, 18:20] = 51  # a fifth
    pixels[8:16, 16:18] = 153  # three fifths
    Image.fromarray(pixels).save(tmp_path / "soft.png")
    return tmp_path / "soft.png"


def test_greys_of_a_mask_are_a_threshold_or_a_weight(photograph, tmp_path):
    mask = soft_mask(tmp_path)
    hard, soft = picture(photograph, mask), picture(photograph, mask, soft_mask="weight")
    assert hard.mask[0, 0, 10, 15:21].tolist() == [1, 1, 1, 0, 0, 0]
    assert soft.mask[0, 0, 10, 15:21].tolist() == pytest.approx([1, 0.6, 0.6, 0.2, 0.2, 0])
    assert (soft.target[..., 8:16, 18:20] > 0).any()  # it counts in the loss
    mixed = soft.composite(torch.ones_like(soft.target))[0, :, 10, 18]
    assert mixed.tolist() == pytest.approx((0.2 * soft.target[0, :, 10, 18] + 0.8).tolist())


def test_a_mask_of_weights_that_knows_no_pixel_wholly_is_refused(photograph, tmp_path):
    pixels = np.full((32, 40), 254, dtype=np.uint8)
    pixels[8:16, 20:30] = 0
    Image.fromarray(pixels).save(tmp_path / "greys.png")
    with pytest.raises(ValueError, match=r"no pixel wholly known, and has greys only; set data\.soft_mask=threshold"):
        picture(photograph, tmp_path / "greys.png", soft_mask="weight")
    picture(photograph, tmp_path / "greys.png")


def test_a_mask_of_another_size_is_brought_to_the_picture_s_where_that_is_allowed(photograph, mask, tmp_path):
    with Image.open(mask) as file:
        file.resize((80, 64), Image.Resampling.NEAREST).save(tmp_path / "double.png")
    with pytest.raises(
        ValueError, match=r"double\.png is 80x64 but the image is 40x32; .*, or set data.resize_mask=true"
    ):
        picture(photograph, tmp_path / "double.png")
    resized = picture(photograph, tmp_path / "double.png", resize_mask=True)
    assert torch.equal(resized.mask, picture(photograph, mask).mask)


def test_the_hole_of_the_sample_grows(photograph, mask):
    assert (picture(photograph, mask, grow_hole=2).mask == 0).sum() == 12 * 14


def transparent(photograph, tmp_path):
    """The photograph with a see-through rectangle, and one column of it half so."""
    with Image.open(photograph) as file:
        opacity = np.full((32, 40), 255, dtype=np.uint8)
        opacity[8:16, 20:30] = 0
        opacity[8:16, 19] = 200
        file.putalpha(Image.fromarray(opacity))
        file.save(tmp_path / "alpha.png")
    return tmp_path / "alpha.png"


def test_without_a_mask_what_is_transparent_is_the_hole_and_becomes_opaque(photograph, mask, tmp_path):
    single = loaded(transparent(photograph, tmp_path), None)
    assert torch.equal(single.sample.mask, picture(photograph, mask).mask)
    opacity = np.array(single.restored(torch.rand(1, 3, 32, 40)))[..., 3]
    assert (opacity[8:16, 20:30] == 255).all()
    assert (opacity[8:16, 19] == 200).all()


def test_with_a_mask_transparency_stays_as_it_is(photograph, mask, tmp_path):
    path = transparent(photograph, tmp_path)
    restored = np.array(loaded(path, mask).restored(torch.rand(1, 3, 32, 40)))
    before = np.array(Image.open(path))
    assert np.array_equal(restored[..., 3], before[..., 3])
    assert not np.array_equal(restored[8:16, 20:30], before[8:16, 20:30])


def test_a_mask_that_looks_the_wrong_way_round_is_warned_of(photograph, mask, caplog):
    picture(photograph, mask)
    assert not caplog.text
    picture(photograph, mask, hole="white")
    assert "the hole is 94 % of the picture; if that is the known part, give data.hole=black" in caplog.text
    caplog.clear()
    with Image.open(photograph) as file:
        file.putalpha(Image.linear_gradient("L").resize(file.size).point(lambda value: 255 * (value > 180)))
        file.save(photograph.with_name("mostly_transparent.png"))
    assert picture(photograph.with_name("mostly_transparent.png"), None).mask.mean() < 0.5
    assert not caplog.text  # no key turns transparency round


def test_keys_of_a_mask_file_are_refused_without_one(photograph):
    for turned, said in (({"hole": "white"}, "data.hole=white"), ({"resize_mask": True}, "data.resize_mask=true")):
        with pytest.raises(ValueError, match=f"{said} speaks of a mask file, and there is none"):
            picture(photograph, None, **turned)

from dataclasses import FrozenInstanceError

import numpy as np
import pytest
import torch
from PIL import Image

from dip.config.build import read_data
from dip.errors import UserError
from dip.image import masks
from dip.image.photo import damage, example, random_pixels, read_photo


def read(photograph, mask, truth=None, **options):
    paths = (None if path is None else str(path) for path in (photograph, mask, truth))
    defaults = {"hole": "black", "soft_mask": "threshold", "resize_mask": False, "grow_hole": 0, "crop": "auto"}
    defaults |= {
        "max_side": None,
        "max_megapixels": 250,
        "example": lambda: pytest.fail("the example was not asked for"),
    }
    return read_photo(*paths, **defaults | options)


def work(photograph, mask, truth=None, **options):
    return read(photograph, mask, truth, **options).work


def test_the_target_holds_nothing_of_the_hole(photograph, mask):
    sample = work(photograph, mask, truth=photograph)
    assert sample.target.shape == (1, 3, 32, 40)
    assert sample.mask.shape == (1, 1, 32, 40)
    assert (sample.target[..., 8:16, 20:30] == 0).all()
    assert torch.equal(sample.target, sample.truth * sample.mask)


def test_hole_white_turns_the_mask_round(photograph, mask):
    assert torch.equal(work(photograph, mask, hole="white").mask, 1 - work(photograph, mask).mask)


def test_without_files_the_example_is_repaired():
    sample = work(None, None, example=lambda: example("coffee", 48, 32, half))
    assert sample.target.shape == (1, 3, 32, 48)
    assert torch.equal(sample.target, sample.truth * sample.mask)


def half(height, width):
    return masks.random_pixels(height, width, 0.5, seed=0)


def test_random_pixels_knows_the_truth(photograph):
    sample = random_pixels(str(photograph), half).work
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
        with pytest.raises(UserError, match=message):
            work(*arguments)
    for name, message in (("hole.png", "is black all over"), ("known.png", "leaves no pixel known")):
        with pytest.raises(UserError, match=message):
            work(photograph, tmp_path / name, hole="white")


@pytest.mark.parametrize("size", [(1, 9), (9, 1), (7, 9), (2, 2), (8, 8)])
def test_short_sides_are_padded_for_the_work_and_cut_from_the_output(size):
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    photo = damage(Image.fromarray(pixels), half)
    assert min(photo.work.target.shape[-2:]) == 8
    assert photo.enlarge(photo.work.truth).shape[-2:] == size[::-1]
    assert np.array_equal(np.array(photo.paste(photo.enlarge(photo.work.truth))), pixels)


def test_grey_files_give_one_channel(tmp_path, mask):
    Image.fromarray(np.arange(1280, dtype=np.uint32).reshape(32, 40).astype(np.uint8)).save(tmp_path / "grey.png")
    assert work(tmp_path / "grey.png", mask).target.shape == (1, 1, 32, 40)


def soft_mask(tmp_path):
    pixels = np.full((32, 40), 255, dtype=np.uint8)
    pixels[8:16, 20:30] = 0
    pixels[8:16, 18:20] = 51  # a fifth
    pixels[8:16, 16:18] = 153  # three fifths
    Image.fromarray(pixels).save(tmp_path / "soft.png")
    return tmp_path / "soft.png"


def test_greys_of_a_mask_are_a_threshold_or_a_weight(photograph, tmp_path):
    mask = soft_mask(tmp_path)
    hard, soft = work(photograph, mask), work(photograph, mask, soft_mask="weight")
    assert hard.mask[0, 0, 10, 15:21].tolist() == [1, 1, 1, 0, 0, 0]
    assert soft.mask[0, 0, 10, 15:21].tolist() == pytest.approx([1, 0.6, 0.6, 0.2, 0.2, 0])
    assert (soft.target[..., 8:16, 18:20] > 0).any()  # it counts in the loss


def test_a_mask_of_weights_that_knows_no_pixel_wholly_is_refused(photograph, tmp_path):
    pixels = np.full((32, 40), 254, dtype=np.uint8)
    pixels[8:16, 20:30] = 0
    Image.fromarray(pixels).save(tmp_path / "greys.png")
    with pytest.raises(UserError, match=r"no pixel wholly known, and has greys only; set data\.soft_mask=threshold"):
        work(photograph, tmp_path / "greys.png", soft_mask="weight")
    work(photograph, tmp_path / "greys.png")


def test_a_mask_of_another_size_is_brought_to_the_picture_s_where_that_is_allowed(photograph, mask, tmp_path):
    with Image.open(mask) as file:
        file.resize((80, 64), Image.Resampling.NEAREST).save(tmp_path / "double.png")
    with pytest.raises(
        ValueError, match=r"double\.png is 80x64 but the image is 40x32; .*, or set data.resize_mask=true"
    ):
        work(photograph, tmp_path / "double.png")
    resized = work(photograph, tmp_path / "double.png", resize_mask=True)
    assert torch.equal(resized.mask, work(photograph, mask).mask)


def test_the_hole_grows(photograph, mask):
    assert (work(photograph, mask, grow_hole=2).mask == 0).sum() == 12 * 14


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
    photo = read(transparent(photograph, tmp_path), None)
    assert torch.equal(photo.work.mask, work(photograph, mask).mask)
    opacity = np.array(photo.paste(torch.rand(1, 3, 32, 40)))[..., 3]
    assert (opacity[8:16, 20:30] == 255).all()
    assert (opacity[8:16, 19] == 200).all()


def test_with_a_mask_transparency_stays_as_it_is(photograph, mask, tmp_path):
    path = transparent(photograph, tmp_path)
    repaired = np.array(read(path, mask).paste(torch.rand(1, 3, 32, 40)))
    before = np.array(Image.open(path))
    assert np.array_equal(repaired[..., 3], before[..., 3])
    assert not np.array_equal(repaired[8:16, 20:30], before[8:16, 20:30])


def test_a_mask_that_looks_the_wrong_way_round_is_warned_of(photograph, mask, caplog):
    work(photograph, mask)
    assert not caplog.text
    work(photograph, mask, hole="white")
    assert "the hole is 94 % of the picture; if that is the known part, give data.hole=black" in caplog.text
    caplog.clear()
    with Image.open(photograph) as file:
        file.putalpha(Image.linear_gradient("L").resize(file.size).point(lambda value: 255 * (value > 180)))
        file.save(photograph.with_name("mostly_transparent.png"))
    assert work(photograph.with_name("mostly_transparent.png"), None).mask.mean() < 0.5
    assert not caplog.text  # no key turns transparency round


def test_keys_of_a_mask_file_are_refused_without_one(photograph):
    for turned, said in (({"hole": "white"}, "data.hole=white"), ({"resize_mask": True}, "data.resize_mask=true")):
        with pytest.raises(UserError, match=f"{said} speaks of a mask file, and there is none"):
            work(photograph, None, **turned)


@pytest.mark.usefixtures("every_size_is_large")
def test_a_cut_out_and_reduced_region_goes_back_into_the_whole_picture(with_holes, tmp_path):
    y, x = np.mgrid[0:90, 0:120]
    pixels = np.stack([x * 2, y * 2, (x + y) % 256], axis=-1).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    Image.fromarray((with_holes(90, 120, (40, 30, 60, 45))[0, 0].numpy() * 255).astype(np.uint8)).save(
        tmp_path / "m.png"
    )
    photo = read(tmp_path / "a.png", tmp_path / "m.png", tmp_path / "a.png", max_side=30)
    assert photo.region == (20, 10, 80, 65)
    assert photo.full.target.shape == (1, 3, 55, 60)
    height, width = photo.work.target.shape[-2:]
    assert height * width <= 900
    assert photo.work.truth.shape == photo.work.target.shape
    repaired = np.array(photo.paste(photo.enlarge(photo.work.truth)))
    hole = np.zeros((90, 120), dtype=bool)
    hole[30:45, 40:60] = True
    assert np.array_equal(repaired[~hole], pixels[~hole])
    assert np.abs(repaired[hole].astype(float) - pixels[hole]).mean() < 4  # the truth, reduced and enlarged


def test_max_side_that_leaves_nothing_known_is_refused(config, photograph, tmp_path):
    rng = np.random.default_rng(0)
    Image.fromarray((rng.random((32, 40)) > 0.5).astype(np.uint8) * 255).save(tmp_path / "m.png")
    with pytest.raises(UserError, match=r"data.max_side=8 leaves no known pixel without hole in it; raise it"):
        work(photograph, tmp_path / "m.png", max_side=8)
    said = r"data.max_side=7, but it must be a whole number, at least 8, or null; null is no limit"
    with pytest.raises(UserError, match=said):
        read_data(config("data.max_side=7"))


@pytest.mark.parametrize("crop", [[0, 0, 41, 32], [5, 0, 5, 9], [0, 0, 9], "all", None, [0, 0, "a", 9], [-1, 0, 9, 9]])
def test_a_crop_that_is_no_part_of_the_picture_is_refused(photograph, mask, crop):
    with pytest.raises(UserError, match=r"data.crop=.*, but it is auto, none or .* within the picture of 40x32"):
        read(photograph, mask, crop=crop)


def test_a_given_crop_is_the_picture(photograph, mask):
    photo = read(photograph, mask, crop=[10, 4, 36, 28])
    whole = read(photograph, mask)
    assert torch.equal(photo.work.target, whole.work.target[..., 4:28, 10:36])
    assert photo.paste(photo.work.target).size == (26, 24)


def test_a_part_is_cut_from_picture_mask_and_truth_and_the_whole_stays(photograph, mask):
    photo = read(photograph, mask, photograph)
    part = photo.cut((10, 4, 36, 28))
    for cut, whole in zip(part.work, photo.work, strict=True):
        assert torch.equal(cut, whole[..., 4:28, 10:36])
    assert photo.picture.size == (40, 32)
    with pytest.raises(FrozenInstanceError):
        photo.mask = part.mask

from dataclasses import FrozenInstanceError

import numpy as np
import pytest
import torch
from PIL import Image

from dip.config.build import read_data
from dip.errors import UserError
from dip.image import masks
from dip.image.read import damage, example, random_pixels, read_photo


def read(photograph, mask, truth=None, **options):
    paths = (None if path is None else str(path) for path in (photograph, mask, truth))
    defaults = {"hole": "black", "soft_mask": "threshold", "resize_mask": False, "grow_hole": 0, "crop": "auto"}
    defaults |= {"turn_mask": "auto", "max_side": None, "max_megapixels": 250, "missing": None, "channel_axis": None}
    defaults |= {"example": lambda: pytest.fail("the example was not asked for")}
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
        ((None, mask), "give data.image=PATH as well"),
        ((None, None, photograph), "give data.image=PATH as well"),
        ((photograph, tmp_path / "small.png"), r"small\.png is 40x31 but the image is 40x32"),
        ((photograph, tmp_path / "known.png"), "known.png has the value 255 all over"),
        ((photograph, tmp_path / "hole.png"), "has the value 0 all over, and so shows no hole"),
        ((photograph, mask, tmp_path / "small.png"), r"data.truth=.*small\.png is 40x31"),
        (
            (photograph, mask, tmp_path / "hole.png"),
            "data.truth=.* is L but data.image=.* is RGB; both must have the same",
        ),
    ]:
        with pytest.raises(UserError, match=message):
            work(*arguments)


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
    pixels = np.full((32, 40), 230, dtype=np.uint8)
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


def test_without_a_mask_what_is_transparent_however_little_is_the_hole_and_becomes_opaque(photograph, tmp_path):
    photo = read(transparent(photograph, tmp_path), None)
    assert (photo.work.mask == 0).sum() == 8 * 11
    assert (photo.work.mask[..., 8:16, 19:30] == 0).all()
    repaired = np.array(photo.paste(torch.rand(1, 3, 32, 40)))
    assert (repaired[..., 3] == 255).all()
    soft = read(transparent(photograph, tmp_path), None, soft_mask="weight")
    assert soft.work.mask[0, 0, 8, 18:21].tolist() == pytest.approx([1, 200 / 255, 0])
    assert (np.array(soft.paste(torch.rand(1, 3, 32, 40)))[..., 3] == 255).all()


def softly_erased(photograph, tmp_path, opacity=255):
    """The photograph with a hole in its middle whose edge is a ring of every opacity."""
    with Image.open(photograph) as file:
        y, x = np.mgrid[0:32, 0:40]
        away = np.hypot(x - 24.5, y - 12)
        file.putalpha(Image.fromarray((opacity * ((away - 3) / 6).clip(0, 1)).astype(np.uint8)))
        file.save(tmp_path / "soft.png")
    return tmp_path / "soft.png", away


def test_a_softly_erased_photograph_as_its_own_mask_is_repaired_without_a_ring(photograph, tmp_path):
    path, away = softly_erased(photograph, tmp_path)
    for given, hole in ((None, "black"), (None, "alpha"), (path, "alpha")):
        photo = read(path, given, hole=hole)
        repaired = np.array(photo.paste(torch.rand(1, 3, 32, 40)))
        assert (repaired[..., 3] == 255).all()
        assert (photo.work.mask[0, 0].numpy()[away < 8.5] == 0).all()
        before = np.array(Image.open(path))
        assert np.array_equal(repaired[away > 9], before[away > 9])


def test_an_erased_photograph_with_a_mask_beside_it_is_opaque(photograph, mask, tmp_path, caplog):
    repaired = read(transparent(photograph, tmp_path), mask).paste(torch.rand(1, 3, 32, 40))
    assert (np.array(repaired)[..., 3] == 255).all()
    path, _ = softly_erased(photograph, tmp_path)
    photo = read(path, mask)
    assert (photo.work.mask == 0).sum() == 80  # the mask file says where
    assert (np.array(photo.paste(torch.rand(1, 3, 32, 40)))[..., 3] == 255).all()
    assert not caplog.text


def test_a_shape_that_was_cut_out_stays_one(photograph, mask, tmp_path, caplog):
    with Image.open(photograph) as file:
        file.putalpha(Image.linear_gradient("L").resize(file.size).point(lambda value: 255 * (value > 90)))
        file.save(tmp_path / "shape.png")
    before = np.array(Image.open(tmp_path / "shape.png"))
    repaired = np.array(read(tmp_path / "shape.png", mask).paste(torch.rand(1, 3, 32, 40)))
    assert np.array_equal(repaired[..., 3], before[..., 3])
    assert not np.array_equal(repaired[8:16, 20:30], before[8:16, 20:30])
    assert "% of the hole is transparent in data.image, and stays so, as what is transparent around it" in caplog.text
    path, _ = softly_erased(photograph, tmp_path, opacity=200)
    assert np.array(read(path, mask).paste(torch.rand(1, 3, 32, 40)))[0, 0, 3] == 200 or "stays so" in caplog.text


def test_a_hole_of_more_than_half_the_picture_is_spoken_of(photograph, mask, tmp_path, caplog):
    work(photograph, mask)
    assert not caplog.text

    def said(*files, **options):
        caplog.clear()
        work(*files, **options)
        return caplog.text

    assert "the hole is 94 % of the picture; if that is the known part, give data.hole=black" in said(
        photograph, mask, hole="white"
    )
    assert "94 % of the picture; if that is the known part, give another data.hole" in said(photograph, mask, hole=255)
    painted = Image.new("RGBA", (40, 32))
    painted.paste((0, 0, 0, 255), (20, 8, 30, 16))
    painted.save(tmp_path / "painted.png")
    assert "94 % of the picture; if that is the known part, give data.hole=opaque" in said(
        photograph, tmp_path / "painted.png", hole="alpha"
    )
    assert not said(photograph, tmp_path / "painted.png", hole="opaque")
    assert not said(photograph, mask, hole="white", crop=[10, 4, 36, 28]).count("crop")
    assert not said(photograph, mask, crop=[19, 7, 31, 17])  # of the whole picture
    with Image.open(photograph) as file:
        file.putalpha(Image.linear_gradient("L").resize(file.size).point(lambda value: 255 * (value > 180)))
        file.save(tmp_path / "mostly_transparent.png")
    assert "of the picture; if that is the known part, give another mask" in said(
        tmp_path / "mostly_transparent.png", None
    )


def lying(photograph, mask, tmp_path, orientation, size=None):
    """Photograph and mask as a camera stores them that was held in another way: only the former says so."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    for name, path in (("photo", photograph), ("mask", mask)):
        with Image.open(path) as file:
            cut = file.crop((8, 0, 40, 32)) if size == "square" else file
            cut.save(tmp_path / f"lying_{name}.png", **({"exif": exif} if name == "photo" else {}))
    return tmp_path / "lying_photo.png", tmp_path / "lying_mask.png"


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_a_mask_that_lies_beside_a_photograph_turned_upright_is_turned_as_well(
    photograph, mask, tmp_path, caplog, orientation
):
    photo, beside = lying(photograph, mask, tmp_path, orientation)
    exif = Image.Exif()
    exif[0x0112] = orientation
    with Image.open(mask) as file:
        file.save(tmp_path / "tagged.png", exif=exif)
    expected = work(photo, tmp_path / "tagged.png").mask
    assert not caplog.text
    assert expected.shape == (1, 1, 40, 32)
    with Image.open(beside) as file:
        file.resize((20, 16), 0).save(tmp_path / "half.png")
    for turned in (
        work(photo, beside),
        work(photo, beside, resize_mask=True),
        work(photo, tmp_path / "half.png", resize_mask=True),
        work(photo, beside, turn_mask=True, truth=photo),
    ):
        assert torch.equal(turned.mask, expected)
        assert f"lying_mask.png is turned as the EXIF orientation {orientation} turns the image" in caplog.text
    with pytest.raises(
        UserError, match=r"lying_mask\.png is 40x32 but the image is 32x40; turn it upright, or give a file"
    ):
        work(photo, beside, turn_mask=False)


@pytest.mark.parametrize(("orientation", "size"), [(2, None), (3, None), (4, None), (6, "square")])
def test_a_turned_photograph_of_the_mask_s_size_is_warned_of(photograph, mask, tmp_path, caplog, orientation, size):
    photo, beside = lying(photograph, mask, tmp_path, orientation, size)
    upright = work(photo, beside)
    assert (
        f"turned by its EXIF orientation {orientation}, and data.mask={beside} is not; if it was drawn" in caplog.text
    )
    caplog.clear()
    assert torch.equal(work(photo, beside, turn_mask=False).mask, upright.mask)
    assert not caplog.text
    assert not torch.equal(work(photo, beside, turn_mask=True).mask, upright.mask)


def test_a_mask_of_another_shape_is_stretched_with_a_warning(photograph, mask, tmp_path, caplog):
    with Image.open(mask) as file:
        file.resize((64, 80)).save(tmp_path / "tall.png")
    work(photograph, tmp_path / "tall.png", resize_mask=True)
    assert "tall.png is 64x80 and is stretched to the image's 40x32, of another shape" in caplog.text


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

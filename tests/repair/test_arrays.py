"""Arrays in files: what comes back has the same format, type, shape, units and known values."""

import json

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from dip.errors import UserError

RANDOM = np.random.default_rng(0)
HOLE = np.zeros((32, 40), dtype=bool)
HOLE[8:16, 20:30] = True


@pytest.fixture
def from_file(config, run, tmp_path):
    """Run on a file with further overrides; return what reads the result by its name."""

    def repaired(name, *overrides):
        Image.fromarray(~HOLE).save(tmp_path / "mask.png")
        cfg = config("data.truth=null", f"data.image={tmp_path / name}", *overrides)
        metrics = run(cfg, tmp_path / "run")
        assert metrics == json.loads((tmp_path / "run" / "metrics.json").read_text())
        (file,) = (tmp_path / "run").glob("inpainted.*")
        return file

    return repaired


def same_where_known(before, after, hole):
    assert (after.dtype, after.shape) == (before.dtype, before.shape)
    assert (after[~hole] == before[~hole]).all()
    assert (after[hole] != before[hole]).mean() > 0.5


def test_int16_with_a_value_for_what_is_missing(from_file, tmp_path):
    array = RANDOM.integers(-500, 500, (32, 40, 3), dtype=np.int16)
    lost = RANDOM.random(array.shape) < 0.2
    array[lost] = -9999
    np.save(tmp_path / "a.npy", array)
    file = from_file("a.npy", "data.mask=null", "data.missing=-9999")
    after = np.load(file)
    same_where_known(array, after, lost)
    assert after.min() >= -500
    std = np.load(file.with_name("uncertainty.npy"))
    assert std.shape == array.shape
    assert ((std > 0) == lost).all()


@pytest.mark.parametrize("axis", [0, -1])
def test_a_tiff_of_eight_bands_of_floats(from_file, tmp_path, axis):
    bands = RANDOM.normal(0, 100, (32, 40, 8)).astype(np.float32)
    bands[HOLE] = np.nan
    bands[:4, :4, 3] = np.nan
    array = np.moveaxis(bands, -1, axis)
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="minisblack")
    file = from_file("a.tif", "data.mask=null")
    after = tifffile.imread(file)
    same_where_known(array, after, np.isnan(array))
    assert np.isfinite(after).all()


@pytest.mark.parametrize("ending", [".png", ".tif"])
def test_colours_of_16_bits(from_file, tmp_path, ending):
    array = RANDOM.integers(0, 2**16, (32, 40, 3), dtype=np.uint16)
    if ending == ".png":
        (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(array))
    else:
        tifffile.imwrite(tmp_path / "a.tif", array, photometric="rgb", compression="lzw")
    file = from_file(f"a{ending}", f"data.mask={tmp_path / 'mask.png'}")
    assert file.suffix == ending
    after = imagecodecs.png_decode(file.read_bytes()) if ending == ".png" else tifffile.imread(file)
    same_where_known(array, after, np.repeat(HOLE[..., None], 3, axis=-1))


def test_a_mask_for_each_channel_and_one_for_all(from_file, tmp_path):
    array = RANDOM.random((32, 40, 4))
    lost = RANDOM.random(array.shape) < 0.2
    np.save(tmp_path / "a.npy", array)
    np.save(tmp_path / "each.npy", ~lost)
    np.save(tmp_path / "all.npy", HOLE.astype(np.uint8))
    same_where_known(array, np.load(from_file("a.npy", f"data.mask={tmp_path / 'each.npy'}")), lost)
    (tmp_path / "run").rename(tmp_path / "first")
    file = from_file("a.npy", f"data.mask={tmp_path / 'all.npy'}", "data.hole=1", f"output.path={tmp_path / 'b.npz'}")
    same_where_known(array, np.load(file), np.repeat(HOLE[..., None], 4, axis=-1))
    assert (np.load(tmp_path / "b.npz")["image"] == np.load(file)).all()


def test_an_array_is_resumed_and_measured_with_its_truth(config, run, tmp_path):
    truth = RANDOM.random((32, 40, 5)).astype(np.float32)
    np.save(tmp_path / "truth.npy", truth)
    np.save(tmp_path / "a.npy", np.where(RANDOM.random(truth.shape) < 0.3, np.nan, truth).astype(np.float32))
    given = [f"data.image={tmp_path / 'a.npy'}", f"data.truth={tmp_path / 'truth.npy'}", "data.mask=null"]
    given += ["stopping.every_steps=1", "members=2"]
    metrics = run(config(*given), tmp_path / "run")
    assert 0 < metrics["interval"]["coverage_hole"] <= 1
    assert metrics["psnr_hole"] > 0
    before = np.load(tmp_path / "run" / "inpainted.npy")
    (tmp_path / "run" / "member_2" / "output.pt").unlink()
    assert run(config(*given), tmp_path / "run", resume=True)["psnr_hole"] == metrics["psnr_hole"]
    assert (np.load(tmp_path / "run" / "inpainted.npy") == before).all()
    again = run(config(*given, "trainer.max_steps=5"), tmp_path / "run", resume=True)
    assert again["members"]["member_1"]["steps"] == 5


def test_masks_of_16_bits_are_as_those_of_8(from_file, tmp_path):
    array = RANDOM.random((32, 40)).astype(np.float32)
    np.save(tmp_path / "a.npy", array)
    colours = np.where(HOLE[..., None], 0, 65535).repeat(3, axis=-1).astype(np.uint16)
    (tmp_path / "deep.png").write_bytes(imagecodecs.png_encode(colours))
    same_where_known(array, np.load(from_file("a.npy", f"data.mask={tmp_path / 'deep.png'}")), HOLE)
    (tmp_path / "run").rename(tmp_path / "first")
    painted = np.dstack([colours, np.where(HOLE, 65535, 0).astype(np.uint16)])
    (tmp_path / "deep.png").write_bytes(imagecodecs.png_encode(painted))
    file = from_file("a.npy", f"data.mask={tmp_path / 'deep.png'}", "data.hole=opaque")
    same_where_known(array, np.load(file), HOLE)


@pytest.mark.parametrize(
    ("truth", "said"),
    [
        (np.zeros((32, 40, 3), dtype=np.uint8), "is RGB but .* is floats of 3 channels"),
        (np.zeros((32, 40, 2)), "is floats of 2 channels but .* is floats of 3 channels"),
    ],
)
def test_a_truth_of_another_kind_is_refused(from_file, tmp_path, truth, said):
    np.save(tmp_path / "a.npy", RANDOM.random((32, 40, 3)).astype(np.float32))
    np.save(tmp_path / "truth.npy", truth)
    with pytest.raises(UserError, match=said):
        from_file("a.npy", f"data.mask={tmp_path / 'mask.png'}", f"data.truth={tmp_path / 'truth.npy'}")


def test_a_channel_that_is_lost_by_reduction_is_refused(from_file, tmp_path):
    array = RANDOM.random((64, 64, 2))
    array[..., 1] = np.where(RANDOM.random((64, 64)) < 0.3, array[..., 1], np.nan)
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(UserError, match=r"data.max_side=16 leaves no known pixel without hole"):
        from_file("a.npy", "data.mask=null", "data.max_side=16")

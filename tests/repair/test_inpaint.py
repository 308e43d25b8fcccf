import os
import signal
import sys
from threading import Thread

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from PIL import Image

import dip
from dip.config.compose import CONFIGS
from dip.errors import UserError
from dip.results.progress import Progress

RANDOM = np.random.default_rng(0)
CUBE = RANDOM.random((32, 40, 5)).astype(np.float32) * [1, 10, 100, 1000, 10000] - 5
CUBE = CUBE.astype(np.float32)
LOST = RANDOM.random(CUBE.shape) < 0.3


@pytest.fixture
def repaired(tiny):
    """`dip.inpaint` with a tiny network and no bar."""

    def repaired(*given, overrides=(), **options):
        return dip.inpaint(*given, overrides=[*tiny, *overrides], progress=False, **options)

    return repaired


def of_type(kind: str) -> np.ndarray:
    return CUBE.astype(kind) if np.dtype(kind).kind == "f" else (CUBE.clip(0) / 10000 * np.iinfo(kind).max).astype(kind)


@pytest.mark.parametrize("kind", ["u1", "u2", "i2", "i4", "f4", "f8", ">f4"])
def test_known_values_type_and_shape_stay(repaired, kind):
    array = of_type(kind)
    before = array.copy()
    filled = repaired(array, LOST)
    assert (filled.dtype, filled.shape) == (array.dtype, array.shape)
    assert (filled[~LOST] == array[~LOST]).all()
    assert (filled[LOST] != array[LOST]).any()
    assert (array == before).all()


def test_the_hole_is_nan_or_a_value_or_a_mask(repaired):
    lost = LOST[..., 0]
    with_nan = np.where(LOST, np.nan, CUBE)
    expected = repaired(CUBE, LOST)
    assert (repaired(with_nan) == expected).all()
    assert (repaired(np.ma.array(CUBE, mask=LOST)) == expected).all()
    some = np.arange(5) < 2
    assert (repaired(np.ma.array(np.where(LOST & some, np.nan, CUBE), mask=LOST & ~some)) == expected).all()
    assert (repaired(np.where(LOST, np.float32(-9999), CUBE), missing=-9999) == expected).all()
    assert (repaired(np.moveaxis(with_nan, -1, 0), channel_axis=0) == np.moveaxis(expected, -1, 0)).all()
    of_all = repaired(CUBE, lost)
    assert (of_all == repaired(CUBE, np.repeat(lost[..., None], 5, axis=-1))).all()
    assert (of_all[~lost] == CUBE[~lost]).all()
    grey = repaired(np.where(lost, np.nan, CUBE[..., 0]))
    assert grey.shape == (32, 40)
    assert (grey[~lost] == CUBE[..., 0][~lost]).all()


def test_the_result_is_that_of_the_command(repaired, config, run, photograph, tmp_path):
    run(config("data.truth=null"), tmp_path / "run")
    with Image.open(photograph) as file:
        array = np.array(file.convert("RGB"))
    hole = np.zeros((32, 40), dtype=bool)
    hole[8:16, 20:30] = True
    with Image.open(tmp_path / "run" / "inpainted.png") as file:
        assert (repaired(array, hole) == np.array(file.convert("RGB"))).all()


def test_nothing_else_changes(repaired, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    states = np.random.get_state()[1].copy(), torch.random.get_rng_state()
    repaired(CUBE, LOST)
    assert (np.random.get_state()[1] == states[0]).all()
    assert torch.equal(torch.random.get_rng_state(), states[1])
    assert not list(tmp_path.iterdir())


def test_a_result_has_error_bars_in_the_units_of_the_array(repaired, tmp_path):
    options = {"seed": 3, "return_result": True, "folder": tmp_path / "run"}
    image, std, metrics = repaired(CUBE, LOST, overrides=["stopping.every_steps=1"], **options)
    assert std.shape == CUBE.shape
    assert (std[~LOST] == 0).all()
    assert (std[LOST] > 0).all()
    by_channel = [std[..., channel][LOST[..., channel]].mean() for channel in range(5)]
    assert by_channel == sorted(by_channel)  # as the ranges
    assert 0.8 < metrics["interval"]["coverage_held_out"] <= 1
    assert {"inpainted.npy", "uncertainty.npy", "metrics.json"} <= {path.name for path in (tmp_path / "run").iterdir()}
    assert (np.load(tmp_path / "run" / "inpainted.npy") == image).all()
    assert (np.load(tmp_path / "run" / "uncertainty.npy") == std).all()
    assert (image != repaired(CUBE, LOST)).any()  # by another seed


def test_far_holes_are_repaired_in_parts_and_one_result(repaired, monkeypatch):
    monkeypatch.setattr("dip.image.holes.SMALL", 100)
    monkeypatch.setattr("dip.image.holes.MARGIN", 4)
    array = RANDOM.random((90, 120, 2))
    array[10:14, 10:14] = array[70:74, 90:94, 0] = np.nan
    image, std, metrics = repaired(array, return_result=True)
    assert len(metrics["parts"]) == 2
    assert np.isfinite(image).all()
    known = np.isfinite(array)
    assert (image[known] == array[known]).all()
    assert std.shape == array.shape


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"image": CUBE}, "image has no missing value; give the hole, missing=VALUE, or NaN"),
        ({"image": CUBE.astype(complex)}, "image has the type complex128"),
        ({"image": CUBE > 0, "hole": LOST}, "holds true and false; give an array of numbers"),
        ({"hole": LOST[:5]}, r"hole has the shape \(5, 40, 5\), but it must be that of the image, \(32, 40, 5\), or"),
        ({"hole": LOST.astype(int)}, "hole has the type int64, but it must be boolean, such as hole != 0, True where"),
        ({"hole": np.broadcast_to(np.arange(5) == 4, CUBE.shape)}, "no value is known of the channels 4"),
        ({"hole": LOST, "overrides": ["model.dpth=3"]}, "there is no key model.dpth; did you mean model.depth"),
        ({"hole": LOST, "overrides": ["trainer.max_steps=many"]}, "trainer.max_steps=many, but it must be a whole"),
        ({"hole": LOST, "recipe": "denoise"}, "recipe=denoise changes known values too, and dip.inpaint fills holes"),
        ({"hole": LOST, "overrides": ["operator=blur"]}, "overrides has operator=blur, which is for the command"),
        ({"hole": LOST, "recipe": "best"}, "Could not find 'experiment/best'"),
        ({"hole": LOST, "overrides": ["data.crop=none"]}, "overrides has data.crop=none, which is for the command"),
        ({"hole": LOST, "missing": "x"}, "missing='x', but it must be a number"),
        ({"hole": LOST, "folder": ""}, "folder='' is no folder"),
        ({"hole": np.ones_like(LOST)}, "image has no known value"),
        ({"image": np.where(LOST, np.nan, CUBE), "hole": ~LOST[..., 0]}, "missing=np.nan makes them part of it"),
        ({"hole": LOST, "channel_axis": 3}, "channel_axis=3, but the array has the axes 0 to 2"),
        ({"hole": LOST, "seed": -1}, "seed=-1, but it must be a whole number, at least 0"),
    ],
)
def test_what_cannot_be_repaired_is_refused(options, said):
    with pytest.raises(UserError, match=said):
        dip.inpaint(**{"image": CUBE, "progress": False} | options)


def test_infinity_is_missing_too_and_a_folder_is_not_written_twice(repaired, tmp_path):
    array = CUBE.astype(float)
    array[10:12] = np.inf
    filled, std, _ = repaired(array, folder=tmp_path / "run", return_result=True)
    assert np.isfinite(filled).all()
    assert std.dtype == np.float64
    with pytest.raises(UserError, match="holds a run already, whose results stay; give another one"):
        repaired(array, folder=tmp_path / "run")


def test_a_constant_channel_stays_so(repaired):
    array = np.full((40, 48), 300.0)
    array[4:36, 6:42] = np.nan
    assert np.abs(repaired(array) - 300).max() < 1


def test_ctrl_c_returns_what_there_is(repaired, monkeypatch, caplog):
    def interrupt(self, trainer, *args):
        if trainer.global_step == 2:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr("dip.training.rollback.DivergenceGuard.on_train_batch_start", interrupt)
    image, _, metrics = repaired(CUBE, LOST, overrides=["trainer.max_steps=1000"], return_result=True)
    assert metrics["stopped_by"] == "interrupt"
    assert metrics["steps"] < 10
    assert np.isfinite(image).all()
    assert "the result so far is returned" in caplog.text
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_it_runs_within_a_program_that_uses_hydra(repaired):
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        assert (repaired(CUBE, LOST) == repaired(CUBE, LOST)).all()
        assert compose("train", ["seed=7"]).seed == 7


def test_it_runs_in_a_thread(repaired):
    found = []
    thread = Thread(target=lambda: found.append(repaired(CUBE, LOST)))
    thread.start()
    thread.join()
    assert (found[0] == repaired(CUBE, LOST)).all()


def test_a_bar_is_shown_in_a_notebook(monkeypatch):
    assert Progress(every_steps=1).is_disabled
    monkeypatch.setitem(sys.modules, "ipykernel", object())
    assert not Progress(every_steps=1).is_disabled

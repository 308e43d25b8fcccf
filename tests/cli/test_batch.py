import os
import shutil
import signal

import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image

from dip.cli.batch import repair_all
from dip.errors import Interrupted, UserError
from dip.results.folder import RunFolder
from dip.training.interruption import Interruption


def test_four_pictures_one_of_them_broken(command, tiny, tmp_path, photograph, mask):
    # The first call repairs three and says what is wrong with one; the second repeats nothing, or what has changed.
    (tmp_path / "in").mkdir()
    for number in range(4):
        shutil.copy(photograph, tmp_path / "in" / f"{number}.png")
    (tmp_path / "in" / "1.png").write_bytes(photograph.read_bytes()[:60])
    arguments = [*tiny, "trainer.max_steps=1", "data.image=in", f"data.mask={mask}", "output.path=out/*.webp"]

    result = command(*arguments)
    assert result.returncode == 2
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 2
    assert "data.image=in/1.png cannot be read: " in errors[0]
    assert errors[1] == "error: 1 of 4 pictures are not repaired: 1.png"
    assert "Traceback" not in result.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "0.webp",
        "2.webp",
        "3.webp",
    ]
    before, after = np.array(Image.open(photograph)), np.array(Image.open(tmp_path / "out" / "3.webp"))
    assert not np.array_equal(before[8:16, 20:30], after[8:16, 20:30])
    before[8:16, 20:30] = after[8:16, 20:30]
    assert np.array_equal(before, after)

    (tmp_path / "in" / "2.png").touch()  # newer than its result
    (tmp_path / "out" / "2.webp").unlink()
    result = command(*arguments)
    assert result.returncode == 2
    assert result.stderr.count("it is repaired already, in ") == 2
    assert len(list(tmp_path.glob("outputs/in/*/*/metrics.json"))) == 4
    assert "picture 4 of 4: in/3.png" in result.stderr

    result = command(*arguments, "seed=1", "output.path=null", "data.image='in/[02].png'")
    assert result.returncode == 0
    assert "already" not in result.stderr


@pytest.mark.parametrize("recipe", ["experiment=published", "members=2"])
def test_whatever_the_recipe_nothing_is_repaired_twice(config, tmp_path, photograph, mask, caplog, recipe):
    (tmp_path / "in").mkdir()
    shutil.copy(photograph, tmp_path / "in" / "a.png")
    keys = [f"data.image={tmp_path}/in", "data.truth=null", f"output.path={tmp_path}/out", recipe]
    repair_all(config(*keys), RunFolder(tmp_path / "runs" / "first"))
    caplog.set_level("INFO")
    repair_all(config(*keys), RunFolder(tmp_path / "runs" / "second"))
    assert f"it is repaired already, in {tmp_path}/runs/first/a.png" in caplog.text


def test_a_folder_that_holds_a_run_stays_as_it_is(config, tmp_path, photograph, mask):
    (tmp_path / "in").mkdir()
    shutil.copy(photograph, tmp_path / "in" / "a.png")
    keys = [f"data.image={tmp_path}/in", "data.truth=null"]
    repair_all(config(*keys), RunFolder(tmp_path / "run"))
    before = (tmp_path / "run" / "config.yaml").read_bytes()
    with pytest.raises(UserError, match="run holds a run already, whose results stay"):
        repair_all(config(*keys, "seed=1"), RunFolder(tmp_path / "run"))
    assert (tmp_path / "run" / "config.yaml").read_bytes() == before


def test_pixels_are_taken_from_every_picture_of_a_folder(config, tmp_path, photograph):
    (tmp_path / "in").mkdir()
    for name in ("a.png", "b.png"):
        shutil.copy(photograph, tmp_path / "in" / name)
    found = repair_all(config("data=random_pixels", f"data.image={tmp_path}/in"), RunFolder(tmp_path / "run"))
    assert [sorted(found), found["a.png"]["psnr_hole"]] == [["a.png", "b.png"], found["b.png"]["psnr_hole"]]


def test_a_mask_in_the_home_folder_that_has_changed_is_noticed(config, tmp_path, photograph, mask, monkeypatch, caplog):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "in").mkdir()
    shutil.copy(photograph, tmp_path / "in" / "a.png")
    cfg = config(f"data.image={tmp_path}/in", "data.mask='~/mask.png'", "data.truth=null")
    repair_all(cfg, RunFolder(tmp_path / "runs" / "first"))
    os.utime(mask, (1, 1))  # as if a file of long ago had been moved there
    caplog.set_level("INFO")
    repair_all(cfg, RunFolder(tmp_path / "runs" / "second"))
    assert "it is repaired already" not in caplog.text


def test_results_below_a_file_and_what_all_refuse(config, tmp_path, photograph, mask, caplog):
    (tmp_path / "in").mkdir()
    shutil.copy(photograph, tmp_path / "in" / "a.png")
    keys = [f"data.image={tmp_path}/in", "data.truth=null"]
    with pytest.raises(UserError, match="1 of 1 pictures are not repaired"):
        repair_all(config(*keys, f"output.path={mask}"), RunFolder(tmp_path / "below"))
    assert f"output.path={mask} cannot be written: File exists; give another folder" in caplog.text
    repair_all(config(*keys), RunFolder(tmp_path / "run"))
    told = (tmp_path / "run" / "config.yaml").read_text()
    with pytest.raises(UserError, match="1 of 1 pictures are not repaired"):
        repair_all(config(*keys, "data.grow_hole=1"), RunFolder(tmp_path / "run", resume=True))
    assert (tmp_path / "run" / "config.yaml").read_text() == told


def test_two_results_that_would_be_one_file_are_refused(config, tmp_path, photograph, mask):
    (tmp_path / "in").mkdir()
    for name in ("a.png", "a.bmp"):
        Image.open(photograph).save(tmp_path / "in" / name)
    cfg = config(f"data.image={tmp_path}/in", "data.truth=null", f"output.path={tmp_path}/out")
    with pytest.raises(UserError, match=r"out/a\.png would be of both .*/a\.bmp and .*/a\.png"):
        repair_all(cfg, RunFolder(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_ctrl_c_between_many_pictures_and_resuming(config, tmp_path, photograph, mask, monkeypatch):
    (tmp_path / "in").mkdir()
    for name in ("a.png", "b.png"):
        shutil.copy(photograph, tmp_path / "in" / name)
    cfg = config(f"data.image={tmp_path}/in", "data.truth=null")
    with monkeypatch.context() as patched:
        patched.setattr(Interruption, "setup", lambda self, *_, **__: setattr(self, "received", signal.SIGTERM))
        with pytest.raises(Interrupted, match=r"0 of 2 pictures are repaired; the run goes on with resume=.*/run"):
            repair_all(cfg, RunFolder(tmp_path / "run"))
    saved = OmegaConf.load(tmp_path / "run" / "config.yaml")
    repair_all(saved, RunFolder(tmp_path / "run", resume=True))
    repair_all(cfg, RunFolder(tmp_path / "other" / "whole"))
    for name in ("a.png", "b.png"):
        ours, theirs = (run / name / "output.png" for run in (tmp_path / "run", tmp_path / "other" / "whole"))
        assert ours.read_bytes() == theirs.read_bytes()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").glob("*/*")}
    assert set(repair_all(saved, RunFolder(tmp_path / "run", resume=True))) == {"a.png", "b.png"}
    assert before == {path: path.stat().st_mtime_ns for path in before}  # nothing is left to do


def test_a_picture_without_a_mask_is_spoken_of_first_and_the_others_are_repaired(
    config, tmp_path, photograph, mask, caplog
):
    for name in ("in/a.png", "in/z.png", "m/a.png", "m/y.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(mask if name[0] == "m" else photograph, tmp_path / name)
    cfg = config(f"data.image={tmp_path}/in", f"data.mask={tmp_path}/m", "data.truth=null", "trainer.max_steps=1")
    caplog.set_level("INFO")
    with pytest.raises(UserError, match=r"1 of 2 pictures are not repaired: z\.png"):
        repair_all(cfg, RunFolder(tmp_path / "run"))
    said = [record.getMessage() for record in caplog.records if record.name == "dip.cli.batch"]
    assert said[0] == f"picture 1 of 2: {tmp_path}/in/z.png"
    assert f"m: none fits {tmp_path}/in/z.png; the nearest is {tmp_path}/m/y.png; name it z_mask.* or z.*" in said[1]
    assert (tmp_path / "run" / "a.png" / "inpainted.png").exists()


def test_a_folder_of_noisy_pictures_needs_no_masks(config, tmp_path, photograph):
    (tmp_path / "in").mkdir()
    for name in ("a.png", "b.png"):
        shutil.copy(photograph, tmp_path / "in" / name)
    keys = ["experiment=denoise", f"data.image={tmp_path}/in", "data.mask=null", "data.truth=null"]
    repair_all(config(*keys, f"output.path={tmp_path}/out"), RunFolder(tmp_path / "run"))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "b.png"]
    assert all((tmp_path / "run" / name / "restored.png").exists() for name in ("a.png", "b.png"))

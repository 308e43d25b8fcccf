import itertools
import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dip.config.build import build, read_data
from dip.repair.run import repair
from dip.results.folder import RunFolder
from dip.results.progress import Progress


def test_tensorboard_shows_loss_and_psnr_every_few_steps(config, tmp_path):
    repair(config("trainer.max_steps=30"), RunFolder(tmp_path / "run"))
    events = EventAccumulator(str(tmp_path / "run"), size_guidance={"scalars": 0}).Reload()
    assert set(events.Tags()["scalars"]) >= {"loss", "psnr_known", "psnr_hole"}
    assert [event.step for event in events.Scalars("psnr_hole")] == [1, 10, 20, 30]


def test_without_a_terminal_the_log_shows_the_progress(config, tmp_path, caplog):
    caplog.set_level("INFO")
    repair(config("callbacks.progress.every_steps=1"), RunFolder(tmp_path / "run"))
    lines = [message for message in caplog.messages if message.startswith("step ")]
    assert [line.partition(":")[0] for line in lines] == ["step 1 of 3", "step 2 of 3", "step 3 of 3"]
    assert all("loss 0." in line and "psnr_hole" in line and line.endswith(" dB") for line in lines)


def test_the_bar_counts_the_steps_of_the_run_from_the_one_that_it_resumes_at():
    progress = Progress(every_steps=10)
    progress.setup(SimpleNamespace(max_steps=30, global_step=20, is_global_zero=True), None, "fit")
    progress.on_train_start()
    assert (progress.train_progress_bar.n, progress.train_progress_bar.total) == (20, 30)


def test_progress_refuses_a_step_below_one(config, tmp_path):
    rule = "every_steps=0, but it must be a whole number, at least 1$"
    with pytest.raises(ValueError, match=f"^{rule}"):
        Progress(every_steps=0)
    cfg = config("callbacks.progress.every_steps=0")
    with pytest.raises(ValueError, match=rf"^callbacks\.progress\.{rule}"):
        build(cfg, read_data(cfg), RunFolder(tmp_path))


def test_a_preview_shows_the_picture_so_far_and_changes_nothing_of_the_result(config, tmp_path):
    given = ["trainer.max_steps=6", "input.noise=0.1"]
    watched = repair(config(*given, "callbacks.preview.every_seconds=0"), RunFolder(tmp_path / "watched"))
    alone = repair(config(*given), RunFolder(tmp_path / "alone"))
    found = json.loads((tmp_path / "watched" / "preview.json").read_text())
    assert (found["step"], found["last"], found["seconds_left"], found["has_ended"]) == (6, 6, 0, True)
    assert [step for step, _ in found["scores"]] == [1, 2, 3, 4, 5]  # at 6 they are given back
    with Image.open(tmp_path / "watched" / "preview.jpg") as picture:
        assert picture.size == (40, 32)
    assert not list((tmp_path / "alone").glob("preview.*"))
    assert watched["psnr_hole"] == alone["psnr_hole"]
    assert (tmp_path / "watched" / "inpainted.png").read_bytes() == (tmp_path / "alone" / "inpainted.png").read_bytes()


def test_previews_come_more_slowly_as_the_run_goes_on(config, tmp_path, monkeypatch):
    seconds = itertools.count()
    monkeypatch.setattr("dip.results.progress.time", SimpleNamespace(monotonic=lambda: next(seconds)))
    repair(config("trainer.max_steps=120", "callbacks.preview.every_seconds=2"), RunFolder(tmp_path / "run"))
    steps = [step for step, _ in json.loads((tmp_path / "run" / "preview.json").read_text())["scores"]]
    waits = np.diff(steps)
    assert sorted(waits) == list(waits)
    assert waits[-1] > 2 * waits[0]

"""Members of an ensemble that train at once: the same results as one after the other, and one signal for all."""

import json
import logging
import os
import signal
import time

import pytest
import torch
from omegaconf import OmegaConf
from pytorch_lightning import Callback

from dip.errors import Interrupted, UserError
from dip.training.interruption import listening


def outputs(folder):
    return {
        file.parent.relative_to(folder): torch.load(file, weights_only=True)["output"]
        for file in sorted(folder.rglob("output.pt"))
    }


def untimed(metrics):
    members = {name: untimed(member) for name, member in metrics.get("members", {}).items()}
    return {**{key: value for key, value in metrics.items() if key != "seconds"}, "members": members}


@pytest.mark.parametrize(
    "overrides",
    [
        ["members=3", "trainer.max_steps=6"],
        ["members=3", "trainer.max_steps=9", "stopping.every_steps=1", "stopping.patience_steps=1"],
        ["members=2", "hole_kind=large", "fill.members=2", "texture=none", "trainer.max_steps=8"],
        ["members=2", "input.noise=0.5", "callbacks.langevin.noise=0.1", "members_at_once=2"],
    ],
    ids=["plain", "early stops", "colours first", "noise"],
)
def test_members_at_once_are_the_same_as_one_after_the_other(config, run, tmp_path, overrides):
    one = run(config(*overrides, "members_at_once=1"), tmp_path / "one")
    both = run(config(*overrides, "members_at_once=2"), tmp_path / "both")
    assert untimed(one) == untimed(both)
    expected, found = outputs(tmp_path / "one"), outputs(tmp_path / "both")
    assert len(expected) >= 2
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)


class Signal(Callback):
    """A signal after a step, to the process, as Ctrl-C sends it."""

    def __init__(self, step: int):
        self.step = step

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step == self.step:
            os.kill(os.getpid(), signal.SIGINT)
            while listening[0].received is None:
                time.sleep(0.01)


def test_ctrl_c_ends_all_that_train_and_they_all_resume(config, run, tmp_path):
    def press_ctrl_c(experiment):
        if experiment.cfg.seed == 1:
            experiment.trainer.callbacks.insert(0, Signal(4))

    given = ["members=3", "members_at_once=2", "trainer.max_steps=7"]
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted, match=r"0 of 3 runs are done; the run goes on with resume="):
        run(config(*given), tmp_path / "run", watch=press_ctrl_c)
    assert signal.getsignal(signal.SIGINT) is before
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    steps = [member["steps"] for member in metrics["members"].values()]
    assert steps == [4, 4]
    resumed = run(OmegaConf.load(tmp_path / "run" / "config.yaml"), tmp_path / "run", resume=True)
    fresh = run(config(*given), tmp_path / "fresh")
    assert resumed["psnr_hole"] == fresh["psnr_hole"]


def test_what_is_refused_to_one_member_is_raised_once_the_others_are_done(config, run, tmp_path):
    def refuse(experiment):
        if experiment.cfg.seed == 1:
            raise UserError("no")

    with pytest.raises(UserError, match=r"^no$"):
        run(config("members=3", "members_at_once=3"), tmp_path / "run", watch=refuse)
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert list(metrics["members"]) == ["member_1", "member_3"]


def test_the_log_is_that_of_the_first(config, run, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    run(config("members=3", "members_at_once=2", "callbacks.progress.every_steps=1"), tmp_path / "run")
    assert "ensemble members 1 to 2, at once, of 3" in caplog.messages
    assert "ensemble member 3 of 3" in caplog.messages
    assert sum("step 1 of 3" in line for line in caplog.messages) == 2


def test_a_scheduler_that_listens_for_signals_has_its_members_one_by_one(config, run, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    before = signal.signal(signal.SIGUSR1, lambda *received: None)
    try:
        run(config("members=2", "members_at_once=2"), tmp_path / "run")
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert "ensemble member 1 of 2" in caplog.messages

import json

import pytest
import torch
from pytorch_lightning import Callback

from dip.config.build import build, read_data
from dip.errors import UserError
from dip.repair.run import fit, repair
from dip.results.folder import RunFolder
from dip.training.rollback import DivergenceGuard


def experiment_of(cfg, path):
    return build(cfg, read_data(cfg), RunFolder(path))


def guard_of(experiment):
    (guard,) = [callback for callback in experiment.callbacks if isinstance(callback, DivergenceGuard)]
    return guard


class Fall(Callback):
    """In step 4 the output seems to be something else altogether; `good` are the weights after step 2."""

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step == 2:
            self.good = [parameter.detach().clone() for parameter in pl_module.parameters()]
        if trainer.global_step == 4:
            outputs["output"].fill_(9.0)


@pytest.mark.parametrize(("drop_db", "returns"), [("1", True), ("50", False), ("null", False)])
def test_the_guard_returns_to_the_weights_before_the_fall(config, tmp_path, caplog, drop_db, returns):
    caplog.set_level("INFO")
    options = [f"callbacks.back_tracking.drop_db={drop_db}", "callbacks.back_tracking.every_steps=1"]
    experiment = experiment_of(config(*options, "trainer.max_steps=4"), tmp_path)
    fall = Fall()
    experiment.trainer.callbacks = [fall, guard_of(experiment)]
    experiment.trainer.fit(experiment.prior, datamodule=experiment.data)
    same = [torch.equal(*pair) for pair in zip(experiment.prior.parameters(), fall.good, strict=True)]
    assert all(same) == returns
    assert ("rolled back to the last good weights" in caplog.text) == returns


class Broken(Callback):
    """Writes NaN into the weights after step 3, as an overflow would; with `again` after each later step too."""

    def __init__(self, again=False):
        self.again = again

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step == 3 or self.again:
            with torch.no_grad():
                next(pl_module.parameters()).fill_(torch.nan)


def test_a_run_recovers_from_nan(config, tmp_path, caplog):
    experiment = experiment_of(config("callbacks.back_tracking.every_steps=1", "trainer.max_steps=8"), tmp_path)
    experiment.trainer.callbacks.append(Broken())
    metrics = fit(experiment, RunFolder(tmp_path)).metrics
    assert metrics["steps"] == 8
    assert 0 < metrics["loss"] < 1
    assert "step 4: rolled back to the last good weights: psnr_known went from" in caplog.text
    assert all(parameter.isfinite().all() for parameter in experiment.prior.parameters())


@pytest.mark.parametrize("before", [True, False])
def test_no_rule_keeps_a_state_with_nan(config, tmp_path, before):
    options = ["callbacks.back_tracking.every_steps=1", "trainer.max_steps=4"]
    cfg = config(*options, "stopping.every_steps=1", "stopping.refit_share=0")
    experiment = experiment_of(cfg, tmp_path)
    place = 0 if before else len(experiment.trainer.callbacks)
    experiment.trainer.callbacks.insert(place, Broken())
    metrics = fit(experiment, RunFolder(tmp_path)).metrics
    assert metrics["best_step"] <= (2 if before else 3)  # the output of step 4 is that of the broken weights
    assert torch.isfinite(torch.tensor([metrics["psnr_held_out"], metrics["psnr_known"]])).all()


@pytest.mark.parametrize("patience", ["1", "null"])
def test_a_run_that_keeps_diverging_ends_with_its_last_good_weights_and_says_so(config, tmp_path, caplog, patience):
    built = []

    def build_broken(*arguments):
        experiment = build(*arguments)
        experiment.trainer.callbacks.append(Broken(again=True))
        built.append(experiment)
        return experiment

    options = ["callbacks.back_tracking.every_steps=1", "callbacks.back_tracking.at_most=3", "trainer.max_steps=20"]
    cfg = config(*options, "stopping.every_steps=1", f"stopping.patience_steps={patience}")
    with pytest.raises(UserError, match=r"diverged 3 times, the last time at step 4; .* lower optimizer.lr=0.01"):
        repair(cfg, RunFolder(tmp_path), build_broken)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert (metrics["stopped_by"], metrics["steps"]) == ("diverged", 4)
    assert guard_of(built[-1]).times == 3
    assert "learning rate 0.0025" in caplog.text
    assert torch.isfinite(torch.tensor(metrics["psnr_known"]))
    with pytest.raises(UserError, match=r"diverged; start a new one with a lower optimizer.lr=0.01"):
        repair(cfg, RunFolder(tmp_path, resume=True))


@pytest.mark.parametrize(
    ("key", "value", "rule"),
    [
        ("drop_db", 0.0, "a number, above 0, or null; null turns the check off"),
        ("every_steps", 0, "a whole number, at least 1"),
        ("lr_factor", 2.0, "a number, above 0 and at most 1"),
        ("at_most", 0, "a whole number, at least 1"),
    ],
)
def test_the_guard_refuses_what_makes_no_sense(config, tmp_path, key, value, rule):
    with pytest.raises(UserError, match=rf"^{key}={value}, but it must be {rule}$"):
        DivergenceGuard(**{"drop_db": 5.0, "every_steps": 1, "lr_factor": 0.5, "at_most": 1} | {key: value})
    with pytest.raises(UserError, match=rf"^callbacks\.back_tracking\.{key}={value}, but it must be {rule}$"):
        experiment_of(config(f"callbacks.back_tracking.{key}={value}"), tmp_path)

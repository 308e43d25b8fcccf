import json

import numpy as np
import pytest
import torch
from PIL import Image
from pytorch_lightning import Callback

from dip.config.build import build, read_data
from dip.image.metrics import biharmonic, psnr
from dip.image.tensors import to_pil
from dip.prior.averages import of_pixels
from dip.prior.sample import Sample, SingleSample
from dip.repair.advice import summary_table
from dip.repair.run import fit, repair
from dip.results.folder import RunFolder
from dip.results.result import Result
from dip.training.stopping import HeldOut, MovingVariance, Stopping, WindowVariance

FEW = ["stopping.every_steps=1", "stopping.patience_steps=2", "stopping.min_gain=0"]


class Scripted(Stopping):
    """The scores are given, one a step."""

    name = tag = "scripted"

    def __init__(self, scores, patience_steps=2, min_gain=0.0):
        super().__init__(1, patience_steps, min_gain)
        self.scores = iter(scores)

    def score(self, picture, batch):
        return next(self.scores)


class States(Callback):
    """The first weight after each step, and whether pixels were held out in it."""

    def __init__(self):
        self.weights, self.held_out = {}, {}

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.weights[trainer.global_step] = next(pl_module.parameters()).detach().clone()
        self.held_out[trainer.global_step] = batch.held_out is not None


def experiment_of(cfg, path):
    return build(cfg, read_data(cfg), RunFolder(path))


def with_rule(config, tmp_path, rule, *overrides):
    experiment = experiment_of(config("stopping=none", "average=none", "trainer.max_steps=9", *overrides), tmp_path)
    experiment.trainer.callbacks.insert(1, rule)
    states = States()
    experiment.trainer.callbacks.insert(0, states)
    return experiment, states


def test_a_run_ends_when_its_score_has_not_risen_for_long_and_its_best_state_is_the_result(
    config, tmp_path, monkeypatch
):
    rule = Scripted([1, 2, 5, 4, 4, 9, 9])
    experiment, states = with_rule(config, tmp_path, rule)
    weights = []
    predict = experiment.prior.predict
    monkeypatch.setattr(
        experiment.prior,
        "predict",
        lambda: weights.append(next(experiment.prior.parameters()).detach().clone()) or predict(),
    )
    metrics = fit(experiment, RunFolder(tmp_path)).metrics
    assert (metrics["steps"], metrics["stopped_by"], metrics["best_step"]) == (5, "scripted", 3)
    assert torch.equal(weights[0], states.weights[3])
    # The run would resume from the last state.
    assert torch.equal(next(experiment.prior.parameters()), states.weights[5])


def test_result_and_uncertainty_of_averaged_outputs_are_those_of_the_best_state(config, tmp_path):
    averages = {}

    class Averages(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            average = pl_module.average
            averages[trainer.global_step] = average.mean.clone(), of_pixels(average.deviation)

    experiment = experiment_of(config("stopping=none", "input.noise=0.5", "trainer.max_steps=9"), tmp_path)
    experiment.trainer.callbacks = [Averages(), Scripted([1, 2, 5, 4, 4]), *experiment.trainer.callbacks]
    assert fit(experiment, RunFolder(tmp_path)).metrics["best_step"] == 3
    mean, deviation = averages[3]
    for name, picture in (("output", mean), ("uncertainty", deviation / deviation.max())):
        with Image.open(tmp_path / f"{name}.png") as file:
            assert np.array_equal(np.array(file), np.array(to_pil(picture))), name
    assert not torch.equal(deviation, averages[5][1])


def test_a_gain_that_is_too_small_does_not_count(config, tmp_path):
    experiment, _ = with_rule(config, tmp_path, Scripted([5, 5.1, 5.2, 5.3, 5.4], min_gain=0.5))
    metrics = fit(experiment, RunFolder(tmp_path)).metrics
    assert (metrics["steps"], metrics["best_step"]) == (3, 1)


def test_max_steps_ends_a_run_whose_score_rises_and_its_best_state_is_the_result(config, tmp_path):
    experiment, _ = with_rule(config, tmp_path, Scripted([1, 2, 3, 4, 5, 6, 7, 9, 8]))
    metrics = fit(experiment, RunFolder(tmp_path)).metrics
    assert (metrics["steps"], metrics["stopped_by"], metrics["best_step"]) == (9, "max_steps", 8)


def test_the_loss_does_not_see_what_is_held_out_until_the_last_part_of_the_run(config, tmp_path):
    losses = {}

    class Losses(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            losses.setdefault(trainer, []).append(outputs["loss"].item())

    options = ["stopping.share=0.1", "stopping.refit_share=0.5", "trainer.max_steps=6"]
    curves = []
    for wrong in (False, True):
        experiment = experiment_of(config(*options), tmp_path / str(wrong))
        sample = experiment.data.sample
        if wrong:
            target = torch.where(sample.held_out, 1 - sample.target, sample.target)
            experiment = experiment._replace(data=SingleSample(*sample._replace(target=target)[:4]))
        states, seen = States(), Losses()
        experiment.trainer.callbacks = [states, seen, *experiment.trainer.callbacks]
        fit(experiment, RunFolder(tmp_path / str(wrong)))
        curves.append(losses[experiment.trainer])
        assert list(states.held_out.values()) == [True] * 3 + [False] * 3
    assert curves[0][:3] == curves[1][:3]
    assert curves[0][3:] != curves[1][3:]


def test_held_out_stops_restores_its_best_state_and_trains_on_all_pixels(config, tmp_path, monkeypatch):
    scores = iter([1.0, 4.0, 3.0, 3.0, 9.0])
    monkeypatch.setattr(HeldOut, "score", lambda self, picture, batch: next(scores))
    experiment = experiment_of(config(*FEW, "stopping.refit_share=0.2", "trainer.max_steps=10"), tmp_path)
    states = States()
    experiment.trainer.callbacks.insert(0, states)
    metrics = fit(experiment, RunFolder(tmp_path)).metrics
    assert (metrics["steps"], metrics["stopped_by"]) == (6, "held_out")
    assert (metrics["best_step"], metrics["psnr_held_out"]) == (2, 4.0)
    assert [step for step, held in states.held_out.items() if not held] == [5, 6]
    # One step of Adam moves a weight by its rate at most, from the best state.
    assert (states.weights[5] - states.weights[2]).abs().max() < 0.012


def test_a_run_that_a_rule_has_stopped_is_complete(config, tmp_path, monkeypatch, caplog):
    scores = iter([1.0, 0.0, 0.0])
    monkeypatch.setattr(HeldOut, "score", lambda self, picture, batch: next(scores))
    cfg = config(*FEW, "stopping.refit_share=0", "trainer.max_steps=9")
    metrics = repair(cfg, RunFolder(tmp_path))
    assert metrics["stopped_by"] == "held_out"
    caplog.set_level("INFO")
    again = repair(cfg, RunFolder(tmp_path, resume=True))
    assert again == json.loads((tmp_path / "metrics.json").read_text())
    assert "is complete after 3 steps; held_out has stopped it" in caplog.text


def test_the_score_of_held_out_pixels_is_their_psnr():
    target = torch.full((1, 3, 8, 8), 0.5)
    region = torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    region[..., :2, :2] = True
    sample = Sample(target, torch.ones(1, 1, 8, 8), None, region)
    picture = torch.where(region, target + 0.1, target + 0.4)
    rule = HeldOut(share=0.1, seed=0, refit_share=0, every_steps=1, patience_steps=1, min_gain=0)
    assert rule.score(picture, sample) == pytest.approx(20, abs=1e-3)
    assert torch.equal(sample.loss_mask, 1 - region.float())


def test_a_run_that_is_worse_than_biharmonic_inpainting_says_so_without_ground_truth(config, tmp_path, caplog):
    caplog.set_level("INFO")
    said = "Biharmonic inpainting does better on the held-out pixels"
    few = ["data.truth=null", "trainer.max_steps=2", "stopping.every_steps=1", "stopping.refit_share=0"]
    experiment = experiment_of(config(*few), tmp_path)
    metrics = fit(experiment, RunFolder(tmp_path)).metrics
    assert metrics["psnr_held_out"] < metrics["psnr_held_out_biharmonic"]
    assert said in caplog.text
    sample = experiment.data.sample
    smooth = biharmonic(sample.target * sample.loss_mask, sample.loss_mask)
    expected = psnr(smooth, sample.target, sample.held_out)
    assert metrics["psnr_held_out_biharmonic"] == pytest.approx(expected, abs=1e-6)
    caplog.clear()
    better = summary_table(Result({**metrics, "psnr_held_out": 99.0}, None, file=tmp_path))
    assert said not in better


def test_the_window_variance_is_that_of_its_pictures():
    rule = WindowVariance(window_steps=30, every_steps=10, patience_steps=100, min_gain=0)
    pictures = torch.rand(5, 1, 3, 8, 8)
    scores = [rule.score(picture, None) for picture in pictures]
    assert scores[:2] == [None, None]
    for last in (3, 4, 5):
        assert scores[last - 1] == pytest.approx(-pictures[last - 3 : last].var(dim=0, correction=0).mean().item())


def test_the_moving_variance_is_that_of_a_moving_average():
    rule = MovingVariance(decay=0.5, every_steps=10, patience_steps=100, min_gain=0)
    pictures = torch.rand(6, 1, 3, 8, 8)
    mean, variance = pictures[0], 0.0
    scores = [rule.score(picture, None) for picture in pictures]
    assert scores[0] is None
    for picture, score in zip(pictures[1:], scores[1:], strict=True):
        variance = 0.5 * (variance + 0.5 * (picture - mean).square().mean().item())
        mean = (mean + picture) / 2
        assert score == pytest.approx(-variance)


@pytest.mark.parametrize(
    ("rule", "wrong"),
    [
        ("held_out", "share=0.6"),
        ("held_out", "refit_share=1"),
        ("held_out", "min_gain=-1"),
        ("held_out", "every_steps=0"),
        ("held_out", "patience_steps=5"),
        ("window_variance", "window_steps=10"),
        ("moving_variance", "decay=1"),
    ],
)
def test_a_rule_refuses_what_makes_no_sense(config, tmp_path, rule, wrong):
    with pytest.raises(ValueError, match=rf"stopping\.{wrong}"):
        experiment_of(config(f"stopping={rule}", f"stopping.{wrong}"), tmp_path)

import numpy as np
import pytest
import torch
from PIL import Image
from pytorch_lightning import Callback
from torch import nn

from dip.config.build import build, read_data
from dip.errors import UserError
from dip.prior.averages import OutputAverage, WeightAverage
from dip.repair.run import fit
from dip.results.folder import RunFolder

TARGET = torch.zeros(1, 3, 4, 5)
OUTPUTS = torch.rand(20, *TARGET.shape, generator=torch.Generator().manual_seed(0))
NETWORK = (nn.Identity(), nn.Identity())


def built(cfg, folder):
    return build(cfg, read_data(cfg), RunFolder(folder))


def averaged(decay, burn_in_share=0.0):
    average = OutputAverage(TARGET, len(OUTPUTS), decay, burn_in_share)
    for output in OUTPUTS:
        average.update(*NETWORK, output)
    return average


def test_with_decay_1_the_average_is_the_plain_mean_with_its_variance():
    average = averaged(1.0)
    torch.testing.assert_close(average.predict(), OUTPUTS.mean(dim=0))
    torch.testing.assert_close(average.variance, OUTPUTS.var(dim=0, correction=0))


def test_burn_in_does_not_count():
    average = averaged(1.0, 0.25)
    torch.testing.assert_close(average.predict(), OUTPUTS[5:].mean(dim=0))
    torch.testing.assert_close(average.variance, OUTPUTS[5:].var(dim=0, correction=0))


def test_with_decay_the_average_forgets():
    # The first four have equal weights, as many as a memory of 1 / (1 - 0.75) holds; each later one takes a quarter.
    expected = OUTPUTS[:4].mean(dim=0)
    for output in OUTPUTS[4:]:
        expected = 0.75 * expected + 0.25 * output
    torch.testing.assert_close(averaged(0.75).predict(), expected)


def test_within_burn_in_the_picture_is_the_last_output():
    average = OutputAverage(TARGET, 100, 0.9, 0.5)
    for output in OUTPUTS:
        picture = average.update(*NETWORK, output)
        assert torch.equal(picture, output)
    assert not average.variance.any()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["average=outputs", "average.decay=0"],
            r"average\.decay=0, but it must be a number, above 0 and at most 1; 1 is the mean of all outputs",
        ),
        (["average=outputs", "average.decay=1.1"], r"average\.decay=1\.1"),
        (
            ["average=outputs", "average.burn_in_share=1"],
            r"average\.burn_in_share=1, but it must be a number, at least 0 and below 1; a share of the steps",
        ),
        (["average=weights", "average.decay=1"], r"average\.decay=1, but it must be a number, above 0 and below 1"),
        (["callbacks.langevin.noise=-1"], r"callbacks\.langevin\.noise=-1"),
    ],
)
def test_bad_values_are_refused(config, tmp_path, overrides, message):
    with pytest.raises(UserError, match=message):
        built(config(*overrides), tmp_path)


class Weights(Callback):
    def __init__(self):
        self.seen = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        parts = (pl_module.model, pl_module.input)
        self.seen.append([weight.detach().clone() for part in parts for weight in part.parameters()])


def test_weights_are_averaged_as_the_outputs_saw_them(config, tmp_path):
    experiment = built(config("average=weights", "average.decay=0.75", "optimizer.lr=0.05"), tmp_path)
    weights = Weights()
    experiment.trainer.callbacks = [weights]
    experiment.trainer.fit(experiment.prior, datamodule=experiment.data)
    expected = weights.seen[0]
    for seen in weights.seen[1:]:
        expected = [0.75 * mean + 0.25 * weight for mean, weight in zip(expected, seen, strict=True)]
    assert isinstance(experiment.prior.average, WeightAverage)
    torch.testing.assert_close(list(experiment.prior.average.parameters()), expected)


def test_the_result_and_the_checkpoint_are_the_average(config, tmp_path):
    for name in ("outputs", "weights"):
        cfg = config(f"average={name}", "average.decay=0.5", "trainer.max_steps=6", "optimizer.lr=0.1")
        experiment = built(cfg, tmp_path / name)
        fit(experiment, RunFolder(tmp_path / name))
        saved = torch.load(tmp_path / name / "checkpoints" / "last.ckpt", weights_only=True)
        other = built(cfg, tmp_path / "other").prior
        other.load_state_dict(saved["state_dict"])
        with Image.open(tmp_path / name / "output.png") as picture:
            result = np.array(picture)
        for output in (experiment.prior.predict(), other.predict()):
            assert np.array_equal(result, np.rint(255 * output[0].clamp(0, 1).permute(1, 2, 0).numpy()))
        last = experiment.prior
        last.average = None
        assert not np.array_equal(result, np.rint(255 * last.predict()[0].clamp(0, 1).permute(1, 2, 0).numpy()))


@pytest.mark.parametrize("average", ["outputs", "weights"])
def test_a_step_counts_once_however_often_its_optimizer_tries(config, tmp_path, average):
    experiment = built(config(f"average={average}", "optimizer=lbfgs", "optimizer.max_iter=4"), tmp_path)
    updates, update = [], experiment.prior.average.update
    experiment.prior.average.update = lambda *given: updates.append(experiment.trainer.global_step) or update(*given)
    experiment.trainer.fit(experiment.prior, datamodule=experiment.data)
    assert updates == [0, 1, 2]


def test_uncertainty_is_the_deviation_of_the_averaged_outputs(config, tmp_path, caplog):
    caplog.set_level("INFO")
    experiment = built(config("average=outputs", "average.decay=1", "callbacks.langevin.noise=2"), tmp_path / "run")
    fit(experiment, RunFolder(tmp_path / "run"))
    deviation = experiment.prior.average.variance.mean(dim=1)[0].sqrt()
    with Image.open(tmp_path / "run" / "uncertainty.png") as picture:
        pixels = np.array(picture)
    assert (pixels.shape, pixels.max()) == ((32, 40), 255)
    np.testing.assert_allclose(pixels / 255, (deviation / deviation.max()).numpy(), atol=0.5 / 255 + 1e-6)
    assert f"white is a standard deviation of {deviation.max():.4f}" in caplog.text


def test_without_an_average_there_is_no_uncertainty(config, tmp_path):
    fit(built(config("average=none"), tmp_path / "run"), RunFolder(tmp_path / "run"))
    assert not (tmp_path / "run" / "uncertainty.png").exists()


def test_langevin_noise_is_of_the_size_it_says(config, tmp_path):
    # A learning rate so small that the noise is all that moves the weights, but for Adam's own step of that size.
    overrides = ["callbacks.langevin.noise=1000", "optimizer.lr=1e-5", "trainer.max_steps=1", "model.widths=[32,32]"]
    experiment = built(config(*overrides), tmp_path)
    before = {name: weight.detach().clone() for name, weight in experiment.prior.model.named_parameters()}
    experiment.trainer.fit(experiment.prior, datamodule=experiment.data)
    moved = {name: weight.detach() - before[name] for name, weight in experiment.prior.model.named_parameters()}
    kernels = torch.cat([change.flatten() for change in moved.values() if change.ndim == 4])
    assert kernels.std().item() == pytest.approx(0.01, rel=0.05)
    assert max(change.abs().max().item() for change in moved.values() if change.ndim == 1) < 1e-4

"""What only a GPU can show: the captured step against the plain one, its fallback, memory, resume and Ctrl-C there."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial

import pytest
import torch
from pytorch_lightning import Callback
from torch import nn

from dip.config.build import Experiment
from dip.config.compose import compose
from dip.errors import Interrupted, UserError
from dip.prior.operators.operator import picture_shape
from dip.training.cuda_graph import CapturedStep
from dip.training.holdout import Evidence

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")]
GPU = ["trainer.accelerator=gpu", "trainer.max_steps=10", "callbacks.images=null", "callbacks.animation=null"]
SLOW = "without a CUDA graph, which is slower"


class Curve(Callback):
    """The loss of each step, and how many of them came from a captured step."""

    def __init__(self, experiment: Experiment):
        self.losses: list[float] = []
        self.captured = 0
        experiment.trainer.callbacks.insert(0, self)  # pyright: ignore[reportAttributeAccessIssue]

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.losses.append(outputs["loss"].item())
        self.captured += isinstance(pl_module.step, CapturedStep)


@pytest.fixture(autouse=True)
def exact() -> Iterator[None]:
    """Convolutions in float32, not in TensorFloat32."""
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = True


@pytest.fixture
def curve(config, run, tmp_path):
    """curve("key=value", ...): a run's losses, and how many of its steps were captured."""

    def curve(*overrides: str):
        seen = []
        folder = tmp_path / f"run_{len(list(tmp_path.iterdir()))}"
        run(config(*GPU, *overrides), folder, watch=lambda experiment: seen.append(Curve(experiment)))
        return seen[-1].losses, seen[-1].captured

    return curve


def is_same(captured, plain):
    assert captured[1] == len(captured[0])
    assert plain[1] == 0
    # Rounding differs from run to run, and each step multiplies what it makes of it.
    assert captured[0][:5] == pytest.approx(plain[0][:5], rel=2e-3)
    assert captured[0] == pytest.approx(plain[0], rel=0.03)


@pytest.mark.parametrize("network", ["unet", "unet_linear", "skip", "resnet", "deep_decoder"])
def test_every_network_learns_the_same_from_a_captured_step(curve, network):
    choice = [f"model={network}", "input.noise=0.0"]
    is_same(curve(*choice), curve(*choice, "callbacks.graph=null"))


@pytest.mark.parametrize(
    "overrides",
    [
        ["stopping.every_steps=1", "stopping.patience_steps=4", "stopping.refit_share=0.3"],
        ["stopping.refit_share=0.3"],
        ["optimizer=lbfgs", "optimizer.lr=0.1", "optimizer.max_iter=3", "input.noise=0.0"],
        ["scheduler=cosine"],
        ["scheduler=warmup", "scheduler.total_iters=5"],
        ["average=weights", "average.decay=0.5"],
        ["average=none"],
        ["penalty=total_variation", "penalty.weight=0.1"],
        ["penalty.weight=1", "penalty.blur_sd=1"],
        ["loss=masked_mse_ssim", "loss.ssim_weight=0.2"],
        ["loss=masked_huber"],
        ["fill.weight=1", "large_from=2", "fill.members=2", "hole_kind=large", "texture=none"],
        ["model.activation_checkpointing=true"],
        ["callbacks.back_tracking.every_steps=1", "callbacks.back_tracking.drop_db=0.01"],
        ["frozen=[BatchNorm2d]"],
        ["input.lr=0.001"],
        ["+trainer.gradient_clip_val=0.1"],
    ],
    ids=lambda overrides: overrides[0],
)
def test_every_option_does_the_same_to_a_captured_step(curve, overrides):
    is_same(curve(*overrides), curve(*overrides, "callbacks.graph=null"))


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
def test_a_run_in_mixed_precision_learns(curve, precision, caplog):
    losses, captured = curve(f"trainer.precision={precision}", "trainer.max_steps=40")
    assert losses[-1] < losses[0] / 2
    assert captured == (40 if precision == "bf16-mixed" else 0)
    assert (SLOW in caplog.text) == (precision == "16-mixed")


def test_the_noise_of_the_input_is_new_in_every_replay_and_the_same_as_without(curve):
    still = ["input.noise=0.5", "optimizer.lr=1e-12", "average=none"]
    captured, plain = curve(*still)[0], curve(*still, "callbacks.graph=null")[0]
    assert len(set(captured)) == len(captured)
    assert captured == pytest.approx(plain, rel=2e-3)


class Waits(nn.Module):
    """A network that looks at a value on the GPU in every pass."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.layer = nn.Conv2d(in_channels, out_channels, 3, padding=1)

    def forward(self, x):
        return self.layer(x) * (1 if x.sum().item() > 0 else 2)


def test_a_network_that_cannot_be_captured_trains_as_it_is(curve, caplog):
    choice = ["model=any", f"model._target_={__name__}.Waits"]
    losses, captured = curve(*choice)
    assert captured == 0
    assert SLOW in caplog.text
    assert losses == pytest.approx(curve(*choice, "callbacks.graph=null")[0], rel=2e-3)


class Refuse(Callback):
    """From before a step that does not report until after its last callback nothing may wait for the GPU."""

    def __init__(self, mode: str):
        self.mode = mode

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if self.mode == "error" and trainer.global_step in range(21, 29):
            torch.cuda.set_sync_debug_mode(self.mode)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if self.mode == "default":
            torch.cuda.set_sync_debug_mode(self.mode)


@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
@pytest.mark.parametrize("graph", [True, False])
def test_no_step_waits_for_the_gpu_but_those_that_report(config, run, tmp_path, graph):
    def watch(experiment):
        experiment.trainer.callbacks.insert(0, Refuse("error"))
        experiment.trainer.callbacks.append(Refuse("default"))

    off = [] if graph else ["callbacks.graph=null"]
    try:
        run(config(*GPU, "trainer.max_steps=35", "stopping.refit_share=0.1", *off), tmp_path / "run", watch=watch)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("recipe", ["quick", "quality", "denoise", "super_resolution"])
def test_a_result_is_refined_on_the_gpu_as_on_the_cpu(built, photograph, mask, tmp_path, recipe):
    files = [f"data.image={photograph}"] + [f"data.mask={mask}"] * recipe.startswith("qu")
    pictures = []
    for device in ("cpu", "gpu"):
        cfg = compose([f"experiment={recipe}", *files, f"trainer.accelerator={device}", "members=1"])
        writer = built(cfg, tmp_path / device).writer
        assert writer.device.type == {"cpu": "cpu", "gpu": "cuda"}[device]
        target = writer.photo.work.target
        output = torch.nn.functional.interpolate(target, picture_shape(writer.operator, target)[-2:])
        held_out = torch.zeros_like(target[:, :1], dtype=torch.bool)
        held_out[..., 4:12, 4:12] = True
        drawn, _, _, found = writer.draw_holes(output, Evidence(output, held_out, None))
        pictures.append(drawn)
        assert found["refine"]["weights"]
    assert (pictures[0] - pictures[1]).abs().mean() < 1e-3


def test_out_of_memory_is_one_line(config, run, tmp_path):
    torch.cuda.set_per_process_memory_fraction(1e-4)
    try:
        with pytest.raises(UserError, match=r"out of memory; lower data\.max_side"):
            run(config(*GPU, "model.widths=[2048,2048]"), tmp_path / "run")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def test_an_interrupted_run_resumes_on_the_gpu(config, run, tmp_path):
    def interrupt(experiment):
        class Signal(Callback):
            def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
                if trainer.global_step == 6:
                    signal.raise_signal(signal.SIGINT)

        experiment.trainer.callbacks.insert(0, Signal())

    whole, seen = tmp_path / "whole", []
    expected = run(config(*GPU), whole, watch=lambda experiment: seen.append(Curve(experiment)))
    with pytest.raises(Interrupted):
        run(config(*GPU), tmp_path / "cut", watch=interrupt)
    found = run(config(*GPU), tmp_path / "cut", resume=True, watch=lambda experiment: seen.append(Curve(experiment)))
    assert (found["steps"], len(seen[-1].losses)) == (10, 4)
    assert seen[-1].losses == pytest.approx(seen[0].losses[6:], rel=5e-3)
    assert found["psnr_known"] == pytest.approx(expected["psnr_known"], abs=0.1)


def test_ctrl_c_saves_what_there_is(photograph, mask, tiny, repository, tmp_path):
    files = [f"data.image={photograph}", f"data.mask={mask}", f"hydra.run.dir={tmp_path / 'run'}"]
    # A test in the background ignores Ctrl-C, and so would what it starts.
    heard = partial(subprocess.Popen, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    command = [sys.executable, repository / "train.py", *tiny, *GPU, *files, "trainer.max_steps=30000"]
    process = heard(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    said = next(line for line in process.stderr if "of 30000" in line)
    process.send_signal(signal.SIGINT)
    said += process.communicate(timeout=120)[1]
    assert process.returncode == 130, said
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["stopped_by"] == "interrupt"
    assert (tmp_path / "run" / "checkpoints" / "last.ckpt").exists()

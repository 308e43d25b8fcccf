import json
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from pytorch_lightning import Callback
from torch.utils._python_dispatch import TorchDispatchMode

from dip.repair.run import repair
from dip.results.folder import RunFolder
from dip.training import cuda_graph
from dip.training.cuda_graph import CapturedStep, CudaGraph


def metrics_of(cfg, path: Path) -> dict[str, float]:
    repair(cfg, RunFolder(path))
    found = json.loads((path / "metrics.json").read_text())
    del found["seconds"]
    return found


class Replayed(CapturedStep):
    """A captured step for this machine: each replay computes loss and gradients in its own tensors."""

    def __init__(self, prior, sample):
        self.prior, self.replays = prior, []
        self.target, self.mask = sample.target.clone(), sample.loss_mask.clone()
        self.parameters = [parameter for parameter in prior.parameters() if parameter.requires_grad]
        self.graph = SimpleNamespace(replay=self.replay)

    def replay(self):
        self.replays.append(self.mask.sum().item())
        self.loss, self.output, self.gradients = self.forward_backward(self.prior)


@pytest.fixture
def capturing(monkeypatch):
    """CudaGraph takes this machine's batches for a GPU's; `capturing.capture` is what captures a step."""
    stand_in = SimpleNamespace(capture=Replayed, steps=[])

    def start(callback, trainer, pl_module, batch, batch_idx):
        target = SimpleNamespace(device=torch.device("cuda"), clone=batch.target.clone)
        original(callback, trainer, pl_module, batch._replace(target=target), batch_idx)

    def capture(*arguments):
        stand_in.steps.append(stand_in.capture(*arguments))
        return stand_in.steps[-1]

    original = CudaGraph.on_train_batch_start
    monkeypatch.setattr(CudaGraph, "on_train_batch_start", start)
    monkeypatch.setattr(cuda_graph, "CapturedStep", capture)
    return stand_in


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["stopping.every_steps=1", "stopping.patience_steps=4", "stopping.refit_share=0.3"],
        ["optimizer=lbfgs", "optimizer.max_iter=3"],
        ["+trainer.gradient_clip_val=0.1"],
        ["experiment=super_resolution", "data.mask=null", "data.truth=null"],
    ],
    ids=["default", "held_out", "lbfgs", "clipped", "downsample"],
)
def test_training_goes_through_the_captured_step(config, tmp_path, capturing, overrides):
    plain = metrics_of(config("callbacks.graph=null", "trainer.max_steps=10", *overrides), tmp_path / "plain")
    captured = metrics_of(config("trainer.max_steps=10", *overrides), tmp_path / "captured")
    (step,) = capturing.steps
    assert len(step.replays) >= plain["steps"]
    assert captured == plain


def test_held_out_pixels_are_given_back_to_a_captured_step(config, tmp_path, capturing):
    metrics_of(config("trainer.max_steps=10", "stopping.refit_share=0.3"), tmp_path / "run")
    known = capturing.steps[0].replays
    assert known == [known[0]] * 7 + [known[-1]] * 3
    assert known[0] < known[-1] == 40 * 32 - 10 * 8


def test_without_a_capture_the_run_continues_and_says_so(config, tmp_path, capturing, caplog):
    def refuse(*_):
        raise RuntimeError("operation not permitted\nwhen stream is capturing")

    capturing.capture = refuse
    metrics = metrics_of(config(), tmp_path / "run")
    assert "without a CUDA graph, which is slower: operation not permitted when stream is capturing" in caplog.text
    assert metrics["steps"] == 3


def test_nothing_is_captured_on_a_cpu(config, tmp_path, monkeypatch):
    monkeypatch.delattr(torch.cuda, "CUDAGraph")
    assert metrics_of(config(), tmp_path / "run")["steps"] == 3


WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal")  # what a GPU must finish for


class Waits(TorchDispatchMode):
    """Counts the operators that would wait for a GPU."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        by_values = func._overloadpacket._qualified_op_name.removeprefix("aten::") in WAITING
        picked = func is torch.ops.aten.index.Tensor and any(
            index is not None and index.dtype == torch.bool for index in args[1]
        )
        self.count += by_values or picked
        return func(*args, **(kwargs or {}))


class Steps(Callback):
    """How often each step, with all callbacks after this one, would have waited."""

    def __init__(self, waits: Waits):
        self.waits = waits
        self.counts: list[int] = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.counts.append(self.waits.count)


def test_no_step_would_wait_for_a_gpu_but_those_that_report(config, run, tmp_path):
    waits = Waits()
    steps = Steps(waits)
    options = ["trainer.max_steps=31", "callbacks.images=null", "callbacks.animation=null", "stopping.refit_share=0"]
    with waits:
        cfg = config(*options, "penalty.weight=1", "callbacks.weight_jitter.share=0.01")
        run(cfg, tmp_path / "run", watch=lambda experiment: experiment.trainer.callbacks.insert(0, steps))
    each = [after - before for before, after in pairwise(steps.counts)]
    assert [step for step, count in enumerate(each, 1) if count] == [1, 10, 20, 30]

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from dip.repair.run import repair
from dip.results.folder import RunFolder
from dip.training.cuda_graph import CudaGraph


def run(cfg, path: Path) -> dict[str, float]:
    repair(cfg, RunFolder(path))
    found = json.loads((path / "metrics.json").read_text())
    del found["seconds"]
    return found


@pytest.fixture
def capturing(monkeypatch):
    """CudaGraph takes this machine's batches for a GPU's; `capturing.capture` is what torch.cuda would do."""
    stand_in = SimpleNamespace(capture=lambda module, sample_args, **_: module, batches=[])

    def start(callback, trainer, pl_module, batch, batch_idx):
        target = SimpleNamespace(device=torch.device("cuda"))
        original(callback, trainer, pl_module, batch._replace(target=target), batch_idx)

    def capture(module, sample_args, **options):
        stand_in.batches.append(sample_args)
        return stand_in.capture(module, sample_args, **options)

    original = CudaGraph.on_train_batch_start
    monkeypatch.setattr(CudaGraph, "on_train_batch_start", start)
    monkeypatch.setattr(torch.cuda, "make_graphed_callables", capture)
    return stand_in


def test_training_goes_through_the_captured_step(config, tmp_path, capturing):
    replayed = []

    def capture(module, sample_args, **_):
        own = module.forward

        def replay(target, mask):
            replayed.append(1)
            return own(target, mask)

        module.forward = replay
        return module

    plain = run(config("callbacks.graph=null", "trainer.max_steps=5"), tmp_path / "plain")
    capturing.capture = capture
    captured = run(config("trainer.max_steps=5"), tmp_path / "captured")
    assert len(capturing.batches) == 1
    assert len(replayed) == 5
    assert captured == plain


def test_without_a_capture_the_run_continues_and_says_so(config, tmp_path, capturing, caplog):
    def refuse(*_, **__):
        raise RuntimeError("operation not permitted\nwhen stream is capturing")

    capturing.capture = refuse
    metrics = run(config(), tmp_path / "run")
    assert "without a CUDA graph, which is slower: operation not permitted when stream is capturing" in caplog.text
    assert metrics["steps"] == 3


def test_nothing_is_captured_on_a_cpu(config, tmp_path, monkeypatch):
    monkeypatch.delattr(torch.cuda, "make_graphed_callables")
    assert run(config(), tmp_path / "run")["steps"] == 3

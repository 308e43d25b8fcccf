import json
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from pytorch_lightning import Callback
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from dip.callbacks import BackTracking, CudaGraph, Interruption, Overview, Progress, WeightJitter, growing_steps
from dip.command import Interrupted
from dip.experiment import build
from dip.module import DeepImagePrior
from dip.repair import repair


def run(cfg, folder):
    return repair(build(cfg, folder), folder)


def test_growing_steps_are_dense_early_and_hold_both_ends():
    steps = sorted(growing_steps(1500, 40))
    assert steps[:4] == [1, 2, 3, 4]
    assert steps[-1] == 1500
    assert len(steps) <= 40
    assert sum(step <= 150 for step in steps) > 20
    assert growing_steps(1, 40) == {1}


def test_tensorboard_shows_curves_and_the_picture_forming(config, tmp_path):
    run(config("trainer.max_steps=30"), tmp_path / "run")
    events = EventAccumulator(str(tmp_path / "run"), size_guidance={"images": 0, "scalars": 0})
    events.Reload()
    assert set(events.Tags()["scalars"]) >= {"loss", "psnr_known", "psnr_hole"}
    assert [event.step for event in events.Scalars("psnr_hole")] == [1, 10, 20, 30]
    assert {"masked", "supervision", "output", "composite", "animation", "uncertainty"} == set(events.Tags()["images"])
    output = events.Images("output")
    assert [event.step for event in output] == sorted(growing_steps(30, 32))
    assert (output[0].width, output[0].height) == (40, 32)
    assert [event.step for event in events.Images("masked")] == [1]


def test_tensorboard_shows_the_configuration_both_curves_in_one_chart_and_the_animation(config, tmp_path):
    run(config(), tmp_path / "run")
    events = EventAccumulator(str(tmp_path / "run")).Reload()
    (text,) = events.Tensors("configuration/text_summary")
    assert "    max_steps: 3" in text.tensor_proto.string_val[0].decode()
    (layout,) = events.Tensors("custom_scalars__config__")
    assert b"^psnr_" in layout.tensor_proto.string_val[0]
    (gif,) = events.Images("animation")
    assert gif.encoded_image_string == (tmp_path / "run" / "training.gif").read_bytes()
    assert not hyperparameters(events)  # nothing is turned in a single run


def hyperparameters(events):
    """What HParams shows: the keys that a run was given and their values."""
    if "_hparams_/session_start_info" not in events.summary_metadata:
        return {}
    content = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    given = HParamsPluginData.FromString(content).session_start_info.hparams
    return {key: getattr(value, value.WhichOneof("kind")) for key, value in given.items()}


def test_hparams_holds_what_is_turned_and_the_final_measures_once_the_run_is_at_its_end(config, tmp_path):
    folder = tmp_path / "run"
    experiment = build(config("trainer.max_steps=4"), folder)
    (overview,) = [callback for callback in experiment.callbacks if isinstance(callback, Overview)]
    (interruption,) = [callback for callback in experiment.callbacks if isinstance(callback, Interruption)]
    overview.turned = {"model.depth": 2, "input": "noise"}
    interruption.received = signal.SIGTERM  # ends it after its first step
    with pytest.raises(Interrupted):
        repair(experiment, folder)
    assert not hyperparameters(EventAccumulator(str(folder)).Reload())
    repair(build(config("trainer.max_steps=4"), folder, go_on=True), folder)
    events = EventAccumulator(str(folder)).Reload()
    assert hyperparameters(events) == {"model.depth": 2, "input": "noise"}
    final = {tag: events.Scalars(tag)[-1] for tag in events.Tags()["scalars"] if tag.startswith("result/")}
    assert final["result/psnr_hole"].value == pytest.approx(metrics(folder)["psnr_hole"])
    assert {point.step for point in final.values()} == {4}
    assert "result/seconds" not in final
    assert not (folder / "hparams.yaml").exists()


def test_the_animation_has_a_frame_for_each_growing_step_and_rests_on_the_last(config, tmp_path):
    run(config("trainer.max_steps=20", "callbacks.animation.max_side=20"), tmp_path / "run")
    with Image.open(tmp_path / "run" / "training.gif") as gif:
        assert (gif.size, gif.info["duration"]) == ((20, 16), 100)
        assert gif.n_frames == len(growing_steps(20, 48))
        gif.seek(gif.n_frames - 1)
        assert gif.info["duration"] == 2000


def test_how_many_pictures_and_frames_and_for_how_long_they_are_shown(config, tmp_path):
    few = ["callbacks.images.count=3", "callbacks.animation.count=4", "callbacks.animation.frame_ms=50"]
    run(config("trainer.max_steps=20", *few), tmp_path / "run")
    events = EventAccumulator(str(tmp_path / "run"), size_guidance={"images": 0}).Reload()
    assert [image.step for image in events.Images("output")] == sorted(growing_steps(20, 3))
    with Image.open(tmp_path / "run" / "training.gif") as gif:
        assert (gif.n_frames, gif.info["duration"]) == (len(growing_steps(20, 4)), 50)


def test_costly_callbacks_can_be_left_out(config, tmp_path):
    left_out = [f"callbacks.{name}=null" for name in ("images", "animation")]
    run(config(*left_out), tmp_path / "run")
    assert not (tmp_path / "run" / "training.gif").exists()
    assert (tmp_path / "run" / "inpainted.png").exists()


def test_progress_refuses_a_step_below_one():
    with pytest.raises(ValueError, match=r"callbacks.progress.every_steps=0"):
        Progress(every_steps=0)


def metrics(folder: Path) -> dict[str, float]:
    found = json.loads((folder / "metrics.json").read_text())
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
        def replay(target, mask):
            replayed.append(1)
            return DeepImagePrior.judge(module.prior, target, mask)

        module.forward = replay
        return module

    run(config("callbacks.graph=null", "trainer.max_steps=5"), tmp_path / "plain")
    capturing.capture = capture
    run(config("trainer.max_steps=5"), tmp_path / "captured")
    assert len(capturing.batches) == 1
    assert len(replayed) == 5
    assert metrics(tmp_path / "captured") == metrics(tmp_path / "plain")


def test_without_a_capture_the_run_goes_on_and_says_so(config, tmp_path, capturing, caplog):
    def refuse(*_, **__):
        raise RuntimeError("operation not permitted\nwhen stream is capturing")

    capturing.capture = refuse
    run(config(), tmp_path / "run")
    assert "without a CUDA graph, which is slower: operation not permitted when stream is capturing" in caplog.text
    assert metrics(tmp_path / "run")["steps"] == 3


def test_nothing_is_captured_on_a_cpu(config, tmp_path, monkeypatch):
    monkeypatch.delattr(torch.cuda, "make_graphed_callables")
    run(config(), tmp_path / "run")
    assert metrics(tmp_path / "run")["steps"] == 3


def test_weight_jitter_moves_the_convolutions_by_its_share_and_nothing_else(config, tmp_path):
    prior = build(config("model.widths=[16,16]"), tmp_path).prior
    before = {name: tensor.clone() for name, tensor in prior.state_dict().items()}
    WeightJitter(share=0.02).on_train_batch_start(None, prior, None, 0)
    moved = {name for name, tensor in prior.state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved == {name for name, tensor in before.items() if tensor.dim() == 4 and "model" in name}
    for name in moved:
        share = (prior.state_dict()[name] - before[name]).std() / before[name].std()
        assert 0.01 < share < 0.03
    with pytest.raises(ValueError, match=r"callbacks\.weight_jitter\.share=-1"):
        WeightJitter(share=-1)


class Fall(Callback):
    """In step 4 the network seems to draw something else altogether; `good` has drawn a step before it."""

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step == 2:
            self.good = [parameter.detach().clone() for parameter in pl_module.parameters()]
        if trainer.global_step == 4:
            outputs["output"].fill_(9.0)


@pytest.mark.parametrize(("drop_db", "returns"), [("1", True), ("50", False), ("null", False)])
def test_back_tracking_returns_to_the_weights_before_the_fall(config, tmp_path, caplog, drop_db, returns):
    caplog.set_level("INFO")
    turned = [f"callbacks.back_tracking.drop_db={drop_db}", "callbacks.back_tracking.every_steps=1"]
    experiment = build(config(*turned, "trainer.max_steps=4"), tmp_path)
    fall = Fall()
    (tracking,) = [callback for callback in experiment.callbacks if isinstance(callback, BackTracking)]
    experiment.trainer.callbacks = [fall, tracking]
    experiment.trainer.fit(experiment.prior, datamodule=experiment.data)
    same = [torch.equal(*pair) for pair in zip(experiment.prior.parameters(), fall.good, strict=True)]
    assert all(same) == returns
    assert ("back to the last good weights" in caplog.text) == returns


@pytest.mark.parametrize("arguments", [{"drop_db": 0.0}, {"every_steps": 0}, {"lr_factor": 2.0}, {"at_most": 0}])
def test_back_tracking_refuses_what_makes_no_sense(arguments):
    (key,) = arguments
    with pytest.raises(ValueError, match=rf"callbacks\.back_tracking\.{key}="):
        BackTracking(**{"drop_db": 5.0, "every_steps": 1, "lr_factor": 0.5, "at_most": 1} | arguments)

import json
import signal

import pytest
from pytorch_lightning import Callback
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from dip.config.build import build
from dip.errors import Interrupted
from dip.repair.run import repair
from dip.results.folder import RunFolder
from dip.results.overview import Overview

SWEPT = {"model.depth": 2, "input": "noise"}


class Terminated(Callback):
    """SIGTERM arrives in the first step."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        signal.raise_signal(signal.SIGTERM)


def build_swept_and_terminated(*arguments):
    experiment = build(*arguments)
    callbacks = [Overview("", SWEPT) if isinstance(each, Overview) else each for each in experiment.trainer.callbacks]
    experiment.trainer.callbacks = [Terminated(), *callbacks]
    return experiment


def hyperparameters(events):
    """What HParams shows: the keys that a run was given and their values."""
    if "_hparams_/session_start_info" not in events.summary_metadata:
        return {}
    content = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    given = HParamsPluginData.FromString(content).session_start_info.hparams
    return {key: getattr(value, value.WhichOneof("kind")) for key, value in given.items()}


def test_tensorboard_shows_the_configuration_and_both_curves_in_one_chart(config, tmp_path):
    repair(config(), RunFolder(tmp_path / "run"))
    events = EventAccumulator(str(tmp_path / "run")).Reload()
    (text,) = events.Tensors("configuration/text_summary")
    assert "    max_steps: 3" in text.tensor_proto.string_val[0].decode()
    (layout,) = events.Tensors("custom_scalars__config__")
    assert b"^psnr_" in layout.tensor_proto.string_val[0]
    assert not hyperparameters(events)  # a single run sweeps nothing


def test_hparams_holds_the_swept_keys_and_the_final_metrics_once_the_run_has_ended(config, tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(Interrupted):
        repair(config("trainer.max_steps=4"), RunFolder(folder), build_swept_and_terminated)
    assert not hyperparameters(EventAccumulator(str(folder)).Reload())
    repair(config("trainer.max_steps=4"), RunFolder(folder, resume=True))
    events = EventAccumulator(str(folder)).Reload()
    assert hyperparameters(events) == SWEPT
    final = {tag: events.Scalars(tag)[-1] for tag in events.Tags()["scalars"] if tag.startswith("result/")}
    metrics = json.loads((folder / "metrics.json").read_text())
    assert final["result/psnr_hole"].value == pytest.approx(metrics["psnr_hole"])
    assert {point.step for point in final.values()} == {4}
    assert "result/seconds" not in final
    assert not (folder / "hparams.yaml").exists()

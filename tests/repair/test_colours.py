"""Large holes: short runs on the reduced picture find the colours that guide the run itself."""

import json
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image
from pytorch_lightning import Trainer
from torch.nn import functional

from dip.errors import Interrupted, UserError
from dip.training.interruption import Interruption


@pytest.fixture
def large(config, large_hole):
    """large("key=value", ...): the configuration for the tiny picture at 96x72, with a hole of 40x40 pixels."""
    return lambda *overrides: config("trainer.max_steps=8", "fill.members=2", "texture=none", *overrides)


def hole_of(folder):
    with Image.open(folder / "output.png") as file:
        return np.array(file.convert("RGB").resize((24, 18), Image.Resampling.BOX), dtype=float)[5:13, 6:14]


def test_the_runs_come_first_and_the_hole_is_held_to_their_mean(large, run, tmp_path, caplog):
    caplog.set_level("INFO")
    long = ["trainer.max_steps=60", "fill.share=0.1", "fill.trusted_sd=1000"]
    metrics = run(large(*long, "fill.weight=30"), tmp_path / "held")
    assert "First the colours of large holes: 2 runs of 6 steps on the reduced picture." in caplog.text
    assert "colour run 2 of 2" in caplog.text
    assert "The colours are the mean of these runs to 100 %, and biharmonic inpainting for the rest." in caplog.text
    assert [caplog.text.count(said) for said in ("pixels deep", "steps in", "data.max_side")] == [1, 1, 0]
    run(large(*long, "fill.weight=0"), tmp_path / "free")
    within = tmp_path / "held" / "fill"
    runs = [torch.load(within / name / "output.pt", weights_only=True)["output"] for name in ("member_1", "member_2")]
    assert runs[0].shape == (1, 3, 18, 24)
    assert not torch.equal(*runs)
    mean = 255 * torch.cat(runs).mean(dim=0).permute(1, 2, 0).numpy()[5:13, 6:14]
    off = {name: np.abs(hole_of(tmp_path / name) - mean).mean() for name in ("free", "held")}
    assert off["held"] < off["free"] / 2
    first = json.loads((within / "metrics.json").read_text())
    assert (first["steps"], metrics["steps"]) == (12, 60)
    assert metrics["seconds"] > first["seconds"]
    used = [OmegaConf.load(path / "config.yaml") for path in (tmp_path / "held", within / "member_1")]
    assert [(cfg.model.depth, cfg.average.decay) for cfg in used] == [(2, 0.99), (1, 0.95)]


def test_a_network_that_the_reduced_picture_is_too_small_for_is_refused_as_such(large, run, tmp_path):
    deep = ["model=skip", "model.down=[4,4,4,4,4]", "model.up=[4,4,4,4,4]", "model.skip=[0,0,0,0,0]"]
    with pytest.raises(UserError, match=r"fill, on the reduced picture: .* 24x18 .*; fill=none does without it"):
        run(large(*deep), tmp_path / "run")


def test_ctrl_c_in_the_runs_leaves_a_picture_and_it_resumes(large, run, tmp_path, monkeypatch, caplog):
    folder, begin = tmp_path / "run", Interruption.on_train_start

    def interrupted(callback, *of):
        begin(callback, *of)
        signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patched:
        patched.setattr(Interruption, "on_train_start", interrupted)
        with pytest.raises(
            Interrupted, match=r"colours of large holes are not found yet, .*; the run goes on with resume=.*/run"
        ):
            run(large(), folder)
    assert "Stopping after this step and saving the results" in caplog.text
    assert json.loads((folder / "metrics.json").read_text())["stopped_by"] == "interrupt"
    with Image.open(folder / "inpainted.png") as file:
        assert file.size == (96, 72)
    run(OmegaConf.load(folder / "config.yaml"), folder, resume=True)
    run(large(), tmp_path / "whole")
    assert (folder / "inpainted.png").read_bytes() == (tmp_path / "whole" / "inpainted.png").read_bytes()


def fill_runs(folder):
    return [torch.load(file, weights_only=True)["output"] for file in sorted(folder.glob("fill/*/output.pt"))]


def test_runs_whose_mean_is_the_result_keep_to_the_colours_that_so_many_more_have_found(large, run, tmp_path, caplog):
    caplog.set_level("INFO")
    metrics = run(large("members=2", "seed=3"), tmp_path / "both")
    assert caplog.text.count("First the colours of large holes: 4 runs of") == 1
    assert caplog.text.count("The colours are the mean of these runs to") == 1
    assert not any((tmp_path / "both" / name / "fill").exists() for name in metrics["members"])
    found = fill_runs(tmp_path / "both")
    alone = []
    for number in range(2):  # the runs that each would have had
        run(large(f"seed={2 * 3 + number}"), tmp_path / str(number))
        alone += fill_runs(tmp_path / str(number))
    assert [run.tolist() for run in found] == [run.tolist() for run in alone]
    first = json.loads((tmp_path / "both" / "fill" / "metrics.json").read_text())
    assert metrics["seconds"] == pytest.approx(
        first["seconds"] + sum(member["seconds"] for member in metrics["members"].values()), abs=0.01
    )
    raw = [torch.load(file, weights_only=True) for file in (tmp_path / "both").glob("member_*/output.pt")]
    spread = torch.cat(found).var(dim=0, correction=0).mean(dim=0)[None, None].sqrt()
    of_colours = functional.interpolate(spread, (72, 96), mode="bilinear")[..., 16:56, 20:60]
    assert all((own["deviation"][..., 16:56, 20:60] >= of_colours - 1e-6).all() for own in raw)
    within = torch.cat([own["deviation"] for own in raw]).square().mean(dim=(0, 1))
    between = torch.cat([own["output"] for own in raw]).var(dim=0, correction=0).mean(dim=0)
    with Image.open(tmp_path / "both" / "uncertainty.png") as file:
        shown = np.array(file.convert("L"), dtype=float) / 255
    expected = (within + between).sqrt().numpy()
    np.testing.assert_allclose(shown, expected / expected.max(), atol=0.5 / 255 + 1e-6)


def test_runs_that_resume_keep_to_the_same_colours(large, run, tmp_path, monkeypatch):
    folder, fit = tmp_path / "run", Trainer.fit

    def interrupted(trainer, *of, **more):
        fit(trainer, *of, **more)
        if Path(trainer.default_root_dir) == folder / "member_1":
            raise Interrupted(signal.SIGINT, "")

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "fit", interrupted)
        with pytest.raises(Interrupted, match="0 of 2 runs are done"):
            run(large("members=2"), folder)
    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "fit", lambda trainer, *of, **more: begun.append(trainer) or fit(trainer, *of, **more))
        begun = []
        run(OmegaConf.load(folder / "config.yaml"), folder, resume=True)
    assert [Path(trainer.default_root_dir).name for trainer in begun] == ["member_2"]
    run(large("members=2"), tmp_path / "whole")
    assert (folder / "inpainted.png").read_bytes() == (tmp_path / "whole" / "inpainted.png").read_bytes()


def test_what_the_run_itself_refuses_is_refused_before_the_runs_for_its_colours(large, run, tmp_path):
    with pytest.raises(UserError, match=r"model\.depth=8"):
        run(large("members=2", "model.depth=8"), tmp_path / "run")
    assert not (tmp_path / "run" / "fill").exists()

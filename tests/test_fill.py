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

from dip.callbacks import Interruption
from dip.command import Interrupted, Refused
from dip.experiment import build
from dip.fill import CoarseFill
from dip.metrics import biharmonic
from dip.repair import restore

MASK = torch.ones(1, 1, 48, 64)
MASK[..., 10:34, 20:44] = 0  # 12 pixels deep
HOLE = 1 - MASK
RUNS = torch.rand(3, 3, 12, 16, generator=torch.Generator().manual_seed(0))


def fill(mask=MASK, target=0.0, **turned):
    keys = {
        "weight": 2.0,
        "depth": 8.0,
        "members": 3,
        "reduction": 4,
        "share": 0.5,
        "decay": 0.9,
        "trusted_sd": 1e6,
    } | turned
    return CoarseFill(torch.zeros(1, 3, *mask.shape[-2:]) + target, mask, **keys)


def found(mask=MASK):
    penalty = fill(mask)
    penalty.keep_to(RUNS)
    return penalty


def enlarged(picture):
    return functional.interpolate(picture, scale_factor=4, mode="nearest")


def test_the_mean_of_the_runs_costs_nothing_and_what_is_finer_neither():
    penalty = found()
    mean = enlarged(RUNS.mean(dim=0, keepdim=True))
    board = torch.ones(48, 64)
    board[::2, 1::2] = board[1::2, ::2] = -1
    assert penalty(mean).item() == pytest.approx(0, abs=1e-12)
    assert penalty(mean + 0.3 * board).item() == pytest.approx(0, abs=1e-12)
    assert penalty(mean + 0.1).item() == pytest.approx(2 * 0.01, rel=1e-4)


def test_only_the_hole_is_held_and_only_a_large_one():
    drawn = enlarged(RUNS.mean(dim=0, keepdim=True)).requires_grad_()
    found()(drawn + 0.1).backward()
    assert torch.equal((drawn.grad != 0).all(dim=1, keepdim=True), blocks(HOLE) > 0)
    both = MASK.clone()
    both[..., 40:44, :] = 0  # 2 pixels deep
    assert torch.equal(fill(both).inside, HOLE)
    assert not fill(1 - both + MASK).holds
    assert not fill(weight=0.0).holds
    scattered = torch.zeros(1, 1, 48, 64)
    scattered[..., ::20, ::20] = 1
    assert fill(scattered).inside.any()
    assert not fill(scattered).holds


def blocks(picture):
    """Of each 4x4 pixels the mean, at full size."""
    return enlarged(functional.avg_pool2d(picture, 4))


def test_the_deviation_is_that_of_the_runs_in_the_hole():
    deviation = found().deviation
    spread = RUNS.var(dim=0, correction=0, keepdim=True).mean(dim=1, keepdim=True).sqrt()
    assert (deviation * MASK == 0).all()
    assert torch.allclose(deviation, functional.interpolate(spread, (48, 64), mode="bilinear") * HOLE)


def test_colours_are_the_runs_as_far_as_they_agree_in_a_hole_and_else_biharmonic_inpainting():
    two = torch.ones(1, 1, 48, 64)
    two[..., 4:44, 4:28] = two[..., 4:44, 36:60] = 0  # 12 pixels deep each
    target = torch.linspace(0, 1, 64).expand(1, 3, 48, 64) * two
    drawn = torch.full((4, 3, 12, 16), 0.8)
    drawn[:, :, :, 8:] += 0.1 * torch.tensor([-1.0, 1.0, -1.0, 1.0])[:, None, None, None]
    penalty = fill(two, target, trusted_sd=0.1)
    penalty.keep_to(drawn)
    smooth = functional.avg_pool2d(biharmonic(target, two), 4)
    far = (0.8 - smooth)[..., 1:11, 9:15].square().mean().sqrt().item()
    trust = 1 / (1 + 0.1**2 / (0.1 * far))
    assert 0.3 < trust < 0.7
    assert penalty.trusts == pytest.approx([1, trust], abs=0.03)
    assert (penalty.colours[..., 2:10, 2:6] - 0.8).abs().max() < 0.01
    expected = smooth + trust * (0.8 - smooth)
    assert (penalty.colours - expected)[..., 2:10, 10:14].abs().max() < 0.02


def test_runs_are_trusted_more_where_they_are_farther_from_biharmonic_inpainting():
    drawn = torch.full((4, 3, 12, 16), 0.2) + 0.05 * torch.tensor([-1.0, 1.0, -1.0, 1.0])[:, None, None, None]
    near, far = fill(trusted_sd=0.04), fill(trusted_sd=0.04)
    near.keep_to(drawn - 0.1)
    far.keep_to(drawn)
    assert near.trusts[0] < far.trusts[0] - 0.1


@pytest.mark.parametrize(
    "wrong", ["trusted_sd=0", "weight=-1", "members=0", "reduction=1", "share=0", "share=1.1", "decay=1"]
)
def test_what_makes_no_sense_is_refused(config, tmp_path, wrong):
    with pytest.raises(ValueError, match=rf"fill\.{wrong}"):
        build(config("hole_kind=large", f"fill.{wrong}"), tmp_path)


@pytest.fixture
def large(config, photograph, mask):
    """large("key=value", ...): the configuration for the tiny picture at 96x72, with a hole of 40x40 pixels."""
    Image.open(photograph).resize((96, 72)).save(photograph)
    pixels = np.full((72, 96), 255, dtype=np.uint8)
    pixels[16:56, 20:60] = 0
    Image.fromarray(pixels).save(mask)
    return lambda *overrides: config("trainer.max_steps=8", "fill.members=2", "texture=none", *overrides)


def hole_of(folder):
    with Image.open(folder / "output.png") as file:
        return np.array(file.convert("RGB").resize((24, 18), Image.Resampling.BOX), dtype=float)[5:13, 6:14]


def test_the_runs_come_first_and_the_hole_is_held_to_their_mean(large, tmp_path, caplog):
    caplog.set_level("INFO")
    long = ["trainer.max_steps=60", "fill.share=0.1", "fill.trusted_sd=1000"]
    metrics = restore(large(*long, "fill.weight=30"), tmp_path / "held")
    assert "First the colours of large holes, from 2 runs on the reduced picture." in caplog.text
    assert "the colours are theirs, to 100 %; the rest is biharmonic inpainting's." in caplog.text
    assert [caplog.text.count(said) for said in ("pixels deep", "steps in", "data.max_side")] == [1, 1, 0]
    restore(large(*long, "fill.weight=0"), tmp_path / "free")
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


def test_a_network_that_the_reduced_picture_is_too_small_for_is_refused_as_such(large, tmp_path):
    deep = ["model=skip", "model.down=[4,4,4,4,4]", "model.up=[4,4,4,4,4]", "model.skip=[0,0,0,0,0]"]
    with pytest.raises(Refused, match=r"fill, on the reduced picture: .* 24x18 .*; fill=none does without it"):
        restore(large(*deep), tmp_path / "run")


def test_ctrl_c_in_the_runs_leaves_a_picture_and_it_can_go_on(large, tmp_path, monkeypatch, caplog):
    folder, begin = tmp_path / "run", Interruption.on_train_start

    def interrupted(callback, *of):
        begin(callback, *of)
        signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patched:
        patched.setattr(Interruption, "on_train_start", interrupted)
        with pytest.raises(Interrupted, match=r"colours of large holes are not found yet; resume=.*/run goes on"):
            restore(large(), folder)
    assert "Stopping after this step and writing the results" in caplog.text
    assert json.loads((folder / "metrics.json").read_text())["stopped_by"] == "interrupt"
    with Image.open(folder / "inpainted.png") as file:
        assert file.size == (96, 72)
    restore(OmegaConf.load(folder / "config.yaml"), folder, go_on=True)
    restore(large(), tmp_path / "whole")
    assert (folder / "inpainted.png").read_bytes() == (tmp_path / "whole" / "inpainted.png").read_bytes()


def fill_runs(folder):
    return [torch.load(file, weights_only=True)["output"] for file in sorted(folder.glob("fill/*/output.pt"))]


def test_runs_whose_mean_is_the_result_keep_to_the_colours_that_so_many_more_have_found(large, tmp_path, caplog):
    caplog.set_level("INFO")
    metrics = restore(large("members=2", "seed=3"), tmp_path / "both")
    assert caplog.text.count("First the colours of large holes, from 4 runs on the reduced picture.") == 1
    assert caplog.text.count("As far as they agree the colours are theirs") == 1
    assert not any((tmp_path / "both" / name / "fill").exists() for name in metrics["members"])
    found = fill_runs(tmp_path / "both")
    alone = []
    for number in range(2):  # the runs that each would have had
        restore(large(f"seed={2 * 3 + number}"), tmp_path / str(number))
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
    within = torch.cat([own["deviation"] for own in raw]).square().mean(dim=0)[0]
    between = torch.cat([own["output"] for own in raw]).var(dim=0, correction=0).mean(dim=0)
    with Image.open(tmp_path / "both" / "uncertainty.png") as file:
        shown = np.array(file.convert("L"), dtype=float) / 255
    expected = (within + between).sqrt().numpy()
    np.testing.assert_allclose(shown, expected / expected.max(), atol=0.5 / 255 + 1e-6)


def test_runs_that_go_on_keep_to_the_same_colours(large, tmp_path, monkeypatch):
    folder, fit = tmp_path / "run", Trainer.fit

    def interrupted(trainer, *of, **more):
        fit(trainer, *of, **more)
        if Path(trainer.default_root_dir) == folder / "member_1":
            raise Interrupted(signal.SIGINT, "")

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "fit", interrupted)
        with pytest.raises(Interrupted, match="0 of 2 runs are done"):
            restore(large("members=2"), folder)
    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "fit", lambda trainer, *of, **more: begun.append(trainer) or fit(trainer, *of, **more))
        begun = []
        restore(OmegaConf.load(folder / "config.yaml"), folder, go_on=True)
    assert [Path(trainer.default_root_dir).name for trainer in begun] == ["member_2"]
    restore(large("members=2"), tmp_path / "whole")
    assert (folder / "inpainted.png").read_bytes() == (tmp_path / "whole" / "inpainted.png").read_bytes()


def test_what_the_run_itself_refuses_is_refused_before_the_runs_for_its_colours(large, tmp_path):
    with pytest.raises(Refused, match=r"model\.depth=8"):
        restore(large("members=2", "model.depth=8"), tmp_path / "run")
    assert not (tmp_path / "run" / "fill").exists()

"""Several jobs, one result: parts are pasted and ensemble members averaged, also after Ctrl-C and a resumption."""

import json
import signal

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

from dip.config.resume import resumed_config
from dip.errors import Interrupted, UserError
from dip.repair.join import deviation_of_all
from dip.repair.run import find_callback
from dip.results.folder import RunFolder
from dip.training.interruption import Interruption


def test_far_holes_are_repaired_in_runs_of_their_own_and_one_result(config, run, photograph, tmp_path, far_holes):
    folder = tmp_path / "run"
    metrics = run(config(f"output.path={tmp_path}/fixed.tif"), folder)
    assert [part["region"] for part in metrics["parts"].values()] == [[0, 0, 38, 34], [80, 50, 120, 90]]
    assert json.loads((folder / "metrics.json").read_text()) == metrics
    assert {path.name for path in folder.iterdir()} == {
        *("config.yaml", "inpainted.png", "metrics.json", "region_1", "region_2"),
    }
    before = np.array(Image.open(photograph))
    for path in (folder / "inpainted.png", tmp_path / "fixed.tif"):
        with Image.open(path) as file:
            after = np.array(file)
        assert np.array_equal(after[~far_holes], before[~far_holes])
        assert (after[far_holes] != before[far_holes]).any(axis=-1).mean() > 0.9
    with Image.open(folder / "region_2" / "inpainted.png") as part:
        assert np.array_equal(np.array(part), after[50:90, 80:120])
    assert run(config("data.crop=none"), tmp_path / "all")["region"] == [0, 0, 120, 90]


@pytest.mark.usefixtures("far_holes")
def test_ctrl_c_in_a_region_leaves_the_picture_as_far_as_it_is_repaired_and_it_resumes(
    config, run, tmp_path, monkeypatch
):
    with monkeypatch.context() as patched:
        patched.setattr(Interruption, "setup", lambda self, *_, **__: setattr(self, "received", signal.SIGINT))
        with pytest.raises(Interrupted, match=r"0 of 2 parts are repaired; the run goes on with resume=.*/run"):
            run(config(), tmp_path / "run")
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["stopped_by"] == "interrupt"
    with Image.open(tmp_path / "run" / "inpainted.png") as file, Image.open(tmp_path / "photograph.png") as original:
        changed = (np.array(file) != np.array(original)).any(axis=-1)
    assert changed[:34].any()
    assert not changed[50:].any()

    saved = OmegaConf.load(tmp_path / "run" / "config.yaml")
    assert run(saved, tmp_path / "run", resume=True)["stopped_by"] == "max_steps"
    run(config(), tmp_path / "whole")
    assert (tmp_path / "run" / "inpainted.png").read_bytes() == (tmp_path / "whole" / "inpainted.png").read_bytes()


def test_a_mask_with_both_kinds_of_holes_gets_each_its_own_run(config, run, photograph, tmp_path, both_kinds):
    folder = tmp_path / "run"
    metrics = run(config(), folder)
    assert list(metrics["parts"]) == ["thin", "large"]
    noise = {kind: OmegaConf.load(folder / kind / "config.yaml").input.noise for kind in metrics["parts"]}
    assert noise == {"thin": 0.2, "large": 0.5}
    whole, thin, large = (np.array(Image.open(folder / name / "inpainted.png")) for name in ("", "thin", "large"))
    assert np.array_equal(whole[50:], thin[50:])
    assert np.array_equal(whole[:50], large[:50])
    assert (thin[both_kinds] != large[both_kinds]).any()
    truth = np.array(Image.open(photograph))
    error = (truth[both_kinds] / 255 - whole[both_kinds] / 255) ** 2
    assert metrics["psnr_hole"] == pytest.approx(-10 * np.log10(error.mean()), abs=1e-3)
    # A run that goes on, and one of which a kind is said, are of the same mask.
    assert run(OmegaConf.load(folder / "config.yaml"), folder, resume=True) == metrics
    assert run(config("hole_kind=thin"), tmp_path / "thin")["steps"] == 3


def test_parts_go_on_as_they_were_begun_and_what_is_refused_is_not_kept(config, run, tmp_path, both_kinds):
    folder = tmp_path / "run"
    cfg = config()
    cfg.trainer.max_steps = "${pick:3,4}"
    run(cfg, folder)
    told = (folder / "config.yaml").read_text()
    refused = {("data.grow_hole", 1): "of another picture or mask", ("hole_kind", "thin"): "has other parts"}
    for turned, said in refused.items():
        cfg = OmegaConf.load(folder / "config.yaml")
        OmegaConf.update(cfg, *turned)
        with pytest.raises(UserError, match=said):
            run(cfg, folder, resume=True)
        assert (folder / "config.yaml").read_text() == told
    turned = "callbacks.animation.count=9"
    cfg = resumed_config(RunFolder(folder, resume=True), config(turned), ["resume=x", turned])
    assert run(cfg, folder, resume=True)["stopped_by"] == "max_steps"
    run(config("hole_kind=thin"), tmp_path / "one")
    with pytest.raises(UserError, match="has other parts"):
        run(config(), tmp_path / "one", resume=True)


def test_a_part_that_is_interrupted_when_prolonged_leaves_more_to_do(config, run, tmp_path, both_kinds):
    folder = tmp_path / "run"
    run(config(), folder)

    def press_ctrl_c(experiment):
        if experiment.cfg.hole_kind == "large":
            raise KeyboardInterrupt

    cfg = OmegaConf.load(folder / "config.yaml")
    cfg.trainer.max_steps = 5
    with pytest.raises(Interrupted, match="1 of 2 parts are repaired"):
        run(cfg, folder, resume=True, watch=press_ctrl_c)
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["stopped_by"] == "interrupt"
    assert {name: part["steps"] for name, part in metrics["parts"].items()} == {"thin": 5, "large": 3}


def test_several_members_are_runs_of_their_own_and_their_mean_is_the_result(config, run, tmp_path):
    metrics = run(config("members=3", "seed=2"), tmp_path / "all")
    assert list(metrics["members"]) == ["member_1", "member_2", "member_3"]
    outputs = []
    for number, name in enumerate(metrics["members"]):
        alone = tmp_path / name
        own = run(config(f"seed={6 + number}"), alone)
        assert own["psnr_hole"] == metrics["members"][name]["psnr_hole"]
        outputs.append(np.array(Image.open(alone / "output.png"), dtype=float))
    mean = np.array(Image.open(tmp_path / "all" / "output.png"), dtype=float)
    assert np.abs(mean - np.mean(outputs, axis=0)).max() <= 1
    assert np.abs(mean - outputs[0]).max() > 1
    assert metrics["steps"] == 9
    assert metrics == json.loads((tmp_path / "all" / "metrics.json").read_text())


def test_members_that_were_interrupted_go_on_with_what_is_missing(config, run, tmp_path, caplog):
    def stop_the_second(experiment):
        if experiment.cfg.seed == 1:
            find_callback(experiment.callbacks, Interruption).received = signal.SIGINT

    cfg, folder = config("members=3", f"output.path={tmp_path}/fixed.png"), tmp_path / "run"
    with pytest.raises(
        Interrupted, match=r"1 of 3 runs are done; the run goes on with resume=.*/run output.overwrite=true"
    ):
        run(cfg, folder, watch=stop_the_second)
    metrics = json.loads((folder / "metrics.json").read_text())
    assert (metrics["stopped_by"], list(metrics["members"])) == ("interrupt", ["member_1", "member_2"])
    assert (folder / "inpainted.png").exists()
    caplog.set_level("INFO")
    cfg = OmegaConf.load(folder / "config.yaml")
    cfg.output.overwrite = True
    resumed = run(cfg, folder, resume=True)
    assert "is complete after 3 steps" in caplog.text
    fresh = run(config("members=3"), tmp_path / "fresh")
    assert resumed["psnr_hole"] == fresh["psnr_hole"]


def mean_of(outputs):
    drawn = torch.cat([torch.load(file, weights_only=True)["output"] for file in outputs])
    return drawn.mean(dim=0).permute(1, 2, 0).numpy()


def test_a_mean_that_is_prolonged_and_interrupted_has_all_its_runs_still(config, run, tmp_path):
    folder = tmp_path / "run"
    run(config("members=2"), folder)
    cfg = OmegaConf.load(folder / "config.yaml")
    cfg.trainer.max_steps = 6
    with pytest.raises(Interrupted, match=r"0 of 2 runs are done; the run goes on with resume="):
        run(cfg, folder, resume=True, watch=interrupt)
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["stopped_by"] == "interrupt"
    assert {name: member["steps"] for name, member in metrics["members"].items()} == {"member_1": 4, "member_2": 3}
    drawn = np.array(Image.open(folder / "output.png")) / 255
    assert np.abs(drawn - mean_of(folder.glob("*/output.pt")).clip(0, 1)).max() < 0.6 / 255


def interrupt(experiment):
    find_callback(experiment.callbacks, Interruption).received = signal.SIGINT


def test_ctrl_c_between_two_runs_says_what_continues_it(config, run, tmp_path):
    def press_ctrl_c(experiment):
        if experiment.cfg.seed == 1:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted, match=r"1 of 2 runs are done; the run goes on with resume=.*/run"):
        run(config("members=2"), tmp_path / "run", watch=press_ctrl_c)
    assert list(json.loads((tmp_path / "run" / "metrics.json").read_text())["members"]) == ["member_1"]


def test_a_run_that_is_killed_among_its_results_is_part_of_the_mean(config, run, tmp_path, monkeypatch):
    folder = tmp_path / "run"

    replace = type(folder).replace

    def killed(path, target):
        if target == folder / "member_2" / "metrics.json":
            raise SystemExit
        return replace(path, target)

    with monkeypatch.context() as patched:
        patched.setattr(type(folder), "replace", killed)
        with pytest.raises(SystemExit):
            run(config("members=2"), folder)
    assert (folder / "member_2" / "output.pt").exists()
    resumed = run(OmegaConf.load(folder / "config.yaml"), folder, resume=True)
    assert resumed["psnr_hole"] == run(config("members=2"), tmp_path / "fresh")["psnr_hole"]


def test_the_deviation_over_several_runs_is_by_the_law_of_total_variance():
    draws = torch.randn(4, 5, 3, 2, 2, generator=torch.Generator().manual_seed(0))  # 4 runs, each of 5 outputs
    outputs = draws.mean(dim=1)
    within = [own.std(dim=0, correction=0, keepdim=True) for own in draws]
    every = draws.flatten(0, 1).std(dim=0, correction=0, keepdim=True)
    torch.testing.assert_close(deviation_of_all(outputs, within), every)
    between = outputs.std(dim=0, correction=0, keepdim=True)
    torch.testing.assert_close(deviation_of_all(outputs, []), between)

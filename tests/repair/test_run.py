"""One run: its results, its folder, and what is said of what is missing."""

import json
import re

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

from dip.errors import UserError
from dip.image.tensors import to_pil
from dip.repair.advice import explain_resource_errors
from dip.repair.run import fit
from dip.results.folder import RunFolder

OF_EVERY_RUN = {
    "steps",
    "seconds",
    "stopped_by",
    "loss",
    "region",
    "drawn_at",
    "psnr_known",
    "texture_distance",
    "interval",
}
SCORED = {"best_step", "psnr_held_out", "psnr_held_out_biharmonic"}  # of a run that its rule has scored


def test_results_are_complete_and_true(config, run, photograph, tmp_path):
    folder = tmp_path / "run"
    returned = run(config("stopping.every_steps=1"), folder)
    names = {
        "inpainted.png",
        "output.png",
        "masked.png",
        "comparison.png",
        "supervision.png",
        "training.gif",
        "metrics.json",
        "config.yaml",
    }
    assert names <= {path.name for path in folder.iterdir()}
    assert list(folder.glob("events.out.tfevents.*"))
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics == returned
    measures = {"psnr_hole", "ssim_hole", "psnr_all", "psnr_composite"}
    assert set(metrics) == {*OF_EVERY_RUN, *SCORED, "baseline"} | measures
    assert set(metrics["baseline"]) == {*measures, "texture_distance", "method"}
    assert (metrics["steps"], metrics["stopped_by"]) == (3, "max_steps")

    before, after, raw = (
        np.array(Image.open(path)) for path in (photograph, folder / "inpainted.png", folder / "output.png")
    )
    hole = np.zeros((32, 40), dtype=bool)
    hole[8:16, 20:30] = True
    assert np.array_equal(after[~hole], before[~hole])
    assert np.array_equal(after[hole], raw[hole])
    error = ((raw[hole].astype(float) - before[hole]) / 255) ** 2
    assert -10 * np.log10(error.mean()) == pytest.approx(metrics["psnr_hole"], abs=0.1)


def test_without_the_truth_nothing_is_claimed_about_the_hole(config, run, tmp_path):
    metrics = run(config("data.truth=null"), tmp_path / "run")
    assert set(metrics) == OF_EVERY_RUN


def test_the_checkpoint_draws_the_result(config, run, built, tmp_path):
    run(config(), tmp_path / "run")
    saved = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["global_step"] == 3
    prior = built(config("seed=5"), tmp_path / "other").prior
    prior.load_state_dict(saved["state_dict"])
    drawn = np.array(to_pil(prior.predict()))
    assert np.array_equal(drawn, np.array(Image.open(tmp_path / "run" / "output.png")))


def test_the_saved_configuration_rebuilds_the_run(config, run, tmp_path):
    first = run(config("optimizer.lr=0.02"), tmp_path / "run")
    again = run(OmegaConf.load(tmp_path / "run" / "config.yaml"), tmp_path / "again")
    assert again["loss"] == first["loss"]


def test_an_existing_run_is_never_overwritten(config, run, tmp_path):
    run(config(), tmp_path / "run")
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    with pytest.raises(UserError, match=r"holds a run already, whose results stay; resume=.* continues it, or give"):
        run(config("seed=1"), tmp_path / "run")
    assert before == {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}


@pytest.mark.parametrize("given", ["bf16-true", "64-true", "bf16-mixed"])
def test_known_pixels_stay_exact_in_every_precision(config, run, photograph, tmp_path, given):
    run(config(f"trainer.precision={given}"), tmp_path / "run")
    before, after = (np.array(Image.open(path)) for path in (photograph, tmp_path / "run" / "inpainted.png"))
    hole = np.zeros((32, 40), dtype=bool)
    hole[8:16, 20:30] = True
    assert np.array_equal(after[~hole], before[~hole])


@pytest.mark.usefixtures("large_hole")
def test_a_hole_beyond_reach_is_warned_of_and_the_named_setting_cures_it(config, run, tmp_path, caplog):
    small = ["model.depth=2", "model.decoder_kernel=3", "trainer.max_steps=1"]
    run(config(*small), tmp_path / "small")
    (said,) = [record.getMessage() for record in caplog.records if "outside the receptive field" in record.getMessage()]
    depth, kernel = re.findall(r"model\.\w+=\d+", said)
    assert (depth, kernel) == ("model.depth=3", "model.decoder_kernel=15")
    with Image.open(tmp_path / "small" / "supervision.png") as picture:
        pixels = np.array(picture)[16:56, 20:60].reshape(-1, 3)
    share = (pixels == (255, 0, 255)).all(axis=1).mean()
    assert f"{100 * share:.1f} % of the hole" in said
    for cure in (depth, kernel):
        caplog.clear()
        run(config(*small, cure), tmp_path / cure)
        assert "outside the receptive field" not in caplog.text
    for smaller in ("model.depth=2", "model.decoder_kernel=13"):
        caplog.clear()
        run(config(*small, smaller), tmp_path / smaller)
        assert "outside the receptive field" in caplog.text


@pytest.mark.usefixtures("large_hole")
def test_looking_for_a_cure_changes_no_result(config, run, tmp_path):
    small = ["model.decoder_kernel=3", "trainer.max_steps=2"]
    looked, unlooked = (
        run(config(*small, *more), tmp_path / str(len(more))) for more in ([], ["callbacks.supervision=null"])
    )
    assert looked["loss"] == unlooked["loss"]


def test_a_result_file_of_the_user_is_never_overwritten_by_itself(config, run, built, tmp_path):
    kept = tmp_path / "fixed.png"
    kept.write_text("precious")
    with pytest.raises(UserError, match=r"fixed\.png is there already; give another name, or set output.overwrite="):
        run(config(f"output.path={kept}"), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    experiment = built(config(f"output.path={tmp_path}/late.png"), tmp_path / "run")
    (tmp_path / "late.png").write_text("precious")
    fit(experiment, RunFolder(tmp_path / "run"))
    assert (tmp_path / "late.png").read_text() == kept.read_text() == "precious"
    run(config(f"output.path={kept}", "output.overwrite=true"), tmp_path / "other")
    assert kept.read_bytes() == (tmp_path / "other" / "inpainted.png").read_bytes()


def test_measures_of_a_reduced_picture_are_of_its_full_size(config, run, photograph, tmp_path):
    metrics = run(config("data.max_side=24"), tmp_path / "run")
    assert metrics["region"] == [0, 0, 40, 32]
    assert metrics["drawn_at"] == [26, 21]
    truth, after = (np.array(Image.open(path)) / 255 for path in (photograph, tmp_path / "run" / "inpainted.png"))
    error = (truth - after)[8:16, 20:30] ** 2
    assert -10 * np.log10(error.mean()) == pytest.approx(metrics["psnr_hole"], abs=0.1)


@pytest.mark.parametrize(("mode", "size"), [("CMYK", 4), ("I;16", 1), ("P", 3)])
def test_a_picture_of_any_mode_is_repaired_and_shown(config, run, photograph, tmp_path, mode, size):
    with Image.open(photograph) as file:
        grey = Image.fromarray(np.array(file.convert("L")).astype(np.uint16) * 16)
        (grey if mode == "I;16" else file.convert(mode)).save(tmp_path / "a.tif")
    metrics = run(config(f"data.image={tmp_path}/a.tif", "data.truth=null"), tmp_path / "run")
    assert metrics["steps"] == 3
    name = "inpainted.tif" if mode == "CMYK" else "inpainted.png"
    with Image.open(tmp_path / "run" / name) as result, Image.open(tmp_path / "run" / "output.png") as output:
        assert result.mode == mode
        assert output.mode == ("L" if size == 1 else "RGB")


def test_the_kind_of_the_hole_is_measured_and_said(config, run, tmp_path, caplog):
    caplog.set_level("INFO")
    run(config(), tmp_path / "run")
    assert "The hole is up to 4 pixels deep: hole_kind=thin." in caplog.text
    assert OmegaConf.load(tmp_path / "run" / "config.yaml").hole_kind == "thin"


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        (
            "model=unet",
            "out of memory; lower data.max_side, or lower model.depth, or lower model.widths, or set model.activation_",
        ),
        ("model=resnet", "out of memory; lower data.max_side"),
    ],
)
def test_out_of_memory_says_what_to_lower(config, tmp_path, choice, said):
    def none_left():
        torch.empty(2**60, dtype=torch.uint8)

    def none_left_on_the_gpu():
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    folder = RunFolder(tmp_path)
    for act in (none_left, none_left_on_the_gpu):
        with pytest.raises(UserError, match=said), explain_resource_errors(config(choice), folder):
            act()
    with pytest.raises(RuntimeError, match="another"), explain_resource_errors(config(choice), folder):
        raise RuntimeError("another")

"""Denoising, super-resolution and anybody's operator, from the command's configuration to the files of a run."""

import json
import logging

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from dip.config.build import read_data
from dip.config.compose import compose
from dip.config.resume import same_config
from dip.errors import UserError
from dip.repair.plan import plan
from dip.results.folder import RunFolder

TINY = ["trainer.max_steps=3", "trainer.accelerator=cpu", "trainer.precision=32-true", "model.widths=[4,6]"]
TINY += ["callbacks.animation=null"]


def halved(picture):
    return F.avg_pool2d(picture, 2)


def pixels(path):
    with Image.open(path) as picture:
        return np.array(picture)


@pytest.fixture
def composed(photograph):
    """composed("key=value", ...): the configuration of the tiny photograph, without a mask, and of a tiny network."""

    def configuration(*overrides):
        return compose([*TINY, f"data.image={photograph}", *overrides])

    return configuration


def test_a_noisy_photograph_is_denoised_as_it_is(composed, run, photograph, tmp_path):
    Image.effect_noise((40, 32), 60).convert("RGB").save(photograph)
    metrics = run(composed("experiment=denoise"), tmp_path / "run")
    result = pixels(tmp_path / "run" / "restored.png")
    assert result.shape == (32, 40, 3)
    assert (result != pixels(photograph)).mean() > 0.5  # nothing stays as it is
    assert metrics["refine"]["noise_sd"] > 0
    assert "psnr_all" not in metrics
    assert not (tmp_path / "run" / "masked.png").exists()


def test_noise_that_was_added_is_measured_against_the_truth(composed, run, tmp_path):
    metrics = run(composed("experiment=denoise", "data=noisy", "trainer.max_steps=12"), tmp_path / "run")
    assert {"psnr_all", "ssim_all", "psnr_known", "psnr_held_out", "baseline"} <= metrics.keys()
    assert metrics["baseline"]["method"] == "non_local_means"
    assert not any(key.endswith(("hole", "composite", "biharmonic")) for key in metrics)
    names = ("measured", "output", "truth", "non_local_means", "comparison")
    assert all((tmp_path / "run" / f"{name}.png").exists() for name in names)


def test_the_same_seed_adds_the_same_noise(composed):
    first, again, other = (
        read_data(composed("experiment=denoise", "data=noisy", "data.photons=50", f"data.seed={seed}")).work.target
        for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_noise_has_the_standard_deviation_that_is_given(tmp_path):
    Image.new("L", (128, 128), 128).save(tmp_path / "grey.png")
    given = ["experiment=denoise", "data=noisy", f"data.image={tmp_path / 'grey.png'}"]
    for overrides, expected in (
        (["data.sigma=10"], 10 / 255),
        (["data.sigma=0", "data.photons=100"], (128 / 255 / 100) ** 0.5),
    ):
        noisy = read_data(compose([*given, *overrides])).work.target
        assert noisy.std().item() == pytest.approx(expected, rel=0.05)


def test_a_hole_of_a_noisy_picture_is_drawn_too(composed, run, mask, tmp_path):
    run(composed("experiment=denoise", f"data.mask={mask}"), tmp_path / "run")
    measured, result = (pixels(tmp_path / "run" / f"{name}.png") for name in ("measured", "restored"))
    assert (measured[8:16, 20:30] == 0).all()
    assert (result[8:16, 20:30] > 0).any(axis=2).all()


@pytest.mark.parametrize("factor", [2, 4])
def test_a_reduced_picture_is_enlarged(composed, run, photograph, tmp_path, factor):
    given = ["experiment=super_resolution", "data=reduced", f"data.factor={factor}"]
    metrics = run(composed(*given), tmp_path / "run")
    names = ("restored", "measured", "lanczos")
    shapes = {name: pixels(tmp_path / "run" / f"{name}.png").shape for name in names}
    whole = (32, 40, 3)
    assert shapes == {"restored": whole, "lanczos": whole, "measured": (32 // factor, 40 // factor, 3)}
    assert metrics["baseline"]["method"] == "lanczos"


def test_a_small_photograph_is_enlarged_by_the_factor_that_is_given(composed, run, photograph, tmp_path):
    with Image.open(photograph) as picture:
        picture.putalpha(255)
        picture.save(photograph)
    run(composed("experiment=super_resolution", "operator.factor=3"), tmp_path / "run")
    with Image.open(tmp_path / "run" / "restored.png") as result:
        assert (result.size, result.mode) == ((120, 96), "RGBA")


def test_an_array_of_other_numbers_is_denoised_and_enlarged_in_its_own(run, tmp_path):
    values = np.random.default_rng(0).normal(500, 90, size=(16, 20, 2)).astype(np.float32)
    np.save(tmp_path / "values.npy", values)
    for recipe, name, shape in (("denoise", "restored", (16, 20, 2)), ("super_resolution", "restored", (64, 80, 2))):
        run(compose([*TINY, f"data.image={tmp_path / 'values.npy'}", f"experiment={recipe}"]), tmp_path / recipe)
        result = np.load(tmp_path / recipe / f"{name}.npy")
        assert (result.shape, result.dtype) == (shape, np.float32)
        assert 200 < result.mean() < 800


def test_an_ensemble_denoises_by_the_mean_of_its_members(composed, run, tmp_path):
    metrics = run(composed("experiment=denoise", "data=noisy", "members=2"), tmp_path / "run")
    assert metrics["members"].keys() == {"member_1", "member_2"}
    assert "refine" in metrics
    assert "refine" not in metrics["members"]["member_1"]


def test_a_run_that_denoises_resumes_to_the_same_result(composed, run, tmp_path):
    steps = ["experiment=denoise", "data=noisy", "stopping=none", "refine=none", "data.sigma=20"]
    whole = run(composed(*steps, "trainer.max_steps=4"), tmp_path / "whole")
    run(composed(*steps, "trainer.max_steps=2"), tmp_path / "parts")
    parts = run(composed(*steps, "trainer.max_steps=4"), tmp_path / "parts", resume=True)
    assert whole["loss"] == parts["loss"]
    assert (tmp_path / "whole/restored.png").read_bytes() == (tmp_path / "parts/restored.png").read_bytes()


def test_a_plain_function_and_a_class_are_operators_by_their_names(composed, run, photograph, tmp_path):
    for number, target in enumerate((f"{__name__}.halved", "torch.nn.AvgPool2d")):
        options = [] if number == 0 else ["+operator.kernel_size=2"]
        given = ["experiment=denoise", "refine=none", "operator=any", f"operator._target_={target}", *options]
        run(composed(*given), tmp_path / str(number))
        assert pixels(tmp_path / str(number) / "restored.png").shape == (64, 80, 3)
    assert (tmp_path / "0/restored.png").read_bytes() == (tmp_path / "1/restored.png").read_bytes()


def test_a_blurred_picture_gets_its_truth_from_another_file(composed, run, photograph, tmp_path):
    given = ["experiment=denoise", "operator=blur", "operator.sd=1.0", "refine=none", f"data.truth={photograph}"]
    metrics = run(composed(*given), tmp_path / "run")
    assert {"psnr_all", "ssim_all"} <= metrics.keys()
    assert (tmp_path / "run" / "restored.png").exists()


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["experiment=quick"], r"data\.image=.* has no mask; give data\.mask=PATH.* may want experiment=denoise"),
        (["experiment=denoise", "data.max_side=16"], r"data\.max_side=16, but the result has 40x32 pixels"),
        (
            ["experiment=quick", "operator=blur", "MASK"],
            r"fill works on the pixels of a hole.* set fill=none refine=none",
        ),
        (
            ["experiment=super_resolution", "data=reduced", "data.factor=32"],
            r"data\.factor=32, but it must be a whole number, at least 2",
        ),
        (
            ["experiment=super_resolution", "data.crop=[0,0,6,6]"],
            r"the image is 6x6, but .* at least 8 pixels a side",
        ),
        (
            ["experiment=denoise", "data=noisy", "data.sigma=-1"],
            r"data\.sigma=-1, but it must be a number, at least 0",
        ),
        (["operator=any", "operator._target_=nowhere.Blur", "experiment=denoise"], "operator: .*nowhere"),
    ],
)
def test_what_does_not_go_together_is_refused(composed, mask, overrides, said):
    cfg = composed(*[f"data.mask={mask}" if override == "MASK" else override for override in overrides])
    with pytest.raises(UserError, match=said) as caught:
        plan(cfg, read_data(cfg))
    assert "\n" not in str(caught.value)


def test_a_truth_of_another_size_than_the_picture_is_refused(composed, run, photograph, tmp_path):
    with Image.open(photograph) as picture:
        picture.resize((80, 64)).save(tmp_path / "truth.png")
    with pytest.raises(UserError, match=r"data\.truth=.*truth\.png is 80x64 but the image is 40x32; give a file of"):
        run(composed("experiment=denoise", f"data.truth={tmp_path / 'truth.png'}"), tmp_path / "run")


def test_a_crop_is_denoised_by_itself(composed, run, tmp_path):
    run(composed("experiment=denoise", "data=picture", "data.crop=[4,4,24,20]"), tmp_path / "run")
    assert pixels(tmp_path / "run" / "restored.png").shape == (16, 20, 3)


def test_what_is_measured_of_the_result_is_logged(composed, run, tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        run(composed("experiment=super_resolution", "data=reduced", "data.factor=2"), tmp_path / "run")
    assert "20x16 to 40x32, 3 channels, measured by downsample" in caplog.text
    assert "hole" not in caplog.text.replace("whole", "")


def test_the_truth_is_never_seen_by_a_run(composed, run, tmp_path):
    given = ["experiment=denoise", "stopping.patience_steps=10"]
    run(composed(*given, "data=noisy"), tmp_path / "known")
    noisy = tmp_path / "noisy.png"
    noisy.write_bytes((tmp_path / "known/measured.png").read_bytes())
    run(compose([*TINY, f"data.image={noisy}", *given]), tmp_path / "unknown")
    results = [pixels(tmp_path / name / "restored.png") for name in ("known", "unknown")]
    assert np.array_equal(*results)
    weights = [json.loads((tmp_path / name / "metrics.json").read_text())["refine"] for name in ("known", "unknown")]
    assert weights[0] == weights[1]


def test_a_batch_and_a_run_that_is_done_are_recognised(composed, run, tmp_path, caplog):
    cfg = composed("experiment=denoise", f"output.path={tmp_path / 'first.png'}")
    run(cfg, tmp_path / "run")
    assert same_config(RunFolder(tmp_path / "run"), cfg)
    cfg.output.path = str(tmp_path / "second.png")
    with caplog.at_level(logging.INFO):
        run(cfg, tmp_path / "run", resume=True)
    assert "is complete after 3 steps" in caplog.text
    assert (tmp_path / "first.png").read_bytes() == (tmp_path / "second.png").read_bytes()
    assert not (tmp_path / "run" / "inpainted.png").exists()


def test_an_ensemble_that_cannot_be_refined_is_refused_before_it_trains(composed, run, tmp_path):
    with pytest.raises(UserError, match="refine=denoise is for operator=identity, and this is blur; set refine=none"):
        run(composed("experiment=denoise", "operator=blur", "members=2"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_picture_keeps_its_transparency(composed, run, photograph, tmp_path):
    with Image.open(photograph) as picture:
        picture.putalpha(Image.linear_gradient("L").resize(picture.size))
        picture.save(photograph)
    run(composed("experiment=denoise"), tmp_path / "denoised")
    assert np.array_equal(pixels(tmp_path / "denoised" / "restored.png")[..., 3], pixels(photograph)[..., 3])
    run(composed("experiment=super_resolution"), tmp_path / "enlarged")
    assert pixels(tmp_path / "enlarged" / "restored.png").shape == (128, 160, 4)


def test_a_picture_of_few_colours_gets_more(composed, run, photograph, tmp_path):
    with Image.open(photograph) as picture:
        picture.quantize(4).save(photograph)
    run(composed("experiment=denoise", "data=noisy"), tmp_path / "run")
    assert len(np.unique(pixels(tmp_path / "run" / "restored.png").reshape(-1, 3), axis=0)) > 50


class Mirror(torch.nn.Module):
    def forward(self, picture):
        return picture.flip(-1)


@pytest.mark.parametrize(
    ("target", "options", "size"),
    [
        (f"{__name__}.Mirror", [], (32, 40)),
        ("torch.nn.functional.avg_pool2d", ["+operator.kernel_size=2"], (64, 80)),
        (
            "torch.nn.Conv2d",
            ["+operator.in_channels=3", "+operator.out_channels=3", "+operator.kernel_size=1"],
            (32, 40),
        ),
    ],
)
def test_ordinary_modules_and_functions_are_operators(composed, run, tmp_path, target, options, size):
    given = ["experiment=restore", "operator=any", f"operator._target_={target}", *options, "members=2"]
    metrics = run(composed(*given), tmp_path / "run")
    assert pixels(tmp_path / "run" / "restored.png").shape == (*size, 3)
    assert np.isfinite(metrics["psnr_known"])


def test_the_filter_of_a_reduced_picture_is_that_of_the_operator(composed):
    cfg = composed("experiment=super_resolution", "data=reduced", "data.kernel=box", "data.factor=2")
    assert (cfg.operator.kernel, cfg.operator.factor) == ("box", 2)


def test_a_file_that_cannot_hold_the_larger_picture_is_refused_before_the_run(composed, run, photograph, tmp_path):
    Image.new("RGB", (2100, 8)).save(photograph)  # WebP has 16383 pixels a side at most
    given = ["experiment=super_resolution", "operator.factor=8", "data.max_side=null"]
    with pytest.raises(UserError, match=r"output\.path=.*out\.webp"):
        run(composed(*given, f"output.path={tmp_path / 'out.webp'}"), tmp_path / "run")
    assert not (tmp_path / "run" / "config.yaml").exists()

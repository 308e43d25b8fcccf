import json
import re
import signal
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pytest
import torch
from conftest import REPOSITORY
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from PIL import Image
from pytorch_lightning import Callback

from dip import regions
from dip.callbacks import Interruption, Langevin, Results, WeightJitter
from dip.command import Interrupted, Refused
from dip.data import Damaged, SingleSample
from dip.experiment import build, precision
from dip.files import write
from dip.images import to_pil
from dip.repair import find_colours, only, parts, repair, restore, restore_region
from dip.resume import resumed

# Each key of every choice that makes the training step, with a value that is not its tiny default.
INPUT = {"noise": "0.3", "learned": "true", "lr": "0.5"}
ADAM = {"lr": "0.02", "betas": "[0.5,0.9]", "weight_decay": "0.1"}
KNOBS = {
    "seed": {"": "1"},
    "trainer=default": {"precision": "bf16-mixed"},
    "model=unet": {
        "depth": "1",
        "widths": "[4,7]",
        "encoder_kernel": "5",
        "decoder_kernel": "3",
        "up_sampling": "bilinear",
        "norm": "layer",
        "negative_slope": "0.2",
        "padding": "reflect",
        "skip_connections": "false",
        "output": "linear",
        "output_gain": "0.5",
    },
    "model=skip": {
        "down": "[5,6]",
        "up": "[5,6]",
        "skip": "[0,2]",
        "down_kernel": "5",
        "up_kernel": "5",
        "down_sampling": "lanczos",
        "up_sampling": "nearest",
        "up_1x1": "false",
        "negative_slope": "0.1",
        "padding": "zeros",
        "output": "linear",
    },
    "model=resnet": {
        "blocks": "1",
        "features": "5",
        "kernel": "5",
        "negative_slope": "0.1",
        "padding": "zeros",
        "output": "linear",
    },
    "model=deep_decoder": {"features": "[6,7,6]", "up_sampling": "nearest", "output": "linear"},
    "input=learned": {"channels": "2", "scale": "0.2", "noise": "0.3", "lr": "0.5"},
    "input=noise": INPUT | {"channels": "2", "distribution": "normal", "scale": "0.2"},
    "input=meshgrid": INPUT,
    "input=fourier": INPUT | {"features": "3", "scale": "2"},
    "input=picture": INPUT | {"noise_channels": "2", "scale": "0.5"},
    "loss=masked_mse": {},
    "loss=masked_l1": {},
    "loss=masked_huber": {"delta": "0.05"},
    "loss=masked_mse_ssim": {"ssim_weight": "0.5"},
    "penalty=total_variation": {"weight": "0.1", "isotropic": "false"},
    "penalty=colour_range": {"weight": "9", "blur_sd": "2"},
    "fill=coarse": {
        "weight": "9",
        "depth": "100",
        "members": "3",
        "reduction": "2",
        "share": "0.25",
        "decay": "0.5",
        "trusted_sd": "0.001",
    },
    "texture=quilting": {
        "contrast": "0.5",
        "variety_below": "0",
        "kurtosis_below": "0",
        "block": "3",
        "overlap": "2",
        "blur_sd": "2",
        "guide_sd": "1",
        "guide_weight": "0",
    },
    "optimizer=adam": ADAM,
    "optimizer=adamw": ADAM,
    "optimizer=sgd": {"lr": "0.02", "momentum": "0.5", "weight_decay": "0.1"},
    "optimizer=lbfgs": {"lr": "0.02", "max_iter": "3", "history_size": "1", "line_search_fn": "strong_wolfe"},
    "scheduler=step": {"step_size": "1", "gamma": "0.1"},
    "scheduler=cosine": {"T_max": "2", "eta_min": "0.005"},
    "scheduler=warmup": {"start_factor": "0.5", "total_iters": "1"},
    "average=outputs": {"decay": "0.5", "burn_in_share": "0.5"},
    "average=weights": {"decay": "0.5"},
    "average=none": {},
    "penalty=none": {},
    "scheduler=none": {},
    "fill=none": {},
    "texture=none": {},
    "stopping=held_out": {"share": "0.3", "seed": "1"},
    "hole_kind": {"": "large"},
    "large_from": {"": "2"},
    "callbacks=default": {"weight_jitter.share": "0.1", "langevin.noise": "2"},
    "frozen": {"": "[BatchNorm2d]"},
}
# What a choice, or one knob of it, needs to be seen.
BESIDE = {
    "scheduler=step": ["scheduler.step_size=2"],
    "optimizer=lbfgs": ["optimizer.max_iter=4"],
    "penalty=colour_range": ["hole_kind=large", "penalty.blur_sd=1"],
    "fill=coarse": ["hole_kind=large", "data.grow_hole=5", "fill.members=2"],
    "texture=quilting": [
        *("hole_kind=large", "texture.block=4", "texture.overlap=1", "texture.blur_sd=1"),
        *("texture.variety_below=100", "texture.kurtosis_below=100"),
    ],
    "input=picture scale": ["input.noise_channels=1"],
    **{f"input={name} lr": ["input.learned=true"] for name in ("noise", "meshgrid", "fourier", "picture")},
}


def run(cfg, folder):
    return repair(build(cfg, folder), folder)


class Losses(Callback):
    def __init__(self):
        self.losses = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.losses.append(outputs["loss"].item())


@pytest.fixture
def losses(config, tmp_path):
    def run(*overrides, truth=None):
        experiment = build(config(*overrides), tmp_path)
        if truth is not None:
            experiment.data.sample = experiment.data.sample._replace(truth=truth)
        if experiment.prior.fill is not None:
            prior, _, _, callbacks, cfg, _ = experiment
            find_colours(cfg, prior.fill, only(callbacks, Results), Path(mkdtemp(dir=tmp_path)), go_on=False)
        recorder = Losses()
        turning = [callback for callback in experiment.callbacks if isinstance(callback, WeightJitter | Langevin)]
        experiment.trainer.callbacks = [*turning, recorder]
        experiment.trainer.fit(experiment.prior, datamodule=experiment.data)
        drawn = experiment.prior.draw()  # averages and texture change no loss, but what the run results in
        if (texture := only(experiment.callbacks, Results).texture) is not None:
            drawn = texture(drawn)
        return [*recorder.losses, drawn.mean().item()]

    return run


@pytest.fixture(scope="session")
def bases():
    """The curves that knobs are compared with; each is the same in all tests."""
    return {}


def turned(choice, key):
    group = choice.partition("=")[0]
    return f"{group}.{key}" if key else group


@pytest.mark.parametrize(
    ("choice", "key", "value"), [(choice, key, value) for choice, keys in KNOBS.items() for key, value in keys.items()]
)
def test_every_knob_changes_the_loss_curve_or_the_result(losses, bases, choice, key, value):
    beside = BESIDE.get(choice, []) + BESIDE.get(f"{choice} {key}", [])
    base = (*([choice] if "=" in choice else []), *beside, "trainer.max_steps=4")
    if base not in bases:
        bases[base] = losses(*base)
    assert losses(*base, f"{turned(choice, key)}={value}") != bases[base]


def leaves(cfg, prefix=""):
    """The full name of every key that holds a value."""
    for key in cfg:
        if OmegaConf.is_dict(cfg._get_node(key)):
            yield from leaves(cfg[key], f"{prefix}{key}.")
        elif not key.startswith("_"):
            yield f"{prefix}{key}"


# Keys that do not change the loss, and where they are tried.
ELSEWHERE = {
    "model.activation_checkpointing",  # memory: below and test_unet
    "input.reduction",  # only a deep decoder takes another size: test_nets
    "name",  # the folder: test_command
    "texture.patch",  # which holes get texture: test_texture
    "optimizer.fused",  # speed
    "resume",  # test_resume
    "trainer.accelerator",  # the machine
    "trainer.devices",  # test_sweeps
    "members",  # below
    "threads",  # test_sweeps
    "objective",  # test_sweeps
    "trainer.deterministic",  # torch's own, on GPUs
    "trainer.max_steps",  # test_callbacks, test_command
    "logger.default_hp_metric",
    "logger.name",
    "logger.version",
}
VISIBLE = ("data.", "output.", "callbacks.", "stopping.")  # test_data, _masks, _regions, _callbacks, _stopping
STEP = (
    "model",
    "input",
    "loss",
    "penalty",
    "fill",
    "texture",
    "optimizer",
    "scheduler",
    "average",
)  # the groups that make a training step
FREE = {"model=any", "optimizer=any", "model=unet_linear"}  # without keys of their own
FILES = {f"{group}={path.stem}" for group in STEP for path in (REPOSITORY / "configs" / group).glob("*.yaml")} - FREE


@pytest.mark.parametrize("choice", sorted(FILES))
def test_every_key_of_every_choice_is_tried(config, choice):
    # A new key belongs to KNOBS, or it is tried where its effect can be seen, and is named in ELSEWHERE.
    group = choice.partition("=")[0]
    keys = {key for key in leaves(config(choice)) if key.startswith(f"{group}.")}
    assert keys - ELSEWHERE == {turned(choice, key) for key in KNOBS[choice]}


def test_every_other_key_is_tried(config):
    keys = {key for key in leaves(config()) if not key.startswith((*VISIBLE, *(f"{group}." for group in STEP)))}
    others = {
        turned(choice, key)
        for choice in ("seed", "frozen", "hole_kind", "large_from", "trainer=default")
        for key in KNOBS[choice]
    }
    assert keys - ELSEWHERE - {*STEP, "stopping"} == others


def test_activation_checkpointing_changes_no_loss(losses):
    assert losses("model.activation_checkpointing=true") == losses()


def test_in_bfloat16_the_loss_the_picture_and_the_optimizer_stay_in_float32(config, tmp_path):
    class Types(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            state = trainer.optimizers[0].state
            self.seen = {outputs["loss"].dtype, outputs["output"].dtype, *(p.dtype for p in pl_module.parameters())}
            self.seen |= {tensor.dtype for moments in state.values() for tensor in moments.values()}
            self.seen |= {parameter.grad.dtype for parameter in pl_module.parameters() if parameter.grad is not None}

    experiment = build(config("trainer.precision=bf16-mixed"), tmp_path)
    within = set()
    for module in experiment.prior.model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.register_forward_hook(lambda module, inputs, output: within.add(inputs[0].dtype))
    types = Types()
    experiment.trainer.callbacks = [types]
    experiment.trainer.fit(experiment.prior, datamodule=experiment.data)
    assert within == {torch.bfloat16}  # so that this test sees mixed precision at all
    assert types.seen == {torch.float32}


@pytest.mark.parametrize("override", ["data.mask.known_share=0.4", "data.mask.seed=1"])
def test_every_knob_of_random_pixels_moves_the_hole(losses, override):
    assert losses("data=random_pixels", override) != losses("data=random_pixels")


def test_the_seed_of_the_run_does_not_move_the_hole(config, tmp_path):
    masks = [build(config("data=random_pixels", f"seed={seed}"), tmp_path).data.sample.mask for seed in (0, 1)]
    assert torch.equal(*masks)


def test_the_loss_never_sees_the_hole(losses):
    assert losses(truth=torch.full((1, 3, 32, 40), 9.0)) == losses()


def test_the_same_seed_gives_the_same_curve(losses):
    assert losses("seed=0") == losses("seed=0")


def test_golden_loss_curve(losses):
    # What the default recipe's first steps give in float32; it moves only if the mathematics does.
    golden = [0.060638, 0.059435, 0.056822, 0.054803, 0.052903, 0.050482]
    assert losses("trainer.max_steps=6")[:6] == pytest.approx(golden, rel=1e-3)


OF_EVERY_RUN = {
    "steps",
    "seconds",
    "stopped_by",
    "loss",
    "region",
    "drawn_at",
    "psnr_known",
    "texture_distance",
}
SCORED = {"best_step", "psnr_held_out", "psnr_held_out_biharmonic"}  # of a run that its rule has scored


def test_results_are_complete_and_true(config, photograph, tmp_path):
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
    assert set(metrics["baseline"]) == {*measures, "texture_distance"}
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


def test_without_the_truth_nothing_is_claimed_about_the_hole(config, tmp_path):
    metrics = run(config("data.truth=null"), tmp_path / "run")
    assert set(metrics) == OF_EVERY_RUN


def test_the_checkpoint_draws_the_result(config, tmp_path):
    run(config(), tmp_path / "run")
    saved = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["global_step"] == 3
    prior = build(config("seed=5"), tmp_path / "other").prior
    prior.load_state_dict(saved["state_dict"])
    drawn = np.array(to_pil(prior.draw()))
    assert np.array_equal(drawn, np.array(Image.open(tmp_path / "run" / "output.png")))


def test_the_saved_configuration_rebuilds_the_run(config, tmp_path):
    first = run(config("optimizer.lr=0.02"), tmp_path / "run")
    again = run(OmegaConf.load(tmp_path / "run" / "config.yaml"), tmp_path / "again")
    assert again["loss"] == first["loss"]


def test_an_existing_run_is_never_overwritten(config, tmp_path):
    run(config(), tmp_path / "run")
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match=r"holds a run already, whose results stay; resume=.* goes on, or give"):
        run(config("seed=1"), tmp_path / "run")
    assert before == {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}


@pytest.mark.parametrize("recipe", sorted(path.stem for path in (REPOSITORY / "configs" / "experiment").glob("*.yaml")))
@pytest.mark.parametrize(("size", "mode"), [((96, 72), "RGB"), ((97, 71), "L")])
def test_every_recipe_runs_as_it_is(photograph, mask, tmp_path, recipe, size, mode):
    for path in (photograph, mask):
        Image.open(path).convert(mode if path == photograph else "L").resize(size).save(path)
    with initialize_config_dir(str(REPOSITORY / "configs"), version_base="1.3"):
        own = [f"data.image={photograph}", f"data.mask={mask}", "trainer.accelerator=cpu", "trainer.max_steps=2"]
        cfg = compose("train", [f"experiment={recipe}", *own])
    metrics = run(cfg, tmp_path / "run")
    assert metrics["steps"] == 2
    assert np.isfinite(metrics["loss"])
    with Image.open(tmp_path / "run" / "inpainted.png") as inpainted:
        assert (inpainted.size, inpainted.mode) == (size, mode)


def test_recipes_are_what_they_say(config):
    published = config("experiment=published")
    assert (published.optimizer.lr, published.model.output, published.input.noise) == (0.1, "linear", 0)
    recipe = OmegaConf.load(REPOSITORY / "configs" / "experiment" / "published.yaml")
    assert (recipe.trainer.max_steps, recipe.trainer.precision) == (6000, "32-true")
    assert [config(f"hole_kind={kind}").input.noise for kind in ("thin", "large")] == [0.2, 0.5]
    assert config("experiment=quick") == config()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["trainer.max_steps=0"], "trainer.max_steps=0"),
        (["large_from=0"], "large_from=0.0, but it is a depth in pixels, above 0"),
        (["seed=-1"], "seed=-1, but a seed lies between"),
        (["optimizer.lr=-1"], "optimizer: Invalid learning rate: -1.0"),
        (["optimizer.betas=[0.9]"], "optimizer: "),
        (["optimizer=any", "optimizer._target_=torch.optim.SGD", "+optimizer.betas=[1,2]"], "optimizer: .*betas"),
        (
            ["data.image=null", "data.mask=null", "data.truth=null", "data.hole=white"],
            "data.hole=white speaks of a mask",
        ),
        (["frozen=[Linear]"], "frozen=Linear, but the network has no such layer; it has BatchNorm2d, "),
        (["model.depth=9"], "40x32 is too small for model.depth=9"),
        (["model.decoder_kernel=4"], "model.decoder_kernel=4, but a kernel must be odd"),
        (["trainer.accelerator=gpu"], "trainer.accelerator=gpu, but this machine has cpu"),
        (["trainer.precision=17"], "trainer: .*17"),
        (["model=any", "model._target_=torch.nn.Conv2d"], "model: .*missing .*kernel_size"),
        (["model=any", "model._target_=torch.nn.Conv2d", "+model.kernel_size=3"], r"model: .* \(1, 3, 30, 38\)"),
        (["model=any", "model._target_=torch.nn.Nothing"], "model: .*torch.nn.Nothing"),
    ],
)
def test_bad_values_are_refused_in_words(config, tmp_path, overrides, message):
    if "trainer.accelerator=gpu" in overrides and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(ValueError, match=message):
        build(config(*overrides), tmp_path)


@pytest.mark.parametrize("recipe", ["quick", "quality", "published"])
def test_any_network_and_any_optimizer_go_with_every_recipe(losses, recipe):
    network = ["model=any", "model._target_=torch.nn.Conv2d", "+model.kernel_size=3", "+model.padding=1"]
    assert losses(f"experiment={recipe}", *network, "optimizer=any", "optimizer._target_=torch.optim.SGD")


@pytest.mark.parametrize("recipe", ["quick", "quality"])
@pytest.mark.parametrize("part", ["penalty", "fill", "texture", "average", "stopping"])
def test_a_part_that_is_left_out_leaves_no_key_behind(config, recipe, part):
    assert config(f"experiment={recipe}", f"{part}=none")[part] is None


def test_a_network_that_returns_no_picture_is_refused(config, tmp_path):
    overrides = ["model=any", "model._target_=test_experiment.TwoPictures"]
    with pytest.raises(ValueError, match="model: the network cannot draw a picture"):
        build(config(*overrides), tmp_path)


class TwoPictures(torch.nn.Module):
    def __init__(self, in_channels, out_channels):
        super().__init__()

    def forward(self, x):
        return {"out": x, "aux": x}


@pytest.mark.parametrize("native", [True, False])
def test_precision_is_chosen_by_the_hardware(monkeypatch, native):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: native)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    assert precision("auto", "cpu") == ("bf16-mixed" if native else "32-true")
    assert precision("64-true", "cpu") == "64-true"


@pytest.mark.parametrize("given", ["bf16-true", "64-true", "bf16-mixed"])
def test_known_pixels_stay_exact_in_every_precision(config, photograph, tmp_path, given):
    run(config(f"trainer.precision={given}"), tmp_path / "run")
    before, after = (np.array(Image.open(path)) for path in (photograph, tmp_path / "run" / "inpainted.png"))
    hole = np.zeros((32, 40), dtype=bool)
    hole[8:16, 20:30] = True
    assert np.array_equal(after[~hole], before[~hole])


@pytest.fixture
def large_hole(photograph, mask):
    """The tiny picture at 96x72, with a hole of 40x40 pixels."""
    Image.open(photograph).resize((96, 72)).save(photograph)
    pixels = np.full((72, 96), 255, dtype=np.uint8)
    pixels[16:56, 20:60] = 0
    Image.fromarray(pixels).save(mask)


@pytest.mark.usefixtures("large_hole")
def test_a_hole_beyond_reach_is_warned_of_and_the_named_setting_cures_it(config, tmp_path, caplog):
    small = ["model.depth=2", "model.decoder_kernel=3", "trainer.max_steps=1"]
    run(config(*small), tmp_path / "small")
    (said,) = [record.getMessage() for record in caplog.records if "beyond the reach" in record.getMessage()]
    depth, kernel = re.findall(r"model\.\w+=\d+", said)
    assert (depth, kernel) == ("model.depth=3", "model.decoder_kernel=15")
    with Image.open(tmp_path / "small" / "supervision.png") as picture:
        pixels = np.array(picture)[16:56, 20:60].reshape(-1, 3)
    share = (pixels == (255, 0, 255)).all(axis=1).mean()
    assert f"{100 * share:.1f} % of the hole" in said
    for cure in (depth, kernel):
        caplog.clear()
        run(config(*small, cure), tmp_path / cure)
        assert "beyond the reach" not in caplog.text
    for smaller in ("model.depth=2", "model.decoder_kernel=13"):
        caplog.clear()
        run(config(*small, smaller), tmp_path / smaller)
        assert "beyond the reach" in caplog.text


@pytest.mark.usefixtures("large_hole")
def test_looking_for_a_cure_changes_no_result(config, tmp_path):
    small = ["model.decoder_kernel=3", "trainer.max_steps=2"]
    looked, unlooked = (
        run(config(*small, *more), tmp_path / str(len(more))) for more in ([], ["callbacks.supervision=null"])
    )
    assert looked["loss"] == unlooked["loss"]


@pytest.fixture
def far_holes(photograph, mask, monkeypatch):
    """The tiny picture at 120x90 with a hole in two corners, far apart where a margin is 20 pixels."""
    monkeypatch.setattr(regions, "SMALL", 0)
    monkeypatch.setattr(regions, "MARGIN", 20)
    Image.open(photograph).resize((120, 90)).save(photograph)
    pixels = np.full((90, 120), 255, dtype=np.uint8)
    pixels[8:14, 10:18] = pixels[70:75, 100:110] = 0
    Image.fromarray(pixels).save(mask)
    return pixels == 0


def test_far_holes_are_repaired_in_runs_of_their_own_and_one_result(config, photograph, tmp_path, far_holes):
    folder = tmp_path / "run"
    metrics = restore(config(f"output.path={tmp_path}/fixed.tif"), folder)
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
    assert restore(config("data.crop=none"), tmp_path / "all")["region"] == [0, 0, 120, 90]


@pytest.mark.usefixtures("far_holes")
def test_ctrl_c_in_a_region_leaves_the_picture_as_far_as_it_is_repaired_and_it_can_go_on(config, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(Interruption, "setup", lambda self, *_, **__: setattr(self, "received", signal.SIGINT))
        with pytest.raises(Interrupted, match=r"0 of 2 parts are repaired; resume=.*/run goes on"):
            restore(config(), tmp_path / "run")
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["stopped_by"] == "interrupt"
    with Image.open(tmp_path / "run" / "inpainted.png") as file, Image.open(tmp_path / "photograph.png") as original:
        changed = (np.array(file) != np.array(original)).any(axis=-1)
    assert changed[:34].any()
    assert not changed[50:].any()

    saved = OmegaConf.load(tmp_path / "run" / "config.yaml")
    assert restore(saved, tmp_path / "run", go_on=True)["stopped_by"] == "max_steps"
    restore(config(), tmp_path / "whole")
    assert (tmp_path / "run" / "inpainted.png").read_bytes() == (tmp_path / "whole" / "inpainted.png").read_bytes()


def test_a_result_file_of_the_user_is_never_overwritten_by_itself(config, tmp_path):
    kept = tmp_path / "fixed.png"
    kept.write_text("precious")
    with pytest.raises(Refused, match=r"fixed\.png is there already; give another name, or set output.overwrite=true"):
        restore(config(f"output.path={kept}"), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    experiment = build(config(f"output.path={tmp_path}/late.png"), tmp_path / "run")
    (tmp_path / "late.png").write_text("precious")
    repair(experiment, tmp_path / "run")
    assert (tmp_path / "late.png").read_text() == kept.read_text() == "precious"
    restore(config(f"output.path={kept}", "output.overwrite=true"), tmp_path / "other")
    assert kept.read_bytes() == (tmp_path / "other" / "inpainted.png").read_bytes()


def test_measures_of_a_reduced_picture_are_of_its_full_size(config, photograph, tmp_path):
    metrics = run(config("data.max_side=24"), tmp_path / "run")
    assert metrics["region"] == [0, 0, 40, 32]
    assert metrics["drawn_at"] == [26, 21]
    truth, after = (np.array(Image.open(path)) / 255 for path in (photograph, tmp_path / "run" / "inpainted.png"))
    error = (truth - after)[8:16, 20:30] ** 2
    assert -10 * np.log10(error.mean()) == pytest.approx(metrics["psnr_hole"], abs=0.1)


@pytest.mark.parametrize(("mode", "size"), [("CMYK", 4), ("I;16", 1), ("P", 3)])
def test_a_picture_of_any_mode_is_repaired_and_shown(config, photograph, mask, tmp_path, mode, size):
    with Image.open(photograph) as file:
        grey = Image.fromarray(np.array(file.convert("L")).astype(np.uint16) * 16)
        (grey if mode == "I;16" else file.convert(mode)).save(tmp_path / "a.tif")
    metrics = run(config(f"data.image={tmp_path}/a.tif", "data.truth=null"), tmp_path / "run")
    assert metrics["steps"] == 3
    name = "inpainted.tif" if mode == "CMYK" else "inpainted.png"
    with Image.open(tmp_path / "run" / name) as result, Image.open(tmp_path / "run" / "output.png") as output:
        assert result.mode == mode
        assert output.mode == ("L" if size == 1 else "RGB")


@pytest.fixture
def both_kinds(photograph, mask):
    """The tiny picture at 96x72 with a hole 12 pixels deep and a stroke of 4 pixels, far enough from each other."""
    Image.open(photograph).resize((96, 72)).save(photograph)
    pixels = np.full((72, 96), 255, dtype=np.uint8)
    pixels[10:34, 10:34] = 0
    pixels[60:64, 5:90] = 0
    Image.fromarray(pixels).save(mask)
    return pixels == 0


def test_a_mask_with_both_kinds_of_holes_gets_each_its_own_run(config, photograph, tmp_path, both_kinds):
    folder = tmp_path / "run"
    metrics = restore(config(), folder)
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
    assert restore(OmegaConf.load(folder / "config.yaml"), folder, go_on=True) == metrics
    assert restore(config("hole_kind=thin"), tmp_path / "thin")["steps"] == 3


def test_parts_go_on_as_they_were_begun_and_what_is_refused_is_not_kept(config, tmp_path, both_kinds):
    folder = tmp_path / "run"
    cfg = config()
    cfg.trainer.max_steps = "${by_hole:${hole_kind},3,4}"
    restore(cfg, folder)
    told = (folder / "config.yaml").read_text()
    refused = {("data.grow_hole", 1): "of another picture or mask", ("hole_kind", "thin"): "has other parts"}
    for turned, said in refused.items():
        cfg = OmegaConf.load(folder / "config.yaml")
        OmegaConf.update(cfg, *turned)
        with pytest.raises(Refused, match=said):
            restore(cfg, folder, go_on=True)
        assert (folder / "config.yaml").read_text() == told
    turned = "callbacks.animation.count=9"
    cfg = resumed(folder, config(turned), ["resume=x", turned])
    assert restore(cfg, folder, go_on=True)["stopped_by"] == "max_steps"
    restore(config("hole_kind=thin"), tmp_path / "one")
    with pytest.raises(Refused, match="has other parts"):
        restore(config(), tmp_path / "one", go_on=True)


def test_both_kinds_of_holes_in_one_region_of_a_larger_picture(config, photograph, tmp_path, both_kinds, monkeypatch):
    monkeypatch.setattr(regions, "SMALL", 0)
    monkeypatch.setattr(regions, "MARGIN", 20)
    mask = Image.fromarray(np.pad(~both_kinds, ((0, 200), (150, 0)), constant_values=True).astype(np.uint8) * 255)
    mask.save(tmp_path / "mask.png")
    Image.open(photograph).resize(mask.size).save(photograph)
    metrics = restore(config(), tmp_path / "run")
    boxes = {name: part["region"] for name, part in metrics["parts"].items()}
    assert boxes.keys() == {"thin", "large"}
    assert boxes["thin"] == boxes["large"] != [0, 0, *mask.size]
    changed = np.array(Image.open(tmp_path / "run" / "inpainted.png")) != np.array(Image.open(photograph))
    hole = np.array(mask) == 0
    assert not changed[~hole].any()
    assert changed[hole].any(axis=-1).mean() > 0.9


def test_a_part_that_is_interrupted_when_prolonged_leaves_more_to_do(config, tmp_path, both_kinds, monkeypatch):
    folder = tmp_path / "run"
    restore(config(), folder)

    def interrupted(cfg, *of):
        if cfg.hole_kind == "large":
            raise KeyboardInterrupt
        return build(cfg, *of)

    monkeypatch.setattr("dip.repair.build", interrupted)
    cfg = OmegaConf.load(folder / "config.yaml")
    cfg.trainer.max_steps = 5
    with pytest.raises(Interrupted, match="1 of 2 parts are repaired"):
        restore(cfg, folder, go_on=True)
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["stopped_by"] == "interrupt"
    assert {name: part["steps"] for name, part in metrics["parts"].items()} == {"thin": 5, "large": 3}


@pytest.mark.usefixtures("both_kinds")
def test_a_refusal_in_the_first_part_leaves_no_result(config, tmp_path):
    with pytest.raises(Refused, match=r"model\.depth=9"):
        restore(config("model.depth=9", f"output.path={tmp_path}/fixed.png"), tmp_path / "run")
    assert not (tmp_path / "fixed.png").exists()
    assert not (tmp_path / "run" / "metrics.json").exists()


def test_the_kinds_of_holes_are_told_at_the_size_of_the_work(config, tmp_path, both_kinds):
    # The large hole is 3 pixels deep in a picture of 24x18 pixels, and the stroke 1.
    metrics = restore(config("data.max_side=21"), tmp_path / "run")
    assert "parts" not in metrics
    assert OmegaConf.load(tmp_path / "run" / "config.yaml").hole_kind == "thin"


def test_every_pixel_of_the_hole_is_part_of_the_repair(config):
    mask = torch.ones(1, 1, 1128, 1128)  # where dividing by 1024 is not exact
    mask[..., 100:300, 141:341] = 0
    mask[..., 600:604, 5:1100] = 0
    photograph = Image.new("L", (1128, 1128), 90)
    data = SingleSample(Damaged(photograph, mask, None), [(0, 0, 1128, 1128)], max_side=1024)
    each = [np.array(part.pixels) for part in parts(config("hole_kind=auto"), data)]
    assert len(each) == 2
    assert np.array_equal(each[0] ^ each[1], (mask == 0)[0, 0].numpy())


def test_the_kind_of_the_hole_is_measured_and_said(config, tmp_path, caplog):
    caplog.set_level("INFO")
    restore(config(), tmp_path / "run")
    assert "The hole is up to 4 pixels deep: hole_kind=thin." in caplog.text
    assert OmegaConf.load(tmp_path / "run" / "config.yaml").hole_kind == "thin"


def test_several_members_are_runs_of_their_own_and_their_mean_is_the_result(config, tmp_path):
    metrics = restore(config("members=3", "seed=2"), tmp_path / "all")
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


def test_members_that_were_interrupted_go_on_with_what_is_missing(config, tmp_path, caplog):
    def stop_the_second(experiment):
        if experiment.cfg.seed == 1:
            only(experiment.callbacks, Interruption).received = signal.SIGINT

    cfg, folder = config("members=3", f"output.path={tmp_path}/fixed.png"), tmp_path / "run"
    with pytest.raises(Interrupted, match=r"1 of 3 runs are done; resume=.*/run output.overwrite=true goes on"):
        restore_region(cfg, folder, watch=stop_the_second)
    metrics = json.loads((folder / "metrics.json").read_text())
    assert (metrics["stopped_by"], list(metrics["members"])) == ("interrupt", ["member_1", "member_2"])
    assert (folder / "inpainted.png").exists()
    caplog.set_level("INFO")
    cfg = OmegaConf.load(folder / "config.yaml")
    cfg.output.overwrite = True
    resumed = restore(cfg, folder, go_on=True)
    assert "is complete after 3 steps" in caplog.text
    fresh = restore(config("members=3"), tmp_path / "fresh")
    assert resumed["psnr_hole"] == fresh["psnr_hole"]


def mean_of(outputs):
    drawn = torch.cat([torch.load(file, weights_only=True)["output"] for file in outputs])
    return drawn.mean(dim=0).permute(1, 2, 0).numpy()


def test_a_mean_that_is_prolonged_and_interrupted_has_all_its_runs_still(config, tmp_path):
    folder = tmp_path / "run"
    restore(config("members=2"), folder)
    cfg = OmegaConf.load(folder / "config.yaml")
    cfg.trainer.max_steps = 6
    with pytest.raises(Interrupted, match=r"0 of 2 runs are done; resume="):
        restore_region(cfg, folder, None, True, interrupt)
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["stopped_by"] == "interrupt"
    assert {name: member["steps"] for name, member in metrics["members"].items()} == {"member_1": 4, "member_2": 3}
    drawn = np.array(Image.open(folder / "output.png")) / 255
    assert np.abs(drawn - mean_of(folder.glob("*/output.pt")).clip(0, 1)).max() < 0.6 / 255


def interrupt(experiment):
    only(experiment.callbacks, Interruption).received = signal.SIGINT


def test_ctrl_c_between_two_runs_says_what_goes_on(config, tmp_path, monkeypatch):
    def interrupted(cfg, *of):
        if cfg.seed == 1:
            raise KeyboardInterrupt
        return build(cfg, *of)

    monkeypatch.setattr("dip.repair.build", interrupted)
    with pytest.raises(Interrupted, match=r"1 of 2 runs are done; resume=.*/run goes on"):
        restore(config("members=2"), tmp_path / "run")
    assert list(json.loads((tmp_path / "run" / "metrics.json").read_text())["members"]) == ["member_1"]


def test_a_run_that_is_killed_among_its_results_is_part_of_the_mean(config, tmp_path, monkeypatch):
    folder = tmp_path / "run"

    def killed(path, text):
        if "member_2" in path.parts:
            raise SystemExit
        write(path, text)

    with monkeypatch.context() as patched:
        patched.setattr("dip.callbacks.write", killed)
        with pytest.raises(SystemExit):
            restore(config("members=2"), folder)
    assert (folder / "member_2" / "output.pt").exists()
    resumed = restore(OmegaConf.load(folder / "config.yaml"), folder, go_on=True)
    assert resumed["psnr_hole"] == restore(config("members=2"), tmp_path / "fresh")["psnr_hole"]


def test_what_is_refused_of_several_runs_leaves_nothing(config, tmp_path):
    with pytest.raises(Refused, match=r"too small for model\.depth=9"):
        restore(config("members=2", "model.depth=9"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_no_member_is_refused(config, tmp_path):
    with pytest.raises(Refused, match="members=0, but the result is the mean of at least one run"):
        restore(config("members=0"), tmp_path)

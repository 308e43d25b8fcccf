from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image, ImageChops
from pytorch_lightning import Callback
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from dip.config.build import build, is_exact, read_data
from dip.config.compose import CONFIGS, compose
from dip.config.machine import choose_precision
from dip.errors import UserError
from dip.prior.sample import SingleSample
from dip.repair.plan import plan_part
from dip.repair.run import find_colours
from dip.results.folder import RunFolder
from dip.training.noise import Langevin, WeightJitter

# Each key of every choice that makes the training step, with a value that is not its tiny default.
INPUT = {"noise": "0.3", "learned": "true", "lr": "0.5"}
ADAM = {"lr": "0.02", "betas": "[0.5,0.9]", "weight_decay": "0.1"}
OPTIONS = {
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
    "operator=downsample": {"factor": "2", "kernel": "box"},
    "operator=blur": {"sd": "3", "kernel": "kernel.npy"},
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
    "texture=patches": {
        "contrast": "0.5",
        "blur_sd": "2",
        "patch": "5",
        "guide_sd": "1",
        "guide_weight": "0",
        "repeat_weight": "0",
        "variety_below": "0",
        "kurtosis_below": "0",
        "block": "3",
        "overlap": "2",
        "block_blur_sd": "2",
        "block_guide_sd": "1",
    },
    "optimizer=adam": ADAM,
    "optimizer=adamw": ADAM,
    "optimizer=sgd": {"lr": "0.02", "momentum": "0.5", "weight_decay": "0.1"},
    "optimizer=lbfgs": {"lr": "0.02", "max_iter": "3", "history_size": "1", "line_search_fn": "strong_wolfe"},
    "optimizer=muon": {"lr": "0.02", "kernel_lr": "0.1", "momentum": "0.5"},
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
# What a choice, or one option of it, needs to be seen.
BESIDE = {
    "operator=downsample": ["data.truth=null", "fill=none", "texture=none", "penalty=none"],
    "scheduler=step": ["scheduler.step_size=2"],
    "optimizer=lbfgs": ["optimizer.max_iter=4"],
    "penalty=colour_range": ["hole_kind=large", "penalty.blur_sd=1"],
    "fill=coarse": ["hole_kind=large", "data.grow_hole=5", "fill.members=2"],
    "texture=patches": [
        *("hole_kind=large", "texture.patch=3", "texture.block=4", "texture.overlap=1", "texture.blur_sd=1"),
        *("texture.variety_below=100", "texture.kurtosis_below=100", "texture.block_blur_sd=1"),
    ],
    "input=picture scale": ["input.noise_channels=1"],
    **{f"input={name} lr": ["input.learned=true"] for name in ("noise", "meshgrid", "fourier", "picture")},
}


class Losses(Callback):
    def __init__(self):
        self.losses = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.losses.append(outputs["loss"].item())


@pytest.fixture
def losses(config, tmp_path):
    """losses("key=value", ...): the loss of each step, and the mean of the result.

    truth: another ground truth for the samples; damaged: another photograph for all.
    """

    def train(*overrides, truth=None, damaged=lambda photo: photo):
        cfg, folder = config(*overrides), RunFolder(Path(mkdtemp(dir=tmp_path)))
        job = plan_part("", cfg, damaged(read_data(cfg)))
        guide = None if job.guide is None else find_colours(job, job.guide, folder, build)
        prior, data, trainer, callbacks, _, writer, _ = build(job.cfg, job.photo, folder, guide)
        if truth is not None:
            target, mask, _, held_out, _ = data.sample
            data = SingleSample(target, mask, truth, held_out)
        recorder = Losses()
        noise = [callback for callback in callbacks if isinstance(callback, WeightJitter | Langevin)]
        trainer.callbacks = [*noise, recorder]
        trainer.fit(prior, datamodule=data)
        output = prior.predict()  # averages and texture change no loss, but what the run results in
        if writer.texture is not None:
            output = writer.texture(output)
        return [*recorder.losses, output.mean().item()]

    return train


@pytest.fixture(scope="session")
def bases():
    """The curves that options are compared with; each is the same in all tests."""
    return {}


def full_key(choice, key):
    group = choice.partition("=")[0]
    return f"{group}.{key}" if key else group


@pytest.mark.parametrize(
    ("choice", "key", "value"),
    [(choice, key, value) for choice, keys in OPTIONS.items() for key, value in keys.items()],
)
def test_every_option_changes_the_loss_curve_or_the_result(losses, bases, choice, key, value, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("kernel.npy", np.eye(3))
    beside = BESIDE.get(choice, []) + BESIDE.get(f"{choice} {key}", [])
    base = (*([choice] if "=" in choice else []), *beside, "trainer.max_steps=4")
    if base not in bases:
        bases[base] = losses(*base)
    assert losses(*base, f"{full_key(choice, key)}={value}") != bases[base]


def leaves(cfg, prefix=""):
    """The full name of every key that holds a value."""
    for key in cfg:
        if OmegaConf.is_dict(cfg._get_node(key)):
            yield from leaves(cfg[key], f"{prefix}{key}.")
        elif not key.startswith("_"):
            yield f"{prefix}{key}"


# Keys that do not change the loss, and where they are tried.
ELSEWHERE = {
    "model.activation_checkpointing",  # memory: below and prior/test_unet
    "input.reduction",  # only a deep decoder takes another size: prior/test_nets
    "name",  # the folder: cli/test_command
    "optimizer.fused",  # speed
    "resume",  # repair/test_resume
    "trainer.accelerator",  # the machine
    "trainer.devices",  # below
    "members",  # repair/test_join
    "threads",  # below
    "objective",  # test_sweep
    "trainer.deterministic",  # torch's own, on GPUs
    "trainer.max_steps",  # repair/test_run, cli/test_command
    "logger.default_hp_metric",
    "logger.name",
    "logger.version",
}
# image/test_photo, _masks; repair/test_run; training, results; test_compose; results/test_group_sparse, _denoising;
# prior/test_operators
VISIBLE = ("data.", "operator", "output.", "callbacks.", "stopping.", "by_hole.", "refine")
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
FILES = {f"{group}={path.stem}" for group in STEP for path in (CONFIGS / group).glob("*.yaml")} - FREE


@pytest.mark.parametrize("choice", sorted(FILES))
def test_every_key_of_every_choice_is_tried(config, choice):
    # A new key belongs to OPTIONS, or it is tried where its effect can be seen, and is named in ELSEWHERE.
    group = choice.partition("=")[0]
    keys = {key for key in leaves(config(choice)) if key.startswith(f"{group}.")}
    assert keys - ELSEWHERE == {full_key(choice, key) for key in OPTIONS[choice]}


def test_every_other_key_is_tried(config):
    keys = {key for key in leaves(config()) if not key.startswith((*VISIBLE, *(f"{group}." for group in STEP)))}
    others = {
        full_key(choice, key)
        for choice in ("seed", "frozen", "hole_kind", "large_from", "trainer=default")
        for key in OPTIONS[choice]
    }
    assert keys - ELSEWHERE - {*STEP, "stopping"} == others


def test_activation_checkpointing_changes_no_loss(losses):
    assert losses("model.activation_checkpointing=true") == losses()


def test_in_bfloat16_the_loss_the_picture_and_the_optimizer_stay_in_float32(config, built, tmp_path):
    class Types(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            state = trainer.optimizers[0].state
            self.seen = {outputs["loss"].dtype, outputs["output"].dtype, *(p.dtype for p in pl_module.parameters())}
            self.seen |= {tensor.dtype for moments in state.values() for tensor in moments.values()}
            self.seen |= {parameter.grad.dtype for parameter in pl_module.parameters() if parameter.grad is not None}

    experiment = built(config("trainer.precision=bf16-mixed"), tmp_path)
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
def test_every_option_of_random_pixels_moves_the_hole(losses, override):
    assert losses("data=random_pixels", override) != losses("data=random_pixels")


def test_the_seed_of_the_run_does_not_move_the_hole(config, built, tmp_path):
    masks = [built(config("data=random_pixels", f"seed={seed}"), tmp_path).data.sample.mask for seed in (0, 1)]
    assert torch.equal(*masks)


def test_the_loss_never_sees_the_hole(losses):
    assert losses(truth=torch.full((1, 3, 32, 40), 9.0)) == losses()


def test_the_run_sees_no_ground_truth_and_no_colours_that_the_file_has_in_the_hole(losses):
    def painted(hole):
        def change(photo):
            picture = photo.picture.copy()
            picture.paste("white", mask=Image.fromarray((photo.mask[0, 0].numpy() == 0) == hole))
            return replace(photo, picture=picture, truth=ImageChops.invert(photo.truth))

        return change

    keys = ["hole_kind=large", "data.grow_hole=5", "fill.members=2", "input=picture"]  # everything that reads pixels
    before = losses(*keys)
    assert losses(*keys, damaged=painted(hole=True)) == before
    assert losses(*keys, damaged=painted(hole=False)) != before  # so that this test can fail


def test_the_same_seed_gives_the_same_curve(losses):
    assert losses("seed=0") == losses("seed=0")


def test_golden_loss_curve(losses):
    # What the default recipe's first steps give in float32; it moves only if the mathematics does.
    golden = [0.060638, 0.059435, 0.056822, 0.054803, 0.052903, 0.050482]
    assert losses("trainer.max_steps=6")[:6] == pytest.approx(golden, rel=1e-3)


@pytest.mark.parametrize("recipe", sorted(path.stem for path in (CONFIGS / "experiment").glob("*.yaml")))
@pytest.mark.parametrize(("size", "mode"), [((96, 72), "RGB"), pytest.param((97, 71), "L", marks=pytest.mark.slow)])
def test_every_recipe_runs_as_it_is(photograph, mask, run, tmp_path, recipe, size, mode):
    for path in (photograph, mask):
        Image.open(path).convert(mode if path == photograph else "L").resize(size).save(path)
    own = [f"experiment={recipe}", f"data.image={photograph}", "trainer.accelerator=cpu", "trainer.max_steps=2"]
    cfg = compose(own)
    if is_exact(cfg):
        cfg.data.mask = str(mask)
    cfg.by_hole.rounds = 2  # of refinement, which else takes most of the time
    metrics = run(cfg, tmp_path / "run")
    runs = list(metrics["members"].values()) if cfg.members > 1 else [metrics]
    assert [own["steps"] for own in runs] == cfg.members * [2]
    assert np.isfinite([own["loss"] for own in runs]).all()
    times = cfg.operator.factor if "factor" in cfg.operator else 1
    with Image.open(RunFolder(tmp_path / "run").result) as result:
        assert (result.size, result.mode) == ((times * size[0], times * size[1]), mode)


@pytest.mark.parametrize("recipe", ["quick", "quality", "published"])
def test_any_network_and_any_optimizer_go_with_every_recipe(losses, recipe):
    network = ["model=any", "model._target_=torch.nn.Conv2d", "+model.kernel_size=3", "+model.padding=1"]
    assert losses(f"experiment={recipe}", *network, "optimizer=any", "optimizer._target_=torch.optim.SGD")


def test_a_network_that_returns_no_picture_is_refused(config, built, tmp_path):
    overrides = ["model=any", f"model._target_={__name__}.TwoPictures"]
    with pytest.raises(UserError, match="model: the network cannot draw a picture"):
        built(config(*overrides), tmp_path)


class TwoPictures(torch.nn.Module):
    def __init__(self, in_channels, out_channels):
        super().__init__()

    def forward(self, x):
        return {"out": x, "aux": x}


def test_memory_that_is_missing_for_the_first_picture_is_no_fault_of_the_network(config, built, tmp_path):
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        built(config("model=any", f"model._target_={__name__}.Greedy"), tmp_path)


class Greedy(torch.nn.Module):
    def __init__(self, in_channels, out_channels):
        super().__init__()

    def forward(self, x):
        return torch.empty(2**60, dtype=torch.uint8)


@pytest.mark.parametrize("native", [True, False])
def test_precision_is_chosen_by_the_hardware(monkeypatch, native):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: native)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    assert choose_precision("auto", "cpu") == ("bf16-mixed" if native else "32-true")
    assert choose_precision("64-true", "cpu") == "64-true"


def test_lightning_gets_the_device_as_a_plain_list(config, built, tmp_path, monkeypatch):
    given = {}
    monkeypatch.setattr("pytorch_lightning.Trainer.__init__", lambda self, **options: given.update(options))
    for devices, plain in (("[0]", [0]), ("null", 1)):
        built(config(f"trainer.devices={devices}"), tmp_path / devices)
        assert given["devices"] == plain
        assert type(given["devices"]) is type(plain)


def test_a_run_has_its_threads_and_one_device(config, built, tmp_path):
    before = torch.get_num_threads()
    try:
        built(config("threads=2"), tmp_path)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    with pytest.raises(UserError, match="threads=0, but it must be a whole number, at least 1"):
        built(config("threads=0"), tmp_path)
    for devices in ("[0,1]", "2", "[]"):
        with pytest.raises(UserError, match=r"trainer\.devices=.*, but a run has one device, such as \[0\]"):
            built(config(f"trainer.devices={devices}"), tmp_path)


@pytest.mark.parametrize(
    "variables",
    [
        {"SLURM_NTASKS": "4", "SLURM_JOB_NAME": "repair", "SLURM_PROCID": "2", "SLURM_LOCALID": "2"},
        {"SLURM_NTASKS": "4", "SLURM_NTASKS_PER_NODE": "4", "SLURM_JOB_NAME": "repair", "SLURM_PROCID": "0"},
        {"TORCHELASTIC_RUN_ID": "a", "RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "4", "GROUP_RANK": "2"},
        {"LSB_JOBID": "1", "LSB_DJOB_RANKFILE": "/nowhere", "JSM_NAMESPACE_LOCAL_RANK": "1"},
        {"OMPI_COMM_WORLD_RANK": "2", "OMPI_COMM_WORLD_SIZE": "4", "PMI_RANK": "2", "PBS_NODEFILE": "/nowhere"},
    ],
    ids=["srun", "tasks a node", "torchrun", "LSF", "MPI"],
)
def test_a_run_is_one_process_whatever_the_scheduler_says(config, built, tmp_path, monkeypatch, variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(rank_zero_only, "rank", 2)  # as Lightning, imported under a scheduler, has it
    trainer = built(config(), tmp_path).trainer
    assert (trainer.world_size, trainer.global_rank, trainer.node_rank, trainer.is_global_zero) == (1, 0, 0, True)
    assert rank_zero_only.rank == 0  # else nothing would be logged

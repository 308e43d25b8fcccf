"""The type of every key in configs/, so that a misspelt key or a wrong value fails before anything slow is imported."""

import re
from dataclasses import dataclass
from enum import Enum
from hashlib import sha256
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf


class Word(str, Enum):
    """One of a few words, and no different from the word itself below."""

    def __str__(self) -> str:
        return self.value


class Hole(Word):
    """What the hole is in a mask file."""

    black = "black"
    white = "white"
    alpha = "alpha"


class HoleKind(Word):
    """What a recipe that asks for it is made for; auto measures the hole."""

    auto = "auto"
    thin = "thin"
    large = "large"


class SoftMask(Word):
    """What the greys of a mask file are."""

    threshold = "threshold"
    weight = "weight"


class Output(Word):
    """What bounds the network's output."""

    linear = "linear"
    sigmoid = "sigmoid"


class Objective(Word):
    """What a search makes large."""

    psnr_held_out = "psnr_held_out"
    psnr_hole = "psnr_hole"


class UpSampling(Word):
    nearest = "nearest"
    bilinear = "bilinear"


class DownSampling(Word):
    stride = "stride"
    average = "average"
    max = "max"
    lanczos = "lanczos"


class Norm(Word):
    batch = "batch"
    layer = "layer"
    none = "none"


class Padding(Word):
    zeros = "zeros"
    reflect = "reflect"
    replicate = "replicate"


class Distribution(Word):
    uniform = "uniform"
    normal = "normal"


@dataclass
class Target:
    _target_: str


@dataclass
class Factory(Target):
    _partial_: bool


@dataclass
class Text(Factory):
    words: str
    font_size: int


@dataclass
class Example(Factory):
    photograph: str
    width: int
    height: int
    mask: Text


@dataclass
class Picture(Target):
    image: str | None
    mask: str | None
    truth: str | None
    hole: Hole
    soft_mask: SoftMask
    resize_mask: bool
    grow_hole: int
    crop: Any  # a word or four numbers
    max_side: int | None
    example: Example


@dataclass
class KnownShare(Factory):
    known_share: float
    seed: int


@dataclass
class RandomPixels(Target):
    image: str
    mask: KnownShare


@dataclass
class UNet(Target):
    depth: int
    widths: list[int]
    encoder_kernel: int
    decoder_kernel: int
    up_sampling: UpSampling
    norm: Norm
    negative_slope: float
    padding: Padding
    skip_connections: bool
    output: Output
    output_gain: float
    activation_checkpointing: bool


@dataclass
class Skip(Target):
    down: list[int]
    up: list[int]
    skip: list[int]
    down_kernel: int
    up_kernel: int
    down_sampling: DownSampling
    up_sampling: UpSampling
    up_1x1: bool
    negative_slope: float
    padding: Padding
    output: Output


@dataclass
class ResNet(Target):
    blocks: int
    features: int
    kernel: int
    negative_slope: float
    padding: Padding
    output: Output


@dataclass
class DeepDecoder(Target):
    features: list[int]
    up_sampling: UpSampling
    output: Output


@dataclass
class Learned(Target):
    channels: int
    scale: float
    noise: float
    lr: float | None


@dataclass
class Input(Target):
    learned: bool
    noise: float
    lr: float | None


@dataclass
class Noise(Input):
    channels: int
    distribution: Distribution
    scale: float
    reduction: int


@dataclass
class Fourier(Input):
    features: int
    scale: float


@dataclass
class Filled(Input):
    noise_channels: int
    scale: float


@dataclass
class Huber(Factory):
    delta: float


@dataclass
class MseSsim(Factory):
    ssim_weight: float


@dataclass
class TotalVariation(Factory):
    weight: float
    isotropic: bool


@dataclass
class ColourRange(Target):
    weight: float
    blur_sd: float


@dataclass
class CoarseFill(Target):
    weight: float
    depth: float
    members: int
    reduction: int
    share: float
    decay: float
    trusted_sd: float


@dataclass
class Quilting(Target):
    contrast: float
    variety_below: float
    kurtosis_below: float
    patch: int
    block: int
    overlap: int
    blur_sd: float
    guide_sd: float
    guide_weight: float


@dataclass
class Adam(Factory):
    lr: float
    betas: tuple[float, float]
    weight_decay: float
    fused: bool


@dataclass
class Sgd(Factory):
    lr: float
    momentum: float
    weight_decay: float


@dataclass
class Lbfgs(Factory):
    lr: float
    max_iter: int
    history_size: int
    line_search_fn: str | None


@dataclass
class Step(Factory):
    step_size: int
    gamma: float


@dataclass
class Cosine(Factory):
    T_max: int
    eta_min: float


@dataclass
class WarmUp(Factory):
    start_factor: float
    total_iters: int


@dataclass
class OutputAverage(Target):
    decay: float
    burn_in_share: float


@dataclass
class WeightAverage(Target):
    decay: float


@dataclass
class Stopping(Target):
    every_steps: int
    patience_steps: int | None
    min_gain: float


@dataclass
class HeldOut(Stopping):
    share: float
    seed: int
    refit_share: float


@dataclass
class WindowVariance(Stopping):
    window_steps: int


@dataclass
class MovingVariance(Stopping):
    decay: float


@dataclass
class Trainer(Target):
    max_steps: int
    accelerator: str
    precision: str
    deterministic: bool
    devices: Any  # null or one number in brackets


@dataclass
class TensorBoard(Factory):
    name: str
    version: str
    default_hp_metric: bool


@dataclass
class WeightJitter(Target):
    share: float


@dataclass
class Langevin(Target):
    noise: float


@dataclass
class BackTracking(Target):
    drop_db: float | None
    every_steps: int
    lr_factor: float
    at_most: int


@dataclass
class Progress(Target):
    every_steps: int


@dataclass
class Images(Target):
    count: int


@dataclass
class Animation(Target):
    count: int
    max_side: int
    frame_ms: int
    last_ms: int


@dataclass
class Checkpoint(Target):
    every_minutes: float


@dataclass
class Callbacks:
    interruption: Target
    graph: Target | None
    weight_jitter: WeightJitter
    langevin: Langevin
    back_tracking: BackTracking
    progress: Progress
    images: Images | None
    supervision: Target | None
    uncertainty: Target | None
    results: Target
    animation: Animation | None
    overview: Target | None
    checkpoint: Checkpoint


@dataclass
class ResultFile:
    path: str | None
    overwrite: bool


@dataclass
class Train:
    """The keys of train.yaml itself; those of a group come with the group's file."""

    seed: int
    resume: str | None
    hole_kind: HoleKind
    large_from: float
    members: int
    frozen: list[str]
    threads: int | None
    objective: Objective
    name: str
    output: ResultFile
    data: Any
    model: Any
    input: Any
    loss: Any
    optimizer: Any
    trainer: Any
    callbacks: Any
    logger: Any
    penalty: Any = None  # these six have no part by default
    fill: Any = None
    texture: Any = None
    scheduler: Any = None
    average: Any = None
    stopping: Any = None


def stem(path: str | None) -> str:
    if path is None:
        return "example"
    named = Path(path)
    while any(sign in named.name for sign in "*?["):  # of a pattern, the folder that it looks in
        named = named.parent
    return named.stem or "pictures"


def job_folder(overrides: str) -> str:
    """A sweep's folder for the run with these overrides: readable, a file name everywhere, and no other run's.

    Of paths only the last part is kept; where that or anything else is lost, a hash of all of it stands for it.
    """
    readable = re.sub(r"[^\w.,=+\[\]-]+", "_", re.sub(r"[^,=]*/", "", overrides)) or "run"
    short = readable.encode()[:150].decode(errors="ignore")
    return short if short in (overrides, "run") else f"{short}_{sha256(overrides.encode()).hexdigest()[:8]}"


def by_hole(kind: str, thin: Any, large: Any) -> Any:
    if kind not in ("thin", "large"):
        raise ValueError(f"hole_kind={kind} is measured when the picture has been read, and not known before")
    return thin if kind == "thin" else large


def goes_by_hole(cfg: DictConfig) -> bool:
    """Whether the kind of the hole decides on any key."""
    return "${by_hole:" in OmegaConf.to_yaml(cfg)


def to_be_measured(cfg: DictConfig) -> bool:
    """Whether some keys have no value before the hole has been measured."""
    return cfg.get("hole_kind") == "auto" and goes_by_hole(cfg)


def run_folder(resume: str | None, new: str) -> str:
    """The folder of the run that `resume` names, of the one begun last for "latest", and `new` for none."""
    if resume is None:
        return new
    runs = [*Path("outputs").glob("*/*/config.yaml"), *Path("outputs").glob("*/*/*/config.yaml")]
    if resume == "latest" and not runs:
        raise ValueError("resume=latest: there is no run in outputs/")
    if resume == "latest":
        latest = max(runs, key=lambda path: path.stat().st_mtime_ns).parent
        whole = latest.parent  # of many pictures or regions, if it is a run as well
        return str((whole if (whole / "config.yaml").exists() else latest).resolve())
    folder = Path(resume).expanduser()
    if (folder / "multirun.yaml").is_file():
        raise ValueError(f"resume={resume} is a sweep; add -m")
    if not (folder / "config.yaml").is_file():
        raise ValueError(f"resume={resume}: no run has begun there, since there is no config.yaml; start it anew")
    return str(folder.resolve())


def sweep_folder(resume: str) -> Path:
    """The folder of the sweep that `resume` names, or of the one begun last for "latest"."""
    if resume == "latest":
        sweeps = list(Path("outputs").glob("*/*/multirun.yaml"))
        if not sweeps:
            raise ValueError("resume=latest: there is no sweep in outputs/; without -m the run begun last goes on")
        return max(sweeps, key=lambda path: path.stat().st_mtime_ns).parent.resolve()
    folder = Path(resume).expanduser()
    if not (folder / "multirun.yaml").is_file():
        raise ValueError(f"resume={resume}: no sweep has begun there, since there is no multirun.yaml; start it anew")
    return folder.resolve()


def register() -> None:
    """Makes the schema known to Hydra, as /schema."""
    store = ConfigStore.instance()
    for name, node in {
        "train": Train,
        "picture": Picture,
        "random_pixels": RandomPixels,
        "unet": UNet,
        "skip": Skip,
        "resnet": ResNet,
        "deep_decoder": DeepDecoder,
        "learned": Learned,
        "noise": Noise,
        "meshgrid": Input,
        "fourier": Fourier,
        "filled": Filled,
        "masked_mse": Factory,
        "masked_l1": Factory,
        "masked_huber": Huber,
        "masked_mse_ssim": MseSsim,
        "total_variation": TotalVariation,
        "colour_range": ColourRange,
        "coarse_fill": CoarseFill,
        "quilting": Quilting,
        "adam": Adam,
        "sgd": Sgd,
        "lbfgs": Lbfgs,
        "step": Step,
        "cosine": Cosine,
        "warmup": WarmUp,
        "output_average": OutputAverage,
        "weight_average": WeightAverage,
        "held_out": HeldOut,
        "window_variance": WindowVariance,
        "moving_variance": MovingVariance,
        "trainer": Trainer,
        "callbacks": Callbacks,
        "tensorboard": TensorBoard,
    }.items():
        store.store(name, node, group="schema")


# Here, since the processes of a launcher import this module, but do not call `register`.
# ${by_hole:KIND,THIN,LARGE} is one of the two values;
# ${stem:PATH} is the name of a file without folder and ending, or of the folder that many lie in;
# ${job_folder:OVERRIDES} is a folder's name for a run of a sweep;
# ${run_folder:RESUME,NEW} is the folder of a run that goes on, or NEW.
OmegaConf.register_new_resolver("by_hole", by_hole, replace=True)
OmegaConf.register_new_resolver("stem", stem, replace=True)
OmegaConf.register_new_resolver("job_folder", job_folder, replace=True)
OmegaConf.register_new_resolver("run_folder", run_folder, replace=True, use_cache=True)

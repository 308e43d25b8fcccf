"""The type of every key in configs/, so that a misspelt key or a wrong value fails before anything slow is imported."""

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf


class Word(str, Enum):
    """One of a few words, and no different from the word itself below."""

    def __str__(self) -> str:
        return self.value


class Hole(Word):
    """The colour of the hole in a mask file."""

    black = "black"
    white = "white"


class Output(Word):
    """What bounds the network's output."""

    linear = "linear"
    sigmoid = "sigmoid"


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
    output: Output
    output_gain: float
    activation_checkpointing: bool


@dataclass
class Learned(Target):
    channels: int
    scale: float
    noise: float


@dataclass
class Adam(Factory):
    lr: float
    betas: tuple[float, float]
    fused: bool


@dataclass
class Trainer(Target):
    max_steps: int
    accelerator: str
    precision: str
    deterministic: bool


@dataclass
class TensorBoard(Factory):
    name: str
    version: str
    default_hp_metric: bool


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
    filename: str
    every_n_train_steps: int
    enable_version_counter: bool


@dataclass
class Callbacks:
    interruption: Target
    graph: Target | None
    progress: Progress
    images: Images | None
    results: Target
    animation: Animation | None
    checkpoint: Checkpoint


@dataclass
class Train:
    """The keys of train.yaml itself; those of a group come with the group's file."""

    seed: int
    name: str
    data: Any
    model: Any
    input: Any
    loss: Any
    optimizer: Any
    trainer: Any
    callbacks: Any
    logger: Any


def stem(path: str | None) -> str:
    return "example" if path is None else Path(path).stem


def shortened(overrides: str) -> str:
    return overrides.replace("/", "_")[:120]


def register() -> None:
    """Makes the schema known to Hydra, as /schema, and two ways to name folders.

    ${stem:PATH} is the name of a file without folder and ending, ${shortened:OVERRIDES} fits into a folder's name.
    """
    store = ConfigStore.instance()
    for name, node in {
        "train": Train,
        "picture": Picture,
        "random_pixels": RandomPixels,
        "unet": UNet,
        "learned": Learned,
        "masked_mse": Factory,
        "adam": Adam,
        "trainer": Trainer,
        "callbacks": Callbacks,
        "tensorboard": TensorBoard,
    }.items():
        store.store(name, node, group="schema")
    OmegaConf.register_new_resolver("stem", stem, replace=True)
    OmegaConf.register_new_resolver("shortened", shortened, replace=True)

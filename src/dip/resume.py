"""The configuration of a run that goes on."""

from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

# All other groups make the training step, and the checkpoint holds their state.
TURNED = ("trainer", "callbacks", "data", "logger", "output")


def resumed(folder: Path, given: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """The configuration that `folder` was begun with, and on top the values in `given` of those keys in `overrides`.

    Raises ValueError for a key that must stay as it is.
    """
    path = folder / "config.yaml"
    try:
        saved = OmegaConf.load(path)
        assert isinstance(saved, DictConfig)
        OmegaConf.set_struct(saved, True)
        for override in OverridesParser.create().parse_overrides(list(overrides)):
            key = override.key_or_group
            if key != "resume":
                check(key)
                OmegaConf.update(saved, key, OmegaConf.select(given, key))
    except (OmegaConfBaseException, YAMLError) as error:
        raise ValueError(f"{path}: {' '.join(str(error).split())}") from error
    return saved


def check(key: str) -> None:
    group, _, within = key.partition(".")
    if group not in TURNED or not within:
        raise ValueError(
            f"{key} stays as it is in a run that goes on; only keys of {', '.join(TURNED)} can be turned, "
            "such as trainer.max_steps; start a new run for others"
        )

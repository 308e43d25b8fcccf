"""The configuration of a run that goes on."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from dip.schema import to_be_measured

# All other groups make the training step, and the checkpoint holds their state.
TURNED = ("trainer", "callbacks", "data", "logger", "output")
# How a run is started, and where; it is the same run.
STARTED = {"resume", "threads", "objective", "trainer.devices"}


def resumed(folder: Path, given: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """The configuration that `folder` was begun with, and on top the values in `given` of those keys in `overrides`.

    Raises ValueError for a key that must stay as it is.
    """
    path = folder / "config.yaml"
    try:
        saved = OmegaConf.load(path)
        assert isinstance(saved, DictConfig)
        if lacking := given.keys() - saved.keys():
            raise ValueError(
                f"{path} is of another version, without {', '.join(sorted(map(str, lacking)))}; start anew"
            )
        if "path" in saved.callbacks.results:
            raise ValueError(f"{path} is of another version, with callbacks.results.path; start anew")
        OmegaConf.set_struct(saved, True)
        for override in OverridesParser.create().parse_overrides(list(overrides)):
            key = override.key_or_group
            if key not in STARTED:
                check(key)
            group = key.rpartition(".")[0]
            if group and OmegaConf.select(saved, group) is None:  # left out until now
                OmegaConf.update(saved, group, OmegaConf.select(given, group))
            if key != "resume":
                OmegaConf.update(saved, key, OmegaConf.select(given, key))
    except (OmegaConfBaseException, YAMLError) as error:
        raise ValueError(f"{path}: {' '.join(str(error).split())}") from error
    return saved


def is_done(results: dict[str, Any]) -> bool:
    """Whether a run, by what is in its metrics.json, has come to its end; {} for one without."""
    return results.get("stopped_by", "interrupt") not in ("interrupt", "diverged")


def check(key: str) -> None:
    group, _, within = key.partition(".")
    if group not in TURNED or not within:
        raise ValueError(
            f"{key} stays as it is in a run that goes on; only keys of {', '.join(TURNED)} can be turned, "
            "such as trainer.max_steps; start a new run for others"
        )


def begun_so(folder: Path, given: DictConfig) -> bool:
    """Whether the run in `folder` was begun with just this configuration, and not only with keys that can be turned.

    Raises ValueError for a key that must stay as it is.
    """
    path = folder / "config.yaml"
    try:
        saved = OmegaConf.load(path)
        assert isinstance(saved, DictConfig)
        before, now = values(saved), values(as_measured(given, saved))
    except YAMLError as error:
        raise ValueError(f"{path}: {' '.join(str(error).split())}") from error
    different = sorted(key for key in (before | now).keys() - STARTED if before.get(key) != now.get(key))
    for key in different:
        if key.partition(".")[0] not in TURNED:
            raise ValueError(
                f"{key}={now.get(key)}, but the run in this folder has {key}={before.get(key)}; sweep into another"
            )
    return not different


def as_measured(given: DictConfig, saved: Any) -> DictConfig:
    """The configuration with the kind of the hole as a run with the configuration `saved` has found it."""
    if given.get("hole_kind") != "auto":
        return given
    measured = given.copy()
    measured.hole_kind = saved.get("hole_kind")
    return measured


def values(cfg: DictConfig) -> dict[str, Any]:
    """What every key holds, by its full name; resolved, unless that has to wait for the hole to be measured."""
    return flat(OmegaConf.to_container(cfg, resolve=not to_be_measured(cfg)))


def flat(part: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(part, dict):
        return {prefix: part}
    within = (flat(inner, f"{prefix}.{key}" if prefix else str(key)) for key, inner in part.items())
    return {key: value for inner in within for key, value in inner.items()}

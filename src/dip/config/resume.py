"""The configuration of a run that resumes."""

from collections.abc import Sequence
from os.path import expanduser, realpath
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from dip.config.compose import depth_of_table, options, parse, with_depth, with_hole_kind
from dip.errors import UserError
from dip.results.folder import RunFolder

# The groups that a resumed run may change; all others make the training step, whose state the checkpoint holds.
CHANGEABLE = ("trainer", "callbacks", "data", "logger", "output")
# How and where a run is started; it is the same run.
STARTED = {"resume", "threads", "objective", "trainer.devices"}


def resumed_config(folder: RunFolder, given: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """The configuration that the run in `folder` started with, and the overrides given now, with values from `given`.

    Raises UserError for a key that must stay as it is.
    """
    try:
        saved = load_config(folder)
        check_version(folder, saved, given)
        OmegaConf.set_struct(saved, True)
        for override in parse(overrides):
            key = override.key_or_group
            if key not in STARTED:
                check_changeable(key)
            group = key.rpartition(".")[0]
            if group and OmegaConf.select(saved, group) is None:  # left out until now
                OmegaConf.update(saved, group, OmegaConf.select(given, group))
            if key != "resume":
                OmegaConf.update(saved, key, OmegaConf.select(given, key))
    except OmegaConfBaseException as error:
        raise UserError(f"{folder.config}: {' '.join(str(error).split())}") from error
    return saved


def check_version(folder: RunFolder, saved: DictConfig, given: DictConfig) -> None:
    """Raise UserError where a run was made before its options, or their places in the code, became what they are."""
    if missing := given.keys() - saved.keys() - {"by_hole"}:
        names = ", ".join(sorted(map(str, missing)))
        raise UserError(f"{folder.config} is of another version, without {names}; start a new run")
    texture = [] if None in (saved.texture, given.texture) else ["texture"]  # either may be left out
    for part in ["callbacks.results", *texture]:
        theirs, ours = (OmegaConf.select(cfg, f"{part}._target_") for cfg in (saved, given))
        if theirs != ours:
            raise UserError(f"{folder.config} is of another version, with {theirs}; start a new run")


def load_config(folder: RunFolder) -> DictConfig:
    try:
        return DictConfig(OmegaConf.load(folder.config))
    except YAMLError as error:
        raise UserError(f"{folder.config}: {' '.join(str(error).split())}") from error


def check_changeable(key: str) -> None:
    group, _, within = key.partition(".")
    if group not in CHANGEABLE or not within:
        raise UserError(
            f"{key} stays as it is in a resumed run; only keys of {', '.join(CHANGEABLE)} can change, "
            "such as trainer.max_steps; start a new run for others"
        )


def before_repair(cfg: DictConfig, folder: RunFolder) -> DictConfig:
    """The configuration that reads the photograph as it was, where the run in `folder` has written over it."""
    if not (folder.resumes and folder.replaced):
        return cfg
    saved = load_config(folder)
    written, image = OmegaConf.select(saved, "output.path"), OmegaConf.select(cfg, "data.image")
    if image is None or written is None or realpath(expanduser(written)) != realpath(expanduser(image)):
        return cfg
    cfg = cfg.copy()
    cfg.data.image = str(folder.replaced)
    return cfg


def same_config(folder: RunFolder, given: DictConfig) -> bool:
    """Whether the run in `folder` started with just this configuration.

    False where only changeable keys differ. Raises UserError for another key that differs.
    """
    saved = load_config(folder)
    before, now = flatten(options(saved)), flatten(options(as_measured(given, saved)))
    keys = (before | now).keys() - STARTED
    different = sorted(key for key in keys if repr(before.get(key)) != repr(now.get(key)))  # of nan too
    for key in different:
        if key.partition(".")[0] not in CHANGEABLE:
            raise UserError(
                f"{key}={now.get(key)}, but the run in this folder has {key}={before.get(key)}; sweep into another"
            )
    return not different


def as_measured(given: DictConfig, saved: DictConfig) -> DictConfig:
    """The configuration with the kind of the hole, and the depth, that the run with the configuration `saved` found."""
    if given.get("hole_kind") == "auto":
        given = with_hole_kind(given, saved.get("hole_kind"))
    if depth_of_table(given) and "depth" in saved.model and not depth_of_table(saved):
        given = with_depth(given, saved.model.depth)
    return given


def flatten(part: Any, prefix: str = "") -> dict[str, Any]:
    """What every key holds, by its full name."""
    if not isinstance(part, dict):
        return {prefix: part}
    within = (flatten(inner, f"{prefix}.{key}" if prefix else str(key)) for key, inner in part.items())
    return {key: value for inner in within for key, value in inner.items()}

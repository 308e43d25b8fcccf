"""What Hydra and OmegaConf refuse, in one line."""

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from dip.config.check import check_types, check_values
from dip.config.compose import compose, parse
from dip.errors import UserError

EXTRAS = {
    "hydra/launcher/submitit_slurm": "slurm",
    "hydra/launcher/submitit_local": "slurm",
    "hydra/launcher/ray": "ray",
    "hydra/sweeper/optuna": "optuna",
}


def compose_checked(overrides: Sequence[str]) -> DictConfig:
    """The configuration that `python train.py OVERRIDES` runs. Raises UserError for what is refused."""
    try:
        check_types(overrides)
        cfg = compose(overrides)
        check_values(cfg)
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(one_line(error)) from error
    return cfg


def parse_checked(overrides: Sequence[str]) -> list[Override]:
    """Each override in its parts. Raises UserError for what is none."""
    try:
        return parse(overrides)
    except HydraException as error:
        raise UserError(one_line(error)) from error


def one_line(error: BaseException) -> str:
    """What Hydra's innermost cause says, in one line, with the full name of the key."""
    while isinstance(error, HydraException) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, ConfigAttributeError | ConfigKeyError) and error.full_key:
        return unknown_key(error.full_key, error.parent_node or {})
    if isinstance(error, OmegaConfBaseException):
        return str(error).split("\n", maxsplit=1)[0].removeprefix("UserError raised while resolving interpolation: ")
    if isinstance(error, OverrideParseException):
        return f"cannot read {error.override}: write key=value, and a value with special characters as 'key=\"value\"'"
    said = " ".join(str(error).split("\nConfig search path")[0].split())
    for plugin, extra in EXTRAS.items():
        if f"Could not find '{plugin}'" in said:
            return f'{"=".join(plugin.rsplit("/", maxsplit=1))} needs pip install -e ".[{extra}]"'
    return said


def unknown_key(full_key: str, parent: Any) -> str:
    """The nearest key beside it, or, of a key without its group, that with the group."""
    group = full_key.rpartition(".")[0]
    names = [f"{group}.{name}" if group else str(name) for name in parent]
    within = [
        f"{name}.{full_key}"
        for name in parent
        if OmegaConf.is_dict(part := parent._get_node(name)) and full_key in part
    ]
    near = within[:1] or get_close_matches(full_key, names, n=1)
    others = f"there are {', '.join(names)}" if names else f"+{full_key}=VALUE adds it"
    return f"there is no key {full_key}; " + (f"did you mean {near[0]}?" if near else others)

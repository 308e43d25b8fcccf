"""Check a configuration before anything slow starts. The types and bounds of a part are in its constructor."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Lt
from hydra.core.override_parser.types import Override, QuotedString
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dip.config.compose import CONFIGS, compose, parse, with_hole_kind
from dip.errors import UserError
from dip.options import check_options

Steps = Annotated[int, Ge(1)]
Threads = Annotated[int, Ge(1), "null is all"] | None
# The options without a constructor of ours: those of train.yaml itself, and of other libraries' parts.
OPTIONS: dict[str, Any] = {
    "seed": Annotated[int, Ge(0), Lt(2**32)],
    "resume": str | None,
    "hole_kind": Literal["auto", "thin", "large"],
    "large_from": Annotated[float, Gt(0)],
    "members": Annotated[int, Ge(1)],
    "frozen": Sequence[str],
    "threads": Threads,
    "objective": Literal["psnr_held_out", "psnr_hole", "psnr_all"],
    "output.path": str | None,
    "output.overwrite": bool,
    "trainer.max_steps": Steps,
    "trainer.accelerator": str,
    "trainer.deterministic": bool,
    "scheduler.step_size": Steps,
    "scheduler.T_max": Steps,
    "scheduler.total_iters": Steps,
}


def check_values(cfg: DictConfig) -> None:
    """Raise UserError for a value of OPTIONS that its type or bounds do not allow, and for a missing one."""
    kind = cfg.hole_kind
    cfg = with_hole_kind(cfg, "thin")  # types and bounds do not depend on it
    if missing := OmegaConf.missing_keys(cfg):
        raise UserError(f"no value for {', '.join(sorted(missing))}; give {min(missing)}=VALUE")
    values = {key: OmegaConf.select(cfg, key) for key in OPTIONS} | {"hole_kind": kind}
    plain = {key: OmegaConf.to_object(value) if OmegaConf.is_config(value) else value for key, value in values.items()}
    present = {key: value for key, value in plain.items() if value is not None or "scheduler" not in key}
    check_options(OPTIONS, present)
    devices = cfg.trainer.devices
    if devices is not None and not (OmegaConf.is_list(devices) and len(devices) == 1):
        raise UserError(f"trainer.devices={devices}, but a run has one device, such as [0]; null chooses")


def check_types(arguments: Sequence[str]) -> None:
    """Raise UserError where an override gives a word for a number, or the like; the value in YAML shows the type.

    No part is imported for it, so that a slip is found at once. Bounds are checked when the part is built.
    """
    if any(argument.startswith("-") and argument not in ("-m", "--multirun") for argument in arguments):
        return  # help, or a configuration from elsewhere
    given = parse([argument for argument in arguments if not argument.startswith("-")])
    chosen = [override for override in given if (CONFIGS / override.key_or_group).is_dir()]
    first = {group.key_or_group: next(values(group), None) for group in chosen}  # None where a part is left out
    choices = [f"{group}={choice}" for group, choice in first.items() if choice is not None]
    defaults = defaults_of(tuple(choices))
    for override in given:
        if not any(group.is_sweep_override() for group in chosen):
            check_key(defaults, override)
        with suppress(OmegaConfBaseException):  # a key without a default, which another check may name
            default = OmegaConf.select(defaults, override.key_or_group)
            for value in values(override) if override not in chosen else ():
                check_options({override.key_or_group: type_of(default)}, {override.key_or_group: value})


@cache
def defaults_of(choices: tuple[str, ...]) -> DictConfig:
    """The configuration with these choices, composed once however many pictures a program repairs with them."""
    return with_hole_kind(compose(choices), "thin")


def check_key(defaults: DictConfig, override: Override) -> None:
    """Raise OmegaConf's error for a key that its group does not have, which Hydra would find later."""
    group, _, name = override.key_or_group.rpartition(".")
    parent = OmegaConf.select(defaults, group) if group else defaults
    is_new = override.is_add() or override.is_force_add() or override.is_delete()
    is_group = (CONFIGS / override.key_or_group).is_dir() or override.key_or_group.startswith("hydra")
    if OmegaConf.is_dict(parent) and name not in list(parent) and not is_new and not is_group:
        parent[name]


def values(override: Override) -> Iterator[Any]:
    """The plain value of an override, or each one of a sweep that has a list of them."""
    if override.is_delete():
        return
    swept = override.is_sweep_override()
    for value in override.sweep_iterator() if swept and override.is_discrete_sweep() else [override.value()]:
        found = value.text if isinstance(value, QuotedString) else value
        if isinstance(found, bool | int | float | str | list) and "${" not in str(found):
            yield found


def type_of(default: Any) -> Any:
    """What may stand in the place of a value in YAML, as far as it shows."""
    if isinstance(default, bool | int | float):
        return type(default)
    if OmegaConf.is_list(default):
        return Sequence[type(default[0])] if len(default) else Sequence[Any]
    return Any

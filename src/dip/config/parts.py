"""From a part of a configuration to its object: options are checked, and what it refuses is said in one line."""

import inspect
from functools import partial
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf

from dip.errors import UserError
from dip.options import check_options, options_of


def instantiate_group(cfg: DictConfig, group: str, **ready: Any) -> Any:
    """What `group` describes, with those of the `ready` objects that it takes; None where it is null.

    Raises UserError for an option that it does not allow.
    """
    part = OmegaConf.select(cfg, group)
    if part is None:
        return None
    try:
        check_part(part, group)
        # Without the objects: Hydra would make dictionaries of dataclasses among them.
        build = instantiate(part, _convert_="all", _partial_=True)
        ready = accepted(part, ready, by_name=group == "operator")
    except (InstantiationException, ImportError) as error:
        raise UserError(said_by(error, group)) from error
    if part.get("_partial_"):
        return partial(build, **ready)
    try:
        return build(**ready)
    except Exception as error:  # a constructor may be anybody's
        raise UserError(said_by(error, group)) from error


def said_by(error: Exception, group: str) -> str:
    """What an error says, in one line that names the group; ours name the key already."""
    said = " ".join(str(error.__cause__ or error).split())
    return said if f"{group}." in said else f"{group}: {said}"


def check_part(part: DictConfig, group: str) -> None:
    """Check the options of a part, and of the parts in it, against the annotations of what they build."""
    values: Any = OmegaConf.to_container(part, resolve=True)
    for name, value in values.items():
        if isinstance(value, dict) and "_target_" in value:
            check_part(part[name], f"{group}.{name}")
    target = get_object(part["_target_"])
    if target.__module__.startswith("dip."):
        plain = {name: value for name, value in values.items() if not isinstance(value, dict)}
        check_options(options_of(target), plain, group)


def accepted(part: DictConfig, ready: dict[str, Any], by_name: bool) -> dict[str, Any]:
    """Those of the `ready` objects that the constructor has a name for, or takes by **kwargs where not `by_name`."""
    if not ready:
        return {}
    try:
        parameters = inspect.signature(get_object(part["_target_"])).parameters
    except ValueError:  # of a function in C
        return {}
    if not by_name and any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return ready
    return {name: value for name, value in ready.items() if name in parameters}

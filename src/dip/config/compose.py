"""Compose a configuration from configs/ and overrides; the resolvers that its files use."""

import re
from collections.abc import Sequence
from contextvars import ContextVar
from glob import has_magic
from hashlib import sha256
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.initialize import get_gh_backup, restore_gh_from_backup
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from dip.errors import UserError
from dip.results.folder import find_run

HERE = Path(__file__)
# Within the package as it is installed; beside the code as it is checked out.
CONFIGS = next(path for path in (HERE.parents[1] / "configs", HERE.parents[3] / "configs") if path.is_dir())
KINDS = ("thin", "large")
# What `swept_overrides` gives in a process that trains a member: Hydra was not started there.
SWEPT: ContextVar[dict[str, Any] | None] = ContextVar("SWEPT", default=None)


def compose(overrides: Sequence[str] = ()) -> DictConfig:
    """The configuration that `python train.py OVERRIDES` runs.

    >>> compose(["model.depth=3"]).model.depth
    3
    """
    outer = get_gh_backup()  # of a program that uses Hydra itself
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            return hydra_compose("train", list(overrides))
    finally:
        restore_gh_from_backup(outer)


def parse(overrides: Sequence[str]) -> list[Override]:
    return OverridesParser.create().parse_overrides(list(overrides))


def swept_overrides() -> dict[str, Any]:
    """The options that a sweep varies, with their values in this run; {} in a single run."""
    if (told := SWEPT.get()) is not None:
        return told
    if not HydraConfig.initialized() or HydraConfig.get().mode is not RunMode.MULTIRUN:
        return {}
    hydra = HydraConfig.get()
    keys = {str(key) for key in hydra.sweeper.get("params") or ()}
    started = Path(hydra.sweep.dir, "multirun.yaml")  # Hydra's basic sweeper keeps all values of a key there
    if started.exists():
        given = parse(OmegaConf.load(started).hydra.overrides.task)
        keys |= {override.get_key_element() for override in given if override.is_sweep_override()}
    own = parse(hydra.overrides.task)
    return {name: plain(override) for override in own if (name := override.get_key_element()) in keys or not keys}


def plain(override: Override) -> Any:
    value = override.value()
    return value if isinstance(value, bool | int | float) else str(value)


def options(cfg: DictConfig) -> Any:
    """Every option with its value, without the table `by_hole`; with references to it before the hole is measured."""
    if needs_hole_kind(cfg):
        return OmegaConf.to_container(cfg)
    kind = cfg.get("hole_kind")
    known = with_hole_kind(cfg, kind if kind in KINDS else KINDS[0])
    found: Any = OmegaConf.to_container(known, resolve=True)
    return {key: value for key, value in found.items() if key != "by_hole"} | {"hole_kind": kind}


def depends_on_hole_kind(cfg: DictConfig) -> bool:
    """Whether any option differs between thin and large holes."""
    thin, large = (with_hole_kind(cfg, kind) for kind in KINDS)
    others = [str(key) for key in cfg if key not in ("by_hole", "hole_kind")]
    return any(resolved(thin, key) != resolved(large, key) for key in others)


def resolved(cfg: DictConfig, key: str) -> Any:
    """The value of a key, or all values of a group."""
    value = cfg[key]
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def needs_hole_kind(cfg: DictConfig) -> bool:
    """Whether some options have no value before the hole is measured."""
    return cfg.get("hole_kind") == "auto" and depends_on_hole_kind(cfg)


def to_yaml(cfg: DictConfig) -> str:
    """What config.yaml of a run holds."""
    return OmegaConf.to_yaml(OmegaConf.create(options(cfg)))


def with_hole_kind(cfg: DictConfig, kind: str) -> DictConfig:
    cfg = cfg.copy()
    cfg.hole_kind = kind
    return cfg


def depth_of_table(cfg: DictConfig) -> bool:
    """Whether the network's depth is what the table `by_hole` has, and not given by itself."""
    return "depth" in cfg.model and OmegaConf.is_interpolation(cfg.model, "depth")


def with_depth(cfg: DictConfig, depth: int) -> DictConfig:
    cfg = cfg.copy()
    cfg.model.depth = depth
    return cfg


def pick(thin: Any, large: Any, *, _root_: DictConfig) -> Any:
    """${pick:THIN,LARGE}: the value for the kind of the hole."""
    if _root_.hole_kind not in KINDS:
        raise UserError(f"hole_kind={_root_.hole_kind} is measured in the picture, and not known before")
    return thin if _root_.hole_kind == "thin" else large


def stem(path: str | None) -> str:
    """${stem:PATH}: the name of a file without its ending, or of the folder that is given or a pattern looks in."""
    if path is None:
        return "example"
    named = Path(path).expanduser()
    while has_magic(named.name) and not named.exists():
        named = named.parent
    if named.name == "..":
        named = named.resolve()
    return (named.name if named.is_dir() else named.stem) or "pictures"


def job_folder(overrides: str) -> str:
    """${job_folder:OVERRIDES}: the folder of a sweep's run: readable, a valid name everywhere, and unique.

    Of paths only the last part stays; where that or anything else is lost, a hash of the whole stands for it.
    """
    readable = re.sub(r"[^\w.,=+\[\]-]+", "_", re.sub(r"[^,=]*/", "", overrides)) or "run"
    short = readable.encode()[:150].decode(errors="ignore")
    return short if short in (overrides, "run") else f"{short}_{sha256(overrides.encode()).hexdigest()[:8]}"


# At import, since the processes of a launcher import this module and nothing registers them there.
OmegaConf.register_new_resolver("pick", pick, replace=True)
OmegaConf.register_new_resolver("stem", stem, replace=True)
OmegaConf.register_new_resolver("job_folder", job_folder, replace=True)
OmegaConf.register_new_resolver("run_folder", find_run, replace=True, use_cache=True)

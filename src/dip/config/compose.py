"""Compose a configuration from configs/ and overrides; the resolvers that its files use."""

import re
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from dip.errors import UserError
from dip.results.folder import find_run

CONFIGS = Path(__file__).parents[3] / "configs"
KINDS = ("thin", "large")


def compose(overrides: Sequence[str] = ()) -> DictConfig:
    """The configuration that `python train.py OVERRIDES` runs.

    >>> compose(["model.depth=3"]).model.depth
    3
    """
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return hydra_compose("train", list(overrides))


def parse(overrides: Sequence[str]) -> list[Override]:
    return OverridesParser.create().parse_overrides(list(overrides))


def options(cfg: DictConfig) -> dict[str, Any]:
    """Every option with its value; with references to the table `by_hole` where the hole is not measured yet."""
    if needs_hole_kind(cfg):
        return as_dict(cfg, resolve=False)
    return values_for(cfg, cfg.get("hole_kind"))


def values_for(cfg: DictConfig, kind: str) -> dict[str, Any]:
    """The options for a thin or a large hole, without the table."""
    known = kind if kind in KINDS else KINDS[0]
    found = as_dict(with_hole_kind(cfg, known), resolve=True)
    return {key: value for key, value in found.items() if key != "by_hole"} | {"hole_kind": kind}


def depends_on_hole_kind(cfg: DictConfig) -> bool:
    """Whether any option differs between thin and large holes."""
    thin, large = (values_for(cfg, kind) | {"hole_kind": None} for kind in KINDS)
    return thin != large


def needs_hole_kind(cfg: DictConfig) -> bool:
    """Whether some options have no value before the hole is measured."""
    return cfg.get("hole_kind") == "auto" and depends_on_hole_kind(cfg)


def as_dict(cfg: DictConfig, resolve: bool) -> dict[str, Any]:
    found = OmegaConf.to_container(cfg, resolve=resolve)
    assert isinstance(found, dict)
    return {str(key): value for key, value in found.items()}


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
    """${stem:PATH}: the name of a file without folder and ending, or of the folder that a pattern looks in."""
    if path is None:
        return "example"
    named = Path(path)
    while any(sign in named.name for sign in "*?["):
        named = named.parent
    return named.stem or "pictures"


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

"""The import graph of the package: arrows run one way, and Hydra stops at the door."""

import ast
from pathlib import Path

import dip

GRAPH = {
    "files": set(),
    "formats": {"files"},
    "images": {"files", "formats"},
    "masks": {"formats", "images"},
    "holes": set(),
    "regions": set(),
    "batch": {"resume", "schema"},
    "data": {"formats", "images", "masks", "regions"},
    "metrics": {"regions"},
    "inputs": {"metrics"},
    "losses": set(),
    "optimizers": set(),
    "nets.layers": set(),
    "nets.unet": {"nets.layers"},
    "nets.skip": {"nets.layers"},
    "nets.resnet": {"nets.layers"},
    "nets.deep_decoder": {"nets.layers"},
    "supervision": set(),
    "averages": set(),
    "texture": {"regions"},
    "fill": {"averages", "metrics", "regions", "texture"},
    "module": {"averages", "data", "fill", "inputs"},
    "callbacks": {"files", "data", "formats", "images", "metrics", "module", "stopping", "texture"},
    "checkpoints": {"files", "callbacks", "data"},
    "validation": set(),
    "stopping": {"data", "metrics", "validation"},
    "resume": {"schema"},
    "schema": set(),
    "sweeps": {"command", "files", "schema"},
    "plots": set(),
    "report": {"files", "plots"},
    "command": {"report"},
    "experiment": {
        *{"callbacks", "checkpoints", "data", "module", "regions", "schema", "supervision"},
    },
    "repair": {
        *{"averages", "callbacks", "checkpoints", "command", "data", "experiment", "files", "fill", "formats"},
        *{"images", "module", "regions", "resume", "schema", "supervision"},
    },
    "jobs": {"batch", "command", "experiment", "files", "repair", "resume", "schema", "sweeps"},
}
HYDRA = {"batch", "schema", "command", "resume", "sweeps", "experiment", "repair", "jobs"}


def modules() -> dict[str, Path]:
    root = Path(dip.__file__).parent
    files = [path for path in root.rglob("*.py") if path.stem != "__init__"]
    return {".".join(path.relative_to(root).with_suffix("").parts): path for path in files}


def imported(path: Path) -> set[str]:
    """Every module that a file imports, at its top or inside a function, as dotted names."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            names |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_imports_are_those_of_the_plan():
    files = {name: imported(path) for name, path in modules().items()}
    drawn = {name: {other for other in files if f"dip.{other}" in names} for name, names in files.items()}
    assert drawn == GRAPH


def test_hydra_stops_at_the_door():
    for name, path in modules().items():
        from_hydra = {other for other in imported(path) if other.split(".")[0] in ("hydra", "omegaconf")}
        assert bool(from_hydra) == (name in HYDRA), name

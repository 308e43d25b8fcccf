"""The import graph of the package: arrows run one way, and Hydra stops at the door."""

import ast
from pathlib import Path

import dip

GRAPH = {
    "images": set(),
    "masks": {"images"},
    "data": {"images", "masks"},
    "inputs": set(),
    "unet": set(),
    "losses": set(),
    "metrics": set(),
    "module": {"data"},
    "callbacks": {"data", "images", "metrics", "module"},
    "schema": set(),
    "command": set(),
    "experiment": {"callbacks", "command", "data", "module"},
}
HYDRA = {"schema", "command", "experiment"}


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
    files = {path.stem: imported(path) for path in Path(dip.__file__).parent.glob("*.py") if path.stem != "__init__"}
    drawn = {name: {other for other in files if f"dip.{other}" in modules} for name, modules in files.items()}
    assert drawn == GRAPH


def test_hydra_stops_at_the_door():
    for path in Path(dip.__file__).parent.glob("*.py"):
        from_hydra = {name for name in imported(path) if name.split(".")[0] in ("hydra", "omegaconf")}
        assert bool(from_hydra) == (path.stem in HYDRA), path.stem

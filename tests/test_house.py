"""The house: rooms in one line, small modules, and objects that are complete once they are built."""

import ast
import inspect
from collections import Counter
from pathlib import Path

import pytest
from hydra.utils import get_object
from omegaconf import OmegaConf
from PIL import Image

import dip
from dip.config.compose import CONFIGS
from dip.options import options_of

ORDER = ("errors", "files", "options", "image", "prior", "training", "results", "config", "repair", "cli", "studio")
HOUSE = Path(dip.__file__).parent
MODULES = {path.relative_to(HOUSE).as_posix(): ast.parse(path.read_text()) for path in sorted(HOUSE.rglob("*.py"))}
ROOMS = sorted({HOUSE / Path(name).parent for name in MODULES} - {HOUSE})
# What its owner has no method for: Lightning's, PyTorch's, Pillow's, Hydra's, Gradio's and Python's own switches.
SET_FROM_OUTSIDE = {
    *("trainer.should_stop", "logger.NAME_HPARAMS_FILE", "parameter.grad"),
    *("picture.info", "blank.info", "noise.info", "Image.MAX_IMAGE_PIXELS", "ImageFile.LOAD_TRUNCATED_IMAGES"),
    *("job_return.cfg", "job_return.hydra_cfg", "threading.excepthook", "logging.raiseExceptions"),
    *("page._queue.sleep_when_free", "record_writer.masked_crc32c"),
}
PUBLIC = ("repair/inpaint.py", "inpaint")  # the one function whose documentation is a page, which does not count
CONFIGURATIONS = {"cfg", "own", "part", "other"}  # where a configuration is a dictionary, whose values change
# What `build` hands over, by the part or the group of parts.
HANDED_OVER = {
    "input": {"size", "target", "mask"},
    "model": {"size", "in_channels", "out_channels"},
    "loss": {"output", "target", "mask"},
    "penalty": {"output", "target", "mask"},
    "texture": {"target", "mask"},
    "optimizer": {"parameters"},
    "operator": {"target"},
    "average": {"model", "input", "target", "max_steps"},
    "callbacks": {"writer", "keep_raw", "seconds_before", "coverage", "configuration", "swept"},
    "data": {"is_hole_transparent"},
    "data.mask": {"height", "width"},
    "data.example.mask": {"height", "width"},
}


def imported(module):
    """Every module that a module imports, at its top or inside a function, as dotted names."""
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def against_the_order(name, module):
    """The imports of a module that lead to a room right of its own."""
    place = ORDER.index(name.partition("/")[0].removesuffix(".py"))
    rooms = {other: other.split(".")[1] for other in imported(module) if other.startswith("dip.")}
    return [other for other, room in rooms.items() if room in ORDER and ORDER.index(room) > place]


def test_imports_run_one_way():
    inside = {name: module for name, module in MODULES.items() if name != "__init__.py"}
    assert {name.partition("/")[0].removesuffix(".py") for name in inside} == set(ORDER)
    assert not {name: wrong for name, module in inside.items() if (wrong := against_the_order(name, module))}


def test_the_order_can_be_broken():
    for fake in ("from dip.config import build", "import dip.cli.jobs", "def f():\n    from dip.repair.run import run"):
        assert against_the_order("results/result.py", ast.parse(fake))
        assert not against_the_order("cli/jobs.py", ast.parse(fake))


def test_hydra_stops_at_the_door():
    for name, module in MODULES.items():
        room = name.partition("/")[0]
        from_hydra = {other.partition(".")[0] for other in imported(module)} & {"hydra", "omegaconf"}
        allowed = {"config": {"hydra", "omegaconf"}, "cli": {"hydra", "omegaconf"}, "repair": {"omegaconf"}}
        assert from_hydra <= allowed.get(room, set()), name


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.relative_to(HOUSE).as_posix())
def test_a_room_has_at_most_eight_modules(room):
    modules = [path.stem for path in room.glob("*.py") if path.stem != "__init__"]
    assert len(modules) <= 8, modules


def test_a_module_has_at_most_300_lines_and_a_function_40():
    assert not {name: count for name in MODULES if (count := (HOUSE / name).read_text().count("\n")) > 300}
    functions = {
        f"{name}:{node.name}": node.end_lineno - node.lineno + 1
        for name, module in MODULES.items()
        for node in ast.walk(module)
        if isinstance(node, ast.FunctionDef)
    }
    (public,) = (node for node in MODULES[PUBLIC[0]].body if getattr(node, "name", "") == PUBLIC[1])
    said = ast.get_docstring(public)
    functions[":".join(PUBLIC)] -= len(said.splitlines())
    assert not {name: lines for name, lines in functions.items() if lines > 40}


def test_the_readme_has_at_most_130_lines(repository):
    assert (repository / "README.md").read_text().count("\n") <= 130


def set_from_outside(module):
    """The attributes of other objects that a module sets or deletes, as they are written."""
    for node in ast.walk(module):
        target = None
        if isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Load):
            target = node.value
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("setattr", "delattr"):
            target = node.args[0]
        if target is not None and ast.unparse(target) not in ("self", "cls"):
            yield ast.unparse(node)


def test_no_object_is_finished_from_outside():
    found = {
        (name.partition("/")[0], target) for name, module in MODULES.items() for target in set_from_outside(module)
    }
    holding = {"config", "repair", "cli"}  # a configuration
    others = {(room, at) for room, at in found if not (room in holding and at.partition(".")[0] in CONFIGURATIONS)}
    assert {target for _, target in others} == SET_FROM_OUTSIDE


def test_an_attribute_that_is_set_from_outside_is_found():
    fakes = (
        "callback.texture = 3",
        "self.prior.guide = x",
        "a, cfg.b = 1, 2",
        "p.q += 1",
        "del p.q",
        "for p.q in r: pass",
    )
    assert all(list(set_from_outside(ast.parse(fake))) for fake in (*fakes, "setattr(callback, 'texture', 3)"))
    assert not list(set_from_outside(ast.parse("self.texture = cls.b = c[0] = d.e[1] = setattr(self, 'a', 1)")))


def test_errors_for_users_are_of_one_class():
    raised = Counter(
        ast.unparse(node.exc.func)
        for module in MODULES.values()
        for node in ast.walk(module)
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)
    )
    assert raised.pop("UserError") > 20
    # A signal, no room on the disk, a name that the package does not have, and what a page says.
    assert set(raised) <= {"Interrupted", "interrupted", "unrepaired", "OSError", "AttributeError", "gr.Error"}


def test_a_photograph_is_opened_once_however_many_runs_repair_it(config, run, photograph, mask, tmp_path, monkeypatch):
    opened, own = Counter(), Image.open

    def count(path, *more, **others):
        opened.update([str(path)] if isinstance(path, str | Path) else [])
        return own(path, *more, **others)

    monkeypatch.setattr(Image, "open", count)
    few = ["members=2", "fill.members=1", "trainer.max_steps=1", "data.grow_hole=5", "data.truth=null"]
    metrics = run(config("experiment=quality", "hole_kind=large", *few), tmp_path / "run")
    assert (len(metrics["members"]), len(list((tmp_path / "run" / "fill").glob("member_*")))) == (2, 2)
    assert opened == {str(photograph): 1, str(mask): 1}  # and no result is read back


def parts(node, key):
    """Every part of ours in a YAML file: its key, its class or function, and the options that it has there."""
    if not isinstance(node, dict):
        return
    if str(node.get("_target_")).startswith("dip."):
        yield key, get_object(node["_target_"]), {name for name in node if not name.startswith("_")}
    for name, value in node.items():
        yield from parts(value, f"{key}.{name}")


FILES = [path for path in sorted(CONFIGS.rglob("*.yaml")) if "_target_: dip." in path.read_text()]


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.relative_to(CONFIGS).with_suffix("").as_posix())
def test_the_options_in_yaml_are_those_of_the_constructor(file):
    for key, part, options in parts(OmegaConf.to_container(OmegaConf.load(file)), file.parent.name):
        variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        takes = {name for name, own in inspect.signature(part).parameters.items() if own.kind not in variable}
        handed_over = HANDED_OVER.get(key, HANDED_OVER.get(key.partition(".")[0], set()))
        assert options == takes - handed_over
        assert takes <= options_of(part).keys(), "without an annotation"

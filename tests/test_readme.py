"""The commands of the pages: those of the README run, shortened; those of docs/ are ones that would run."""

import ast
import re
import shlex
import shutil
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from PIL import Image

import dip
from dip.config.check import check_types, check_values, values
from dip.config.compose import compose

REPOSITORY = Path(__file__).parents[1]
README = REPOSITORY / "README.md"
PAGES = [README, *sorted((REPOSITORY / "docs").rglob("*.md"))]
SHORT = [
    "trainer.max_steps=1",
    "refine.rounds=1",
    "data.example.width=96",
    "data.example.height=64",
    "callbacks.images.count=1",
]


def blocks(page, language):
    return re.findall(rf"^ *```{language}\n(.*?)^ *```", page.read_text(), re.DOTALL | re.MULTILINE)


def commands(page):
    """Each command of the page's bash blocks as its words, without what follows # or a pipe."""
    lines = [line for block in blocks(page, "bash") for line in block.replace("\\\n", " ").splitlines()]
    words = [shlex.split(line, comments=True) for line in lines]
    return [each[: each.index("|")] if "|" in each else each for each in words if each]


def training(pages):
    return [words[2:] for page in pages for words in commands(page) if words[:2] == ["python", "train.py"]]


IN_README = training([README])
# Sweeps run in cli/test_sweeps too.
TO_RUN = [pytest.param(words, marks=pytest.mark.slow) if "-m" in words else words for words in IN_README]
IN_DOCS = sorted({tuple(arguments) for arguments in training(PAGES[1:])})
OTHERS = sorted(
    {tuple(words) for page in PAGES for words in commands(page) if words[:2] != ["python", "train.py"]}
)  # those of make_mask.py run in test_make_mask


def test_the_pages_have_commands():
    assert len(IN_README) >= 5
    assert len(IN_DOCS) >= 15
    assert len(OTHERS) >= 10


def test_the_readme_is_short():
    assert len(README.read_text().splitlines()) <= 130


@pytest.mark.parametrize("arguments", TO_RUN, ids=" ".join)
def test_training_commands_of_the_readme_run(command, photograph, mask, tmp_path, arguments):
    Image.open(photograph).resize((96, 64)).save(tmp_path / "photo.jpg")
    Image.open(mask).resize((96, 64)).save(tmp_path / "mask.png")
    for folder, name in (("photos", "photo.jpg"), ("masks", "mask.png")):
        (tmp_path / folder).mkdir()
        shutil.copy(tmp_path / name, tmp_path / folder / f"a{Path(name).suffix}")
    data = "data=random_pixels" in arguments
    result = command(*arguments, *(SHORT[:1] if data else SHORT))
    assert result.returncode == 0, result.stderr
    assert {path.name for path in (tmp_path / "outputs").rglob("*.png")} & {"inpainted.png", "restored.png"}
    assert bool(list((tmp_path / "outputs").glob("*/*/report.html"))) == ("-m" in arguments)


def first_of_each(arguments):
    """The overrides without -m, each with the first of the values that it sweeps."""
    for override in OverridesParser.create().parse_overrides([word for word in arguments if word != "-m"]):
        if not override.is_sweep_override():
            yield override.input_line
        elif override.is_discrete_sweep():
            yield f"{override.input_line.partition('=')[0]}={next(values(override))}"


@pytest.mark.parametrize("arguments", IN_DOCS, ids=" ".join)
def test_training_commands_of_the_docs_have_keys_and_values_that_there_are(arguments):
    if arguments == ("--help",):
        return
    check_types([word for word in arguments if not word.startswith("hydra")])
    ours = [word for word in arguments if not word.startswith(("hydra/launcher=", "hydra.launcher."))]  # an extra's
    check_values(compose(list(first_of_each(ours))))


@pytest.mark.parametrize("words", OTHERS, ids=" ".join)
def test_other_commands_have_programs_and_options_that_there_are(words):
    match words:
        case ["python", "-c", code]:
            ast.parse(code)
        case ["python", script, *arguments]:
            source = (REPOSITORY / script).read_text()
            assert all(f'"{word}"' in source for word in arguments if word.startswith("--"))
        case ["make", *verbs]:
            makefile = (REPOSITORY / "Makefile").read_text()
            assert all(f"\n{verb}:" in makefile for verb in verbs if "=" not in verb)
        case ["pip", "install", "-e", what, *_]:
            extras = set(re.findall(r"^(\w+) = \[", (REPOSITORY / "pyproject.toml").read_text(), re.MULTILINE))
            assert what == "." or set(re.fullmatch(r"\.\[(.*)\]", what)[1].split(",")) <= extras
        case _:
            assert words[0] in ("cd", "git", "pip", "pytest", "source", "tensorboard")


def test_make_lists_and_knows_its_verbs():
    listed = subprocess.run(["make", "help"], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    for verb in ("run", "test", "tensorboard"):
        assert f"make {verb} " in listed
        subprocess.run(["make", "--dry-run", verb], cwd=REPOSITORY, check=True, capture_output=True)


@pytest.fixture
def short(monkeypatch, tiny):
    """Repairs from Python are tiny."""
    monkeypatch.setattr(dip, "inpaint", partial(dip.inpaint, overrides=tiny, progress=False))


@pytest.mark.usefixtures("short")
def test_the_python_of_the_readme_runs():
    (example,) = blocks(README, "python")
    names: dict[str, Any] = {}
    exec(example, names)
    assert np.isfinite(names["filled"]).all()
    assert names["result"].std.shape == names["cube"].shape


@pytest.mark.usefixtures("short")
def test_the_tutorial_on_arrays_runs(tmp_path, monkeypatch):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in blocks(REPOSITORY / "docs" / "tutorial" / "scientific-array.md", "python"):
        exec(block, names)
    assert (tmp_path / "tissue.png").exists()
    matplotlib.pyplot.close()


def test_a_prior_is_built_in_python():
    names: dict[str, Any] = {}
    exec(blocks(REPOSITORY / "docs" / "how-to" / "own-network-or-loss.md", "python")[-1], names)
    assert isinstance(names["prior"], dip.DeepImagePrior)


@pytest.mark.parametrize("page", PAGES[1:], ids=lambda page: page.stem)
def test_python_in_the_docs_is_python(page):
    for block in blocks(page, "python"):
        ast.parse(block)

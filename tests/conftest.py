"""Tiny pictures and runs: 40x32 pixels, a network of a few hundred parameters, a handful of steps.

The fixtures import what they need: the process that hands tests to the others needs none of it.
"""

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from forked import run_forked
from PIL import Image

if TYPE_CHECKING:
    from omegaconf import DictConfig
    from playwright.sync_api import Browser, Page

    from dip.config.build import Experiment

REPOSITORY = Path(__file__).parent.parent
# What makes each choice tiny; all others are tiny anyway.
TINY_MODELS = {
    "unet": ["model.depth=2", "model.widths=[4,6]"],
    "unet_linear": ["model.depth=2", "model.widths=[4,6]"],
    "skip": ["model.down=[4,6]", "model.up=[4,6]", "model.skip=[2,0]"],
    "resnet": ["model.blocks=2", "model.features=4"],
    "deep_decoder": ["model.features=[6,6,6]", "input=noise", "input.reduction=4"],
    "any": [],
}
TINY = [
    *TINY_MODELS["unet"],
    "trainer.max_steps=3",
    "trainer.accelerator=cpu",
    "trainer.precision=32-true",
    "refine=none",
    "texture=none",
]

# As many processes as cores run tests, of one thread each, and so do the commands that tests start.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["PYTHONWARNINGS"] = "default"  # and commands are to print no warning


@pytest.fixture(autouse=True)
def same_weights_and_pictures_each_time() -> None:
    """What a test draws at random is the same in any order."""
    import torch

    torch.manual_seed(0)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The folder of README.md and train.py."""
    return REPOSITORY


@pytest.fixture(scope="session")
def tiny() -> list[str]:
    """The overrides that make a run of the U-Net tiny."""
    return [*TINY]


@pytest.fixture(scope="session")
def script() -> Callable[[str], ModuleType]:
    """script("lab/evaluate.py"): one of scripts/ as a module, which finds the scripts beside it."""

    def load(name: str) -> ModuleType:
        path = REPOSITORY / "scripts" / name
        spec = spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = module_from_spec(spec)
        sys.path.insert(0, str(path.parent))
        try:
            spec.loader.exec_module(module)
        finally:
            sys.path.remove(str(path.parent))
        return module

    return load


@pytest.fixture
def photograph(tmp_path: Path) -> Path:
    """A colour picture of 40x32 pixels: slopes, an edge and some texture."""
    y, x = np.mgrid[0:32, 0:40]
    pixels = np.stack([x * 6, y * 7, 120 + 60 * np.sin(x / 2) * np.cos(y / 3)], axis=-1)
    pixels[10:20, 12:30, 0] = 220
    path = tmp_path / "photograph.png"
    Image.fromarray(pixels.astype(np.uint8)).save(path)
    return path


@pytest.fixture
def mask(tmp_path: Path) -> Path:
    """Known everywhere but in a rectangle of 10x8 pixels."""
    pixels = np.full((32, 40), 255, dtype=np.uint8)
    pixels[8:16, 20:30] = 0
    path = tmp_path / "mask.png"
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def config(photograph: Path, mask: Path) -> "Callable[..., DictConfig]":
    """config("key=value", ...): the default configuration on the tiny picture, composed as the command line does."""
    from dip.config.compose import compose

    def composed(*overrides: str) -> "DictConfig":
        own = [f"data.image={photograph}", f"data.mask={mask}", f"data.truth={photograph}"]
        if any(override.startswith("data=") for override in overrides):
            own = own[:1]
        (network,) = [key.removeprefix("model=") for key in overrides if key.startswith("model=")] or ["unet"]
        tiny = [key for key in TINY if not key.startswith("model.")] + TINY_MODELS.get(network, [])
        return compose([*tiny, *own, *overrides])

    return composed


@pytest.fixture
def built() -> "Callable[..., Experiment]":
    """built(cfg, folder, resume=False): the experiment that `cfg` describes, on its own photograph."""
    from dip.config.build import build, read_data
    from dip.results.folder import RunFolder

    def built(cfg: "DictConfig", folder: Path, resume: bool = False) -> "Experiment":
        return build(cfg, read_data(cfg), RunFolder(folder, resume))

    return built


@pytest.fixture
def run() -> Callable[..., dict[str, Any]]:
    """run(cfg, folder, resume=False, watch=None): repairs as the command does, and returns the metrics.

    watch: is shown each experiment when it is built.
    """
    from dip.config.build import build
    from dip.repair.run import repair
    from dip.results.folder import RunFolder

    def run(
        cfg: "DictConfig", folder: Path, resume: bool = False, watch: "Callable[[Experiment], None] | None" = None
    ) -> dict[str, Any]:
        def watched(*arguments: Any, **more: Any) -> "Experiment":
            experiment = build(*arguments, **more)
            if watch is not None:
                watch(experiment)
            return experiment

        return repair(cfg, RunFolder(folder, resume), watched)

    return run


@pytest.fixture
def command(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """command("key=value", ...): runs train.py in an empty folder, as a user would, and returns what it said."""

    return partial(run_forked, REPOSITORY / "train.py", cwd=tmp_path)


@pytest.fixture
def separate_command(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """The same in an interpreter of its own, which inherits limits and PYTHONPATH, and ends in its own way."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, REPOSITORY / "train.py", *arguments]
        return subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)

    return run


@pytest.fixture
def file_size_limit() -> Callable[[int], AbstractContextManager[None]]:
    """with file_size_limit(BYTES): the kernel refuses whatever makes a file larger, as it does on a full disk."""

    @contextmanager
    def limited(size: int) -> Iterator[None]:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limited


@pytest.fixture(scope="session")
def chromium() -> Iterator["Browser"]:
    """Debian's Chromium, or another one."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("there is no Chromium: apt-get install chromium")
    from playwright.sync_api import sync_playwright  # here, since a machine with a GPU may lack it

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])  # root has no sandbox
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium, tmp_path):
    """visit(address, width=1280, scheme="light"): a page, which at the end has told of no error."""
    errors: list[str] = []
    pages: list[Page] = []

    def open_page(address, width=1280, scheme="light"):
        page = chromium.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(address)
        pages.append(page)
        return page

    yield open_page
    for number, page in enumerate(pages):
        page.screenshot(path=tmp_path / f"screenshot_{number}.png", full_page=True)
        page.close()
    assert errors == []

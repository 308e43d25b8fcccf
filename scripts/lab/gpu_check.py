"""Finds out in minutes what a GPU gives: correctness, speed, memory and quality, as one page of Markdown.

    python scripts/lab/gpu_check.py outputs/gpu.md
    python scripts/lab/gpu_check.py outputs/gpu.md --only tests,steps --sizes 384x256

It needs this checkout, the packages that pyproject.toml names and pytest, and no network: without an installation,
PYTHONPATH=src finds the project. On a machine without a GPU it measures the CPU, which shows that it works.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import torch
from benchmark import bare, peak, time_steps
from benchmark_refine import refine_once
from pytorch_lightning import seed_everything
from torch import Tensor

from dip.config.build import Experiment
from dip.training.cuda_graph import CapturedStep

REPOSITORY = Path(__file__).parents[2]
PARTS = ("tests", "recipes", "refinement", "steps", "memory")
BLOCKS = 5  # of steps, of which the median counts
PUBLISHED = ["experiment=published"]
LARGE = ["data.example.mask.words=I", "data.example.mask.font_size=250"]  # bars, 17 pixels deep
# Runs on pictures that come with the project's packages.
RUNS = {
    "published": PUBLISHED,
    "quick": [],
    "quick, chelsea": ["data.example.photograph=chelsea"],
    "quick, members=4": ["members=4"],
    "quick, large hole": LARGE,
    "quality": ["experiment=quality"],
    "quality, chelsea": ["experiment=quality", "data.example.photograph=chelsea"],
}
ON_GPU = {"published", "quick, members=4", "quick, large hole"}  # and not on a CPU, which takes too long


def captured(experiment: Experiment) -> Callable[[], Any]:
    """A function that trains one step of the experiment by replaying a CUDA graph."""
    device = experiment.trainer.strategy.root_device
    prior = experiment.prior.to(device)
    sample = experiment.data.transfer_batch_to_device(experiment.data.sample, device, 0)
    optimizer = prior.configure_optimizers()["optimizer"]
    with experiment.trainer.precision_plugin.forward_context():
        replayed = CapturedStep(prior, sample)

    def step() -> Tensor:
        loss, output = replayed(sample.target, sample.loss_mask)
        replayed.backward(loss)
        optimizer.step()
        return output

    return step


def compiled(experiment: Experiment) -> Callable[[], Any]:
    """`bare`, with loss and output through torch.compile."""
    experiment.prior.loss_and_output = torch.compile(experiment.prior.loss_and_output)  # pyright: ignore[reportAttributeAccessIssue]
    return bare(experiment)


VARIANTS = {"b eager": bare, "b captured": captured, "b compiled": compiled}


def memory(size: str, variant: str, overrides: list[str]) -> float:
    """GB a megapixel that the GPU's memory grows by, from the difference of a quarter of the picture and all of it."""
    width, height = map(int, size.split("x"))
    peaks = []
    for sides in ((width // 2, height // 2), (width, height)):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        peaks.append(peak(variant, *sides, overrides))
    return (peaks[1] - peaks[0]) / (0.75 * width * height) / 1e3


def command(folder: Path, *overrides: str) -> dict[str, Any]:
    """metrics.json of a run of train.py, and the seconds that the whole command took."""
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, REPOSITORY / "train.py", *overrides, f"hydra.run.dir={folder}"],
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.perf_counter() - started
    if done.returncode:
        raise SystemExit(f"train.py {' '.join(overrides)}:\n{done.stderr[-2000:]}")
    return {**json.loads((folder / "metrics.json").read_text()), "command_seconds": seconds}


def check_tests(log: Path) -> str:
    """What pytest says of the tests that need a GPU; all of it goes to `log`."""
    arguments = ["-m", "gpu", "-n", "0", "-q", "-W", "default", "-p", "no:cacheprovider", "tests/training/test_gpu.py"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    log.write_text(done.stdout + done.stderr)
    lines = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return "\n".join([*lines, *(done.stdout or done.stderr).splitlines()[-1:]])


def check_steps(sizes: list[str], variants: list[str], steps: int, overrides: list[str]) -> str:
    own = {name: VARIANTS[name] for name in variants}
    rows = ["| size | precision | step | ms | times (a) |", "|---|---|---|---|---|"]
    for precision in ("32-true", "bf16-mixed"):
        for size in sizes:
            width, height = map(int, size.split("x"))
            chosen = [*PUBLISHED, f"trainer.precision={precision}", *overrides]
            with tempfile.TemporaryDirectory() as folder:
                found = time_steps(width, height, steps, BLOCKS, chosen, Path(folder), own)
            medians = {name: statistics.median(blocks) for name, blocks in found["milliseconds"].items()}
            for name, spent in medians.items():
                times = medians["a published"] / spent
                rows.append(f"| {size} | {precision} | {name} | {spent:.2f} | {times:.1f} |")
                print(rows[-1], flush=True)
    return "\n".join(rows)


def check_memory(size: str, overrides: list[str]) -> str:
    if not torch.cuda.is_available():
        return "It needs a GPU."
    rows = ["| precision | step | GB a megapixel |", "|---|---|---|"]
    for precision in ("32-true", "bf16-mixed"):
        for variant in ("a published", "c real"):
            found = memory(size, variant, [*PUBLISHED, f"trainer.precision={precision}", *overrides])
            rows.append(f"| {precision} | {variant} | {found:.2f} |")
    return "\n".join(rows)


def check_recipes(names: list[str], devices: list[str], overrides: list[str]) -> str:
    rows = ["| run | device | steps | PSNR hole, raw (dB) | s, training | s, command |", "|---|---|---|---|---|---|"]
    with tempfile.TemporaryDirectory() as folder:
        for device, (number, name) in product(devices, enumerate(names)):
            if device == "cpu" and name in ON_GPU:
                continue
            chosen = [*RUNS[name], f"trainer.accelerator={device}", *overrides]
            found = command(Path(folder, f"{device}_{number}"), *chosen)
            rows.append(
                f"| {name} | {device} | {found['steps']} | {found['psnr_hole']:.2f} "
                f"| {found['seconds']:.1f} | {found['command_seconds']:.1f} |"
            )
            print(rows[-1], flush=True)
    return "\n".join(rows)


def check_refinement(sizes: list[str], devices: list[str], overrides: list[str]) -> str:
    rows = ["| size | hole | device | s |", "|---|---|---|---|"]
    own = [key for key in overrides if key.startswith("refine")]
    for size, kind, device in product(sizes, ("text", "half"), devices):
        width, height = map(int, size.split("x"))
        on = torch.device("cuda" if device == "gpu" else device)
        seconds = [refine_once(kind, width, height, own, on)[0] for _ in range(4)][1:]
        rows.append(f"| {size} | {kind} | {device} | {statistics.median(seconds):.2f} |")
        print(rows[-1], flush=True)
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path, help="the Markdown file to write")
    parser.add_argument("--only", default=",".join(PARTS), help="some of the parts (%(default)s)")
    parser.add_argument("--sizes", default="256x256,384x256,1024x1024", help="of the step's pictures (%(default)s)")
    parser.add_argument("--variants", default=",".join(VARIANTS), help="of the step (%(default)s)")
    parser.add_argument("--steps", type=int, default=48, help="steps in a block (%(default)s)")
    parser.add_argument("--runs", default="; ".join(RUNS), help="of the recipes (%(default)s)")
    parser.add_argument("--devices", default="gpu,cpu", help="of the recipes and of refinement (%(default)s)")
    parser.add_argument("overrides", nargs="*", help="overrides of every run, such as trainer.max_steps=100")
    arguments = parser.parse_intermixed_args()
    on_gpu = torch.cuda.is_available()
    name = torch.cuda.get_device_name() if on_gpu else "no GPU: the CPU"
    seed_everything(0, verbose=False)
    sizes, variants, overrides = arguments.sizes.split(","), arguments.variants.split(","), arguments.overrides
    runs, devices = arguments.runs.split("; "), arguments.devices.split(",")
    parts: dict[str, Callable[[], str]] = {
        "tests": lambda: check_tests(arguments.page.with_suffix(".log")),
        "recipes": lambda: check_recipes(runs, devices, overrides),
        "refinement": lambda: check_refinement(sizes, devices, overrides),
        "steps": lambda: check_steps(sizes, variants, arguments.steps, overrides),
        "memory": lambda: check_memory(sizes[-1], overrides),
    }
    arguments.page.parent.mkdir(parents=True, exist_ok=True)
    page = [f"# {name}", f"torch {torch.__version__}, {os.cpu_count()} CPU cores"]
    for part in arguments.only.split(","):
        started = time.perf_counter()
        found = parts[part]()
        page += [f"## {part}, {time.perf_counter() - started:.0f} s", found]
        arguments.page.write_text("\n\n".join(page) + "\n")
        print(f"{page[-2]}\n\n{found}", flush=True)


if __name__ == "__main__":
    main()

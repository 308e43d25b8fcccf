"""Kills runs with SIGKILL at random moments, resumes them, and compares each with an undisturbed run, bit for bit.

    python scripts/lab/kill_and_resume.py --kills 30

Each process repairs the same small picture in float32 on the CPU and writes a checkpoint about every 60 ms. A kill
comes at any moment of a process: while it imports, builds, trains or writes. After each kill, every file of the run's
folder must be complete. A run that reaches its end must have the same weights, optimizer, random generators, loss curve
and pictures as the undisturbed one. The next kills are then of a new run.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from yaml import safe_load

from dip.results.folder import RunFolder
from dip.training.checkpoint import read_checkpoint

TRAIN = Path(__file__).parents[2] / "train.py"
READERS = {
    ".png": lambda path: Image.open(path).load(),
    ".gif": lambda path: Image.open(path).load(),
    ".json": lambda path: json.loads(path.read_text()),
    ".yaml": lambda path: safe_load(path.read_text()),
    ".ckpt": read_checkpoint,
}


class Runs:
    """Runs that repair one small picture, each in a process and a folder of its own."""

    def __init__(self, folder: Path, steps: int):
        self.folder = folder
        truth = Image.effect_mandelbrot((60, 44), (-2, -1.2, 1, 1.2), 60).convert("RGB")
        mask = Image.new("L", truth.size, "white")
        ImageDraw.Draw(mask).rectangle((20, 14, 34, 26), fill="black")
        truth.save(folder / "picture.png")
        mask.save(folder / "mask.png")
        self.keys = [
            f"data.image={folder}/picture.png",
            f"data.mask={folder}/mask.png",
            f"data.truth={folder}/picture.png",
            "model.depth=3",
            "model.widths=[8]",
            "trainer.accelerator=cpu",
            "trainer.precision=32-true",
            f"trainer.max_steps={steps}",
            "callbacks.checkpoint.every_minutes=0.001",
        ]

    def start(self, name: str) -> subprocess.Popen[str]:
        """Start a process that starts or resumes the run `name`."""
        run = self.folder / name
        keys = [f"resume={run}"] if RunFolder(run).exists else [*self.keys, f"hydra.run.dir={run}"]
        return subprocess.Popen([sys.executable, TRAIN, *keys], stderr=subprocess.PIPE, text=True)

    def finish(self, process: subprocess.Popen[str]) -> None:
        _, said = process.communicate()
        if process.returncode != 0:
            raise SystemExit(f"a run ended with {process.returncode}: {said}")


def check_files(run: Path) -> bool:
    """Read every file that must be complete; return whether the kill came while one was written."""
    files = [path for path in run.rglob("*") if path.is_file()]
    for path in files:
        if path.suffix in READERS and not path.name.startswith("."):
            READERS[path.suffix](path)
    return any(path.name.startswith(".") for path in files)


def remains(run: Path) -> dict[str, Any]:
    """What must be equal: the checkpoint without the time it took, the curves, the pictures, the metrics."""
    checkpoint = read_checkpoint(RunFolder(run).checkpoint)
    del checkpoint["callbacks"]["Results"]
    events = EventAccumulator(str(run), size_guidance={"scalars": 0})
    events.Reload()
    curves = {tag: [(point.step, point.value) for point in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    metrics = RunFolder(run).metrics
    del metrics["seconds"]
    pictures = {path.name: path.read_bytes() for path in run.iterdir() if path.suffix in (".png", ".gif")}
    return {"curves": curves, "metrics": metrics, **pictures, **{key: plain(checkpoint[key]) for key in checkpoint}}


def plain(value: Any) -> Any:
    """Nested tensors as bytes, so that == means bit for bit."""
    if isinstance(value, torch.Tensor):
        return value.dtype, value.shape, value.contiguous().numpy().tobytes()
    if isinstance(value, dict):
        return {key: plain(within) for key, within in value.items()}
    return [plain(within) for within in value] if isinstance(value, list | tuple) else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30, help="(%(default)s)")
    parser.add_argument("--steps", type=int, default=1500, help="of each run (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (%(default)s)")
    arguments = parser.parse_args()
    moments = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        runs = Runs(Path(folder), arguments.steps)
        started = time.monotonic()
        runs.finish(runs.start("undisturbed"))
        longest = time.monotonic() - started
        expected = remains(Path(folder, "undisturbed"))
        print(f"undisturbed: {arguments.steps} steps, {longest:.1f} s", flush=True)
        kills = writing = number = 0
        while kills < arguments.kills or RunFolder(Path(folder, f"{number}")).exists:
            run = Path(folder, f"{number}")
            process = runs.start(run.name)
            try:
                process.wait(moments.uniform(0, longest) if kills < arguments.kills else None)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                kills += 1
                torn = check_files(run)
                writing += torn
                checkpoint = RunFolder(run).checkpoint
                step = read_checkpoint(checkpoint)["global_step"] if checkpoint.exists() else "no"
                print(f"kill {kills}: run {number}, {step} steps saved{', while writing' if torn else ''}", flush=True)
                continue
            runs.finish(process)
            ours = remains(run)
            different = [key for key in ours | expected if ours.get(key) != expected.get(key)]
            if different:
                raise SystemExit(f"run {number} differs in {', '.join(different)}")
            print(f"run {number}: equal to the undisturbed one, bit for bit", flush=True)
            number += 1
    if number == 0:
        raise SystemExit("no run has reached its end, so nothing is compared; give more --kills or fewer --steps")
    print(f"{kills} kills, {writing} of them while a file was written; {number} runs resumed to their ends, all equal")


if __name__ == "__main__":
    main()

"""Times a training step of the published recipe and of this project, in turns in one process.

(a) published: batch of two, float32, contiguous memory, unfused Adam, a plain loop
(b) bare:      this project's step in a plain loop
(c) real:      this project as users run it, with Lightning, callbacks and TensorBoard

    python scripts/benchmark.py --size 384x256
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from pytorch_lightning import Callback, LightningModule, Trainer
from torch.optim import Adam

from dip.data import Sample
from dip.experiment import Experiment, build
from dip.images import to_pil
from dip.schema import register
from dip.unet import UNet

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
RUN = 1500  # steps of the default recipe, over which a run spreads its pictures
WARM_UP = 5  # steps that do not count


def published(sample: Sample) -> Callable[[], None]:
    mask = sample.mask
    target = sample.target.repeat(2, 1, 1, 1)
    picture = torch.nn.Parameter(0.1 * torch.rand_like(target))
    network = UNet(3, 3, 6, (16, 32, 64, 128, 128, 128), 3, 5)
    optimizer = Adam([picture, *network.parameters()], lr=0.1, fused=False, foreach=False)

    def step() -> None:
        loss = torch.nn.functional.mse_loss(network(picture) * mask, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def bare(experiment: Experiment) -> Callable[[], None]:
    prior, (target, mask, _) = experiment.prior, experiment.data.sample
    optimizer = prior.configure_optimizers()

    def step() -> None:
        with experiment.trainer.precision_plugin.forward_context():
            loss = prior.loss(prior(), target, mask)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


class Turns(Callback):
    """Lets the others have a block of steps after each of its trainer's own; `milliseconds` a step, by name."""

    def __init__(self, others: dict[str, Callable[[], None]], steps: int):
        self.others = others
        self.steps = steps
        self.milliseconds: dict[str, list[float]] = {name: [] for name in [*others, "c real"]}

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Sample, batch_idx: int
    ) -> None:
        since_warm_up = trainer.global_step - WARM_UP
        if since_warm_up < 0 or since_warm_up % self.steps:
            return
        if since_warm_up > 0:
            self.note("c real", self.started)
        for name, step in self.others.items():
            started = time.perf_counter()
            for _ in range(self.steps):
                step()
            if since_warm_up > 0:
                self.note(name, started)
        self.started = time.perf_counter()

    def note(self, name: str, started: float) -> None:
        self.milliseconds[name].append(1000 * (time.perf_counter() - started) / self.steps)


def configuration(image: Path, steps: int, overrides: list[str]) -> DictConfig:
    """The default configuration, with as many pictures a step as a whole run has on average."""
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        data = ["data=random_pixels", f"data.image='{image}'", "data.mask.known_share=0.9"]
        cfg = compose("train", [*data, *overrides, f"trainer.max_steps={steps}"])
    for kind in (cfg.callbacks.images, cfg.callbacks.animation):
        kind.count = max(1, round(kind.count * steps / RUN))
    return cfg


def measure(height: int, width: int, steps: int, repeats: int, overrides: list[str], folder: Path) -> dict[str, Any]:
    """Milliseconds a step by name, in `repeats` blocks of `steps` each, and what they were measured on."""
    to_pil(torch.rand(1, 3, height, width)).save(folder / "picture.png")
    cfg = configuration(folder / "picture.png", WARM_UP + steps * repeats, overrides)
    real = build(cfg, folder / "real")
    others = {"a published": published(real.data.sample), "b bare": bare(build(cfg, folder / "bare"))}
    turns = Turns(others, steps)
    real.trainer.callbacks.append(turns)  # pyright: ignore[reportAttributeAccessIssue]
    real.trainer.fit(real.prior, datamodule=real.data)
    return {
        "device": str(real.trainer.strategy.root_device),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "precision": real.cfg.trainer.precision,
        "size": f"{width}x{height}",
        "milliseconds": turns.milliseconds,
    }


def report(measured: dict[str, Any]) -> str:
    medians = {name: statistics.median(blocks) for name, blocks in measured["milliseconds"].items()}
    lines = ["{size} on {device}, {threads} threads, torch {torch}, {precision}".format(**measured)]
    for name, median in medians.items():
        lines.append(f"{name:12} {median:8.1f} ms a step   {medians['a published'] / median:5.2f} times (a)")
    lines.append(f"Lightning and callbacks: {100 * (medians['c real'] / medians['b bare'] - 1):.1f} % over (b)")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="384x256", help="width and height in pixels (%(default)s)")
    parser.add_argument("--steps", type=int, default=10, help="steps in a block (%(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="blocks of each (%(default)s)")
    parser.add_argument("--json", type=Path, help="write every block's figures to this file")
    parser.add_argument("overrides", nargs="*", help="keys of this project's run, such as model.depth=5")
    arguments = parser.parse_args()
    width, height = map(int, arguments.size.split("x"))
    with tempfile.TemporaryDirectory() as folder:
        measured = measure(height, width, arguments.steps, arguments.repeats, arguments.overrides, Path(folder))
    print(report(measured))
    if arguments.json:
        arguments.json.write_text(json.dumps(measured, indent=2) + "\n")


if __name__ == "__main__":
    register()
    main()

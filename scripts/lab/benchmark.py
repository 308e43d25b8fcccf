"""Times a training step of the published recipe and of this project, in turns in one process.

(a) published: the 2022 script's recipe in a plain loop: batch of two, float32, contiguous memory, unfused Adam
(b) bare:      this project's step in a plain loop
(c) real:      this project as users run it, with Lightning, callbacks and TensorBoard

    python scripts/lab/benchmark.py --size 384x256
    python scripts/lab/benchmark.py --size 384x256 model.activation_checkpointing=true
    python scripts/lab/benchmark.py --quality

The last one trains (a) and (c) in turns to their ends, and prints when (c) has reached the quality in the hole that (a)
has at its end. Further arguments are overrides of this project's run; (a) never changes.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from pytorch_lightning import Callback, LightningModule, Trainer, seed_everything
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Adam
from torch.utils.flop_counter import FlopCounterMode

from dip.config.build import Experiment, build, read_data
from dip.config.compose import compose
from dip.files import write_json
from dip.image.metrics import psnr
from dip.image.tensors import to_pil
from dip.prior.sample import Sample
from dip.results.folder import RunFolder
from dip.results.pictures import Animation, Images

RUN = 1500  # steps of a run, over which its pictures are spread
WARM_UP = 5  # steps that do not count
MEMORY = Path("/proc/self/status")  # where Linux has the peak memory of a process


class Published(nn.Module):
    """T. Lemsky's U-Net, written plainly: (N, 3, H, W) -> (N, 3, H, W), sides that are multiples of 32."""

    def __init__(self, widths: tuple[int, ...] = (16, 32, 64, 128, 128, 128)):
        super().__init__()
        self.down = nn.ModuleList(self.block(i, o, 3) for i, o in zip((3, *widths), widths, strict=False))
        pairs = list(zip(widths[1:], widths, strict=False))[::-1]
        self.grow = nn.ModuleList(nn.Conv2d(below, here, 2) for below, here in pairs)
        self.up = nn.ModuleList(self.block(2 * here, here, 5) for _, here in pairs)
        self.last = nn.Conv2d(widths[0], 3, 2)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(module.bias)  # pyright: ignore[reportArgumentType]

    @staticmethod
    def block(in_channels: int, out_channels: int, kernel: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2),
            nn.BatchNorm2d(out_channels),
            nn.LeakyReLU(),
            nn.Conv2d(out_channels, out_channels, kernel, padding=kernel // 2),
            nn.BatchNorm2d(out_channels),
            nn.LeakyReLU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        size, skips = x.shape[-2:], []
        for down in self.down:
            x = down(functional.max_pool2d(x, 2) if skips else x)
            skips.append(x)
        skips.pop()
        for grow, up in zip(self.grow, self.up, strict=True):
            x = grow(functional.pad(functional.interpolate(x, scale_factor=2), (0, 1, 0, 1)))
            x = up(torch.cat([x, skips.pop()], dim=1))
        # The resize to the size it has already is the published script's own.
        return functional.interpolate(self.last(functional.pad(x, (0, 1, 0, 1))), size=size, mode="bilinear")


def published(sample: Sample, device: torch.device) -> Callable[[], Tensor]:
    """(a): a function that trains one step and returns the output, (2, 3, H, W)."""
    target, mask = sample.target.repeat(2, 1, 1, 1).to(device), sample.mask.to(device)
    picture = nn.Parameter(0.1 * torch.rand_like(target))
    network = Published().to(device)
    optimizer = Adam([picture, *network.parameters()], lr=0.1, fused=False, foreach=False)

    def step() -> Tensor:
        output = network(picture)
        loss = functional.mse_loss(output * mask, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return output

    return step


def bare(experiment: Experiment) -> Callable[[], Tensor]:
    """(b): a function that trains one step of the experiment, without its trainer, and returns the output."""
    device = experiment.trainer.strategy.root_device
    prior, sample = experiment.prior.to(device), experiment.data.sample
    target, mask = sample.target.to(device), sample.loss_mask.to(device)
    optimizer = prior.configure_optimizers()["optimizer"]

    def step() -> Tensor:
        with experiment.trainer.precision_plugin.forward_context():
            loss, output = prior.loss_and_output(target, mask)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return output

    return step


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class Turns(Callback):
    """Runs a block of the others' steps after each of its trainer's; `milliseconds` a step of each block, by name."""

    def __init__(self, others: dict[str, Callable[[], Any]], steps: int):
        self.others = others
        self.steps = steps
        self.milliseconds: dict[str, list[float]] = {name: [] for name in [*others, "c real"]}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for callback in trainer.callbacks:  # pyright: ignore[reportAttributeAccessIssue]
            if isinstance(callback, Images | Animation):
                # As many pictures as a whole run has on average; its first steps have more.
                callback.steps = set(range(WARM_UP, trainer.max_steps, RUN // callback.count))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Sample, batch_idx: int
    ) -> None:
        since_warm_up = trainer.global_step - WARM_UP
        if since_warm_up < 0 or since_warm_up % self.steps:
            return
        if since_warm_up > 0:
            self.note("c real", self.started, batch.mask.device)
        for name, step in self.others.items():
            started = time.perf_counter()
            for _ in range(self.steps):
                step()
            if since_warm_up > 0:
                self.note(name, started, batch.mask.device)
            wait(batch.mask.device)
        self.started = time.perf_counter()

    def note(self, name: str, started: float, device: torch.device) -> None:
        wait(device)
        self.milliseconds[name].append(1000 * (time.perf_counter() - started) / self.steps)


def clocked(callbacks: list[Callback]) -> dict[str, float]:
    """Measure from now on the seconds that each callback spends after the steps, by its name."""
    seconds = dict.fromkeys((type(callback).__name__ for callback in callbacks), 0.0)

    def clock(name: str, act: Callable[..., None]) -> Callable[..., None]:
        def timed(*arguments: Any) -> None:
            started = time.perf_counter()
            act(*arguments)
            seconds[name] += time.perf_counter() - started

        return timed

    for callback in callbacks:
        callback.on_train_batch_end = clock(type(callback).__name__, callback.on_train_batch_end)
    return seconds


def build_in(cfg: DictConfig, folder: Path) -> Experiment:
    return build(cfg, read_data(cfg), RunFolder(folder))


def on_noise(folder: Path, width: int, height: int, steps: int, overrides: list[str]) -> DictConfig:
    """The default configuration for a picture of noise, with as many levels as published, as for a large hole."""
    to_pil(torch.rand(1, 3, height, width)).save(folder / "picture.png")
    to_pil((torch.rand(1, 1, height, width) < 0.9).float()).save(folder / "mask.png")
    files = [f"data.image='{folder}/picture.png'", f"data.mask='{folder}/mask.png'"]
    return compose([*files, "hole_kind=large", *overrides, f"trainer.max_steps={steps}"])


def time_steps(
    width: int,
    height: int,
    steps: int,
    repeats: int,
    overrides: list[str],
    folder: Path,
    variants: Mapping[str, Callable[[Experiment], Callable[[], Tensor]]],
) -> dict[str, Any]:
    """Milliseconds a step by name, in `repeats` blocks of `steps` each, and those of the callbacks.

    variants: of this project's step beside a real run, by name, each from an experiment of its own.
    """
    last = WARM_UP + steps * repeats
    cfg = on_noise(folder, width, height, last, overrides)
    real = build_in(cfg, folder / "real")
    others = {name: variant(build_in(cfg, folder / name.replace(" ", "_"))) for name, variant in variants.items()}
    device = real.trainer.strategy.root_device
    turns = Turns({"a published": published(real.data.sample, device), **others}, steps)
    seconds = clocked(real.callbacks)
    real.trainer.callbacks.append(turns)  # pyright: ignore[reportAttributeAccessIssue]
    real.trainer.fit(real.prior, datamodule=real.data)
    return {
        **machine(real),
        "size": f"{width}x{height}",
        "milliseconds": turns.milliseconds,
        "callbacks": {callback: 1000 * spent / last for callback, spent in seconds.items()},
        "bytes_per_pixel": {},
    }


def machine(experiment: Experiment) -> dict[str, str]:
    device = experiment.trainer.strategy.root_device
    cpu = f"cpu ({torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads)"
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else cpu,
        "torch": torch.__version__,
        "precision": experiment.cfg.trainer.precision,
    }


def bytes_per_pixel(variant: str, width: int, height: int, overrides: list[str]) -> float:
    """The memory that a pixel takes, from the difference between a quarter of the picture and all of it."""
    sizes = [(width // 2, height // 2), (width, height)]
    small, large = (alone(peak, variant, *size, overrides) for size in sizes)
    return (large - small) / (width * height - sizes[0][0] * sizes[0][1])


def alone(act: Callable[..., Any], *arguments: Any) -> Any:
    """Call `act` in a new process, whose memory nothing else has grown."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(act, *arguments).result()


def peak(variant: str, width: int, height: int, overrides: list[str], steps: int = 12) -> int:
    """The peak memory of this process in bytes, after some steps of the variant."""
    with tempfile.TemporaryDirectory() as folder:
        real = build_in(on_noise(Path(folder), width, height, steps, overrides), Path(folder, "run"))
        device = real.trainer.strategy.root_device
        if variant == "c real":
            real.trainer.fit(real.prior, datamodule=real.data)
        else:
            step = published(real.data.sample, device) if variant == "a published" else bare(real)
            for _ in range(steps):
                step()
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return peak_memory()


def peak_memory() -> int:
    """The peak memory of this process in bytes, without that of a GPU."""
    (line,) = [line for line in MEMORY.read_text().splitlines() if line.startswith("VmHWM:")]
    return 1024 * int(line.split()[1])


def floor(width: int, height: int, overrides: list[str], folder: Path) -> dict[str, float]:
    """The least that a step of (b) must compute and move, and how fast this machine does each."""
    experiment = build_in(on_noise(folder, width, height, 1, overrides), folder / "floor")
    step = bare(experiment)
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.data_ptr()] = tensor.nbytes
        return tensor

    with FlopCounterMode(display=False) as counter, torch.autograd.graph.saved_tensors_hooks(keep, lambda kept: kept):
        step()
    device = experiment.trainer.strategy.root_device
    dtype = torch.bfloat16 if experiment.cfg.trainer.precision.startswith("bf16") else torch.float32
    parameters = sum(parameter.nbytes for parameter in experiment.prior.parameters())
    return {
        "gflop": counter.get_total_flops() / 1e9,
        # What the backward pass needs is written and read once; Adam reads four numbers a weight and writes three.
        "gb": (2 * sum(kept.values()) + 7 * parameters) / 1e9,
        "gflop_per_ms": matrix_rate(device, dtype),
        "gb_per_ms": copy_rate(device),
    }


def matrix_rate(device: torch.device, dtype: torch.dtype, side: int = 2048) -> float:
    """GFLOP a millisecond of a large matrix product."""
    left, right = (torch.rand(side, side, device=device, dtype=dtype) for _ in range(2))
    return 2 * side**3 / 1e9 / quickest(lambda: left @ right, device)


def copy_rate(device: torch.device, megabytes: int = 512) -> float:
    """GB a millisecond, read and written, of a copy larger than any cache."""
    source = torch.rand(megabytes * 2**18, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / 1e9 / quickest(lambda: target.copy_(source), device)


def quickest(act: Callable[[], Any], device: torch.device, times: int = 10) -> float:
    """The least time that `act` takes, in milliseconds."""

    def once() -> float:
        started = time.perf_counter()
        act()
        wait(device)
        return 1000 * (time.perf_counter() - started)

    return min(once() for _ in range(times))


def profile(
    width: int, height: int, overrides: list[str], folder: Path, steps: int = 10
) -> list[tuple[str, float, float]]:
    """The operators of a step of (b): name, own milliseconds a step, times a step; the longest first."""
    step = bare(build_in(on_noise(folder, width, height, 1, overrides), folder / "profile"))
    for _ in range(WARM_UP):
        step()
    with torch.profiler.profile() as recorded:
        for _ in range(steps):
            step()
    on_gpu = torch.cuda.is_available()
    operators = [
        (event.key, (event.self_device_time_total if on_gpu else event.self_cpu_time_total) / 1000 / steps, event.count)
        for event in recorded.key_averages()
    ]
    return [(key, spent, count / steps) for key, spent, count in sorted(operators, key=lambda operator: -operator[1])]


def report_profile(operators: list[tuple[str, float, float]], lines: int = 16) -> str:
    total = sum(spent for _, spent, _ in operators)
    return "\n".join(
        f"{spent:8.2f} ms {100 * spent / total:5.1f} %  {count:5.0f} times  {key}"
        for key, spent, count in operators[:lines]
    )


def report_steps(measured: dict[str, Any]) -> str:
    medians = {name: statistics.median(blocks) for name, blocks in measured["milliseconds"].items()}
    callbacks = measured["callbacks"]
    most = ", ".join(f"{kind} {spent:.2f}" for kind, spent in callbacks.items() if spent >= 0.01)
    lightning = medians["c real"] - medians["b bare"] - sum(callbacks.values())
    lines = ["{size} on {device}, torch {torch}, {precision}".format(**measured)]
    for variant, median in medians.items():
        memory = measured["bytes_per_pixel"].get(variant)
        lines.append(
            f"{variant:12} {median:8.1f} ms a step {medians['a published'] / median:7.2f} times (a)"
            + (f" {memory:7.0f} bytes a pixel" if memory else "")
        )
    lines += [
        f"(c) over (b)  {100 * (medians['c real'] / medians['b bare'] - 1):7.1f} %",
        f"  callbacks   {sum(callbacks.values()):8.2f} ms a step: {most}",
        f"  Lightning   {lightning:8.2f} ms a step, the rest",
    ]
    least = measured["floor"]
    computing, moving = least["gflop"] / least["gflop_per_ms"], least["gb"] / least["gb_per_ms"]
    lines += [
        f"floor of (b)  {computing:7.1f} ms for {least['gflop']:.1f} GFLOP at {least['gflop_per_ms']:.2f} TFLOP/s",
        f"              {moving:7.1f} ms for {least['gb']:.2f} GB at {1000 * least['gb_per_ms']:.0f} GB/s",
    ]
    return "\n".join(lines)


class Race(Callback):
    """Trains (a) as far after each block of its trainer's steps; `curves` has points (step, seconds, dB)."""

    def __init__(self, step: Callable[[], Tensor], steps: int, blocks: int):
        self.step = step
        self.steps = steps
        self.blocks = blocks
        self.curves: dict[str, list[tuple[int, float, float]]] = {"a published": [(0, 0, 0)], "c real": [(0, 0, 0)]}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.started = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Sample, batch_idx: int
    ) -> None:
        done = trainer.global_step * self.blocks // trainer.max_steps
        if (trainer.global_step - 1) * self.blocks // trainer.max_steps == done:
            return
        with trainer.precision_plugin.forward_context():
            output = self.timed("c real", pl_module.predict)  # pyright: ignore[reportArgumentType]
        self.note("c real", trainer.global_step, output, batch)
        steps = self.steps * done // self.blocks - self.curves["a published"][-1][0]
        self.started = time.perf_counter()
        for _ in range(steps - 1):
            self.step()
        output = self.timed("a published", self.step)
        self.note("a published", self.curves["a published"][-1][0] + steps, output, batch)
        self.started = time.perf_counter()

    def timed(self, name: str, act: Callable[[], Tensor]) -> Tensor:
        output = act()
        wait(output.device)
        self.seconds = self.curves[name][-1][1] + time.perf_counter() - self.started
        return output

    def note(self, name: str, step: int, output: Tensor, sample: Sample) -> None:
        assert sample.truth is not None
        quality = psnr(output[:1].detach(), sample.truth, ~sample.mask.bool())
        self.curves[name].append((step, self.seconds, quality))
        print(f"{name:12} step {step:5} {self.seconds:8.1f} s {quality:6.2f} dB in the hole", flush=True)


def race(overrides: list[str], steps: int, blocks: int, folder: Path) -> dict[str, Any]:
    """Both curves, on this project's example or on the picture, mask and ground truth in `overrides`."""
    real = build_in(compose(overrides), folder / "real")
    device = real.trainer.strategy.root_device
    if real.data.sample.truth is None:
        raise SystemExit("--quality needs the ground truth; give data.truth=PATH")
    turns = Race(published(real.data.sample, device), steps, blocks)
    real.trainer.callbacks.append(turns)  # pyright: ignore[reportAttributeAccessIssue]
    real.trainer.fit(real.prior, datamodule=real.data)
    return {**machine(real), "curves": turns.curves}


def report_race(measured: dict[str, Any]) -> str:
    theirs, ours = measured["curves"]["a published"], measured["curves"]["c real"]
    lines = ["raw output in the hole, on {device}, torch {torch}, {precision}".format(**measured)]
    for point, (step, seconds, quality) in (
        ("at its end", theirs[-1]),
        ("at its best", max(theirs, key=lambda point: point[2])),
    ):
        lines.append(f"(a) {point:11} {quality:6.2f} dB after {step} steps and {seconds:.0f} s")
        reached = next((point for point in ours if point[2] >= quality), None)
        if reached is None:
            lines.append("    (c) never reaches it")
        else:
            lines.append(
                f"    (c) reaches it after {reached[0]} steps and {reached[1]:.1f} s, "
                f"{seconds / reached[1]:.0f} times sooner"
            )
    step, seconds, quality = ours[-1]
    return "\n".join([*lines, f"(c) at its end  {quality:6.2f} dB after {step} steps and {seconds:.0f} s"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="384x256", help="width and height, multiples of 64 (%(default)s)")
    parser.add_argument("--model", default="unet", help="this project's network, one of configs/model (%(default)s)")
    parser.add_argument("--steps", type=int, default=48, help="steps in a block, with one picture (%(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="blocks of each (%(default)s)")
    parser.add_argument(
        "--no-memory", action="store_true", help="leave out the memory, which is measured on Linux only"
    )
    parser.add_argument("--profile", action="store_true", help="the operators of a step of (b) instead of its time")
    parser.add_argument("--quality", action="store_true", help="time to quality instead of the time of a step")
    parser.add_argument("--published-steps", type=int, default=6000, help="with --quality: steps of (a) (%(default)s)")
    parser.add_argument(
        "--blocks", type=int, default=150, help="with --quality: turns and points of a curve (%(default)s)"
    )
    parser.add_argument("--json", type=Path, help="write every figure to this file")
    parser.add_argument("overrides", nargs="*", help="overrides of this project's run, such as model.depth=5")
    arguments = parser.parse_intermixed_args()
    try:
        width, height = map(int, arguments.size.split("x"))
    except ValueError:
        parser.error(f"--size {arguments.size} is no width and height, such as 384x256")
    if width % 64 or height % 64 or min(width, height) < 64:
        parser.error(f"--size {arguments.size}: (a) at half the size needs sides that are multiples of 64")
    overrides = [f"model={arguments.model}", *arguments.overrides]
    seed_everything(0, verbose=False)
    with tempfile.TemporaryDirectory() as folder:
        if arguments.profile:
            measured, report = profile(width, height, overrides, Path(folder)), report_profile
        elif arguments.quality:
            measured, report = race(overrides, arguments.published_steps, arguments.blocks, Path(folder)), report_race
        else:
            measured = time_steps(
                width, height, arguments.steps, arguments.repeats, overrides, Path(folder), {"b bare": bare}
            )
            measured["floor"] = floor(width, height, overrides, Path(folder))
            for variant in measured["milliseconds"] if not arguments.no_memory else ():
                measured["bytes_per_pixel"][variant] = bytes_per_pixel(variant, width, height, overrides)
            report = report_steps
    print(report(measured))  # pyright: ignore[reportArgumentType]
    if arguments.json:
        write_json(arguments.json, measured)


if __name__ == "__main__":
    main()

"""What a run leaves behind; each callback owns one artefact and reads what the step has already computed."""

import json
import logging
import math
import signal
import sys
import time
from pathlib import Path
from textwrap import indent
from typing import Any

import numpy as np
import torch
from PIL import Image
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import TQDMProgressBar
from pytorch_lightning.loggers import TensorBoardLogger
from tensorboard.compat.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]
from torch import Tensor, nn
from torch.random import fork_rng
from torch.utils.tensorboard.writer import SummaryWriter

from dip import formats, images
from dip.data import Sample, SingleSample
from dip.files import whole, write
from dip.metrics import biharmonic, psnr, ssim, texture_distance
from dip.module import DeepImagePrior
from dip.stopping import at_its_best, copied, rules
from dip.texture import Quilting

log = logging.getLogger(__name__)
# What asks a run to end; Windows has no SIGUSR1.
SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2") if hasattr(signal, name)]

# TensorBoard's custom scalars: a chart for each title, with all curves whose tag matches.
CHARTS = {"Hole against known pixels": {"PSNR, dB": ["Multiline", ["^psnr_"]], "loss": ["Multiline", ["^loss"]]}}


def growing_steps(last: int, count: int) -> set[int]:
    """About `count` of the steps 1 to `last`, dense early, when the picture changes most; both ends are among them."""
    return {round(last ** (i / max(count - 1, 1))) for i in range(count)} | {last}


class Progress(TQDMProgressBar):
    """Loss and PSNR every few steps, in the progress bar and in TensorBoard.

    Where no terminal is attached, lines in the log take the bar's place, about 20 in all.
    """

    def __init__(self, every_steps: int):
        if every_steps < 1:
            raise ValueError(f"callbacks.progress.every_steps={every_steps}, but it is at least 1")
        super().__init__(refresh_rate=every_steps)
        self.every_steps = every_steps
        self.latest: dict[str, float] = {}
        if not sys.stdout.isatty():
            self.disable()

    def on_train_start(self, *args: Any) -> None:
        super().on_train_start(*args)
        bar, done = self.train_progress_bar, self.trainer.global_step
        bar.total, bar.initial, bar.n = self.trainer.max_steps, done, done
        bar.set_description("Repairing")

    def on_train_epoch_start(self, trainer: Trainer, *args: Any) -> None:
        """Nothing: a run that goes on is within its one epoch already."""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Sample, batch_idx: int
    ) -> None:
        step, last = trainer.global_step, trainer.max_steps
        if step % self.every_steps == 0 or step in (1, last) or trainer.should_stop:
            self.latest = {"loss": outputs["loss"].item(), **measure(outputs["picture"], batch)}
            for logger in trainer.loggers:
                logger.log_metrics(self.latest, step=step)
            if self.is_disabled and (step == last or step % max(last // 20, 1) < self.every_steps):
                log.info("step %d of %d: %s", step, last, "  ".join(map(" ".join, self.readable().items())))
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        return {**self.readable()}

    def readable(self) -> dict[str, str]:
        return {name: f"{value:.5f}" if name == "loss" else f"{value:.1f} dB" for name, value in self.latest.items()}


def measure(output: Tensor, sample: Sample) -> dict[str, float]:
    """psnr_known and, where the truth is known, psnr_hole of the raw output, in dB."""
    measured = {"psnr_known": psnr(output, sample.target, sample.fitted.bool())}
    if sample.truth is not None:
        measured["psnr_hole"] = psnr(output, sample.truth, ~sample.mask.bool())
    return measured


def show(trainer: Trainer, tag: str, picture: Tensor, step: int) -> None:
    """Adds a picture (1, C, H, W) to TensorBoard."""
    for board in boards(trainer):
        board.add_image(tag, images.visible(picture)[0], step)


def boards(trainer: Trainer) -> list[SummaryWriter]:
    return [logger.experiment for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]


class Images(Callback):
    """TensorBoard pictures: the masked picture once, raw output and composite at about `count` growing steps."""

    def __init__(self, count: int):
        if count < 1:
            raise ValueError(f"callbacks.images.count={count}, but it is 1 or more; callbacks.images=null writes none")
        self.count = count

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.steps = growing_steps(trainer.max_steps, self.count)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Sample, batch_idx: int
    ) -> None:
        step = trainer.global_step
        if step not in self.steps and not trainer.should_stop:
            return
        pictures = {"output": outputs["picture"], "composite": batch.composite(outputs["picture"])}
        if step == 1:
            pictures["masked"] = batch.target
        for tag, picture in pictures.items():
            show(trainer, tag, picture, step)


class Animation(Callback):
    """training.gif: how the raw output forms, in about `count` frames, no side longer than `max_side` pixels."""

    def __init__(self, count: int, max_side: int, frame_ms: int, last_ms: int):
        for key, value in {"count": count, "max_side": max_side, "frame_ms": frame_ms, "last_ms": last_ms}.items():
            if value < 1:
                raise ValueError(
                    f"callbacks.animation.{key}={value}, but it is 1 or more; callbacks.animation=null writes none"
                )
        self.count = count
        self.max_side = max_side
        self.frame_ms = frame_ms
        self.last_ms = last_ms
        self.frames: list[Image.Image] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.steps = growing_steps(trainer.max_steps, self.count)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Sample, batch_idx: int
    ) -> None:
        if trainer.global_step in self.steps or trainer.should_stop:
            frame = images.to_pil(outputs["picture"])
            frame.thumbnail((self.max_side, self.max_side))
            self.frames.append(frame)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        path = Path(trainer.default_root_dir, "training.gif")
        images.animation(self.frames, path, self.frame_ms, self.last_ms)
        # Its bytes as a picture, which the page plays; TensorBoard's own videos need moviepy 1.
        width, height = self.frames[0].size
        gif = Summary.Image(width=width, height=height, colorspace=3, encoded_image_string=path.read_bytes())
        summary = Summary(value=[Summary.Value(tag="animation", image=gif)])
        for board in boards(trainer):
            board._get_file_writer().add_summary(summary, trainer.global_step)

    def state_dict(self) -> dict[str, Any]:
        return {"frames": [torch.from_numpy(np.array(frame)) for frame in self.frames]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.frames = [Image.fromarray(frame.numpy()) for frame in state_dict["frames"]]


class Interruption(Callback):
    """Ctrl-C, or a cluster's SIGTERM, SIGUSR1 or SIGUSR2, ends the run after the step in hand, with all results.

    A second Ctrl-C ends it at once. Stands before the callbacks that act on the last step. `received` is the signal.
    One that had a handler before, such as submitit's, does not end the run: the handler gets it after a checkpoint.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self.before: dict[signal.Signals, Any] = {}
        self.theirs: list[signal.Signals] = []  # received, and still to be handed on

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self.before = {number: signal.signal(number, self.receive) for number in SIGNALS}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for number in SIGNALS[1:]:  # Lightning has put handlers of its own in their place
            signal.signal(number, self.receive)

    def receive(self, number: int, frame: Any) -> None:
        received = signal.Signals(number)
        if self.before[received] not in (signal.SIG_DFL, signal.SIG_IGN, signal.default_int_handler, None):
            self.theirs.append(received)
            return
        if self.received is None:
            log.warning("Stopping after this step and writing the results; Ctrl-C again ends at once.")
        self.received = self.received or received
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Sample, batch_idx: int
    ) -> None:
        trainer.should_stop = trainer.should_stop or self.received is not None

    def hand_on(self) -> None:
        """Gives what belongs to others to them; they may end the process."""
        while self.theirs:
            number = self.theirs.pop()
            self.before[number](number, None)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self.restore()

    def restore(self) -> None:
        """Gives the signals back; needed after an exception, where Lightning calls no teardown."""
        for number, handler in self.before.items():
            signal.signal(number, handler)


class Judging(nn.Module):
    """(target, mask) -> (loss, output) of a prior: a module of its own, since a capture needs its parameters."""

    def __init__(self, prior: DeepImagePrior):
        super().__init__()
        self.prior = prior

    def forward(self, target: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        return self.prior.judge(target, mask)


class CudaGraph(Callback):
    """Captures forward and backward pass before the first step, and replays them: two launches instead of hundreds.

    On a GPU a step of this network waits for its launches more than for its arithmetic. The optimizer stays outside,
    so that its learning rate may change. Does nothing without CUDA; what cannot be captured, such as a network that
    waits for the GPU, runs as it is, and the log says so. The capture changes neither buffers nor generators.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.tried = False

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Sample, batch_idx: int) -> None:
        assert isinstance(pl_module, DeepImagePrior)
        if self.tried or batch.target.device.type != "cuda":
            return
        self.tried = True
        judging = Judging(pl_module)
        buffers = [(buffer, buffer.clone()) for buffer in pl_module.buffers()]
        try:
            with fork_rng(range(torch.cuda.device_count())), trainer.precision_plugin.forward_context():
                torch.set_autocast_cache_enabled(False)  # a cast from before the capture would never be renewed
                torch.cuda.make_graphed_callables(judging, (batch.target, batch.mask), allow_unused_input=True)
        except RuntimeError as error:
            log.warning("The step runs without a CUDA graph, which is slower: %s", " ".join(str(error).split()))
        else:
            pl_module.judge = judging.forward
        for buffer, before in buffers:
            buffer.copy_(before)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        vars(pl_module).pop("judge", None)  # frees the graph, and the module can be copied and pickled again


class WeightJitter(Callback):
    """Gaussian noise added to the weights of every convolution before each step, and left there.

    share: its standard deviation, as a share of that of the layer's weights (Ulyanov et al., arXiv:1711.10925: 1/50 for
    large holes; in their code the noise is computed and thrown away). 0 is none.
    """

    def __init__(self, share: float):
        if share < 0:
            raise ValueError(f"callbacks.weight_jitter.share={share}, but it is a standard deviation; 0 is none")
        self.share = share

    @torch.no_grad()
    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Sample, batch_idx: int) -> None:
        if self.share == 0:
            return
        for layer in pl_module.model.modules():  # pyright: ignore[reportAttributeAccessIssue]
            if isinstance(layer, nn.Conv2d):
                weight = layer.weight
                weight.add_(torch.randn(weight.shape, device=weight.device) * (self.share * weight.std()))


class Langevin(Callback):
    """Gaussian noise added to the network's convolution weights after each step: Langevin dynamics.

    noise: its standard deviation over the learning rate. For plain gradient descent that is noise of this size in the
    gradient (Welling and Teh 2011); Cheng et al. (arXiv:1904.07457) add it after Adam's step. 0 is none.
    """

    def __init__(self, noise: float):
        if noise < 0:
            raise ValueError(f"callbacks.langevin.noise={noise}, but it is a standard deviation; 0 is none")
        self.noise = noise

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Sample, batch_idx: int
    ) -> None:
        if self.noise == 0:
            return
        (optimizer,) = trainer.optimizers
        for weight in pl_module.model.parameters():  # pyright: ignore[reportAttributeAccessIssue]
            if weight.requires_grad and weight.ndim == 4:
                noise = torch.randn(weight.shape, device=weight.device)
                weight.add_(noise, alpha=self.noise * optimizer.param_groups[0]["lr"])


class BackTracking(Callback):
    """Back to the last good weights where the known pixels have fallen far since the check before, or are no numbers.

    drop_db: the fall in PSNR that is too far (Ulyanov et al., arXiv:1711.10925, in their code: 5 dB in 50 steps); None
    never looks. After a fall the optimizer's state stays, as there; what is no number empties it. From the second time
    on the learning rate is multiplied by `lr_factor`; after `at_most` times the run ends, as `diverged` says.
    """

    def __init__(self, drop_db: float | None, every_steps: int, lr_factor: float, at_most: int):
        if drop_db is not None and drop_db <= 0:
            raise ValueError(f"callbacks.back_tracking.drop_db={drop_db}, but it is a fall in dB; null for none")
        if every_steps < 1:
            raise ValueError(f"callbacks.back_tracking.every_steps={every_steps}, but it is at least 1")
        if not 0 < lr_factor <= 1:
            raise ValueError(f"callbacks.back_tracking.lr_factor={lr_factor}, but it is above 0, and 1 at most")
        if at_most < 1:
            raise ValueError(f"callbacks.back_tracking.at_most={at_most}, but it is at least 1")
        self.drop_db = drop_db
        self.every_steps = every_steps
        self.lr_factor = lr_factor
        self.at_most = at_most
        self.held_out = False
        self.psnr_known = -math.inf
        self.times = 0
        # The last weights may have been broken by the step that has just been checked.
        self.good: dict[str, Tensor] | None = None
        self.latest: dict[str, Tensor] | None = None
        self.diverged: str | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.good is None and self.drop_db is not None:
            self.good, self.latest = copied(pl_module, None), copied(pl_module, None)

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Sample, batch_idx: int
    ) -> None:
        if self.drop_db is None or trainer.global_step % self.every_steps:
            return
        others = self.held_out != (batch.held_out is not None)
        if others:  # the loss sees other pixels from now on
            self.held_out, self.psnr_known = not self.held_out, -math.inf
        now = psnr(outputs["output"], batch.target, batch.fitted.bool())
        if not math.isfinite(outputs["loss"].item()):
            now = math.nan
        if math.isnan(now) or self.psnr_known - now > self.drop_db:
            self.go_back(trainer, pl_module, now)
        else:
            self.psnr_known = now
            self.good, self.latest = self.latest, copied(pl_module, self.good)
            if others:  # and the weights before may be those of another state
                self.good = copied(pl_module, self.good)

    def go_back(self, trainer: Trainer, pl_module: LightningModule, now: float) -> None:
        assert self.good is not None
        self.times += 1
        (optimizer,) = trainer.optimizers
        if math.isnan(now):
            optimizer.state.clear()
        if self.times > 1:
            for group in optimizer.param_groups:
                group["lr"] *= self.lr_factor
        log.warning(
            "step %d: back to the last good weights, as the known pixels went from %.1f to %.1f dB; learning rate %g",
            *(trainer.global_step, self.psnr_known, now, optimizer.param_groups[0]["lr"]),
        )
        pl_module.load_state_dict(self.good)
        self.latest = copied(pl_module, self.latest)
        if self.times >= self.at_most:
            self.diverged = f"the known pixels broke up {self.times} times, the last time at step {trainer.global_step}"
            trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        return {key: getattr(self, key) for key in ("held_out", "psnr_known", "times", "good", "latest")}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        vars(self).update(state_dict)


class Supervision(Callback):
    """supervision.png, and in TensorBoard: the hole in grey, and in magenta what of it no known pixel reaches.

    `reached` is set before training: where the network's input gets gradient, (1, 1, H, W), boolean.
    """

    reached: Tensor

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.global_step > 0:
            return  # a run that goes on has it already
        sample = trainer.datamodule.sample  # pyright: ignore[reportAttributeAccessIssue]
        colour = torch.tensor([1.0, 0.0, 1.0])[:, None, None]
        hole = torch.where(self.reached, 0.5, colour)
        picture = torch.where(sample.mask.bool(), images.visible(sample.target), hole)
        images.save(images.to_pil(picture), Path(trainer.default_root_dir, "supervision.png"))
        show(trainer, "supervision", picture, 0)


class Uncertainty(Callback):
    """uncertainty.png of a run that knows how uncertain it is: `DeepImagePrior.deviation`, the largest white."""

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        with at_its_best(trainer, pl_module):
            deviation = pl_module.deviation()  # pyright: ignore[reportCallIssue]
        if deviation is None:
            return
        picture = uncertain(deviation, Path(trainer.default_root_dir))
        show(trainer, "uncertainty", picture, trainer.global_step)


def uncertain(deviation: Tensor, folder: Path) -> Tensor:
    """Writes uncertainty.png, and returns it: a standard deviation (1, 1, H, W), the largest white."""
    largest = deviation.max().item()
    log.info("uncertainty.png: white is a standard deviation of %.4f, where white in the picture is 1", largest)
    picture = deviation / max(largest, 1e-12)
    images.save(images.to_pil(picture), folder / "uncertainty.png")
    return picture


def stopped_by(trainer: Trainer) -> str:
    """What has ended the run: its falling apart, a rule, max_steps, or an interrupt, after which it can go on."""
    if any(isinstance(callback, BackTracking) and callback.diverged for callback in trainer.callbacks):  # pyright: ignore[reportAttributeAccessIssue]
        return "diverged"
    fired = [rule.name for rule in rules(trainer) if rule.ends_at is not None and trainer.global_step >= rule.ends_at]
    return fired[0] if fired else "max_steps" if trainer.global_step == trainer.max_steps else "interrupt"


class Results(Callback):
    """Pictures and `metrics.json` in the run's folder; `metrics` is what that file holds.

    `texture`, set before training, gives holes theirs; `raw_file` is where the raw output goes as a tensor as well,
    with its uncertainty.
    The pictures are what the checkpoint stands for: drawn after the last update and without the input's noise, or the
    average of the run. `put` says where the repaired picture goes as well.
    """

    path: Path | None = None
    overwrite = False
    texture: Quilting | None = None
    raw_file: Path | None = None
    seconds_before = 0.0  # what the run took until the checkpoint that it goes on from

    def put(self, path: str | None, overwrite: bool) -> "Results":
        """Makes the repaired picture go to `path` as well, by its ending; over a file only with `overwrite`."""
        self.path = None if path is None else Path(path).expanduser()
        self.overwrite = overwrite
        return self

    def check(self, picture: Image.Image) -> None:
        """Raises ValueError where a repaired `picture` could not be written."""
        if self.path is not None:
            formats.check_output(picture, self.path, self.overwrite)

    def write(self, picture: Image.Image, folder: Path) -> None:
        """The repaired picture, in the run's folder and where the user wants it; `file` is the last of them."""
        self.file = formats.write(picture, folder / f"inpainted{formats.lossless_ending(picture)}")
        if self.path is not None and self.path.exists() and not self.overwrite:
            log.error("output.path=%s is there since the run began, and stays; the result is %s", self.path, self.file)
        elif self.path is not None:
            self.file = formats.write(picture, self.path)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.started = time.monotonic() - self.seconds_before

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Sample, batch_idx: int
    ) -> None:
        self.loss = outputs["loss"]

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        seconds = time.monotonic() - self.started
        with at_its_best(trainer, pl_module), trainer.precision_plugin.forward_context():
            output = pl_module.draw().float().cpu()  # pyright: ignore[reportCallIssue]
            deviation = pl_module.deviation()  # pyright: ignore[reportCallIssue]
        if self.raw_file is not None:
            raw = {"output": output} | ({} if deviation is None else {"deviation": deviation.cpu()})
            with whole(self.raw_file) as file:
                torch.save(raw, file)
        run: dict[str, Any] = {
            "steps": trainer.global_step,
            "seconds": round(seconds, 2),
            "stopped_by": stopped_by(trainer),
            "loss": self.loss.item(),
        }
        for rule in rules(trainer):
            run |= rule.metrics()
        self.leave(trainer.datamodule, output, Path(trainer.default_root_dir), run)  # pyright: ignore[reportAttributeAccessIssue]

    def leave(self, data: SingleSample, output: Tensor, folder: Path, run: dict[str, Any]) -> None:
        """All files of a result. output: (1, C, H, W), at the sample's size; run: what is known of how it was reached.

        Where a hole gets texture, the output as it was is a result too, and all else is of the one with texture.
        """
        smooth, started = None, time.monotonic()
        if self.texture is not None and self.texture.holes:
            count = len(self.texture.holes)
            log.info(
                "%s in an even texture, which goes on there; before_texture.png is without it.",
                "1 hole lies" if count == 1 else f"{count} holes lie",
            )
            smooth, output = output, self.texture(output)
            run = {**run, "seconds": round(run["seconds"] + time.monotonic() - started, 2)}
        sample, full = data.sample, data.enlarged(output)
        self.write(data.restored(output), folder)
        drawn: dict[str, Any] = {"region": list(data.box), "drawn_at": list(reversed(output.shape[-2:]))}
        drawn["texture_distance"] = texture_distance(data.original.composite(full), data.original.mask)
        self.metrics = {**run, **drawn, **measure(full, data.original)}
        pictures = {"masked": sample.target, "output": output, "composite": sample.composite(output)}
        if smooth is not None:
            pictures["before_texture"] = smooth
        if sample.truth is not None:
            baseline = biharmonic(sample.target, sample.mask)
            self.metrics |= compare(full, data.original)
            self.metrics["baseline"] = with_texture(data.enlarged(baseline), data.original)
            if smooth is not None:
                self.metrics["before_texture"] = with_texture(data.enlarged(smooth), data.original)
            pictures |= {"biharmonic": baseline, "truth": sample.truth}
        for name, picture in pictures.items():
            images.save(images.to_pil(picture), folder / f"{name}.png")
        labels = {"composite": "inpainted", "biharmonic": "biharmonic (baseline)", "before_texture": "before texture"}
        row = {labels.get(name, name): picture for name, picture in pictures.items()}
        images.save(images.side_by_side(row), folder / "comparison.png")
        write(folder / "metrics.json", json.dumps(self.metrics, indent=2) + "\n")

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": time.monotonic() - self.started}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seconds_before = state_dict["seconds"]


class Overview(Callback):
    """TensorBoard's other tabs: the configuration as text, curves of hole and known pixels in one chart, and HParams.

    `configuration` is set before training, and so is `turned`: what HParams shows beside the final measures, the keys
    that a sweep turns and their values, plain ones; without any it shows nothing. Stands after the one that measures.
    """

    configuration: str

    def __init__(self) -> None:
        self.turned: dict[str, Any] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        code = indent(self.configuration, 4 * " ")  # in Markdown
        for board in boards(trainer):
            board.add_text("configuration", code, trainer.global_step)
            if trainer.global_step == 0:
                board.add_custom_scalars(CHARTS)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        measured = json.loads(Path(trainer.default_root_dir, "metrics.json").read_text())
        if not self.turned or measured["stopped_by"] == "interrupt":
            return  # nothing is final yet
        # No seconds: a run that was killed and went on has the same curves as one that was not.
        measures = [key for key, value in measured.items() if is_number(value) and key != "seconds"]
        measures.sort(key=lambda key: not key.startswith(("psnr", "ssim")))  # the page shows the first five
        final = {f"result/{key}": measured[key] for key in measures}
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.log_hyperparams(self.turned, final, trainer.global_step)

    def state_dict(self) -> dict[str, Any]:
        return {"turned": self.turned}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.turned = state_dict["turned"]


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def compare(output: Tensor, sample: Sample) -> dict[str, float]:
    """The output against the truth: in the hole, over all pixels, and with the known pixels pasted back (dB)."""
    assert sample.truth is not None
    hole = ~sample.mask.bool()
    everywhere = torch.ones_like(hole)
    return {
        "psnr_hole": psnr(output, sample.truth, hole),
        "ssim_hole": ssim(output, sample.truth, hole),
        "psnr_all": psnr(output, sample.truth, everywhere),
        "psnr_composite": psnr(sample.composite(output), sample.truth, everywhere),
    }


def with_texture(output: Tensor, sample: Sample) -> dict[str, float | None]:
    """The same, and `texture_distance`."""
    return {**compare(output, sample), "texture_distance": texture_distance(sample.composite(output), sample.mask)}

"""From a configuration to a repaired picture: one run, or the parts and members of several."""

import json
import logging
import math
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple, TypeVar

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from dip import images, regions
from dip.averages import deviation
from dip.callbacks import BackTracking, Interruption, Results, Supervision, compare, uncertain
from dip.checkpoints import LAST
from dip.command import Interrupted, Refused
from dip.data import Sample, SingleSample
from dip.experiment import (
    Experiment,
    build,
    check,
    construct,
    measured,
    out_of_memory,
)
from dip.files import write
from dip.fill import CoarseFill
from dip.formats import open_picture
from dip.module import DeepImagePrior
from dip.regions import Box, depth, kinds
from dip.resume import begun_so, is_done
from dip.schema import to_be_measured
from dip.supervision import reached

log = logging.getLogger(__name__)
T = TypeVar("T")
LOWER = (("data", "max_side"), ("model", "depth"), ("model", "widths"))  # what takes memory
RAW = "output.pt"  # of a run whose mean with others is the result: what it has drawn, and how uncertain that is
LARGE = 1_000_000  # pixels; about 1.6 GB of memory in bfloat16, 2.3 GB in float32


def begun(folder: Path, go_on: bool) -> bool:
    """Whether this part of a run that goes on had begun."""
    return go_on and (folder / "config.yaml").exists()


def restore(cfg: DictConfig, folder: Path, go_on: bool = False) -> dict[str, Any]:
    """Repairs one picture; where its holes are far apart or of two kinds, one part after another.

    Raises Refused for bad input and a lack of memory or room.
    """
    with lacking(cfg, folder):
        refusing(check, cfg, folder, go_on)
        data = refusing(construct, cfg, "data")
        each = list(parts(cfg, data))
        if go_on:
            check_parts(folder, {part.name for part in each} if len(each) > 1 else set())
        if len(each) > 1:
            return restore_parts(cfg, folder, data, each, go_on)
        return restore_region(cfg, folder, data, go_on)


class Part(NamedTuple):
    """A region of a picture, and those holes in it that are of one kind."""

    name: str
    cfg: DictConfig
    box: Box
    pixels: Image.Image  # of mode "1" and the box's size: what of it the part repairs


def parts(cfg: DictConfig, data: SingleSample) -> Iterator[Part]:
    for number, box in enumerate(data.boxes, 1):
        within = data.damaged.cut(box).mask
        height, width = within.shape[-2:]
        worked = regions.reduced_mask(within, regions.reduced_size(height, width, data.max_side))
        found = kinds(worked, cfg.large_from) if to_be_measured(cfg) else {cfg.hole_kind: worked < 1}
        for kind, region in found.items():
            own = F.interpolate(region.float(), size=(height, width), mode="nearest-exact").bool() & (within < 1)
            part = cfg.copy()
            part.output.path, part.hole_kind = None, kind
            if box != (0, 0, *data.damaged.picture.size):
                part.data.crop = list(box)
            names = [f"region_{number}"] * (len(data.boxes) > 1) + [kind] * (len(found) > 1)
            yield Part("_".join(names), part, box, Image.fromarray(own[0, 0].numpy()))


def restore_parts(cfg: DictConfig, folder: Path, data: SingleSample, each: list[Part], go_on: bool) -> dict[str, Any]:
    """Repairs each part in a folder of its own; the whole picture, as far as it is repaired, is in `folder`."""
    if complete(cfg, folder, go_on):
        return results_before(folder)
    results = Results().put(**cfg.output)
    picture = data.damaged.picture.copy()
    refusing(results.check, picture)
    log.info("%d parts, one by one: regions far from each other, or thin and large holes", len(each))
    metrics: dict[str, Any] = {}
    done = 0
    try:
        with told(cfg, folder):
            for part in each:
                within = folder / part.name
                restore_region(part.cfg, within, None, begun(within, go_on))
                done += 1
    except KeyboardInterrupt as interrupt:
        raise interrupted(interrupt, f"{done} of {len(each)} parts are repaired", cfg, folder) from None
    finally:  # results after Ctrl-C too
        own = [results_before(folder / part.name) for part in each]
        if any(own):
            for part in each:
                for file in (folder / part.name).glob("inpainted.*"):
                    picture.paste(open_picture(file, "resume"), part.box[:2], part.pixels)
            results.write(picture, folder)
            found = {part.name: {**run, "region": list(part.box)} for part, run in zip(each, own, strict=True) if run}
            by = stopped_by(own) if done == len(each) else "interrupt"
            metrics = {"stopped_by": by, **measured_whole(picture, data), "parts": found}
            write(folder / "metrics.json", json.dumps(metrics, indent=2) + "\n")
    log.info("%s", results.file)
    return metrics


def check_parts(folder: Path, wanted: set[str]) -> None:
    """Raises Refused where the run in `folder` was begun with other parts, as with another data.crop."""
    there = {path.parent.name for name in ("region_*", "thin", "large") for path in folder.glob(f"{name}/config.yaml")}
    whole = any((folder / name).exists() for name in (LAST, "output.png", "member_1", "fill"))
    if there - wanted or (wanted and whole):
        raise Refused(f"the run in {folder} has other parts; give data.image, data.mask and data.crop as they were")


def measured_whole(picture: Image.Image, data: SingleSample) -> dict[str, Any]:
    """What metrics.json holds of a picture that is put together from parts, with the known pixels as they are."""
    if data.original.truth is None:
        return {}
    found = compare(images.from_pil(picture.crop(data.box), data.levels), data.original)
    return {"region": list(data.box), **{key: found[key] for key in ("psnr_hole", "ssim_hole", "psnr_composite")}}


def restore_region(
    cfg: DictConfig,
    folder: Path,
    data: SingleSample | None = None,
    go_on: bool = False,
    watch: Callable[[Experiment], None] | None = None,
) -> dict[str, Any]:
    """Repairs what has holes of one kind: in one run, or as the mean of `cfg.members` runs with other seeds.

    watch: is shown each run before it starts.
    """
    if data is None:
        data = refusing(construct, cfg, "data")
    assert data is not None
    cfg = measured(cfg, data)
    if cfg.members > 1:
        if complete(cfg, folder, go_on):
            return results_before(folder)
        return restore_members(cfg, folder, data, go_on, watch).metrics
    experiment = refusing(build, cfg, folder, data, go_on)
    if watch is not None:
        watch(experiment)
    return repair(experiment, folder)


def restore_members(
    cfg: DictConfig,
    folder: Path,
    data: SingleSample,
    go_on: bool,
    watch: Callable[[Experiment], None] | None = None,
) -> "Together":
    """Each run has a folder of its own; their mean, as far as they have come, is in `folder`.

    All keep to the same colours of large holes: more runs find them than would for one run, and so they are surer.
    """
    picture = {"target": data.sample.target, "mask": data.sample.mask}
    results = Results().put(**cfg.output)
    refusing(results.check, data.damaged.picture)
    results.texture, fill = refusing(construct, cfg, "texture", **picture), refusing(construct, cfg, "fill", **picture)
    folders = [folder / f"member_{number + 1}" for number in range(cfg.members)]
    colours, done = None, 0
    try:
        with ExitStack() as saved:
            for number, within in enumerate(folders):
                member = cfg.copy()
                member.members, member.output.path, member.texture = 1, None, None
                member.seed = (cfg.seed * cfg.members + number) % 2**32  # no other seed has any of these
                experiment = refusing(build, member, within, None, begun(within, go_on))
                if number == 0:  # most of what is refused is refused by now
                    saved.enter_context(told(cfg, folder, resolve=True))
                only(experiment.callbacks, Results).raw_file = within / RAW
                if watch is not None:
                    watch(experiment)
                if fill is not None and fill.holds and colours is None:
                    colours = find_colours(cfg, fill, results, folder, go_on)
                log.info("run %d of %d, whose mean is the result", number + 1, cfg.members)
                repair(experiment, within, colours)
                done += 1
    except KeyboardInterrupt as interrupt:
        raise interrupted(interrupt, f"{done} of {cfg.members} runs are done", cfg, folder) from None
    finally:  # results after Ctrl-C too
        raw = [torch.load(within / RAW, weights_only=True) for within in folders if (within / RAW).exists()]
        outputs = [own["output"] for own in raw]
        if raw:
            together = torch.cat(outputs)
            found = {within.name: own for within in folders if (own := results_before(within))}
            run = summary(found, done == cfg.members, results.seconds_before)
            uncertain(deviation_together(together, [own["deviation"] for own in raw if "deviation" in own]), folder)
            results.leave(data, together.mean(dim=0, keepdim=True), folder, run)
    log.info(table(results.metrics, results.file))
    return Together(torch.cat(outputs), results.metrics)


class Together(NamedTuple):
    """What several runs have come to."""

    outputs: torch.Tensor  # (N, C, H, W)
    metrics: dict[str, Any]  # of their mean


def deviation_together(outputs: torch.Tensor, deviations: list[torch.Tensor]) -> torch.Tensor:
    """The standard deviation of all that several runs have drawn, (1, 1, H, W), by the law of total variance.

    outputs: the result of each, (N, C, H, W); deviations: of each by itself, (1, 1, H, W), as far as it has one.
    """
    variance = deviation(outputs.var(dim=0, correction=0, keepdim=True)).square()
    if deviations:
        variance += torch.cat(deviations).square().mean(dim=0, keepdim=True)
    return variance.sqrt()


def summary(members: dict[str, Any], complete: bool, seconds_before: float) -> dict[str, Any]:
    """What metrics.json holds of several runs as one; without `complete` there is more to come."""
    each = list(members.values())
    found: dict[str, Any] = {key: sum(member[key] for member in each) for key in ("steps", "seconds")}
    found["seconds"] = round(seconds_before + found["seconds"], 2)
    found["stopped_by"] = stopped_by(each) if complete else "interrupt"
    for key in ("psnr_held_out", "psnr_held_out_biharmonic"):
        if each and all(key in member for member in each):
            found[key] = fmean(member[key] for member in each)
    return {**found, "members": members}


def stopped_by(each: list[dict[str, Any]]) -> str:
    """What has stopped several runs, by the results of each."""
    return ", ".join(sorted({run["stopped_by"] for run in each}))


def interrupted(interrupt: KeyboardInterrupt, said: str, cfg: DictConfig, folder: Path) -> Interrupted:
    """What ends several runs, wherever the signal has come."""
    return Interrupted(getattr(interrupt, "received", signal.SIGINT), f"{said}; {what_goes_on(cfg, folder)}")


def what_goes_on(cfg: DictConfig, folder: Path) -> str:
    """The keys with which a run goes on, also where its results so far are at output.path."""
    over = " output.overwrite=true" if cfg.output.path is not None and not cfg.output.overwrite else ""
    return f"resume={folder}{over} goes on"


def complete(cfg: DictConfig, folder: Path, go_on: bool) -> bool:
    """Whether several runs in `folder` are done, and nothing that they are told anew would change what they leave."""
    if not go_on or not is_done(results_before(folder)) or not refusing(begun_so, folder, cfg):
        return False
    if cfg.output.path is not None and not Path(cfg.output.path).expanduser().exists():
        return False
    log.info("The run in %s is complete.", folder)
    return True


@contextmanager
def told(cfg: DictConfig, folder: Path, resolve: bool = False) -> Iterator[None]:
    """Writes config.yaml; where what it says is refused, it is again as it was.

    Results that are there from before are not yet those that it leads to.
    """
    path = folder / "config.yaml"
    before = path.read_text() if path.exists() else None
    if results := results_before(folder):
        leave_unfinished(results, folder)
    write(path, OmegaConf.to_yaml(cfg, resolve=resolve))
    try:
        yield
    except Refused:
        if before is not None:
            write(path, before)
        raise


def refusing(function: Callable[..., T], *arguments: Any, **more: Any) -> T:
    """What the function returns; what it refuses is bad input, and not a fault."""
    try:
        return function(*arguments, **more)
    except ValueError as error:
        raise Refused(str(error)) from error


@contextmanager
def lacking(cfg: DictConfig, folder: Path) -> Iterator[None]:
    """Raises Refused where memory, room on the disk or a permission is missing, and says what helps."""
    try:
        yield
    except OSError as error:
        goes_on = f"; resume={folder} goes on from the last checkpoint" if (folder / LAST).exists() else ""
        raise Refused(f"{error.filename or folder}: {error.strerror or error}{goes_on}") from error
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        lower = [f"lower {part}.{key}" for part, key in LOWER if key in cfg[part]]
        if "activation_checkpointing" in cfg.model:
            lower.append("set model.activation_checkpointing=true")
        raise Refused(f"out of memory; {', or '.join(lower or ['take a smaller picture'])}") from error


def repair(experiment: Experiment, folder: Path, colours: torch.Tensor | None = None) -> dict[str, Any]:
    """Trains, and leaves every result in `folder`. Raises Interrupted after a signal, with the results written.

    colours: what the runs that find those of large holes have drawn, (N, C, h, w); without them they come first.
    """
    prior, data, trainer, callbacks, cfg, done = experiment
    results = only(callbacks, Results)
    if done is not None and (before := of_a_complete_run(experiment, folder, results)):
        return before
    # TensorBoard's logger would add an empty hparams.yaml; this file is there already.
    trainer.logger.NAME_HPARAMS_FILE = "config.yaml"  # pyright: ignore[reportAttributeAccessIssue, reportOptionalMemberAccess]
    describe(prior, data, trainer)
    if cfg.hole_kind != "auto":
        log.info("The hole is up to %.0f pixels deep: hole_kind=%s.", depth(data.sample.mask), cfg.hole_kind)
    warn_of_the_unreached(callbacks, cfg, data.sample)
    with told(cfg, folder, resolve=True):
        if prior.fill is not None:
            if colours is None:
                find_colours(cfg, prior.fill, results, folder, done is not None)
            else:
                prior.fill.keep_to(colours)
    if done is not None:
        log.info("The run goes on after step %d of %d.", done, trainer.max_steps)
    interruption = only(callbacks, Interruption)
    try:
        trainer.fit(prior, datamodule=data, ckpt_path=folder / LAST if done else None, weights_only=True)
    finally:
        interruption.restore()
    metrics = results.metrics
    log.info(table(metrics, results.file))
    if (said := only(callbacks, BackTracking).diverged) is not None:
        raise Refused(f"{said}; the results are of the last good weights; lower optimizer.lr={cfg.optimizer.lr}")
    if interruption.received is not None:
        said = f"the results of {metrics['steps']} steps are written; {what_goes_on(cfg, folder)}"
        raise Interrupted(interruption.received, said)
    return metrics


def of_a_complete_run(experiment: Experiment, folder: Path, results: Results) -> dict[str, Any]:
    """What a run that goes on has in metrics.json where there is nothing more to do, and {} otherwise.

    Its result goes to output.path where it is not yet. Raises Refused for what cannot go on.
    """
    _, data, trainer, _, cfg, done = experiment
    assert done is not None
    before = results_before(folder)
    rule = before.get("stopped_by", "max_steps")
    if rule == "diverged":
        raise Refused(f"the run in {folder} has broken up; start it anew with a lower optimizer.lr={cfg.optimizer.lr}")
    if done >= trainer.max_steps and not before:
        said = f"trainer.max_steps={trainer.max_steps}, but the run in {folder} has done {done} steps"
        raise Refused(f"{said}; a larger one makes it go on")
    if done < trainer.max_steps and rule in ("max_steps", "interrupt"):
        refusing(results.check, data.damaged.picture)
        return {}
    more = "a larger trainer.max_steps makes it go on" if rule == "max_steps" else f"{rule} has stopped it"
    log.info("The run in %s is complete after %d steps; %s.", folder, done, more)
    if results.path is not None and (
        not results.path.exists() or (results.overwrite and not refusing(begun_so, folder, cfg))
    ):
        refusing(results.check, data.damaged.picture)
        results.write(open_picture(next(folder.glob("inpainted.*")), "resume"), folder)
        log.info("%s", results.file)
    return before


def find_colours(cfg: DictConfig, fill: CoarseFill, results: Results, folder: Path, go_on: bool) -> torch.Tensor:
    """Makes `fill` keep to what short runs draw, and returns that, (N, C, h, w).

    They are in folders within `folder`/fill, where a later call finds them. Raises Interrupted after a signal.
    """
    small, within = coarse(cfg, fill), folder / "fill"
    log.info("First the colours of large holes, from %d runs on the reduced picture.", small.members)
    try:
        # So that the run itself draws the same numbers when it finds them done.
        with torch.random.fork_rng(), only_warnings():
            found = restore_members(small, within, construct(small, "data"), begun(within, go_on))
    except Refused as refused:
        raise Refused(f"fill, on the reduced picture: {refused}; fill=none does without it") from refused
    except KeyboardInterrupt as interrupt:
        # What there is after Ctrl-C, unless the run is prolonged and has drawn more.
        for file in within.glob("inpainted.*") if not (folder / "output.png").exists() else ():
            results.write(open_picture(file, "resume"), folder)
            leave_unfinished(results_before(within), folder)
        raise interrupted(interrupt, "the colours of large holes are not found yet", cfg, folder) from None
    results.seconds_before = found.metrics["seconds"]
    fill.keep_to(found.outputs)
    trusts = [100 * trust for trust in fill.trusts]
    log.info(
        "As far as they agree the colours are theirs, to %.0f %%%s; the rest is biharmonic inpainting's.",
        min(trusts),
        f" to {max(trusts):.0f} % from hole to hole" if len(trusts) > 1 else "",
    )
    return found.outputs


@contextmanager
def only_warnings() -> Iterator[None]:
    """Of all that the project's modules say."""
    logger = logging.getLogger("dip")
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(before)


def coarse(cfg: DictConfig, fill: CoarseFill) -> DictConfig:
    """The configuration of the runs that find the colours: no stop, no texture, no pictures on the way.

    There are `fill.members` for each run that keeps to them. A network with a depth looks as far as it did, with a
    level less for each time that the sides are halved.
    """
    cfg = cfg.copy()
    cfg.members *= fill.members
    cfg.fill, cfg.texture, cfg.stopping, cfg.resume = None, None, None, None
    cfg.data.max_side = fill.max_side
    cfg.trainer.max_steps = max(round(fill.share * cfg.trainer.max_steps), 1)
    if cfg.average is not None:
        cfg.average.decay = fill.decay
    if "depth" in cfg.model:
        cfg.model.depth = max(cfg.model.depth - round(math.log2(fill.reduction)), 1)
    cfg.output.path = None
    for name in ("images", "animation", "supervision", "overview"):
        cfg.callbacks[name] = None
    return cfg


def results_before(folder: Path) -> dict[str, Any]:
    written = folder / "metrics.json"
    return json.loads(written.read_text()) if written.exists() else {}


def leave_unfinished(results: dict[str, Any], folder: Path) -> None:
    """Writes metrics.json of a run that can go on."""
    write(folder / "metrics.json", json.dumps({**results, "stopped_by": "interrupt"}, indent=2) + "\n")


def describe(prior: DeepImagePrior, data: SingleSample, trainer: pl.Trainer) -> None:
    _, channels, height, width = data.sample.target.shape
    log.info(
        "%dx%d, %s, hole %.1f %%; %s with %s parameters; %s, %s; results in %s",
        width,
        height,
        "grey" if channels == 1 else f"{channels} channels",
        100 * (1 - data.sample.mask.mean().item()),
        type(prior.model).__name__,
        f"{sum(parameter.numel() for parameter in prior.model.parameters()):,}",
        trainer.strategy.root_device,
        trainer.precision,
        trainer.default_root_dir,
    )
    if data.sample.mask.shape != data.damaged.mask.shape:
        left, top, right, bottom = data.box
        log.info(
            "of %dx%d pixels, the %dx%d from (%d, %d) on are drawn, at %dx%d; see data.crop and data.max_side",
            *(*data.damaged.picture.size, right - left, bottom - top, left, top, width, height),
        )
    if height * width > LARGE:
        log.warning("%.1f megapixels: time and memory grow with them; data.max_side bounds them", height * width / 1e6)


def warn_of_the_unreached(callbacks: list[pl.Callback], cfg: DictConfig, sample: Sample) -> None:
    hole = ~sample.mask.bool()
    for callback in callbacks:
        if isinstance(callback, Supervision) and (hole & ~callback.reached).any():
            log.warning(
                "%.1f %% of the hole is beyond the reach of all known pixels (supervision.png): nothing corrects what "
                "the network draws there; %s reaches all of it",
                100 * (hole & ~callback.reached).sum() / hole.sum(),
                " or ".join(smallest_cures(cfg, sample)) or "a network that looks further",
            )


def smallest_cures(cfg: DictConfig, sample: Sample) -> Iterator[str]:
    """Each key of the network that alone can make it reach the whole hole, with the smallest value that does."""
    for key, values in (("depth", range(2, 11)), ("decoder_kernel", range(3, 22, 2))):
        for value in values if key in cfg.model else ():
            other = cfg.copy()
            # How far a network looks does not depend on how many features it has.
            other.model = {**cfg.model, key: value} | ({"widths": [1]} if "widths" in cfg.model else {})
            try:
                with torch.random.fork_rng(devices=[]):  # so that the run itself draws the same numbers as ever
                    model = construct(other, "model", size=sample.mask.shape[-2:], in_channels=1, out_channels=1)
            except ValueError:
                break  # a depth that the picture is too small for
            found = reached(model, torch.zeros_like(sample.mask), sample.mask)
            if (found | sample.mask.bool()).all():
                yield f"model.{key}={value}"
                break


def only(callbacks: list[pl.Callback], kind: type[Any]) -> Any:
    (callback,) = [callback for callback in callbacks if isinstance(callback, kind)]
    return callback


def table(metrics: dict[str, Any], result: Path) -> str:
    """What a person wants to know at the end, in a few lines."""
    lines = [
        f"{metrics['steps']} steps in {metrics['seconds']:.0f} s",
        f"known pixels  {metrics['psnr_known']:6.2f} dB",
    ]
    if "baseline" in metrics:
        ours, theirs = metrics["psnr_hole"], metrics["baseline"]["psnr_hole"]
        lines += [
            f"hole          {ours:6.2f} dB   SSIM {metrics['ssim_hole']:.3f}",
            f"  biharmonic  {theirs:6.2f} dB   SSIM {metrics['baseline']['ssim_hole']:.3f}",
        ]
        if not ours > theirs:
            lines.append("Biharmonic inpainting is nearer to the truth here than this run.")
    elif metrics.get("psnr_held_out", math.inf) < metrics.get("psnr_held_out_biharmonic", -math.inf):
        ours, theirs = metrics["psnr_held_out"], metrics["psnr_held_out_biharmonic"]
        lines.append(
            f"Biharmonic inpainting does better on the known pixels held out, {theirs:.1f} to {ours:.1f} dB, and so "
            "perhaps in the hole."
        )
    return "\n".join([*lines, str(result)])

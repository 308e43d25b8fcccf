"""What a run tells the user: what it works on, what is missing, what helps, and how it ended."""

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from omegaconf import DictConfig

from dip.config.build import Experiment
from dip.config.machine import out_of_memory
from dip.config.parts import instantiate_group
from dip.errors import UserError
from dip.image.photo import Photo
from dip.prior.coverage import covered
from dip.prior.guide import ColourGuide
from dip.prior.operators.operator import picture_shape
from dip.prior.sample import Sample
from dip.results.folder import BASELINES, RunFolder
from dip.results.pictures import CoverageMap
from dip.results.result import Result

log = logging.getLogger(__name__)
LOWER = (("data", "max_side"), ("model", "depth"), ("model", "widths"))  # what takes memory
LARGE = 1_000_000  # pixels; about 1.6 GB of memory in bfloat16, 2.3 GB in float32


def describe(experiment: Experiment, photo: Photo) -> None:
    """Log what is trained, on what, and where the results go."""
    prior, trainer, sample = experiment.prior, experiment.trainer, experiment.data.sample
    _, channels, height, width = sample.target.shape
    *_, drawn_height, drawn_width = picture_shape(prior.operator, sample.target)
    size = f"{width}x{height}"
    if drawn_width != width:
        size += f" to {drawn_width}x{drawn_height}"
    hole = f", hole {100 * (1 - sample.mask.mean().item()):.1f} %" if photo.has_hole else ""
    log.info(
        "%s, %s%s%s; %s with %s parameters; %s, %s; results in %s",
        size,
        "grey" if channels == 1 else f"{channels} channels",
        hole,
        "" if prior.operator.exact else f", measured by {prior.operator}",
        type(prior.model).__name__,
        f"{sum(parameter.numel() for parameter in prior.model.parameters()):,}",
        trainer.strategy.root_device,
        trainer.precision,
        trainer.default_root_dir,
    )
    if sample.mask.shape != photo.mask.shape:
        left, top, right, bottom = photo.region
        log.info(
            "of %dx%d pixels, the run works on the %dx%d at (%d, %d), at %dx%d; see data.crop and data.max_side",
            *(*photo.picture.size, right - left, bottom - top, left, top, width, height),
        )
    if (pixels := drawn_height * drawn_width) > LARGE:
        log.warning("%.1f megapixels: time and memory grow with them; data.max_side bounds them", pixels / 1e6)


def describe_trust(guide: ColourGuide) -> None:
    """Log how far a run follows the colours that the short runs have found."""
    lowest, highest = 100 * min(guide.trusts), 100 * max(guide.trusts)
    trust = f"{lowest:.0f} %" if len(guide.trusts) == 1 else f"{lowest:.0f} % to {highest:.0f} % from hole to hole"
    log.info("The colours are the mean of these runs to %s, and biharmonic inpainting for the rest.", trust)


def warn_of_uncovered(experiment: Experiment) -> None:
    """Warn of pixels outside the receptive field of every known pixel, and name what would cover them."""
    sample = experiment.data.sample
    hole = ~sample.mask.bool()
    for callback in experiment.callbacks:
        if isinstance(callback, CoverageMap) and (uncovered := hole & ~callback.coverage).any():
            log.warning(
                "%.1f %% of the hole is outside the receptive field of every known pixel (supervision.png): nothing "
                "corrects the network there; %s covers all of it",
                100 * uncovered.sum() / hole.sum(),
                " or ".join(smallest_cures(experiment.cfg, sample)) or "a network with a larger receptive field",
            )


def smallest_cures(cfg: DictConfig, sample: Sample) -> Iterator[str]:
    """Each key of the network that alone can cover the whole hole, with the smallest value that does."""
    for key, values in (("depth", range(2, 11)), ("decoder_kernel", range(3, 22, 2))):
        for value in values if key in cfg.model else ():
            other = cfg.copy()
            # The receptive field does not depend on the number of features.
            other.model = {**cfg.model, key: value} | ({"widths": [1]} if "widths" in cfg.model else {})
            try:
                with torch.random.fork_rng(devices=[]):  # the run itself draws the same numbers as without this
                    size = sample.mask.shape[-2:]
                    model = instantiate_group(other, "model", size=size, in_channels=1, out_channels=1)
                found = covered(model, torch.zeros_like(sample.mask[:, :1]), sample.mask)
            except UserError:
                break  # a depth that the picture is too small for
            if (found | sample.mask.bool()).all():
                yield f"model.{key}={value}"
                break


@contextmanager
def explain_resource_errors(cfg: DictConfig, folder: RunFolder) -> Iterator[None]:
    """Raise UserError where memory, room on the disk or a permission is missing, and say what helps."""
    try:
        yield
    except OSError as error:
        resume = f"; resume={folder} continues from the last checkpoint" if folder.checkpoint.exists() else ""
        raise UserError(f"{error.filename or folder}: {error.strerror or error}{resume}") from error
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        lower = [f"lower {part}.{key}" for part, key in LOWER if key in cfg[part]]
        if "activation_checkpointing" in cfg.model:
            lower.append("set model.activation_checkpointing=true")
        raise UserError(f"out of memory; {', or '.join(lower or ['take a smaller picture'])}") from error


def summary_table(result: Result) -> str:
    """What a person wants to know at the end, in a few lines."""
    metrics = result.metrics
    lines = [
        f"{metrics['steps']} steps in {metrics['seconds']:.0f} s",
        f"known pixels  {metrics['psnr_known']:6.2f} dB",
    ]
    where = "hole" if "psnr_hole" in metrics else "all"
    if "psnr_hole" in metrics or "psnr_all" in metrics:
        named = "hole" if where == "hole" else "picture"
        lines.append(f"{named:<12}  {metrics[f'psnr_{where}']:6.2f} dB   SSIM {metrics[f'ssim_{where}']:.3f}")
    if "baseline" in metrics:
        baseline = metrics["baseline"]
        method, theirs = BASELINES[baseline["method"]], baseline[f"psnr_{where}"]
        lines.append(f"  {method:<10}  {theirs:6.2f} dB   SSIM {baseline[f'ssim_{where}']:.3f}")
        if not metrics[f"psnr_{where}"] > theirs:
            lines.append(f"The {method} baseline is nearer to the ground truth here than this run.")
    elif "refine" not in metrics and metrics.get("psnr_held_out", math.inf) < metrics.get(
        "psnr_held_out_biharmonic", -math.inf
    ):
        ours, theirs = metrics["psnr_held_out"], metrics["psnr_held_out_biharmonic"]
        more = " More steps may help." if metrics["stopped_by"] == "max_steps" else ""
        lines.append(
            f"Biharmonic inpainting does better on the held-out pixels ({theirs:.1f} dB, this run {ours:.1f} dB), and "
            f"so perhaps in the hole.{more}"
        )
    return "\n".join([*lines, str(result.file)])

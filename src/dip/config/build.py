"""From a configuration and a photograph to the objects of an experiment."""

import logging
from contextlib import suppress
from inspect import isclass
from textwrap import shorten
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from dip.config.check import check_values
from dip.config.compose import depth_of_table, needs_hole_kind, swept_overrides, to_yaml, with_depth, with_hole_kind
from dip.config.machine import check_machine, choose_precision, device_of, one_process, out_of_memory, quiet
from dip.config.parts import instantiate_group
from dip.errors import UserError
from dip.image.holes import split_by_depth
from dip.image.masks import known_in_all
from dip.image.photo import Photo
from dip.prior.coverage import covered
from dip.prior.guide import ColourGuide
from dip.prior.module import DeepImagePrior
from dip.prior.nets.unet import deepest_for
from dip.prior.operators.operator import Custom, Operator, picture_shape
from dip.prior.sample import Sample, SingleSample
from dip.results.folder import RunFolder
from dip.results.result import OutputFile, ResultWriter
from dip.training.checkpoint import AtomicCheckpointIO, fingerprint, read_checkpoint
from dip.training.rollback import DivergenceGuard

log = logging.getLogger(__name__)


class Experiment(NamedTuple):
    prior: DeepImagePrior
    data: SingleSample
    trainer: pl.Trainer
    callbacks: list[pl.Callback]
    cfg: DictConfig  # with every choice made, such as the precision
    writer: ResultWriter
    completed_steps: int | None  # of the checkpoint that the run resumes from, 0 without one; None for a new run


class Guide(NamedTuple):
    """What the short runs before a run with a large hole have found."""

    penalty: ColourGuide
    seconds: float = 0.0  # that count for this run


def build(
    cfg: DictConfig, photo: Photo, folder: RunFolder, guide: Guide | None = None, keep_raw: bool = False
) -> Experiment:
    """The objects of an experiment that writes to `folder`, ready to train. Raises UserError for bad input.

    keep_raw: the output is kept as a tensor, for the mean of an ensemble.
    """
    check_values(cfg)
    check_machine(cfg)
    cfg = measure_hole(cfg, photo).copy()
    cfg.trainer.precision = choose_precision(cfg.trainer.precision, cfg.trainer.accelerator)
    if cfg.threads is not None:
        torch.set_num_threads(cfg.threads)
    quiet()
    pl.seed_everything(cfg.seed, verbose=False)
    stopping = instantiate_group(cfg, "stopping")
    operator = build_operator(cfg, photo.work.target)
    held_out = None if stopping is None else stopping.hold_out(photo.work.mask, single=not operator.exact)
    data = SingleSample(*photo.work, held_out)
    writer = build_writer(cfg, photo, folder)
    if not folder.resumes:  # else it is checked once it is known whether there is more to do
        writer.check_file()
    prior = build_prior(cfg, data.sample._replace(operator=operator), guide)
    is_covered = photo.has_hole and operator.per_pixel and cfg.callbacks.supervision is not None
    callbacks = build_callbacks(
        cfg,
        stopping,
        writer=writer,
        keep_raw=keep_raw,
        seconds_before=0.0 if guide is None else guide.seconds,
        coverage=coverage_of(prior, data.sample) if is_covered else None,
        configuration=to_yaml(cfg),
        swept={} if folder.resumes else swept_overrides(),  # its checkpoint knows what the run started with
    )
    completed_steps = load_weights(prior, data.sample, folder) if folder.resumes else None
    if completed_steps:
        check_schedule(OmegaConf.load(folder.config), cfg.trainer.max_steps)
    trainer = build_trainer(cfg, folder, callbacks, completed_steps)
    return Experiment(prior, data, trainer, callbacks, cfg, writer, completed_steps)


def build_operator(cfg: DictConfig, target: Tensor) -> Operator:
    """What is measured of a picture, the same whenever it is built; `_target_` may name a class or a plain function."""
    part = {**cfg.operator}  # with interpolations resolved
    with suppress(Exception):  # what is wrong with it `instantiate_group` says
        part |= {} if isclass(get_object(part["_target_"])) else {"_partial_": True}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        found = instantiate_group(OmegaConf.create({"operator": part}), "operator", target=target)
    operator = found if isinstance(found, Operator) else Custom(found)
    return operator.requires_grad_(False)


def is_exact(cfg: DictConfig) -> bool:
    """Whether measured values stay in the result, before anything is measured."""
    try:
        return getattr(get_object(cfg.operator._target_), "exact", False)
    except Exception:  # what is wrong with it `build_operator` says
        return False


def build_prior(cfg: DictConfig, sample: Sample, guide: Guide | None) -> DeepImagePrior:
    target, shape = sample.target, picture_shape(sample.operator, sample.target)
    size = shape[-2:]
    picture_input = instantiate_group(cfg, "input", size=size, target=target, mask=sample.loss_mask)
    channels = {"in_channels": picture_input().shape[1], "out_channels": shape[1]}
    model = instantiate_group(cfg, "model", size=size, **channels)
    prior = DeepImagePrior(
        model,
        picture_input,
        loss=instantiate_group(cfg, "loss"),
        optimizer=instantiate_group(cfg, "optimizer"),
        penalty=instantiate_group(cfg, "penalty", target=target, mask=known_in_all(sample.loss_mask)),
        guide=None if guide is None else guide.penalty,
        operator=sample.operator,
        scheduler=instantiate_group(cfg, "scheduler"),
        average=instantiate_group(
            cfg,
            "average",
            model=model,
            input=picture_input,
            target=target.new_zeros(shape),
            max_steps=cfg.trainer.max_steps,
        ),
        frozen=cfg.frozen,
    )
    check_output(prior, sample, shape)
    check_optimizer(prior)
    return prior


def build_writer(cfg: DictConfig, photo: Photo, folder: RunFolder) -> ResultWriter:
    target, mask, _ = photo.work
    operator, refine, texture = build_operator(cfg, target), instantiate_group(cfg, "refine"), None
    if operator.exact and not photo.is_measured:  # else the details around a hole are noise, or nobody measured them
        texture = instantiate_group(cfg, "texture", target=target, mask=known_in_all(mask))
    return ResultWriter(photo, folder, OutputFile(**cfg.output), refine, texture, operator, device_of(cfg))


def build_callbacks(cfg: DictConfig, stopping: pl.Callback | None, **ready: Any) -> list[pl.Callback]:
    """The callbacks in their order, each with those of the `ready` objects that it takes."""
    names = [name for name in cfg.callbacks if name != "supervision" or ready["coverage"] is not None]
    each = {name: instantiate_group(cfg, f"callbacks.{name}", **ready) for name in names}
    callbacks = [callback for callback in each.values() if callback is not None]
    if stopping is not None:  # after what mends the weights that it may keep, before all that act on the last step
        (guard,) = [callback for callback in callbacks if isinstance(callback, DivergenceGuard)]
        callbacks.insert(callbacks.index(guard) + 1, stopping)
    return callbacks


def build_trainer(
    cfg: DictConfig, folder: RunFolder, callbacks: list[pl.Callback], completed_steps: int | None
) -> pl.Trainer:
    # TensorBoard forgets the points after the checkpoint, which come again.
    purge = {} if completed_steps is None else {"purge_step": completed_steps + 1 if completed_steps > 0 else 0}
    logger = instantiate_group(cfg, "logger")(save_dir=folder.path, **purge)
    logger.NAME_HPARAMS_FILE = "config.yaml"  # else it adds an empty hparams.yaml; this one is there already
    return instantiate_group(
        cfg,
        "trainer",
        logger=logger,
        callbacks=callbacks,
        plugins=[AtomicCheckpointIO(), one_process()],
        default_root_dir=folder.path,
        devices=list(cfg.trainer.devices or ()) or 1,
        max_epochs=1,  # all steps are one epoch
        enable_model_summary=False,
    )


def read_data(cfg: DictConfig) -> Photo:
    """The photograph that `cfg.data` describes, opened here and nowhere else."""
    return instantiate_group(cfg, "data", is_hole_transparent=is_exact(cfg))


def measure_hole(cfg: DictConfig, photo: Photo) -> DictConfig:
    """The configuration with the kind of the hole, where options depend on it, and a depth that fits the picture."""
    if needs_hole_kind(cfg):
        found = split_by_depth(photo.work.mask, cfg.large_from) if photo.has_hole else {}
        cfg = with_hole_kind(cfg, max(found, key=lambda kind: found[kind].sum().item(), default="thin"))
    deepest = deepest_for(min(photo.work.mask.shape[-2:]))
    if depth_of_table(cfg) and cfg.model.depth > deepest:
        log.info("The picture is small: model.depth=%d in place of %d.", deepest, cfg.model.depth)
        cfg = with_depth(cfg, deepest)
    return cfg


def load_weights(prior: DeepImagePrior, sample: Sample, folder: RunFolder) -> int:
    """Load the checkpoint's weights; return its steps, 0 without one. Raises UserError for one of another run."""
    path = folder.checkpoint
    if not path.exists():
        return 0
    checkpoint = read_checkpoint(path)
    if checkpoint["sample"] != fingerprint(sample):
        raise UserError(f"{path} is of another picture or mask; give data.image and data.mask as they were")
    try:
        prior.load_state_dict(checkpoint["state_dict"])
    except RuntimeError as error:
        raise UserError(f"{path} does not fit the network: {shorten(str(error), 200)}") from error
    return checkpoint["global_step"]


def check_schedule(saved: Any, max_steps: int) -> None:
    """Raise UserError where the learning rate of a longer run would rise again at the end."""
    if OmegaConf.select(saved, "scheduler.T_max") == saved.trainer.max_steps < max_steps:
        raise UserError(
            f"trainer.max_steps={max_steps}, but the schedule of this run ends at step {saved.trainer.max_steps}, and "
            "its rate would rise again from there; start a new run with more steps"
        )


def check_output(prior: DeepImagePrior, sample: Sample, shape: tuple[int, ...]) -> None:
    """Compute an output of this shape and its loss, so that parts that do not fit are refused before a run starts."""
    try:
        with torch.no_grad():
            output = prior()
    except (RuntimeError, AttributeError, TypeError) as error:
        if out_of_memory(error):
            raise
        said = " ".join(str(error).split())
        raise UserError(f"model: the network cannot draw a picture of {shape}: {said}") from error
    if output.shape != shape:
        raise UserError(
            f"model: from an input of {tuple(prior.input().shape)} the network draws {tuple(output.shape)}, and not a "
            f"picture of {shape}"
        )
    if sample.truth is not None and sample.truth.shape != shape:
        raise UserError(
            f"operator: the measurement is that of a picture of {shape}, but the ground truth (data.truth) is of "
            f"{tuple(sample.truth.shape)}"
        )
    prior.loss(prior.operator(output), sample.target, sample.mask)
    if prior.penalty is not None:
        prior.penalty(output)


def check_optimizer(prior: DeepImagePrior) -> None:
    """Build optimizer and schedule once, so that what they refuse is refused before anything starts."""
    part = "optimizer"
    try:
        optimizer = prior.optimizer(prior.trained_parameters())
        part = "scheduler"
        if prior.scheduler is not None:
            prior.scheduler(optimizer)
    except (ValueError, TypeError, IndexError) as error:
        raise UserError(f"{part}: {error}") from error


def coverage_of(prior: DeepImagePrior, sample: Sample) -> Tensor:
    """Where the network's input gets gradient from known pixels, at the picture's size: (1, 1, H, W), boolean."""
    with torch.random.fork_rng(devices=[]):  # the input may draw noise
        found = covered(prior.model, prior.input(), sample.mask)
    return torch.nn.functional.interpolate(found.float(), size=sample.mask.shape[-2:]).bool()

"""From a configuration to objects."""

import inspect
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from textwrap import shorten
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import InstantiationException
from hydra.types import RunMode
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.accelerators import AcceleratorRegistry

from dip.callbacks import BackTracking, Overview, Results, Supervision
from dip.checkpoints import LAST, WholeFiles, fingerprint, read
from dip.data import Sample, SingleSample
from dip.module import DeepImagePrior
from dip.regions import kinds
from dip.schema import to_be_measured
from dip.supervision import reached


class Experiment(NamedTuple):
    prior: DeepImagePrior
    data: SingleSample
    trainer: pl.Trainer
    callbacks: list[pl.Callback]
    cfg: DictConfig  # with every choice made, such as the precision
    done: int | None  # steps of the checkpoint that the run goes on from; None for a new run


def out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def check(cfg: DictConfig, folder: Path, go_on: bool) -> None:
    """Raises ValueError for what can be seen without any file of the user."""
    if (folder / "config.yaml").exists() and not go_on:
        raise ValueError(
            f"{folder} holds a run already, whose results stay; resume={folder} goes on, or give another hydra.run.dir"
        )
    if cfg.hole_kind == "auto":  # what is checked here does not depend on it
        cfg = cfg.copy()
        cfg.hole_kind = "thin"
    missing = OmegaConf.missing_keys(cfg)
    if missing:
        raise ValueError(f"no value for {', '.join(sorted(missing))}; give {min(missing)}=VALUE")
    if cfg.trainer.max_steps < 1:
        raise ValueError(f"trainer.max_steps={cfg.trainer.max_steps}, but a run has at least one step")
    if cfg.threads is not None and cfg.threads < 1:
        raise ValueError(f"threads={cfg.threads}, but a run has at least one; null for all")
    if cfg.trainer.devices is not None and not (
        OmegaConf.is_list(cfg.trainer.devices) and len(cfg.trainer.devices) == 1
    ):
        raise ValueError(f"trainer.devices={cfg.trainer.devices}, but a run has one device, such as [0]; null chooses")
    if cfg.large_from <= 0:
        raise ValueError(f"large_from={cfg.large_from}, but it is a depth in pixels, above 0")
    if cfg.members < 1:
        raise ValueError(f"members={cfg.members}, but the result is the mean of at least one run")
    if not 0 <= cfg.seed < 2**32:
        raise ValueError(f"seed={cfg.seed}, but a seed lies between 0 and 2^32 - 1")
    for key in ("step_size", "T_max", "total_iters"):
        steps = OmegaConf.select(cfg, f"scheduler.{key}")
        if steps is not None and steps < 1:
            raise ValueError(f"scheduler.{key}={steps}, but it is a number of steps, 1 or more")
    here = [name for name, entry in AcceleratorRegistry.items() if entry["accelerator"].is_available()]
    here += ["gpu"] if {"cuda", "mps"} & set(here) else []
    if cfg.trainer.accelerator not in ("auto", *here):
        raise ValueError(f"trainer.accelerator={cfg.trainer.accelerator}, but this machine has {', '.join(here)}")


def build(cfg: DictConfig, folder: Path, data: SingleSample | None = None, go_on: bool = False) -> Experiment:
    """The objects of an experiment that writes to `folder`, ready for `repair`. Raises ValueError for bad input.

    data: what `cfg.data` describes, where it is read already. go_on: the run in `folder` goes on from its last
    checkpoint; without one it starts again.
    """
    check(cfg, folder, go_on)
    if cfg.threads is not None:
        torch.set_num_threads(cfg.threads)
    quiet()
    pl.seed_everything(cfg.seed, verbose=False)
    data = data or construct(cfg, "data")
    assert data is not None
    cfg = measured(cfg, data)
    stopping = construct(cfg, "stopping")
    if stopping is not None:
        data.hold_out(stopping.hold_out(data.sample.mask))
    target = data.sample.target
    size = target.shape[-2:]
    picture_input = construct(cfg, "input", size=size, target=target, mask=data.sample.fitted)
    channels = {"in_channels": picture_input().shape[1], "out_channels": target.shape[1]}
    model = construct(cfg, "model", size=size, **channels)
    prior = DeepImagePrior(
        model,
        picture_input,
        loss=construct(cfg, "loss"),
        optimizer=construct(cfg, "optimizer"),
        penalty=construct(cfg, "penalty", target=target, mask=data.sample.fitted),
        fill=construct(cfg, "fill", target=target, mask=data.sample.mask),
        scheduler=construct(cfg, "scheduler"),
        average=construct(
            cfg, "average", model=model, input=picture_input, target=target, max_steps=cfg.trainer.max_steps
        ),
        frozen=cfg.frozen,
    )
    check_loss(prior, data.sample)
    check_optimizer(prior)
    callbacks = [callback for callback in construct(cfg, "callbacks").values() if callback is not None]
    if stopping is not None:  # after what mends the weights that it may keep, before all that act on the last step
        (mends,) = [callback for callback in callbacks if isinstance(callback, BackTracking)]
        callbacks.insert(callbacks.index(mends) + 1, stopping)
    for callback in callbacks:
        if isinstance(callback, Supervision):
            callback.reached = reach(prior, data.sample)
        if isinstance(callback, Results):
            callback.put(**cfg.output)
            if not go_on:  # else it is checked once it is known whether there is more to do
                callback.check(data.damaged.picture)
            callback.texture = construct(cfg, "texture", target=target, mask=data.sample.mask)
    done = steps_done(prior, data.sample, folder) if go_on else None
    if done:
        check_schedule(OmegaConf.load(folder / "config.yaml"), cfg.trainer.max_steps)
    cfg = cfg.copy()
    cfg.trainer.precision = precision(cfg.trainer.precision, cfg.trainer.accelerator)
    for callback in callbacks:
        if isinstance(callback, Overview):
            callback.configuration = OmegaConf.to_yaml(cfg, resolve=True)
            callback.turned = {} if go_on else turned()  # its checkpoint knows what it was begun with
    trainer = construct(
        cfg,
        "trainer",
        logger=construct(cfg, "logger")(save_dir=folder, **purge(done)),
        callbacks=callbacks,
        plugins=[WholeFiles()],
        default_root_dir=folder,
        devices=cfg.trainer.devices or 1,
        benchmark=not cfg.trainer.deterministic,  # cuDNN tries its algorithms, since the size never changes
        max_epochs=1,  # all steps are one epoch
        enable_model_summary=False,
    )
    return Experiment(prior, data, trainer, callbacks, cfg, done)


def measured(cfg: DictConfig, data: SingleSample) -> DictConfig:
    """The configuration with the kind of the hole, where that is to be measured."""
    if not to_be_measured(cfg):
        return cfg
    cfg = cfg.copy()
    found = kinds(data.sample.mask, cfg.large_from)
    cfg.hole_kind = max(found, key=lambda kind: found[kind].sum().item())
    return cfg


def turned() -> dict[str, Any]:
    """The keys that a sweep turns, and their values in this run; nothing in a single run."""
    if not HydraConfig.initialized() or HydraConfig.get().mode is not RunMode.MULTIRUN:
        return {}
    hydra = HydraConfig.get()
    keys = {str(key) for key in hydra.sweeper.get("params") or ()}
    begun = Path(hydra.sweep.dir, "multirun.yaml")  # Hydra's basic sweeper keeps all values of a key there
    if begun.exists():
        given = parsed(OmegaConf.load(begun).hydra.overrides.task)
        keys |= {override.get_key_element() for override in given if override.is_sweep_override()}
    own = parsed(hydra.overrides.task)
    return {name: plain(override) for override in own if (name := override.get_key_element()) in keys or not keys}


def parsed(overrides: Sequence[str]) -> list[Override]:
    return OverridesParser.create().parse_overrides(list(overrides))


def plain(override: Override) -> Any:
    value = override.value()
    return value if isinstance(value, bool | int | float) else str(value)


def purge(done: int | None) -> dict[str, int]:
    """What tells TensorBoard to forget the points after the `done` steps of a checkpoint, which will come again."""
    return {} if done is None else {"purge_step": done + 1 if done > 0 else 0}


def steps_done(prior: DeepImagePrior, sample: Sample, folder: Path) -> int:
    """The steps of the checkpoint in `folder`, 0 without one. Raises ValueError for one that is of another run."""
    path = folder / LAST
    if not path.exists():
        return 0
    checkpoint = read(path)
    if checkpoint["sample"] != fingerprint(sample):
        raise ValueError(f"{path} is of another picture or mask; give data.image and data.mask as they were")
    try:
        prior.load_state_dict(checkpoint["state_dict"])
    except RuntimeError as error:
        said = shorten(str(error), 200)
        raise ValueError(f"{path} does not fit the network: {said}") from error
    return checkpoint["global_step"]


def check_schedule(saved: Any, max_steps: int) -> None:
    """Raises ValueError where the rate of a run with the configuration `saved` would rise again at its end."""
    if OmegaConf.select(saved, "scheduler.T_max") == saved.trainer.max_steps < max_steps:
        raise ValueError(
            f"trainer.max_steps={max_steps}, but the schedule of this run ends at step {saved.trainer.max_steps}, and "
            "its rate would rise again from there; start a new run with more steps"
        )


def construct(cfg: DictConfig, group: str, **ready: Any) -> Any:
    """What `group` describes, built with those of the `ready` objects that it takes; None where it is null.

    Raises ValueError for what it refuses.
    """
    if cfg[group] is None:
        return None
    try:
        return instantiate(cfg[group], _convert_="all", **taken(cfg[group], ready))
    except (InstantiationException, ImportError) as error:
        said = " ".join(str(error.__cause__ or error).split())
        # Our own refusals name the key already.
        raise ValueError(said if f"{group}." in said else f"{group}: {said}") from error


def taken(part: DictConfig, ready: dict[str, Any]) -> dict[str, Any]:
    """Those of the `ready` objects that the part's constructor has a name for."""
    if not ready:
        return {}
    parameters = inspect.signature(get_object(part["_target_"])).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return ready
    return {name: value for name, value in ready.items() if name in parameters}


def check_loss(prior: DeepImagePrior, sample: Sample) -> None:
    """A picture and its loss, so that parts that do not fit together are refused before anything starts."""
    target = sample.target
    try:
        with torch.no_grad():
            output = prior()
    except (RuntimeError, AttributeError, TypeError) as error:
        if out_of_memory(error):
            raise
        said = " ".join(str(error).split())
        raise ValueError(f"model: the network cannot draw a picture of {tuple(target.shape)}: {said}") from error
    if output.shape != target.shape:
        raise ValueError(
            f"model: the network draws {tuple(output.shape)} for a picture of {tuple(target.shape)}; "
            "it must keep the size"
        )
    prior.loss(output, target, sample.mask)
    if prior.penalty is not None:
        prior.penalty(output)


def check_optimizer(prior: DeepImagePrior) -> None:
    """Optimizer and schedule are made once, so that what they refuse is refused before anything starts."""
    part = "optimizer"
    try:
        optimizer = prior.optimizer(prior.trained())
        part = "scheduler"
        if prior.scheduler is not None:
            prior.scheduler(optimizer)
    except (ValueError, TypeError, IndexError) as error:
        raise ValueError(f"{part}: {error}") from error


def reach(prior: DeepImagePrior, sample: Sample) -> torch.Tensor:
    """Where the network's input gets gradient from known pixels, at the picture's size: (1, 1, H, W), boolean."""
    with torch.random.fork_rng(devices=[]):  # the input may draw noise
        found = reached(prior.model, prior.input(), sample.mask)
    return torch.nn.functional.interpolate(found.float(), size=sample.mask.shape[-2:]).bool()


def precision(wanted: str, accelerator: str) -> str:
    """`wanted`, where "auto" is bfloat16 autocast if the hardware multiplies bfloat16 itself, and float32 otherwise."""
    if wanted != "auto":
        return wanted
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    elif accelerator in ("auto", "gpu", "mps") and torch.backends.mps.is_available():
        native = False
    else:
        native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bf16-mixed" if native else "32-true"


def quiet() -> None:
    """Silences what Lightning says in every run and what nobody can act on."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    logging.raiseExceptions = False  # a full disk is told of once, not for each line of the log
    for message in (
        ".*does not have many workers",  # the one sample is in memory
        ".*is smaller than the logging interval",  # of self.log, which nothing here calls
        ".*your dataloader is not resumable",  # every step has the same sample
        ".*callbacks used to create the checkpoint need to be provided",  # one may be left out
        r".*treespec, LeafSpec",  # Lightning's own, with torch 2.13
    ):
        warnings.filterwarnings("ignore", message=message)

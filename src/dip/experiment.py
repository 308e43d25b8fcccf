"""From a configuration to objects, and from objects to a repaired picture."""

import logging
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from dip.callbacks import Interruption, Results
from dip.data import SingleSample
from dip.module import DeepImagePrior
from dip.refusals import one_line_errors

log = logging.getLogger(__name__)


class Experiment(NamedTuple):
    prior: DeepImagePrior
    data: SingleSample
    trainer: pl.Trainer
    callbacks: list[pl.Callback]


def run(cfg: DictConfig) -> dict[str, Any]:
    """Repairs one picture as Hydra was told to, and returns what `metrics.json` holds."""
    if HydraConfig.get().mode is RunMode.MULTIRUN:
        return repair(cfg, Path(HydraConfig.get().runtime.output_dir))  # the sweep goes on after a failed run
    with one_line_errors():
        return repair(cfg, Path(HydraConfig.get().runtime.output_dir))


def repair(cfg: DictConfig, folder: Path) -> dict[str, Any]:
    """Trains on the picture of `cfg` and leaves every result in `folder`.

    Raises ValueError for bad input before anything slow starts, KeyboardInterrupt after Ctrl-C, with results written.
    """
    if (folder / "config.yaml").exists():
        raise ValueError(f"{folder} holds a run already, which stays as it is; give another hydra.run.dir")
    prior, data, trainer, callbacks = build(cfg, folder)
    folder.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(cfg, folder / "config.yaml", resolve=True)
    describe(prior, data, trainer)
    trainer.fit(prior, datamodule=data)
    trainer.save_checkpoint(folder / "checkpoints" / "last.ckpt")
    metrics = only(callbacks, Results).metrics
    print(table(metrics, folder))
    if only(callbacks, Interruption).received:
        raise KeyboardInterrupt(f"the results of {metrics['steps']} steps are written")
    return metrics


def build(cfg: DictConfig, folder: Path) -> Experiment:
    """The objects of an experiment that writes to `folder`, ready for trainer.fit. Raises ValueError for bad input."""
    missing = OmegaConf.missing_keys(cfg)
    if missing:
        raise ValueError(f"no value for {', '.join(sorted(missing))}; give {min(missing)}=VALUE")
    if cfg.trainer.max_steps < 1:
        raise ValueError(f"trainer.max_steps={cfg.trainer.max_steps}, but a run has at least one step")
    quiet()
    pl.seed_everything(cfg.seed, verbose=False)
    data = construct(cfg, "data")
    target = data.sample.target
    picture_input = construct(cfg, "input", size=target.shape[-2:])
    model = construct(cfg, "model", in_channels=picture_input().shape[1], out_channels=target.shape[1])
    prior = DeepImagePrior(model, picture_input, construct(cfg, "loss"), construct(cfg, "optimizer"))
    check_output(prior, target)
    callbacks = [callback for callback in construct(cfg, "callbacks").values() if callback is not None]
    logger = construct(cfg, "logger")(save_dir=folder)
    logger.NAME_HPARAMS_FILE = "config.yaml"  # that file is there already, so the logger adds no empty one
    trainer = construct(
        cfg,
        "trainer",
        precision=precision(cfg.trainer.precision, cfg.trainer.accelerator),
        logger=logger,
        callbacks=callbacks,
        default_root_dir=folder,
    )
    return Experiment(prior, data, trainer, callbacks)


def construct(cfg: DictConfig, group: str, **ready: Any) -> Any:
    """What `group` describes, built with the `ready` objects as well. Raises ValueError for what it refuses."""
    try:
        return instantiate(cfg[group], **ready)
    except InstantiationException as error:
        said = " ".join(str(error.__cause__ or error).split())
        # Our own refusals name the key already.
        raise ValueError(said if f"{group}." in said else f"{group}: {said}") from error


def check_output(prior: DeepImagePrior, target: torch.Tensor) -> None:
    """One forward pass, so that a network that does not fit the picture is refused before anything starts."""
    try:
        with torch.no_grad():
            shape = prior().shape
    except RuntimeError as error:
        raise ValueError(f"model: the network cannot take a picture of {tuple(target.shape)}: {error}") from error
    if shape != target.shape:
        raise ValueError(
            f"model: the network draws {tuple(shape)} for a picture of {tuple(target.shape)}; it must keep the size"
        )


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
    for message in (
        ".*does not have many workers",  # the one sample is in memory
        ".*is smaller than the logging interval",  # of self.log, which nothing here calls
        r".*treespec, LeafSpec",  # Lightning's own, with torch 2.13
    ):
        warnings.filterwarnings("ignore", message=message)


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


def only(callbacks: list[pl.Callback], kind: type[Any]) -> Any:
    (callback,) = [callback for callback in callbacks if isinstance(callback, kind)]
    return callback


def table(metrics: dict[str, Any], folder: Path) -> str:
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
        if theirs > ours:
            lines.append("Biharmonic inpainting is nearer to the truth here than this run.")
    return "\n".join([*lines, f"{folder}/inpainted.png"])

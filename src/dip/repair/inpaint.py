"""Repair an array from Python."""

from __future__ import annotations  # so that help shows ArrayLike, and not what it stands for

import logging
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from omegaconf import DictConfig
from pytorch_lightning.utilities.seed import isolate_rng

from dip.config.build import is_exact
from dip.config.messages import compose_checked
from dip.errors import Interrupted, UserError
from dip.image.files.arrays import ArrayPicture, from_array
from dip.image.holes import regions_around
from dip.image.masks import grow_hole, merged, present
from dip.image.photo import Photo
from dip.repair.advice import explain_resource_errors
from dip.repair.plan import plan
from dip.repair.run import run
from dip.results.folder import RunFolder
from dip.results.result import load_result

log = logging.getLogger(__name__)
# What nobody sees of a run without a folder.
NOT_HERE = {"data", "operator", "output", "resume", "name", "hydra"}  # overrides of the command
UNSEEN = ("images", "animation", "supervision", "uncertainty", "overview")


class Repaired(NamedTuple):
    """What `inpaint` returns with ``return_result=True``."""

    image: NDArray[Any]  # the repaired array
    std: NDArray[Any] | None  # the standard deviation of each value, of the array's shape and in its units
    metrics: dict[str, Any]  # as in metrics.json


def inpaint(
    image: ArrayLike,
    hole: ArrayLike | None = None,
    *,
    channel_axis: int = -1,
    missing: float | None = None,
    recipe: str = "quick",
    seed: int = 0,
    overrides: Sequence[str] = (),
    folder: str | Path | None = None,
    progress: bool = True,
    return_result: bool = False,
) -> Any:
    """Fill in the missing values of a picture or an array.

    A network with random weights is trained on the known values of this one array, and draws the others.

    Parameters
    ----------
    image : (H, W) or (H, W, C) array_like
        The damaged array, of any type of whole or floating-point numbers. Values of 8 bits are taken to lie between 0
        and 255; of all other types each channel has the range of its known values.
    hole : (H, W) or (H, W, C) array_like of bool, optional
        True where a value is missing; (H, W) is for all channels. Without it NaN and infinity are missing. What a
        masked array masks is missing too.
    channel_axis : int, optional
        The axis of the channels of an array with three axes.
    missing : float, optional
        A value that marks missing values too, such as -9999.
    recipe : str, optional
        A recipe of the project: "quick" takes about a minute for 256x256 pixels on two cores, "quality" five.
    seed : int, optional
        Of everything random. The same seed gives the same result on the same machine.
    overrides : sequence of str, optional
        Further options of the command, such as ``["model.depth=3", "trainer.max_steps=500"]``; of those of files only
        data.max_side and data.grow_hole.
    folder : str or Path, optional
        A new folder for all files of the run: the result, pictures, metrics, TensorBoard's curves and a checkpoint. By
        default nothing is written.
    progress : bool, optional
        Show a progress bar, in a terminal or a notebook.
    return_result : bool, optional
        Return a `Repaired` in place of the array.

    Returns
    -------
    filled : (H, W) or (H, W, C) ndarray
        The array, of the same shape and type. Known values outside the hole are bit-identical.
    result : Repaired
        With ``return_result=True``: `image`, `std` and `metrics`. About 90 % of the missing values lie within 1.645
        `std` of `image`, as far as they are like known ones; ``metrics["interval"]`` has the share of held-out values
        for which that is so. `std` is 0 where a value is known. It is None where too few values are known to hold some
        out, where the recipe holds none out or averages no outputs, where the run was interrupted early, and of an
        array that is reduced for the work (above a megapixel; data.max_side).

    Raises
    ------
    UserError
        A ValueError, for input that cannot be repaired; it says what helps.

    Notes
    -----
    Ctrl-C ends the run after the step that it is at, and the result so far is returned, with a warning.

    References
    ----------
    .. [1] Ulyanov, D., Vedaldi, A., Lempitsky, V.: Deep Image Prior. arXiv:1711.10925

    Examples
    --------
    >>> import numpy as np
    >>> import dip
    >>> waves = np.sin(np.linspace(0, 9, 32))[:, None] * np.cos(np.linspace(0, 7, 32))
    >>> damaged = waves.copy()
    >>> damaged[10:12] = np.nan
    >>> filled = dip.inpaint(damaged, overrides=["trainer.max_steps=20"], progress=False)
    >>> bool(np.isfinite(filled).all()), bool((filled[:10] == waves[:10]).all())
    (True, True)
    """
    check_folder(folder)
    cfg = configured(recipe, seed, overrides, progress, is_seen=folder is not None)
    photo = as_photo(image, hole, channel_axis, missing, cfg)
    where = TemporaryDirectory() if folder is None else nullcontext(folder)
    with where as path, isolate_rng():
        result = repaired(cfg, photo, RunFolder(Path(path).expanduser()))
    return result if return_result else result.image


def check_folder(folder: str | Path | None) -> None:
    """Raise UserError for a folder that is none, or holds a run."""
    if folder is not None:
        path = Path(folder).expanduser()
        if not str(folder) or (path.exists() and not path.is_dir()):
            raise UserError(f"folder={str(folder)!r} is no folder; give a new one")
        if RunFolder(path).exists:
            raise UserError(f"folder={folder} holds a run already, whose results stay; give another one")


def configured(recipe: str, seed: int, overrides: Sequence[str], progress: bool, is_seen: bool) -> DictConfig:
    """The configuration of a run. Raises UserError for what Hydra refuses."""
    quiet = [] if is_seen else [f"callbacks.{name}=null" for name in UNSEEN]
    quiet += [] if progress else ["callbacks.progress=null", "+trainer.enable_progress_bar=false"]
    for override in overrides:
        key = override.lstrip("+~").partition("=")[0]
        if key.split(".")[0].split("/")[0] in NOT_HERE and key not in ("data.max_side", "data.grow_hole"):
            raise UserError(f"overrides has {override}, which is for the command; see the parameters of dip.inpaint")
    cfg = compose_checked([f"experiment={recipe}", f"seed={seed}", *quiet, *overrides])
    if not is_exact(cfg):
        raise UserError(f"recipe={recipe} changes known values too, and dip.inpaint fills holes only; use the command")
    return cfg


def as_photo(image: Any, hole: Any, axis: int, missing: float | None, cfg: DictConfig) -> Photo:
    """The array and its hole, as what is read from files."""
    array = np.asarray(image)
    picture = from_array(array, axis, "image")
    if array.ndim == 3 and axis == -1 and array.shape[0] < 8 <= array.shape[2]:
        log.warning("image has %d channels, those of its last axis; channel_axis=0 takes the first", array.shape[2])
    if missing is not None and (isinstance(missing, bool) or not isinstance(missing, int | float)):
        raise UserError(f"missing={missing!r}, but it must be a number")
    known = present(picture.values, missing, hole is not None)
    masked = np.ma.getmaskarray(image) if isinstance(image, np.ma.MaskedArray) else None
    for lost in (hole, masked):
        if lost is not None:
            known = known * known_outside(np.asarray(lost), array.shape, picture, axis)
    if (known == 1).all():
        raise UserError("image has no missing value; give the hole, missing=VALUE, or NaN")
    if not known.any():
        raise UserError("image has no known value; give a smaller hole, True where a value is missing")
    if not np.isfinite(picture.values[known[0].permute(1, 2, 0).expand(picture.values.shape).numpy() > 0]).all():
        raise UserError("image has NaN or infinity outside the hole; missing=np.nan makes them part of it")
    known, max_side = grow_hole(merged(known), cfg.data.grow_hole), cfg.data.max_side
    return Photo(picture, known, None, regions_around(known, max_side), max_side)


def known_outside(hole: NDArray[Any], shape: tuple[int, ...], picture: ArrayPicture, axis: int) -> torch.Tensor:
    """1 where the hole is not: (1, 1 or C, H, W)."""
    if hole.dtype != bool:
        raise UserError(
            f"hole has the type {hole.dtype}, but it must be boolean, such as hole != 0, True where missing"
        )
    size = picture.height, picture.width
    if hole.shape not in (shape, size):
        all_channels = f", or {size} for all channels" if size != shape else ""
        raise UserError(f"hole has the shape {hole.shape}, but it must be that of the image, {shape}{all_channels}")
    whole = hole[..., None] if hole.ndim == 2 else np.moveaxis(hole, axis, -1)
    return 1 - torch.from_numpy(np.ascontiguousarray(whole)).permute(2, 0, 1)[None].float().contiguous()


def repaired(cfg: DictConfig, photo: Photo, folder: RunFolder) -> Repaired:
    """The result of a run, or what there is of it after Ctrl-C."""
    try:
        with explain_resource_errors(cfg, folder):
            result = run(plan(cfg, photo), folder)
    except Interrupted:
        result = load_result(folder)
        if result.picture is None:
            raise
        log.warning("Interrupted after %s steps; the result so far is returned.", result.metrics.get("steps", "some"))
    assert isinstance(result.picture, ArrayPicture)
    std = None if result.std is None else replace(result.picture, values=result.std).array
    return Repaired(result.picture.array, std, result.metrics)

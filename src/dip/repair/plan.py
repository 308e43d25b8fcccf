"""How a photograph becomes jobs: parts, ensemble members, and the short runs that guide a large hole."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch.nn.functional as F
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from dip.config.build import build_operator, is_exact, measure_hole
from dip.config.compose import needs_hole_kind
from dip.config.parts import instantiate_group
from dip.errors import UserError
from dip.image.files.arrays import ArrayPicture
from dip.image.files.opening import same_size
from dip.image.holes import Box, owned, split_by_depth
from dip.image.masks import known_in_all
from dip.image.photo import SMALLEST, Photo
from dip.image.resize import reduce_mask, reduced_size
from dip.prior.guide import ColourRuns
from dip.prior.nets.unet import deepest_for
from dip.prior.operators.operator import Operator, picture_shape


@dataclass(frozen=True)
class Place:
    """Where in the photograph a part lies, and what of it the part repairs."""

    box: Box
    pixels: Image.Image  # of mode "1" and the box's size


@dataclass(frozen=True)
class Job:
    """A run, or the runs that its result is joined from; `name` is its folder's below that of its parent.

    Children with a place are parts, which are pasted; children without one are ensemble members, which are averaged.
    """

    name: str
    cfg: DictConfig
    photo: Photo
    children: tuple["Job", ...] = ()
    guide: "Job | None" = None  # an ensemble on the reduced picture that finds the colours of large holes first
    place: Place | None = None
    is_member: bool = False

    @property
    def has_parts(self) -> bool:
        return any(child.place is not None for child in self.children)


def plan(cfg: DictConfig, photo: Photo) -> Job:
    """The job that repairs a photograph: of one part, or of one for each distant region and each kind of hole.

    Raises UserError for a photograph that the operator does not go with.
    """
    if not is_exact(cfg):  # all of the photograph is drawn anew
        photo = replace(photo, regions=())
    operator = build_operator(cfg, photo.full.target)
    check_photo(cfg, photo, operator)
    if not operator.exact:
        return plan_part("", cfg, photo)
    parts = list(find_parts(cfg, photo))
    if len(parts) == 1:
        return plan_part("", cfg, photo)
    return Job("", cfg, photo, tuple(plan_place(name, cfg, photo, kind, place) for name, kind, place in parts))


def check_photo(cfg: DictConfig, photo: Photo, operator: Operator) -> None:
    """Raise UserError for a photograph that the operator does not go with."""
    width, height = photo.picture.size
    if photo.truth is not None and operator.per_pixel:
        same_size("data.truth", OmegaConf.select(cfg, "data.truth"), photo.truth, photo.picture.size)
    if operator.exact:
        return check_hole(cfg, photo)
    if OmegaConf.select(cfg, "data.image") is None:
        raise UserError("the example has a hole; give data.image=PATH for this operator, or data=noisy data.image=PATH")
    *_, drawn_height, drawn_width = picture_shape(operator, photo.full.target)
    if photo.max_side is not None and drawn_height * drawn_width > photo.max_side**2:
        raise UserError(
            f"data.max_side={photo.max_side}, but the result has {drawn_width}x{drawn_height} pixels, and a reduced "
            "one would lose its details; give a part, such as data.crop=[0,0,256,256], or data.max_side=null"
        )
    if not operator.per_pixel and min(width, height) < SMALLEST:
        raise UserError(f"the image is {width}x{height}, but this operator needs at least {SMALLEST} pixels a side")
    drawn = [part for part in ("fill", "refine") if cfg[part] is not None]
    if drawn and photo.has_hole and not operator.per_pixel:
        raise UserError(
            f"{drawn[0]} works on the pixels of a hole, and this operator measures others than the picture's; set "
            f"{' '.join(f'{part}=none' for part in drawn)}"
        )


def check_hole(cfg: DictConfig, photo: Photo) -> None:
    """Raise UserError for a photograph to inpaint that has no hole."""
    if photo.has_hole:
        return
    image, mask = (OmegaConf.select(cfg, f"data.{key}") for key in ("image", "mask"))
    if mask is not None:
        raise UserError(f"data.mask={mask} has no hole; give one that shows where it is")
    if isinstance(photo.picture, ArrayPicture):
        raise UserError(f"data.image={image} has no missing value; give data.mask=PATH, data.missing=VALUE, or NaN")
    raise UserError(
        f"data.image={image} has no mask; give data.mask=PATH, white = known, black = hole, or a picture whose hole is "
        "transparent; what has no hole may want experiment=denoise or experiment=super_resolution"
    )


def find_parts(cfg: DictConfig, photo: Photo) -> Iterator[tuple[str, str, Place]]:
    """The name of each part, the kind of its holes, and its place."""
    regions = photo.regions or [photo.whole]
    for number, box in enumerate(regions):
        kinds = kinds_of_holes(cfg, photo.cut(box), owned(regions, number, photo.picture.size))
        for kind, pixels in kinds.items():
            name = "_".join([f"region_{number + 1}"] * (len(regions) > 1) + [kind] * (len(kinds) > 1))
            yield name, kind, Place(box, pixels)


def kinds_of_holes(cfg: DictConfig, part: Photo, own: np.ndarray) -> dict[str, Image.Image]:
    """The `own` pixels, (H, W), of each kind of hole, by its depth at the size of the work; a kind without is left out.

    There is one kind where none is measured.
    """
    height, width = part.mask.shape[-2:]
    known, reduced = known_in_all(part.mask), reduce_mask(part.mask, reduced_size(height, width, part.max_side))
    one_kind = {cfg.hole_kind: known_in_all(reduced) < 1}
    kinds = split_by_depth(reduced, cfg.large_from) if needs_hole_kind(cfg) else one_kind
    found = {}
    for kind, hole in kinds.items():
        full = F.interpolate(hole.float(), size=(height, width), mode="nearest-exact").bool() & (known < 1)
        if (pixels := full[0, 0].numpy() & own).any():
            found[kind] = Image.fromarray(pixels)
    return found


def plan_place(name: str, cfg: DictConfig, photo: Photo, kind: str, place: Place) -> Job:
    own = cfg.copy()
    own.output.path, own.hole_kind = None, kind
    if place.box != photo.whole:
        own.data.crop = list(place.box)
    return plan_part(name, own, photo.cut(place.box), place)


def plan_part(name: str, cfg: DictConfig, photo: Photo, place: Place | None = None) -> Job:
    """One run, or an ensemble, for holes of one kind; whose colours are found first where they are large."""
    cfg = measure_hole(cfg, photo)
    if (refine := instantiate_group(cfg, "refine")) is not None:
        refine.check(build_operator(cfg, photo.work.target))
    runs: ColourRuns | None = instantiate_group(cfg, "fill")
    guide = plan_guide(cfg, photo, runs) if runs is not None and runs.holes(known_in_all(photo.work.mask)) else None
    return Job(name, cfg, photo, plan_members(cfg, photo) if cfg.members > 1 else (), guide, place)


def plan_members(cfg: DictConfig, photo: Photo) -> tuple[Job, ...]:
    """Runs of other seeds, whose mean is the result."""
    return tuple(plan_member(cfg, photo, number) for number in range(cfg.members))


def plan_member(cfg: DictConfig, photo: Photo, number: int) -> Job:
    own = cfg.copy()
    own.members, own.output.path, own.refine, own.texture = 1, None, None, None
    own.seed = (cfg.seed * cfg.members + number) % 2**32  # no other seed has any of these
    return Job(f"member_{number + 1}", own, photo, is_member=True)


def plan_guide(cfg: DictConfig, photo: Photo, runs: ColourRuns) -> Job:
    """The short runs that find the colours: without stop, texture or pictures on the way.

    There are `fill.members` for each run that follows them. A network with a depth has a level less for each time that
    the sides are halved, so that its receptive field covers as much of the picture.
    """
    own = cfg.copy()
    own.members *= runs.members
    own.fill, own.refine, own.texture, own.stopping = None, None, None, None
    own.resume, own.output.path = None, None
    own.data.max_side = runs.max_side(known_in_all(photo.work.mask))
    own.trainer.max_steps = max(round(runs.share * cfg.trainer.max_steps), 1)
    if own.average is not None:
        own.average.decay = runs.decay
    small = replace(photo, max_side=own.data.max_side)
    if "depth" in own.model:
        wanted = cfg.model.depth - round(math.log2(runs.reduction))
        own.model.depth = min(max(wanted, 1), deepest_for(min(small.work.mask.shape[-2:])))
    for name in ("images", "animation", "supervision", "overview"):
        own.callbacks[name] = None
    return Job("fill", own, small, plan_members(own, small))

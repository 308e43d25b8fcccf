"""The one sample that the prior is trained on."""

import logging
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from PIL import Image
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dip import images, masks, regions
from dip.formats import DRAWN, open_picture, same_size
from dip.regions import Box

log = logging.getLogger(__name__)


class Sample(NamedTuple):
    target: Tensor  # (1, C, H, W) in [0, 1], zero in the hole
    mask: Tensor  # (1, 1, H, W), 1 = known, 0 = hole; between them the weight of a soft mask
    truth: Tensor | None  # (1, C, H, W); metrics may read it, the loss may not
    held_out: Tensor | None = None  # (1, 1, H, W), boolean: known pixels that the loss does not see

    @property
    def fitted(self) -> Tensor:
        """The mask of what the loss sees: (1, 1, H, W)."""
        return self.mask if self.held_out is None else self.mask * ~self.held_out

    def composite(self, output: Tensor) -> Tensor:
        """The known pixels as they are, the hole from `output`, and a mixture by the mask between: (1, C, H, W)."""
        return self.target * self.mask + output * (1 - self.mask)


class Damaged(NamedTuple):
    """A picture, what of it is known (1, 1, H, W), and the truth where there is one; all of one size."""

    picture: Image.Image
    mask: Tensor
    truth: Image.Image | None

    def cut(self, box: Box) -> "Damaged":
        left, top, right, bottom = box
        truth = None if self.truth is None else self.truth.crop(box)
        return Damaged(self.picture.crop(box), self.mask[..., top:bottom, left:right].contiguous(), truth)


class Repeated(Dataset[Sample]):
    """The same sample, again and again."""

    def __init__(self, sample: Sample, times: int):
        self.sample = sample
        self.times = times

    def __len__(self) -> int:
        return self.times

    def __getitem__(self, index: int) -> Sample:
        return self.sample


class SingleSample(LightningDataModule):
    """Hands out one sample, `trainer.max_steps` times in one epoch, since every epoch of Lightning costs time.

    boxes: the parts of the picture that the work is done on; the sample is what holds them all, reduced to the pixels
    of a square of `max_side`. `original` is the same at full size. Without boxes it is all of the picture.
    """

    def __init__(self, damaged: Damaged, boxes: Sequence[Box] = (), max_side: int | None = None):
        super().__init__()
        width, height = damaged.picture.size
        if min(height, width) < 8:
            raise ValueError(f"data.image: the picture is {width}x{height}, but each side needs at least 8 pixels")
        if not damaged.mask.any():
            raise ValueError("data.mask leaves no pixel known; a mask file may be the other way round, see data.hole")
        if not (damaged.mask == 1).any():
            raise ValueError("data.mask leaves no pixel wholly known, and has greys only; set data.soft_mask=threshold")
        if (damaged.mask == 1).all():
            raise ValueError("data.mask has no hole; a mask file may be the other way round, see data.hole")
        self.damaged = damaged
        self.boxes = boxes or [(0, 0, width, height)]
        lefts, tops, rights, bottoms = zip(*self.boxes, strict=True)
        self.box = min(lefts), min(tops), max(rights), max(bottoms)
        part = damaged.cut(self.box)
        self.levels = images.full_range(part.picture, part.mask)
        self.original = tensors(part, self.levels)
        self.max_side = max_side
        self.sample = self.moved = reduced(self.original, max_side)

    def hold_out(self, region: Tensor | None) -> None:
        """Hides known pixels from the loss, (1, 1, H, W), boolean; None shows it all of them again."""
        self.sample, self.moved = self.sample._replace(held_out=region), self.moved._replace(held_out=region)

    def enlarged(self, output: Tensor) -> Tensor:
        """An output of the sample's size at the size of `original`."""
        height, width = self.original.target.shape[-2:]
        if output.shape[-2:] == (height, width):
            return output
        scale = height / output.shape[-2]
        larger = regions.enlarged(output, (height, width))
        return regions.feathered(larger, self.original.target, self.original.mask, scale)

    def restored(self, output: Tensor) -> Image.Image:
        """The whole picture, in its own mode and depth, the hole drawn as in an output of the sample's size."""
        mask = self.original.mask
        return images.fill(self.damaged.picture, self.enlarged(output), mask, self.box, self.levels)

    def transfer_batch_to_device(self, batch: Sample, device: torch.device, dataloader_idx: int) -> Any:
        """The sample moves to the device once; every step gets the same tensors."""
        if self.moved.target.device != device:
            self.moved = super().transfer_batch_to_device(self.sample, device, dataloader_idx)
        return self.moved

    def train_dataloader(self) -> DataLoader:
        assert self.trainer is not None
        return DataLoader(Repeated(self.sample, self.trainer.max_steps), batch_size=None)


def tensors(damaged: Damaged, levels: tuple[float, float]) -> Sample:
    target = images.from_pil(damaged.picture, levels)
    truth = None if damaged.truth is None else images.from_pil(damaged.truth, levels)
    return Sample(target * (damaged.mask > 0), damaged.mask, truth)


def reduced(sample: Sample, max_side: int | None) -> Sample:
    """The sample with no more pixels than a square of `max_side`; what has any of the hole in it becomes the hole."""
    height, width = sample.mask.shape[-2:]
    size = regions.reduced_size(height, width, max_side)
    if size == (height, width):
        return sample
    mask = regions.reduced_mask(sample.mask, size)
    if not mask.any():
        raise ValueError(f"data.max_side={max_side} leaves no pixel known that has nothing of the hole in it; raise it")
    target = regions.reduced(sample.target, size) * (mask > 0)
    return Sample(target, mask, None if sample.truth is None else regions.reduced(sample.truth, size))


def picture(
    image: str | None,
    mask: str | None,
    truth: str | None,
    hole: str,
    soft_mask: str,
    resize_mask: bool,
    grow_hole: int,
    crop: str | Sequence[int],
    max_side: int | None,
    example: Callable[[], Damaged],
) -> SingleSample:
    """A picture file and its mask file, or without one its transparent pixels; the example without a picture.

    truth: the undamaged picture where it is known, to measure with. hole: what it is in the mask file: "black", "white"
    or "alpha". soft_mask: what is between counts by a "threshold" or as a "weight". crop: "auto" works around the
    holes, "none" on everything; a box takes that part for the picture.
    """
    if mask is None and (hole == "white" or resize_mask):
        key = "data.hole=white" if hole == "white" else "data.resize_mask=true"
        raise ValueError(f"{key} speaks of a mask file, and there is none; give data.mask=PATH")
    if max_side is not None and max_side < 8:
        raise ValueError(f"data.max_side={max_side}, but each side needs at least 8 pixels; null is no limit")
    if image is not None:
        damaged = from_files(image, mask, truth, hole, resize_mask)
    elif mask is None and truth is None and hole == "black":
        damaged = example()
    else:
        raise ValueError("data.mask, data.truth or data.hole is given without a picture; give data.image=PATH as well")
    known = masks.threshold(damaged.mask) if soft_mask == "threshold" else damaged.mask
    known = masks.grown(known, grow_hole)
    file = images.opaque(damaged.picture, known) if mask is None else damaged.picture
    damaged = Damaged(file, known, damaged.truth)
    if not isinstance(crop, str) or crop not in ("auto", "none"):
        damaged = cropped(damaged, crop)
    single = SingleSample(damaged, regions.around(damaged.mask) if crop == "auto" else (), max_side)
    if mask is not None:
        warn_of_inversion(known, hole)
    return single


def from_files(image: str, mask: str | None, truth: str | None, hole: str, resize_mask: bool) -> Damaged:
    file = open_picture(image, "data.image")
    known = transparency(file, image) if mask is None else from_mask(mask, hole, file.size, resize_mask)
    return Damaged(file, known, None if truth is None else truth_file(truth, image, file))


def transparency(picture: Image.Image, path: str) -> Tensor:
    """What of a picture without a mask is known: (1, 1, H, W)."""
    opaque = images.alpha(picture)
    if opaque is None or opaque.min() == 1:
        raise ValueError(
            f"data.image={path} has no mask; give data.mask=PATH, white = known, black = hole, or a picture whose hole "
            "is transparent"
        )
    return opaque


def from_mask(path: str, hole: str, size: tuple[int, int], resize: bool) -> Tensor:
    """How much of each pixel is known, by a mask file that has, or is brought to, the size (width, height)."""
    mask = open_picture(path, "data.mask")
    if not resize:
        same_size("data.mask", path, mask, size, ", or set data.resize_mask=true")
    known = masks.known_share(mask, hole, f"data.mask={path}")
    return masks.resized(known, size) if resize else known


def truth_file(path: str, image: str, picture: Image.Image) -> Image.Image:
    truth = open_picture(path, "data.truth")
    same_size("data.truth", path, truth, picture.size)
    theirs, ours = DRAWN[truth.mode], DRAWN[picture.mode]
    if theirs != ours:
        raise ValueError(
            f"data.truth={path} is {theirs} but data.image={image} is {ours}; both must have the same channels"
        )
    return truth


def warn_of_inversion(known: Tensor, hole: str) -> None:
    other = {"black": "white", "white": "black"}
    if known.mean() < 0.5 and hole in other:
        log.warning(
            "the hole is %.0f %% of the picture; if that is the known part, give data.hole=%s",
            *(100 * (1 - known.mean()), other[hole]),
        )


def cropped(damaged: Damaged, crop: str | Sequence[int]) -> Damaged:
    """The part that `data.crop` gives, which has a hole and known pixels."""
    part = damaged.cut(checked(crop, damaged.picture))
    if min(part.picture.size) < 8:
        raise ValueError(f"data.crop={crop} is {part.picture.width}x{part.picture.height}, but 8 pixels are the least")
    if (part.mask == 1).all():
        raise ValueError(f"data.crop={crop} has nothing of the hole in it; data.crop=auto lies around it")
    if not part.mask.any():
        raise ValueError(f"data.crop={crop} lies within the hole, and no pixel of it is known; give a larger one")
    return part


def checked(crop: str | Sequence[int], picture: Image.Image) -> Box:
    """The box of pixels that `data.crop` gives."""
    width, height = picture.size
    match crop:
        case [int(left), int(top), int(right), int(bottom)] if (
            0 <= left < right <= width and 0 <= top < bottom <= height
        ):
            return left, top, right, bottom
    raise ValueError(
        f"data.crop={crop}, but it is auto, none or [left,top,right,bottom] within the picture of {width}x{height}"
    )


def random_pixels(image: str, mask: Callable[[int, int], Tensor]) -> SingleSample:
    """A whole picture file, from which the mask takes pixels away, so that the truth is known."""
    return SingleSample(damaged(open_picture(image, "data.image"), mask))


def example(photograph: str, width: int, height: int, mask: Callable[[int, int], Tensor]) -> Damaged:
    """A photograph from the scikit-image wheel with a mask drawn over it."""
    return damaged(images.to_pil(images.photograph(photograph, width, height)), mask)


def damaged(truth: Image.Image, mask: Callable[[int, int], Tensor]) -> Damaged:
    """The picture with the hole of mask(H, W) in it."""
    return Damaged(truth, mask(truth.height, truth.width), truth)

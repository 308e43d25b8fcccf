"""The one sample that the prior is trained on."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dip import images, masks


class Sample(NamedTuple):
    target: Tensor  # (1, C, H, W) in [0, 1], zero in the hole
    mask: Tensor  # (1, 1, H, W), 1 = known, 0 = hole
    truth: Tensor | None  # (1, C, H, W); metrics may read it, the loss may not

    def composite(self, output: Tensor) -> Tensor:
        """The known pixels as they are, the hole from `output`: (1, C, H, W)."""
        return torch.where(self.mask.bool(), self.target, output)


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
    """Hands out one sample, `trainer.max_steps` times in one epoch, since every epoch of Lightning costs time."""

    def __init__(self, sample: Sample):
        super().__init__()
        height, width = sample.target.shape[-2:]
        if min(height, width) < 8:
            raise ValueError(f"data: the picture is {width}x{height}, but each side needs at least 8 pixels")
        if not sample.mask.any():
            raise ValueError("data.mask leaves no pixel known; a mask file may be the other way round, see data.hole")
        if sample.mask.all():
            raise ValueError("data.mask has no hole; a mask file may be the other way round, see data.hole")
        self.sample = sample
        self.moved = sample

    def transfer_batch_to_device(self, batch: Sample, device: torch.device, dataloader_idx: int) -> Any:
        """The sample moves to the device once; every step gets the same tensors."""
        if self.moved.target.device != device:
            self.moved = super().transfer_batch_to_device(batch, device, dataloader_idx)
        return self.moved

    def train_dataloader(self) -> DataLoader:
        assert self.trainer is not None
        return DataLoader(Repeated(self.sample, self.trainer.max_steps), batch_size=None)


def picture(
    image: str | None, mask: str | None, truth: str | None, hole: str, example: Callable[[], SingleSample]
) -> SingleSample:
    """A picture file and its mask file, or the example where neither is given.

    truth: the undamaged picture where it is known, to measure with. hole: "black" or "white", its colour in the mask.
    """
    if image is None and mask is None and truth is None:
        if hole != "black":
            raise ValueError(f"data.hole={hole} speaks of a mask file, and there is none; give data.mask=PATH")
        return example()
    if image is None:
        raise ValueError("data.mask or data.truth is given without a picture; give data.image=PATH as well")
    if mask is None:
        raise ValueError(f"data.image={image} has no mask; give data.mask=PATH, white = known, black = hole")
    target = images.read(image, "data.image")
    known = masks.read(mask, hole)
    same_size(known, mask, target, "data.mask")
    whole = None
    if truth is not None:
        whole = images.read(truth, "data.truth")
        same_size(whole, truth, target, "data.truth")
        if whole.shape != target.shape:
            raise ValueError(f"data.truth={truth} and data.image={image}: one is grey and one is in colour")
    return SingleSample(Sample(target * known, known, whole))


def random_pixels(image: str, mask: Callable[[int, int], Tensor]) -> SingleSample:
    """A whole picture file, from which the mask takes pixels away, so that the truth is known."""
    return damaged(images.read(image, "data.image"), mask)


def example(photograph: str, width: int, height: int, mask: Callable[[int, int], Tensor]) -> SingleSample:
    """A photograph from the scikit-image wheel with a mask drawn over it."""
    return damaged(images.photograph(photograph, width, height), mask)


def damaged(truth: Tensor, mask: Callable[[int, int], Tensor]) -> SingleSample:
    """The picture (1, C, H, W) with the hole of mask(H, W) in it."""
    height, width = truth.shape[-2:]
    known = mask(height, width)
    return SingleSample(Sample(truth * known, known, truth))


def same_size(tensor: Tensor, path: str, target: Tensor, key: str) -> None:
    (height, width), (rows, columns) = tensor.shape[-2:], target.shape[-2:]
    if (height, width) != (rows, columns):
        raise ValueError(
            f"{key}={path} is {width}x{height} but the image is {columns}x{rows}; give a file of the image's size"
        )

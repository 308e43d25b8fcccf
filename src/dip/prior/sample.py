"""What one sample is, the data module that hands it out, and its measures."""

from typing import Any, NamedTuple

import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from dip.image.metrics import psnr, ssim, texture_distance


class Sample(NamedTuple):
    target: Tensor  # (1, C, H, W) in [0, 1], zero in the hole
    mask: Tensor  # (1, 1 or C, H, W), 1 = known, 0 = hole; between them the weight of a soft mask
    truth: Tensor | None  # (1, C, H, W); metrics may read it, the loss may not
    held_out: Tensor | None = None  # (1, 1 or C, H, W), boolean: known pixels that the loss does not see

    @property
    def loss_mask(self) -> Tensor:
        """The mask of what the loss sees: (1, 1 or C, H, W)."""
        return self.mask if self.held_out is None else self.mask * ~self.held_out

    def composite(self, output: Tensor) -> Tensor:
        """The known pixels as they are, the hole from `output`, a mixture by the mask between: (1, C, H, W)."""
        return self.target * self.mask + output * (1 - self.mask)


class SingleSample(LightningDataModule):
    """Hands out one sample `trainer.max_steps` times in one epoch, since every epoch of Lightning costs time."""

    def __init__(self, target: Tensor, mask: Tensor, truth: Tensor | None = None, held_out: Tensor | None = None):
        super().__init__()
        self.sample = self.on_device = Sample(target, mask, truth, held_out)

    def hold_out(self, region: Tensor | None) -> None:
        """Hide these known pixels from the loss from now on; None shows it all of them."""
        self.sample, self.on_device = self.sample._replace(held_out=region), self.on_device._replace(held_out=region)

    def transfer_batch_to_device(self, batch: Sample, device: torch.device, dataloader_idx: int) -> Any:
        """Move the sample to the device once; every step gets the same tensors."""
        if self.on_device.target.device != device:
            self.on_device = super().transfer_batch_to_device(self.sample, device, dataloader_idx)
        return self.on_device

    def train_dataloader(self) -> DataLoader:
        assert self.trainer is not None
        samples: Any = [self.sample] * self.trainer.max_steps
        return DataLoader(samples, batch_size=None)


def measure(output: Tensor, sample: Sample) -> dict[str, float]:
    """PSNR in dB of the raw output: psnr_known, and psnr_hole where the ground truth is known."""
    measured = {"psnr_known": psnr(output, sample.target, sample.loss_mask.bool())}
    if sample.truth is not None:
        measured["psnr_hole"] = psnr(output, sample.truth, ~sample.mask.bool())
    return measured


def compare(output: Tensor, sample: Sample) -> dict[str, float]:
    """The output against the ground truth: in the hole, over all pixels, and of the composite (PSNR in dB)."""
    assert sample.truth is not None
    hole = ~sample.mask.bool()
    everywhere = torch.ones_like(hole)
    return {
        "psnr_hole": psnr(output, sample.truth, hole),
        "ssim_hole": ssim(output, sample.truth, hole),
        "psnr_all": psnr(output, sample.truth, everywhere),
        "psnr_composite": psnr(sample.composite(output), sample.truth, everywhere),
    }


def compare_texture(output: Tensor, sample: Sample) -> dict[str, float | None]:
    """What `compare` gives, and `texture_distance`."""
    return {**compare(output, sample), "texture_distance": texture_distance(sample.composite(output), sample.mask)}

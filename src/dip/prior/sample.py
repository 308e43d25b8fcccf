"""What one sample is: a measurement of a picture. The data module that hands it out, and its measures."""

from typing import Any, NamedTuple

import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from dip.image.metrics import psnr, ssim, texture_distance
from dip.prior.operators.operator import Mask, Operator


class Sample(NamedTuple):
    target: Tensor  # the measurement: (1, C, h, w) in [0, 1], zero in the hole
    mask: Tensor  # (1, 1 or C, h, w), 1 = known, 0 = hole; between them the weight of a soft mask
    truth: Tensor | None  # the picture: (1, C, H, W); metrics may read it, the loss may not
    held_out: Tensor | None = None  # (1, 1 or C, h, w), boolean: known pixels that the loss does not see
    operator: Operator = Mask()  # what is measured of a picture: (1, C, H, W) -> (1, C, h, w)

    @property
    def loss_mask(self) -> Tensor:
        """The mask of what the loss sees: (1, 1 or C, h, w)."""
        return self.mask if self.held_out is None else self.mask * ~self.held_out

    @property
    def judged(self) -> tuple[str, Tensor]:
        """Where a result differs from what is measured, by name and as a boolean (1, 1 or C, H, W)."""
        if self.operator.exact:
            return "hole", ~self.mask.bool()
        assert self.truth is not None
        return "all", torch.ones_like(self.truth[:, :1], dtype=torch.bool)

    def composite(self, output: Tensor) -> Tensor:
        """The result, (1, C, H, W): the output, with the known pixels as they are if the measurement is exact.

        A soft mask mixes both.
        """
        return self.target * self.mask + output * (1 - self.mask) if self.operator.exact else output


class SingleSample(LightningDataModule):
    """Hands out one sample `trainer.max_steps` times in one epoch, since every epoch of Lightning costs time.

    Its operator is that of the module that trains on it.
    """

    def __init__(self, target: Tensor, mask: Tensor, truth: Tensor | None = None, held_out: Tensor | None = None):
        super().__init__()
        self.sample = self.on_device = Sample(target, mask, truth, held_out)

    def setup(self, stage: str) -> None:
        operator = getattr(self.trainer and self.trainer.lightning_module, "operator", None)
        if isinstance(operator, Operator):
            self.sample = self.on_device = self.sample._replace(operator=operator)

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
    """PSNR in dB of the raw output: psnr_known, and where the ground truth is known psnr_hole or psnr_all."""
    measured = {"psnr_known": psnr(sample.operator(output), sample.target, sample.loss_mask.bool())}
    if sample.truth is not None:
        where, region = sample.judged
        measured[f"psnr_{where}"] = psnr(output, sample.truth, region)
    return measured


def compare(output: Tensor, sample: Sample) -> dict[str, float]:
    """The output against the ground truth (PSNR in dB): where it is judged, over all pixels, and of the composite."""
    assert sample.truth is not None
    where, region = sample.judged
    found = {f"psnr_{where}": psnr(output, sample.truth, region), f"ssim_{where}": ssim(output, sample.truth, region)}
    if sample.operator.exact:
        everywhere = torch.ones_like(region)
        found["psnr_all"] = psnr(output, sample.truth, everywhere)
        found["psnr_composite"] = psnr(sample.composite(output), sample.truth, everywhere)
    return found


def compare_texture(output: Tensor, sample: Sample) -> dict[str, float | None]:
    """What `compare` gives, and `texture_distance` of a hole."""
    found = compare(output, sample)
    if not sample.operator.exact:
        return {**found}
    return {**found, "texture_distance": texture_distance(sample.composite(output), sample.mask)}

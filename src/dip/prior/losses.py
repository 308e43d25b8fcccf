"""The terms of the loss.

Masked losses: output and target (1, C, H, W), mask (1, 1 or C, H, W), 1 = known -> mean over the known values.
Penalties: output (1, C, H, W) -> scalar, which is added.
"""

from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt
from torch import Tensor, nn
from torchmetrics.functional.image import structural_similarity_index_measure

from dip.image.holes import deep_holes, surroundings
from dip.options import checked

BlurSd = Annotated[float, Gt(0), "it is a standard deviation in pixels"]


def masked_mse(output: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Mean squared error (Ulyanov et al., arXiv:1711.10925, eq. 5).

    >>> output, target = torch.tensor([[[[0.5, 0.9]]]]), torch.tensor([[[[0.0, 0.0]]]])
    >>> masked_mse(output, target, mask=torch.tensor([[[[1.0, 0.0]]]]))
    tensor(0.2500)
    """
    return ((output - target) * mask).square().sum() / count_known(mask, output)


def masked_l1(output: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Mean absolute error."""
    return ((output - target) * mask).abs().sum() / count_known(mask, output)


def masked_huber(output: Tensor, target: Tensor, mask: Tensor, delta: Annotated[float, Gt(0), "such as 0.1"]) -> Tensor:
    """Half the squared error up to `delta`, linear beyond, so that outliers count less (Huber 1964)."""
    return F.huber_loss(output * mask, target * mask, reduction="sum", delta=delta) / count_known(mask, output)


def masked_mse_ssim(output: Tensor, target: Tensor, mask: Tensor, ssim_weight: float) -> Tensor:
    """Mean squared error plus `ssim_weight` times (1 - structural similarity) (Wang et al. 2004)."""
    # In bfloat16 its differences of squares would be nothing but error.
    with torch.autocast(output.device.type, enabled=False):
        _, similarity = structural_similarity_index_measure(
            output * mask, target * mask, data_range=1.0, return_full_image=True
        )
    dissimilarity = ((1 - similarity) * mask).sum() / count_known(mask, output)
    return masked_mse(output, target, mask) + ssim_weight * dissimilarity


def count_known(mask: Tensor, output: Tensor) -> Tensor:
    """The number of known values: known pixels times channels."""
    return mask.sum() * (output.shape[1] // mask.shape[1])


def total_variation(output: Tensor, weight: Annotated[float, Ge(0), "0 is no penalty"], isotropic: bool) -> Tensor:
    """`weight` times the mean absolute step from pixel to pixel, in the hole too (Rudin et al. 1992).

    isotropic: the length of the step to the right and downwards; otherwise the sum of both.
    """
    right, down = output.diff(dim=-1)[..., :-1, :], output.diff(dim=-2)[..., :, :-1]
    if isotropic:
        # The root has no gradient at zero; a picture of 8 bits has no step below 1/255.
        return weight * (right.square() + down.square() + 1e-8).sqrt().mean()
    return weight * (right.abs() + down.abs()).mean()


@checked
class ColourRange(nn.Module):
    """A penalty on colours in large holes that do not occur around them: (1, C, H, W) -> scalar.

    It keeps coloured ellipses out of pixels that no known pixel trains: `weight` times the mean square by which a
    channel lies outside the range of the known pixels around, all of them blurred.
    """

    def __init__(
        self,
        target: Tensor,  # (1, C, H, W)
        mask: Tensor,  # (1, 1, H, W), 1 = known
        weight: Annotated[float, Ge(0), "0 is no penalty"],
        blur_sd: BlurSd,  # holes that are shallower do not count
    ):
        super().__init__()
        self.weight = weight
        self.blur_sd = blur_sd
        colours = blurred_within(target, (mask == 1).float(), blur_sd)
        self.lowest = nn.Buffer(torch.zeros_like(target), persistent=False)
        self.highest = nn.Buffer(torch.zeros_like(target), persistent=False)
        self.inside = nn.Buffer(torch.zeros_like(mask), persistent=False)
        for inside in deep_holes(mask == 0, blur_sd) if weight > 0 else ():
            around = surroundings(inside, mask == 1, 3 * blur_sd)
            if around.any():
                nearby = colours[:, :, around[0, 0]]  # (1, C, pixels)
                self.lowest += inside * nearby.amin(dim=2)[..., None, None]
                self.highest += inside * nearby.amax(dim=2)[..., None, None]
                self.inside += inside
        self.pixels = self.inside.sum().item()

    def forward(self, output: Tensor) -> Tensor:
        if self.pixels == 0:
            return output.new_zeros(())
        with torch.autocast(output.device.type, enabled=False):
            colours = blurred(output, self.blur_sd)
            excess = (self.lowest - colours).relu() + (colours - self.highest).relu()
            return self.weight * (excess * self.inside).square().sum() / (self.pixels * output.shape[1])


def blurred_within(picture: Tensor, region: Tensor, sd: float) -> Tensor:
    """Like `blurred`, but only pixels where the region, (1, 1, H, W), is 1 count."""
    return blurred(picture * region, sd) / blurred(region, sd).clamp(min=1e-6)


def blurred(picture: Tensor, sd: float) -> Tensor:
    """Gaussian blur with a standard deviation of `sd` pixels and replicated edges: (1, C, H, W) -> the same."""
    channels, radius = picture.shape[1], round(3 * sd)
    distances = torch.arange(-radius, radius + 1, device=picture.device, dtype=picture.dtype)
    weights = torch.exp(-0.5 * (distances / sd).square())
    weights = (weights / weights.sum()).expand(channels, 1, 1, -1)
    padded = F.pad(picture, (radius, radius, radius, radius), mode="replicate")
    return F.conv2d(F.conv2d(padded, weights, groups=channels), weights.mT, groups=channels)

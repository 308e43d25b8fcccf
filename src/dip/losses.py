"""Masked losses: (output, target, mask) -> scalar. What the output has in the hole gets no gradient.

output, target: (1, C, H, W); mask: (1, 1, H, W), 1 = known. Each is a mean over the known pixels and their channels.
Penalties: output -> scalar, on all pixels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure


def masked_mse(output: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Mean squared error (Ulyanov et al., arXiv:1711.10925, eq. 5)."""
    return ((output - target) * mask).square().sum() / known(mask, output)


def masked_l1(output: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Mean absolute error."""
    return ((output - target) * mask).abs().sum() / known(mask, output)


def masked_huber(output: Tensor, target: Tensor, mask: Tensor, delta: float) -> Tensor:
    """Half the squared error up to `delta`, linear beyond (Huber 1964), so that outliers count less."""
    if delta <= 0:
        raise ValueError(
            f"loss.delta={delta}, but it is the error at which the loss becomes linear; set loss.delta=0.1"
        )
    return F.huber_loss(output * mask, target * mask, reduction="sum", delta=delta) / known(mask, output)


def masked_mse_ssim(output: Tensor, target: Tensor, mask: Tensor, ssim_weight: float) -> Tensor:
    """Mean squared error, and `ssim_weight` times one minus the structural similarity (Wang et al. 2004)."""
    # In bfloat16 its differences of squares would be nothing but error.
    with torch.autocast(output.device.type, enabled=False):
        _, similarity = structural_similarity_index_measure(
            output * mask, target * mask, data_range=1.0, return_full_image=True
        )
    dissimilarity = ((1 - similarity) * mask).sum() / known(mask, output)
    return masked_mse(output, target, mask) + ssim_weight * dissimilarity


def total_variation(output: Tensor, weight: float, isotropic: bool) -> Tensor:
    """`weight` times the mean absolute step from pixel to pixel, over all pixels, the hole's too (Rudin et al. 1992).

    isotropic: the length of the step to the right and downwards; otherwise the sum of both.
    """
    if weight < 0:
        raise ValueError(f"penalty.weight={weight}, but it is 0 or more; penalty=none has none")
    right, down = output.diff(dim=-1)[..., :-1, :], output.diff(dim=-2)[..., :, :-1]
    if isotropic:
        # The root has no gradient at zero; a picture of 8 bits has no step below 1/255.
        return weight * (right.square() + down.square() + 1e-8).sqrt().mean()
    return weight * (right.abs() + down.abs()).mean()


def known(mask: Tensor, output: Tensor) -> Tensor:
    """How many values are known."""
    return mask.sum() * output.shape[1]

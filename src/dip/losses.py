"""Masked losses: (output, target, mask) -> scalar. What the output has in the hole gets no gradient."""

from torch import Tensor


def masked_mse(output: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Mean squared error over the known pixels and their channels (Ulyanov et al., arXiv:1711.10925, eq. 5).

    output, target: (1, C, H, W); mask: (1, 1, H, W), 1 = known.
    """
    known = mask.sum() * output.shape[1]
    return ((output - target) * mask).square().sum() / known

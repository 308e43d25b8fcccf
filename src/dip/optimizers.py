"""Optimizers that PyTorch's own need help for; all others are PyTorch's (configs/optimizer)."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn


def lbfgs(parameters: Iterable[nn.Parameter | dict[str, Any]], **options: Any) -> torch.optim.LBFGS:
    """torch.optim.LBFGS, whose `options` these are, for weights in channels-last order, which it cannot read itself.

    Raises ValueError for groups of parameters.
    """

    def reorder(parameter: torch.Tensor) -> None:
        assert parameter.grad is not None
        parameter.grad = parameter.grad.contiguous()

    weights: list[nn.Parameter] = []
    for parameter in parameters:
        if isinstance(parameter, dict):
            raise ValueError("L-BFGS has one learning rate for all; set input.lr=null")
        parameter.register_post_accumulate_grad_hook(reorder)
        weights.append(parameter)
    return torch.optim.LBFGS(weights, **options)

"""Optimizers that PyTorch's own need help for; all others are PyTorch's (configs/optimizer)."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn


def lbfgs(parameters: Iterable[nn.Parameter], **options: Any) -> torch.optim.LBFGS:
    """torch.optim.LBFGS, whose `options` these are, for weights in channels-last order, which it cannot read itself."""

    def reorder(parameter: torch.Tensor) -> None:
        assert parameter.grad is not None
        parameter.grad = parameter.grad.contiguous()

    parameters = list(parameters)
    for parameter in parameters:
        parameter.register_post_accumulate_grad_hook(reorder)
    return torch.optim.LBFGS(parameters, **options)

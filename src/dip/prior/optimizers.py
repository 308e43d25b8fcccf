"""Optimizers that need more than PyTorch's own class; configs/optimizer names all others directly."""

from collections.abc import Iterable
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge

from dip.errors import UserError


def lbfgs(
    parameters: Iterable[Any],
    lr: Annotated[float, Ge(0)],
    max_iter: int,  # passes a step
    history_size: int,
    line_search_fn: Literal["strong_wolfe"] | None = None,
    **others: Any,
) -> torch.optim.LBFGS:
    """torch.optim.LBFGS for weights in channels-last order, whose gradients it cannot flatten by itself."""

    def reorder(parameter: torch.Tensor) -> None:
        assert parameter.grad is not None
        parameter.grad = parameter.grad.contiguous()

    parameters = list(parameters)
    for parameter in parameters:
        if isinstance(parameter, dict):
            raise UserError("L-BFGS has one learning rate for all; set input.lr=null")
        parameter.register_post_accumulate_grad_hook(reorder)
    return torch.optim.LBFGS(
        parameters, lr=lr, max_iter=max_iter, history_size=history_size, line_search_fn=line_search_fn, **others
    )

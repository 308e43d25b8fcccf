"""Optimizers that need more than PyTorch's own class; configs/optimizer names all others directly."""

from collections.abc import Iterable
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge, Lt
from torch import Tensor

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


class Muon(torch.optim.Adam):
    """Muon for the kernels of convolutions, Adam for all other weights.

    A kernel (out, in, k, k) is a matrix (out, in * k * k). Its step is the momentum of its gradient, made nearly
    orthogonal by five Newton-Schulz iterations, so that no direction of it is small (K. Jordan et al. 2024,
    kellerjordan.github.io/posts/muon).
    """

    def __init__(
        self,
        parameters: Iterable[Any],
        lr: Annotated[float, Ge(0)],
        kernel_lr: Annotated[float, Ge(0)],
        momentum: Annotated[float, Ge(0), Lt(1)],
    ):
        groups = [group if isinstance(group, dict) else {"params": [group]} for group in parameters]
        own = [group for group in groups if "lr" in group]  # the input has a rate of its own
        weights = [weight for group in groups if "lr" not in group for weight in group["params"]]
        others = [weight for weight in weights if not is_kernel(weight)]
        super().__init__([{"params": others, "lr": lr}, *own])
        self.add_param_group({"params": [weight for weight in weights if is_kernel(weight)], "lr": kernel_lr})
        self.momentum = momentum

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        *_, kernels = self.param_groups
        gradients = [parameter.grad for parameter in kernels["params"]]
        for parameter, gradient in zip(kernels["params"], gradients, strict=True):
            if gradient is not None:
                parameter.add_(self.direction(parameter, gradient), alpha=-kernels["lr"])
                parameter.grad = None  # Adam leaves it alone
        super().step()
        for parameter, gradient in zip(kernels["params"], gradients, strict=True):
            parameter.grad = gradient
        return loss

    def direction(self, kernel: Tensor, gradient: Tensor) -> Tensor:
        """Of the kernel's shape, as a matrix with singular values near 1, scaled by its sides."""
        state = self.state[kernel]
        if not state:
            state["step"] = torch.tensor(0.0)  # Adam expects it in any state that it loads
            state["mean"] = torch.zeros_like(gradient)
        state["mean"].lerp_(gradient, 1 - self.momentum)
        ahead = gradient.lerp(state["mean"], self.momentum)  # Nesterov's momentum
        matrix = orthogonal(ahead.flatten(1))
        return matrix.view_as(gradient) * max(1, matrix.shape[0] / matrix.shape[1]) ** 0.5


def is_kernel(weight: Tensor) -> bool:
    """Whether it is a matrix of several rows; the learned input has one, whose orthogonal step hardly moves it."""
    return weight.ndim == 4 and len(weight) > 1


def orthogonal(matrix: Tensor) -> Tensor:
    """The nearest matrix with singular values of about 1, by five quintic Newton-Schulz iterations."""
    wide = matrix.shape[0] <= matrix.shape[1]
    found = matrix if wide else matrix.T
    found = found / found.norm().clamp(min=1e-7)
    for _ in range(5):
        square = found @ found.T
        found = 3.4445 * found + (-4.7750 * square + 2.0315 * square @ square) @ found
    return found if wide else found.T

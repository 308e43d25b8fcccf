"""Coverage: the pixels that get gradient from known pixels; outside of it T. Lemsky (2022) found coloured ellipses."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

MIXING = {torch.conv2d, torch.conv_transpose2d, F.linear}
# Functions of single values; and norms, whose statistics tie every pixel to every other, wherever they are.
PASSING = {
    *(F.batch_norm, F.instance_norm, F.group_norm, F.layer_norm, F.dropout, F.dropout2d, F.leaky_relu, F.relu, F.relu6),
    *(F.elu, F.selu, F.gelu, F.silu, F.mish, F.hardswish, F.softplus, F.sigmoid, F.tanh, torch.relu, torch.prelu),
    *(F.hardtanh, torch.sigmoid, torch.tanh, Tensor.relu, Tensor.sigmoid, Tensor.tanh, Tensor.clamp),
}
# A product of two tensors, as in gates, carries the gradient of either.
PRODUCTS = {torch.mul, Tensor.mul, Tensor.__mul__}
IN_PLACE_PRODUCTS = {Tensor.mul_, Tensor.__imul__}


@torch.enable_grad()
def covered(model: nn.Module, picture: Tensor, mask: Tensor) -> Tensor:
    """Where the network's input can get gradient from known pixels, whatever the weights are: (1, 1, h, w), boolean.

    picture: an input (1, C, h, w), of which only the shape counts; mask: (1, 1 or C, H, W), 1 = known.
    """
    picture = torch.zeros_like(picture).requires_grad_()
    training = model.training
    with Support():
        output = model.eval()(picture)  # without activation checkpointing, whose second forward pass is outside
    model.train(training)
    (gradient,) = torch.autograd.grad((output * mask).sum(), picture)
    return gradient.ne(0).any(dim=1, keepdim=True)


class Support(TorchFunctionMode):
    """Within it every weight is one, activations and norms do nothing, and every gradient is 0 or 1."""

    def __torch_function__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        if func in PASSING:
            return args[0]
        if func in MIXING:
            return mix(func, *args, **kwargs or {})
        if func in PRODUCTS and all(isinstance(factor, Tensor) for factor in args):
            return torch.add(*args)
        if func in IN_PLACE_PRODUCTS and isinstance(args[1], Tensor):
            return args[0].add_(args[1])
        if func is F.max_pool2d:
            return pool(*args, **kwargs or {})
        return func(*args, **kwargs or {})


def mix(func: Callable[..., Tensor], x: Tensor, weight: Tensor, bias: Any = None, *rest: Any, **options: Any) -> Tensor:
    """A convolution or linear layer whose weights are all one, without a bias."""
    ones = torch.ones_like(weight)
    groups = rest[3] if len(rest) > 3 else options.get("groups", 1)  # the seventh argument of both convolutions
    if func is F.linear or groups > 1:
        return BinaryGradient.apply(func(x, ones, None, *rest, **options))  # pyright: ignore[reportReturnType]
    # All channels are mixed, so one stands for all of them.
    one = func(x.sum(dim=1, keepdim=True), ones[:1, :1], None, *rest, **options)
    features = weight.shape[1 if func is torch.conv_transpose2d else 0]
    # As many features as the network's own, since it may change them in place.
    return BinaryGradient.apply(one).expand(-1, features, -1, -1).clone()  # pyright: ignore[reportAttributeAccessIssue]


def pool(
    x: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: int = 1, ceil_mode: bool = False, **_
) -> Tensor:
    """Max pooling, where any of the pixels may be the largest."""
    return F.avg_pool2d(x, kernel_size, stride, padding, ceil_mode)


class BinaryGradient(torch.autograd.Function):
    """Makes every gradient that is not 0 a 1, so that many layers cannot make it overflow or vanish."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return gradient.ne(0).to(gradient.dtype)

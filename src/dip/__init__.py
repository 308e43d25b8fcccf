"""Deep Image Prior inpainting: a network with random weights, trained on one damaged picture alone, repairs it."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dip.image.photo import Photo as Photo
    from dip.prior.averages import OutputAverage as OutputAverage
    from dip.prior.averages import WeightAverage as WeightAverage
    from dip.prior.inputs import LearnedInput as LearnedInput
    from dip.prior.losses import masked_mse as masked_mse
    from dip.prior.module import DeepImagePrior as DeepImagePrior
    from dip.prior.nets.deep_decoder import DeepDecoder as DeepDecoder
    from dip.prior.nets.resnet import ResNet as ResNet
    from dip.prior.nets.skip import Skip as Skip
    from dip.prior.nets.unet import UNet as UNet

# Each name and its module, which is imported at first use: the command answers --help without PyTorch.
PUBLIC = {
    "DeepDecoder": "dip.prior.nets.deep_decoder",
    "DeepImagePrior": "dip.prior.module",
    "LearnedInput": "dip.prior.inputs",
    "OutputAverage": "dip.prior.averages",
    "Photo": "dip.image.photo",
    "ResNet": "dip.prior.nets.resnet",
    "Skip": "dip.prior.nets.skip",
    "UNet": "dip.prior.nets.unet",
    "WeightAverage": "dip.prior.averages",
    "masked_mse": "dip.prior.losses",
}
__all__ = list(PUBLIC)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in PUBLIC:
        raise AttributeError(f"module 'dip' has no attribute {name!r}")
    return getattr(import_module(PUBLIC[name]), name)


def __dir__() -> list[str]:
    return __all__

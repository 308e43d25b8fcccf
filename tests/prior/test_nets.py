"""What all networks keep to, and what is each one's own; the U-Net has test_unet."""

import pytest
import torch
from torch import nn

from dip.errors import UserError
from dip.prior.nets.deep_decoder import DeepDecoder
from dip.prior.nets.layers import Lanczos, SameConv2d
from dip.prior.nets.resnet import ResNet
from dip.prior.nets.skip import Skip

LIBRARY = (16, 32, 64, 128, 128, 128)


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("network", "count"),
    [
        (Skip(32, 3, [128] * 5, [128] * 5, [4] * 5), 2_217_831),  # 50 % of the pixels
        (Skip(32, 3, [128] * 5, [128] * 5, [128] * 5, up_sampling="nearest"), 3_002_627),  # text
        (Skip(2, 3, [128] * 5, [128] * 5, [0] * 5, up_sampling="nearest"), 2_157_955),  # vase
        (Skip(1, 3, LIBRARY, LIBRARY, [0] * 6, 5, 3, up_sampling="nearest", up_1x1=False), 2_996_467),  # library
    ],
    ids=["pixels", "text", "vase", "library"],
)
def test_networks_of_the_paper_have_their_parameter_counts(network, count):
    assert parameters(network) == count


@pytest.mark.parametrize("size", [(32, 40), (37, 42), (38, 33)])
@pytest.mark.parametrize(
    "network",
    [
        Skip(2, 3, [4, 6, 6], [4, 6, 6], [2, 0, 2]),
        Skip(2, 3, [4, 6], [5, 7], [2, 2], 5, 3, "lanczos", "nearest", padding="zeros"),
        Skip(2, 3, [4, 6], [5, 7], [0, 0], down_sampling="max", up_1x1=False, padding="replicate"),
        Skip(2, 3, [4, 6], [5, 7], [0, 0], down_sampling="average", output="linear"),
        ResNet(2, 3, 2, 4),
    ],
    ids=["skip", "lanczos", "max", "average", "resnet"],
)
def test_output_has_the_size_of_the_picture_and_all_parameters_learn(network, size):
    network.zero_grad()
    output = network(torch.rand(1, 2, *size))
    assert output.shape == (1, 3, *size)
    output.square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_a_level_too_small_for_a_reflection_repeats_its_edge():
    reflecting, repeating = SameConv2d(2, 3, 5, "reflect"), SameConv2d(2, 3, 5, "replicate")
    repeating.load_state_dict(reflecting.state_dict())
    small, large = torch.rand(1, 2, 2, 4), torch.rand(1, 2, 3, 4)
    assert torch.equal(reflecting(small), repeating(small))
    assert not torch.equal(reflecting(large), repeating(large))
    assert Skip(2, 3, [4] * 3, [4] * 3, [0] * 3, 7)(torch.rand(1, 2, 17, 9)).shape == (1, 3, 17, 9)


@pytest.mark.parametrize("size", [(32, 40), (37, 42)])
def test_deep_decoder_grows_a_small_input(size):
    decoder = DeepDecoder(5, 3, size, (6, 7, 8, 8))
    assert decoder(torch.rand(1, 5, 4 + (size[0] > 32), 5 + (size[1] > 40))).shape == (1, 3, *size)
    with pytest.raises(UserError, match=r"starts from .*set input\.reduction=8"):
        decoder(torch.rand(1, 5, *size))


def test_lanczos_halves_a_picture_without_moving_or_dimming_it():
    slope = torch.arange(16.0)[None, None, None] * torch.ones(1, 2, 12, 1)
    halved = Lanczos(2)(slope)
    assert halved.shape == (1, 2, 6, 8)
    # Away from the edges pixel i lies between pixels 2 i and 2 i + 1.
    torch.testing.assert_close(halved[..., 2:-2], (slope[..., ::2] + 0.5)[..., :6, 2:-2], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Skip(2, 3, [4], [4, 4], [0]), "1, 2 and 1 numbers"),
        (lambda: Skip(2, 3, [0], [4], [0]), r"down=\[0\], but it must be a list, each a whole number, at least 1"),
        (lambda: Skip(2, 3, [4], [4], [-1]), r"skip=\[-1\], but .* at least 0; 0 is no connection"),
        (lambda: Skip(2, 3, [4], [4], [0], down_kernel=2), "down_kernel=2, but .* kernels are odd, such as 3 or 5"),
        (lambda: Skip(2, 3, [4], [4], [0], down_sampling="none"), "down_sampling=none, but it must be one of stride"),
        (lambda: Skip(2, 3, [4] * 3, [4] * 3, [0] * 3)(torch.rand(1, 2, 8, 9)), "9x8 is too small for 3 scales"),
        (lambda: ResNet(2, 3, 0, 4), "blocks=0, but it must be a whole number, at least 1"),
        (lambda: ResNet(2, 3, 1, 4, kernel=4), "kernel=4, but .* kernels are odd"),
        (lambda: DeepDecoder(2, 3, (8, 8), [4]), r"features=\[4\], but .* there are two layers or more"),
    ],
)
def test_bad_arguments_are_refused(make, message):
    with pytest.raises(UserError, match=message):
        make()

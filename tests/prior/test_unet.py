import pytest
import torch

from dip.errors import UserError
from dip.prior.nets.unet import UNet


def parameters(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
@pytest.mark.parametrize(("height", "width"), [(32, 32), (31, 32), (32, 31), (33, 47), (17, 9), (101, 67)])
def test_output_has_the_size_of_the_picture(height, width, depth):
    network = UNet(2, 3, depth, (4, 5, 6), encoder_kernel=3, decoder_kernel=5)
    assert network(torch.rand(1, 2, height, width)).shape == (1, 3, height, width)


def test_published_architecture_has_its_parameter_count():
    assert parameters(UNet(3, 3, 6, (16, 32, 64, 128, 128, 128), 3, 5)) == 3_923_491


def test_depth_takes_the_first_widths_and_repeats_the_last():
    assert parameters(UNet(3, 3, 2, (4, 5, 6))) == parameters(UNet(3, 3, 2, (4, 5)))
    assert parameters(UNet(3, 3, 4, (4, 5))) == parameters(UNet(3, 3, 4, (4, 5, 5, 5)))


@pytest.mark.parametrize(("height", "width"), [(10, 12), (9, 12), (10, 11), (9, 11), (1, 2)])
def test_growing_is_up_sampling_and_a_convolution(height, width):
    # As published: up-sample, add a zero row and column below and to the right where the size is even, convolve.
    grow = UNet(1, 1, 2, (3, 4)).double().grow[0]  # whose small gradients are sums of large terms
    x = torch.rand(2, 4, (height + 1) // 2, (width + 1) // 2, dtype=torch.float64, requires_grad=True)
    torch.nn.init.normal_(grow.convolution.bias)
    doubled = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    padded = torch.nn.functional.pad(doubled, (0, 1 - width % 2, 0, 1 - height % 2))
    plain = grow.convolution(padded)
    inputs = [x, *grow.parameters()]
    torch.testing.assert_close(grow(x, (height, width)), plain)
    torch.testing.assert_close(
        torch.autograd.grad(grow(x, (height, width)).square().sum(), inputs),
        torch.autograd.grad(plain.square().sum(), inputs),
    )


def test_last_convolution_is_computed_as_published():
    network, x = UNet(1, 1, 1, (3,)), torch.rand(1, 1, 9, 8)
    last = network.to_picture
    padded = torch.nn.functional.pad(network.encode[0](x), (0, 1, 0, 1))
    torch.testing.assert_close(network(x), torch.nn.functional.conv2d(padded, last.weight, last.bias))


def test_evaluation_uses_the_statistics_of_the_one_picture():
    network, x = UNet(1, 1, 2, (3, 4)), torch.rand(1, 1, 16, 16)
    assert torch.equal(network(x), network.eval()(x))


def test_sigmoid_output_stays_in_range():
    x = 100 * torch.randn(1, 1, 16, 16)
    bounded = UNet(1, 1, 2, (3, 4), output="sigmoid")(x)
    assert bounded.min() >= 0
    assert bounded.max() <= 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depth": 0}, "depth=0, but it must be a whole number, at least 1"),
        ({"widths": []}, r"widths=\[\], but .* with one number or more"),
        ({"widths": [4, 0]}, r"widths=\[4,0\]"),
        ({"encoder_kernel": 4}, "encoder_kernel=4, but .* kernels are odd"),
        ({"decoder_kernel": 2}, "decoder_kernel=2, but .* kernels are odd"),
        ({"output_gain": 0.0}, "output_gain=0.0, but it must be a number, above 0"),
        ({"output": "tanh"}, "output=tanh, but it must be one of linear, sigmoid"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        UNet(**{"in_channels": 3, "out_channels": 3, "depth": 2, "widths": (4, 5)} | arguments)


def test_a_small_gain_starts_from_plain_grey():
    x = torch.rand(1, 1, 32, 32)
    torch.manual_seed(0)
    grey = UNet(1, 3, 2, (3, 4), output="sigmoid", output_gain=0.001)(x)
    assert (grey - 0.5).abs().max() < 0.01
    torch.manual_seed(0)
    assert (UNet(1, 3, 2, (3, 4), output="sigmoid")(x) - 0.5).abs().max() > 0.3


def test_a_depth_that_is_too_large_names_one_that_works():
    with pytest.raises(UserError, match=r"16x20 is too small for model.depth=6, .* set model.depth=4 or less"):
        UNet(1, 1, 6, (2,))(torch.rand(1, 1, 20, 16))
    UNet(1, 1, 4, (2,))(torch.rand(1, 1, 20, 16))


@pytest.mark.parametrize("depth", [1, 3])
def test_activation_checkpointing_keeps_less_and_changes_no_gradient(depth):
    def gradients_and_kept(activation_checkpointing: bool) -> tuple[tuple[torch.Tensor, ...], int]:
        torch.manual_seed(0)
        network = UNet(3, 3, depth, (8, 16), activation_checkpointing=activation_checkpointing)
        kept = {}

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            kept[tensor.data_ptr()] = tensor.nbytes
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = network(torch.rand(1, 3, 37, 42)).square().mean()
        return torch.autograd.grad(loss, list(network.parameters())), sum(kept.values())

    whole, much = gradients_and_kept(False)
    recomputed, little = gradients_and_kept(True)
    torch.testing.assert_close(recomputed, whole, rtol=0, atol=0)
    assert little < 0.5 * much

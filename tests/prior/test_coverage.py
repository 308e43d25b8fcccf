from functools import partial

import pytest
import torch
from torch import nn

from dip.prior.coverage import covered
from dip.prior.nets.skip import Skip
from dip.prior.nets.unet import UNet


class Gated(nn.Module):
    """Adds in place, and multiplies."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(2, 2, 3, padding=1)

    def forward(self, picture):
        first = self.first(picture)
        found = self.second(first)
        found += first
        gated = found * torch.sigmoid(self.second(found))
        again = self.second(gated)
        again *= torch.sigmoid(gated)
        return again.sum(dim=1, keepdim=True)


# In evaluation with these statistics batch norm ties no pixels together, so that gradients show the receptive field.
NETWORKS = {
    "one convolution": lambda: nn.Conv2d(1, 1, 3, padding=1),
    "two convolutions": lambda: nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.Conv2d(2, 1, 5, padding=2)),
    "dilated": lambda: nn.Conv2d(1, 1, 3, padding=2, dilation=2),
    "strided": lambda: nn.Sequential(nn.Conv2d(1, 2, 3, 2, 1), nn.PReLU(), nn.ConvTranspose2d(2, 1, 2, 2)),
    "max pool": lambda: nn.Sequential(nn.MaxPool2d(2), nn.Sigmoid(), nn.Upsample(scale_factor=2), nn.Conv2d(1, 1, 1)),
    "relu6": lambda: nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU6(), nn.Conv2d(2, 1, 3, padding=1)),
    "gated": Gated,
    "unet 1": partial(UNet, 1, 1, 1, (2,)),
    "unet 2": partial(UNet, 1, 1, 2, (2, 3), 3, 3),
    "unet 2, wide": partial(UNet, 1, 1, 2, (2, 3), 3, 5),
    "unet 3": partial(UNet, 1, 1, 3, (2, 3), 3, 3),
    "unet bilinear": partial(UNet, 1, 1, 2, (2, 3), 3, 3, "bilinear", skip_connections=False),
    "unet reflect": partial(UNet, 1, 1, 2, (2, 3), 3, 3, padding="reflect", output="sigmoid"),
    "skip": partial(Skip, 1, 1, [2], [2], [2]),
    "skip average": partial(Skip, 1, 1, [2], [2], [0], down_sampling="average", padding="zeros"),
}


def by_gradients(make, mask, draws):
    """Where the gradient of the known pixels is not zero for any of many random weights and inputs."""
    found = torch.zeros_like(mask, dtype=torch.bool)
    for seed in range(draws):
        torch.manual_seed(seed)
        network = fixed_statistics(make())
        picture = torch.randn(mask.shape, dtype=torch.float64, requires_grad=True)
        weights = torch.randn(mask.shape, dtype=torch.float64) * mask
        (gradient,) = torch.autograd.grad((network(picture) * weights).sum(), picture)
        found |= gradient != 0
    return found


def fixed_statistics(network):
    for name, layer in list(network.named_modules()):
        if isinstance(layer, nn.BatchNorm2d):
            owner, _, last = name.rpartition(".")
            setattr(network.get_submodule(owner), last, nn.Identity())
    return network.double()


@pytest.mark.parametrize("name", NETWORKS)
def test_agrees_with_the_gradients_of_many_random_networks(name):
    torch.manual_seed(1)
    mask = (torch.rand(1, 1, 72, 64) > 0.2).float()
    mask[..., 3:69, 2:62] = 0
    with torch.no_grad():
        coverage = covered(NETWORKS[name](), torch.rand(1, 1, 72, 64), mask)
    assert torch.equal(coverage, by_gradients(NETWORKS[name], mask, draws=80))
    assert not coverage.all()  # or the comparison would say nothing


def test_a_norm_changes_nothing_and_nothing_of_the_network_is_changed():
    network = UNet(3, 3, 2, (4, 6), 3, 3)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    mask = torch.zeros(1, 1, 40, 40)
    mask[..., :8] = 1
    coverage = covered(network, torch.rand(1, 3, 40, 40), mask)
    assert torch.equal(coverage, covered(UNet(3, 3, 2, (4, 6), 3, 3, norm="none"), torch.rand(1, 3, 40, 40), mask))
    assert coverage[..., :8].all()
    assert not coverage[..., 30:].any()
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())

import torch
from torch import nn

from dip.prior.optimizers import Muon, orthogonal


def test_a_matrix_gets_singular_values_of_about_one():
    for shape in ((16, 16), (16, 144), (64, 9)):
        matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        singular = torch.linalg.svdvals(orthogonal(matrix))
        assert 0.3 < singular.min() < singular.max() < 1.3
    assert not orthogonal(torch.zeros(3, 4)).any()


def test_kernels_get_orthogonal_steps_and_all_other_weights_those_of_adam():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 3, 1))
    same = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 3, 1))
    same.load_state_dict(network.state_dict())
    picture, before = torch.rand(1, 3, 8, 8), network[0].weight.detach().clone()
    muon = Muon(network.parameters(), lr=0.01, kernel_lr=0.06, momentum=0.95)
    for model, optimizer in ((network, muon), (same, torch.optim.Adam(same.parameters(), lr=0.01))):
        model(picture).square().mean().backward()
        optimizer.step()
    others = [name for name, weight in network.named_parameters() if weight.ndim != 4]
    assert len(others) == 4
    for name in others:
        torch.testing.assert_close(network.get_parameter(name), same.get_parameter(name))
    step = torch.linalg.svdvals((before - network[0].weight).flatten(1)) / 0.06
    assert 0.3 < step.min() < step.max() < 1.3
    assert network[0].weight.grad is not None

import torch

from dip.losses import masked_mse


def test_is_the_mean_over_the_known_pixels():
    output, target = torch.rand(1, 3, 6, 5), torch.rand(1, 3, 6, 5)
    mask = (torch.rand(1, 1, 6, 5) > 0.4).float()
    known = mask.bool().expand_as(target)
    torch.testing.assert_close(masked_mse(output, target, mask), (output[known] - target[known]).square().mean())


def test_gradient_from_the_hole_is_exactly_zero():
    output = torch.rand(1, 3, 6, 5, requires_grad=True)
    mask = (torch.rand(1, 1, 6, 5) > 0.4).float()
    masked_mse(output, torch.rand(1, 3, 6, 5), mask).backward()
    known = mask.bool().expand_as(output)
    assert (output.grad[~known] == 0).all()
    assert (output.grad[known] != 0).all()

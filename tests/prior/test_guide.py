import pytest
import torch
from torch.nn import functional

from dip.image.holes import deep_holes
from dip.image.metrics import biharmonic
from dip.prior.guide import ColourRuns

MASK = torch.ones(1, 1, 48, 64)
MASK[..., 10:34, 20:44] = 0  # 12 pixels deep
HOLE = 1 - MASK
OUTPUTS = torch.rand(3, 3, 12, 16, generator=torch.Generator().manual_seed(0))


def runs(**turned):
    options = {
        "weight": 2.0,
        "depth": 8.0,
        "members": 3,
        "reduction": 4,
        "share": 0.5,
        "decay": 0.9,
        "trusted_sd": 1e6,
    }
    return ColourRuns(**options | turned)


def guided(mask=MASK, target=0.0, outputs=OUTPUTS, **turned):
    return runs(**turned).guide(torch.zeros(1, 3, *mask.shape[-2:]) + target, mask, outputs)


def inside(mask):
    """Where a run is guided: (1, 1, H, W)."""
    return sum(runs().holes(mask), torch.zeros_like(mask))


def enlarged(picture):
    return functional.interpolate(picture, scale_factor=4, mode="nearest")


def test_the_mean_of_the_runs_costs_nothing_and_what_is_finer_neither():
    penalty = guided()
    mean = enlarged(OUTPUTS.mean(dim=0, keepdim=True))
    board = torch.ones(48, 64)
    board[::2, 1::2] = board[1::2, ::2] = -1
    assert penalty(mean).item() == pytest.approx(0, abs=1e-12)
    assert penalty(mean + 0.3 * board).item() == pytest.approx(0, abs=1e-12)
    assert penalty(mean + 0.1).item() == pytest.approx(2 * 0.01, rel=1e-4)


def test_only_the_hole_is_held_and_only_a_large_one():
    drawn = enlarged(OUTPUTS.mean(dim=0, keepdim=True)).requires_grad_()
    guided()(drawn + 0.1).backward()
    assert torch.equal((drawn.grad != 0).all(dim=1, keepdim=True), blocks(HOLE) > 0)
    both = MASK.clone()
    both[..., 40:44, :] = 0  # 2 pixels deep
    assert torch.equal(inside(both), HOLE)
    assert not runs().holes(1 - both + MASK)
    assert not runs(weight=0.0).holes(MASK)
    scattered = torch.zeros(1, 1, 48, 64)
    scattered[..., ::20, ::20] = 1
    assert deep_holes(scattered == 0, 8.0)
    assert not runs().holes(scattered)


def blocks(picture):
    """Of each 4x4 pixels the mean, at full size."""
    return enlarged(functional.avg_pool2d(picture, 4))


def test_the_deviation_is_that_of_the_runs_in_the_hole():
    deviation = guided().deviation
    spread = OUTPUTS.var(dim=0, correction=0, keepdim=True).mean(dim=1, keepdim=True).sqrt()
    assert (deviation * MASK == 0).all()
    assert torch.allclose(deviation, functional.interpolate(spread, (48, 64), mode="bilinear") * HOLE)


def test_colours_are_the_runs_as_far_as_they_agree_in_a_hole_and_else_biharmonic_inpainting():
    two = torch.ones(1, 1, 48, 64)
    two[..., 4:44, 4:28] = two[..., 4:44, 36:60] = 0  # 12 pixels deep each
    target = torch.linspace(0, 1, 64).expand(1, 3, 48, 64) * two
    drawn = torch.full((4, 3, 12, 16), 0.8)
    drawn[:, :, :, 8:] += 0.1 * torch.tensor([-1.0, 1.0, -1.0, 1.0])[:, None, None, None]
    penalty = guided(two, target, drawn, trusted_sd=0.1)
    smooth = functional.avg_pool2d(biharmonic(target, two), 4)
    far = (0.8 - smooth)[..., 1:11, 9:15].square().mean().sqrt().item()
    trust = 1 / (1 + 0.1**2 / (0.1 * far))
    assert 0.3 < trust < 0.7
    assert penalty.trusts == pytest.approx([1, trust], abs=0.03)
    assert (penalty.colours[..., 2:10, 2:6] - 0.8).abs().max() < 0.01
    expected = smooth + trust * (0.8 - smooth)
    assert (penalty.colours - expected)[..., 2:10, 10:14].abs().max() < 0.02


def test_runs_are_trusted_more_where_they_are_farther_from_biharmonic_inpainting():
    drawn = torch.full((4, 3, 12, 16), 0.2) + 0.05 * torch.tensor([-1.0, 1.0, -1.0, 1.0])[:, None, None, None]
    near, far = (guided(outputs=outputs, trusted_sd=0.04) for outputs in (drawn - 0.1, drawn))
    assert near.trusts[0] < far.trusts[0] - 0.1


def test_the_reduced_picture_has_its_sides_divided():
    assert runs(reduction=4).max_side(torch.ones(1, 1, 400, 400)) == 100
    assert runs(reduction=4).max_side(torch.ones(1, 1, 100, 400)) == 50  # a square with as many pixels
    assert runs(reduction=99).max_side(MASK) == 8

import pytest
import torch

from dip.results.interval import HALF_WIDTH, calibrate, coverage, quantile
from dip.training.holdout import Evidence

SHAPE = (1, 2, 64, 64)
GENERATOR = torch.Generator().manual_seed(0)


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=GENERATOR)


@pytest.mark.parametrize("scale", [0.1, 10])
def test_new_values_lie_within_as_often_as_the_interval_says(scale):
    spread = 0.01 + 0.05 * random(*SHAPE).abs()
    truth = 0.5 + 0 * spread
    picture = truth + scale * 0.1 * spread * random(*SHAPE) * torch.tensor([1.0, 3.0]).view(1, 2, 1, 1)
    held_out = random(1, 1, 64, 64) < -1
    std, said = calibrate(Evidence(picture, held_out, spread), truth)
    for channel in range(2):
        rest = ~held_out[:, 0]
        within = (picture - truth).abs()[:, channel] <= HALF_WIDTH * std[:, channel]
        assert within[rest].float().mean() == pytest.approx(0.9, abs=0.03)
    assert said["coverage_held_out"] == pytest.approx(0.9, abs=0.04)
    assert coverage(picture, truth, std, ~held_out) == pytest.approx(0.9, abs=0.03)


def test_few_values_of_a_channel_are_judged_with_the_others():
    held_out = torch.zeros(SHAPE, dtype=torch.bool)
    held_out[0, 0, :4] = True
    held_out[0, 1, 0, :9] = True
    std, _ = calibrate(Evidence(0.01 * random(*SHAPE), held_out, torch.ones(SHAPE)), torch.zeros(SHAPE))
    assert std[:, 0].mean() == pytest.approx(std[:, 1].mean())


def test_a_picture_without_spread_has_an_interval_all_the_same():
    held_out = torch.ones(1, 1, 64, 64, dtype=torch.bool)
    std, _ = calibrate(Evidence(0.1 * random(*SHAPE), held_out, torch.zeros(SHAPE)), torch.zeros(SHAPE))
    assert std.mean() == pytest.approx(0.1, rel=0.1)


def test_the_quantile_counts_the_value_to_come():
    assert quantile(torch.arange(1.0, 10.0)) == 9  # of nine values the largest
    assert quantile(torch.arange(1.0, 100.0)) == 90

"""Error bars: a run's standard deviation, scaled until held-out values lie within them as often as they should."""

import math
from typing import Any

import torch
from torch import Tensor

from dip.training.holdout import Evidence

LEVEL = 0.9  # the share of values that lie within HALF_WIDTH standard deviations
HALF_WIDTH = 1.645  # of a normal distribution
STRIPS = 20
FEWEST = 100  # held-out values of a channel, whose errors tell its scale


def calibrate(evidence: Evidence, target: Tensor) -> tuple[Tensor, dict[str, Any]]:
    """The standard deviation of each value, (1, C, H, W), and what metrics.json holds of it.

    The deviation of the averaged outputs says where a picture is uncertain, and not by how much. So in each channel the
    mean over the held-out values is added to it, and both are scaled: LEVEL of the held-out errors lie within
    HALF_WIDTH of the result (split conformal prediction, Lei et al., arXiv:1604.04173). That holds in a hole as far as
    its values are like the held-out ones: for thin holes, of which these are copies; not for large ones. The same
    values have chosen the run's best step and the weights of its mixture, which are a handful of numbers.
    """
    assert evidence.deviation is not None
    inside = evidence.held_out.expand_as(target)
    deviation = evidence.deviation.expand_as(target).clone()
    errors = (evidence.picture - target).abs()
    groups = [[channel] for channel in range(target.shape[1])]
    if min(inside[:, channel].sum() for (channel,) in groups) < FEWEST:
        groups = [list(range(target.shape[1]))]  # all of them as one
    within = []
    for channels in groups:
        where = inside[:, channels]
        spread = deviation[:, channels] + deviation[:, channels][where].mean().clamp(min=1e-6)
        relative = (errors[:, channels] / spread)[where]
        # Neighbours err alike, so the halves are strips of the picture in turns.
        strips = relative.chunk(STRIPS)
        halves = torch.cat(strips[::2]), torch.cat(strips[1::2])
        within += [(half <= quantile(other)).float().mean().item() for half, other in (halves, halves[::-1])]
        deviation[:, channels] = spread * quantile(relative) / HALF_WIDTH
    return deviation, {"level": LEVEL, "coverage_held_out": sum(within) / len(within)}


def quantile(errors: Tensor) -> Tensor:
    """What LEVEL of the values to come, of the same distribution, do not exceed."""
    rank = min(math.ceil(LEVEL * (len(errors) + 1)), len(errors))
    return errors.kthvalue(rank).values


def coverage(output: Tensor, truth: Tensor, std: Tensor, hole: Tensor) -> float:
    """The share of the hole's values, boolean (1, 1 or C, H, W), whose truth lies within HALF_WIDTH of the output."""
    within = (output.clamp(0, 1) - truth).abs() <= HALF_WIDTH * std
    return within[hole.expand_as(within)].float().mean().item()

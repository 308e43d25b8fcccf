"""Noise in a result: a mixture of what several methods draw, weighed by the pixels that the run held out."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor

from dip.errors import UserError
from dip.image.metrics import noise_sd, non_local_means
from dip.options import checked
from dip.prior.operators.operator import Operator
from dip.prior.sample import Sample
from dip.results.patches.group_sparse import Groups
from dip.results.patches.refinement import NETWORK, blend, judge, shares
from dip.training.holdout import Evidence

log = logging.getLogger(__name__)


@checked
@dataclass(eq=False, repr=False)
class Denoising:
    """Draws the whole picture of an output anew, from its noisy measurement.

    The methods are the output itself, non-local means, and each round of `Groups`: the first shrinks groups of noisy
    patches that are alike in the output, every other one what the round before has found and a share of the noise again
    (as SAIST, Dong et al. 2013). A threshold is a multiple of the largest singular value that noise alone has. The
    picture is their mixture of the least squared error on held-out pixels, whose noise no method has seen.
    """

    rounds: Annotated[int, Ge(0), "0 leaves the output as it is"]
    patch: Annotated[int, Ge(2)]  # of `Groups`, as the next three
    stride: Annotated[int, Ge(1)]
    radius: Annotated[int, Ge(1)]
    similar: Annotated[int, Ge(2)]
    first_threshold: Annotated[float, Gt(0)]  # of the first round, times the largest singular value of noise
    next_threshold: Annotated[float, Gt(0)]  # of the others
    noise_share: Annotated[float, Ge(0), Le(1)]  # of what a round has taken away that comes back before the next

    def __post_init__(self) -> None:
        if self.stride > self.patch:
            raise UserError(f"refine.stride={self.stride}, but it must be at most refine.patch={self.patch}")
        if self.similar > (places := (2 * self.radius + 1) ** 2):
            raise UserError(
                f"refine.similar={self.similar}, but within refine.radius={self.radius} there are {places} places"
            )
        self.groups = Groups(self.patch, self.stride, self.radius, self.similar)

    def check(self, operator: Operator) -> None:
        """Raise UserError for an operator that does not measure each pixel with noise."""
        if self.rounds > 0 and (operator.exact or not operator.per_pixel):
            raise UserError(f"refine=denoise is for operator=identity, and this is {operator}; set refine=none")

    def __call__(
        self, output: Tensor, sample: Sample, evidence: Evidence | None
    ) -> tuple[Tensor, Evidence | None, dict[str, Any]]:
        """The picture, (1, C, H, W), the evidence of it, and what metrics.json holds of it."""
        noisy = sample.target.lerp(output, 1 - sample.mask)
        sd = noise_sd(sample.target, sample.mask)
        weights = {f"round_{number}": 1 / self.rounds for number in range(1, self.rounds + 1)}
        found: dict[str, Any] = {}
        if evidence is not None:
            unseen = torch.where(evidence.held_out, evidence.picture, noisy)
            drawn = dict(self.draw(evidence.picture, unseen, sd))
            weights, evidence, found = judge(drawn, sample.target, evidence)
        said = "Noise of a standard deviation of %.1f (white is 255). The picture is drawn by %s."
        log.info(said, 255 * sd, shares(weights))
        drawn = up_to_last(weights, self.draw(output, noisy, sd))
        return blend(weights, drawn), evidence, {"weights": weights, "noise_sd": sd, **found}

    def draw(self, output: Tensor, noisy: Tensor, sd: float) -> Iterator[tuple[str, Tensor]]:
        """The picture (1, C, H, W) of each method, by its name."""
        yield NETWORK, output.clamp(0, 1)
        yield "non_local_means", non_local_means(noisy, sd)
        largest = sd * (self.similar**0.5 + (noisy.shape[1] * self.patch**2) ** 0.5)  # Gavish and Donoho 2014
        found = self.groups.shrink_all(noisy, output, self.first_threshold * largest)
        yield "round_1", found.clamp(0, 1)
        for number in range(2, self.rounds + 1):
            found = self.groups.shrink_all(found.lerp(noisy, self.noise_share), found, self.next_threshold * largest)
            yield f"round_{number}", found.clamp(0, 1)


def up_to_last(weights: Mapping[str, float], drawn: Iterator[tuple[str, Tensor]]) -> dict[str, Tensor]:
    """What is drawn up to the last method that has a weight; the rounds after it are not needed."""
    found: dict[str, Tensor] = {}
    while not weights.keys() <= found.keys():
        found.update([next(drawn)])
    return found

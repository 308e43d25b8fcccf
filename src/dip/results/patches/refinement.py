"""Thin holes of a result, or an enlarged one: what several methods draw, weighed by the pixels that were held out."""

import logging
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import numpy as np
import torch
from annotated_types import Ge, Gt, Lt, MinLen
from scipy.optimize import nnls
from torch import Tensor

from dip.errors import UserError
from dip.image.metrics import biharmonic, psnr
from dip.options import checked
from dip.prior.operators.operator import Operator
from dip.prior.sample import Sample
from dip.results.folder import BASELINES
from dip.results.patches.group_sparse import GroupSparse
from dip.training.holdout import Evidence

log = logging.getLogger(__name__)
NETWORK, SMOOTH = "network", "biharmonic"
LEAST = 0.01  # weight of a method


@checked
@dataclass(eq=False, repr=False)
class Refinement:
    """Draws thin holes of an output anew, or all of an enlarged picture.

    The methods are the output itself, biharmonic inpainting, and `GroupSparse` from the output on with patches of each
    size. The hole gets their mixture of the least squared error on the held-out pixels; without these, and of an
    enlarged picture, it gets the mean over the sizes.
    """

    patches: Annotated[Sequence[Annotated[int, Ge(2)]], MinLen(1), "refine=none leaves the hole as it is"]  # sides
    similar: Annotated[float, Gt(0)]  # patches of a group, for each pixel of a patch
    stride: Annotated[int, Ge(1)]  # of GroupSparse, as the others
    radius: Annotated[int, Ge(1)]
    rounds: Annotated[int, Ge(0), "0 leaves the output as it is"]
    relaxation: Annotated[float, Gt(0), Lt(2)]
    first_threshold: Annotated[float, Gt(0)]  # for each pixel of a patch's side
    last_threshold: Annotated[float, Gt(0)]

    def __post_init__(self) -> None:
        if self.stride > min(self.patches):
            raise UserError(
                f"refine.stride={self.stride}, but patches of {min(self.patches)} pixels (refine.patches) would leave "
                "pixels out; set it to no more than that"
            )
        self.steps = {f"patches_{side}": self.step(side) for side in self.patches}

    def step(self, side: int) -> GroupSparse:
        similar, places = max(round(self.similar * side**2), 2), (2 * self.radius + 1) ** 2
        if similar > places:
            raise UserError(
                f"refine.similar={self.similar:g} is {similar} patches of {side}x{side}, but within "
                f"refine.radius={self.radius} there are {places} places; set a larger refine.radius"
            )
        thresholds = side * self.first_threshold, side * self.last_threshold
        return GroupSparse(side, self.stride, self.radius, similar, self.rounds, self.relaxation, *thresholds)

    def check(self, operator: Operator) -> None:
        """Raise UserError for an operator whose measurement cannot be put back into a picture."""
        if self.rounds > 0 and not (operator.exact or operator.puts_back):
            raise UserError(
                f"refine=group_sparse is for operator=mask and operator=downsample, and this is {operator}; "
                "set refine=none"
            )

    def __call__(
        self, output: Tensor, sample: Sample, evidence: Evidence | None
    ) -> tuple[Tensor, Evidence | None, dict[str, Any]]:
        """The output with another hole, (1, C, H, W), the evidence of it, and what metrics.json holds of it."""
        weights, found = dict.fromkeys(self.steps, 1 / len(self.steps)), {}
        if not sample.operator.exact:
            return self.enlarge(output, sample), evidence, {"weights": weights}
        if evidence is not None:
            target, mask = sample.target * ~evidence.held_out, sample.mask * ~evidence.held_out
            drawn = dict(self.draw([NETWORK, *self.steps, SMOOTH], evidence.picture, target, mask))
            weights, evidence, found = judge(drawn, sample.target, evidence)
        drawn = dict(self.draw(weights, output, sample.target, sample.mask))
        log.info("The hole is drawn by %s.", shares(weights))
        return torch.where(sample.mask < 1, blend(weights, drawn), output), evidence, {"weights": weights, **found}

    def enlarge(self, output: Tensor, sample: Sample) -> Tensor:
        """The output drawn anew everywhere, with just the sample's measurement: (1, C, H, W)."""
        put_back = partial(sample.operator.put_back, measurement=sample.target)
        everywhere = torch.ones_like(output[:, :1], dtype=torch.bool)
        drawn = {
            name: last(step.rounds_of(put_back(output), everywhere, put_back)) for name, step in self.steps.items()
        }
        return blend(dict.fromkeys(drawn, 1 / len(drawn)), drawn)

    def draw(self, methods: Iterable[str], picture: Tensor, target: Tensor, mask: Tensor) -> Iterator[tuple[str, Any]]:
        """The picture (1, C, H, W) of each method, by its name."""
        for name in methods:
            if name in self.steps:
                drawn = last(self.steps[name](picture, target, mask))
            else:
                drawn = picture if name == NETWORK else biharmonic(target, mask)
            yield name, drawn.clamp(0, 1)


def last(rounds: Iterator[Tensor]) -> Tensor:
    """The picture of the last round, without keeping those before it."""
    (picture,) = deque(rounds, maxlen=1)
    return picture


def judge(
    drawn: Mapping[str, Tensor], target: Tensor, evidence: Evidence
) -> tuple[dict[str, float], Evidence, dict[str, Any]]:
    """The weights of methods by what they draw, (1, C, H, W), of held-out pixels; the evidence of their mixture.

    And what metrics.json holds of it: the PSNR of each method and of the mixture there.
    """
    weights = weigh(drawn, target, evidence.held_out)
    mixed = blend(weights, drawn)
    each = {**drawn, "mixed": mixed}
    scores = {name: psnr(picture, target, evidence.held_out) for name, picture in each.items()}
    return weights, evidence._replace(picture=mixed), {"psnr_held_out": scores}


def shares(weights: Mapping[str, float]) -> str:
    """The weights in words."""
    return ", ".join(f"{100 * weight:.0f} % {words(name)}" for name, weight in weights.items())


def words(method: str) -> str:
    kind, _, number = method.rpartition("_")
    patches = {"patches": f"similar patches of {number}x{number}", "round": f"round {number} of similar patches"}
    named = {**BASELINES, NETWORK: "the network", SMOOTH: "biharmonic inpainting"}
    return named[method] if method in named else patches[kind]


def weigh(drawn: Mapping[str, Tensor], target: Tensor, region: Tensor) -> dict[str, float]:
    """The weight of each method that has one above LEAST, by non-negative least squares over a boolean region.

    The weights are not negative and add up to one.
    """
    inside = region.expand_as(target)
    columns = np.stack([picture[inside].cpu().numpy() for picture in drawn.values()], axis=1).astype(np.float64)
    strict = 1e3 * len(columns) ** 0.5  # of the row that has the weights add up to one
    system = np.vstack([columns, np.full((1, columns.shape[1]), strict)])
    weights, _ = nnls(system, np.append(target[inside].cpu().numpy().astype(np.float64), strict))
    kept = {name: float(weight) for name, weight in zip(drawn, weights, strict=True) if weight > LEAST}
    return {name: round(weight / sum(kept.values()), 4) for name, weight in kept.items()}


def blend(weights: Mapping[str, float], drawn: Mapping[str, Tensor]) -> Tensor:
    return torch.stack([weight * drawn[name] for name, weight in weights.items()]).sum(dim=0)

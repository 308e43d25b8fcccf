"""The hole of a result: a mixture of what several methods draw, weighed by the pixels that the run held out."""

import logging
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from scipy.optimize import nnls
from torch import Tensor

from dip.image.metrics import biharmonic, psnr
from dip.prior.sample import Sample
from dip.training.holdout import Evidence

log = logging.getLogger(__name__)
Step = Callable[[Tensor, Tensor, Tensor], Iterator[Tensor]]  # (picture, target, mask) -> the picture after each round
NAMES = {
    "network": "the network",
    "network_step": "the network and similar patches",
    "biharmonic_step": "biharmonic inpainting and similar patches",
    "biharmonic": "biharmonic inpainting",
}


def mix(step: Step, output: Tensor, sample: Sample, evidence: Evidence | None) -> tuple[Tensor, dict[str, Any]]:
    """The output with another hole, (1, C, H, W), and what metrics.json holds of it.

    The weights of the methods are those of the least squared error on the held-out pixels; they are not negative and
    add up to one. Without such pixels the step is taken from the network's picture.
    """
    methods, found = {"network_step": 1.0}, {}
    if evidence is not None:
        target = sample.target * ~evidence.held_out
        drawn = dict(draw(step, evidence.picture, target, sample.mask * ~evidence.held_out, NAMES))
        methods = weigh(drawn, sample.target, evidence.held_out)
        scores = {name: psnr(picture, sample.target, evidence.held_out) for name, picture in drawn.items()}
        mixed = psnr(blend(methods, drawn), sample.target, evidence.held_out)
        found = {"psnr_held_out": {**scores, "mixed": mixed}}
    drawn = dict(draw(step, output, sample.target, sample.mask, methods))
    shares = ", ".join(f"{100 * weight:.0f} % {NAMES[name]}" for name, weight in methods.items())
    log.info("The hole is drawn by %s.", shares)
    hole = torch.where(sample.mask < 1, blend(methods, drawn), output)
    return hole, {"weights": methods, **found}


def draw(step: Step, picture: Tensor, target: Tensor, mask: Tensor, wanted: Any) -> Iterator[tuple[str, Tensor]]:
    """The picture of each wanted method, by its name."""

    def stepped(start: Tensor) -> Tensor:
        (last,) = deque(step(start, target, mask), maxlen=1)  # without keeping those before it
        return last

    smooth = biharmonic(target, mask) if {"biharmonic", "biharmonic_step"} & set(wanted) else None
    for name in wanted:
        start = picture if name.startswith("network") else smooth
        assert start is not None
        yield name, (stepped(start) if name.endswith("step") else start).clamp(0, 1)


def weigh(drawn: dict[str, Tensor], target: Tensor, region: Tensor) -> dict[str, float]:
    """The weight of each method that has one above 0.01, by non-negative least squares over a boolean region."""
    inside = region.expand_as(target)
    columns = np.stack([picture[inside].numpy() for picture in drawn.values()], axis=1).astype(np.float64)
    strict = 1e3 * len(columns) ** 0.5  # of the row that has the weights add up to one
    system = np.vstack([columns, np.full((1, columns.shape[1]), strict)])
    weights, _ = nnls(system, np.append(target[inside].numpy().astype(np.float64), strict))
    kept = {name: float(weight) for name, weight in zip(drawn, weights, strict=True) if weight > 0.01}
    return {name: round(weight / sum(kept.values()), 4) for name, weight in kept.items()}


def blend(weights: dict[str, float], drawn: dict[str, Tensor]) -> Tensor:
    return torch.stack([weight * drawn[name] for name, weight in weights.items()]).sum(dim=0)

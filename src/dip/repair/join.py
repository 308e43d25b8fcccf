"""How the results of several jobs become one: parts are pasted, ensemble members averaged."""

from collections.abc import Mapping
from dataclasses import replace
from math import ceil
from statistics import fmean
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dip.config.build import build_writer
from dip.image import tensors
from dip.image.files.arrays import ArrayPicture
from dip.prior.sample import Sample, compare
from dip.repair.plan import Job
from dip.results.folder import RunFolder
from dip.results.pictures import save_uncertainty
from dip.results.result import OutputFile, Result, axis_of, baseline, can_be_filled
from dip.training.holdout import Evidence

Results = Mapping[str, Result]  # by the name of the job


def join(
    job: Job, folder: RunFolder, results: Results, complete: bool, seconds_before: float = 0.0, at_once: int = 1
) -> Result:
    """The result of a job from those of its children, as far as they have one; written to `folder`.

    complete: all children are done. seconds_before: what the guide took. at_once: the members that train at once.
    """
    if job.has_parts:
        return paste(job, folder, results, complete)
    return average(job, folder, results, complete, seconds_before, at_once)


def paste(job: Job, folder: RunFolder, results: Results, complete: bool) -> Result:
    """The photograph with what each part has repaired."""
    if not any(result.metrics for result in results.values()):
        return Result({}, None)
    picture, found = job.photo.picture.copy(), {}
    std = None
    if isinstance(picture, ArrayPicture):
        std = replace(picture, values=np.zeros(picture.values.shape, dtype=np.float32))
    for part in job.children:
        metrics, repaired, own = results[part.name].metrics, results[part.name].picture, results[part.name].std
        if std is not None and own is not None and part.place is not None:
            std.paste(replace(std, values=own), part.place.box[:2], part.place.pixels)
        if repaired is not None and part.place is not None:
            picture.paste(repaired, part.place.box[:2], part.place.pixels)  # pyright: ignore[reportArgumentType]
            found[part.name] = {**metrics, "region": list(part.place.box)}
    file = OutputFile(**job.cfg.output).write(picture, folder)
    by = stopped_by(found) if complete else "interrupt"
    metrics = {"stopped_by": by, **axis_of(picture), **measure_whole(job, picture), "parts": found}
    folder.write_metrics(metrics)
    if std is not None:
        folder.write_uncertainty(std.array)
    return Result(metrics, picture, file=file, std=None if std is None else std.values)


def measure_whole(job: Job, picture: Any) -> dict[str, Any]:
    """The measures of a picture that is pasted from parts, where the ground truth is known."""
    photo = job.photo
    if photo.truth is None:
        return {}
    sample, keys = Sample(*photo.full), ("psnr_hole", "ssim_hole", "psnr_composite")
    found = compare(tensors.from_pil(picture.crop(photo.region), photo.levels), sample)
    measures: dict[str, Any] = {"region": list(photo.region), **{key: found[key] for key in keys}}
    if can_be_filled(sample.mask):
        smooth = compare(baseline(photo), sample)
        measures["baseline"] = {"method": "biharmonic", **{key: smooth[key] for key in keys}}
    return measures


def average(
    job: Job, folder: RunFolder, results: Results, complete: bool, seconds_before: float, at_once: int
) -> Result:
    """The mean of the outputs, with what is done to the hole of a result."""
    drawn = [result for result in results.values() if result.outputs is not None]
    if not drawn:
        return Result({}, None)
    outputs = torch.cat([result.outputs for result in drawn if result.outputs is not None])
    deviations = [result.deviations for result in drawn if result.deviations is not None]
    save_uncertainty(deviation_of_all(outputs, deviations), folder.path)
    members = {name: result.metrics for name, result in results.items() if result.metrics}
    run = summary(members, complete, seconds_before, at_once)
    judged = [result.evidence for result in drawn if result.evidence is not None]
    evidence = None
    if judged:
        pictures = torch.cat([evidence.picture for evidence in judged])
        spread = deviation_of_all(pictures, [each.deviation for each in judged if each.deviation is not None])
        evidence = Evidence(pictures.mean(dim=0, keepdim=True), judged[0].held_out, spread)
    result = build_writer(job.cfg, job.photo, folder).write(outputs.mean(dim=0, keepdim=True), run, evidence)
    return result._replace(outputs=outputs)


def deviation_of_all(outputs: Tensor, deviations: list[Tensor]) -> Tensor:
    """The standard deviation over all that several runs have drawn, (1, C, H, W), by the law of total variance.

    outputs: (N, C, H, W), the result of each run; deviations: each (1, C, H, W), of a run by itself, where it has one.
    """
    variance = outputs.var(dim=0, correction=0, keepdim=True)
    if deviations:
        variance += torch.cat(deviations).square().mean(dim=0, keepdim=True)
    return variance.sqrt()


def summary(members: dict[str, Any], complete: bool, seconds_before: float, at_once: int) -> dict[str, Any]:
    """What metrics.json holds of several runs as one; an incomplete ensemble counts as interrupted."""
    each = list(members.values())
    turns = ceil(len(each) / at_once)
    seconds = seconds_before + (turns * fmean(member["seconds"] for member in each) if each else 0.0)
    found: dict[str, Any] = {"steps": sum(member["steps"] for member in each), "seconds": round(seconds, 2)}
    found["stopped_by"] = stopped_by(members) if complete else "interrupt"
    for key in ("psnr_held_out", "psnr_held_out_biharmonic"):
        if each and all(key in member for member in each):
            found[key] = fmean(member[key] for member in each)
    return {**found, "members": members}


def stopped_by(runs: dict[str, Any]) -> str:
    """What has stopped several runs, by the metrics of each."""
    return ", ".join(sorted({run["stopped_by"] for run in runs.values()}))

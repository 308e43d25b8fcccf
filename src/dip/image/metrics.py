"""How near an output is to the truth over a region, boolean (1, 1 or C, H, W), or without a truth to what is around."""

from statistics import fmean
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import wasserstein_distance
from skimage.restoration import denoise_nl_means, inpaint_biharmonic
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from dip.image import holes

WINDOW = 11  # pixels of the SSIM's window, the least side of its pictures
RING = 16  # pixels, the least width of the known ring that the hole's texture is compared with
MOST_DB = 100.0  # of equal pictures, for which there is no finite number
VISIBLE = 1 / 255  # a gradient; surroundings with less of it on average are flat


def psnr(output: Tensor, truth: Tensor, region: Tensor) -> float:
    """Peak signal-to-noise ratio in dB over all channels of the region; MOST_DB where they are equal."""
    # Only the output is clipped: in the hole the truth may be darker or brighter than all known pixels.
    # Multiplied with the region, not picked out by it, which takes twenty times as long.
    error = (output.float().clamp(0, 1) - truth.float()).square() * region
    dtype = torch.float32 if error.device.type == "mps" else torch.float64  # which Apple's GPUs do not have
    mean = error.sum(dtype=dtype) / (region.sum() * (truth.shape[1] // region.shape[1]))
    return -10 * mean.clamp(min=10 ** (-MOST_DB / 10)).log10().item()


def ssim(output: Tensor, truth: Tensor, region: Tensor) -> float:
    """Mean over the region of the structural similarity map (Wang et al. 2004: Gaussian window, sigma 1.5)."""
    height, width = truth.shape[-2:]
    padding = (0, max(WINDOW - width, 0), 0, max(WINDOW - height, 0))
    ours, theirs = (F.pad(picture.float(), padding, mode="replicate") for picture in (output.clamp(0, 1), truth))
    _, similarity = structural_similarity_index_measure(ours, theirs, data_range=1.0, return_full_image=True)
    return similarity[..., :height, :width][region.expand_as(truth)].mean().item()


def texture_distance(picture: Tensor, mask: Tensor) -> float | None:
    """How far the texture of the hole is from that of the known pixels around it: 0 is the same, about 1 a flat hole.

    Wasserstein-1 distance between the gradients (differences of neighbours, in grey, without sign) within the hole and
    within a ring as wide as the hole is deep, over the mean of those in the ring; the mean of full and half size.
    None where no two neighbours are in the hole, or none in the ring. mask: (1, 1 or C, H, W), 1 = known, 0 = hole.
    """
    picture, mask = picture.float().clamp(0, 1).cpu(), mask.cpu()
    known, hole = ((mask == value).all(dim=1, keepdim=True) for value in (1, 0))
    ring = holes.surroundings(~known, known, RING)
    pairs = [(gradients(picture, hole, scale), gradients(picture, ring, scale)) for scale in (1, 2)]
    found = [
        wasserstein_distance(inside, around) / max(around.mean(), VISIBLE)
        for inside, around in pairs
        if inside.size and around.size
    ]
    return float(fmean(found)) if found else None


def gradients(picture: Tensor, region: Tensor, scale: int) -> np.ndarray:
    """By how much neighbours differ that are both in the region, at 1/scale of the size, in grey."""
    if min(picture.shape[-2:]) < 2 * scale:
        return np.empty(0)  # there are no neighbours
    grey = F.avg_pool2d(picture.mean(dim=1, keepdim=True), scale)
    within = F.avg_pool2d(region.float(), scale) == 1
    steps = [grey.diff(dim=dim)[within.unfold(dim, 2, 1).all(dim=-1)] for dim in (2, 3)]
    return torch.cat(steps).abs().numpy()


def biharmonic(target: Tensor, mask: Tensor) -> Tensor:
    """The classical baseline: scikit-image's biharmonic inpainting of the hole, (1, C, H, W) in [0, 1]."""
    picture, holes = (each[0].permute(1, 2, 0).cpu().numpy() for each in (target, mask == 0))
    if holes.shape[2] == 1:
        filled = inpaint_biharmonic(picture, holes[..., 0], channel_axis=-1)
    else:
        each = zip(np.moveaxis(picture, -1, 0), np.moveaxis(holes, -1, 0), strict=True)
        filled = np.stack(
            [inpaint_biharmonic(*channel) if channel[1].any() else channel[0] for channel in each], axis=-1
        )
    return torch.from_numpy(filled).permute(2, 0, 1)[None].float().clamp(0, 1).to(target.device)


def non_local_means(noisy: Tensor, sd: float) -> Tensor:
    """The classical baseline of denoising: scikit-image's fast non-local means, (1, C, H, W) -> the same in [0, 1].

    With the settings that its documentation recommends for noise of the standard deviation `sd`.
    """
    pixels = noisy[0].permute(1, 2, 0).cpu().numpy()
    if sd == 0:
        return noisy.clamp(0, 1)
    # Of a grey picture with an axis of channels it would divide by the wrong number of values.
    grey = pixels.shape[2] == 1
    options: dict[str, Any] = {"patch_size": 5, "patch_distance": 6, "h": 0.8 * sd, "sigma": sd, "fast_mode": True}
    found = denoise_nl_means(pixels[..., 0] if grey else pixels, channel_axis=None if grey else -1, **options)
    found = found[..., None] if grey else found
    return torch.from_numpy(found).permute(2, 0, 1)[None].float().clamp(0, 1).to(noisy.device)


def noise_sd(picture: Tensor, mask: Tensor) -> float:
    """The standard deviation of white noise, from the median of diagonal differences (Donoho and Johnstone 1994).

    picture: (1, C, H, W); mask: (1, 1 or C, H, W), 1 = known. Squares of 2x2 known values count, and with them fine
    texture. Zero where there is no such square.
    """
    signs = torch.tensor([[0.5, -0.5], [-0.5, 0.5]], device=picture.device).expand(picture.shape[1], 1, 2, 2)
    diagonal = F.conv2d(picture.float(), signs, groups=picture.shape[1])
    whole = F.avg_pool2d((mask == 1).float(), 2, stride=1).expand_as(diagonal) == 1
    each = [differences[known].abs() for differences, known in zip(diagonal[0], whole[0], strict=True)]
    found = [values.median().item() for values in each if len(values)]
    return fmean(found) / 0.6745 if found else 0.0

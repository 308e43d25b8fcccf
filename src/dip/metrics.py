"""How near an output is to the truth, over a region: a boolean (1, 1, H, W). Both are clipped to [0, 1] first."""

import torch
from skimage.restoration import inpaint_biharmonic
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure


def psnr(output: Tensor, truth: Tensor, region: Tensor) -> float:
    """Peak signal-to-noise ratio in dB over all channels of the region."""
    # Multiplied with the region, not picked out by it, which takes twenty times as long.
    error = (output.float().clamp(0, 1) - truth.float()).square() * region
    return -10 * (error.sum(dtype=torch.float64) / (region.sum() * truth.shape[1])).log10().item()


def ssim(output: Tensor, truth: Tensor, region: Tensor) -> float:
    """Mean over the region of the structural similarity map (Wang et al. 2004: Gaussian window, sigma 1.5)."""
    _, similarity = structural_similarity_index_measure(
        output.float().clamp(0, 1), truth.float(), data_range=1.0, return_full_image=True
    )
    return similarity[region.expand_as(truth)].mean().item()


def biharmonic(target: Tensor, mask: Tensor) -> Tensor:
    """The classical baseline: scikit-image's biharmonic inpainting of the hole, (1, C, H, W) in [0, 1]."""
    holes = mask[0, 0].cpu().numpy() == 0
    filled = inpaint_biharmonic(target[0].permute(1, 2, 0).cpu().numpy(), holes, channel_axis=-1)
    return torch.from_numpy(filled).permute(2, 0, 1)[None].float().clamp(0, 1).to(target.device)

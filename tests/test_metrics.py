import numpy as np
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from dip import metrics

TRUTH = torch.rand(1, 3, 24, 30, generator=torch.Generator().manual_seed(0))
OUTPUT = (TRUTH + 0.1 * torch.randn(TRUTH.shape, generator=torch.Generator().manual_seed(1))).clamp(0, 1)
HOLE = torch.zeros(1, 1, 24, 30, dtype=torch.bool)
HOLE[..., 5:15, 8:20] = True


def rows(picture: torch.Tensor) -> np.ndarray:
    return picture[0].permute(1, 2, 0).numpy()


def test_psnr_agrees_with_scikit_image():
    inside = (rows(TRUTH)[5:15, 8:20], rows(OUTPUT)[5:15, 8:20])
    assert abs(metrics.psnr(OUTPUT, TRUTH, HOLE) - peak_signal_noise_ratio(*inside, data_range=1)) < 1e-4


def test_ssim_agrees_with_scikit_image():
    _, similarity = structural_similarity(
        rows(TRUTH),
        rows(OUTPUT),
        data_range=1,
        channel_axis=-1,
        gaussian_weights=True,
        use_sample_covariance=False,
        full=True,
    )
    assert abs(metrics.ssim(OUTPUT, TRUTH, HOLE) - similarity[5:15, 8:20].mean()) < 1e-4


def test_values_outside_the_range_count_as_clipped():
    assert metrics.psnr(TRUTH + 5, torch.ones_like(TRUTH), HOLE) == float("inf")


def test_biharmonic_never_sees_the_hole_and_leaves_the_rest():
    known = (~HOLE).float()
    filled = metrics.biharmonic(TRUTH * known, known)
    assert filled.shape == TRUTH.shape
    torch.testing.assert_close(filled * known, TRUTH * known)
    assert torch.equal(filled, metrics.biharmonic((TRUTH * known) + 0.5 * (1 - known), known))

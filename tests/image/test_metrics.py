import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from dip.image import metrics

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
    assert metrics.psnr(TRUTH + 5, torch.ones_like(TRUTH), HOLE) == metrics.MOST_DB


def test_biharmonic_never_sees_the_hole_and_leaves_the_rest():
    known = (~HOLE).float()
    filled = metrics.biharmonic(TRUTH * known, known)
    assert filled.shape == TRUTH.shape
    torch.testing.assert_close(filled * known, TRUTH * known)
    assert torch.equal(filled, metrics.biharmonic((TRUTH * known) + 0.5 * (1 - known), known))


# 60x60, a hole of 20x20 in even texture: noise, in colour.
NOISE = 0.5 + 0.1 * torch.rand(1, 3, 60, 60, generator=torch.Generator().manual_seed(2))
KNOWN = torch.ones(1, 1, 60, 60)
KNOWN[..., 20:40, 20:40] = 0


def with_hole(inside: torch.Tensor) -> torch.Tensor:
    return torch.where(KNOWN == 1, NOISE, inside)


def test_the_same_texture_has_no_distance_whatever_its_brightness():
    assert metrics.texture_distance(NOISE, KNOWN) < 0.1
    # The edge of the hole belongs to neither side.
    brighter = metrics.texture_distance(with_hole(NOISE + 0.3), KNOWN)
    assert brighter == pytest.approx(metrics.texture_distance(NOISE, KNOWN), abs=1e-3)


@pytest.mark.parametrize(("contrast", "distance"), [(0.0, 1.0), (0.5, 0.5), (2.0, 1.0)])
def test_texture_of_another_contrast_has_the_distance_of_its_contrast(contrast, distance):
    inside = 0.55 + contrast * (NOISE - 0.55)
    assert metrics.texture_distance(with_hole(inside), KNOWN) == pytest.approx(distance, abs=0.15)


def test_a_blurred_hole_lies_between_the_same_texture_and_a_flat_hole():
    blurred = torch.nn.functional.avg_pool2d(NOISE, 3, stride=1, padding=1)
    assert 0.3 < metrics.texture_distance(with_hole(blurred), KNOWN) < 0.9


def test_texture_is_compared_with_what_is_near_the_hole():
    # The hole is 10 pixels deep, and the ring 16 pixels wide.
    far = NOISE.clone()
    far[..., :3, :] = far[..., -3:, :] = far[..., :3] = far[..., -3:] = 0
    assert metrics.texture_distance(far, KNOWN) == metrics.texture_distance(NOISE, KNOWN)
    near = NOISE.clone()
    near[..., :5, :] = 0
    assert metrics.texture_distance(near, KNOWN) != metrics.texture_distance(NOISE, KNOWN)


def test_a_flat_hole_in_flat_surroundings_is_right():
    assert metrics.texture_distance(torch.full((1, 1, 60, 60), 0.5), KNOWN) == 0


def test_single_pixels_have_no_texture():
    known = torch.ones(1, 1, 24, 30)
    known[..., 5, 5] = known[..., 9, 9] = 0
    assert metrics.texture_distance(TRUTH, known) is None

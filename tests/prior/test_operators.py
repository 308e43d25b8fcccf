import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from dip.errors import UserError
from dip.image.metrics import noise_sd, non_local_means, psnr
from dip.prior.operators.blur import Blur
from dip.prior.operators.downsample import Downsample
from dip.prior.operators.operator import Custom, Identity, Mask, picture_shape
from dip.prior.sample import Sample, compare, measure

PICTURE = torch.rand(1, 3, 32, 48, generator=torch.Generator().manual_seed(0))


class Physics(nn.Module):
    """As those of deepinv: `A` measures, and a call adds noise."""

    def A(self, x):  # noqa: N802
        return F.avg_pool2d(x, 2)

    def forward(self, x):
        return self.A(x) + torch.randn_like(x)


@pytest.mark.parametrize("factor", [2, 3, 4])
@pytest.mark.parametrize("kernel", ["lanczos", "bicubic", "box"])
def test_downsampling_is_that_of_pillow(factor, kernel):
    height, width = 32 // factor, 48 // factor
    picture = PICTURE[..., : factor * height, : factor * width].contiguous()
    ours = Downsample(torch.empty(1, 3, height, width), factor, kernel)(picture)
    channel = Image.fromarray(picture[0, 1].numpy())
    theirs = channel.resize((width, height), Image.Resampling[kernel.upper()])
    assert np.allclose(ours[0, 1].numpy(), np.array(theirs), atol=1e-5)


def test_every_pixel_of_a_picture_gets_gradient_from_its_reduced_one():
    picture = PICTURE.clone().requires_grad_()
    Downsample(torch.empty(1, 3, 8, 12), 4, "lanczos")(picture).square().sum().backward()
    assert (picture.grad != 0).all()


def test_a_blur_is_the_same_for_a_kernel_in_a_file(tmp_path):
    by_sd = Blur(sd=1.5, kernel=None)
    np.save(tmp_path / "kernel.npy", 7 * by_sd.kernel[0, 0].numpy())
    assert torch.allclose(Blur(sd=9.0, kernel=str(tmp_path / "kernel.npy"))(PICTURE), by_sd(PICTURE), atol=1e-6)


def test_a_kernel_in_a_file_is_a_convolution(tmp_path):
    kernel = np.zeros((3, 3), dtype=np.float32)
    kernel[0, 1] = 1  # each pixel is drawn one row further up
    np.save(tmp_path / "kernel.npy", kernel)
    moved = Blur(sd=1.0, kernel=str(tmp_path / "kernel.npy"))(PICTURE)
    assert torch.equal(moved[..., :-1, :], PICTURE[..., 1:, :])


@pytest.mark.parametrize("kernel", [np.zeros((3, 3)), np.array([[1.0, -0.5]])])
def test_a_kernel_that_cannot_be_one_is_refused(tmp_path, kernel):
    np.save(tmp_path / "kernel.npy", kernel)
    with pytest.raises(UserError, match=r"operator\.kernel=.* must have values of 0 or more, and some above 0"):
        Blur(sd=1.0, kernel=str(tmp_path / "kernel.npy"))


def test_the_picture_has_the_size_that_its_measurement_needs():
    measured = torch.empty(1, 3, 8, 12)
    assert picture_shape(Mask(), measured) == picture_shape(Identity(), measured) == (1, 3, 8, 12)
    assert picture_shape(Downsample(measured, 4, "lanczos"), measured) == (1, 3, 32, 48)
    assert picture_shape(Custom(Physics()), measured) == (1, 3, 16, 24)
    assert picture_shape(Custom(lambda picture: picture[..., ::3, ::3]), measured) == (1, 3, 24, 36)


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda picture: picture.mean(dim=1, keepdim=True), r"it makes \(1, 1, 8, 12\) of \(1, 3, 8, 12\)"),
        (lambda picture: picture @ picture, r"it refuses \(1, 3, 8, 12\): .+"),
    ],
)
def test_an_operator_whose_measurement_has_another_shape_is_refused(function, said):
    with pytest.raises(UserError, match=said) as caught:
        picture_shape(Custom(function), torch.empty(1, 3, 8, 12))
    assert "\n" not in str(caught.value)


def test_a_deepinv_physics_is_measured_without_its_noise():
    assert torch.equal(Custom(Physics())(PICTURE), F.avg_pool2d(PICTURE, 2))


def test_what_is_no_operator_is_refused():
    with pytest.raises(UserError, match="operator: int cannot be called with a picture"):
        Custom(3)


def test_only_an_exact_measurement_stays_in_the_result_and_is_judged_in_its_hole():
    mask = torch.ones(1, 1, 32, 48)
    mask[..., :8, :8] = 0
    output = PICTURE.roll(1, dims=3)
    exact, noisy = (Sample(PICTURE * mask, mask, PICTURE, operator=each) for each in (Mask(), Identity()))
    assert torch.equal(exact.composite(output)[..., 8:, :], PICTURE[..., 8:, :])
    assert torch.equal(noisy.composite(output), output)
    assert compare(output, exact).keys() == {"psnr_hole", "ssim_hole", "psnr_all", "psnr_composite"}
    assert compare(output, noisy).keys() == {"psnr_all", "ssim_all"}


def test_known_pixels_are_compared_with_what_is_measured():
    operator = Downsample(torch.empty(1, 3, 8, 12), 4, "lanczos")
    sample = Sample(operator(PICTURE), torch.ones(1, 1, 8, 12), PICTURE, operator=operator)
    assert measure(PICTURE, sample) == {"psnr_known": pytest.approx(100, abs=5), "psnr_all": 100}


@pytest.mark.parametrize("channels", [1, 3])
def test_noise_is_found_and_taken_away(channels):
    y, x = torch.meshgrid(torch.linspace(0, 3, 96), torch.linspace(0, 4, 96), indexing="ij")
    clean = (0.5 + 0.3 * torch.sin(x) * torch.cos(y)).expand(1, channels, -1, -1)
    noisy = clean + 0.1 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    assert noise_sd(noisy, torch.ones(1, 1, 96, 96)) == pytest.approx(0.1, rel=0.05)
    everywhere = torch.ones(1, 1, 96, 96, dtype=torch.bool)
    assert psnr(non_local_means(noisy, 0.1), clean, everywhere) > psnr(noisy, clean, everywhere) + 8
    flat = torch.full((1, channels, 32, 32), 0.5)
    assert torch.equal(non_local_means(flat, noise_sd(flat, torch.ones(1, 1, 32, 32))), flat)


def test_noise_is_measured_where_pixels_are_known():
    noisy = 0.5 + 0.1 * torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    mask = (torch.rand(1, 1, 96, 96, generator=torch.Generator().manual_seed(1)) < 0.5).float()
    assert noise_sd(noisy * mask, mask) == pytest.approx(0.1, rel=0.1)
    assert noise_sd(noisy, torch.zeros(1, 1, 96, 96)) == 0


def test_what_is_put_back_is_the_measurement_and_changes_the_picture_least():
    operator = Downsample(torch.empty(1, 3, 8, 12), 4, "lanczos")
    wanted, start = operator(PICTURE), PICTURE.roll(3, dims=3)
    found = operator.put_back(start, wanted)
    assert torch.allclose(operator(found), wanted, atol=1e-5)
    assert (found - start).norm() <= (PICTURE - start).norm()  # that has the measurement too
    assert torch.allclose(operator.put_back(found, wanted), found, atol=1e-5)

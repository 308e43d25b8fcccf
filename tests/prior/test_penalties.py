import pytest
import torch

from dip.errors import UserError
from dip.options import check_options, options_of
from dip.prior.losses import ColourRange, total_variation


def test_total_variation_is_the_mean_step():
    slope = 0.3 * torch.arange(8.0) + 0.4 * torch.arange(6.0)[:, None]
    assert abs(total_variation(slope[None, None], 2.0, isotropic=True) - 2 * 0.5) < 1e-5
    assert abs(total_variation(slope[None, None], 2.0, isotropic=False) - 2 * 0.7) < 1e-5


def test_a_penalty_is_no_reward():
    with pytest.raises(UserError, match=r"penalty\.weight=-1.0, but it must be a number, at least 0; 0 is no penalty"):
        check_options(options_of(total_variation), {"weight": -1.0}, "penalty")


@pytest.mark.parametrize("isotropic", [True, False])
def test_total_variation_of_a_plain_picture_has_a_gradient(isotropic):
    plain = torch.full((1, 1, 4, 4), 0.5, requires_grad=True)
    total_variation(plain, 1.0, isotropic).backward()
    assert plain.grad.isfinite().all()


def test_only_colours_that_occur_around_a_large_hole_cost_nothing():
    mask = torch.ones(1, 1, 64, 80)
    mask[..., 20:44, 24:52] = 0
    mask[..., 2:6, 2:6] = 0  # no deeper than the blur
    target = torch.full((1, 3, 64, 80), 0.5)
    target[..., 40:] = 0.7
    penalty = ColourRange(target * mask, mask, weight=2.0, blur_sd=3.0)
    assert penalty(target).item() == pytest.approx(0, abs=1e-9)
    assert penalty(torch.where(mask == 0, 0.6, target)).item() == pytest.approx(0, abs=1e-9)
    ellipse = target.clone()
    ellipse[:, 0, 24:40, 30:46] = 1.0
    assert penalty(ellipse).item() > 1e-3
    small = target.clone()
    small[..., 2:6, 2:6] = 0.0
    assert penalty(small).item() == pytest.approx(0, abs=1e-9)
    assert ColourRange(target * mask, mask, weight=0.0, blur_sd=3.0)(ellipse) == 0


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"weight": -1.0}, "weight=-1.0, but it must be a number, at least 0; 0 is no penalty"),
        ({"blur_sd": 0.0}, "blur_sd=0.0, but it must be a number, above 0; it is a standard deviation in pixels"),
    ],
)
def test_colour_range_refuses_what_makes_no_sense(wrong, message):
    with pytest.raises(UserError, match=message):
        ColourRange(torch.ones(1, 3, 8, 8), torch.ones(1, 1, 8, 8), **({"weight": 1.0, "blur_sd": 2.0} | wrong))

from functools import partial

import pytest
import torch
from torch.nn import functional

from dip.errors import UserError
from dip.image.metrics import ssim
from dip.options import check_options, options_of
from dip.prior.losses import masked_huber, masked_l1, masked_mse, masked_mse_ssim

LOSSES = {
    "mse": masked_mse,
    "l1": masked_l1,
    "huber": partial(masked_huber, delta=0.1),
    "mse_ssim": partial(masked_mse_ssim, ssim_weight=0.5),
}
OUTPUT, TARGET = torch.rand(1, 3, 16, 15), torch.rand(1, 3, 16, 15)
MASK = (torch.rand(1, 1, 16, 15) > 0.4).float()
KNOWN = MASK.bool().expand_as(TARGET)


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("mse", functional.mse_loss),
        ("l1", functional.l1_loss),
        ("huber", partial(functional.huber_loss, delta=0.1)),
    ],
)
def test_is_the_mean_over_the_known_pixels(name, plain):
    torch.testing.assert_close(LOSSES[name](OUTPUT, TARGET, MASK), plain(OUTPUT[KNOWN], TARGET[KNOWN]))


def test_similarity_is_that_of_the_metric():
    everywhere = torch.ones_like(MASK)
    similarity = ssim(OUTPUT, TARGET, everywhere.bool())
    loss = masked_mse_ssim(OUTPUT, TARGET, everywhere, ssim_weight=0.5)
    torch.testing.assert_close(loss, masked_mse(OUTPUT, TARGET, everywhere) + 0.5 * (1 - similarity))


def test_in_bfloat16_the_truth_has_no_loss():
    slope = torch.linspace(0.3, 0.7, 32).expand(1, 3, 24, 32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for name, loss in LOSSES.items():
            assert loss(slope, slope, torch.ones(1, 1, 24, 32)).item() == pytest.approx(0, abs=1e-5), name


@pytest.mark.parametrize("name", LOSSES)
def test_gradient_from_the_hole_is_exactly_zero(name):
    output = OUTPUT.clone().requires_grad_()
    LOSSES[name](output, TARGET, MASK).backward()
    assert (output.grad[~KNOWN] == 0).all()
    assert (output.grad[KNOWN] != 0).all()


def test_huber_needs_a_limit():
    with pytest.raises(UserError, match=r"loss\.delta=0, but it must be a number, above 0; such as 0\.1"):
        check_options(options_of(masked_huber), {"delta": 0}, "loss")

from itertools import pairwise

import pytest
import torch

from dip.image.metrics import biharmonic, psnr
from dip.results.patches import group_sparse
from dip.results.patches.group_sparse import GroupSparse

OPTIONS = {"patch": 8, "stride": 4, "radius": 8, "similar": 8, "rounds": 6, "relaxation": 0.9}
OPTIONS |= {"first_threshold": 3.0, "last_threshold": 0.5}


@pytest.fixture
def mask():
    return (torch.rand(1, 1, 48, 40, generator=torch.Generator().manual_seed(0)) < 0.6).float()


def pattern(channels: int = 3) -> torch.Tensor:
    """Dots that repeat every 6 pixels, in slightly different colours."""
    y, x = torch.meshgrid(torch.arange(48), torch.arange(40), indexing="ij")
    dots = ((x % 6 < 3) ^ (y % 6 < 3)).float()
    return torch.stack([0.2 + (0.3 + 0.1 * channel) * dots for channel in range(channels)])[None]


def last(step: GroupSparse, picture, target, mask):
    *_, found = step(picture, target, mask)
    return found


@pytest.mark.parametrize("channels", [1, 3])
def test_what_repeats_is_found_where_it_is_missing(mask, channels):
    truth = pattern(channels)
    smooth = biharmonic(truth * mask, mask)
    found = last(GroupSparse(**OPTIONS), smooth, truth * mask, mask)
    assert psnr(found, truth, mask == 0) > psnr(smooth, truth, mask == 0) + 6


def test_known_pixels_stay_exact_and_nothing_under_the_hole_is_read(mask):
    truth, step = pattern(), GroupSparse(**OPTIONS)
    rounds = list(step(torch.rand_like(truth), truth * mask, mask))
    assert len(rounds) == 6
    assert all(torch.equal(found * mask, truth * mask) for found in rounds)
    assert not any(torch.equal(*pair) for pair in pairwise(rounds))
    torch.manual_seed(0)
    start = torch.rand_like(truth)
    assert torch.equal(last(step, start, truth, mask), last(step, start * (1 - mask), truth * mask, mask))


def test_a_picture_of_noise_is_not_made_worse(mask):
    truth = torch.rand(1, 1, 48, 40, generator=torch.Generator().manual_seed(1))
    smooth = biharmonic(truth * mask, mask)
    found = last(GroupSparse(**OPTIONS), smooth, truth * mask, mask)
    assert psnr(found, truth, mask == 0) > psnr(smooth, truth, mask == 0)


def test_strips_do_not_change_the_result(mask, monkeypatch):
    truth = pattern()
    whole = last(GroupSparse(**OPTIONS), truth * mask, truth * mask, mask)
    monkeypatch.setattr(group_sparse, "STRIP", 5)
    torch.testing.assert_close(last(GroupSparse(**OPTIONS), truth * mask, truth * mask, mask), whole)


@pytest.mark.parametrize("patch", [8, 16])
@pytest.mark.parametrize("size", [(8, 8), (8, 40), (9, 11)])
def test_small_pictures_have_few_patches_and_are_drawn_all_the_same(size, patch):
    target = torch.rand(1, 3, *size)
    mask = torch.ones(1, 1, *size)
    mask[..., 3:5, 3:5] = 0
    found = last(GroupSparse(**OPTIONS | {"patch": patch}), target * mask, target * mask, mask)
    assert found.isfinite().all()
    assert found.shape == target.shape
    assert torch.equal(found * mask, target * mask)


def test_only_what_is_near_the_hole_is_worked_on():
    truth = pattern()
    mask = torch.ones(1, 1, 48, 40)
    mask[..., 20, 20] = 0
    step = GroupSparse(**OPTIONS)
    assert step.near(mask == 0) == (slice(4, 36), slice(4, 36))
    touches = torch.zeros(11, 9, dtype=torch.bool)
    touches[4:6, 4:6] = True
    assert step.search(truth, touches).shape == (4, 8)
    found = last(step, truth * mask, truth * mask, mask)
    assert torch.equal(found * mask, truth * mask)
    assert psnr(found, truth, mask == 0) > 30


@pytest.mark.parametrize(
    "other", [{key: value + 1} for key, value in OPTIONS.items()], ids=lambda other: next(iter(other))
)
def test_every_option_changes_what_is_drawn(mask, other):
    truth = torch.rand(1, 1, 48, 40, generator=torch.Generator().manual_seed(1))
    plain, changed = (
        last(GroupSparse(**OPTIONS | own), truth * mask, truth * mask, mask) for own in ({"rounds": 6}, other)
    )
    assert not torch.equal(plain, changed)


def test_products_project_as_eigenvectors_do():
    """Matrices as groups of 9x9 patches have: one eigenvalue of a thousand, and the threshold in a gap below 0.02."""
    orthogonal = torch.linalg.qr(torch.randn(8, 53, 53, generator=torch.Generator().manual_seed(0))).Q
    values = torch.cat([torch.tensor([1000.0, 3.0, 0.5, 0.02]), torch.linspace(0.008, 0.0, 49)])
    matrices = orthogonal * values @ orthogonal.mT
    expected = orthogonal[..., :4] @ orthogonal[..., :4].mT
    for way in (group_sparse.projectors, group_sparse.projectors_by_products):
        assert torch.allclose(way(matrices, 0.014), expected, atol=0.02)


def test_groups_that_are_nearly_black_have_eigenvectors():
    """LAPACK finds NaN in this matrix, which a photograph's dark corner had."""
    entries = {(0, 0): 1.5378702300949953e-05, (0, 1): 6.69309876619173e-12, (0, 2): 6.486340978217875e-12}
    entries |= {(0, 3): 5.920217441279796e-12, (0, 19): -6.396657160044017e-17, (0, 20): -1.2452654874059096e-16}
    entries |= {(1, 1): 7.200624437630847e-16, (1, 2): 1.1931421900309832e-17, (1, 3): 1.6930522673859782e-17}
    entries |= {(2, 2): 7.241784415515894e-16, (2, 3): -3.228904153312174e-17, (3, 3): 2.6347676162755483e-17}
    entries |= {(19, 19): 4.6568829192469616e-18, (19, 20): 4.7177439735864694e-18, (20, 20): 9.436372203247758e-18}
    nearly = torch.zeros(24, 24)
    for (row, column), value in entries.items():
        nearly[row, column] = nearly[column, row] = value
    assert torch.allclose(group_sparse.projectors(nearly[None], 0.0), torch.eye(24), atol=1e-5)

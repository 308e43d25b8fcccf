import numpy as np
import pytest
import torch

from dip.errors import UserError
from dip.image.metrics import non_local_means, psnr
from dip.prior.operators.operator import Identity
from dip.prior.sample import Sample
from dip.results.patches.denoising import Denoising
from dip.training.holdout import Evidence

OPTIONS = {"rounds": 2, "patch": 4, "stride": 2, "radius": 6, "similar": 12}
OPTIONS |= {"first_threshold": 0.9, "next_threshold": 0.6, "noise_share": 0.2}
EVERYWHERE = torch.ones(1, 1, 48, 48, dtype=torch.bool)


def noise(seed, sd):
    return sd * torch.randn(1, 3, 48, 48, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def truth():
    """Stripes, a slope and a disc, which repeat themselves."""
    y, x = torch.meshgrid(torch.arange(48.0), torch.arange(48.0), indexing="ij")
    picture = torch.stack([0.5 + 0.3 * torch.sin(x / 2), x / 48, ((x - 24) ** 2 + (y - 24) ** 2 < 200).float()])
    return picture[None].clamp(0.1, 0.9)


@pytest.fixture
def sample(truth):
    return Sample(truth + noise(0, 0.1), torch.ones(1, 1, 48, 48), truth, operator=Identity())


@pytest.fixture
def evidence(truth):
    held_out = torch.rand(1, 1, 48, 48, generator=torch.Generator().manual_seed(1)) < 0.1
    return Evidence(truth + noise(2, 0.06), held_out)


def test_the_mixture_is_nearer_to_the_truth_than_network_and_non_local_means(sample, evidence, truth):
    picture, judged, found = Denoising(**OPTIONS)(evidence.picture, sample, evidence)
    ours = psnr(picture, truth, EVERYWHERE)
    assert ours > psnr(evidence.picture, truth, EVERYWHERE) + 2
    assert ours > psnr(non_local_means(sample.target, 0.1), truth, EVERYWHERE)
    assert found["noise_sd"] == pytest.approx(0.1, rel=0.15)
    assert sum(found["weights"].values()) == pytest.approx(1, abs=1e-3)
    assert found["psnr_held_out"]["mixed"] >= max(found["psnr_held_out"].values()) - 0.01
    assert judged.held_out is evidence.held_out


def test_no_method_sees_a_held_out_pixel_before_it_judges(sample, evidence):
    methods = Denoising(**OPTIONS)
    other = sample._replace(target=torch.where(evidence.held_out, 1 - sample.target, sample.target))
    seen = [
        dict(methods.draw(evidence.picture, torch.where(evidence.held_out, evidence.picture, each.target), 0.1))
        for each in (sample, other)
    ]
    assert all(torch.equal(seen[0][name], seen[1][name]) for name in seen[0])


def test_the_truth_is_not_read(sample, evidence):
    found = [
        Denoising(**OPTIONS)(evidence.picture, sample._replace(truth=truth), evidence)
        for truth in (sample.truth, None, 1 - sample.truth)
    ]
    assert all(torch.equal(found[0][0], each[0]) for each in found)


def test_without_held_out_pixels_the_rounds_count_alike(sample):
    _, evidence, found = Denoising(**OPTIONS)(sample.target, sample, None)
    assert (evidence, found["weights"]) == (None, {"round_1": 0.5, "round_2": 0.5})


def test_a_hole_of_the_measurement_is_drawn_by_the_network(sample, truth):
    mask = sample.mask.clone()
    mask[..., 10:14, 10:30] = 0
    damaged = sample._replace(target=sample.target * mask, mask=mask)
    picture, *_ = Denoising(**OPTIONS)(truth, damaged, None)
    assert psnr(picture, truth, mask == 0) > 25


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("rounds", 3),
        ("patch", 5),
        ("stride", 3),
        ("radius", 3),
        ("similar", 8),
        ("first_threshold", 0.5),
        ("next_threshold", 0.9),
        ("noise_share", 0.5),
    ],
)
def test_every_option_changes_the_picture(sample, key, value):
    before, after = (Denoising(**OPTIONS | given)(sample.target, sample, None)[0] for given in ({}, {key: value}))
    assert not np.allclose(before, after, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"stride": 5}, "refine.stride=5, but it must be at most refine.patch=4"),
        ({"radius": 1}, "refine.similar=12, but within refine.radius=1 there are 9 places"),
    ],
)
def test_groups_that_are_too_far_apart_or_too_large_are_refused(options, said):
    with pytest.raises(UserError, match=said):
        Denoising(**OPTIONS | options)

import numpy as np
import pytest
import torch
from PIL import Image

from dip.errors import UserError
from dip.image.metrics import psnr
from dip.prior.sample import Sample
from dip.results.patches.group_sparse import GroupSparse
from dip.results.patches.refinement import Refinement, blend, weigh
from dip.training.holdout import Evidence

OPTIONS = {"patches": [4], "similar": 0.5, "stride": 2, "radius": 4, "rounds": 3, "relaxation": 1.5}
OPTIONS |= {"first_threshold": 0.2, "last_threshold": 0.02}


@pytest.fixture
def sample():
    truth = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    mask = torch.ones(1, 1, 32, 32)
    mask[..., 4:8, 4:20] = 0
    return Sample(truth * mask, mask, truth)


@pytest.fixture
def held_out():
    region = torch.zeros(1, 1, 32, 32, dtype=torch.bool)
    region[..., 20:28, 4:20] = True
    return region


def off(truth, amount, seed):
    return truth + amount * torch.randn(truth.shape, generator=torch.Generator().manual_seed(seed))


def test_the_mixture_is_at_least_as_good_as_each_method_where_it_was_chosen(sample, held_out):
    drawn = {name: off(sample.truth, amount, seed) for seed, (name, amount) in enumerate([("a", 0.1), ("b", 0.2)])}
    drawn["c"] = torch.zeros_like(sample.truth)
    weights = weigh(drawn, sample.truth, held_out)
    assert weights.keys() == {"a", "b"}
    assert sum(weights.values()) == pytest.approx(1, abs=1e-3)
    assert weights["a"] == pytest.approx(0.8, abs=0.05)  # by the inverse of their variances
    error = psnr(blend(weights, drawn), sample.truth, held_out)
    assert error > max(psnr(picture, sample.truth, held_out) for picture in drawn.values())


def test_the_held_out_pixels_decide_whether_the_hole_is_refined(sample, held_out, monkeypatch):
    def spoil(step, picture, target, mask):
        yield torch.zeros_like(picture)

    def mend(step, picture, target, mask):
        assert not target[(mask == 0).expand_as(target)].any()
        yield sample.truth

    output = off(sample.truth, 0.05, 1)
    for step, chosen in ((spoil, "network"), (mend, "patches_4")):
        monkeypatch.setattr(GroupSparse, "__call__", step)
        found, evidence, said = Refinement(**OPTIONS)(output, sample, Evidence(output, held_out))
        assert evidence is not None
        assert max(said["weights"], key=said["weights"].get) == chosen
        scores = said["psnr_held_out"]
        assert scores.keys() == {"network", "patches_4", "biharmonic", "mixed"}
        assert scores["mixed"] >= scores["network"] - 0.01
        assert torch.equal(found * sample.mask, output * sample.mask)
    assert psnr(found, sample.truth, sample.mask == 0) > 40


def test_each_size_is_a_method_of_its_own_and_their_mean_is_taken_without_held_out_pixels(sample):
    output = off(sample.truth, 0.05, 1)
    both, evidence, said = Refinement(**OPTIONS | {"patches": [4, 6]})(output, sample, None)
    assert evidence is None
    assert said == {"weights": {"patches_4": 0.5, "patches_6": 0.5}}
    each = [Refinement(**OPTIONS | {"patches": [side]})(output, sample, None)[0] for side in (4, 6)]
    assert not torch.equal(*each)
    torch.testing.assert_close(both, torch.where(sample.mask < 1, torch.stack(each).mean(dim=0), output))


def test_groups_grow_with_their_patches():
    small, large = (Refinement(**OPTIONS).step(side) for side in (4, 8))
    assert (small.similar, large.similar) == (8, 32)
    assert large.first_threshold == 2 * small.first_threshold


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"radius": 1, "similar": 0.7},
            "refine.similar=0.7 is 11 patches of 4x4, but within refine.radius=1 ",
        ),
        ({"stride": 5}, "refine.stride=5, but patches of 4 pixels"),
        ({"patches": []}, "patches=\\[\\], but it must be a list"),
        ({"patches": [1]}, "patches=\\[1\\], but it must be a list, each a whole number, at least 2"),
    ],
)
def test_what_cannot_be_refined_with_is_refused(options, said):
    with pytest.raises(UserError, match=said):
        Refinement(**OPTIONS | options)


@pytest.mark.parametrize("hole", [1, 30])
def test_a_thin_hole_is_refined_and_so_is_a_speck(config, run, tmp_path, mask, hole):
    pixels = np.full((32, 40), 255, dtype=np.uint8)
    pixels[1 : 1 + hole, 20] = 0
    Image.fromarray(pixels).save(mask)
    quick = ["refine=group_sparse", "refine.rounds=2", "hole_kind=thin", "trainer.max_steps=4"]
    metrics = run(config(*quick), tmp_path / "run")
    assert sum(metrics["refine"]["weights"].values()) == pytest.approx(1, abs=1e-3)
    assert metrics["before_refine"]["psnr_hole"] != metrics["psnr_hole"]
    assert (tmp_path / "run" / "before_refine.png").exists()

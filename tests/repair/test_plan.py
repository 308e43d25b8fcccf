"""How a photograph becomes jobs: distant regions, kinds of holes, ensemble members, and the runs that guide."""

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

from dip.config.build import read_data
from dip.config.compose import compose, to_yaml
from dip.config.resume import as_measured
from dip.errors import UserError
from dip.image import holes
from dip.image.holes import regions_around
from dip.image.photo import Photo
from dip.prior.nets.unet import deepest_for
from dip.repair.plan import plan


def planned(cfg):
    return plan(cfg, read_data(cfg))


def test_one_hole_is_one_run(config):
    job = planned(config())
    assert (job.name, job.children, job.guide, job.place) == ("", (), None, None)
    assert job.cfg.hole_kind == "thin"


def test_far_holes_are_parts_that_hold_the_photograph_s_own_pixels(config, far_holes, photograph):
    job = planned(config())
    assert [child.name for child in job.children] == ["region_1", "region_2"]
    whole = np.array(Image.open(photograph))
    for child in job.children:
        left, top, right, bottom = child.place.box
        assert np.array_equal(np.array(child.photo.picture), whole[top:bottom, left:right])
        assert np.array_equal(np.array(child.place.pixels), far_holes[top:bottom, left:right])
        assert list(child.cfg.data.crop) == [left, top, right, bottom]
    assert not planned(config("data.crop=none")).children


@pytest.mark.usefixtures("both_kinds")
def test_each_kind_of_hole_is_a_part_with_its_own_options_and_only_the_large_one_is_guided(config):
    thin, large = planned(config()).children
    assert [job.name for job in (thin, large)] == ["thin", "large"]
    assert [job.cfg.input.noise for job in (thin, large)] == [0.2, 0.5]
    assert thin.guide is None
    assert large.guide is not None
    assert large.guide.name == "fill"


@pytest.mark.usefixtures("large_hole")
def test_the_runs_that_guide_are_an_ensemble_on_the_reduced_picture(config):
    job = planned(config("members=2", "fill.members=3", "fill.share=0.5", "trainer.max_steps=8", "model.depth=3"))
    assert [member.name for member in job.children] == ["member_1", "member_2"]
    assert all(member.is_member and member.guide is None for member in job.children)
    runs = job.guide.children
    assert [run.name for run in runs] == [f"member_{number}" for number in range(1, 7)]
    assert runs[0].photo.work.mask.shape[-2:] == (18, 24)
    own = job.guide.cfg
    assert (own.model.depth, own.trainer.max_steps, own.average.decay) == (1, 4, 0.95)
    assert own.fill is own.texture is own.stopping is own.output.path is own.callbacks.images is None
    assert job.guide.photo.picture is job.photo.picture  # opened once
    assert planned(config("fill=none")).guide is planned(config("fill.weight=0")).guide is None


def test_no_two_members_of_any_two_seeds_share_a_seed(config):
    def seeds(*overrides):
        return [member.cfg.seed for member in planned(config("members=3", *overrides)).children]

    assert seeds("seed=2") == [6, 7, 8]
    every = [seed for given in (0, 1, 2, 2**32 - 1) for seed in seeds(f"seed={given}")]
    assert len(set(every)) == len(every)
    assert all(0 <= seed < 2**32 for seed in every)


def test_every_pixel_of_the_hole_is_part_of_the_repair(config):
    mask = torch.ones(1, 1, 1128, 1128)  # where dividing by 1024 is not exact
    mask[..., 100:300, 141:341] = 0
    mask[..., 600:604, 5:1100] = 0
    photograph = Image.new("L", (1128, 1128), 90)
    photo = Photo(photograph, mask, regions=[(0, 0, 1128, 1128)], max_side=1024)
    each = [np.array(part.place.pixels) for part in plan(config("hole_kind=auto"), photo).children]
    assert len(each) == 2
    assert np.array_equal(each[0] ^ each[1], (mask == 0)[0, 0].numpy())


@pytest.mark.usefixtures("both_kinds")
def test_the_kinds_of_holes_are_told_at_the_size_of_the_work(config, run, tmp_path):
    # The large hole is 3 pixels deep in a picture of 24x18 pixels, and the stroke 1.
    metrics = run(config("data.max_side=21"), tmp_path / "run")
    assert "parts" not in metrics
    assert OmegaConf.load(tmp_path / "run" / "config.yaml").hole_kind == "thin"


def test_both_kinds_of_holes_in_one_region_of_a_larger_picture(
    config, run, photograph, tmp_path, both_kinds, monkeypatch
):
    monkeypatch.setattr(holes, "SMALL", 0)
    monkeypatch.setattr(holes, "MARGIN", 20)
    mask = Image.fromarray(np.pad(~both_kinds, ((0, 200), (150, 0)), constant_values=True).astype(np.uint8) * 255)
    mask.save(tmp_path / "mask.png")
    Image.open(photograph).resize(mask.size).save(photograph)
    metrics = run(config(), tmp_path / "run")
    boxes = {name: part["region"] for name, part in metrics["parts"].items()}
    assert boxes.keys() == {"thin", "large"}
    assert boxes["thin"] == boxes["large"] != [0, 0, *mask.size]
    changed = np.array(Image.open(tmp_path / "run" / "inpainted.png")) != np.array(Image.open(photograph))
    hole = np.array(mask) == 0
    assert not changed[~hole].any()
    assert changed[hole].any(axis=-1).mean() > 0.9


@pytest.mark.usefixtures("both_kinds")
def test_a_refusal_in_the_first_part_leaves_no_result(config, run, tmp_path):
    with pytest.raises(UserError, match=r"model\.depth=9"):
        run(config("model.depth=9", f"output.path={tmp_path}/fixed.png"), tmp_path / "run")
    assert not (tmp_path / "fixed.png").exists()
    assert not (tmp_path / "run" / "metrics.json").exists()


def test_what_is_refused_of_several_runs_leaves_nothing(config, run, tmp_path):
    with pytest.raises(UserError, match=r"too small for model\.depth=9"):
        run(config("members=2", "model.depth=9"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_no_member_is_refused(config, run, tmp_path):
    with pytest.raises(UserError, match="members=0, but it must be a whole number, at least 1"):
        run(config("members=0"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("size", "depth"), [((32, 32), 5), ((28, 28), 5), ((34, 34), 6), ((20, 48), 5), ((34, 400), 6)]
)
def test_the_depth_of_the_recipe_fits_small_pictures_and_the_runs_that_guide(size, depth):
    mask = torch.ones(1, 1, *size)
    mask[..., 2:-2, 2:18] = 0
    photo = Photo(Image.new("RGB", size[::-1], "red"), mask)
    cfg = compose(["hole_kind=large", "fill.depth=1"])
    job = plan(cfg, photo)
    assert job.cfg.model.depth == depth
    if job.guide is not None:
        assert job.guide.cfg.model.depth <= deepest_for(min(job.guide.photo.work.mask.shape[-2:]))
    given = plan(compose(["hole_kind=large", "fill=none", "model.depth=9"]), photo)
    assert given.cfg.model.depth == 9  # which the network refuses
    assert to_yaml(as_measured(cfg, job.cfg)) == to_yaml(job.cfg)


def test_a_piece_repairs_no_pixel_of_another():
    mask = torch.ones(1, 1, 600, 2000)
    mask[..., 300:303, :] = 0
    photo = Photo(Image.new("L", (2000, 600)), mask, regions=regions_around(mask, 256), max_side=256)
    children = plan(compose(), photo).children
    assert [child.name for child in children] == ["region_1", "region_2", "region_3", "region_4"]
    total = np.zeros((600, 2000), dtype=int)
    for child in children:
        left, top, right, bottom = child.place.box
        total[top:bottom, left:right] += np.array(child.place.pixels)
        assert not child.photo.is_reduced
    assert np.array_equal(total, mask[0, 0].numpy() == 0)

import numpy as np
import pytest
import torch
from PIL import Image
from test_data import loaded

from dip import regions


@pytest.fixture
def every_size_is_large(monkeypatch):
    """The work is done around the holes of the tests' small pictures too, with a margin of 6 pixels."""
    monkeypatch.setattr(regions, "SMALL", 0)
    monkeypatch.setattr(regions, "MARGIN", 6)


def with_holes(height, width, *boxes):
    mask = torch.ones(1, 1, height, width)
    for left, top, right, bottom in boxes:
        mask[..., top:bottom, left:right] = 0
    return mask


@pytest.mark.usefixtures("every_size_is_large")
@pytest.mark.parametrize(
    ("holes", "boxes"),
    [
        ([(40, 30, 44, 34)], [(34, 24, 50, 40)]),
        ([(40, 30, 52, 34)], [(28, 18, 64, 46)]),  # as far as the hole is long
        ([(0, 0, 4, 4)], [(0, 0, 10, 10)]),
        ([(20, 20, 24, 24), (30, 20, 34, 24)], [(14, 14, 40, 30)]),  # margins meet
        ([(10, 10, 14, 14), (90, 70, 94, 74)], [(4, 4, 20, 20), (84, 64, 100, 80)]),
        ([(20, 20, 24, 24), (24, 24, 28, 28)], [(12, 12, 36, 36)]),  # one hole, across a corner
        ([(4, 4, 60, 50)], [(0, 0, 120, 90)]),  # saves too little
    ],
)
def test_boxes_hold_every_hole_with_a_margin(holes, boxes):
    assert regions.around(with_holes(90, 120, *holes)) == boxes


def test_a_small_picture_is_worked_on_as_a_whole():
    assert regions.around(with_holes(256, 384, (10, 10, 14, 14))) == [(0, 0, 384, 256)]
    assert regions.around(with_holes(1600, 1200, (500, 500, 600, 540))) == [(400, 400, 700, 640)]


@pytest.mark.usefixtures("every_size_is_large")
def test_boxes_are_apart_and_hold_all_holes_wherever_these_are():
    rng = np.random.default_rng(0)
    for _ in range(20):
        mask = torch.from_numpy(rng.random((80, 110)) > rng.choice([0.0005, 0.002]))[None, None].float()
        covered = torch.zeros_like(mask)
        for left, top, right, bottom in regions.around(mask):
            covered[..., top:bottom, left:right] += 1
        assert covered.max() <= 1
        assert (covered[mask == 0] == 1).all()


def test_a_region_is_reduced_to_the_pixels_of_a_square():
    assert regions.reduced_size(3000, 4000, 1024) == (886, 1182)
    assert regions.reduced_size(100, 4000, 1024) == (100, 4000)
    assert regions.reduced_size(3000, 4000, None) == (3000, 4000)


def test_reducing_mixes_nothing_of_the_hole_into_what_is_known():
    mask = with_holes(30, 50, (11, 7, 13, 9))
    picture = torch.full((1, 3, 30, 50), 0.25) * mask
    smaller = regions.reduced_mask(mask, (13, 21))
    assert 0 < (smaller == 0).sum() <= 9
    assert torch.allclose(regions.reduced(picture, (13, 21))[(smaller == 1).expand(1, 3, 13, 21)], torch.tensor(0.25))


def test_enlarging_keeps_a_slope_where_it_was():
    slope = torch.linspace(0, 1, 60).expand(1, 3, 40, 60).contiguous()
    smaller = regions.reduced(slope, (10, 15))
    larger = regions.enlarged(smaller, (40, 60))
    assert torch.allclose(larger[..., 8:-8], slope[..., 8:-8], atol=5e-3)


def test_the_seam_fades_within_the_hole_only():
    mask = with_holes(40, 60, (15, 10, 45, 30))
    target, drawn = torch.full((1, 3, 40, 60), 0.8) * mask, torch.full((1, 3, 40, 60), 0.5)
    blended = regions.feathered(drawn, target, mask, scale=1.5)
    assert torch.equal(blended[..., :10, :], drawn[..., :10, :])
    row = blended[0, 0, 20, 15:31]
    assert row[0] > 0.7  # like its neighbour, which is 0.8
    assert (row.diff() <= 0).all()
    assert row[-1] == 0.5


@pytest.mark.usefixtures("every_size_is_large")
def test_a_cut_out_and_reduced_region_goes_back_into_the_whole_picture(tmp_path):
    y, x = np.mgrid[0:90, 0:120]
    pixels = np.stack([x * 2, y * 2, (x + y) % 256], axis=-1).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    Image.fromarray((with_holes(90, 120, (40, 30, 60, 45))[0, 0].numpy() * 255).astype(np.uint8)).save(
        tmp_path / "m.png"
    )
    single = loaded(tmp_path / "a.png", tmp_path / "m.png", tmp_path / "a.png", max_side=30)
    assert single.box == (20, 10, 80, 65)
    assert single.original.target.shape == (1, 3, 55, 60)
    height, width = single.sample.target.shape[-2:]
    assert height * width <= 900
    assert single.sample.truth.shape == single.sample.target.shape
    restored = np.array(single.restored(single.sample.truth))
    hole = np.zeros((90, 120), dtype=bool)
    hole[30:45, 40:60] = True
    assert np.array_equal(restored[~hole], pixels[~hole])
    assert np.abs(restored[hole].astype(float) - pixels[hole]).mean() < 4  # the truth, reduced and enlarged


def test_max_side_that_leaves_nothing_known_is_refused(photograph, tmp_path):
    rng = np.random.default_rng(0)
    Image.fromarray((rng.random((32, 40)) > 0.5).astype(np.uint8) * 255).save(tmp_path / "m.png")
    with pytest.raises(ValueError, match=r"data.max_side=8 leaves no pixel known"):
        loaded(photograph, tmp_path / "m.png", max_side=8)
    with pytest.raises(ValueError, match=r"data.max_side=7, but each side needs at least 8 pixels"):
        loaded(photograph, tmp_path / "m.png", max_side=7)


@pytest.mark.parametrize("crop", [[0, 0, 41, 32], [5, 0, 5, 9], [0, 0, 9], "all", None, [0, 0, "a", 9], [-1, 0, 9, 9]])
def test_a_crop_that_is_no_part_of_the_picture_is_refused(photograph, mask, crop):
    with pytest.raises(ValueError, match=r"data.crop=.*, but it is auto, none or .* within the picture of 40x32"):
        loaded(photograph, mask, crop=crop)


def test_a_given_crop_is_the_picture(photograph, mask):
    single = loaded(photograph, mask, crop=[10, 4, 36, 28])
    whole = loaded(photograph, mask)
    assert torch.equal(single.sample.target, whole.sample.target[..., 4:28, 10:36])
    assert single.restored(single.sample.target).size == (26, 24)


def test_a_hole_is_large_by_its_depth_and_little_of_another_kind_goes_with_it():
    stroke, square, speck = (2, 2, 90, 8), (20, 30, 60, 60), (90, 70, 92, 72)
    assert list(regions.kinds(with_holes(90, 120, stroke), 8)) == ["thin"]
    assert list(regions.kinds(with_holes(90, 120, square), 8)) == ["large"]
    assert list(regions.kinds(with_holes(90, 120, square, speck), 8)) == ["large"]
    both = regions.kinds(with_holes(90, 120, stroke, square), 8)
    assert {kind: region.sum().item() for kind, region in both.items()} == {"thin": 88 * 6, "large": 40 * 30}
    assert regions.depth(with_holes(90, 120, square)) == 15
    assert list(regions.kinds(with_holes(90, 120, square), 15)) == ["large"]
    assert list(regions.kinds(with_holes(90, 120, square), 15.1)) == ["thin"]

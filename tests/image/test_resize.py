import torch

from dip.image.resize import enlarge, feather, reduce, reduce_mask, reduced_size


def test_a_region_is_reduced_to_the_pixels_of_a_square():
    assert reduced_size(3000, 4000, 1024) == (886, 1182)
    assert reduced_size(100, 4000, 1024) == (100, 4000)
    assert reduced_size(3000, 4000, None) == (3000, 4000)


def test_reducing_mixes_nothing_of_the_hole_into_what_is_known(with_holes):
    mask = with_holes(30, 50, (11, 7, 13, 9))
    picture = torch.full((1, 3, 30, 50), 0.25) * mask
    smaller = reduce_mask(mask, (13, 21))
    assert 0 < (smaller == 0).sum() <= 9
    assert torch.allclose(reduce(picture, (13, 21))[(smaller == 1).expand(1, 3, 13, 21)], torch.tensor(0.25))


def test_enlarging_keeps_a_slope_where_it_was():
    slope = torch.linspace(0, 1, 60).expand(1, 3, 40, 60).contiguous()
    smaller = reduce(slope, (10, 15))
    larger = enlarge(smaller, (40, 60))
    assert torch.allclose(larger[..., 8:-8], slope[..., 8:-8], atol=5e-3)


def test_the_seam_fades_within_the_hole_only(with_holes):
    mask = with_holes(40, 60, (15, 10, 45, 30))
    target, drawn = torch.full((1, 3, 40, 60), 0.8) * mask, torch.full((1, 3, 40, 60), 0.5)
    blended = feather(drawn, target, mask, scale=1.5)
    assert torch.equal(blended[..., :10, :], drawn[..., :10, :])
    row = blended[0, 0, 20, 15:31]
    assert row[0] > 0.7  # like its neighbour, which is 0.8
    assert (row.diff() <= 0).all()
    assert row[-1] == 0.5

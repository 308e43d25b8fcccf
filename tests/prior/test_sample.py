import pytest
import torch

from dip.prior.sample import Sample, SingleSample

PICTURE = torch.rand(1, 3, 32, 48, generator=torch.Generator().manual_seed(0))
MASK = torch.ones(1, 1, 32, 48)
MASK[..., 8:16, 20:30] = 0


def test_composite_keeps_known_pixels_and_takes_the_hole_from_the_output():
    sample = Sample(PICTURE * MASK, MASK, None)
    output = torch.rand_like(sample.target)
    known = sample.mask.bool().expand_as(output)
    composite = sample.composite(output)
    assert torch.equal(composite[known], sample.target[known])
    assert torch.equal(composite[~known], output[~known])


def test_composite_mixes_where_the_mask_is_a_weight():
    weights = MASK.clone()
    weights[..., 10, 18] = 0.2
    soft = Sample(PICTURE * (weights > 0), weights, None)
    mixed = soft.composite(torch.ones_like(soft.target))[0, :, 10, 18]
    assert mixed.tolist() == pytest.approx((0.2 * soft.target[0, :, 10, 18] + 0.8).tolist())


def test_the_sample_moves_to_the_device_once():
    data = SingleSample(PICTURE * MASK, MASK, PICTURE)
    first, second = (data.transfer_batch_to_device(data.sample, torch.device("meta"), 0) for _ in range(2))
    assert first is second
    assert {tensor.device.type for tensor in first if isinstance(tensor, torch.Tensor)} == {"meta"}
    assert data.sample.target.device.type == "cpu"

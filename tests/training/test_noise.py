from types import SimpleNamespace

import pytest
import torch

from dip.config.build import build, read_data
from dip.results.folder import RunFolder
from dip.training.noise import Langevin, WeightJitter


@pytest.fixture
def prior(config, tmp_path):
    cfg = config("model.widths=[16,16]")
    return build(cfg, read_data(cfg), RunFolder(tmp_path)).prior


def copies(prior):
    return {name: tensor.clone() for name, tensor in prior.state_dict().items()}


def moved(prior, before):
    return {name for name, tensor in prior.state_dict().items() if not torch.equal(tensor, before[name])}


def test_weight_jitter_moves_the_convolutions_by_its_share_and_nothing_else(prior):
    before = copies(prior)
    WeightJitter(share=0.02).on_train_batch_start(None, prior, None, 0)
    convolutions = {name for name, tensor in before.items() if tensor.dim() == 4 and "model" in name}
    assert moved(prior, before) == convolutions
    for name in convolutions:
        share = (prior.state_dict()[name] - before[name]).std() / before[name].std()
        assert 0.01 < share < 0.03


def test_langevin_moves_the_convolutions_by_its_noise_times_the_learning_rate(prior):
    before = copies(prior)
    trainer = SimpleNamespace(optimizers=[torch.optim.SGD(prior.parameters(), lr=0.1)])
    Langevin(noise=2.0).on_train_batch_end(trainer, prior, None, None, 0)
    convolutions = {name for name, tensor in before.items() if tensor.dim() == 4 and "model" in name}
    assert moved(prior, before) == convolutions
    steps = torch.cat([(prior.state_dict()[name] - before[name]).flatten() for name in convolutions])
    assert 0.18 < steps.std() < 0.22


def test_without_noise_no_weight_and_no_random_number_changes(prior):
    before, state = copies(prior), torch.get_rng_state()
    WeightJitter(share=0.0).on_train_batch_start(None, prior, None, 0)
    Langevin(noise=0.0).on_train_batch_end(None, prior, None, None, 0)
    assert not moved(prior, before)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(("kind", "key"), [(WeightJitter, "share"), (Langevin, "noise")])
def test_noise_is_never_negative(kind, key):
    with pytest.raises(ValueError, match=f"^{key}=-1, but it must be a number, at least 0; 0 adds no noise$"):
        kind(-1)

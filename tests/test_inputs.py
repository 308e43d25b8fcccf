import pytest
import torch

from dip.inputs import LearnedInput


def test_starts_uniform_in_its_range_and_is_trained():
    picture = LearnedInput((64, 48), channels=3, scale=0.2)()
    assert picture.shape == (1, 3, 64, 48)
    assert picture.requires_grad
    assert picture.min() >= 0
    assert 0.19 < picture.max() < 0.2
    assert abs(picture.mean() - 0.1) < 0.005


def test_noise_is_new_in_every_step_and_absent_in_evaluation():
    learned = LearnedInput((64, 48), channels=3, noise=0.05)
    assert not torch.equal(learned(), learned())
    assert abs((learned() - learned.picture).std() - 0.05) < 0.005
    assert torch.equal(learned.eval()(), learned.picture)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"channels": 0}, "input.channels=0"),
        ({"channels": 3, "scale": 0.0}, "input.scale=0.0"),
        ({"channels": 3, "noise": -1.0}, "input.noise=-1.0"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        LearnedInput((4, 4), **arguments)

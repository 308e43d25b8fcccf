import pytest
import torch

from dip.errors import UserError
from dip.image.metrics import biharmonic
from dip.prior.inputs import Filled, Fourier, LearnedInput, Meshgrid, Noise


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


def test_a_learning_rate_below_nothing_is_refused():
    with pytest.raises(
        UserError, match=r"lr=-0\.5, but it must be a number, at least 0, or null; null is the network's"
    ):
        LearnedInput((8, 8), channels=3, lr=-0.5)


def test_fixed_noise_has_its_distribution_and_is_not_trained():
    uniform, normal = (Noise((64, 48), 4, name, scale=0.2) for name in ("uniform", "normal"))
    assert not list(uniform.parameters())
    assert 0 <= uniform().min() < uniform().max() < 0.2
    assert normal().min() < -0.2
    assert abs(normal().std() - 0.2) < 0.01
    assert Noise((33, 40), 4, reduction=8)().shape == (1, 4, 5, 5)


def test_meshgrid_says_where_each_pixel_is():
    columns, rows = Meshgrid((3, 5))()[0]
    assert torch.equal(columns, torch.linspace(0, 1, 5).expand(3, 5))
    assert torch.equal(rows, torch.linspace(0, 1, 3)[:, None].expand(3, 5))


def test_fourier_features_are_waves_over_the_picture():
    waves = Fourier((32, 48), features=6, scale=2.0)()
    assert waves.shape == (1, 12, 32, 48)
    torch.testing.assert_close(waves[:, :6].square() + waves[:, 6:].square(), torch.ones(1, 6, 32, 48))
    assert torch.equal(waves[0, :, 0, 0], torch.tensor([1.0] * 6 + [0.0] * 6))


def test_the_filled_picture_sees_nothing_of_the_hole():
    mask = torch.ones(1, 1, 16, 18)
    mask[..., 4:9, 5:11] = 0
    target = torch.rand(1, 3, 16, 18) * mask
    filled = Filled(target, mask, noise_channels=2)()
    assert filled.shape == (1, 5, 16, 18)
    assert torch.equal(filled[:, :3], biharmonic(target, mask))


@pytest.mark.parametrize(
    "make",
    [
        lambda learned: Noise((8, 9), 2, learned=learned, lr=0.1 if learned else None),
        lambda learned: Meshgrid((8, 9), learned=learned),
        lambda learned: Fourier((8, 9), 2, learned=learned),
    ],
)
def test_every_starting_point_can_be_learned(make):
    assert len(list(make(True).parameters())) == 1
    assert not list(make(False).parameters())
    assert "picture" in make(False).state_dict()  # for a checkpoint, or it would be another picture


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"channels": 0}, "channels=0, but it must be a whole number, at least 1"),
        ({"channels": 3, "scale": 0.0}, "scale=0.0, but it must be a number, above 0"),
        ({"channels": 3, "noise": -1.0}, "noise=-1.0, but it must be a number, at least 0; 0 is no noise"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        LearnedInput((4, 4), **arguments)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Noise((4, 4), 1, "gamma"), "distribution=gamma, but it must be one of uniform, normal"),
        (lambda: Noise((4, 4), 1, reduction=0), "reduction=0, but .* 1 keeps the picture's size"),
        (lambda: Noise((4, 4), 1, lr=0.1), "input.lr=0.1, but this input is not trained"),
        (lambda: Fourier((4, 4), 0), "features=0"),
        (lambda: Filled(torch.rand(1, 1, 4, 4), torch.ones(1, 1, 4, 4), -1), "noise_channels=-1"),
    ],
)
def test_bad_starting_points_are_refused(make, message):
    with pytest.raises(UserError, match=message):
        make()

from functools import partial

import torch
from torch import nn
from torch.optim import Adam

from dip.prior.inputs import LearnedInput
from dip.prior.losses import masked_mse
from dip.prior.module import DeepImagePrior
from dip.prior.nets.unet import UNet, UpConv
from dip.prior.sample import Sample

MASK = torch.ones(1, 1, 32, 32)
MASK[..., 8:20, 8:20] = 0
TARGET = torch.rand(1, 3, 32, 32) * MASK


def prior(model: nn.Module) -> DeepImagePrior:
    return DeepImagePrior(model, LearnedInput((32, 32), 3), masked_mse, partial(Adam, lr=0.01))


def test_a_step_computes_the_masked_loss_of_its_output():
    module = prior(UNet(3, 3, depth=2, widths=(8, 16)))
    step = module.training_step(Sample(TARGET, MASK, None))
    assert step["output"].shape == TARGET.shape
    assert not step["output"].requires_grad
    torch.testing.assert_close(step["loss"], masked_mse(step["output"], TARGET, MASK))


def test_the_optimizer_trains_the_network_and_its_input():
    module = prior(UNet(3, 3, depth=2, widths=(8, 16)))
    groups = module.configure_optimizers()["optimizer"].param_groups
    trained = {id(parameter) for group in groups for parameter in group["params"]}
    assert trained == {id(parameter) for parameter in [*module.model.parameters(), module.input.picture]}


def test_the_drawing_is_without_noise_and_training_goes_on_with_it():
    module = prior(UNet(3, 3, depth=2, widths=(8, 16)))
    module.input.noise = 0.1
    assert torch.equal(module.predict(), module.predict())
    assert not torch.equal(module(), module())


def test_any_network_takes_the_place_of_the_unet():
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 1))
    module = prior(network)
    module.training_step(Sample(TARGET, MASK, None))["loss"].backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_the_input_learns_in_the_hole_only_where_known_pixels_reach():
    # One 3x3 convolution: the outermost pixels of the hole are reached, the others are not.
    module = prior(nn.Conv2d(3, 3, 3, padding=1))
    module.training_step(Sample(TARGET, MASK, None))["loss"].backward()
    reached = module.input.picture.grad.abs().sum(dim=1)[0] > 0
    assert not reached[9:19, 9:19].any()
    assert reached[8, 8:20].all()


def test_activations_stay_in_channels_last_order():
    # A layer that fell back to the other order would copy its whole picture, forward and backward.
    module = prior(UNet(3, 3, depth=3, widths=(8, 16)))
    orders = {}

    def note(name):
        def hook(layer, inputs, output):
            tensors = [*(tensor for tensor in inputs if isinstance(tensor, torch.Tensor)), output]
            orders[name] = [tensor.is_contiguous(memory_format=torch.channels_last) for tensor in tensors]

        return hook

    for name, layer in module.model.named_modules():
        if not list(layer.children()) or isinstance(layer, UpConv):
            layer.register_forward_hook(note(name))
    module.training_step(Sample(TARGET, MASK, None))
    del orders["bound"]  # after the cut of the last convolution's padding
    assert len(orders) > 20
    assert all(all(flags) for flags in orders.values()), orders


def test_the_input_may_have_a_learning_rate_of_its_own():
    module = DeepImagePrior(
        nn.Conv2d(3, 3, 3, padding=1), LearnedInput((32, 32), 3, lr=0.5), masked_mse, partial(Adam, lr=0.01)
    )
    network, picture = module.configure_optimizers()["optimizer"].param_groups
    assert (network["lr"], picture["lr"]) == (0.01, 0.5)
    assert [id(parameter) for parameter in picture["params"]] == [id(module.input.picture)]


def test_the_penalty_is_added_to_the_loss():
    module = prior(UNet(3, 3, depth=2, widths=(8, 16)))
    without, output = module.loss_and_output(TARGET, MASK)
    module.penalty = lambda drawn: 0.5 * drawn.mean()
    torch.testing.assert_close(module.loss_and_output(TARGET, MASK)[0], without + 0.5 * output.mean())

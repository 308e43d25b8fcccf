import json

import numpy as np
import pytest
import torch
from PIL import Image
from pytorch_lightning import Callback
from skimage import data
from torch.nn import functional

from dip.experiment import build
from dip.regions import surroundings
from dip.repair import repair, restore
from dip.texture import ColourRange, PatchTexture, blurred, is_even

torch.manual_seed(0)
NOISE = functional.avg_pool2d(torch.rand(1, 3, 65, 81), 2, stride=1)
MASK = torch.ones(1, 1, 64, 80)
MASK[..., 20:44, 24:52] = 0
FILL = torch.full_like(NOISE, 0.5)
EVEN = {"variety_below": 0.1, "kurtosis_below": 4.2}


def texture(target=NOISE, mask=MASK, **turned):
    keys = {"weight": 0.3, "share": 0.5, **EVEN, "patch": 5, "filters": 16, "samples": 4096, "scales": 2}
    penalty = PatchTexture(target * mask, mask, **(keys | {"blur_sd": 4.0, "input_lr": 0.1} | turned))
    penalty.begin(FILL)
    return penalty


def test_the_same_texture_costs_less_than_none_and_than_another():
    penalty = texture()
    hole = 1 - MASK

    def cost(inside):
        torch.manual_seed(1)
        return penalty.unlike(NOISE * MASK + inside * hole).item()

    own = cost(NOISE.flip(3))
    assert cost(FILL) > 10 * own
    assert cost(0.5 + 2 * (NOISE.flip(3) - 0.5)) > 10 * own
    assert cost(torch.rand(1, 3, 64, 80)) > 3 * own


def test_a_picture_that_follows_the_penalty_gets_the_texture_and_keeps_its_colours():
    penalty = texture()
    fill = FILL * torch.linspace(0.6, 1.4, 80)
    penalty.begin(fill)
    drawn = (fill + 0.02 * torch.randn(fill.shape)).requires_grad_()
    optimizer = torch.optim.Adam([drawn], 0.02)
    for _ in range(150):
        optimizer.zero_grad()
        penalty(drawn * (1 - MASK) + NOISE * MASK).backward()
        optimizer.step()
    inside = (drawn.detach() * (1 - MASK))[..., 20:44, 24:52]
    wanted = NOISE[..., 20:44, 24:52]
    contrast, example = (((part - blurred(part, 4.0))[..., 8:16, 8:20]).std().item() for part in (inside, wanted))
    assert contrast == pytest.approx(example, rel=0.3)
    assert (inside.mean(dim=(0, 1, 2)) - fill[..., 20:44, 24:52].mean(dim=(0, 1, 2))).abs().mean() < 0.1


def in_the_middle(picture, side):
    """Whether a square hole of that side in the middle of a picture from the scikit-image wheel lies in a texture."""
    target = torch.from_numpy(np.array(picture, dtype=np.float32))[None, None] / 255
    inside = torch.zeros_like(target, dtype=torch.bool)
    middle = [slice(length // 2 - side // 2, length // 2 + side // 2) for length in target.shape[-2:]]
    inside[..., middle[0], middle[1]] = True
    return is_even(target * ~inside, inside, surroundings(inside, ~inside, 21), 7, *EVEN.values())


def test_gravel_and_grass_are_an_even_texture_and_a_photographer_and_a_step_are_not():
    assert in_the_middle(data.gravel()[::2, ::2], 60)
    assert in_the_middle(data.grass()[::2, ::2], 60)
    assert not in_the_middle(data.camera()[::2, ::2], 60)
    half = data.gravel()[::2, ::2].copy()
    half[:, 128:] = half[:, 128:] // 8
    assert not in_the_middle(half, 60)


def test_only_holes_in_an_even_texture_get_it():
    mask = MASK.clone()
    mask[..., 2:6, 2:6] = 0  # no deeper than a patch is wide
    penalty = texture(mask=mask)
    assert len(penalty.holes) == 1
    assert torch.equal(penalty.textured, 1 - MASK)
    # The other keeps its fill, pixel by pixel, which a checkerboard does not change when blurred.
    board = 0.2 * ((torch.arange(64)[:, None] + torch.arange(80)) % 2 - 0.5)
    small = FILL + board * (1 - mask) * MASK
    assert penalty.discoloured(small).item() == pytest.approx(0.01 * 16 / (16 + 24 * 28), rel=1e-3)
    large = FILL + board * (1 - MASK)
    assert penalty.discoloured(large).item() < 1e-4
    assert not texture(weight=0.0).holes
    assert not texture(kurtosis_below=1.0).holes
    assert not texture(variety_below=0.0).holes


def test_only_colours_that_occur_around_a_large_hole_cost_nothing():
    mask = MASK.clone()
    mask[..., 2:6, 2:6] = 0  # no deeper than the blur
    target = FILL.clone()
    target[..., 40:] = 0.7
    penalty = ColourRange(target * mask, mask, weight=2.0, blur_sd=3.0)
    assert penalty(target).item() == pytest.approx(0, abs=1e-9)
    assert penalty(torch.where(mask == 0, 0.6, target)).item() == pytest.approx(0, abs=1e-9)
    ellipse = target.clone()
    ellipse[:, 0, 24:40, 30:46] = 1.0
    assert penalty(ellipse).item() > 1e-3
    small = target.clone()
    small[..., 2:6, 2:6] = 0.0
    assert penalty(small).item() == pytest.approx(0, abs=1e-9)
    assert ColourRange(target * mask, mask, weight=0.0, blur_sd=3.0)(ellipse) == 0


@pytest.mark.parametrize(
    "wrong", ["weight=-1", "share=1", "patch=1", "filters=0", "samples=1", "scales=0", "blur_sd=0"]
)
def test_texture_refuses_what_makes_no_sense(config, tmp_path, wrong):
    with pytest.raises(ValueError, match=rf"texture\.{wrong}"):
        build(config("hole_kind=large", f"texture.{wrong}"), tmp_path)


@pytest.mark.parametrize("wrong", ["weight=-1", "blur_sd=0"])
def test_colour_range_refuses_what_makes_no_sense(config, tmp_path, wrong):
    with pytest.raises(ValueError, match=rf"penalty\.{wrong}"):
        build(config("hole_kind=large", f"penalty.{wrong}"), tmp_path)


def test_texture_without_the_rule_that_begins_it_is_refused(config, tmp_path):
    with pytest.raises(ValueError, match=r"texture.weight=0.3, but .* set texture=none, or stopping=held_out"):
        build(config("hole_kind=large", "stopping=none"), tmp_path)
    build(config("hole_kind=thin", "stopping=none"), tmp_path)


def test_an_optimizer_of_one_rate_says_which_keys_give_it_one(textured, tmp_path):
    lbfgs = ["optimizer=lbfgs", "trainer.max_steps=4"]
    with pytest.raises(ValueError, match=r"optimizer: L-BFGS .* texture.input_lr=null"):
        build(textured(*lbfgs), tmp_path)
    assert repair(build(textured(*lbfgs, "texture.input_lr=null"), tmp_path), tmp_path)["steps"] == 4


@pytest.fixture
def textured(config, tmp_path):
    """textured("key=value", ...): the configuration for a hole in a texture, given by the last two of four steps."""
    path = tmp_path / "textured"
    path.mkdir()
    for name, picture in (("picture", NOISE[0].permute(1, 2, 0)), ("mask", MASK[0, 0])):
        Image.fromarray((255 * picture.numpy()).astype(np.uint8)).save(path / f"{name}.png")
    files = [f"data.image={path}/picture.png", f"data.mask={path}/mask.png", f"data.truth={path}/picture.png"]

    def composed(*overrides):
        small = ["texture.patch=5", "texture.share=0.5", "hole_kind=large", "trainer.max_steps=4"]
        return config(*files, *small, *overrides)

    return composed


class States(Callback):
    """What changes when the hole gets texture, after each step."""

    def __init__(self):
        self.seen = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        (optimizer,) = trainer.optimizers
        rates = [group["lr"] for group in optimizer.param_groups]
        self.seen.append((pl_module.texture.begun, pl_module.input.noise, rates, batch.held_out is not None))


def test_texture_comes_when_the_hole_is_filled(textured, tmp_path, caplog):
    caplog.set_level("INFO")
    experiment = build(textured("input.noise=0.5", "optimizer.lr=0.01"), tmp_path / "run")
    states = States()
    experiment.trainer.callbacks.append(states)
    metrics = repair(experiment, tmp_path / "run")
    before, after = (False, 0.5, [0.01, 0.01], True), (True, 0.0, [0.01, 0.1], False)
    assert states.seen[0] == before
    assert states.seen[2:] == [after, after]
    assert "step 2: the hole is filled, and gets texture from here on" in caplog.text
    assert "1 hole lies in an even texture, to be continued" in caplog.text
    assert metrics["before_texture"]["psnr_hole"] != metrics["psnr_hole"]
    smooth = np.array(Image.open(tmp_path / "run" / "before_texture.png"))
    assert smooth.shape == (64, 80, 3)
    assert (smooth != np.array(Image.open(tmp_path / "run" / "output.png"))).any()


def test_a_hole_without_a_texture_around_it_is_refitted_as_ever(textured, tmp_path):
    experiment = build(textured("texture.variety_below=0", "trainer.max_steps=10"), tmp_path / "run")
    assert experiment.prior.texture is None
    metrics = repair(experiment, tmp_path / "run")
    assert "before_texture" not in metrics
    assert json.loads((tmp_path / "run" / "metrics.json").read_text()) == metrics


def test_a_hole_that_gets_texture_is_no_mean(textured, tmp_path):
    metrics = restore(textured("members=3"), tmp_path / "run")
    assert list(metrics["members"]) == ["member_1"]

import json

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data
from torch.nn import functional

from dip.errors import UserError
from dip.image.holes import surroundings
from dip.prior.losses import blurred
from dip.repair.run import repair
from dip.results.folder import RunFolder
from dip.results.patches.quilting import blend, correlate, cover_with_blocks
from dip.results.patches.texture import Texture, is_even

torch.manual_seed(0)
NOISE = functional.avg_pool2d(torch.rand(1, 3, 65, 81), 2, stride=1)
MASK = torch.ones(1, 1, 64, 80)
MASK[..., 20:44, 24:52] = 0
FILL = torch.full_like(NOISE, 0.5)
EVEN = {"variety_below": 0.12, "kurtosis_below": 4.9}


def texture(target=NOISE, mask=MASK, **changed):
    keys = {"contrast": 1.0, **EVEN, "patch": 5, "block": 10, "overlap": 3, "blur_sd": 4.0, "guide_sd": 4.0}
    keys |= {"guide_weight": 3.0, "repeat_weight": 3.0, "block_blur_sd": 4.0, "block_guide_sd": 4.0}
    return Texture(target * mask, mask, **(keys | changed))


def inside(picture):
    return picture[..., 20:44, 24:52]


def test_the_hole_gets_the_contrast_of_the_texture_around_it_and_keeps_its_colours():
    fill = FILL * torch.linspace(0.6, 1.4, 80)
    result = texture()(fill)
    assert torch.equal(result[(MASK == 1).expand_as(result)], fill[(MASK == 1).expand_as(fill)])
    contrast, example = (inside(part - blurred(part, 4.0)).std().item() for part in (result, NOISE))
    assert contrast == pytest.approx(example, rel=0.1)
    middle = (blurred(result - fill, 4.0))[..., 30:34, 34:42]  # beside the edge the known colours play a part
    assert middle.abs().max() < 0.1
    full, half = (inside(texture(contrast=contrast)(FILL) - FILL).std().item() for contrast in (1.0, 0.5))
    assert half == pytest.approx(full / 2, rel=0.1)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_an_output_keeps_its_details_and_gets_what_they_lack_of_the_contrast(share):
    noise = functional.avg_pool2d(torch.rand(1, 3, 65, 81, generator=torch.Generator().manual_seed(1)), 2, stride=1)
    output = FILL + share * (noise - noise.mean())
    result = texture()(output)
    contrast, example = (inside(part - blurred(part, 4.0)).std().item() for part in (result, NOISE))
    assert contrast == pytest.approx(example, rel=0.1)
    added, lacks = inside(result - output).std().item(), (1 - share**2) ** 0.5 * example
    assert added == pytest.approx(lacks, abs=0.25 * example)


def test_what_repeats_around_a_hole_goes_on_within_it():
    rows, columns = torch.meshgrid(torch.arange(64), torch.arange(80), indexing="ij")
    weave = (0.5 + 0.2 * torch.sin(rows * 2 * torch.pi / 8) * torch.sin(columns * 2 * torch.pi / 8)).expand(
        1, 3, 64, 80
    )
    quilting = texture(weave, variety_below=1e3, kurtosis_below=1e3)
    assert inside(quilting(FILL) - weave).square().mean() < 0.01 * inside(FILL - weave).square().mean()


def test_correlation_is_a_convolution():
    picture, weights = torch.randn(1, 3, 21, 34), torch.randn(1, 3, 8, 8)
    found = correlate(torch.fft.rfft2(picture), weights, picture.shape[-2:])
    assert torch.allclose(found, functional.conv2d(picture, weights)[0, 0], atol=1e-4)


@pytest.mark.parametrize("corner", [(0, 0), (40, 52)])
def test_a_hole_at_the_edge_is_covered_and_no_block_is_laid_twice(corner):
    inside_ = torch.zeros(1, 1, 64, 80, dtype=torch.bool)
    inside_[..., corner[0] : corner[0] + 24, corner[1] : corner[1] + 28] = True
    squares = cover_with_blocks(inside_, 10, 3)
    covered = torch.zeros_like(inside_)
    for square in squares:
        covered[square] = True
        assert covered[square].shape == (1, 1, 10, 10)
    assert covered[inside_].all()
    assert len({str(square) for square in squares}) == len(squares)
    result = texture(mask=1 - inside_.float())(FILL)
    contrast, example = (part[..., inside_[0, 0]].std().item() for part in (result, NOISE))
    assert contrast == pytest.approx(example, rel=0.15)


def test_details_come_from_where_the_colours_are_alike():
    # Coarse details below where it is dark, fine ones above where it is bright; the hole is between and dark.
    coarse = functional.interpolate(NOISE[..., :32, :40], scale_factor=2) - 0.5
    target = torch.where(torch.arange(64)[:, None] < 32, 0.7 + 0.3 * (NOISE - 0.5), 0.3 + 0.3 * coarse)
    quilting = texture(target, variety_below=1e3, kurtosis_below=1e3, guide_weight=1000.0)
    found = {}
    for name, colour in (("bright", 0.7), ("dark", 0.3)):
        result = inside(quilting(torch.full_like(target, colour)))[..., 8:16, 8:20]
        found[name] = (result[..., 1:] - result[..., :-1]).square().mean()
    assert found["dark"] < 0.75 * found["bright"]


@pytest.mark.parametrize("likeness", [1.0, 0.5, 0.0])
def test_a_blend_has_the_contrast_of_what_it_blends(likeness):
    old, other = torch.randn(2, 1, 3, 90, 100).unbind()
    new = likeness * old + (1 - likeness**2) ** 0.5 * other
    filled = (torch.arange(100) < 80).float().expand(1, 1, 90, 100)
    result = blend(old, new, filled, torch.full((90, 100), 0.4))
    assert result[..., :80].std() == pytest.approx(1, abs=0.03)
    assert torch.equal(result[..., 80:], new[..., 80:])
    if likeness == 1:
        assert torch.allclose(result, old, atol=1e-5)


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


def test_holes_get_details_from_half_a_patch_on_and_large_ones_in_an_even_texture_blocks():
    mask = MASK.clone()
    mask[..., 2:6, 2:6] = 0  # 2 deep
    mask[..., 54:60, 60:70] = 0  # 3 deep
    adds = texture(mask=mask)
    assert len(adds.even) == 1
    board = FILL + 0.2 * ((torch.arange(64)[:, None] + torch.arange(80)) % 2 - 0.5)
    result = adds(board)
    assert torch.equal(result[..., 2:6, 2:6], board[..., 2:6, 2:6])
    assert not torch.equal(result[..., 54:60, 60:70], board[..., 54:60, 60:70])
    assert not torch.equal(inside(result), inside(board))
    for changed in ({"kurtosis_below": 1.0}, {"variety_below": 0.0}, {"block": 70, "overlap": 8}, {"block": 29}):
        adds = texture(**changed)
        assert adds.hole.any()
        assert not adds.even
        assert not torch.equal(inside(adds(FILL)), inside(FILL))
    for nothing in (texture(contrast=0.0), texture(NOISE[..., :4, :], MASK[..., 20:24, :], block=3, overlap=1)):
        assert not nothing.hole.any()  # the picture of four rows has no patch
        assert nothing(FILL) is FILL


def test_an_even_texture_is_told_by_patches_of_the_size_that_is_asked_for():
    spiky = NOISE**4  # in smaller patches further from a normal distribution
    assert texture(spiky, patch=7, kurtosis_below=3.7).even
    assert not texture(spiky, patch=3, kurtosis_below=3.7).even


def test_colours_that_occur_nowhere_get_few_details():
    stripes = torch.where(torch.arange(80) % 4 < 2, 0.2, 0.4).expand(1, 3, 64, 80)
    adds = texture(stripes, variety_below=0.0, guide_sd=2.0)
    near, far = (inside(adds(torch.full_like(stripes, colour)) - colour).std() for colour in (0.3, 0.9))
    assert near > 0.05
    assert far < 0.3 * near


def test_an_edge_that_the_output_shows_blurred_gets_sharp():
    target = torch.where(torch.arange(80) < 40, 0.2, 0.8).expand(1, 3, 64, 80)
    output = blurred(target, 3.0)
    result = texture(target, variety_below=0.0, blur_sd=6.0, guide_sd=2.0)(output)
    before, after = (inside(picture - target).square().mean() for picture in (output, result))
    assert after < 0.5 * before


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"contrast": -1.0}, "contrast=-1.0, but it must be a number, at least 0; 0 is no texture"),
        ({"patch": 1}, "patch=1, but it must be a whole number, at least 3"),
        ({"patch": 4}, r"texture\.patch=4, but it must be odd, such as 5"),
        ({"block": 1}, "block=1, but it must be a whole number, at least 2"),
        ({"overlap": 6}, r"texture\.overlap=6, but it must be at most half of texture\.block=10"),
        ({"overlap": 0}, "overlap=0, but it must be a whole number, at least 1"),
        ({"blur_sd": 0.0}, "blur_sd=0.0, but it must be a number, above 0; it is a standard deviation in pixels"),
        ({"guide_sd": 0.0}, "guide_sd=0.0"),
        ({"guide_weight": -1.0}, "guide_weight=-1.0, but .* at least 0; 0 is no guide"),
        (
            {"repeat_weight": -1.0},
            "repeat_weight=-1.0, but .* at least 0; 0 lets a place be copied as often as it suits",
        ),
    ],
)
def test_texture_refuses_what_makes_no_sense(wrong, message):
    with pytest.raises(UserError, match=message):
        texture(**wrong)


@pytest.fixture
def textured(config, tmp_path):
    """textured("key=value", ...): the configuration of four steps for a hole in a texture."""
    path = tmp_path / "textured"
    path.mkdir()
    for name, picture in (("picture", NOISE[0].permute(1, 2, 0)), ("mask", MASK[0, 0])):
        Image.fromarray((255 * picture.numpy()).astype(np.uint8)).save(path / f"{name}.png")
    files = [f"data.image={path}/picture.png", f"data.mask={path}/mask.png", f"data.truth={path}/picture.png"]

    def composed(*overrides):
        small = [
            "texture=patches",
            "texture.patch=5",
            "texture.block=10",
            "texture.overlap=3",
            "hole_kind=large",
            "trainer.max_steps=4",
        ]
        return config(*files, *small, *overrides)

    return composed


def run(cfg, folder):
    return repair(cfg, RunFolder(folder))


def pictures(folder):
    names = ("before_texture", "output", "composite")
    return {name: np.array(Image.open(folder / f"{name}.png")) / 255 for name in names}


@pytest.mark.parametrize("members", [1, 2])
def test_the_result_has_the_texture_and_beside_it_is_the_fill(textured, tmp_path, caplog, members):
    caplog.set_level("INFO")
    metrics = run(textured(f"members={members}"), tmp_path / "run")
    said = "The hole gets details like those around it; before_texture.png is without them."
    assert caplog.text.count(said) == 1
    assert json.loads((tmp_path / "run" / "metrics.json").read_text()) == metrics
    found = pictures(tmp_path / "run")
    hole = (MASK[0, 0] == 0).numpy()
    assert np.array_equal(found["output"][hole], found["composite"][hole])
    assert np.array_equal(found["output"][~hole], found["before_texture"][~hole])
    assert found["output"][hole].std() > 1.2 * found["before_texture"][hole].std()
    assert metrics["texture_distance"] < metrics["before_texture"]["texture_distance"]
    assert metrics["before_texture"]["psnr_hole"] != metrics["psnr_hole"]
    if members > 1:  # the mean gets it, and no run of its own does
        each = [np.array(Image.open(tmp_path / "run" / f"member_{k}" / "output.png")) / 255 for k in (1, 2)]
        assert np.abs(np.mean(each, axis=0) - found["before_texture"]).max() < 0.005


@pytest.mark.parametrize("beside", ["trainer.precision=64-true", "data.max_side=60", "average=none"])
def test_texture_goes_with_every_precision_size_and_average(textured, tmp_path, beside):
    assert run(textured(beside), tmp_path / "run")["before_texture"]


def test_all_holes_in_a_texture_get_it(textured, tmp_path, caplog):
    caplog.set_level("INFO")
    mask = MASK[0, 0].clone()
    mask[30:36] = 1
    mask[30:36, 60:66] = 0
    Image.fromarray((255 * mask.numpy()).astype(np.uint8)).save(tmp_path / "mask.png")
    run(textured(f"data.mask={tmp_path}/mask.png", "texture.blur_sd=2", "texture.kurtosis_below=9"), tmp_path / "run")
    assert caplog.text.count("The hole gets details like those around it") == 1
    found = pictures(tmp_path / "run")
    assert ((found["output"] != found["before_texture"]).any(axis=2) <= (mask == 0).numpy()).all()


@pytest.mark.parametrize(("kind", "gets"), [(np.uint16, True), (np.float32, False)])
def test_numbers_that_may_be_measurements_get_no_details(textured, tmp_path, kind, gets):
    np.save(tmp_path / "picture.npy", (60000 * NOISE[0].permute(1, 2, 0).numpy()).astype(kind))
    cfg = textured(f"data.image={tmp_path}/picture.npy", "data.truth=null")
    run(cfg, tmp_path / "run")
    assert (tmp_path / "run" / "before_texture.png").exists() == gets


def test_without_contrast_the_hole_keeps_its_fill(textured, tmp_path):
    metrics = run(textured("texture.contrast=0"), tmp_path / "run")
    assert "before_texture" not in metrics
    assert not (tmp_path / "run" / "before_texture.png").exists()

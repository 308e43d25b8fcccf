import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from dip.config.build import read_data
from dip.config.compose import compose
from dip.errors import UserError
from dip.image import masks
from dip.image.read import damage


@pytest.mark.parametrize(("hole", "known"), [("black", [1, 1, 0, 0]), ("white", [0, 0, 1, 1])])
def test_the_colour_of_the_hole_decides(tmp_path, hole, known):
    path = tmp_path / "mask.png"
    Image.fromarray(np.array([[255, 128, 127, 0]], dtype=np.uint8)).save(path)
    assert masks.read_mask(path, hole).tolist() == [[[known]]]


def test_a_colour_mask_counts_as_grey(tmp_path):
    path = tmp_path / "mask.png"
    Image.fromarray(np.array([[[255, 255, 255], [0, 0, 0]]], dtype=np.uint8)).save(path)
    assert masks.read_mask(path, "black").tolist() == [[[[1, 0]]]]


def test_white_ink_of_a_mask_is_white(tmp_path):
    pixels = np.array([[[255, 255, 255], [0, 0, 0]]], dtype=np.uint8)
    Image.fromarray(pixels).convert("CMYK").save(tmp_path / "mask.tif")
    assert masks.read_mask(tmp_path / "mask.tif", "black").tolist() == [[[[1, 0]]]]
    black = Image.merge("CMYK", [Image.new("L", (2, 1))] * 3 + [Image.fromarray(np.array([[0, 255]], np.uint8))])
    black.save(tmp_path / "black_ink.tif")
    assert masks.read_mask(tmp_path / "black_ink.tif", "black").tolist() == [[[[1, 0]]]]


def test_the_hole_can_be_what_is_transparent(tmp_path):
    pixels = np.full((1, 4, 4), 255, dtype=np.uint8)
    pixels[0, :, 3] = [255, 128, 127, 0]
    Image.fromarray(pixels).save(tmp_path / "mask.png")
    assert masks.read_mask(tmp_path / "mask.png", "alpha").tolist() == [[[[1, 0, 0, 0]]]]
    assert masks.read_mask(tmp_path / "mask.png", "opaque").tolist() == [[[[0, 0, 1, 1]]]]  # what is painted
    with pytest.raises(UserError, match=r"if they are the hole, give data.hole=alpha, and if .*, data.hole=opaque"):
        masks.read_mask(tmp_path / "mask.png", "black")
    Image.new("L", (4, 4), 255).save(tmp_path / "opaque.png")
    with pytest.raises(UserError, match=r"data.mask=.*opaque\.png has no alpha channel for data.hole=alpha"):
        masks.read_mask(tmp_path / "opaque.png", "alpha")


@pytest.mark.parametrize(("mode", "white"), [("1", 1), ("I;16", 65535), ("I;16", 1), ("P", 255)])
def test_a_mask_of_any_depth_is_black_and_white(tmp_path, mode, white):
    pixels = np.array([[white, 0]], dtype=np.uint16 if mode == "I;16" else np.uint8)
    mask = (
        Image.fromarray(pixels)
        if mode == "I;16"
        else Image.fromarray((pixels > 0).astype(np.uint8) * 255).convert(mode)
    )
    mask.save(tmp_path / "mask.png")
    assert masks.read_mask(tmp_path / "mask.png", "black").tolist() == [[[[1, 0]]]]


def test_a_hole_grows_to_every_side(config):
    mask = torch.ones(1, 1, 7, 9)
    mask[..., 3, 4] = 0
    assert torch.equal(masks.grow_hole(mask, 0), mask)
    expected = torch.ones(1, 1, 7, 9)
    expected[..., 1:6, 2:7] = 0
    assert torch.equal(masks.grow_hole(mask, 2), expected)
    with pytest.raises(UserError, match=r"data.grow_hole=-1, but it must be a whole number, at least 0"):
        read_data(config("data.grow_hole=-1"))


def test_random_pixels_keeps_exactly_the_share_and_has_its_own_generator():
    mask = masks.random_pixels(30, 40, known_share=0.3, seed=1)
    assert mask.shape == (1, 1, 30, 40)
    assert mask.sum() == 360
    torch.manual_seed(99)
    assert torch.equal(mask, masks.random_pixels(30, 40, known_share=0.3, seed=1))
    assert not torch.equal(mask, masks.random_pixels(30, 40, known_share=0.3, seed=2))


@pytest.mark.parametrize("share", [0.0, 1.0, -0.5, 50.0])
def test_random_pixels_refuses_a_share_outside_its_range(config, share):
    with pytest.raises(UserError, match=f"data.mask.known_share={share}, but it must be a number, above 0 and below 1"):
        read_data(config("data=random_pixels", f"data.mask.known_share={share}"))


def test_a_share_that_rounds_to_nothing_is_refused():
    for share, message in ((0.001, "leaves no pixel known"), (0.999, "has no hole")):
        with pytest.raises(UserError, match=message):
            damage(Image.new("L", (10, 10)), lambda *size, s=share: masks.random_pixels(*size, s, 0))


def refused(picture, hole, soft_mask="threshold"):
    known = masks.settled(masks.known_fraction(picture, hole, "data.mask=m.png"), hole, soft_mask)
    with pytest.raises(UserError) as caught:
        masks.check_contents(picture, known, hole, "data.mask=m.png", soft_mask)
    return str(caught.value)


def labels(values):
    """A mask of 40x30 pixels with the first value around a box of each of the others."""
    pixels = np.full((30, 40, *np.shape(values[0])), values[0], dtype=np.uint8)
    for number, value in enumerate(values[1:]):
        pixels[5:15, 2 + 12 * number : 12 + 12 * number] = value
    return Image.fromarray(pixels)


def palette(*colours):
    picture = labels(range(len(colours)))
    indexed = Image.frombytes("P", picture.size, picture.tobytes())
    indexed.putpalette([channel for colour in colours for channel in colour])
    return indexed


RED, BLACK, WHITE, MAGENTA = (255, 0, 0), (0, 0, 0), (255, 255, 255), (255, 0, 255)


@pytest.mark.parametrize(
    ("picture", "hole", "said"),
    [
        (
            palette(BLACK, (128, 0, 0)),
            "white",
            "no hole for data.hole=white, but the values 0 (91.7 %), 1 (8.3 %); data.hole=1",
        ),
        (
            palette(BLACK, (128, 0, 0)),
            "black",
            "nothing but hole for data.hole=black, but the values 0 (91.7 %), 1 (8.3 %)",
        ),
        (labels([0, 3, 2]), "white", "no hole for data.hole=white, but the values 0 (83.3 %), 2 (8.3 %), 3 (8.3 %)"),
        (labels([BLACK, RED]), "white", "but the values #000000 (91.7 %), #ff0000 (8.3 %); data.hole=#ff0000 makes"),
        (labels([WHITE, MAGENTA]), "black", "no hole for data.hole=black, but the values #ffffff (91.7 %), #ff00ff"),
        (
            labels([WHITE, MAGENTA]),
            "white",
            "nothing but hole for data.hole=white, but the values #ffffff (91.7 %), #ff00ff",
        ),
        (
            labels([0, 3]),
            7,
            "no hole for data.hole=7, but the values 0 (91.7 %), 3 (8.3 %); data.hole=3 makes that the hole",
        ),
        (labels([0, 3]).convert("F"), 7, "but the values 0 (91.7 %), 3 (8.3 %); data.hole=3 makes that the hole"),
        (labels([0, 3]), [3, 0], "nothing but hole for data.hole=[3,0], but the values"),
        (
            labels([WHITE, MAGENTA]),
            "red",
            "no hole for data.hole=red, but the values #ffffff (91.7 %), #ff00ff (8.3 %)",
        ),
        (labels([255]), "black", "has the value 255 all over, and so shows no hole; give another mask"),
        (labels([255]), "white", "has the value 255 all over, and so shows no hole; give another mask"),
        (Image.new("LA", (9, 9), (0, 255)), "opaque", "has the opacity 255 all over, and so shows no hole"),
        (Image.fromarray(np.arange(100, dtype=np.uint8).reshape(10, 10)), "white", "9 (1.0 %), 96 more; data.hole=1"),
    ],
)
def test_a_mask_without_a_hole_is_refused_with_what_it_holds_and_the_key(picture, hole, said):
    found = refused(picture, hole)
    assert said.replace("9 (1.0 %)", "3 (1.0 %)") in found
    assert "the other way round" not in found


@pytest.mark.parametrize(
    ("picture", "hole", "boxes"),
    [
        (palette(BLACK, (128, 0, 0), (0, 128, 0)), 2, [1]),
        (palette(BLACK, (128, 0, 0), (0, 128, 0)), "#008000", [1]),
        (palette(BLACK, (128, 0, 0), (0, 128, 0)), [1, "#008000"], [0, 1]),
        (labels([0, 1, 2, 255]), [1, 255], [0, 2]),
        (labels([0, 1, 2]).convert("I"), 1, [0]),
        (labels([(5, 5, 5), (7, 7, 7), (9, 9, 9)]), 7, [0]),
        (labels([BLACK, (7, 7, 7), RED]), 7, [0]),
        (labels([WHITE, MAGENTA, RED]), "red", [1]),
        (labels([WHITE, MAGENTA, RED]).convert("RGBA"), "magenta", [0]),
        (labels([0, 128, 255]), "#808080", [0]),
    ],
)
def test_a_class_or_a_colour_can_be_the_hole(picture, hole, boxes):
    known = masks.known_fraction(picture, hole, "data.mask=m.png")
    expected = labels([255, *(0 if place in boxes else 255 for place in range(3))])
    assert torch.equal(known[0, 0] == 1, torch.from_numpy(np.array(expected) == 255))


def test_what_cannot_be_seen_of_a_layer_has_no_colour():
    layer = Image.new("RGBA", (9, 9))
    layer.paste((0, 0, 0, 255), (2, 2, 5, 5))
    for hole in ("opaque", "#000000", 0):
        assert masks.known_fraction(layer, hole, "data.mask=m.png").eq(0).sum() == 9


def test_a_colour_may_be_off_a_little_in_a_jpeg_but_not_in_a_label_map(tmp_path):
    picture = Image.new("RGB", (160, 120), WHITE)
    ImageDraw.Draw(picture).ellipse((20, 20, 90, 80), fill=RED)
    picture.save(tmp_path / "m.jpg", quality=60)
    with Image.open(tmp_path / "m.jpg") as file:
        hole = masks.known_fraction(file, "red", "data.mask=m.jpg")[0, 0] == 0
    assert hole[30:70, 35:75].all()
    assert 0.93 < hole.sum() / (np.pi / 4 * 70 * 60) < 1.05
    assert masks.known_fraction(labels([WHITE, RED, (230, 30, 20)]), "red", "m").eq(0).sum() == 100
    with pytest.raises(
        UserError, match=r"data.hole=transparent, but it must be black, white, alpha \(transparent\), opaq"
    ):
        masks.known_fraction(labels([WHITE, RED]), "transparent", "data.mask=m.png")


@pytest.mark.parametrize(
    ("picture", "soft_mask", "is_odd"),
    [
        (labels([0, 1, 255]), "threshold", True),  # the borders of a label map alone would be the hole
        (labels([0, 128, 255]), "threshold", True),
        (labels([0, 128, 255]), "weight", False),
        (labels([BLACK, RED, WHITE]), "weight", True),
        (labels([0, 255]), "threshold", False),
        (labels([BLACK, WHITE]), "threshold", False),
        (labels([WHITE, RED]), "threshold", False),
        (labels([0, 255]).resize((80, 60), Image.Resampling.BILINEAR), "threshold", False),
    ],
)
def test_a_mask_of_more_than_black_and_white_is_warned_of(caplog, picture, soft_mask, is_odd):
    known = masks.settled(masks.known_fraction(picture, "white", "data.mask=m.png"), "white", soft_mask)
    masks.check_contents(picture, known, "white", "data.mask=m.png", soft_mask)
    assert ("data.mask=m.png is not only black and white: it has " in caplog.text) == is_odd


def test_a_jpeg_of_black_and_white_is_not_odd(caplog, tmp_path):
    labels([255, 0]).resize((400, 300), 0).save(tmp_path / "m.jpg", quality=50)
    with Image.open(tmp_path / "m.jpg") as file:
        known = masks.settled(masks.known_fraction(file, "black", "m"), "black", "threshold")
        masks.check_contents(file, known, "black", "m", "threshold")
    assert not caplog.text


def test_what_is_nearly_black_or_white_is_that_wholly_as_a_weight():
    known = torch.tensor([0, 3, 15, 17, 128, 238, 240, 255]) / 255
    soft = masks.settled(known, "black", "weight")
    assert [round(value * 255) for value in soft.tolist()] == [0, 0, 0, 17, 128, 238, 255, 255]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("words=' '", "data.example.mask.words=' ', but it must have a letter"),
        ("font_size=0", "data.example.mask.font_size=0, but it must be a whole number, at least 1"),
    ],
)
def test_text_refuses_to_write_nothing(option, message):
    with pytest.raises(UserError, match=message):
        read_data(compose([f"data.example.mask.{option}"]))


def test_text_covers_the_whole_picture_thinly():
    mask = masks.text(128, 192, words="some words", font_size=16)
    assert mask.shape == (1, 1, 128, 192)
    assert set(mask.unique().tolist()) == {0, 1}
    assert 0.02 < 1 - mask.mean() < 0.3
    quarters = mask.view(2, 64, 2, 96).mean(dim=(1, 3))
    assert (quarters < 0.98).all()

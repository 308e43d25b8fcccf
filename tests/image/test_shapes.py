import numpy as np
import pytest
from PIL import Image, ImageDraw

from dip.errors import UserError
from dip.image import shapes
from dip.image.shapes import Point

PHOTO = Image.new("RGB", (40, 30))
Y, X = np.mgrid[0:30, 0:40]


def test_a_rectangle_has_both_corners_whichever_comes_first():
    expected = (X >= 5) & (X <= 12) & (Y >= 3) & (Y <= 20)
    for corner, opposite in (((5, 3), (12, 20)), ((12, 20), (5, 3)), ((12, 3), (5, 20))):
        assert np.array_equal(shapes.rectangle(PHOTO, Point(*corner), Point(*opposite)), expected)


def test_an_ellipse_fills_its_rectangle():
    hole = shapes.ellipse(PHOTO, Point(30, 25), Point(6, 5))
    distance = ((X - 18) / 12) ** 2 + ((Y - 15) / 10) ** 2
    assert hole[distance < 0.9].all()
    assert not hole[distance > 1.15].any()
    assert [hole.any(axis=0).argmax(), hole.any(axis=0).sum(), hole.any(axis=1).sum()] == [6, 25, 21]


def test_a_polygon_has_its_corners_and_its_inside():
    hole = shapes.polygon(PHOTO, Point(2, 2), Point(30, 2), Point(2, 22))
    assert all(hole[y, x] for x, y in ((2, 2), (30, 2), (2, 22), (10, 8)))
    assert not hole[20, 20]
    with pytest.raises(UserError, match="a polygon has three points or more, and this one 2"):
        shapes.polygon(PHOTO, Point(2, 2), Point(30, 2))


@pytest.mark.parametrize("width", [1, 2, 5, 8])
def test_a_stroke_is_everything_within_half_its_width(width):
    hole = shapes.stroke(PHOTO, width, Point(10, 8), Point(30, 8), Point(30, 22))
    across = np.hypot(X - X.clip(10, 30), Y - 8)
    down = np.hypot(X - 30, Y - Y.clip(8, 22))
    distance = np.minimum(across, down)
    assert hole[distance < width / 2 - 0.7].all()
    assert hole[8, 10:31].all()
    assert not hole[distance > width / 2 + 0.7].any()


def test_a_stroke_of_one_point_is_a_dot():
    assert shapes.stroke(PHOTO, 1, Point(39, 29)).sum() == 1
    assert shapes.stroke(PHOTO, 5, Point(20, 10)).sum() == 21
    with pytest.raises(UserError, match="a stroke has one point or more"):
        shapes.stroke(PHOTO, 5)


def test_words_begin_at_their_corner():
    hole = shapes.words(PHOTO, "HI", 16, Point(10, 5))
    rows, columns = np.nonzero(hole)
    assert 10 <= columns.min() <= 13
    assert 5 <= rows.min() <= 11
    assert columns.max() < 30
    assert rows.max() < 22
    larger = shapes.words(PHOTO, "HI", 24, Point(10, 5))
    assert larger.any(axis=1).sum() == pytest.approx(1.5 * hole.any(axis=1).sum(), abs=1)


def test_a_colour_is_near_when_each_of_its_channels_is():
    photo = PHOTO.copy()
    for x, colour in enumerate([(255, 128, 0), (245, 138, 10), (244, 128, 0), (255, 128, 11)]):
        photo.putpixel((x, 0), colour)
    near = shapes.near_colour(photo, (255, 128, 0), 10)
    assert near[0, :4].tolist() == [True, True, False, False]
    assert near.sum() == 2
    with pytest.raises(UserError, match="no pixel has this colour within 20; the nearest is 35 away"):
        shapes.near_colour(Image.new("RGB", (9, 9), (0, 0, 35)), (0, 0, 0), 20)


def test_grow_adds_what_is_at_most_so_far_away():
    hole = np.zeros((9, 9), dtype=bool)
    hole[4, 4] = True
    y, x = np.mgrid[-4:5, -4:5]
    assert np.array_equal(shapes.grow(hole, 2), np.hypot(x, y) <= 2)
    with pytest.raises(UserError, match="there is no hole yet that could grow"):
        shapes.grow(np.zeros((9, 9), dtype=bool), 2)


@pytest.mark.parametrize(("kind", "shade"), [("bright", 235), ("dark", 20)])
def test_a_scratch_is_found_in_texture_and_an_edge_or_a_spot_is_not(kind, shade):
    x = np.arange(120)
    grain = np.random.default_rng(0).normal(0, 3, (90, 120))
    photo = Image.fromarray((110 + 10 * np.sin(x / 3) + 40 * (x > 80) + grain).astype(np.uint8)).convert("RGB")
    marked = photo.copy()
    pen = ImageDraw.Draw(marked)
    pen.line((20, 5, 50, 80), fill=(shade,) * 3, width=2)
    pen.ellipse((95, 40, 98, 43), fill=(shade,) * 3)
    scratch = shapes.stroke(photo, 2, Point(20, 5), Point(50, 80))
    found = shapes.scratches(marked, kind, 3, 25)
    assert (found & scratch).sum() > 0.9 * scratch.sum()
    assert not (found & ~shapes.grow(scratch, 2)).any()
    assert not shapes.scratches(marked, {"bright": "dark", "dark": "bright"}[kind], 3, 25).any()
    assert not shapes.scratches(photo, kind, 3, 25).any()
    # What is wider, shorter or fainter than was said is no scratch.
    assert not shapes.scratches(marked, kind, 10, 25).any()
    assert not shapes.scratches(marked, kind, 3, 120).any()

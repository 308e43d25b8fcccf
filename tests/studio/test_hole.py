import numpy as np
import pytest
from PIL import Image

from dip.errors import UserError
from dip.studio import hole


@pytest.fixture
def photo(tmp_path):
    Image.new("RGB", (300, 200), "#204060").save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def test_a_large_photograph_is_painted_on_at_the_canvas_size_and_the_hole_has_its_own(monkeypatch, photo):
    monkeypatch.setattr(hole, "CANVAS", 150)
    opened = hole.open_photo(photo)
    canvas = hole.for_canvas(opened)
    assert (opened.size, canvas.size) == ((300, 200), (150, 100))
    layer = np.zeros((100, 150, 4), dtype=np.uint8)
    layer[10:20, 30:60] = (255, 0, 255, 1)  # the soft edge of a brush counts
    expected = np.zeros((200, 300), dtype=bool)
    expected[20:40, 60:120] = True
    assert np.array_equal(hole.painted(layer, None, opened), expected)
    assert not hole.painted(None, None, opened).any()


def test_what_is_put_on_the_canvas_stays_exact_but_for_what_is_painted_and_erased(monkeypatch, photo):
    monkeypatch.setattr(hole, "CANVAS", 100)  # a pixel of it is 3x3 of the photograph's, nearly
    opened = hole.open_photo(photo)
    exact = np.zeros((200, 300), dtype=bool)
    exact[100, 31:200] = True  # a scratch of one pixel
    layer = np.array(hole.as_layer(exact, opened))
    assert np.array_equal(hole.painted(layer, exact, opened), exact)
    layer[:, 50:] = 0  # erased
    layer[0:2, 0:4] = hole.PAINT
    expected = exact.copy()
    expected[:, 150:] = False
    expected[0:6, 0:12] = True
    differing = hole.painted(layer, exact, opened) != expected
    assert differing.sum() <= 12  # the last row of what was painted
    assert not differing[6:].any()


def test_a_turned_photograph_is_shown_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (30, 20)).save(tmp_path / "turned.jpg", exif=exif)
    assert hole.open_photo(tmp_path / "turned.jpg").size == (20, 30)


@pytest.mark.parametrize("colour", ["#204060", "rgba(32.2, 64, 96, 1)"])
def test_a_colour_is_read_as_a_picker_gives_it(photo, colour):
    assert hole.find_colour(hole.open_photo(photo), colour, 0).all()


def test_a_mask_is_saved_and_loaded_again(tmp_path):
    marked = np.zeros((20, 30), dtype=bool)
    marked[5:8, 10:20] = True
    path = hole.save(marked, tmp_path / "mask.png")
    assert np.array_equal(hole.load(path, (30, 20)), marked)
    with pytest.raises(UserError, match="the mask is 30x20 but the photograph is 20x30"):
        hole.load(path, (20, 30))


@pytest.mark.parametrize(
    ("value", "said"), [(False, "nothing is marked yet"), (True, "all of the photograph is marked")]
)
def test_a_hole_is_some_of_the_photograph(value, said):
    with pytest.raises(UserError, match=said):
        hole.check(np.full((2, 3), value))


def test_a_colour_is_found_everywhere_or_near_the_click(photo):
    opened = hole.open_photo(photo)
    for x in (20, 280):
        opened.putpixel((x, 50), (255, 140, 30))
    everywhere = hole.find_colour(opened, "#ff8c1e", 10)
    near = hole.find_colour(opened, "#ff8c1e", 10, hole.Point(10, 60), 10)
    assert np.argwhere(everywhere).tolist() == [[50, 20], [50, 280]]
    assert np.argwhere(near).tolist() == [[50, 20]]
    assert np.array_equal(hole.find_colour(opened, "#ff8c1e", 10, hole.Point(10, 60), 0), everywhere)

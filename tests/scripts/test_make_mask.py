import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dip.config.build import read_data

REPOSITORY = Path(__file__).parents[2]
SCRIPT = REPOSITORY / "scripts" / "make_mask.py"
PAGES = [REPOSITORY / "README.md", *(REPOSITORY / "docs").rglob("*.md")]
SQUARE = ("--rectangle", "10,5", "19,14")


@pytest.fixture(scope="session")
def make_mask(script):
    return script("make_mask.py")


@pytest.fixture
def make(make_mask, photograph, tmp_path):
    """make("--option", ...): the hole in the mask that was made of the photograph, (H, W), True = black."""

    def run(*options, photo=photograph, mask=tmp_path / "made.png"):
        make_mask.main([str(photo), str(mask), *map(str, options)])
        written = Image.open(mask)
        assert written.mode == "L"
        return np.array(written) == 0

    return run


@pytest.fixture
def refused(make, capsys):
    """refused("--option", ...): the one line with which it ends."""

    def run(*options, **files):
        with pytest.raises(SystemExit) as end:
            make(*options, **files)
        assert end.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        return line

    return run


def square(left=10, top=5, right=19, bottom=14):
    hole = np.zeros((32, 40), dtype=bool)
    hole[top : bottom + 1, left : right + 1] = True
    return hole


def test_the_hole_is_black_the_rest_white_and_the_run_takes_it(make, config, tmp_path, capsys):
    assert np.array_equal(make(*SQUARE), square())
    assert capsys.readouterr().out == f"{tmp_path}/made.png: 40x32, a hole of 100 pixels (7.8 %)\n"
    assert set(np.unique(Image.open(tmp_path / "made.png"))) == {0, 255}
    photo = read_data(config(f"data.mask={tmp_path}/made.png"))
    assert np.array_equal(photo.work.mask[0, 0].numpy() == 0, square())


def test_hole_white_is_the_other_way_round(make):
    assert np.array_equal(make(*SQUARE, "--hole", "white"), ~square())


@pytest.mark.parametrize(
    "options",
    [
        ("--ellipse", "10,5", "19,14"),
        ("--polygon", "10,5", "19,14", "10,14"),
        ("--stroke", "3", "11,6", "18,13"),
        ("--text", "a", "12", "11,3"),
    ],
)
def test_what_is_drawn_lies_where_it_was_said(make, options):
    hole = make(*options)
    assert hole.any()
    assert not hole[~square(10, 0, 21, 20)].any()


def test_coordinates_are_those_of_the_upright_photograph(make, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to see it upright
    pixels = np.zeros((30, 20, 3), dtype=np.uint8)
    pixels[25:28, 3:6] = (0, 200, 0)
    Image.fromarray(np.rot90(pixels)).save(tmp_path / "turned.png", exif=exif)
    by_colour = make("--color", "#00c800", "0", photo=tmp_path / "turned.png")
    assert by_colour.shape == (30, 20)
    assert np.array_equal(by_colour, pixels[..., 1] > 0)
    drawn = make("--rectangle", "3,25", "5,27", photo=tmp_path / "turned.png", mask=tmp_path / "other.png")
    assert np.array_equal(drawn, by_colour)


def test_a_colour_is_found_within_its_tolerance(make, photograph):
    pixels = np.array(Image.open(photograph)).astype(int)
    assert np.array_equal(make("--color", "#dc4678", "60"), (abs(pixels - [220, 70, 120]) <= 60).all(axis=2))


def test_random_keeps_the_share_known_and_depends_on_the_seed(make, tmp_path):
    hole = make("--random", "0.25", "1")
    assert hole.sum() == 0.75 * hole.size
    assert np.array_equal(hole, make("--random", "0.25", "1", mask=tmp_path / "again.png"))
    assert not np.array_equal(hole, make("--random", "0.25", "2", mask=tmp_path / "other.png"))


def test_masks_are_added_taken_away_and_cut(make, mask, tmp_path):
    """The mask's hole is from 20,8 to 29,15."""
    other, drawn = square(20, 8, 29, 15), square(15, 10, 24, 19)
    shapes = ("--rectangle", "15,10", "24,19", "--mask", mask)
    assert np.array_equal(make(*shapes, mask=tmp_path / "a.png"), drawn | other)
    shapes = ("--rectangle", "15,10", "24,19", "--except", "--mask", mask)
    assert np.array_equal(make(*shapes, mask=tmp_path / "b.png"), drawn & ~other)
    shapes = ("--rectangle", "15,10", "24,19", "--within", "--mask", mask)
    assert np.array_equal(make(*shapes, mask=tmp_path / "c.png"), drawn & other)


def test_options_work_from_left_to_right(make, tmp_path):
    corner = ("--rectangle", "30,25", "31,26")
    grown_first = make(*SQUARE, "--grow", "1", *corner, mask=tmp_path / "a.png")
    grown_last = make(*SQUARE, *corner, "--grow", "1", mask=tmp_path / "b.png")
    assert (grown_first.sum(), grown_last.sum()) == (100 + 40 + 4, 100 + 40 + 4 + 8)
    assert np.array_equal(make(*SQUARE, "--invert", mask=tmp_path / "c.png"), ~square())
    excepted = make("--invert", "--except", *SQUARE, *corner, mask=tmp_path / "d.png")
    assert np.array_equal(excepted, ~square())
    # --except is for one shape; the next is added again.
    again = make(*SQUARE, "--except", *SQUARE, *corner, mask=tmp_path / "e.png")
    assert np.array_equal(again, square(30, 25, 31, 26))


def test_the_preview_is_the_photograph_with_its_hole_tinted(make, photograph, tmp_path):
    make(*SQUARE, "--preview", tmp_path / "preview.png")
    seen, photo = (np.array(Image.open(path).convert("RGB")) for path in (tmp_path / "preview.png", photograph))
    assert np.array_equal(seen[~square()], photo[~square()])
    inside = seen[square()].astype(int)
    assert (inside[:, [0, 2]].min(axis=1) >= inside[:, 1] + 40).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "nothing says what the hole is; give --rectangle, --stroke or another"),
        (
            ("--rectangle", "10,5", "40,14"),
            "--rectangle: 40,14 is outside the picture, which is 40x32, from 0,0 to 39,31",
        ),
        (("--stroke", "3", "10,5", "10,-1"), "--stroke: 10,-1 is outside the picture"),
        (("--polygon", "-3,5", "10,1", "20,20"), "-3,5 is outside the picture, whose top left corner is 0,0"),
        (("--ellipse", "10,5", "x,14"), "argument --ellipse: x,14 is no pixel X,Y, two whole numbers such as 10,20"),
        (("--rectangle", "10,5"), "argument --rectangle: expected 2 arguments"),
        (("--polygon", "10,5", "19,14"), "--polygon: a polygon has three points or more, and this one 2"),
        (("--stroke", "3"), "--stroke: a stroke has one point or more"),
        (("--stroke", "0", "3,3"), "argument --stroke: 0 is no whole number from 1 to 1000"),
        (("--text", " ", "12", "3,3"), "--text: nothing of the picture is in it"),
        (("--text", "words", "12.5", "3,3"), "argument --text: 12.5 is no whole number from 1 to 1000"),
        (("--color", "yellowish", "10"), 'argument --color: yellowish is no colour, such as "#ff8800" or orange'),
        (("--color", "red", "256"), "argument --color: 256 is no whole number from 0 to 255"),
        (("--color", "blue", "3"), "--color: no pixel has this colour within 3; the nearest is"),
        (("--random", "1.5", "0"), "argument --random: 1.5 is no share between 0 and 1, such as 0.5"),
        (("--random", "0.5", "-1"), "argument --random: -1 is no whole number from 0"),
        (("--random", "0.9999", "0"), "--random: nothing of the picture is in it"),
        (("--scratches", "4", "4", "20"), "argument --scratches: 4 is neither bright nor dark, as scratches are"),
        (("--scratches", "dark", "4", "256"), "argument --scratches: 256 is no whole number from 1 to 255"),
        (("--scratches", "dark", "9", "250"), "--scratches: nothing of the picture is in it"),
        (("--grow", "2"), "--grow: there is no hole yet that could grow"),
        ((*SQUARE, "--grow", "-2"), "argument --grow: -2 is no whole number from 1 to 1000"),
        (("--mask", "nowhere.png"), "--mask: --mask=nowhere.png: there is no such file"),
        ((*SQUARE, "--except", "--grow", "2"), "--except needs a shape after it, such as --except --rectangle 10,20"),
        ((*SQUARE, "--within"), "--within needs a shape after it"),
        ((*SQUARE, "--except", *SQUARE), "the hole is empty"),
        ((*SQUARE, "--grow", "100"), "the hole is the whole picture: nothing would be known"),
        ((*SQUARE, "--hole", "red"), "argument --hole: invalid choice: 'red'"),
        ((*SQUARE, "--preview", "preview.jpg"), "preview.jpg: masks and previews are written as .png"),
        ((*SQUARE, "--rect", "1,1", "2,2"), "unrecognized arguments: --rect"),
    ],
)
def test_bad_options_are_refused_in_one_line(refused, tmp_path, options, message):
    line = refused(*options)
    assert line.startswith("error: ")
    assert message in line
    assert not (tmp_path / "made.png").exists()


def test_nothing_that_is_there_is_lost(make, refused, photograph, tmp_path):
    hole, before = make(*SQUARE), (tmp_path / "made.png").read_bytes()
    corner = ("--rectangle", "0,0", "3,3")
    assert "made.png is there already; give another name or --overwrite" in refused(*corner)
    assert "made.png is there already" in refused(*corner, "--preview", tmp_path / "made.png", mask=tmp_path / "b.png")
    assert (tmp_path / "made.png").read_bytes() == before
    added = make("--mask", tmp_path / "made.png", *corner, "--overwrite")
    assert np.array_equal(added, hole | square(0, 0, 3, 3))
    photo = photograph.read_bytes()
    assert "photograph.png is the photograph itself" in refused(*corner, "--overwrite", mask=photograph)
    assert "is the photograph itself" in refused(*corner, "--overwrite", "--preview", photograph)
    assert photograph.read_bytes() == photo


def test_files_that_cannot_be_are_refused(refused, photograph, tmp_path):
    Image.new("L", (9, 9), 255).save(tmp_path / "small.png")
    assert "photo=nowhere.jpg: there is no such file" in refused(*SQUARE, photo="nowhere.jpg")
    assert "small.png is 9x9 but the photograph is 40x32" in refused("--mask", tmp_path / "small.png")
    assert "mask.jpg: masks and previews are written as .png" in refused(*SQUARE, mask=tmp_path / "mask.jpg")
    assert "there is no folder" in refused(*SQUARE, mask=tmp_path / "new" / "mask.png")
    both = refused(*SQUARE, "--preview", tmp_path / "both.png", mask=tmp_path / "both.png")
    assert "both.png is both mask and preview; give two names" in both
    both = refused(*SQUARE, "--preview", tmp_path / ".." / tmp_path.name / "both.png", mask=tmp_path / "both.png")
    assert "both.png is both mask and preview; give two names" in both


def test_a_full_disk_leaves_the_mask_that_was_there(make, refused, tmp_path, monkeypatch):
    make(*SQUARE)
    files, before = set(tmp_path.iterdir()), (tmp_path / "made.png").read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)  # where what was written has to reach the disk
    assert "No space left on device" in refused("--rectangle", "0,0", "3,3", "--overwrite")
    assert (tmp_path / "made.png").read_bytes() == before
    assert set(tmp_path.iterdir()) == files


def run(folder, *arguments):
    return subprocess.run([sys.executable, SCRIPT, *arguments], cwd=folder, capture_output=True, text=True, check=False)


def test_help_lists_every_option(make_mask, tmp_path):
    result = run(tmp_path, "--help")
    assert result.returncode == 0
    for option in [
        *make_mask.SHAPES,
        *filter(None, make_mask.COMBINED),
        *make_mask.CHANGES,
        "--preview",
        "--hole",
        "--overwrite",
    ]:
        assert f"\n  {option} " in result.stdout or f"\n  {option}\n" in result.stdout, option


def test_a_refusal_is_one_line_and_exit_code_2(tmp_path):
    result = run(tmp_path, "photo.jpg", "mask.png", *SQUARE)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "error: photo=photo.jpg: there is no such file\n"


TEXT = "\n".join(page.read_text().replace("\\\n", "") for page in (SCRIPT, *PAGES))
COMMANDS = re.findall(r"^ *python scripts/make_mask.py (.*)", TEXT, re.MULTILINE)


@pytest.mark.parametrize("command", COMMANDS)
def test_documented_commands_run(make_mask, tmp_path, monkeypatch, command):
    words = shlex.split(command)
    photo = np.zeros((300, 400, 3), dtype=np.uint8)
    photo[220:240, 300:360] = (255, 136, 0)
    photo[:, 30:33] = 255
    Image.fromarray(photo).save(tmp_path / words[0])
    Image.new("L", (400, 300), 255).save(tmp_path / "other.png")
    monkeypatch.chdir(tmp_path)
    make_mask.main(words)
    assert 0 < (np.array(Image.open(words[1])) == 0).mean() < 0.5

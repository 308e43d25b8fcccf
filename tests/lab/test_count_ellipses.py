import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from forked import run_forked
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter

from dip.image.metrics import biharmonic
from dip.image.tensors import read_tensor

SCRIPT = Path(__file__).parents[2] / "scripts" / "lab" / "count_ellipses.py"
SIZE = (96, 128)  # height, width
COLOURS = {"white": (1, 1, 1), "yellow": (1, 1, 0), "magenta": (1, 0, 1), "black-green": (0, 0.1, 0)}


@pytest.fixture(scope="module")
def counting(script):
    return script("lab/count_ellipses.py")


def grass(seed):
    """Green, with blades lighter and darker, patches, and a few white flowers of three pixels."""
    rng = np.random.default_rng(seed)
    blades, patches = (gaussian_filter(rng.normal(size=SIZE), width) * width for width in (1, 8))
    pixels = np.array([0.35, 0.5, 0.2]) * (1 + 0.5 * blades + 0.3 * patches)[..., None]
    for y, x in rng.integers(0, (SIZE[0] - 3, SIZE[1] - 3), (8, 2)):
        pixels[y : y + 3, x : x + 3] = 1
    return torch.from_numpy(pixels).float().permute(2, 0, 1)[None].clamp(0, 1)


def drawn(box):
    """True within the ellipse of the box: (1, 1, H, W)."""
    canvas = Image.new("1", SIZE[::-1])
    ImageDraw.Draw(canvas).ellipse(box, fill=1)
    return torch.from_numpy(np.array(canvas))[None, None]


HOLE = drawn((30, 20, 100, 75))
MASK = (~HOLE).float()
FILLS = {
    "truth": lambda picture: picture,
    "texture": lambda picture: torch.where(HOLE, grass(1)[:, : picture.shape[1]], picture),
    "plain": lambda picture: torch.where(HOLE, picture.mean(dim=(2, 3), keepdim=True), picture),
    "smooth": lambda picture: torch.where(HOLE, biharmonic(picture * MASK, MASK), picture),
}


@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.parametrize("fill", FILLS)
def test_what_suits_the_surroundings_is_no_ellipse(counting, fill, channels):
    seen = counting.look(FILLS[fill](grass(0)[:, :channels]), MASK)
    assert not seen.ellipse
    assert seen.area < 0.002


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize(
    "box", [(60, 45, 70, 55), (50, 40, 75, 55), (40, 30, 90, 65)], ids=["small", "middle", "large"]
)
def test_an_ellipse_of_a_strange_colour_is_found(counting, fill, colour, box):
    ellipse = drawn(box)
    picture = torch.where(ellipse, torch.tensor(COLOURS[colour])[:, None, None], FILLS[fill](grass(0)))
    seen = counting.look(picture, MASK)
    assert seen.ellipse
    assert seen.distance > counting.FAR
    share = (ellipse.sum() / HOLE.sum()).item()
    assert share / 3 < seen.area < 2 * share  # a strong colour looks larger when it is smoothed, a weak one smaller
    assert ellipse[0, 0].numpy()[seen.region].mean() > 0.5


def test_a_white_ellipse_in_a_grey_picture_is_found(counting):
    grey = grass(0)[:, :1]
    assert counting.look(torch.where(drawn((50, 40, 75, 55)), 1.0, grey), MASK).ellipse


def test_neither_a_speck_nor_a_colour_that_is_around_the_hole_is_an_ellipse(counting):
    magenta = torch.tensor(COLOURS["magenta"])[:, None, None]
    assert not counting.look(torch.where(drawn((60, 45, 62, 47)), magenta, grass(0)), MASK).ellipse
    twice = drawn((50, 40, 65, 55)) | drawn((105, 70, 125, 90))
    assert not counting.look(torch.where(twice, magenta, grass(0)), MASK).ellipse


def test_an_ellipse_at_the_edge_of_the_hole_is_judged_by_the_known_pixels_alone(counting):
    white = torch.where(drawn((30, 35, 60, 60)) & HOLE, 1.0, grass(0))
    assert counting.look(white, MASK).ellipse


def test_the_table_counts_seeds(counting):
    row = {"area": 0.034, "distance": 61.2, "steps": 1000, "stopped_by": "max_steps"}
    rows = [{**row, "seed": 0, "first": 250, "end": False}, {**row, "seed": 1, "first": 300, "end": True}]
    rows.append({**row, "seed": 2, "first": None, "end": False})
    lines = counting.table(rows, "command").splitlines()
    assert "| 0 | 250 | 3.4 | 61 | no | 1000 | max_steps |" in lines
    assert "| 2 | - | 3.4 | 61 | no | 1000 | max_steps |" in lines
    assert lines[-1] == "ellipses in 2 of 3 seeds, at the end in 1"


@pytest.fixture
def count(tmp_path, photograph, mask):
    """count("--option", ...): runs the script on the tiny picture."""

    def run(*arguments):
        given = ["--image", photograph, "--mask", mask]
        return run_forked(SCRIPT, tmp_path / "runs", *given, *arguments, cwd=tmp_path)

    return run


@pytest.mark.slow
def test_each_seed_is_run_once_and_reported(count, tiny, tmp_path):
    small = ["--steps", "250", *(key for key in tiny if not key.startswith("trainer.max_steps"))]
    first = count("--seeds", "1", *small)
    assert first.returncode == 0, first.stderr
    written = tmp_path / "runs" / "seed_0.json"
    found = json.loads(written.read_text())
    assert [step for step, _, _ in found["looks"]] == [200, 250, 250]  # and the result
    assert found["area"] == pytest.approx(max(area for _, area, _ in found["looks"]), abs=1e-5)
    assert found["steps"] == 250
    assert read_tensor(tmp_path / "runs" / "seed_0.png", "worst").shape[-1] > 4 * 40

    before = written.stat().st_mtime_ns
    second = count("--seeds", "2", *small)
    assert second.returncode == 0, second.stderr
    assert written.stat().st_mtime_ns == before
    assert (tmp_path / "runs" / "table.md").read_text() == second.stdout
    assert second.stdout.splitlines()[-1].startswith("ellipses in ")
    assert " of 2 seeds, at the end in " in second.stdout.splitlines()[-1]

    other = count("--seeds", "2", *small, "optimizer.lr=0.1")
    assert other.returncode == 2
    assert "holds runs of other keys" in other.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--seeds=0"], "--seeds 0, but it is at least 1"),
        (["--image=a.png"], "--image and --mask belong together"),
        (["trainer.max_steps=3"], "trainer.max_steps is given as --steps"),
        (["--steps=0"], "trainer.max_steps=0"),
        (["model.deph=3"], "deph"),
        (["members=3"], "members=3, but one run is looked at for each seed; give members=1"),
        (["--image", "none.png", "--mask", "none.png"], "data.image=none.png"),
    ],
)
def test_bad_input_is_refused_in_one_line(counting, monkeypatch, capsys, tmp_path, arguments, said):
    monkeypatch.setattr(sys, "argv", ["count_ellipses.py", str(tmp_path / "runs"), *arguments])
    with pytest.raises(SystemExit, match="2"):
        counting.main()
    lines = capsys.readouterr().err.splitlines()
    assert said in lines[-1]
    assert "Traceback" not in "".join(lines)
    assert not (tmp_path / "runs" / "overrides.json").exists()  # the corrected command may have the folder

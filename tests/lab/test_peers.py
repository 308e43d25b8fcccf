import json

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="module")
def peers(script):
    return script("lab/peers.py")


@pytest.fixture
def evaluated(tmp_path, photograph, mask):
    """A folder as evaluate.py leaves it, with a run on the tiny photograph."""
    run = tmp_path / "runs" / "holes" / "tiny" / "seed_0" / "run"
    run.mkdir(parents=True)
    for name in ("composite", "biharmonic"):
        Image.open(photograph).save(run / f"{name}.png")
    measures = {"psnr_hole": 20.0, "texture_distance": 0.5}
    found = {
        "overrides": [f"data.image={photograph}", f"data.mask={mask}", f"data.truth={photograph}"],
        "metrics": measures | {"seconds": 9.0, "baseline": measures | {"psnr_hole": 30.0}},
    }
    (run.parent / "evaluation.json").write_text(json.dumps(found))
    return tmp_path / "runs"


def black(pixels, hole):
    return np.where(hole[..., None], 0, pixels)


def noisy(pixels, hole):
    """Changes the known pixels too, which do not count."""
    return np.random.default_rng(0).integers(0, 256, pixels.shape)


def test_peers_fill_the_same_holes_and_stand_beside_ours(peers, evaluated):
    (case,) = peers.cases(evaluated, {"black": black, "noisy": noisy})
    assert list(case.by) == ["ours", "biharmonic", "black", "noisy"]
    assert (case.by["ours"].psnr, case.by["ours"].seconds, case.by["biharmonic"].psnr) == (20.0, 9.0, 30.0)
    assert case.by["black"].psnr < 20
    assert case.by["black"].texture > 0.9
    assert case.by["noisy"].texture != case.by["black"].texture
    table = peers.markdown([case], "command")
    assert "| holes/tiny/seed_0 | 20.00 | 0.50 | 9 | 30.00 | 0.50 | - |" in table
    assert "Ours is better than biharmonic in 0 of 1." in table
    assert "Ours is better than black in 1 of 1." in table


def test_a_sheet_tells_no_method(peers, evaluated):
    cases = list(peers.cases(evaluated, {"black": black}))
    peers.write(cases, "command", evaluated / "peers")
    (sheet,) = (evaluated / "peers" / "sheets").iterdir()
    order = json.loads((evaluated / "peers" / "order.json").read_text())[sheet.name]
    assert order["case"] == "holes/tiny/seed_0"
    assert sorted(order["order"]) == ["biharmonic", "black", "ours"]
    filled = np.asarray(Image.open(evaluated / "peers" / order["case"] / "black.png"))
    height, width, _ = filled.shape
    pixels = np.asarray(Image.open(sheet))
    assert pixels.shape == (height, 4 * width + 3 * peers.GAP, 3)
    left = (1 + order["order"].index("black")) * (width + peers.GAP)
    assert np.array_equal(pixels[:, left : left + width], filled)

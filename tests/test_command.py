"""The command line, as a user meets it: real processes, real signals."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from conftest import REPOSITORY, TINY
from PIL import Image


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("model.dept=5", "error: there is no key model.dept; did you mean model.depth?"),
        ("model.depth=five", "error: model.depth: Value 'five' of type 'str' could not be converted to Integer"),
        ("data.hole=red", "error: data.hole: Invalid value 'red', expected one of [black, white]"),
        ("model=transformer", "Could not find 'model/transformer' Available options in 'model': any unet"),
        ("model.depth", "error: Error parsing override 'model.depth' missing EQUAL"),
        ("data=random_pixels", "error: no value for data.image; give data.image=VALUE"),
        ("data.image=nowhere.png data.mask=nowhere.png", "error: data.image=nowhere.png: there is no such file"),
    ],
)
def test_bad_input_is_refused_in_one_line(command, argument, said):
    result = command(*argument.split())
    assert result.returncode == 2
    assert said in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


def test_help_and_refusals_do_not_wait_for_torch():
    script = (
        "import sys; sys.argv = ['train.py', sys.argv[1]]\n"
        "import runpy\n"
        "try: runpy.run_path('train.py', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "assert 'torch' not in sys.modules"
    )
    for argument in ("--help", "model.dept=5"):
        subprocess.run([sys.executable, "-c", script, argument], cwd=REPOSITORY, check=True, capture_output=True)


def test_an_odd_size_gives_a_result_of_that_size(command, tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (67, 101, 3), dtype=np.uint8)
    mask = np.full((67, 101), 255, dtype=np.uint8)
    mask[20:40, 30:60] = 0
    Image.fromarray(picture).save(tmp_path / "picture.png")
    Image.fromarray(mask).save(tmp_path / "mask.png")
    result = command(
        "data.image=picture.png",
        "data.mask=mask.png",
        "model.depth=4",
        "trainer.max_steps=2",
        f"hydra.run.dir={tmp_path}/run",
    )
    assert result.returncode == 0, result.stderr
    assert "Warning" not in result.stderr
    assert f"{tmp_path}/run/inpainted.png" in result.stdout
    repaired = np.array(Image.open(tmp_path / "run" / "inpainted.png"))
    assert repaired.shape == (67, 101, 3)
    assert np.array_equal(repaired[mask == 255], picture[mask == 255])
    assert "step 2 of 2" in (tmp_path / "run" / "train.log").read_text()


def test_a_sweep_gives_each_run_a_folder_named_by_what_differs(command, tmp_path, photograph, mask):
    result = command(
        "-m",
        *TINY,
        "trainer.max_steps=1",
        "model.depth=1,2",
        f"data.image={photograph}",
        f"data.mask={mask}",
        f"hydra.sweep.dir={tmp_path}/sweep",
    )
    assert result.returncode == 0, result.stderr
    depths = [path.parent.name.count("model.depth=1") for path in sorted((tmp_path / "sweep").glob("*/inpainted.png"))]
    assert sorted(depths) == [0, 1]


def test_ctrl_c_writes_every_result_and_exits_130(tmp_path, photograph, mask):
    process = subprocess.Popen(
        [
            sys.executable,
            REPOSITORY / "train.py",
            *TINY,
            "trainer.max_steps=1000000",
            f"data.image={photograph}",
            f"data.mask={mask}",
            f"hydra.run.dir={tmp_path}/run",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    for line in process.stderr:
        if line.startswith("step 1 of"):
            break
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    assert process.returncode == 130
    names = {"inpainted.png", "output.png", "masked.png", "comparison.png", "training.gif", "metrics.json"}
    assert names <= {path.name for path in (tmp_path / "run").iterdir()}
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["stopped_by"] == "interrupt"
    assert 1 <= metrics["steps"] < 1000000
    assert (tmp_path / "run" / "checkpoints" / "last.ckpt").exists()

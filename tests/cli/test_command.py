"""The command line, as a user meets it: real processes, real signals."""

import json
import os
import re
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from dip.cli.command import FILES, quote_files
from dip.config.check import values
from dip.config.compose import CONFIGS, parse


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("model.dept=5", "error: there is no key model.dept; did you mean model.depth?"),
        ("grow_hole=3", "error: there is no key grow_hole; did you mean data.grow_hole?"),
        ("model.depth=five", "error: model.depth=five, but it must be a whole number\n"),
        ("data.soft_mask=hard", "error: data.soft_mask=hard, but it must be one of threshold, weight\n"),
        ("model=transformer", "Could not find 'model/transformer' Available options in 'model': any deep_decoder"),
        ("model.depth", "error: cannot read model.depth: write key=value, and a value with special characters as"),
        ("data=random_pixels", "error: no value for data.image; give data.image=VALUE"),
        ("data.image=nowhere.png data.mask=nowhere.png", "error: data.image=nowhere.png: there is no such file"),
        (
            "resume=nowhere",
            "error: resume=nowhere: no run has started there, since there is no config.yaml; start a new one",
        ),
    ],
)
def test_bad_input_is_refused_in_one_line(command, argument, said):
    result = command(*argument.split())
    assert result.returncode == 2
    assert said in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


def test_help_and_refusals_do_not_wait_for_torch(repository):
    script = (
        "import sys; sys.argv = ['train.py', sys.argv[1]]\n"
        "import runpy\n"
        "try: runpy.run_path('train.py', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "assert 'torch' not in sys.modules"
    )
    for argument in ("--help", "model.dept=5", "model.depth=five"):
        subprocess.run([sys.executable, "-c", script, argument], cwd=repository, check=True, capture_output=True)


def test_help_that_nobody_reads_on_ends_quietly(repository):
    read, written = os.pipe()
    os.close(read)
    arguments = [sys.executable, "train.py", "--help"]
    result = subprocess.run(arguments, cwd=repository, stdout=written, stderr=subprocess.PIPE, text=True, check=False)
    os.close(written)
    assert (result.returncode, result.stderr) == (1, "")


def test_help_names_every_choice_and_key(command):
    said = command("--help").stdout
    groups = [group for group in CONFIGS.iterdir() if group.is_dir() and group.name != "hydra"]
    choices = {group.name: {path.stem for path in group.glob("*.yaml")} for group in groups}
    section = said.partition("== Choices (group=choice) ==")[2].partition("==")[0]
    listed = {group: set(names.split(", ")) for group, names in re.findall(r"^(\w+): (.+)$", section, re.MULTILINE)}
    assert listed == choices
    assert "decoder_kernel: 5" in said


def test_an_odd_size_gives_a_result_of_that_size(separate_command, tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (67, 101, 3), dtype=np.uint8)
    mask = np.full((67, 101), 255, dtype=np.uint8)
    mask[20:40, 30:60] = 0
    Image.fromarray(picture).save(tmp_path / "picture.png")
    Image.fromarray(mask).save(tmp_path / "mask.png")
    result = separate_command(
        "data.image=picture.png",
        "data.mask=mask.png",
        "model.depth=4",
        "trainer.max_steps=2",
        f"hydra.run.dir={tmp_path}/run",
    )
    assert result.returncode == 0, result.stderr
    assert "Warning" not in result.stderr
    assert f"{tmp_path}/run/inpainted.png" in result.stderr
    assert result.stdout == ""
    repaired = np.array(Image.open(tmp_path / "run" / "inpainted.png"))
    assert repaired.shape == (67, 101, 3)
    assert np.array_equal(repaired[mask == 255], picture[mask == 255])
    assert "step 2 of 2" in (tmp_path / "run" / "train.log").read_text()


def test_a_sweep_goes_on_after_a_failed_run_which_says_why_in_its_own_log(command, tiny, tmp_path, photograph, mask):
    data = [f"data.image={photograph}", f"data.mask={mask}", f"hydra.sweep.dir={tmp_path}/sweep"]
    result = command("-m", *tiny, "trainer.max_steps=1", "model.depth=9,2", *data)
    assert result.returncode == 2
    failed, finished = (tmp_path / "sweep" / f"model.depth={depth}" for depth in (9, 2))
    assert "too small for model.depth=9" in (failed / "train.log").read_text()
    assert (finished / "inpainted.png").exists()
    assert result.stderr.splitlines()[-1] == (
        f"report of 1 runs with results and 1 without: {tmp_path}/sweep/report.html"
    )
    assert "no result: a picture of 40x32 is too small for model.depth=9" in (tmp_path / "sweep/report.md").read_text()


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import no_such_library", "no report, since no_such_library is missing: pip install -e '.[report]' and"),
        ("raise OSError('no room')", "no report: OSError: no room; python scripts/report.py"),
    ],
)
def test_a_report_that_fails_is_one_line_and_leaves_the_exit_code(tmp_path, source, said):
    # The command's own code around a task of nothing, with another module in the place of the report.
    (tmp_path / "config.yaml").write_text(
        "hydra:\n  callbacks:\n    report:\n      _target_: dip.cli.command.Report\n  sweep:\n    dir: sweep\nseed: 0\n"
    )
    (tmp_path / "app.py").write_text(
        "import sys, types, hydra\n"
        "from dip.cli.command import one_line_errors\n"
        "class Broken:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f'        if name == \'dip.results.report.tables\': exec("""{source}""")\n'
        "sys.meta_path.insert(0, Broken())\n"
        "@hydra.main(config_path='.', config_name='config', version_base='1.3')\n"
        "def main(cfg): pass\n"
        "with one_line_errors(): main()\n"
    )
    result = subprocess.run(
        [sys.executable, "app.py", "-m", "seed=0,1"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert said in result.stderr
    assert "Traceback" not in result.stderr


NAMES = [
    "photo (1).png",
    "photo[1].png",
    "Bär.png",
    "it's.png",
    "a#1,b.png",
    "plain.png",
    "a\\b\\'c\\",
    "2024",
    "1e5",
    "true",
]


@pytest.mark.parametrize("name", [*NAMES, "{a}: b=c", "-", "*.png", "2024-05-01", "a&b", "$HOME", " x "])
def test_file_names_need_no_quotes_whether_there_is_such_a_file_or_not(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    for key in (*FILES, "++data.image"):
        for given in (name, f"~/{name}") if not key.startswith("hydra.") else (name,):
            (override,) = parse(quote_files([f"{key}={given}"]))
            assert override.value() == given


@pytest.mark.parametrize("name", NAMES)
def test_the_name_of_a_file_that_is_there_needs_no_quotes_in_a_sweep(tmp_path, monkeypatch, name):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / name).touch()
    for given in (str(tmp_path / name), f"~/{name}"):
        *_, argument = quote_files(["-m", f"data.image={given}"])
        assert parse([argument])[0].value() == given


def test_files_of_a_sweep_are_quoted_one_by_one():
    (override,) = parse(quote_files(["-m", "data.image=für Oma.png,b (1).png,c.png"])[1:])
    assert list(values(override)) == ["für Oma.png", "b (1).png", "c.png"]


def test_a_home_is_a_home_for_hydra_too(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert quote_files(["hydra.run.dir=~/a run"]) == ["hydra.run.dir='/home/me/a run'"]


def test_a_colour_needs_no_quotes_and_a_number_stays_one():
    given = ["data.hole=#ff0000", "data.hole=[1,#00f]", "data.hole='#ff0000'", "data.hole=3", "data.hole=white"]
    assert quote_files(given) == ["data.hole='#ff0000'", "data.hole=[1,'#00f']", *given[2:]]
    assert [override.value() for override in parse(given[2:])] == ["#ff0000", 3, "white"]


def test_what_is_written_for_hydra_stays_as_it_is(tmp_path):
    (tmp_path / "a b").mkdir()
    options = ["-m", f"--config-dir={tmp_path}/a b", "--help"]
    own = ["model.depth=3,4", "model.widths=[1,2]", "data.mask=null", "data.image", "~data.mask", "data.mask="]
    own += ["output.path=fixed/${name}.png", "data.image='a b.png'", 'data.image="a","b"', "data.image=choice(a,b)"]
    assert quote_files([*options, *own]) == [*options, *own]


def test_a_second_run_into_the_same_folder_is_refused_and_the_first_stays(command, tiny, tmp_path, photograph, mask):
    arguments = [*tiny, f"data.image={photograph}", f"data.mask={mask}", f"hydra.run.dir={tmp_path}/run"]
    assert command(*arguments).returncode == 0
    files = [path for path in (tmp_path / "run").rglob("*") if path.is_file() and path.suffix != ".log"]
    before = {path: path.read_bytes() for path in files}
    result = command(*arguments, "seed=1")
    assert result.returncode == 2
    assert "holds a run already" in result.stderr
    assert before == {path: path.read_bytes() for path in before}


def test_ctrl_c_writes_every_result_and_exits_130(repository, tiny, tmp_path, photograph, mask):
    process = subprocess.Popen(
        [
            sys.executable,
            repository / "train.py",
            *tiny,
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


def test_a_full_disk_ends_a_run_in_one_line(separate_command, tiny, tmp_path, photograph, mask, file_size_limit):
    data = [f"data.image={photograph}", f"data.mask={mask}", f"hydra.run.dir={tmp_path}/run"]
    with file_size_limit(30_000):  # the log of TensorBoard is the first to be larger
        result = separate_command(*tiny, *data, "trainer.max_steps=3000", "callbacks.checkpoint.every_minutes=60")
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1] == f"error: {tmp_path}/run: File too large"
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "run" / "metrics.json").exists()


def test_resume_continues_in_the_same_folder(command, config, run, tmp_path):
    folder = tmp_path / "outputs" / "a, b" / "0_model.depth=2"
    run(config(), folder)
    result = command(f"resume={folder}", "trainer.max_steps=4")
    assert result.returncode == 0, result.stderr
    assert "The run resumes after step 3 of 4." in result.stderr
    assert "step 4 of 4" in (folder / "train.log").read_text()
    assert [path.parent for path in (tmp_path / "outputs").rglob("train.log")] == [folder]


def test_a_kind_of_hole_that_nothing_depends_on_is_refused(command):
    result = command("experiment=paper_text", "hole_kind=large")
    assert result.returncode == 2
    assert result.stderr == ("error: hole_kind=large, but no key of this recipe depends on it; take experiment=quick\n")

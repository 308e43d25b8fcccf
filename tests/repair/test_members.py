"""Ensemble members at once, in real processes."""

import json
import os
import signal
import subprocess
import sys

import joblib
import pytest
import torch

from dip.config.build import read_data
from dip.errors import UserError
from dip.repair import members
from dip.repair.join import summary
from dip.repair.plan import plan
from dip.repair.run import repair
from dip.results.folder import RunFolder


@pytest.fixture
def two_threads():
    """What a run sets its process to."""
    yield "threads=2"
    torch.set_num_threads(1)


def test_they_give_what_they_give_in_turn(config, two_threads, tmp_path, caplog):
    caplog.set_level("INFO")
    metrics = {}
    for name, threads in (("turn", "threads=1"), ("once", two_threads)):
        caplog.clear()
        metrics[name] = repair(config("members=3", "trainer.max_steps=6", threads), RunFolder(tmp_path / name))
        assert ("3 runs, 2 at once" in caplog.text) == (name == "once")
        assert "ensemble member 1 of 3" in caplog.text
        assert "step 6 of 6" in caplog.text
    turn, once = (tmp_path / name for name in ("turn", "once"))
    assert (once / "inpainted.png").read_bytes() == (turn / "inpainted.png").read_bytes()
    for number in (1, 2, 3):
        outputs = [torch.load(run / f"member_{number}" / "output.pt", weights_only=True) for run in (turn, once)]
        assert torch.equal(*(output["output"] for output in outputs))
    assert metrics["once"]["psnr_hole"] == metrics["turn"]["psnr_hole"]


def test_the_seconds_are_those_of_the_turns_that_they_take():
    each = {
        str(number): {"steps": 10, "seconds": seconds, "stopped_by": "x"} for number, seconds in enumerate((3, 4, 5))
    }
    found = [summary(each, True, 1.5, at_once)["seconds"] for at_once in (1, 2, 3)]
    assert found == [13.5, 9.5, 5.5]


@pytest.fixture
def started(repository, tiny, tmp_path, photograph, mask):
    """started(): the command with two members at once, in a session of its own, both of which train."""

    def start():
        long = ["members=2", "threads=2", "trainer.max_steps=20000", "callbacks.preview.every_seconds=1"]
        overrides = [*tiny, *long, f"hydra.run.dir={tmp_path}/run"]
        process = subprocess.Popen(
            [sys.executable, repository / "train.py", *overrides, f"data.image={photograph}", f"data.mask={mask}"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        for line in process.stderr:
            if line.startswith("step") and (tmp_path / "run" / "member_2" / "preview.json").exists():
                break
        return process

    return start


@pytest.mark.slow
def test_ctrl_c_saves_the_results_of_all_and_is_said_once(started, tmp_path):
    process = started()
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 130
    assert said.count("Stopping after this step") == 1
    assert "interrupted: 0 of 2 runs are done; the run goes on with resume=" in said
    assert "Traceback" not in said
    for name in ("member_1", "member_2"):
        metrics = json.loads((tmp_path / "run" / name / "metrics.json").read_text())
        assert metrics["stopped_by"] == "interrupt"
        assert metrics["steps"] > 0
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["stopped_by"] == "interrupt"


@pytest.mark.slow
def test_they_end_with_the_process_that_has_started_them(started):
    process = started()
    process.kill()
    process.communicate(timeout=120)  # ends when nobody holds the standard error any more, theirs too


@pytest.mark.slow
def test_one_that_is_killed_is_one_line_and_the_others_save_theirs(config, two_threads, tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO")
    start, relay, workers = members.start, members.relay, []

    def kill(record):
        relay(record)
        if (tmp_path / "run" / "member_2" / "preview.json").exists():  # so that it has something to save
            workers[0].process.kill()

    monkeypatch.setattr(members, "start", lambda *of, **more: workers.append(start(*of, **more)) or workers[-1])
    monkeypatch.setattr(members, "relay", kill)
    long = config("members=2", "trainer.max_steps=20000", "callbacks.preview.every_seconds=1", two_threads)
    with pytest.raises(UserError, match="that trained a member was killed, perhaps for lack of memory; threads=1"):
        repair(long, RunFolder(tmp_path / "run"))
    saved = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert (saved["stopped_by"], [*saved["members"]]) == ("interrupt", ["member_2"])


def test_as_many_as_there_are_threads_and_as_fit_into_half_of_the_memory(config, monkeypatch):
    monkeypatch.setattr(joblib, "cpu_count", lambda: 1)

    def processes(*overrides):
        cfg = config("members=4", *overrides)
        return members.processes_for(plan(cfg, read_data(cfg)))

    assert [processes(f"threads={threads}") for threads in (1, 3, 8)] == [1, 3, 4]
    assert processes() == 1  # the tests have one
    assert processes("threads=8", "members=1", "data.crop=none") == 1
    with monkeypatch.context() as patched:
        patched.setattr(os, "sysconf", {"SC_PHYS_PAGES": 3_000_000_000, "SC_PAGE_SIZE": 1}.get)
        assert processes("threads=8") == 2
        patched.setattr(joblib, "cpu_count", lambda: 16)  # half of the cores go with half of the memory
        assert processes("threads=8") == 1
    assert processes("threads=8", "model=any", "model._target_=__main__.Net") == 1
    with monkeypatch.context() as patched:
        patched.setattr(torch.cuda, "is_available", lambda: True)
        assert processes("threads=8", "trainer.accelerator=auto") == 1
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, "ipykernel", sys)
        assert processes("threads=8") == 1
    before = signal.signal(signal.SIGUSR2, lambda *_: None)  # such as submitit's
    try:
        assert processes("threads=8") == 1
    finally:
        signal.signal(signal.SIGUSR2, before)


@pytest.mark.slow
def test_in_a_sweep_each_member_knows_what_is_swept(command, tiny, tmp_path, photograph, mask):
    short = [*tiny, "trainer.max_steps=2", "members=2", "threads=2", f"data.image={photograph}", f"data.mask={mask}"]
    result = command("-m", "seed=5,6", *short)
    assert result.returncode == 0, result.stderr
    assert result.stderr.count("2 runs, 2 at once") == 2
    for seed in (5, 6):
        (events,) = tmp_path.glob(f"outputs/*/*/seed={seed}/member_2/events.out.tfevents.*")
        assert b"_hparams_/session_start_info" in events.read_bytes()

"""The folder of a run: whether it is complete, what resumes, and which one `resume` names."""

import json
import os
from pathlib import Path

import pytest

from dip.errors import UserError
from dip.results.folder import RunFolder, find_run, find_sweep


@pytest.fixture
def folder(tmp_path):
    """folder(metrics, resume=False): the folder of a run that has started, with this metrics.json."""

    def started(metrics=None, resume=False):
        run = RunFolder(tmp_path / "run", resume)
        run.path.mkdir(exist_ok=True)
        run.config.write_text("seed: 0\n")
        if metrics is not None:
            run.write_metrics(metrics)
        return run

    return started


def test_a_new_folder_holds_nothing(tmp_path):
    for resume in (False, True):
        run = RunFolder(tmp_path / "new", resume)
        assert (run.exists, run.resumes, run.is_complete, run.metrics) == (False, False, False, {})
        run.check_new()
        run.check_parts({"thin", "large"})
    assert not (tmp_path / "new").exists()


def test_a_run_that_has_started_resumes_only_where_it_may(folder):
    assert folder().exists
    assert not folder().resumes
    assert folder(resume=True).resumes
    folder(resume=True).check_new()
    with pytest.raises(UserError, match=r"run holds a run already, whose results stay; resume=.*/run continues it, or"):
        folder().check_new()


def test_a_part_resumes_as_the_whole_does(folder):
    for resume in (False, True):
        part = folder(resume=resume) / "member_1"
        assert (part.path.name, part.resume, part.exists) == ("member_1", resume, False)


@pytest.mark.parametrize(
    ("metrics", "complete"),
    [
        (None, False),
        ({"steps": 3}, False),
        ({"stopped_by": "interrupt"}, False),
        ({"stopped_by": "diverged"}, False),
        ({"stopped_by": "max_steps"}, True),
        ({"stopped_by": "held_out, max_steps"}, True),
    ],
)
def test_a_run_is_complete_unless_it_was_interrupted_or_has_diverged(folder, metrics, complete):
    assert folder(metrics).is_complete == complete


def test_metrics_are_read_as_they_were_written(folder):
    run = folder({"steps": 3, "baseline": {"psnr_hole": 20.5}})
    assert run.metrics == json.loads((run.path / "metrics.json").read_text())
    assert run.metrics["baseline"] == {"psnr_hole": 20.5}


def test_what_begins_marks_older_results_as_interrupted_and_says_its_configuration(folder):
    run = folder({"stopped_by": "max_steps", "steps": 3}, resume=True)
    with run.begin("seed: 1\n"):
        assert run.config.read_text() == "seed: 1\n"
        assert run.metrics == {"stopped_by": "interrupt", "steps": 3}
    assert run.config.read_text() == "seed: 1\n"


def test_a_run_without_results_gets_none_by_beginning(tmp_path):
    run = RunFolder(tmp_path / "new")
    with run.begin("seed: 1\n"):
        assert run.exists
    assert not (run.path / "metrics.json").exists()


def test_what_is_refused_leaves_the_configuration_as_it_was(folder, tmp_path):
    def refuse(run, error):
        with run.begin("seed: 1\n"):
            raise error

    run = folder(resume=True)
    with pytest.raises(UserError):
        refuse(run, UserError("no"))
    assert run.config.read_text() == "seed: 0\n"
    with pytest.raises(KeyboardInterrupt):
        refuse(run, KeyboardInterrupt())
    assert run.config.read_text() == "seed: 1\n"
    with pytest.raises(UserError):
        refuse(RunFolder(tmp_path / "new"), UserError("no"))
    assert (tmp_path / "new" / "config.yaml").exists()


@pytest.mark.parametrize(
    ("there", "wanted", "refused"),
    [
        (["thin", "large"], {"thin", "large"}, False),
        (["thin"], {"thin", "large"}, False),  # the other one has not started
        (["thin", "large"], set(), True),
        (["region_1"], {"thin"}, True),
        (["checkpoints"], {"thin", "large"}, True),
        (["member_1"], {"thin", "large"}, True),
        (["fill"], {"thin", "large"}, True),
        (["checkpoints", "fill", "member_1"], set(), False),
    ],
)
def test_a_run_with_other_parts_does_not_resume(folder, there, wanted, refused):
    run = folder(resume=True)
    for name in there:
        (run.path / name).mkdir()
        (run.path / name / "config.yaml").touch()
    if refused:
        with pytest.raises(UserError, match=r"has other parts; give data\.image, data\.mask and data\.crop as they"):
            run.check_parts(wanted)
    else:
        run.check_parts(wanted)


def test_folders_of_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_run(None, "new") == "new"
    with pytest.raises(UserError, match="resume=latest: there is no run in outputs/"):
        find_run("latest", "new")
    with pytest.raises(UserError, match="resume=nowhere: no run has started there"):
        find_run("nowhere", "new")
    for seconds, name in enumerate(["photo/monday", "photo/sweep/0_depth=3", "text/sunday"]):
        (tmp_path / "outputs" / name).mkdir(parents=True)
        (tmp_path / "outputs" / name / "config.yaml").touch()
        os.utime(tmp_path / "outputs" / name / "config.yaml", (seconds, seconds))
        assert find_run("latest", "new") == str(tmp_path / "outputs" / name)
    assert find_run("outputs/photo/monday", "new") == str(tmp_path / "outputs" / "photo" / "monday")


def test_the_newest_run_of_a_batch_or_of_parts_is_the_whole_and_a_sweep_needs_m(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("photo/monday", "photo/monday/thin"):
        Path("outputs", name).mkdir(parents=True)
        Path("outputs", name, "config.yaml").touch()
    os.utime("outputs/photo/monday/config.yaml", (1, 1))
    assert find_run("latest", "new") == str(tmp_path / "outputs" / "photo" / "monday")
    Path("outputs/photo/monday/multirun.yaml").touch()
    with pytest.raises(UserError, match="resume=outputs/photo/monday is a sweep; add -m"):
        find_run("outputs/photo/monday", "new")


def test_folders_of_sweeps(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="resume=latest: there is no sweep in outputs/; without -m the newest run"):
        find_sweep("latest")
    with pytest.raises(UserError, match=r"resume=nowhere: no sweep has started there, since there is no multirun"):
        find_sweep("nowhere")
    for seconds, name in enumerate(["photo/monday", "text/sunday"]):
        Path("outputs", name).mkdir(parents=True)
        Path("outputs", name, "multirun.yaml").touch()
        os.utime(Path("outputs", name, "multirun.yaml"), (seconds, seconds))
        assert find_sweep("latest") == tmp_path / "outputs" / name
    assert find_sweep("outputs/photo/monday") == tmp_path / "outputs" / "photo" / "monday"


def test_the_key_that_resumes_is_written_as_a_shell_takes_it(tmp_path):
    folder = RunFolder(tmp_path / "photo (1)")
    folder.path.mkdir()
    folder.config.touch()
    with pytest.raises(UserError, match=rf"; 'resume={tmp_path}/photo \(1\)' continues it"):
        folder.check_new()

"""What one run knows of its sweep: its share of the cores, and the score of a search."""

import joblib
import pytest
from omegaconf import OmegaConf

from dip.cli.jobs import check_objective, is_search, score, threads_per_job
from dip.errors import UserError


def test_the_jobs_of_a_launcher_share_the_cores(monkeypatch):
    monkeypatch.setattr(joblib, "cpu_count", lambda: 8)
    shares = {jobs: threads_per_job(OmegaConf.create({"n_jobs": jobs})) for jobs in (1, 2, 3, 16, -1, -4)}
    assert shares == {1: 8, 2: 4, 3: 2, 16: 1, -1: 1, -4: 1}
    submitit = [("LocalLauncher", None), ("LocalLauncher", 3), ("SlurmLauncher", None), ("SlurmLauncher", 3)]
    launchers = [OmegaConf.create({"_target_": name, "cpus_per_task": cpus}) for name, cpus in submitit]
    assert [threads_per_job(launcher) for launcher in launchers] == [1, 3, None, 3]
    assert threads_per_job(OmegaConf.create({"_target_": "BasicLauncher"})) is None


def test_the_objective_of_a_search(config):
    one, two = {"steps": 1, "psnr_hole": 20.0}, {"steps": 1, "psnr_hole": 30.0}
    assert score(one, "psnr_hole") == 20
    assert score({"a.png": one, "b.png": two}, "psnr_hole") == 25
    assert score({"stopped_by": "max_steps", "parts": {"region_1": one, "region_2": two}}, "psnr_hole") == 25
    with pytest.raises(UserError, match="objective=psnr_held_out: the run has no such score; it held no pixels out"):
        score(one, "psnr_held_out")
    check_objective(config("objective=psnr_hole"))
    check_objective(config())
    with pytest.raises(UserError, match="objective=psnr_held_out, but no pixels are held out; set stopping=held_out"):
        check_objective(config("stopping=moving_variance"))
    with pytest.raises(UserError, match=r"objective=psnr_hole, but the ground truth is not known; give data\.truth"):
        check_objective(config("objective=psnr_hole", "data.truth=null"))
    check_objective(config("experiment=denoise", "objective=psnr_all"))
    with pytest.raises(UserError, match="judged by all its pixels; set psnr_all"):
        check_objective(config("experiment=denoise", "objective=psnr_hole"))


def test_a_sweeper_that_is_not_the_basic_one_searches():
    names = ("hydra._internal.core_plugins.basic_sweeper.BasicSweeper", "hydra_plugins.OptunaSweeper")
    assert [is_search(OmegaConf.create({"_target_": name})) for name in names] == [False, True]

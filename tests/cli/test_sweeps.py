"""Sweeps through Hydra's own launchers and sweepers: real processes, kills and signals."""

import itertools
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import joblib
import pytest
import torch
from hydra.errors import MissingConfigException
from omegaconf import OmegaConf
from pytorch_lightning import Callback

from dip.cli.command import prepare
from dip.cli.jobs import perform_job, with_fair_share
from dip.config.messages import one_line
from dip.errors import Interrupted, UserError
from dip.repair.run import find_callback
from dip.results.folder import find_sweep
from dip.training.checkpoint import read_checkpoint
from dip.training.interruption import Interruption

NAMED = "hydra.job.config.override_dirname.exclude_keys"
TRAIN = str(Path(__file__).parents[2] / "train.py")
LAST = Path("checkpoints", "last.ckpt")


@pytest.fixture
def keys(tiny, photograph, mask):
    """A tiny run whose truth is known."""
    return [*tiny, f"data.image={photograph}", f"data.mask={mask}", f"data.truth={photograph}"]


def start(folder, *arguments, stderr=subprocess.PIPE):
    return subprocess.Popen([sys.executable, TRAIN, *arguments], cwd=folder, stderr=stderr, text=True)


def wait_for(path, process):
    while not path.exists():
        assert process.poll() is None, process.stderr and process.stderr.read()
        time.sleep(0.01)


def metrics(folder):
    return json.loads((folder / "metrics.json").read_text())


def test_a_job_is_named_by_what_differs_and_keys_after_an_option_stay_where_they_are():
    given = ["-m", "model.depth=5", "seed=0,1", "~penalty", "trainer.max_steps=20", "model.depth=3,4", "input=noise"]
    assert prepare(given) == ["-m", f"{NAMED}=[input,penalty,trainer.max_steps]", *given[1:]]
    assert prepare(["--multirun"]) == ["--multirun", f"{NAMED}=[]"]
    assert prepare(["seed=1"]) == ["seed=1"]
    # One folder for all, though `name` follows the picture.
    assert prepare(["-m", "data.image=a.jpg,b.jpg"])[-2:] == ["data.image=a.jpg,b.jpg", "name=pictures"]
    assert prepare(["-m", "data.image=a.jpg", "seed=0,1"])[-1] == "seed=0,1"


def test_a_prepared_sweep_without_m_is_refused(command):
    result = command("sweep=depth_kernel", "seed=1")
    assert result.returncode == 2
    assert result.stderr == (
        "error: sweep=depth_kernel is several runs; add -m: python train.py -m sweep=depth_kernel seed=1\n"
    )


def test_a_plugin_that_is_not_installed_is_named_with_its_extra():
    error = MissingConfigException("In 'hydra/config': Could not find 'hydra/sweeper/optuna'\n\nAvailable", "a", ())
    assert one_line(error) == 'hydra/sweeper=optuna needs pip install -e ".[optuna]"'
    error = MissingConfigException("In 'hydra/config': Could not find 'hydra/launcher/rai'\n\nAvailable", "a", ())
    assert one_line(error) == "In 'hydra/config': Could not find 'hydra/launcher/rai' Available"


def test_resume_is_the_command_that_the_sweep_was_begun_with(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="resume=latest: there is no sweep in outputs/"):
        prepare(["-m", "resume=latest"])
    with pytest.raises(UserError, match=r"resume=nowhere: no sweep has started there, since there is no multirun\."):
        prepare(["-m", "resume=nowhere"])
    folder = tmp_path / "outputs" / "a" / "b c"
    folder.mkdir(parents=True)
    hydra = ["hydra/launcher=joblib", "hydra.mode=MULTIRUN", "hydra.sweep.dir=x", f"{NAMED}=[model]"]
    overrides = {"hydra": hydra, "task": ["seed=0,1", "model=skip", "+a='${b}'"]}
    OmegaConf.save({"hydra": {"overrides": overrides}}, folder / "multirun.yaml")
    assert prepare(["-m", "resume=latest", "model=unet"]) == [
        *("-m", f"{NAMED}=[a,model]", "model=unet", "hydra/launcher=joblib", "seed=0,1", "+a='${b}'"),
        f"hydra.sweep.dir='{folder}'",
    ]
    assert find_sweep("outputs/a/b c") == folder


def test_jobs_take_turns_on_the_gpus_and_what_is_given_stays(config, monkeypatch):
    def share(number, *overrides):
        hydra = OmegaConf.create({"job": {"num": number}, "launcher": {"n_jobs": 1000}})
        cfg = with_fair_share(config("trainer.accelerator=auto", *overrides), hydra)
        return cfg.threads, cfg.trainer.devices

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert [share(number) for number in range(4)] == [(1, [0]), (1, [1]), (1, [2]), (1, [0])]
    assert share(1, "threads=2", "trainer.devices=[0]") == (2, [0])
    assert share(1, "trainer.accelerator=cpu")[1] is None
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert share(1)[1] is None


def test_a_job_goes_on_is_left_when_complete_and_refused_when_it_is_another(config, tmp_path, caplog):
    caplog.set_level("INFO")
    first = perform_job(config(), tmp_path / "run")
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    assert perform_job(config("threads=1", "objective=psnr_hole"), tmp_path / "run") == first
    assert before == {path: path.read_bytes() for path in before}
    assert f"The run in {tmp_path}/run is complete." in caplog.text
    with pytest.raises(UserError, match="seed=1, but the run in this folder has seed=0; sweep into another"):
        perform_job(config("seed=1"), tmp_path / "run")
    assert before == {path: path.read_bytes() for path in before}
    assert perform_job(config("trainer.max_steps=5"), tmp_path / "run")["steps"] == 5
    assert "The run resumes after step 3 of 5." in caplog.text


@pytest.mark.parametrize("recipe", ["experiment=published", "members=2"])
def test_a_complete_job_is_left_as_it_is_whatever_its_recipe(config, tmp_path, recipe):
    first = perform_job(config(recipe, "trainer.precision=auto"), tmp_path / "run")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}
    assert perform_job(config(recipe, "trainer.precision=auto"), tmp_path / "run") == first
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}


def test_a_signal_that_is_somebody_else_s_reaches_them_after_a_checkpoint(config, run, tmp_path):
    class Send(Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            if trainer.global_step == 2:
                os.kill(os.getpid(), signal.SIGUSR2)

    def send_in_step_2(experiment):
        experiment.trainer.callbacks.insert(0, Send())
        interruptions.append(find_callback(experiment.callbacks, Interruption))

    saved, interruptions = [], []
    before = signal.signal(
        signal.SIGUSR2, lambda *_: saved.append(read_checkpoint(tmp_path / "run" / LAST)["global_step"])
    )
    try:
        assert run(config("trainer.max_steps=5"), tmp_path / "run", watch=send_in_step_2)["steps"] == 5
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert saved == [3]
    assert [interruption.pending for interruption in interruptions] == [[]]


def test_an_interruption_comes_back_from_another_process():
    interrupted = pickle.loads(pickle.dumps(Interrupted(signal.SIGTERM, "said")))
    assert (interrupted.received, str(interrupted)) == (signal.SIGTERM, "said")


def test_a_sweep_that_was_killed_runs_what_is_missing(command, tmp_path, keys):
    sweep = tmp_path / "sweep"
    steps = ["trainer.max_steps=100", "callbacks.checkpoint.every_minutes=0"]
    process = start(tmp_path, "-m", *keys, *steps, "seed=0,1,2", f"hydra.sweep.dir={sweep}")
    wait_for(sweep / "seed=1" / LAST, process)
    process.kill()
    process.communicate()
    assert not (sweep / "seed=2").exists()
    before = {path: path.stat().st_mtime_ns for path in (sweep / "seed=0").iterdir() if path.suffix != ".log"}
    result = command("-m", f"resume={sweep}")
    assert result.returncode == 0, result.stderr
    assert before == {path: path.stat().st_mtime_ns for path in before}
    assert f"The run in {sweep}/seed=0 is complete." in result.stderr
    assert "The run resumes after step" in (sweep / "seed=1" / "train.log").read_text()
    assert [metrics(sweep / f"seed={seed}")["steps"] for seed in range(3)] == [100, 100, 100]
    assert {path.name for path in sweep.iterdir() if path.is_dir()} == {"seed=0", "seed=1", "seed=2"}
    assert {"multirun.yaml", "report.html"} <= {path.name for path in sweep.iterdir()}


def test_with_joblib_jobs_share_the_cores_and_one_that_fails_stops_no_other(
    separate_command, tmp_path, keys, monkeypatch
):
    (tmp_path / "faulty.py").write_text("def loss(output, target, mask):\n    return 1 / 0\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    differ = ["loss._target_=faulty.loss,dip.prior.losses.masked_mse", "model.depth=30,1"]
    launcher = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", f"hydra.sweep.dir={tmp_path}/sweep"]
    result = separate_command("-m", *keys, *differ, *launcher)
    assert result.returncode == 2
    impossible, finished, also_impossible, faulty = (
        tmp_path / "sweep" / f"loss._target_={loss},model.depth={depth}"
        for loss, depth in itertools.product(("dip.prior.losses.masked_mse", "faulty.loss"), (30, 1))
    )
    assert result.stderr.splitlines()[-2].startswith(f"error: {also_impossible}: ")
    assert "error: " in (also_impossible / "train.log").read_text()
    assert "is too small for model.depth=30" in (impossible / "train.log").read_text()
    assert "Traceback" not in (impossible / "train.log").read_text()
    assert "ZeroDivisionError: division by zero" in (faulty / "train.log").read_text()
    assert metrics(finished)["steps"] == 3
    assert OmegaConf.load(finished / "config.yaml").threads == max(joblib.cpu_count() // 2, 1)


@pytest.mark.slow
def test_a_job_of_submitit_that_is_pre_empted_is_started_again_and_goes_on(tmp_path, keys):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason='pip install -e ".[slurm]"')
    sweep = tmp_path / "sweep"
    launcher = ["hydra/launcher=submitit_local", "trainer.max_steps=1000", "stopping=none"]
    process = start(tmp_path, "-m", *keys, *launcher, f"hydra.sweep.dir={sweep}")
    log = sweep / "run" / "train.log"
    while not log.exists() or "step 1 of" not in log.read_text():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    (job,) = (path.name for path in (sweep / ".submitit").iterdir() if path.name.isdigit())
    (task,) = Path(f"/proc/{job}/task/{job}/children").read_text().split()
    os.kill(int(task), signal.SIGTERM)  # submitit lets it pass
    wait_for(sweep / "run" / LAST, process)
    os.kill(int(task), signal.SIGUSR2)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert log.read_text().count("The run resumes after step") == 1
    assert metrics(sweep / "run")["steps"] == 1000


@pytest.mark.slow
def test_a_search_repeats_nothing_when_it_goes_on(command, tmp_path, keys):
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper", reason='pip install -e ".[optuna]"')
    sweep = tmp_path / "sweep"
    search = ["-m", "sweep=search", *keys, "model.depth=choice(1,2)", f"hydra.sweep.dir={sweep}"]
    result = command(*search, "stopping=none")
    assert result.returncode == 2
    assert result.stderr.count("objective=psnr_held_out, but no pixels are held out; set stopping=held_out") == 1
    result = command(*search, "objective=psnr_hole", "hydra.sweeper.n_trials=2")
    assert result.returncode == 0, result.stderr
    result = command("-m", f"resume={sweep}", "hydra.sweeper.n_trials=3")
    assert result.returncode == 0, result.stderr
    assert result.stderr.count(" is complete.\n") == 2
    best = OmegaConf.load(sweep / "optimization_results.yaml")
    found = {path.parent.name: metrics(path.parent)["psnr_hole"] for path in sweep.glob("*/metrics.json")}
    assert len(found) == 3
    assert best.best_value == max(found.values())


@pytest.mark.slow
def test_two_launches_at_once_share_no_folder(tmp_path, keys):
    processes = [start(tmp_path, "-m", *keys, "trainer.max_steps=1", "name=both") for _ in range(2)]
    for process in processes:
        _, said = process.communicate(timeout=300)
        assert process.returncode == 0, said
    assert len(list((tmp_path / "outputs" / "both").glob("*/run/metrics.json"))) == 2


@pytest.mark.slow
def test_memory_stays_flat_over_fifty_jobs(tmp_path, keys):
    sweep = tmp_path / "sweep"
    with (tmp_path / "said").open("w") as said:  # more than a pipe holds
        process = start(tmp_path, "-m", *keys, "seed=range(50)", f"hydra.sweep.dir={sweep}", stderr=said)
    memory = {}
    for jobs in (5, 50):
        wait_for(sweep / f"seed={jobs - 1}" / "metrics.json", process)
        status = Path(f"/proc/{process.pid}/status").read_text()
        memory[jobs] = int(status.partition("VmRSS:")[2].split()[0])
    assert process.wait(timeout=600) == 0
    assert memory[50] < 1.05 * memory[5]


@pytest.mark.slow
def test_ray_runs_jobs_on_two_nodes(tmp_path, keys):
    pytest.importorskip("hydra_plugins.hydra_ray_launcher", reason='pip install -e ".[ray]"')
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        cluster.add_node(num_cpus=1)
        sweep = tmp_path / "sweep"
        ray = ["hydra/launcher=ray", f"hydra.launcher.ray.init.address='{cluster.address}'"]
        ray += [
            "+hydra.launcher.ray.init.object_store_memory=null",
            "+hydra.launcher.ray.remote.num_cpus=1",
            f"hydra.sweep.dir={sweep}",
        ]
        process = start(tmp_path, "-m", *keys, "seed=0,1", *ray)
        _, said = process.communicate(timeout=600)
    finally:
        cluster.shutdown()
    assert process.returncode == 0, said
    assert [metrics(sweep / f"seed={seed}")["steps"] for seed in (0, 1)] == [3, 3]
    # A node has one core, and its process would run a second job as well.
    assert len({path.name.split(".")[-2] for path in sweep.glob("*/events.out.tfevents.*")}) == 2

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
from conftest import REPOSITORY, TINY
from hydra import compose, initialize_config_dir
from hydra.errors import MissingConfigException
from omegaconf import OmegaConf
from pytorch_lightning import Callback

from dip.callbacks import Interruption
from dip.checkpoints import LAST, read
from dip.command import Interrupted, Refused, one_line
from dip.experiment import build
from dip.jobs import perform_job, shared
from dip.repair import only, repair
from dip.schema import job_folder, sweep_folder
from dip.sweeps import check_objective, prepared, score, threads_of_a_job

NAMED = "hydra.job.config.override_dirname.exclude_keys"
TRAIN = str(REPOSITORY / "train.py")


@pytest.fixture
def keys(photograph, mask):
    """A tiny run whose truth is known."""
    return [*TINY, f"data.image={photograph}", f"data.mask={mask}", f"data.truth={photograph}"]


def start(folder, *arguments, stderr=subprocess.PIPE):
    return subprocess.Popen([sys.executable, TRAIN, *arguments], cwd=folder, stderr=stderr, text=True)


def wait_for(path, process):
    while not path.exists():
        assert process.poll() is None, process.stderr and process.stderr.read()
        time.sleep(0.01)


def metrics(folder):
    return json.loads((folder / "metrics.json").read_text())


def test_folders_are_named_by_the_overrides_and_fit_everywhere():
    assert job_folder("model.depth=3,model.widths=[4,6]") == "model.depth=3,model.widths=[4,6]"
    assert job_folder("data.image=a/b/Bär 1.jpg,seed=1").startswith("data.image=Bär_1.jpg,seed=1_")
    assert job_folder("") == "run"
    names = [
        *("name=a b", "name=a_b", "name=a/b", "name=c/b", "name='a b'"),
        *(f"name={sign * length}" for sign in "aä😀" for length in (140, 150, 151, 300, 301)),
    ]
    folders = [job_folder(name) for name in names]
    assert len({*folders, job_folder("")}) == len(names) + 1
    assert all("/" not in folder and len(folder.encode()) < 200 for folder in folders)


def test_a_job_is_named_by_what_differs_and_keys_after_an_option_stay_where_they_are():
    given = ["-m", "model.depth=5", "seed=0,1", "~penalty", "trainer.max_steps=20", "model.depth=3,4", "input=noise"]
    assert prepared(given) == ["-m", f"{NAMED}=[input,penalty,trainer.max_steps]", *given[1:]]
    assert prepared(["--multirun"]) == ["--multirun", f"{NAMED}=[]"]
    assert prepared(["seed=1"]) == ["seed=1"]
    # One folder for all, though `name` follows the picture.
    assert prepared(["-m", "data.image=a.jpg,b.jpg"])[-2:] == ["data.image=a.jpg,b.jpg", "name=pictures"]
    assert prepared(["-m", "data.image=a.jpg", "seed=0,1"])[-1] == "seed=0,1"


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
    with pytest.raises(Refused, match="resume=latest: there is no sweep in outputs/"):
        prepared(["-m", "resume=latest"])
    with pytest.raises(Refused, match=r"resume=nowhere: no sweep has begun there, since there is no multirun\.yaml"):
        prepared(["-m", "resume=nowhere"])
    folder = tmp_path / "outputs" / "a" / "b c"
    folder.mkdir(parents=True)
    hydra = ["hydra/launcher=joblib", "hydra.mode=MULTIRUN", "hydra.sweep.dir=x", f"{NAMED}=[model]"]
    overrides = {"hydra": hydra, "task": ["seed=0,1", "model=skip", "+a='${b}'"]}
    OmegaConf.save({"hydra": {"overrides": overrides}}, folder / "multirun.yaml")
    assert prepared(["-m", "resume=latest", "model=unet"]) == [
        *("-m", f"{NAMED}=[a,model]", "model=unet", "hydra/launcher=joblib", "seed=0,1", "+a='${b}'"),
        f"hydra.sweep.dir='{folder}'",
    ]
    assert sweep_folder("outputs/a/b c") == folder


@pytest.mark.parametrize("preset", sorted(path.stem for path in (REPOSITORY / "configs" / "sweep").glob("*.yaml")))
def test_every_prepared_sweep_turns_keys_that_there_are(preset):
    with initialize_config_dir(str(REPOSITORY / "configs"), version_base="1.3"):
        cfg = compose("train", [f"sweep=[{preset}]", "hole_kind=thin"], return_hydra_config=True)
    assert all(OmegaConf.select(cfg, key) is not None for key in cfg.hydra.sweeper.params)


def test_the_jobs_of_a_launcher_share_the_cores(monkeypatch):
    monkeypatch.setattr(joblib, "cpu_count", lambda: 8)
    shares = {jobs: threads_of_a_job(OmegaConf.create({"n_jobs": jobs})) for jobs in (1, 2, 3, 16, -1, -4)}
    assert shares == {1: 8, 2: 4, 3: 2, 16: 1, -1: 1, -4: 1}
    submitit = [("LocalLauncher", None), ("LocalLauncher", 3), ("SlurmLauncher", None), ("SlurmLauncher", 3)]
    launchers = [OmegaConf.create({"_target_": name, "cpus_per_task": cpus}) for name, cpus in submitit]
    assert [threads_of_a_job(launcher) for launcher in launchers] == [1, 3, None, 3]
    assert threads_of_a_job(OmegaConf.create({"_target_": "BasicLauncher"})) is None


def test_jobs_take_turns_on_the_gpus_and_what_is_given_stays(config, monkeypatch):
    def share(number, *overrides):
        hydra = OmegaConf.create({"job": {"num": number}, "launcher": {"n_jobs": 1000}})
        cfg = shared(config("trainer.accelerator=auto", *overrides), hydra)
        return cfg.threads, cfg.trainer.devices

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert [share(number) for number in range(4)] == [(1, [0]), (1, [1]), (1, [2]), (1, [0])]
    assert share(1, "threads=2", "trainer.devices=[0]") == (2, [0])
    assert share(1, "trainer.accelerator=cpu")[1] is None
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert share(1)[1] is None


def test_a_run_has_its_threads_and_one_device(config, tmp_path):
    before = torch.get_num_threads()
    try:
        build(config("threads=2"), tmp_path)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    with pytest.raises(ValueError, match="threads=0, but a run has at least one"):
        build(config("threads=0"), tmp_path)
    for devices in ("[0,1]", "2", "[]"):
        with pytest.raises(ValueError, match=r"trainer\.devices=.*, but a run has one device, such as \[0\]"):
            build(config(f"trainer.devices={devices}"), tmp_path)


def test_a_job_goes_on_is_left_when_complete_and_refused_when_it_is_another(config, tmp_path, caplog):
    caplog.set_level("INFO")
    first = perform_job(config(), tmp_path / "run")
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    assert perform_job(config("threads=1", "objective=psnr_hole"), tmp_path / "run") == first
    assert before == {path: path.read_bytes() for path in before}
    assert f"The run in {tmp_path}/run is complete." in caplog.text
    with pytest.raises(Refused, match="seed=1, but the run in this folder has seed=0; sweep into another"):
        perform_job(config("seed=1"), tmp_path / "run")
    assert before == {path: path.read_bytes() for path in before}
    assert perform_job(config("trainer.max_steps=5"), tmp_path / "run")["steps"] == 5
    assert "The run goes on after step 3 of 5." in caplog.text


@pytest.mark.parametrize("recipe", ["experiment=published", "members=2"])
def test_a_complete_job_is_left_as_it_is_whatever_its_recipe(config, tmp_path, recipe):
    first = perform_job(config(recipe, "trainer.precision=auto"), tmp_path / "run")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}
    assert perform_job(config(recipe, "trainer.precision=auto"), tmp_path / "run") == first
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}


def test_a_signal_that_is_somebody_else_s_reaches_them_after_a_checkpoint(config, tmp_path):
    class Send(Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            if trainer.global_step == 2:
                os.kill(os.getpid(), signal.SIGUSR2)

    saved = []
    before = signal.signal(signal.SIGUSR2, lambda *_: saved.append(read(tmp_path / "run" / LAST)["global_step"]))
    try:
        experiment = build(config("trainer.max_steps=5"), tmp_path / "run")
        experiment.trainer.callbacks.insert(0, Send())
        assert repair(experiment, tmp_path / "run")["steps"] == 5
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert saved == [3]
    assert not only(experiment.callbacks, Interruption).theirs


def test_an_interruption_comes_back_from_another_process():
    interrupted = pickle.loads(pickle.dumps(Interrupted(signal.SIGTERM, "said")))
    assert (interrupted.received, str(interrupted)) == (signal.SIGTERM, "said")


def test_the_objective_of_a_search(config):
    one, two = {"steps": 1, "psnr_hole": 20.0}, {"steps": 1, "psnr_hole": 30.0}
    assert score(one, "psnr_hole") == 20
    assert score({"a.png": one, "b.png": two}, "psnr_hole") == 25
    assert score({"stopped_by": "max_steps", "parts": {"region_1": one, "region_2": two}}, "psnr_hole") == 25
    with pytest.raises(ValueError, match="objective=psnr_held_out: the run has no such score; it held no pixels out"):
        score(one, "psnr_held_out")
    check_objective(config("objective=psnr_hole"))
    check_objective(config())
    with pytest.raises(ValueError, match="objective=psnr_held_out, but no pixels are held out; set stopping=held_out"):
        check_objective(config("stopping=moving_variance"))
    with pytest.raises(ValueError, match="objective=psnr_hole, but the truth is not known"):
        check_objective(config("objective=psnr_hole", "data.truth=null"))


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
    assert "The run goes on after step" in (sweep / "seed=1" / "train.log").read_text()
    assert [metrics(sweep / f"seed={seed}")["steps"] for seed in range(3)] == [100, 100, 100]
    assert {path.name for path in sweep.iterdir() if path.is_dir()} == {"seed=0", "seed=1", "seed=2"}
    assert {"multirun.yaml", "report.html"} <= {path.name for path in sweep.iterdir()}


def test_with_joblib_jobs_share_the_cores_and_one_that_fails_stops_no_other(command, tmp_path, keys, monkeypatch):
    (tmp_path / "faulty.py").write_text("def loss(output, target, mask):\n    return 1 / 0\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    differ = ["loss._target_=faulty.loss,dip.losses.masked_mse", "model.depth=30,1"]
    launcher = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", f"hydra.sweep.dir={tmp_path}/sweep"]
    result = command("-m", *keys, *differ, *launcher)
    assert result.returncode == 2
    impossible, finished, also_impossible, faulty = (
        tmp_path / "sweep" / f"loss._target_={loss},model.depth={depth}"
        for loss, depth in itertools.product(("dip.losses.masked_mse", "faulty.loss"), (30, 1))
    )
    assert result.stderr.splitlines()[-2].startswith(f"error: {also_impossible}: ")
    assert "error: " in (also_impossible / "train.log").read_text()
    assert "is too small for model.depth=30" in (impossible / "train.log").read_text()
    assert "Traceback" not in (impossible / "train.log").read_text()
    assert "ZeroDivisionError: division by zero" in (faulty / "train.log").read_text()
    assert metrics(finished)["steps"] == 3
    assert OmegaConf.load(finished / "config.yaml").threads == max(joblib.cpu_count() // 2, 1)


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
    assert log.read_text().count("The run goes on after step") == 1
    assert metrics(sweep / "run")["steps"] == 1000


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

"""A run that was stopped, in whatever manner, goes on as if nothing had happened."""

import json
import os
import pickle
import runpy
import signal
import time
from types import SimpleNamespace

import pytest
import torch
from conftest import REPOSITORY
from omegaconf import OmegaConf
from PIL import Image
from pytorch_lightning import Callback

from dip.callbacks import SIGNALS
from dip.checkpoints import LAST, Checkpoint, read
from dip.command import Interrupted, Refused
from dip.experiment import build
from dip.jobs import perform_job
from dip.repair import lacking, repair, restore
from dip.resume import resumed
from dip.schema import run_folder

script = SimpleNamespace(**runpy.run_path(str(REPOSITORY / "scripts" / "kill_and_resume.py")))
WHOLE = {}  # by overrides, so that each is trained once
STEPS = ["trainer.max_steps=9", "callbacks.progress.every_steps=1"]


class Killed(Exception):
    pass


class Kill(Callback):
    """Has a checkpoint saved in step `saved`, and ends everything in step `killed`. Comes after the other callbacks."""

    def __init__(self, saved, killed):
        self.saved = saved
        self.killed = killed

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step == self.saved:
            trainer.checkpoint_callback.save(trainer)
        if trainer.global_step == self.killed:
            raise Killed


@pytest.fixture
def killed(config, tmp_path):
    """killed(saved, killed, *overrides): the folder of a run killed in one step, with a checkpoint of another."""

    def run(saved, killed, *overrides):
        experiment = build(config(*STEPS, *overrides), tmp_path / "killed")
        experiment.trainer.callbacks.append(Kill(saved, killed))
        before = [signal.getsignal(number) for number in SIGNALS]
        with pytest.raises(Killed):
            repair(experiment, tmp_path / "killed")
        assert before == [signal.getsignal(number) for number in SIGNALS]
        return tmp_path / "killed"

    return run


@pytest.fixture
def whole(config, tmp_path):
    """whole(*overrides): what a run leaves that nothing disturbs."""

    def run(*overrides):
        if overrides not in WHOLE:
            repair(build(config(*STEPS, *overrides), tmp_path / "whole"), tmp_path / "whole")
            WHOLE[overrides] = script.remains(tmp_path / "whole")
        return dict(WHOLE[overrides])

    return run


def wait_for_the_next_second(folder):
    """TensorBoard sorts the files of a run by name, and the time in it is of whole seconds."""
    latest = max(int(path.name.split(".")[3]) for path in folder.glob("events.out.tfevents.*"))
    while int(time.time()) <= latest:
        time.sleep(0.05)


def go_on(folder, **turned):
    wait_for_the_next_second(folder)
    cfg = OmegaConf.load(folder / "config.yaml")
    for key, value in turned.items():
        OmegaConf.update(cfg, key.replace("__", "."), value)
    return repair(build(cfg, folder, go_on=True), folder)


def without_frames(run):
    callbacks = {name: state for name, state in run["callbacks"].items() if name != "Animation"}
    return {**run, "callbacks": callbacks, "training.gif": None}


def assert_same(ours, theirs):
    different = [name for name in ours | theirs if ours.get(name) != theirs.get(name)]
    assert not different


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["scheduler=cosine", "optimizer=sgd", "average=weights", "average.decay=0.5"],
        ["average=outputs", "callbacks.langevin.noise=2", "callbacks.weight_jitter.share=0.1"],
        ["optimizer=lbfgs", "optimizer.max_iter=3", "scheduler=warmup", "penalty=total_variation"],
        [
            "callbacks.back_tracking.drop_db=0.001",
            "callbacks.back_tracking.every_steps=2",
            "callbacks.weight_jitter.share=2",
        ],
        ["model=skip", "input=fourier", "input.learned=true", "input.lr=0.001", "optimizer=adamw"],
        ["hole_kind=large", "penalty.blur_sd=2"],
    ],
    ids=" ".join,
)
def test_a_killed_run_goes_on_bit_for_bit(whole, killed, overrides, caplog):
    folder = killed(4, 7, *overrides)
    caplog.set_level("INFO")
    go_on(folder)
    assert "The run goes on after step 4 of 9." in caplog.text
    assert_same(script.remains(folder), whole(*overrides))
    assert [step for step, _ in script.remains(folder)["curves"]["loss"]] == list(range(1, 10))


def test_a_run_that_is_killed_twice_goes_on_twice(whole, killed):
    folder = killed(2, 3)
    wait_for_the_next_second(folder)
    experiment = build(OmegaConf.load(folder / "config.yaml"), folder, go_on=True)
    experiment.trainer.callbacks.append(Kill(6, 8))
    with pytest.raises(Killed):
        repair(experiment, folder)
    go_on(folder)
    assert_same(script.remains(folder), whole())


def test_before_the_first_checkpoint_a_run_starts_again(whole, killed):
    folder = killed(None, 4)
    assert not (folder / LAST).exists()
    go_on(folder)
    assert_same(script.remains(folder), whole())


def test_a_complete_run_says_so_and_goes_on_with_more_steps(config, whole, tmp_path, caplog):
    caplog.set_level("INFO")
    folder = tmp_path / "shorter"
    first = repair(build(config(*STEPS, "trainer.max_steps=5"), folder), folder)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert go_on(folder) == first
    assert f"The run in {folder} is complete after 5 steps; a larger trainer.max_steps" in caplog.text
    assert before == {path: path.read_bytes() for path in before}
    assert go_on(folder, trainer__max_steps=9)["steps"] == 9
    ours, theirs = script.remains(folder), whole()
    assert_same(without_frames(ours), without_frames(theirs))  # they are of other steps
    assert OmegaConf.load(folder / "config.yaml").trainer.max_steps == 9


def test_a_complete_run_that_is_killed_among_more_steps_is_not_complete(config, tmp_path):
    folder = tmp_path / "run"
    perform_job(config(*STEPS, "trainer.max_steps=5"), folder)
    experiment = build(config(*STEPS), folder, go_on=True)
    experiment.trainer.callbacks.append(Kill(8, 8))
    wait_for_the_next_second(folder)
    with pytest.raises(Killed):
        repair(experiment, folder)
    wait_for_the_next_second(folder)
    assert perform_job(config(*STEPS), folder)["steps"] == 9


class Interrupt(Callback):
    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == 4:
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGUSR1"])
def test_a_signal_ends_a_run_with_results_and_it_goes_on(config, whole, tmp_path, name):
    folder = tmp_path / "interrupted"
    number = signal.Signals[name]
    before = signal.getsignal(number)
    experiment = build(config(*STEPS), folder)
    experiment.trainer.callbacks.insert(0, interrupt := Interrupt())
    interrupt.number = number
    with pytest.raises(Interrupted, match=rf"the results of 5 steps are written; resume={folder} goes on") as raised:
        repair(experiment, folder)
    assert raised.value.received == number
    assert signal.getsignal(number) == before
    metrics = json.loads((folder / "metrics.json").read_text())
    assert (metrics["steps"], metrics["stopped_by"]) == (5, "interrupt")
    assert read(folder / LAST)["global_step"] == 5
    go_on(folder)
    ours, theirs = script.remains(folder), whole()
    assert_same(without_frames(ours), without_frames(theirs))  # there is one more, of the step that it was stopped in


def test_seconds_and_frames_are_those_of_the_whole_run(killed):
    folder = killed(6, 7, "callbacks.animation.count=9")
    checkpoint = read(folder / LAST)
    checkpoint["callbacks"]["Results"]["seconds"] = 1000.0
    torch.save(checkpoint, folder / LAST)
    assert 1000 < go_on(folder)["seconds"] < 1100
    with Image.open(folder / "training.gif") as gif:
        assert gif.n_frames > 4


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["model.depth=1"], "model.depth stays as it is in a run that goes on; only keys of trainer, callbacks"),
        (["seed=3"], "seed stays as it is"),
        (["data=random_pixels"], "data stays as it is"),
        (["callbacks.nothing=1"], "config.yaml: .*nothing"),
    ],
)
def test_what_the_checkpoint_holds_cannot_be_turned(config, killed, overrides, said):
    folder = killed(1, 2)
    with pytest.raises(ValueError, match=said):
        resumed(folder, config(), overrides)


def test_other_keys_are_turned_and_the_rest_is_as_the_run_began(config, killed):
    folder = killed(1, 2, "optimizer.lr=0.123")
    given = config("trainer.max_steps=77", "callbacks.animation=null")
    cfg = resumed(folder, given, ["resume=x", "trainer.max_steps=77", "callbacks.animation=null"])
    assert (cfg.trainer.max_steps, cfg.callbacks.animation, cfg.optimizer.lr) == (77, None, 0.123)


def test_a_rate_that_has_fallen_does_not_rise_again(config, tmp_path):
    restore(config("scheduler=cosine"), tmp_path / "run")
    cfg = resumed(tmp_path / "run", config("trainer.max_steps=5"), ["resume=x", "trainer.max_steps=5"])
    with pytest.raises(Refused, match=r"max_steps=5, but the schedule of this run ends at step 3, and its rate would"):
        restore(cfg, tmp_path / "run", go_on=True)


def test_fewer_steps_than_a_killed_run_has_done_are_refused(killed):
    folder = killed(6, 7)
    with pytest.raises(Refused, match=r"trainer\.max_steps=5, but the run in .* has done 6 steps; a larger one"):
        go_on(folder, trainer__max_steps=5)
    assert go_on(folder)["steps"] == 9


def test_what_is_refused_is_not_what_the_runs_of_a_mean_are_told(config, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    with monkeypatch.context() as patched:
        patched.setattr("dip.repair.build", lambda cfg, *of: interrupt() if cfg.seed == 1 else build(cfg, *of))
        with pytest.raises(Interrupted):
            restore(config("members=2"), folder)
    told = (folder / "config.yaml").read_text()
    cfg = OmegaConf.load(folder / "config.yaml")
    cfg.data.grow_hole = 1
    with pytest.raises(Refused, match="of another picture or mask"):
        restore(cfg, folder, go_on=True)
    assert (folder / "config.yaml").read_text() == told


def interrupt():
    raise KeyboardInterrupt


def test_a_callback_that_was_left_out_can_be_had_again(config, killed):
    folder = killed(1, 2, "callbacks.animation=null")
    turned = "callbacks.animation.count=5"
    assert resumed(folder, config(turned), ["resume=x", turned]).callbacks.animation.count == 5


@pytest.mark.parametrize("members", [1, 2])
def test_a_result_goes_where_it_is_wanted_when_a_run_goes_on(config, tmp_path, members):
    folder, given = tmp_path / "run", [f"members={members}", f"output.path={tmp_path}/fixed.png"]
    restore(config(*given), folder)

    def go_on_with(*overrides):
        return restore(resumed(folder, config(*given, *overrides), ["resume=x", *overrides]), folder, go_on=True)

    before = (tmp_path / "fixed.png").read_bytes()
    with pytest.raises(Refused, match=r"fixed\.png is there already; .* set output.overwrite=true"):
        go_on_with("trainer.max_steps=5")
    assert (tmp_path / "fixed.png").read_bytes() == before
    assert go_on_with("trainer.max_steps=5", "output.overwrite=true")["steps"] == 5 * members
    after = (tmp_path / "fixed.png").read_bytes()
    assert after == (folder / "inpainted.png").read_bytes() != before
    go_on_with("threads=1", f"output.path={tmp_path}/another.png", "output.overwrite=false")  # it is complete
    assert (tmp_path / "another.png").read_bytes() == after


@pytest.mark.parametrize("members", [1, 2])
def test_a_complete_run_does_not_stumble_over_its_own_result(config, tmp_path, caplog, members):
    caplog.set_level("INFO")
    first = restore(config(f"output.path={tmp_path}/fixed.png", f"members={members}"), tmp_path / "run")
    assert restore(OmegaConf.load(tmp_path / "run" / "config.yaml"), tmp_path / "run", go_on=True) == first
    assert "is complete" in caplog.text
    (tmp_path / "fixed.png").write_text("edited since")
    cfg = OmegaConf.load(tmp_path / "run" / "config.yaml")
    cfg.output.overwrite = True
    OmegaConf.save(cfg, tmp_path / "run" / "config.yaml")  # as it was begun
    restore(cfg, tmp_path / "run", go_on=True)
    assert (tmp_path / "fixed.png").read_text() == "edited since"
    cfg = OmegaConf.load(tmp_path / "run" / "config.yaml")
    cfg.output.path = str(tmp_path / "fixed.xyz")
    with pytest.raises(Refused, match="Pillow writes no files of this ending"):
        restore(cfg, tmp_path / "run", go_on=True)


def test_a_run_of_another_version_is_refused(config, killed):
    folder = killed(4, 7)
    saved = OmegaConf.load(folder / "config.yaml")
    del saved["large_from"]
    OmegaConf.save(saved, folder / "config.yaml")
    with pytest.raises(ValueError, match=r"config.yaml is of another version, without large_from; start anew"):
        resumed(folder, config(), ["resume=x"])


def test_another_picture_is_refused(killed, photograph):
    folder = killed(1, 2)
    Image.open(photograph).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(photograph)
    with pytest.raises(ValueError, match="of another picture or mask"):
        go_on(folder)


def test_another_network_is_refused(killed):
    folder = killed(1, 2)
    with pytest.raises(ValueError, match=r"last\.ckpt does not fit the network: .*Unexpected key"):
        go_on(folder, model__depth=1)


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


def malicious(path, trace):
    torch.save({"state_dict": Malicious(trace), "global_step": 1, "sample": 0}, path)


def malicious_pickle(path, trace):
    path.write_bytes(pickle.dumps(Malicious(trace), protocol=2))


def cut(path, trace):
    path.write_bytes(path.read_bytes()[:-1000])


def empty(path, trace):
    path.write_bytes(b"")


def other(path, trace):
    torch.save({"weights": torch.zeros(3)}, path)


def test_a_strange_checkpoint_is_refused_and_nothing_in_it_runs(killed, tmp_path):
    folder = killed(1, 2)
    good = (folder / LAST).read_bytes()
    for spoil in (malicious, malicious_pickle, cut, empty, other):
        (folder / LAST).write_bytes(good)
        spoil(folder / LAST, tmp_path / "trace")
        with pytest.raises(ValueError, match=r"last\.ckpt is no checkpoint"):
            go_on(folder)
        assert not (tmp_path / "trace").exists()


def test_lightning_itself_loads_no_code(killed, tmp_path):
    folder = killed(1, 2)
    experiment = build(OmegaConf.load(folder / "config.yaml"), folder, go_on=True)
    malicious(folder / LAST, tmp_path / "trace")
    with pytest.raises(pickle.UnpicklingError, match="Weights only load failed"):
        repair(experiment, folder)
    assert not (tmp_path / "trace").exists()


def test_folders_of_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run_folder(None, "new") == "new"
    with pytest.raises(ValueError, match="resume=latest: there is no run in outputs/"):
        run_folder("latest", "new")
    with pytest.raises(ValueError, match="resume=nowhere: no run has begun there"):
        run_folder("nowhere", "new")
    for seconds, name in enumerate(["photo/monday", "photo/sweep/0_depth=3", "text/sunday"]):
        (tmp_path / "outputs" / name).mkdir(parents=True)
        (tmp_path / "outputs" / name / "config.yaml").touch()
        os.utime(tmp_path / "outputs" / name / "config.yaml", (seconds, seconds))
        assert run_folder("latest", "new") == str(tmp_path / "outputs" / name)
    assert run_folder("outputs/photo/monday", "new") == str(tmp_path / "outputs" / "photo" / "monday")


def test_checkpoints_come_by_the_clock(config, tmp_path):
    class Written(Callback):
        def on_train_batch_end(self, trainer, *args):
            path = tmp_path / "run" / LAST
            steps.append(read(path)["global_step"] if path.exists() else 0)

    for every_minutes, expected in ((0, [1, 2]), (60, [0, 0])):
        steps = []
        experiment = build(config(f"callbacks.checkpoint.every_minutes={every_minutes}"), tmp_path / "run")
        experiment.trainer.callbacks.append(Written())
        experiment.trainer.fit(experiment.prior, datamodule=experiment.data)
        assert steps[:2] == expected
        assert read(tmp_path / "run" / LAST)["global_step"] == 3
        (tmp_path / "run" / LAST).unlink()
    with pytest.raises(ValueError, match=r"callbacks\.checkpoint\.every_minutes=-1"):
        Checkpoint(every_minutes=-1)


@pytest.mark.parametrize("written", ["masked.png", "metrics.json", "training.gif"])
def test_a_run_that_is_killed_among_its_results_can_be_resumed(whole, killed, monkeypatch, written):
    folder = killed(7, 8)
    replace = type(folder).replace

    def kill(self, target):
        if target.name == written:
            raise Killed
        return replace(self, target)

    monkeypatch.setattr(type(folder), "replace", kill)
    with pytest.raises(Killed):
        go_on(folder)
    monkeypatch.undo()
    go_on(folder)
    assert_same(script.remains(folder), whole())
    assert not list(folder.rglob(".*"))


def test_without_room_for_a_checkpoint_the_run_goes_on_and_the_one_before_stays(killed, caplog, file_size_limit):
    folder = killed(4, 7, "callbacks.images=null", "callbacks.animation=null", "model.widths=[32]")
    before = (folder / LAST).read_bytes()
    with file_size_limit(len(before) - 1):
        assert go_on(folder)["steps"] == 9
    assert "No checkpoint of step 9; the run goes on, the one before stays: File too large" in caplog.text
    assert (folder / LAST).read_bytes() == before
    assert (folder / "inpainted.png").exists()


def test_without_room_for_the_results_one_line_says_so_and_the_checkpoint_stays(killed, config, file_size_limit):
    folder = killed(4, 7, "callbacks.images=null", "callbacks.animation=null")
    before = (folder / LAST).read_bytes()
    said = rf"{folder}/\w+.png: File too large; resume={folder} goes on from the last checkpoint"
    with file_size_limit(7000), pytest.raises(Refused, match=said), lacking(config(), folder):
        go_on(folder)
    assert (folder / LAST).read_bytes() == before
    go_on(folder)


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        (
            "model=unet",
            "out of memory; lower data.max_side, or lower model.depth, or lower model.widths, or set model.activation_",
        ),
        ("model=resnet", "out of memory; lower data.max_side"),
    ],
)
def test_out_of_memory_says_what_to_lower(config, tmp_path, choice, said):
    def none_left():
        torch.empty(2**60, dtype=torch.uint8)

    def none_left_on_the_gpu():
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    for act in (none_left, none_left_on_the_gpu):
        with pytest.raises(Refused, match=said), lacking(config(choice), tmp_path):
            act()
    with pytest.raises(RuntimeError, match="another"), lacking(config(choice), tmp_path):
        raise RuntimeError("another")


def test_memory_that_is_missing_for_the_first_picture_is_no_fault_of_the_network(config, tmp_path):
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        build(config("model=any", "model._target_=test_resume.Greedy"), tmp_path)


class Greedy(torch.nn.Module):
    def __init__(self, in_channels, out_channels):
        super().__init__()

    def forward(self, x):
        return torch.empty(2**60, dtype=torch.uint8)


def test_a_process_that_is_killed_leaves_whole_files_and_goes_on(tmp_path):
    runs = script.Runs(tmp_path, steps=100)
    process = runs.start("killed")
    while not (tmp_path / "killed" / LAST).exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.communicate()
    script.check_files(tmp_path / "killed")
    cfg = OmegaConf.load(tmp_path / "killed" / "config.yaml")
    repair(build(cfg, tmp_path / "whole"), tmp_path / "whole")
    go_on(tmp_path / "killed", callbacks__checkpoint__every_minutes=60)
    assert_same(script.remains(tmp_path / "killed"), script.remains(tmp_path / "whole"))

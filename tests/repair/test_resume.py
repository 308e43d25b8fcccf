"""A run that was stopped, in whatever manner, resumes as if nothing had happened."""

import json
import os
import pickle
import signal
import time
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image
from pytorch_lightning import Callback

from dip.cli.jobs import perform_job
from dip.config.resume import resumed_config
from dip.errors import Interrupted, UserError
from dip.repair.run import fit
from dip.results.folder import RunFolder
from dip.training.checkpoint import Checkpoint, read_checkpoint
from dip.training.interruption import SIGNALS

LAST = Path("checkpoints", "last.ckpt")
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


@pytest.fixture(scope="session")
def instrument(script):
    """The script that kills real runs, whose comparison of what two runs leave is used here."""
    return script("lab/kill_and_resume.py")


@pytest.fixture
def killed(config, run, tmp_path):
    """killed(saved, killed, *overrides): the folder of a run killed in one step, with a checkpoint of another."""

    def start(saved, killed, *overrides):
        before = [signal.getsignal(number) for number in SIGNALS]
        with pytest.raises(Killed):
            run(
                config(*STEPS, *overrides),
                tmp_path / "killed",
                watch=with_callback(Kill(saved, killed), tmp_path / "killed"),
            )
        assert before == [signal.getsignal(number) for number in SIGNALS]
        return tmp_path / "killed"

    return start


def with_callback(callback, folder, place=None):
    """Gives the run in this folder one more callback: the last one, or the one at this place."""

    def add(experiment):
        callbacks = experiment.trainer.callbacks
        if experiment.trainer.default_root_dir == str(folder):  # and not the runs for its colours
            callbacks.insert(len(callbacks) if place is None else place, callback)

    return add


@pytest.fixture
def whole(config, run, instrument, tmp_path):
    """whole(*overrides): what a run leaves that nothing disturbs."""

    def leave(*overrides):
        if overrides not in WHOLE:
            run(config(*STEPS, *overrides), tmp_path / "whole")
            WHOLE[overrides] = instrument.remains(tmp_path / "whole")
        return dict(WHOLE[overrides])

    return leave


def wait_for_the_next_second(folder):
    """TensorBoard sorts the files of a run by name, and the time in it is of whole seconds."""
    latest = max(int(path.name.split(".")[3]) for path in folder.glob("events.out.tfevents.*"))
    while int(time.time()) <= latest:
        time.sleep(0.05)


@pytest.fixture
def resume(run):
    """resume(folder, key__within=value): the run in a folder resumes, with other values for these keys."""

    def resume(folder, watch=None, **turned):
        wait_for_the_next_second(folder)
        cfg = OmegaConf.load(folder / "config.yaml")
        for key, value in turned.items():
            OmegaConf.update(cfg, key.replace("__", "."), value)
        return run(cfg, folder, resume=True, watch=watch)

    return resume


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
        ["optimizer=muon", "scheduler=cosine", "input.lr=0.05"],
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
def test_a_killed_run_resumes_bit_for_bit(whole, resume, instrument, killed, overrides, caplog):
    folder = killed(4, 7, *overrides)
    caplog.set_level("INFO")
    resume(folder)
    assert "The run resumes after step 4 of 9." in caplog.text
    assert_same(instrument.remains(folder), whole(*overrides))
    assert [step for step, _ in instrument.remains(folder)["curves"]["loss"]] == list(range(1, 10))


def test_a_run_that_is_killed_twice_resumes_twice(whole, resume, instrument, killed):
    folder = killed(2, 3)
    with pytest.raises(Killed):
        resume(folder, watch=with_callback(Kill(6, 8), folder))
    resume(folder)
    assert_same(instrument.remains(folder), whole())


def test_before_the_first_checkpoint_a_run_starts_again(whole, resume, instrument, killed):
    folder = killed(None, 4)
    assert not (folder / LAST).exists()
    resume(folder)
    assert_same(instrument.remains(folder), whole())


def test_a_complete_run_says_so_and_goes_on_with_more_steps(config, run, resume, instrument, whole, tmp_path, caplog):
    caplog.set_level("INFO")
    folder = tmp_path / "shorter"
    first = run(config(*STEPS, "trainer.max_steps=5"), folder)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert resume(folder) == first
    assert f"The run in {folder} is complete after 5 steps; a larger trainer.max_steps" in caplog.text
    assert before == {path: path.read_bytes() for path in before}
    assert resume(folder, trainer__max_steps=9)["steps"] == 9
    ours, theirs = instrument.remains(folder), whole()
    assert_same(without_frames(ours), without_frames(theirs))  # they are of other steps
    assert OmegaConf.load(folder / "config.yaml").trainer.max_steps == 9


def test_a_complete_run_that_is_killed_among_more_steps_is_not_complete(config, run, tmp_path):
    folder = tmp_path / "run"
    perform_job(config(*STEPS, "trainer.max_steps=5"), folder)
    wait_for_the_next_second(folder)
    with pytest.raises(Killed):
        run(config(*STEPS), folder, resume=True, watch=with_callback(Kill(8, 8), folder))
    wait_for_the_next_second(folder)
    assert perform_job(config(*STEPS), folder)["steps"] == 9


class Interrupt(Callback):
    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == 4:
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGUSR1"])
def test_a_signal_ends_a_run_with_results_and_it_goes_on(config, run, resume, instrument, whole, tmp_path, name):
    folder = tmp_path / "interrupted"
    number = signal.Signals[name]
    before = signal.getsignal(number)
    interrupt = Interrupt()
    interrupt.number = number
    with pytest.raises(
        Interrupted, match=rf"the results of 5 steps are saved; the run goes on with resume={folder}"
    ) as raised:
        run(config(*STEPS), folder, watch=with_callback(interrupt, folder, place=0))
    assert raised.value.received == number
    assert signal.getsignal(number) == before
    metrics = json.loads((folder / "metrics.json").read_text())
    assert (metrics["steps"], metrics["stopped_by"]) == (5, "interrupt")
    assert read_checkpoint(folder / LAST)["global_step"] == 5
    resume(folder)
    ours, theirs = instrument.remains(folder), whole()
    assert_same(without_frames(ours), without_frames(theirs))  # there is one more, of the step that it was stopped in


def test_seconds_and_frames_are_those_of_the_whole_run(killed, resume):
    folder = killed(6, 7, "callbacks.animation.count=9")
    checkpoint = read_checkpoint(folder / LAST)
    checkpoint["callbacks"]["Results"]["seconds"] = 1000.0
    torch.save(checkpoint, folder / LAST)
    assert 1000 < resume(folder)["seconds"] < 1100
    with Image.open(folder / "training.gif") as gif:
        assert gif.n_frames > 4


def test_a_rate_that_has_fallen_does_not_rise_again(config, run, tmp_path):
    run(config("scheduler=cosine"), tmp_path / "run")
    cfg = resumed_config(
        RunFolder(tmp_path / "run", resume=True), config("trainer.max_steps=5"), ["resume=x", "trainer.max_steps=5"]
    )
    with pytest.raises(
        UserError, match=r"max_steps=5, but the schedule of this run ends at step 3, and its rate would"
    ):
        run(cfg, tmp_path / "run", resume=True)


def test_fewer_steps_than_a_killed_run_has_done_are_refused(killed, resume):
    folder = killed(6, 7)
    with pytest.raises(UserError, match=r"trainer\.max_steps=5, but the run in .* has done 6 steps; a larger one"):
        resume(folder, trainer__max_steps=5)
    assert resume(folder)["steps"] == 9


def test_what_is_refused_is_not_what_the_runs_of_a_mean_are_told(config, run, tmp_path):
    folder = tmp_path / "run"

    def press_ctrl_c(experiment):
        if experiment.cfg.seed == 1:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted):
        run(config("members=2"), folder, watch=press_ctrl_c)
    told = (folder / "config.yaml").read_text()
    cfg = OmegaConf.load(folder / "config.yaml")
    cfg.data.grow_hole = 1
    with pytest.raises(UserError, match="of another picture or mask"):
        run(cfg, folder, resume=True)
    assert (folder / "config.yaml").read_text() == told


@pytest.mark.parametrize("members", [1, 2])
def test_a_result_goes_where_it_is_wanted_when_a_run_goes_on(config, run, tmp_path, members):
    folder, given = tmp_path / "run", [f"members={members}", f"output.path={tmp_path}/fixed.png"]
    run(config(*given), folder)

    def resume_with(*overrides):
        cfg = resumed_config(RunFolder(folder, resume=True), config(*given, *overrides), ["resume=x", *overrides])
        return run(cfg, folder, resume=True)

    before = (tmp_path / "fixed.png").read_bytes()
    with pytest.raises(UserError, match=r"fixed\.png is there already; .* set output.overwrite=true"):
        resume_with("trainer.max_steps=5")
    assert (tmp_path / "fixed.png").read_bytes() == before
    assert resume_with("trainer.max_steps=5", "output.overwrite=true")["steps"] == 5 * members
    after = (tmp_path / "fixed.png").read_bytes()
    assert after == (folder / "inpainted.png").read_bytes() != before
    resume_with("threads=1", f"output.path={tmp_path}/another.png", "output.overwrite=false")  # it is complete
    assert (tmp_path / "another.png").read_bytes() == after


@pytest.mark.parametrize("members", [1, 2])
def test_a_complete_run_does_not_stumble_over_its_own_result(config, run, tmp_path, caplog, members):
    caplog.set_level("INFO")
    first = run(config(f"output.path={tmp_path}/fixed.png", f"members={members}"), tmp_path / "run")
    assert run(OmegaConf.load(tmp_path / "run" / "config.yaml"), tmp_path / "run", resume=True) == first
    assert "is complete" in caplog.text
    (tmp_path / "fixed.png").write_text("edited since")
    cfg = OmegaConf.load(tmp_path / "run" / "config.yaml")
    cfg.output.overwrite = True
    OmegaConf.save(cfg, tmp_path / "run" / "config.yaml")  # as it was begun
    run(cfg, tmp_path / "run", resume=True)
    assert (tmp_path / "fixed.png").read_text() == "edited since"
    cfg = OmegaConf.load(tmp_path / "run" / "config.yaml")
    cfg.output.path = str(tmp_path / "fixed.xyz")
    with pytest.raises(UserError, match="Pillow writes no files of this ending"):
        run(cfg, tmp_path / "run", resume=True)


def test_another_picture_is_refused(killed, resume, photograph):
    folder = killed(1, 2)
    Image.open(photograph).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(photograph)
    with pytest.raises(UserError, match="of another picture or mask"):
        resume(folder)


def test_another_network_is_refused(killed, resume):
    folder = killed(1, 2)
    with pytest.raises(UserError, match=r"last\.ckpt does not fit the network: .*Unexpected key"):
        resume(folder, model__depth=1)


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


def test_a_strange_checkpoint_is_refused_and_nothing_in_it_runs(killed, resume, tmp_path):
    folder = killed(1, 2)
    good = (folder / LAST).read_bytes()
    for spoil in (malicious, malicious_pickle, cut, empty, other):
        (folder / LAST).write_bytes(good)
        spoil(folder / LAST, tmp_path / "trace")
        with pytest.raises(UserError, match=r"last\.ckpt is no checkpoint"):
            resume(folder)
        assert not (tmp_path / "trace").exists()


def test_lightning_itself_loads_no_code(killed, built, tmp_path):
    folder = killed(1, 2)
    experiment = built(OmegaConf.load(folder / "config.yaml"), folder, resume=True)
    malicious(folder / LAST, tmp_path / "trace")
    with pytest.raises(pickle.UnpicklingError, match="Weights only load failed"):
        fit(experiment, RunFolder(folder, resume=True))
    assert not (tmp_path / "trace").exists()


def test_checkpoints_come_by_the_clock(config, built, tmp_path):
    class Written(Callback):
        def on_train_batch_end(self, trainer, *args):
            path = tmp_path / "run" / LAST
            steps.append(read_checkpoint(path)["global_step"] if path.exists() else 0)

    for every_minutes, expected in ((0, [1, 2]), (60, [0, 0])):
        steps = []
        experiment = built(config(f"callbacks.checkpoint.every_minutes={every_minutes}"), tmp_path / "run")
        experiment.trainer.callbacks.append(Written())
        experiment.trainer.fit(experiment.prior, datamodule=experiment.data)
        assert steps[:2] == expected
        assert read_checkpoint(tmp_path / "run" / LAST)["global_step"] == 3
        (tmp_path / "run" / LAST).unlink()
    with pytest.raises(UserError, match=r"callbacks\.checkpoint\.every_minutes=-1"):
        built(config("callbacks.checkpoint.every_minutes=-1"), tmp_path / "run")
    with pytest.raises(UserError, match="every_minutes=-1"):
        Checkpoint(every_minutes=-1)


@pytest.mark.parametrize("written", ["masked.png", "metrics.json", "training.gif"])
def test_a_run_that_is_killed_among_its_results_can_be_resumed(whole, resume, instrument, killed, monkeypatch, written):
    folder = killed(7, 8)
    replace = type(folder).replace

    def kill(self, target):
        if target.name == written:
            raise Killed
        return replace(self, target)

    monkeypatch.setattr(type(folder), "replace", kill)
    with pytest.raises(Killed):
        resume(folder)
    monkeypatch.undo()
    resume(folder)
    assert_same(instrument.remains(folder), whole())
    assert not list(folder.rglob(".*"))


def test_without_room_for_a_checkpoint_the_run_continues_and_the_last_one_stays(
    killed, resume, caplog, file_size_limit
):
    folder = killed(4, 7, "callbacks.images=null", "callbacks.animation=null", "model.widths=[32]")
    before = (folder / LAST).read_bytes()
    with file_size_limit(len(before) - 1):
        assert resume(folder)["steps"] == 9
    assert "No checkpoint of step 9: File too large. The run continues, the last one stays." in caplog.text
    assert (folder / LAST).read_bytes() == before
    assert (folder / "inpainted.png").exists()


def test_without_room_for_the_results_one_line_says_so_and_the_checkpoint_stays(
    killed, resume, config, file_size_limit
):
    folder = killed(4, 7, *(f"callbacks.{name}=null" for name in ("images", "animation", "overview")))
    before = (folder / LAST).read_bytes()
    said = rf"{folder}/\w+.png: File too large; resume={folder} continues from the last checkpoint"
    with file_size_limit(7000), pytest.raises(UserError, match=said):
        resume(folder)
    assert (folder / LAST).read_bytes() == before
    resume(folder)


def test_a_process_that_is_killed_leaves_whole_files_and_goes_on(tmp_path, run, resume, instrument):
    runs = instrument.Runs(tmp_path, steps=100)
    process = runs.start("killed")
    while not (tmp_path / "killed" / LAST).exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.communicate()
    instrument.check_files(tmp_path / "killed")
    cfg = OmegaConf.load(tmp_path / "killed" / "config.yaml")
    run(cfg, tmp_path / "whole")
    resume(tmp_path / "killed", callbacks__checkpoint__every_minutes=60)
    assert_same(instrument.remains(tmp_path / "killed"), instrument.remains(tmp_path / "whole"))


@pytest.mark.parametrize("ending", [".jpg", ".png"])
def test_a_result_over_its_own_photograph_resumes_from_the_photograph_as_it_was(
    config, run, photograph, tmp_path, ending
):
    path = tmp_path / f"own{ending}"
    with Image.open(photograph) as picture:
        if ending == ".png":  # whose hole is what is transparent, and opaque in the result
            picture.putalpha(Image.new("L", picture.size, 255))
            picture.paste((0, 0, 0, 0), (20, 8, 30, 16))
        picture.save(path)
    before, cfg = path.read_bytes(), config(f"data.image={path}", f"output.path={path}", "output.overwrite=true")
    cfg.data.truth = None
    if ending == ".png":
        cfg.data.mask = None
    run(cfg, tmp_path / "run")
    assert path.read_bytes() != before
    assert (tmp_path / "run" / f"replaced{ending}").read_bytes() == before
    again = resumed_config(RunFolder(tmp_path / "run", resume=True), cfg, ["trainer.max_steps=5"])
    again.trainer.max_steps = 5
    assert run(again, tmp_path / "run", resume=True)["steps"] == 5
    assert (tmp_path / "run" / f"replaced{ending}").read_bytes() == before

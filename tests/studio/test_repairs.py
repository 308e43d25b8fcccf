import json
from concurrent.futures import Future
from pathlib import Path

import pytest
from PIL import Image

from dip.errors import UserError
from dip.studio.repairs import Repair, Repairs, check_overrides, describe


@pytest.fixture
def repair(tmp_path):
    Image.new("RGB", (30, 20)).save(tmp_path / "a photo.jpg")
    return Repair(Path("train.py"), tmp_path, tmp_path / "a photo.jpg", tmp_path / "mask.png", ["seed=3"])


def test_the_command_gives_the_same_file_and_continues_what_was_stopped(repair, tmp_path):
    repair.exit_code = 0
    files = f"'data.image={tmp_path}/a photo.jpg' data.mask={tmp_path}/mask.png"
    assert repair.command == f"python train.py {files} seed=3 'output.path=a photo_repaired.jpg'"
    repair.exit_code = 130
    assert repair.command == f"python train.py resume={tmp_path}/run output.overwrite=true"


def test_a_result_that_its_format_cannot_hold_gets_another(tmp_path):
    Image.new("P", (30, 20)).save(tmp_path / "photo.gif")
    repair = Repair(Path("train.py"), tmp_path, tmp_path / "photo.gif", tmp_path / "mask.png", [])
    assert repair.file.name in ("photo_repaired.gif", "photo_repaired.png")


def test_what_is_at_work_is_said_in_words(repair, tmp_path):
    assert repair.progress().stage == "Waiting for the repair before this one."
    repair.process = object()
    assert repair.progress().stage == "Starting ..."
    repair.run.path.mkdir()
    preview = {"step": 30, "last": 100, "seconds_left": 12.3, "has_ended": False, "scores": [[10, 20.5], [30, 21]]}
    (repair.run.path / "preview.json").write_text(json.dumps(preview))
    now = repair.progress()
    assert now.stage == "Drawing: step 30 of 100, 12 s left at most"
    assert (now.picture, now.scores) == (repair.run.path / "preview.jpg", [[10, 20.5], [30, 21]])
    assert describe(preview, ("run", "fill", "member_2")) == (
        "Finding colours, picture 2: step 30 of 100, 12 s left at most"
    )
    assert describe({**preview, "has_ended": True}, ("run",)) == "Adding detail ..."
    repair.exit_code, repair.said = 2, "error: seed=x, but it must be a whole number"
    assert repair.progress().stage == repair.said


def test_a_repair_that_waits_is_dropped_when_it_is_stopped(repair):
    repair.future = Future()
    repair.stop()
    assert repair.is_over
    assert repair.progress().stage == "Stopped before it began."


def test_one_that_is_not_over_does_not_start_again(repair, tmp_path):
    repair.future = Future()
    with pytest.raises(UserError, match="this repair is still at work"):
        Repairs(tmp_path, Path("train.py")).start(repair)


@pytest.mark.parametrize(
    "text",
    ["data.image=x", "resume=latest", "hydra.run.dir=x", "output.path=x", "model._target_=os.system", "data=noisy"],
)
def test_files_and_code_are_not_given_in_the_page(text):
    with pytest.raises(UserError, match="is not for this page"):
        check_overrides(f"seed=1 {text}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("steps", "steps"),
        ("name='a", "options: No closing quotation"),
        ("model.depth=deep", "model.depth=deep, but it"),
    ],
)
def test_what_is_no_option_is_refused(text, said):
    with pytest.raises(UserError, match=said):
        check_overrides(text)


def test_options_are_taken_as_on_the_command_line():
    assert check_overrides("model.depth=3  trainer.max_steps=5") == ["model.depth=3", "trainer.max_steps=5"]
    assert check_overrides(None) == []

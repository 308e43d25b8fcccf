import json
import os
from concurrent.futures import Future

import pytest
from PIL import Image

from dip.errors import UserError
from dip.studio import warm
from dip.studio.repairs import Repair, Repairs, describe

TRAIN = os.path.relpath(warm.TRAIN)


@pytest.fixture
def repair(tmp_path):
    Image.new("RGB", (30, 20)).save(tmp_path / "a photo.jpg")
    return Repair(tmp_path, tmp_path / "a photo.jpg", tmp_path / "mask.png", ["seed=3"])


def test_the_command_gives_the_same_file_and_continues_what_was_stopped(repair, tmp_path):
    repair.exit_code = 0
    files = f"'data.image={tmp_path}/a photo.jpg' data.mask={tmp_path}/mask.png"
    assert repair.command == f"python {TRAIN} {files} seed=3 'output.path=a photo_repaired.jpg'"
    repair.exit_code = 130
    assert repair.command == f"python {TRAIN} resume={tmp_path}/run output.overwrite=true"


def test_a_result_that_its_format_cannot_hold_gets_another(tmp_path):
    Image.new("P", (30, 20)).save(tmp_path / "photo.gif")
    repair = Repair(tmp_path, tmp_path / "photo.gif", tmp_path / "mask.png", [])
    assert repair.file.name in ("photo_repaired.gif", "photo_repaired.png")


def test_what_is_at_work_is_said_in_words(repair, tmp_path):
    assert repair.progress().stage == "Waiting for the repair before this one."
    repair.process = object()
    assert repair.progress().stage == "Starting ..."
    repair.run.path.mkdir()
    preview = {"step": 30, "last": 100, "seconds_left": 12.3, "has_ended": False, "scores": [[10, 20.5], [30, 21]]}
    (repair.run.path / "preview.json").write_text(json.dumps(preview))
    now = repair.progress()
    assert now.stage == "Drawing: step 30 of 100, at most 12 s more"
    assert (now.picture, now.scores) == (repair.run.path / "preview.jpg", [[10, 20.5], [30, 21]])
    assert describe(preview, ("fill", "member_2")) == (
        "Finding colours, picture 2: step 30 of 100, at most 12 s more for this part"
    )
    assert describe({**preview, "seconds_left": None}, ("thin",)) == "Drawing thin holes: step 30 of 100"
    assert describe({**preview, "has_ended": True}, ()) == "Adding detail ..."
    repair.run.write_metrics({"parts": {"thin": {"seconds": 3.2}, "large": {"seconds": 40}}})
    (repair.run.path / "train.log").write_text("[now][dip][INFO] - x\n[now][dip][WARNING] - little is known here\n")
    repair.end(0)
    assert repair.progress().stage == "Done after 43 s. The result is below.\n\n**Note:** little is known here"
    repair.exit_code, repair.said = 2, "error: seed=x, but it must be a whole number"
    assert repair.progress().stage == repair.said


def test_of_members_at_once_the_same_one_is_shown_until_it_has_ended(repair):
    preview = {"step": 3, "last": 9, "seconds_left": None, "has_ended": False, "scores": []}

    def shown(**seconds):
        for name, written in seconds.items():
            (repair.run.path / name).mkdir(parents=True, exist_ok=True)
            (repair.run.path / name / "preview.json").write_text(json.dumps(preview))
            os.utime(repair.run.path / name / "preview.json", (written, written))
        return repair.progress().picture.parent.name

    assert shown(member_1=101, member_2=102) == "member_1"
    assert shown(member_1=103, member_2=102) == "member_1"
    assert shown(member_2=109) == "member_1"  # whose next one may be so late
    assert shown(member_2=120, member_3=119) == "member_2"


def test_a_repair_that_waits_is_dropped_when_it_is_stopped(repair):
    repair.future = Future()
    repair.stop()
    assert repair.is_over
    assert repair.progress().stage == "Stopped before it began."


def test_one_that_is_not_over_does_not_start_again(repair, tmp_path):
    repair.future = Future()
    with pytest.raises(UserError, match="this repair is still at work"):
        Repairs(tmp_path, None).start(repair)

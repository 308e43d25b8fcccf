import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.tensorflow_stub import pywrap_tensorflow

from dip.repair.run import repair
from dip.results.folder import RunFolder
from dip.results.pictures import Animation, Images, growing_steps, masked_crc32c, side_by_side


def test_growing_steps_are_dense_early_and_hold_both_ends():
    steps = sorted(growing_steps(1500, 40))
    assert steps[:4] == [1, 2, 3, 4]
    assert steps[-1] == 1500
    assert len(steps) <= 40
    assert sum(step <= 150 for step in steps) > 20
    assert growing_steps(1, 40) == {1}


@pytest.mark.parametrize("size", [0, 1, 8, 1001])
def test_checksums_are_those_of_tensorboard(size):
    data = np.random.default_rng(0).bytes(size)
    assert masked_crc32c(data) == pywrap_tensorflow.masked_crc32c(data)


def test_tensorboard_shows_the_picture_forming(config, tmp_path):
    repair(config("trainer.max_steps=30"), RunFolder(tmp_path / "run"))
    events = EventAccumulator(str(tmp_path / "run"), size_guidance={"images": 0}).Reload()
    assert {"masked", "supervision", "output", "composite", "animation", "uncertainty"} == set(events.Tags()["images"])
    output = events.Images("output")
    assert [event.step for event in output] == sorted(growing_steps(30, 32))
    assert (output[0].width, output[0].height) == (40, 32)
    assert [event.step for event in events.Images("masked")] == [1]


def test_tensorboard_plays_the_animation(config, tmp_path):
    repair(config(), RunFolder(tmp_path / "run"))
    (gif,) = EventAccumulator(str(tmp_path / "run")).Reload().Images("animation")
    assert gif.encoded_image_string == (tmp_path / "run" / "training.gif").read_bytes()


def test_the_animation_has_a_frame_for_each_growing_step_and_pauses_on_the_last(config, tmp_path):
    repair(config("trainer.max_steps=20", "callbacks.animation.max_side=20"), RunFolder(tmp_path / "run"))
    with Image.open(tmp_path / "run" / "training.gif") as gif:
        assert (gif.size, gif.info["duration"]) == ((20, 16), 100)
        assert gif.n_frames == len(growing_steps(20, 48))
        gif.seek(gif.n_frames - 1)
        assert gif.info["duration"] == 2000


def test_how_many_pictures_and_frames_and_for_how_long_they_are_shown(config, tmp_path):
    few = ["callbacks.images.count=3", "callbacks.animation.count=4", "callbacks.animation.frame_ms=50"]
    repair(config("trainer.max_steps=20", *few), RunFolder(tmp_path / "run"))
    events = EventAccumulator(str(tmp_path / "run"), size_guidance={"images": 0}).Reload()
    assert [image.step for image in events.Images("output")] == sorted(growing_steps(20, 3))
    with Image.open(tmp_path / "run" / "training.gif") as gif:
        assert (gif.n_frames, gif.info["duration"]) == (len(growing_steps(20, 4)), 50)


def test_costly_callbacks_can_be_left_out(config, tmp_path):
    left_out = [f"callbacks.{name}=null" for name in ("images", "animation")]
    repair(config(*left_out), RunFolder(tmp_path / "run"))
    assert not (tmp_path / "run" / "training.gif").exists()
    assert (tmp_path / "run" / "inpainted.png").exists()


def test_pictures_and_frames_are_at_least_one_and_the_message_says_how_to_have_none():
    with pytest.raises(ValueError, match=r"^count=0, .*, at least 1; callbacks\.images=null writes none$"):
        Images(count=0)
    with pytest.raises(ValueError, match=r"^last_ms=0, .*, at least 1; callbacks\.animation=null writes none$"):
        Animation(count=1, max_side=20, frame_ms=1, last_ms=0)


def test_side_by_side_shows_every_picture_whole():
    pictures = {"first": torch.zeros(1, 1, 30, 20), "a label wider than the picture": torch.full((1, 1, 30, 20), 0.5)}
    sheet = np.array(side_by_side(pictures))
    assert (sheet == 0).all(axis=2).sum() >= 600
    assert (sheet == 128).all(axis=2).sum() >= 600

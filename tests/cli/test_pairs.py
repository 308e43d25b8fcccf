"""Which mask and ground truth belong to which picture, by name."""

import os
import shutil
import unicodedata
from collections import Counter

import pytest

from dip.cli import pairs
from dip.errors import UserError


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def found(image, mask=None, truth=None):
    paths = (None if path is None else str(path) for path in (image, mask, truth))
    return [
        (files.name, *(path and os.path.basename(path) for path in files[2:4])) for files in pairs.find_pictures(*paths)
    ]


def test_a_folder_or_a_pattern_is_several_and_a_file_is_not(tmp_path):
    touch(tmp_path, "a.png", "[b].png")
    assert pairs.is_several(str(tmp_path))
    assert pairs.is_several(f"{tmp_path}/*.png")
    assert not pairs.is_several(f"{tmp_path}/a.png")
    assert not pairs.is_several(f"{tmp_path}/[b].png")  # there is such a file
    assert not pairs.is_several(None)


def test_masks_and_truths_are_found_by_name(tmp_path):
    touch(
        tmp_path, "in/b.jpg", "in/a.PNG", "in/notes.txt", "in/.hidden.png", "masks/a.png", "masks/b_mask.tif", "t/b.png"
    )
    assert found(tmp_path / "in", tmp_path / "masks") == [("a.PNG", "a.png", None), ("b.jpg", "b_mask.tif", None)]
    assert found(f"{tmp_path}/in/b*", f"{tmp_path}/masks/*", tmp_path / "t") == [("b.jpg", "b_mask.tif", "b.png")]


def test_pictures_and_masks_may_share_a_folder(tmp_path):
    touch(tmp_path, "a.jpg", "a_mask.png", "b.jpg", "b_mask.png", "b_truth.png")
    pairs = [("a.jpg", "a_mask.png"), ("b.jpg", "b_mask.png")]
    assert [files[:2] for files in found(tmp_path, tmp_path, tmp_path)] == pairs


def test_two_files_that_would_be_each_other_s_mask_are_refused(tmp_path):
    touch(tmp_path, "a.jpg", "a.png", "b.jpg", "b_mask.png")
    with pytest.raises(
        UserError, match=r"either of .*/a\.jpg and .*/a\.png would be the other's mask; name it NAME_mask, or"
    ):
        found(tmp_path, tmp_path)
    assert found(f"{tmp_path}/*.jpg", f"{tmp_path}/*.png") == [
        ("a.jpg", "a.png", None),
        ("b.jpg", "b_mask.png", None),
    ]


def test_one_mask_can_be_everybody_s(tmp_path):
    touch(tmp_path, "in/a.png", "in/b.png", "mask.png")
    assert found(tmp_path / "in", tmp_path / "mask.png") == [("a.png", "mask.png", None), ("b.png", "mask.png", None)]
    shutil.move(tmp_path / "mask.png", tmp_path / "in")
    assert [name for name, *_ in found(tmp_path / "in", tmp_path / "in" / "mask.png")] == ["a.png", "b.png"]
    touch(tmp_path, "in/truth.png")
    pair = (tmp_path / "in" / "mask.png", tmp_path / "in" / "truth.png")
    assert [name for name, *_ in found(tmp_path / "in", *pair)] == ["a.png", "b.png"]


def refused(image, mask):
    with pytest.raises(UserError) as caught:
        found(image, mask)
    return str(caught.value)


def test_a_missing_mask_is_named_with_the_nearest(tmp_path):
    touch(tmp_path, "in/a.png", "masks/b.png", "masks/zebra.png")
    said = f"masks: none fits {tmp_path}/in/a.png; the nearest is {tmp_path}/masks/b.png; name it a_mask.* or a.*"
    assert refused(tmp_path / "in", tmp_path / "masks") == f"data.mask={tmp_path}/{said}"
    touch(tmp_path, "in/b.png")
    first, second = pairs.find_pictures(str(tmp_path / "in"), str(tmp_path / "masks"), None)
    assert f"none fits {tmp_path}/in/a.png; the nearest is {tmp_path}/masks/zebra.png" in first.missing
    assert second.missing is None
    assert second.mask == f"{tmp_path}/masks/b.png"


def test_names_are_paths_below_the_fixed_part_of_the_pattern(tmp_path):
    touch(tmp_path, "x/a.png")
    assert [name for name, *_ in found(f"{tmp_path}/**/*.png")] == ["x/a.png"]
    touch(tmp_path, "y/a.png")
    assert [name for name, *_ in found(f"{tmp_path}/**/*.png")] == ["x/a.png", "y/a.png"]
    assert [name for name, *_ in found(f"{tmp_path}/y/../x/*.png")] == ["a.png"]


def paired(image, mask, root):
    return {
        os.path.relpath(files.image, root): files.mask and os.path.relpath(files.mask, root)
        for files in pairs.find_pictures(f"{root}/{image}", f"{root}/{mask}", None)
    }


@pytest.mark.parametrize(
    ("image", "mask"),
    [("in/**/*.png", "m/**/*.png"), ("in/*/*.png", "m/*/*"), ("in/**/*.png", "m"), ("in/*/*", "m/**/*")],
)
def test_files_of_the_same_name_are_matched_by_their_folders(tmp_path, image, mask):
    touch(tmp_path, *(f"{kind}/day{day}/1.png" for kind in ("in", "m") for day in "12"))
    assert paired(image, mask, tmp_path) == {"in/day1/1.png": "m/day1/1.png", "in/day2/1.png": "m/day2/1.png"}


def test_the_mask_of_another_folder_is_named_and_not_taken(tmp_path):
    touch(tmp_path, "in/day1/1.png", "in/day2/1.png", "m/day1/1.png", "m/day3/1.png")
    one, two = pairs.find_pictures(f"{tmp_path}/in/**/*.png", f"{tmp_path}/m/**/*.png", None)
    assert one.mask == f"{tmp_path}/m/day1/1.png"
    assert f"none fits {tmp_path}/in/day2/1.png; the nearest is {tmp_path}/m/day3/1.png" in two.missing


@pytest.mark.parametrize(
    ("image", "mask", "files"),
    [
        ("*/image.png", "*/mask.png", ("a/image.png", "a/mask.png", "b/image.png", "b/mask.png")),
        ("*/rgb/*.png", "*/label/*.png", ("a/rgb/1.png", "a/label/1.png", "b/rgb/1.png", "b/label/1.png")),
        ("in/*_leftImg8bit.png", "m/*_labelIds.png", ("in/a_leftImg8bit.png", "m/a_labelIds.png")),
        ("in", "m/*_ids.png", ("in/a.jpg", "m/a_ids.png", "in/b.jpg", "m/b_ids.png")),
    ],
)
def test_what_the_wildcards_stand_for_may_be_what_is_the_same(tmp_path, image, mask, files):
    touch(tmp_path, *files)
    assert paired(image, mask, tmp_path) == dict(zip(files[::2], files[1::2], strict=True))


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        (unicodedata.normalize("NFD", "Bär.jpg"), unicodedata.normalize("NFC", "Bär.png")),
        (unicodedata.normalize("NFC", "Bär.jpg"), unicodedata.normalize("NFD", "Bär_mask.png")),
        ("IMG_7.JPG", "img_7.png"),
        ("scan.jpg", "scan.jpg.png"),
        ("scan.jpg.png", "scan.png"),
        ("house.jpg", "house_mask001.png"),
        ("house.jpg", "House-Mask.PNG"),
        ("scan.v2.jpg", "scan.v2.png"),
    ],
)
def test_names_are_compared_as_people_see_them(tmp_path, image, mask):
    touch(tmp_path, f"in/{image}", f"m/{mask}", "in/other.png", "m/other.png")
    assert paired("in", "m", tmp_path)[f"in/{image}"] == f"m/{mask}"


def test_a_surer_match_takes_its_file_from_a_looser_one(tmp_path):
    touch(tmp_path, "in/IMG_1.JPG", "in/img_1.png", "m/img_1.png")
    assert paired("in", "m", tmp_path) == {"in/IMG_1.JPG": None, "in/img_1.png": "m/img_1.png"}
    touch(tmp_path, "s/scan.jpg", "s/scan.jpg.png")
    assert paired("s", "s", tmp_path) == {"s/scan.jpg": "s/scan.jpg.png"}


def test_what_is_ambiguous_is_refused(tmp_path):
    touch(tmp_path, "in/a.png", "m/a.png", "m/a.jpg", "in/B.png", "in/b.png", "n/b_Mask.png")
    assert f"m/a.jpg and {tmp_path}/m/a.png both fit {tmp_path}/in/a.png" in refused(tmp_path / "in", tmp_path / "m")
    both = f"n/b_Mask.png fits both {tmp_path}/in/B.png and {tmp_path}/in/b.png"
    assert both in refused(tmp_path / "in", tmp_path / "n")


def test_masks_without_folders_go_by_the_last_part_while_that_is_clear(tmp_path):
    touch(tmp_path, "in/x/a.png", "in/y/b.png", "m/a.png", "m/b_mask.png")
    assert paired("in/**/*.png", "m", tmp_path) == {"in/x/a.png": "m/a.png", "in/y/b.png": "m/b_mask.png"}
    touch(tmp_path, "in/y/a.png")
    assert "m/a.png fits both" in refused(f"{tmp_path}/in/**/*.png", tmp_path / "m")


def test_a_picture_is_not_its_own_mask_however_its_folder_is_written(tmp_path, monkeypatch):
    touch(tmp_path, "in/a.png", "in/a_mask.png", "in/b.png")
    monkeypatch.chdir(tmp_path)
    expected = [("a.png", "a_mask.png", None), ("b.png", None, None)]
    assert (
        found("in", "./in/") == found("in", f"{tmp_path}/in") == found("in/", "../" + tmp_path.name + "/in") == expected
    )
    assert [name for name, *_ in found("in", f"{tmp_path}/in/b.png")] == ["a.png", "a_mask.png"]


def test_brackets_in_a_folder_s_name_are_no_wildcards(tmp_path):
    touch(tmp_path, "trip [2019]/a.jpg", "trip 2/b.jpg")
    assert [name for name, *_ in found(f"{tmp_path}/trip [2019]/*.jpg")] == ["a.jpg"]
    assert not pairs.is_several(f"{tmp_path}/trip [2019]/missing.jpg")


def test_each_folder_is_listed_once_and_each_name_compared_a_few_times(tmp_path, monkeypatch):
    touch(tmp_path, *(f"{kind}/{number}.png" for kind in ("in", "m") for number in range(200)))
    calls = Counter()
    for name in ("files_at", "as_seen"):
        own = getattr(pairs, name)
        monkeypatch.setattr(pairs, name, lambda *given, own=own, **more: calls.update([own]) or own(*given, **more))
    assert len(found(tmp_path / "in", tmp_path / "m")) == 200
    assert sorted(calls.values())[0] == 2
    assert sum(calls.values()) < 5 * 400


def test_a_folder_without_pictures_is_refused(tmp_path):
    touch(tmp_path, "notes.txt")
    for path in (str(tmp_path), f"{tmp_path}/*.jpg"):
        with pytest.raises(UserError, match="holds no picture; give a folder or a pattern with pictures in it"):
            pairs.find_pictures(path, None, None)


def test_files_that_are_not_read_are_counted_in_one_line(tmp_path, caplog):
    touch(tmp_path, "a.jpg", "b.heic", "c.HEIC", "d.nef", "notes.txt", ".hidden", "a_mask.png")
    for image in (tmp_path, f"{tmp_path}/*"):
        caplog.clear()
        assert [files[0] for files in found(image, tmp_path)] == ["a.jpg"]
        (said,) = caplog.messages
        assert said.startswith(f"left out of {image}, since they are not read: 2 .heic (pip install pillow-heif), ")
        assert "1 .nef (develop it" in said
        assert "1 .txt" in said

import errno
import json
import math
import os
import subprocess
import sys

import pytest

from dip.files import atomic_write, locked, write_json, write_text


def test_a_file_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "new" / "file.txt"
    for content in (b"one", b"two"):
        with atomic_write(path) as file:
            file.write(content)
            assert not path.exists() or path.read_bytes() == b"one"
        assert path.read_bytes() == content
    assert os.listdir(path.parent) == ["file.txt"]


def test_an_error_on_the_way_leaves_the_file_before(tmp_path):
    (tmp_path / "file").write_bytes(b"before")

    def half():
        with atomic_write(tmp_path / "file") as file:
            file.write(b"half")
            raise KeyError

    with pytest.raises(KeyError):
        half()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"file": b"before"}


def test_a_text_is_written_in_utf_8(tmp_path):
    write_text(tmp_path / "file", "Bär")
    assert (tmp_path / "file").read_bytes() == "Bär".encode()


def test_without_room_the_file_before_stays_and_the_error_names_it(tmp_path, file_size_limit):
    (tmp_path / "file").write_bytes(b"before")

    def too_much():
        with atomic_write(tmp_path / "file") as file:
            file.write(bytes(5000))

    with file_size_limit(1000), pytest.raises(OSError, match=rf"File too large: '{tmp_path}/file'"):
        too_much()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"file": b"before"}


def test_a_file_is_held_by_one_process_until_it_ends(tmp_path):
    script = "import sys, time; from pathlib import Path; from dip.files import locked\n"
    script += "with locked(Path(sys.argv[1])) as ours: print(ours, flush=True); time.sleep(60)"
    path = tmp_path / "log"
    with subprocess.Popen([sys.executable, "-c", script, path], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "True\n"
        with locked(path) as ours:
            assert not ours
        process.kill()
        process.wait()
        with locked(path) as ours:
            assert ours


@pytest.mark.parametrize("missing", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL])
def test_a_disk_without_locks_or_sync_is_written_to_all_the_same(tmp_path, monkeypatch, missing):
    def refused(*arguments):
        raise OSError(missing, os.strerror(missing))

    monkeypatch.setattr("fcntl.flock", refused)
    with locked(tmp_path / "log") as ours:
        assert ours
    monkeypatch.setattr("os.fsync", refused)
    if missing != errno.ENOLCK:  # which is of locks alone
        write_text(tmp_path / "file", "there")
        assert (tmp_path / "file").read_text() == "there"


def test_json_is_strict(tmp_path):
    write_json(tmp_path / "a.json", {"a": [math.nan, {"b": (-math.inf, 1.5)}], "c": None, "d": 2})
    found = json.loads((tmp_path / "a.json").read_text(), parse_constant=pytest.fail)
    assert found == {"a": [None, {"b": [None, 1.5]}], "c": None, "d": 2}

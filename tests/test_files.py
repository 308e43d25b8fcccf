import os
import subprocess
import sys

import pytest

from dip.files import atomic_write, locked, write_text


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

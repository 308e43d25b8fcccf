import sys

import pytest


@pytest.fixture
def fuzz_pictures(script):
    return script("lab/fuzz_pictures.py")


def test_broken_files_are_read_or_refused(fuzz_pictures, capsys):
    assert fuzz_pictures.fuzz(range(60), seed=1) == 0
    said = capsys.readouterr().out
    assert said.startswith("60 files: ")
    assert "read" in said
    assert "refused as broken" in said


def test_a_fault_is_counted_and_can_be_seen_again(fuzz_pictures, capsys, monkeypatch):
    def fails(content, rng):
        raise KeyError("not a ValueError")

    monkeypatch.setattr(fuzz_pictures, "broken", fails)
    monkeypatch.setattr(sys, "argv", ["fuzz_pictures.py", "--seed", "3", "--only", "12"])
    with pytest.raises(SystemExit):
        fuzz_pictures.main()
    said = capsys.readouterr().out
    assert "--seed 3 --only 12:\nTraceback" in said
    assert "1 files: 1 FAULT" in said

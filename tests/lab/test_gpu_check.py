import sys

import pytest


@pytest.mark.slow
def test_the_page_has_each_variant_of_the_step(script, tmp_path, monkeypatch, capsys):
    check = script("lab/gpu_check.py")
    options = ["--only", "steps", "--sizes", "64x64", "--variants", "b eager", "--steps", "1"]
    monkeypatch.setattr(sys, "argv", ["gpu_check.py", str(tmp_path / "page.md"), *options, "callbacks.images=null"])
    check.main()
    page = (tmp_path / "page.md").read_text()
    for row in ("a published |", "b eager |", "c real |"):
        assert page.count(f"| 64x64 | 32-true | {row}") == page.count(f"| 64x64 | bf16-mixed | {row}") == 1
    assert "## steps" in capsys.readouterr().out


def test_the_page_has_runs_and_refinement_of_each_device(script, tmp_path, monkeypatch):
    check = script("lab/gpu_check.py")
    tiny = ["trainer.max_steps=3", "data.example.width=64", "data.example.height=48", "refine.rounds=1"]
    options = ["--only", "refinement,recipes", "--sizes", "48x32", "--devices", "cpu", "--runs", "quick"]
    monkeypatch.setattr(sys, "argv", ["gpu_check.py", str(tmp_path / "page.md"), *options, *tiny])
    check.main()
    page = (tmp_path / "page.md").read_text()
    for row in ("| quick | cpu | 3 |", "| 48x32 | text | cpu |", "| 48x32 | half | cpu |"):
        assert row in page

import json
import subprocess
import sys

from conftest import REPOSITORY, TINY


def test_benchmark_times_all_three_in_turns(tmp_path):
    overrides = [key for key in TINY if not key.startswith("trainer.max_steps")]
    script = REPOSITORY / "scripts" / "benchmark.py"
    arguments = ["--size", "40x36", "--steps", "2", "--repeats", "3", "--json", tmp_path / "figures.json", *overrides]
    result = subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert {name: len(blocks) for name, blocks in figures["milliseconds"].items()} == {
        "a published": 3,
        "b bare": 3,
        "c real": 3,
    }
    assert "40x36 on cpu" in result.stdout
    assert "times (a)" in result.stdout

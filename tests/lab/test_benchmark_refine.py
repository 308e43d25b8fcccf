from pathlib import Path

import pytest
from forked import run_forked

SCRIPT = Path(__file__).parents[2] / "scripts" / "lab" / "benchmark_refine.py"


@pytest.fixture(scope="module")
def benchmark(script):
    return script("lab/benchmark_refine.py")


@pytest.mark.parametrize("kind", ["text", "half"])
def test_a_hole_is_refined_and_timed(benchmark, kind):
    assert 0.05 < 1 - benchmark.hole(kind, 40, 48).mean() < 0.6
    seconds, grown = benchmark.refine_once(kind, 48, 40, ["refine.rounds=1"])
    assert seconds > 0
    assert grown >= 0


@pytest.mark.slow
def test_its_table_has_a_line_for_each_size_and_hole(tmp_path):
    result = run_forked(SCRIPT, "--sizes", "40x32", "--repeats", "1", "refine.rounds=1", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    said = result.stdout
    assert "threads" in said.splitlines()[0]
    lines = [line for line in said.splitlines() if line.startswith("| 40x32 |")]
    assert [line.split(" | ")[1] for line in lines] == ["text", "half"]

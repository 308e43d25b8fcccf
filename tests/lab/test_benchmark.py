import json
import sys
from pathlib import Path

import pytest
import torch
from forked import run_forked

from dip.prior.nets.unet import UNet

SCRIPT = Path(__file__).parents[2] / "scripts" / "lab" / "benchmark.py"


@pytest.fixture
def ours(tiny):
    return [key for key in tiny if not key.startswith("trainer.max_steps")]


@pytest.fixture
def benchmark(tmp_path):
    """benchmark("--option", ...): what it printed, and the figures it wrote."""

    def run(*arguments):
        result = run_forked(SCRIPT, "--json", tmp_path / "figures.json", *arguments, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        return result.stdout, json.loads((tmp_path / "figures.json").read_text())

    return run


def test_the_published_network_is_the_unet_written_plainly(script):
    plain, ours = script("lab/benchmark.py").Published(), UNet(3, 3, 6, (16, 32, 64, 128, 128, 128))
    assert sum(parameter.numel() for parameter in plain.parameters()) == 3_923_491
    for ending in ("weight", "bias"):
        # Each goes through its levels in the same order, but lists its kinds of layers in its own.
        theirs, own = (
            [parameter for name, parameter in network.named_parameters() if name.endswith(ending)]
            for network in (plain, ours)
        )
        for there, here in zip(theirs, own, strict=True):
            here.data.copy_(there)
    picture = torch.rand(1, 3, 64, 128)
    torch.testing.assert_close(ours(picture), plain(picture), rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_all_three_are_timed_in_turns(benchmark, ours):
    printed, figures = benchmark("--size", "64x128", "--steps", "2", "--repeats", "3", *ours)
    assert {variant: len(blocks) for variant, blocks in figures["milliseconds"].items()} == {
        "a published": 3,
        "b bare": 3,
        "c real": 3,
    }
    assert figures["callbacks"].keys() >= {"Progress", "Images", "Animation", "Results"}
    assert figures["floor"]["gflop"] > 0
    assert "64x128 on cpu" in printed
    assert "times (a)" in printed
    if sys.platform == "linux":
        assert figures["bytes_per_pixel"].keys() == figures["milliseconds"].keys()


@pytest.mark.slow
def test_time_to_quality_follows_both_to_their_ends(benchmark, ours):
    printed, figures = benchmark(
        *("--quality", "--published-steps", "6", "--blocks", "3", "data.example.width=64", "data.example.height=64"),
        *("data.example.mask.words=A", "trainer.max_steps=3", *ours),
    )
    assert [step for step, _, _ in figures["curves"]["a published"]] == [0, 2, 4, 6]
    assert [step for step, _, _ in figures["curves"]["c real"]] == [0, 1, 2, 3]
    for curve in figures["curves"].values():
        seconds = [point[1] for point in curve]
        assert seconds == sorted(seconds)
    assert "(c) at its end" in printed


def test_a_size_that_the_published_network_cannot_draw_is_refused(script, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["benchmark.py", "--size", "100x64"])
    with pytest.raises(SystemExit) as ended:
        script("lab/benchmark.py").main()
    assert ended.value.code == 2
    assert "--size 100x64: " in capsys.readouterr().err

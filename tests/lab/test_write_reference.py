import re
import sys
from pathlib import Path

import pytest
from forked import run_forked
from omegaconf import DictConfig

from dip.config.compose import compose

REPOSITORY = Path(__file__).parents[2]
SCRIPT = REPOSITORY / "scripts" / "lab" / "write_reference.py"
PAGE = (REPOSITORY / "docs" / "reference" / "options.md").read_text()


@pytest.fixture(scope="module")
def reference(script):
    return script("lab/write_reference.py")


def leaves(cfg, above=""):
    """The full name of every key that has a value, without those for Hydra's `instantiate`."""
    for key in cfg:
        below = cfg._get_node(key)
        if isinstance(below, DictConfig) and not below._is_none():
            yield from leaves(below, f"{above}{key}.")
        elif key not in ("_target_", "_partial_"):
            yield f"{above}{key}"


def test_the_page_is_what_the_script_writes(reference):
    assert reference.write_page() == PAGE, "run python scripts/lab/write_reference.py"


def test_every_option_of_the_default_configuration_is_on_the_page():
    names = set(leaves(compose()))
    assert {"model.depth", "data.example.mask.font_size", "callbacks.progress.every_steps", "scheduler"} <= names
    assert not {name for name in names if f"\n| `{name}` |" not in PAGE and f"\n## `{name}`: " not in PAGE}


def test_every_option_says_what_it_does():
    for line in PAGE.splitlines():
        cells = re.split(r"(?<!\\)\|", line)[1:-1]
        assert len(cells) in (0, 3, 4), line
        assert not cells or (cells[0].strip() and cells[-1].strip()), line


def test_rows_have_default_type_range_and_meaning():
    assert "| `model.depth` | thin 2, large 6 | a whole number, at least 1 | levels; " in PAGE
    assert "| `optimizer.lr` | set by the recipe |" in PAGE
    assert "| `data.soft_mask` | `threshold` | one of threshold, weight |" in PAGE
    assert "| `stopping.patience_steps` | thin 300, large null | a whole number, at least 1, or null |" in PAGE
    assert "| `callbacks.progress.every_steps` | `10` |" in PAGE
    assert "### `penalty=colour_range` (default)" in PAGE  # by the default recipe
    assert "`members=4`, `by_hole.steps`: thin 1200, large 500, `by_hole.rounds`: thin 40, large 0 |" in PAGE


def test_a_cell_may_have_a_bar(reference):
    assert reference.table(("a",), [("x|y",)]) == "| a |\n| --- |\n| x\\|y |\n"


def test_check_says_in_one_line_that_the_page_is_out_of_date(reference, tmp_path, monkeypatch):
    assert run_forked(SCRIPT, "--check", cwd=tmp_path).returncode == 0
    monkeypatch.setattr(reference, "PAGE", tmp_path / "options.md")
    monkeypatch.setattr(sys, "argv", ["write_reference.py", "--check"])
    (tmp_path / "options.md").write_text("old")
    with pytest.raises(
        SystemExit, match=r"options\.md is out of date; python scripts/lab/write_reference\.py writes it"
    ):
        reference.main()
    assert (tmp_path / "options.md").read_text() == "old"
    monkeypatch.setattr(sys, "argv", ["write_reference.py"])
    reference.main()
    assert (tmp_path / "options.md").read_text() == PAGE

"""Replays every early stopping rule on the curves of an evaluation, and writes the result that each would have had.

    python scripts/lab/evaluate.py outputs/evaluate/rules stopping.patience_steps=100000 stopping.refit_share=0
    python scripts/lab/compare_rules.py outputs/evaluate/rules --patience 100,300,1000

The runs of the first command do all of trainer.max_steps. All rules are replayed on the same curves, so none refits,
and no network sees the held-out pixels. FOLDER/rules.md is a table by suite, rule and patience; FOLDER/rules.json has
every run.
"""

import argparse
import json
import statistics
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

from evaluate import numbers, rule_named

from dip.errors import UserError
from dip.files import write_json
from dip.training.stopping import Stopping

MUCH = 0.2  # dB below the oracle; a stop that loses more is wrong


class Run(NamedTuple):
    """A run that did all its steps, as in evaluation.json."""

    case: dict[str, Any]  # suite, picture, seed
    hole_kind: str
    quality: dict[int, float]  # PSNR of the hole in dB, by step
    scores: dict[str, list[tuple[int, float]]]  # (step, score), by rule


def runs(folder: Path) -> list[Run]:
    """The runs of an evaluation. Raises UserError where no rule can be replayed on them."""
    found = [run for path in sorted(folder.glob("*/*/seed_*/evaluation.json")) for run in read(path)]
    if not any(run.scores for run in found):
        raise UserError(f"{folder} holds no evaluation with scores of rules; scripts/lab/evaluate.py makes one")
    return found


def read(path: Path) -> Iterator[Run]:
    found = json.loads(path.read_text())
    case = {key: found[key] for key in ("suite", "picture", "seed")}
    if (ended := found["metrics"]["stopped_by"]) != "max_steps":
        raise UserError(f"{path.parent} was stopped by {ended}; evaluate again with stopping.patience_steps=100000")
    for run in found["runs"]:
        scores = {name: own for name, own in run["scores"].items() if own}
        if len({own[-1][0] for own in scores.values()}) > 1:
            raise UserError(f"{path.parent} learned what was held out; evaluate again with stopping.refit_share=0")
        yield Run(case, found["hole_kind"], dict(run["curve"]), scores)


def replay(rule: Stopping, scores: list[tuple[int, float]]) -> int | None:
    """The step after which the rule stops the run, or None; `rule.best_step` is then that of the state it returns."""
    for step, score in scores:
        rule.record(score, step)
        if rule.is_out_of_patience(step):
            return step
    return None


def judged(run: Run, rule: Stopping) -> dict[str, Any]:
    """The result of the run with this new rule. gap: from the best state (the oracle) to the returned one, in dB."""
    oracle, last = max(run.quality, key=lambda step: run.quality[step]), max(run.quality)
    stopped = replay(rule, run.scores[rule.name])
    gap = run.quality[oracle] - run.quality[rule.best_step]
    fell = run.quality[oracle] - run.quality[last]
    return {
        **run.case,
        **{"rule": rule.name, "patience_steps": rule.patience_steps, "stopped": stopped, "steps": stopped or last},
        **{"best_step": rule.best_step, "psnr_hole": run.quality[rule.best_step], "oracle_step": oracle},
        "gap": round(gap, 3),
        "false_alarm": stopped is not None and stopped < oracle and gap > MUCH,
        "missed_stop": (stopped is None and fell > MUCH) or (rule.best_step > oracle and gap > MUCH),
    }


def compared(found: list[Run], patiences: list[int]) -> list[dict[str, Any]]:
    """A row for each run, rule and patience. Raises UserError for a patience that a rule refuses."""
    names = dict.fromkeys(name for run in found for name in run.scores)
    rules = {
        (name, patience, kind): rule_named(name, f"stopping.patience_steps={patience}", f"hole_kind={kind}")
        for name in names
        for patience in patiences
        for kind in dict.fromkeys(run.hole_kind for run in found)
    }
    return [
        judged(run, deepcopy(rule))
        for (name, _, kind), rule in rules.items()
        for run in found
        if name in run.scores and kind == run.hole_kind
    ]


def markdown(rows: list[dict[str, Any]]) -> str:
    lines = [
        "Gap: from the best step of the same curve (the oracle) to the state that the rule returns, dB in the hole.",
        f"False alarm: stopped before the oracle, with a gap of more than {MUCH} dB. Missed stop: not stopped, and the",
        f"curve has fallen by more than {MUCH} dB at its end; or a state past the oracle with such a gap.",
        "",
        "| suite | rule | patience | runs | mean gap | worst gap | false alarms | missed stops | mean steps |",
        "|" + 9 * "---|",
    ]
    for suite in (*dict.fromkeys(row["suite"] for row in rows), None):
        for name, patience in dict.fromkeys((row["rule"], row["patience_steps"]) for row in rows):
            own = [row for row in rows if (row["rule"], row["patience_steps"]) == (name, patience)]
            within = [row for row in own if suite in (row["suite"], None)]
            if within:
                lines.append(line(within, suite or "**all**", name, patience))
    return "\n".join([*lines, ""])


def line(rows: list[dict[str, Any]], suite: str, name: str, patience: int) -> str:
    gaps = [row["gap"] for row in rows]
    wrong = [sum(row[key] for row in rows) for key in ("false_alarm", "missed_stop")]
    cells = [suite, name, patience, len(rows), f"{statistics.fmean(gaps):.2f}", f"{max(gaps):.2f}", *wrong]
    return "| " + " | ".join(map(str, [*cells, round(statistics.fmean(row["steps"] for row in rows))])) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of an evaluation whose runs did all their steps")
    parser.add_argument("--patience", type=numbers, default=[100, 300, 1000], help="steps (100,300,1000)")
    arguments = parser.parse_args()
    try:
        rows = compared(runs(arguments.folder), arguments.patience)
    except UserError as error:
        parser.error(str(error))
    write_json(arguments.folder / "rules.json", rows)
    (arguments.folder / "rules.md").write_text(markdown(rows))
    print(markdown(rows), end="")


if __name__ == "__main__":
    main()

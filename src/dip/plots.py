"""Plots for the report, as SVG that takes the colours of the text around it, in light and in dark."""

import io
import math
import re
from collections.abc import Sequence
from html import escape
from statistics import fmean, pstdev
from typing import Any, NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_hex
from matplotlib.figure import Figure

INK = "#010203"  # becomes the colour of the page's text
# Legible on white and on black, and in order also for eyes that tell red from green badly.
SCALE = LinearSegmentedColormap.from_list("scale", ["#1487dd", "#a866c9", "#e8622c"])
STYLE: dict[Any, Any] = {
    **{"font.size": 10, "svg.fonttype": "none", "svg.hashsalt": "dip"},
    **{"axes.spines.top": False, "axes.spines.right": False},
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK),
    **{"axes.grid": True, "grid.color": INK, "grid.alpha": 0.15, "legend.frameon": False, "lines.linewidth": 1.5},
}
MANY = 8  # values of a knob, above which they lie on an axis of numbers and share a legend's few lines


class Curve(NamedTuple):
    """One line of a plot; those of the same label have the same colour and one line in the legend."""

    label: str
    steps: Sequence[int]
    values: Sequence[float]


def learning(curves: Sequence[Curve], quality: str, baseline: float | None = None, log: bool = False) -> str:
    """Curves over the steps. baseline: a dashed level, the biharmonic one."""
    with matplotlib.rc_context(STYLE):
        figure, axes = panel("step", quality)
        labels = list(dict.fromkeys(curve.label for curve in curves))
        for label, colour in zip(labels, colours(len(labels)), strict=True):
            for curve in (curve for curve in curves if curve.label == label):
                axes.plot(curve.steps, curve.values, color=colour, label=label, marker="." if alone(curve) else None)
        if baseline is not None:
            axes.axhline(baseline, color=INK, linestyle="--", linewidth=1, label="biharmonic")
        if log:
            axes.set_yscale("log")
        legend(axes)
        return svg(figure, f"{quality} over the steps: {', '.join(labels)}")


def alone(curve: Curve) -> bool:
    return len(curve.steps) == 1


def effect(values: Sequence[Any], results: Sequence[float], knob: str, quality: str) -> str:
    """What each value of a knob results in: every run a dot, and mean and standard deviation of the value."""
    with matplotlib.rc_context(STYLE):
        figure, axes = panel(knob, quality)
        kinds = list(dict.fromkeys(values))
        if len(kinds) > MANY and all(isinstance(kind, int | float) for kind in kinds):
            axes.plot(values, results, "o", color=to_hex(SCALE(0.0)), alpha=0.7)
            if min(kinds) > 0 and max(kinds) / min(kinds) > 30:
                axes.set_xscale("log")
            return svg(figure, f"{quality} over {knob}")
        for place, (kind, colour) in enumerate(zip(kinds, colours(len(kinds)), strict=True)):
            own = [result for value, result in zip(values, results, strict=True) if value == kind]
            axes.plot([place] * len(own), own, "o", color=colour, alpha=0.5, markeredgewidth=0)
            axes.errorbar(place + 0.15, fmean(own), pstdev(own), color=colour, marker="D", capsize=4)
        axes.set_xticks(range(len(kinds)), [shown(kind) for kind in kinds], **slanted(kinds))
        axes.set_xlim(-0.5, len(kinds) - 0.35)
        return svg(figure, f"{quality} for each value of {knob}")


def slanted(kinds: Sequence[Any]) -> dict[str, Any]:
    """Labels that would run into each other are turned."""
    return {"rotation": 30, "ha": "right"} if sum(len(shown(kind)) + 2 for kind in kinds) > 46 else {}


def shown(value: Any) -> str:
    text = str(value)
    short = text if len(text) <= 24 else f"{text[:23]}…"
    return short.replace("$", r"\$")  # which would begin a formula


def panel(across: str, up: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(4.8, 3.2), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    axes.margins(y=0.08)
    return figure, axes


def colours(number: int) -> list[str]:
    return [to_hex(SCALE(place / max(number - 1, 1))) for place in range(number)]


def legend(axes: Axes) -> None:
    """One line for each label; of many only some, which show the order."""
    handles, labels = axes.get_legend_handles_labels()
    first = {label: handle for handle, label in reversed(list(zip(handles, labels, strict=True)))}
    each = [label for label in dict.fromkeys(labels) if label]
    kept = each[:: math.ceil(len(each) / MANY)] if each else []
    if kept:
        columns = max(1, min(len(kept), 46 // (max(len(shown(label)) for label in kept) + 5)))
        axes.figure.legend(
            [first[label] for label in kept], [shown(label) for label in kept], loc="outside upper left", ncols=columns
        )


def svg(figure: Figure, said: str) -> str:
    """The figure as an element of HTML, without a size of its own; `said` is for those who do not see it."""
    file = io.StringIO()
    figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    drawn = file.getvalue()
    _, _, inner = drawn[drawn.index("<svg") :].partition(">")
    width, height = (72 * inches for inches in figure.get_size_inches())
    # The names of groups are the same in each figure, and nothing refers to them.
    opened = f'<svg role="img" aria-label="{escape(said)}" viewBox="0 0 {width:g} {height:g}">'
    return opened + re.sub(r'<g id="[^"]*"', "<g", inner).replace(INK, "currentColor")

"""Plots: SVG that takes the colour of the page's text, in light and in dark."""

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
# Legible on white and on black, and ordered also for red-green colour blindness.
SCALE = LinearSegmentedColormap.from_list("scale", ["#1487dd", "#a866c9", "#e8622c"])
STYLE: dict[Any, Any] = {
    **{"figure.figsize": (4.8, 3.2), "figure.constrained_layout.use": True, "axes.ymargin": 0.08},
    **{"font.size": 10, "svg.fonttype": "none", "svg.hashsalt": "dip"},
    **{"axes.spines.top": False, "axes.spines.right": False},
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK),
    **{"axes.grid": True, "grid.color": INK, "grid.alpha": 0.15, "legend.frameon": False, "lines.linewidth": 1.5},
}
MANY = 8  # above so many values of an option, the axis is numeric and the legend lists only some


class Curve(NamedTuple):
    """One line of a plot; lines of the same label share their colour and their entry in the legend."""

    label: str
    steps: Sequence[int]
    values: Sequence[float]


@matplotlib.rc_context(STYLE)
def learning(curves: Sequence[Curve], quality: str, baseline: float | None = None, log: bool = False) -> str:
    """Learning curves over the steps. baseline: the level of biharmonic inpainting, drawn dashed."""
    figure = Figure()
    axes = figure.add_subplot(xlabel="step", ylabel=quality)
    labels = list(dict.fromkeys(curve.label for curve in curves))
    for label, colour in zip(labels, colours(len(labels)), strict=True):
        for curve in (curve for curve in curves if curve.label == label):
            marker = "." if len(curve.steps) == 1 else None
            axes.plot(curve.steps, curve.values, color=colour, label=label, marker=marker)
    if baseline is not None:
        axes.axhline(baseline, color=INK, linestyle="--", linewidth=1, label="biharmonic")
    if log:
        axes.set_yscale("log")
    legend(axes)
    return svg(figure, f"{quality} over the steps: {', '.join(labels)}")


@matplotlib.rc_context(STYLE)
def effect(values: Sequence[Any], results: Sequence[float], option: str, quality: str) -> str:
    """What each value of an option results in: each run is a dot, beside the mean and standard deviation."""
    figure = Figure()
    axes = figure.add_subplot(xlabel=option, ylabel=quality)
    kinds = list(dict.fromkeys(values))
    if len(kinds) > MANY and all(isinstance(kind, int | float) for kind in kinds):
        axes.plot(values, results, "o", color=to_hex(SCALE(0.0)), alpha=0.7)
        if min(kinds) > 0 and max(kinds) / min(kinds) > 30:
            axes.set_xscale("log")
        return svg(figure, f"{quality} over {option}")
    for place, (kind, colour) in enumerate(zip(kinds, colours(len(kinds)), strict=True)):
        own = [result for value, result in zip(values, results, strict=True) if value == kind]
        axes.plot([place] * len(own), own, "o", color=colour, alpha=0.5, markeredgewidth=0)
        axes.errorbar(place + 0.15, fmean(own), pstdev(own), color=colour, marker="D", capsize=4)
    ticks = [shorten(kind) for kind in kinds]
    overlap = sum(len(tick) + 2 for tick in ticks) > 46
    axes.set_xticks(range(len(kinds)), ticks, **({"rotation": 30, "ha": "right"} if overlap else {}))
    axes.set_xlim(-0.5, len(kinds) - 0.35)
    return svg(figure, f"{quality} for each value of {option}")


def shorten(value: Any) -> str:
    text = str(value)
    short = text if len(text) <= 24 else f"{text[:23]}…"
    return short.replace("$", r"\$")  # which would begin a formula


def colours(number: int) -> list[str]:
    return [to_hex(SCALE(place / max(number - 1, 1))) for place in range(number)]


def legend(axes: Axes) -> None:
    """One entry for each label; only some of many, enough to show the order."""
    entries: dict[str, Any] = {}
    for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
        entries.setdefault(label, handle)
    if entries:
        kept = list(entries)[:: math.ceil(len(entries) / MANY)]
        texts = [shorten(label) for label in kept]
        columns = max(1, min(len(kept), 46 // (max(map(len, texts)) + 5)))
        axes.figure.legend([entries[label] for label in kept], texts, loc="outside upper left", ncols=columns)


def svg(figure: Figure, label: str) -> str:
    """The figure as an element of HTML without a size of its own; `label` is what a screen reader says."""
    file = io.StringIO()
    figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    drawn = file.getvalue()
    _, _, inner = drawn[drawn.index("<svg") :].partition(">")
    width, height = (72 * inches for inches in figure.get_size_inches())
    # The ids of groups repeat from figure to figure, and nothing refers to them.
    opened = f'<svg role="img" aria-label="{escape(label)}" viewBox="0 0 {width:g} {height:g}">'
    return opened + re.sub(r'<g id="[^"]*"', "<g", inner).replace(INK, "currentColor")

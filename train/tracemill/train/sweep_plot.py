"""The picture of a sweep: the scores of every point, best on top, with those of its seeds.

In: ranked points, and what the base scored where that is known. Out: SVG text, the same for the same numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import StringIO
from typing import Any, cast

from tracemill.train.curves import CHOSEN, INK, STYLE, TRAIN, VALID
from tracemill.train.sweep import Point

LOST = "#b07d12"


def picture(points: Sequence[Point], base: float | None) -> str:
    """A line a point: a dot a seed, the mean and its interval; what lost general ability stands out."""
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    shown = [point for point in points if not point.failed]
    with mpl.rc_context(cast(Any, {**STYLE, "svg.hashsalt": "sweep"})):
        figure = Figure(figsize=(8, 1.2 + 0.32 * len(shown)), layout="constrained", facecolor="white")
        axes = figure.subplots()
        for at, point in enumerate(shown):
            colour = VALID if point.guarded else LOST
            axes.scatter(
                [run.score for run in point.runs], [at] * len(point.runs), s=14, color=TRAIN, zorder=2
            )
            if point.interval:
                axes.plot(point.interval, (at, at), color=colour, linewidth=1.2, zorder=1)
            axes.scatter(
                [point.mean or 0.0], [at], s=42, marker="D", color=CHOSEN if at == 0 else colour, zorder=3
            )
        if base is not None:
            axes.axvline(base, color=INK, linewidth=0.8, linestyle=":")
            axes.annotate(
                "base", (base, 1), xycoords=("data", "axes fraction"), size=9,
                xytext=(3, -10), textcoords="offset points",
            )  # fmt: skip
        labels = [told(point.knobs) + ("" if point.guarded else " (general ability lost)") for point in shown]
        axes.set_yticks(range(len(shown)), labels)
        axes.set_ylim(len(shown) - 0.5, -0.5)
        axes.set_xlim(-0.03, 1.03)
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        figure.supxlabel(
            "exact tool calls on valid: mean over seeds (diamond), its 95% interval, each seed (dot)", size=10
        )
        file = StringIO()
        figure.savefig(file, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return file.getvalue()


def told(knobs: Mapping[str, Any]) -> str:
    """Knobs in one line, such as `learning_rate 0.0001, rank 8`."""
    return ", ".join(f"{key} {value_told(value)}" for key, value in knobs.items())


def value_told(value: object) -> str:
    """A value of a knob, short."""
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, list):
        return "+".join(str(one) for one in cast(list[object], value))
    return str(value)

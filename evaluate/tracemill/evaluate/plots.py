"""The pictures of a report, as SVG text to stand inside the page.

In: a comparison, and the curve of a training run. Out: `<svg>` elements that are the same text for the same
numbers, refer to nothing outside, and take their colours from the page's CSS variables, so that they follow
its light and dark form.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from textwrap import shorten
from typing import Any, cast

from tracemill.evaluate.comparison import Comparison
from tracemill.evaluate.statistics import Interval

# matplotlib knows no CSS variables: it draws with these colours, which are then replaced by the variables.
INK, MUTED, LINE, BASE, ADAPTER, PANEL = "#010101", "#020202", "#030303", "#040404", "#050505", "#060606"
VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    LINE: "--line",
    BASE: "--base",
    ADAPTER: "--adapter",
    PANEL: "--panel",
}
STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
}


@dataclass(frozen=True)
class Curve:
    """A training run: loss in nats a token for every step, score of every checkpoint, and the step chosen."""

    losses: Sequence[float]
    scores: Sequence[tuple[int, float]]
    best_step: int


def accuracy_plot(comparison: Comparison) -> str:
    """Share right with its 95% interval, base beside adapter: all calls, each category, direct answers."""
    groups = [comparison.calls, *comparison.categories]
    groups += [comparison.direct] if comparison.direct else []
    names = [f"{shorten(group.name, 30, placeholder='…')} ({group.n})" for group in groups]
    with _axes("accuracy", 6.4, 0.6 + 0.42 * len(groups)) as (axes, done):
        for row, group in enumerate(groups):
            _dot(axes, row - 0.14, group.base, BASE, filled=False)
            _dot(axes, row + 0.14, group.adapter, ADAPTER, filled=True)
        _rows(axes, names)
        axes.axhline(0.5, color=LINE, linewidth=0.8)
        axes.set_xlim(-2, 102)
        axes.set_xticks(range(0, 101, 20), [f"{tick}%" for tick in range(0, 101, 20)])
        axes.grid(axis="x")
    return done()


def failure_plot(comparison: Comparison) -> str:
    """How often each thing went wrong, base beside adapter."""
    counts = comparison.failures or {"nothing went wrong": (0, 0)}
    with _axes("failures", 4.6, 0.6 + 0.42 * len(counts)) as (axes, done):
        for row, (base, adapter) in enumerate(counts.values()):
            for offset, count, color in ((-0.19, base, BASE), (0.19, adapter, ADAPTER)):
                axes.barh(row + offset, count, 0.34, color=color)
                axes.annotate(
                    str(count),
                    (count, row + offset),
                    (4, 0),
                    textcoords="offset points",
                    va="center",
                    size=9,
                    color=MUTED,
                )
        _rows(axes, [word.replace("-", " ") for word in counts])
        axes.set_xlim(0, max(1, *(max(pair) for pair in counts.values())) * 1.1)
        axes.set_xticks([])
    return done()


def curve_plot(curve: Curve) -> str:
    """Training loss by step, and the score of each checkpoint on its own axis; the chosen one is filled."""
    with _axes("curve", 11.4, 2.5) as (axes, done):
        axes.plot(range(1, len(curve.losses) + 1), curve.losses, color=BASE, linewidth=1.2)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("step")
        axes.set_ylabel("loss (nats per token)")
        axes.tick_params(axis="y", labelcolor=MUTED, length=0)
        axes.grid(axis="y")
        if curve.scores:
            scores = axes.twinx()
            scores.plot(*zip(*curve.scores, strict=True), color=ADAPTER, linewidth=1.2)
            for step, value in curve.scores:
                chosen = ADAPTER if step == curve.best_step else PANEL
                scores.plot(step, value, "o", color=ADAPTER, markerfacecolor=chosen, markersize=6)
            scores.set_ylim(0, max(1.0, *(value for _, value in curve.scores)) * 1.05)
            scores.set_ylabel("checkpoint score", color=ADAPTER)
            scores.tick_params(axis="y", labelcolor=ADAPTER, length=0)
    return done()


def _dot(axes: Any, height: float, share: Interval, color: str, *, filled: bool) -> None:
    axes.plot([100 * share.low, 100 * share.high], [height, height], color=color, linewidth=1.6)
    axes.plot(
        100 * share.estimate,
        height,
        "o",
        color=color,
        markersize=6.5,
        markerfacecolor=color if filled else PANEL,
    )


def _rows(axes: Any, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(length=0)


@contextmanager
def _axes(name: str, width: float, height: float) -> Generator[tuple[Any, Callable[[], str]]]:
    """Axes of a figure of `width` x `height` inches, and what gives its SVG once the block has ended."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    texts: list[str] = []
    with mpl.rc_context(cast(Any, {**STYLE, "svg.hashsalt": name})):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure.subplots(), lambda: texts[0]
        file = StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(file, format="svg", transparent=True, metadata=nothing)
        texts.append(_inline(file.getvalue(), name))


def _inline(svg: str, name: str) -> str:
    """The `<svg>` element alone, with CSS variables for colours, and ids that no other picture has."""
    svg = svg[svg.index("<svg") :]
    for color, variable in VARIABLES.items():
        svg = re.sub(rf"(fill|stroke): {color}\b", rf"\1: var({variable})", svg)
    svg = re.sub(r' id="|href="#|url\(#', lambda found: f"{found.group()}{name}-", svg)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{name}" ', 1)

"""The pictures of a report, as SVG text to stand inside the page.

In: a comparison, results, the guard, a training's curve. Out: `<svg>` elements that are the same text
for the same numbers, refer to nothing outside, and take their colours from the page's CSS variables, so that
they follow its light and dark form.
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
from tracemill.evaluate.guard.run import tally_guard
from tracemill.evaluate.guard.verdict import GuardComparison
from tracemill.evaluate.holdout import ItemResult
from tracemill.evaluate.report_items import group_of, turn_text
from tracemill.evaluate.statistics import Interval

# matplotlib knows no CSS variables: it draws with these colours, which are then replaced by the variables.
INK, MUTED, LINE, BASE, ADAPTER, PANEL = "#010101", "#020202", "#030303", "#040404", "#050505", "#060606"
RIGHT, WRONG = "#070707", "#080808"
VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    LINE: "--line",
    BASE: "--base",
    ADAPTER: "--adapter",
    PANEL: "--panel",
    RIGHT: "--right",
    WRONG: "--wrong",
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


MOST_POINTS = 400
"""Items drawn one by one; of more than these, every second or third."""


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
    shown = [(group.name, group.n, group.base, group.adapter) for group in groups]
    return _shares("accuracy", shown, apart=1)


def guard_plot(guard: GuardComparison) -> str:
    """What base and adapter can do in general: shares right, and of text the inverse perplexity."""
    pairs = zip(tally_guard(guard.base), tally_guard(guard.adapter), strict=True)
    return _shares("guard", [(one.name, one.n, one.share, other.share) for one, other in pairs])


def flips_plot(base: Sequence[ItemResult], adapter: Sequence[ItemResult]) -> str:
    """By category how many items are right with the adapter alone (right), or with the base alone (left)."""
    counts: dict[str, tuple[int, int]] = {}
    for one, other in zip(base, adapter, strict=True):
        gained, lost = counts.get(group_of(one), (0, 0))
        right = (one.score.right, other.score.right)
        counts[group_of(one)] = (gained + (right == (False, True)), lost + (right == (True, False)))
    ordered = dict(sorted(counts.items()))
    most = max(1, *(max(pair) for pair in ordered.values()))
    with _axes("flips", 6.4, 0.6 + 0.36 * len(ordered)) as (axes, done):
        for row, (gained, lost) in enumerate(ordered.values()):
            for count, sign, color in ((gained, 1, RIGHT), (lost, -1, WRONG)):
                axes.barh(row, sign * count, 0.56, color=color)
                text = f"{'+' if sign > 0 else '−'}{count}" if count else "0"
                axes.annotate(
                    text, (sign * count, row), (4 * sign, 0), textcoords="offset points", va="center",
                    ha="left" if sign > 0 else "right", size=9, color=MUTED,
                )  # fmt: skip
        _rows(axes, [shorten(name, 30, placeholder="…") for name in ordered])
        axes.axvline(0, color=LINE, linewidth=0.8)
        axes.set_xlim(-1.2 * most, 1.2 * most)
        axes.set_xticks([])
    return done()


def length_plot(base: Sequence[ItemResult], adapter: Sequence[ItemResult]) -> str:
    """How long each completion is against what was expected, in characters; on the line both are the same."""
    step = -(-len(base) // MOST_POINTS)
    longest = 10
    with _axes("lengths", 4.6, 3.6) as (axes, done):
        for results, color, filled in ((base, BASE, False), (adapter, ADAPTER, True)):
            points = [lengths(one) for one in results[::step]]
            longest = max(longest, *(max(pair) for pair in points))
            axes.plot(
                [max(due, 1) for due, _ in points], [max(got, 1) for _, got in points], "o", color=color,
                markersize=3.6, markerfacecolor=color if filled else "none", alpha=0.7, linestyle="none",
            )  # fmt: skip
        axes.plot([1, 2 * longest], [1, 2 * longest], color=LINE, linewidth=1.0)
        axes.set_xscale("log")
        axes.set_yscale("log")
        ticks = [10**power for power in range(len(str(longest)) + 1) if 10**power <= 2 * longest]
        for set_ticks in (axes.set_xticks, axes.set_yticks):
            set_ticks(ticks, [f"{tick:,}" for tick in ticks])
            set_ticks([], minor=True)
        axes.set_xlabel("characters expected")
        axes.set_ylabel("characters written")
        axes.tick_params(axis="y", labelcolor=MUTED)
        axes.tick_params(length=0)
        axes.grid()
    return done()


def lengths(result: ItemResult) -> tuple[int, int]:
    """Characters of what was expected and of what was written."""
    return len(turn_text(result.item.expected)), len(result.text)


def _shares(name: str, groups: Sequence[tuple[str, int, Interval, Interval]], apart: int = 0) -> str:
    """A row for each (name, number, base, adapter): two shares, 0..1, each with its interval.

    A line keeps the first rows, so many of them, `apart` from the rest.
    """
    names = [f"{shorten(group, 30, placeholder='…')} ({n})" for group, n, _, _ in groups]
    with _axes(name, 6.4, 0.6 + 0.42 * len(groups)) as (axes, done):
        for row, (_, _, base, adapter) in enumerate(groups):
            _dot(axes, row - 0.14, base, BASE, filled=False)
            _dot(axes, row + 0.14, adapter, ADAPTER, filled=True)
        _rows(axes, names)
        if apart:
            axes.axhline(apart - 0.5, color=LINE, linewidth=0.8)
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

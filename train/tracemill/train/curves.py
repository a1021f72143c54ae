"""The picture of a training run: loss, accuracy and general ability by step, and the checkpoint kept.

In: the losses of every step and the checkpoints. Out: SVG text, the same for the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import StringIO
from typing import Any, cast

from tracemill.train.choice import Checkpoint, Judged

INK, GRID, TRAIN, VALID, CHOSEN = "#333333", "#dddddd", "#8aa4c8", "#1f4e8c", "#c0392b"
GUARD = ("#2a7f62", "#b07d12", "#7d5ba6", "#5f6b6d")
PREFERRED = "preference accuracy"
"""What `preference.py` calls the share of pairs in which the model prefers what was chosen."""
STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "curves",
    "text.parse_math": False,
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": GRID,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": GRID,
    "legend.frameon": False,
    "legend.fontsize": 9,
}


def curves(
    losses: Sequence[float],
    base: Judged | None,
    found: Sequence[Checkpoint],
    chosen: int,
    allowed: float | None,
    unit: str = "token",
) -> str:
    """One panel each for loss, preferences, exact tool calls and what is left of the guard.

    Training loss is one point a step, validation loss one a checkpoint, both in nats per `unit`; `chosen` is
    the step kept, `allowed` the share of the guard that a checkpoint may lose. A panel of which nothing was
    measured is left out.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    points = ([Checkpoint(0, base)] if base else []) + list(found)
    scored = [(one.step, one.judged.score) for one in points if one.judged.score is not None]
    guard = [name for name, worth in base.guard.items() if worth > 0] if base else []
    preferred = [(one.step, one.figures[PREFERRED]) for one in found if PREFERRED in one.figures]
    measured = {"preferred": preferred, "calls": scored, "guard": guard}
    panels = ["loss", *(name for name, some in measured.items() if some)]
    with mpl.rc_context(cast(Any, STYLE)):
        figure = Figure(figsize=(8, 2.4 * len(panels)), layout="constrained", facecolor="white")
        axes = dict(zip(panels, figure.subplots(len(panels), sharex=True, squeeze=False)[:, 0], strict=True))
        _losses(axes["loss"], losses, found, unit)
        if preferred:
            axes["preferred"].plot(*zip(*preferred, strict=True), "o-", color=VALID, markersize=4)
            axes["preferred"].set_ylim(-0.03, 1.03)
            axes["preferred"].set_ylabel("chosen preferred")
        if scored:
            axes["calls"].plot(*zip(*scored, strict=True), "o-", color=VALID, markersize=4)
            axes["calls"].set_ylim(-0.03, 1.03)
            axes["calls"].set_ylabel("exact tool calls")
        if guard and base:
            _guard(axes["guard"], guard, base, points, allowed)
        for name, panel in axes.items():
            panel.axvline(chosen, color=CHOSEN, linewidth=1, linestyle="--")
            if name != "loss":
                panel.yaxis.set_major_formatter(PercentFormatter(1))
        axes["loss"].annotate(
            f"step {chosen} kept", (chosen, 1), xycoords=("data", "axes fraction"), color=CHOSEN,
            xytext=(-4, -10), textcoords="offset points", ha="right", size=9,
        )  # fmt: skip
        axes[panels[-1]].set_xlabel("step")
        file = StringIO()
        figure.savefig(file, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return file.getvalue()


def _losses(axes: Any, losses: Sequence[float], found: Sequence[Checkpoint], unit: str) -> None:
    axes.plot(range(1, len(losses) + 1), losses, color=TRAIN, linewidth=1, label="train")
    valid = [(one.step, one.valid_loss) for one in found if one.valid_loss is not None]
    if valid:
        axes.plot(*zip(*valid, strict=True), "o-", color=VALID, markersize=4, label="valid")
    axes.set_ylim(bottom=0)
    axes.set_ylabel(f"loss (nats per {unit})")
    axes.legend(loc="upper right")


def _guard(
    axes: Any, names: Sequence[str], base: Judged, points: Sequence[Checkpoint], allowed: float | None
) -> None:
    for at, name in enumerate(names):
        left = [
            (one.step, one.judged.guard[name] / base.guard[name])
            for one in points
            if name in one.judged.guard
        ]
        axes.plot(*zip(*left, strict=True), "o-", color=GUARD[at % len(GUARD)], markersize=4, label=name)
    if allowed is not None:
        axes.axhline(1 - allowed, color=INK, linewidth=0.8, linestyle=":")
    axes.set_ylim(bottom=0)
    axes.set_ylabel("share of the base's")
    axes.legend(loc="lower left")

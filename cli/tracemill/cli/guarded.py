"""`tracemill evaluate --suite guard`: what a model can do in general, and what an adapter lost of it.

In: a base model, a size and maybe an adapter. Out: a table, and for an adapter the verdict.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from tracemill.cli import output

if TYPE_CHECKING:
    from tracemill.evaluate.guard.items import Size
    from tracemill.evaluate.guard.run import GuardResults
    from tracemill.evaluate.guard.verdict import GuardComparison, GuardVerdict
    from tracemill.evaluate.statistics import Interval
    from tracemill.tracer.home import Home
    from tracemill.train.adapter import Adapter


def guard(home: Home, model: str, adapter: Adapter | None, size: Size, as_json: bool) -> None:
    """Ask the base, and the adapter if there is one, what the guard asks. The BLAS must be active."""
    from tracemill.evaluate.guard.recall import guard_against_base, guard_once
    from tracemill.train.base import resolve

    with output.progress() as progress:
        base = resolve(model, home, progress)
        found = guard_against_base(home, size, base, adapter, progress) if adapter else None
        before = found.base if found else guard_once(home, size, base, None, progress)
    show_notes(found or before)
    if as_json:
        output.emit_json(_plain(before, found))
    elif found is None:
        _show(before)
    else:
        show_verdict(size, found.verdict)


def _show(results: GuardResults) -> None:
    from tracemill.evaluate.guard.run import tally_guard

    output.table(
        (f"guard/{results.size}", "items", "right", "share", "95% interval"),
        [
            (
                one.name,
                one.n,
                "" if one.right is None else one.right,
                f"{one.share.estimate:.3f}",
                f"{one.share.low:.3f} to {one.share.high:.3f}",
            )
            for one in tally_guard(results)
        ],
    )
    output.say("Of text: the inverse of the perplexity, 0 to 1.")


def show_notes(found: GuardComparison | GuardResults) -> None:
    """Say on standard error what was left out of the guard, also beside JSON."""
    for note in found.notes:
        output.hint(note)


def hint_unasked(model: str, adapter: str) -> None:
    """Say on standard error that no verdict on `adapter` knows what became of general ability."""
    output.hint(
        f"Nobody asked what {Path(adapter).name} lost of general ability, so the verdict does not know it: "
        f"`tracemill evaluate {model} --adapter {adapter} --suite guard` asks."
    )


def show_verdict(size: Size, verdict: GuardVerdict) -> None:
    """Print what changed by category, and whether that is too much."""
    output.table(
        (f"guard/{size}", "items", "base", "adapter", "change, %", "gained", "lost", ""),
        [
            (
                one.name,
                one.n,
                f"{one.base:.3f}",
                f"{one.adapter:.3f}",
                _range(one.change),
                one.gained,
                one.lost,
                "too much" if one.blocks else "",
            )
            for one in verdict.changes
        ],
    )
    output.say(f"{'kept' if verdict.kept else 'lost'}: {verdict.reason}", style="bold")


def _range(change: Interval) -> str:
    return f"{100 * change.estimate:+.1f} ({100 * change.low:+.1f} to {100 * change.high:+.1f})"


def _plain(before: GuardResults, found: GuardComparison | None) -> dict[str, object]:
    from tracemill.evaluate.guard.run import tally_guard

    def one(results: GuardResults) -> dict[str, object]:
        return {
            "shares": [asdict(tally) for tally in tally_guard(results)],
            "items": [item.asdict() for item in results.answers],
            "texts": [text.asdict() for text in results.texts],
            "notes": results.notes,
        }

    return {
        "suite": f"guard/{before.size}",
        "base": one(before),
        "adapter": one(found.adapter) if found else None,
        "notes": found.notes if found else before.notes,
        "verdict": asdict(found.verdict) if found else None,
    }

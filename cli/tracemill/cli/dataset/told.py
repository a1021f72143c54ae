"""What several subcommands say of a data set that they made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tracemill.cli import output

if TYPE_CHECKING:
    from tracemill.curate.datasets.made import Written
    from tracemill.curate.leaks import Kind


def summary(written: Written) -> dict[str, Any]:
    """What was written, for --json."""
    made = written.made
    return {
        "folder": written.folder,
        "reused": written.reused,
        "sources": {source.name: source.rows for source in made.sources},
        "splits": made.splits,
        "dropped": written.reasons,
    }


def show_written(written: Written) -> None:
    """Print where rows come from, what was left out and why, the splits and the folder."""
    made = written.made
    left = Counter(written.per_source)
    output.table(
        ("data set", "rows read", "left out", "written"),
        [(one.name, one.rows, left[one.name], one.rows - left[one.name]) for one in made.sources],
    )
    if written.reasons:
        output.table(("left out because", "rows"), written.reasons.items())
    output.table(("split", "rows"), made.splits.items())
    output.say(f"{written.folder}{' (it was there already)' if written.reused else ''}")


def told_leaks(counts: Mapping[str, int] | Mapping[Kind, int]) -> str:
    """One sentence on what stands in several splits: how many leaks there are of each kind."""
    leaks = {kind: count for kind, count in counts.items() if count}
    if not leaks:
        return "No session, task, prompt or near copy stands in two splits."
    listed = ", ".join(f"{kind} {count}" for kind, count in leaks.items())
    return f"In several splits stand: {listed}."

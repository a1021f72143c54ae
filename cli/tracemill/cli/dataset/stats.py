"""`tracemill dataset stats`: what is in a data set, in numbers."""

from __future__ import annotations

from tracemill.cli import output
from tracemill.cli.dataset.words import AsJson, Data


def stats(data: Data, as_json: AsJson = False) -> None:
    """Count rows, turns, tool calls, lengths, wire formats and prompts of a data set."""
    from tracemill.curate.datasets.facts import scan
    from tracemill.curate.datasets.opened import find
    from tracemill.curate.datasets.stats import stats as count
    from tracemill.tracer.home import Home

    with output.progress() as progress:
        found = count(scan(find(data, Home.find()), progress))
    if as_json:
        output.emit_json(found)
        return
    output.table(
        ("split", "rows", "turns", "calls"),
        [(split, *counts.values()) for split, counts in found["splits"].items()],
    )

"""What `tracemill train --estimate` says: how long, how much memory, and whether to start.

In: an `Estimate`. Out: a table and lines.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracemill.cli import output

if TYPE_CHECKING:
    from tracemill.train.estimate import Estimate

WORDS = {"go": "go", "usable": "usable", "smaller": "pick a smaller model"}


def show_estimate(found: Estimate, runs: int) -> None:
    """Print what one of `runs` runs takes, and all of them."""
    from tracemill.train.estimate import duration

    output.table(
        ("sequences of a step", "tokens", "seconds"),
        [(one.sequences, one.tokens, one.seconds) for one in found.timed],
    )
    memory = f"peak memory {found.peak_bytes / 1e9:.1f} GB"
    if found.free_bytes is not None:
        memory += f"; {found.free_bytes / 1e9:.1f} GB are free"
    output.say(f"{duration(found.seconds_per_step)} a step, {found.tokens_per_second:.0f} tokens a second")
    output.say(memory)
    if found.prepare_seconds >= 1:
        output.say(
            f"{duration(found.prepare_seconds)} before the first step, for the layers that do not learn"
        )
    output.say(f"{duration(found.total_seconds)} in all" + (f", {runs} times" if runs > 1 else ""))
    output.say(f"{WORDS[found.advice]}: {found.reason}", style="bold")
    output.hint(
        "Measured on this machine, as busy as it is now. Scored was the base, which writes more than a model "
        "that has learned; and training may stop earlier."
    )

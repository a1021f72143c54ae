"""The adapter that is promoted, held against the one that a turn of the loop made.

In: the home and a `Turn`. Out: a `Rival` with the verdict on the new adapter against the promoted one, both
on the turn's held-out split; or why nobody could compare the two.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tracemill.cli import output

if TYPE_CHECKING:
    from tracemill.cli.loop import Turn
    from tracemill.evaluate.verdict import Verdict
    from tracemill.tracer.home import Home


@dataclass(frozen=True)
class Rival:
    """What is promoted, and the verdict on the new adapter against it; `unasked` says why there is none."""

    name: str
    verdict: Verdict | None = None
    unasked: str = ""

    @property
    def told(self) -> str:
        """What came of it, as a sentence."""
        if self.verdict is None:
            return f"Nobody compared it with {self.name}, promoted so far: {self.unasked}"
        return f"Against {self.name}, promoted so far, it is {self.verdict.word}: {self.verdict.reason}"

    def plain(self) -> dict[str, Any]:
        """What JSON says of it."""
        return {
            "adapter": self.name,
            "verdict": asdict(self.verdict) if self.verdict else None,
            "not_compared_because": self.unasked or None,
        }


def against_promoted(home: Home, made: Turn) -> Rival | None:
    """The adapter of `made` against the promoted one on the same items; None where no other is promoted."""
    from tracemill.evaluate.comparison import compare
    from tracemill.evaluate.recall import score_once
    from tracemill.tracer.errors import TracemillError
    from tracemill.train.promotion import current, history, promoted

    step = current(history(home))
    if step is None or not step.adapter or step.weights_sha256 == made.made.adapter.card["weights_sha256"]:
        return None
    try:
        other = promoted(home)
        if other.card["base_sha256"] != made.base.digest:
            return Rival(step.adapter, unasked=f"it is an adapter of another base, {other.card['base']}.")
        with output.progress() as progress:
            results = score_once(home, made.suite, made.base, other, progress)
    except TracemillError as error:
        return Rival(step.adapter, unasked=str(error))
    return Rival(step.adapter, compare(results, made.report.adapter).verdict)

"""The adapter that is promoted, held against the one that would take its place.

In: the home and an adapter, or a `Turn` of the loop that made one. Out: a `Rival`: how the new adapter does
against the promoted one on every suite that both were asked, or why nobody could compare the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tracemill.cli import output

if TYPE_CHECKING:
    from tracemill.cli.loop import Turn
    from tracemill.evaluate.stored_comparison import Versus
    from tracemill.evaluate.verdict import Verdict
    from tracemill.tracer.home import Home
    from tracemill.train.adapter import Adapter
    from tracemill.train.promotion import Step

UNASKED = (
    "no suite that neither learned from was asked of both alike; "
    "`tracemill evaluate BASE --adapter ADAPTER` of each, on the same suite, does."
)
TELLING = ("worse", "better", "not better", "undecided")
"""Verdicts, the more telling first."""


@dataclass(frozen=True)
class Rival:
    """What is promoted, and the new adapter against it by suite; `unasked` says why there is none."""

    name: str
    found: Sequence[Versus] = ()
    unasked: str = ""

    @property
    def verdicts(self) -> list[tuple[str, Verdict]]:
        """The verdict on each suite, what tells most first."""
        some = [(one.after.suite, one.comparison.verdict) for one in self.found]
        return sorted(some, key=lambda one: TELLING.index(one[1].word))

    @property
    def beaten(self) -> bool:
        """Whether the new adapter is worse than the promoted one on a suite: then it is not promoted."""
        return any(verdict.word == "worse" for _, verdict in self.verdicts)

    @property
    def told(self) -> str:
        """What came of it, in sentences."""
        if not self.found:
            return f"Nobody compared it with {self.name}, promoted so far: {self.unasked}"
        (suite, verdict), *others = self.verdicts
        told = f"Against {self.name}, promoted so far, it is {verdict.word} on {suite}: {verdict.reason}"
        return told + "".join(f" On {suite} it is {verdict.word}." for suite, verdict in others)

    def plain(self) -> dict[str, Any]:
        """What JSON says of it."""
        return {
            "adapter": self.name,
            "verdicts": [{"suite": suite, **asdict(verdict)} for suite, verdict in self.verdicts],
            "not_compared_because": None if self.found else self.unasked,
        }


def against_promoted(home: Home, adapter: Adapter, unasked: str = UNASKED) -> Rival | None:
    """`adapter` against the promoted one by the result files of both; None where no other is promoted.

    `unasked` is what to say where there are none.
    """
    from tracemill.evaluate.stored_comparison import on_shared_suites
    from tracemill.tracer.errors import TracemillError

    step = _other(home, adapter)
    if step is None:
        return None
    try:
        found = on_shared_suites(home, str(step.weights_sha256), adapter.card["weights_sha256"])
    except TracemillError as error:
        return Rival(str(step.adapter), unasked=str(error))
    return Rival(str(step.adapter), found, unasked)


def made_against_promoted(home: Home, made: Turn) -> Rival | None:
    """The same of the adapter of `made`; the promoted one is asked the turn's held-out split before."""
    from tracemill.evaluate.recall import score_once
    from tracemill.tracer.errors import TracemillError
    from tracemill.train.promotion import promoted

    if _other(home, made.made.adapter) is None:
        return None
    unasked = UNASKED
    try:
        other = promoted(home)
        if other.card["base_sha256"] == made.base.digest:
            with output.progress() as progress:
                score_once(home, made.suite, made.base, other, progress)
        else:
            unasked = f"it is an adapter of another base, {other.card['base']}."
    except TracemillError as error:
        unasked = str(error)
    return against_promoted(home, made.made.adapter, unasked)


def _other(home: Home, adapter: Adapter) -> Step | None:
    """The promotion that stands, where it is of another adapter."""
    from tracemill.train.promotion import current, history

    step = current(history(home))
    if step is None or not step.adapter or step.weights_sha256 == adapter.card["weights_sha256"]:
        return None
    return step

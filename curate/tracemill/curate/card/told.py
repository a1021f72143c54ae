"""The sentences of a card, the same in Markdown and in HTML.

In: facts and findings. Out: text without any markup, some numbers for bars.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tracemill.curate.card.advice import Finding
from tracemill.curate.card.facts import Facts
from tracemill.curate.card.numbers import number, percent
from tracemill.curate.card.reading import EXPORTED
from tracemill.curate.card.shown import Loss
from tracemill.curate.leaks import Kind
from tracemill.curate.retention import StepCount

LOSSES: Mapping[Loss, str] = {
    "learned": "the loss falls on it",
    "context": "a turn of the assistant that is not learned",
    "masked": "said by others, never learned",
}
_LEAKS: Mapping[Kind, str] = {
    "session": "session",
    "task": "task",
    "prompt": "prompt",
    "messages": "conversation",
    "near": "near copy",
}


@dataclass(frozen=True)
class Kept:
    """A step: rows in, kept and dropped, turns it took out of the loss; `kept` and `lost` of all rows."""

    step: str
    rows_in: int
    kept_rows: int
    dropped: int
    context: int
    reasons: str
    kept: float
    lost: float


def kept(steps: Sequence[StepCount]) -> Iterator[Kept]:
    """The steps of an export, with shares of the rows that the first was given."""
    whole = max(steps[0].rows_in, 1) if steps else 1
    for one in steps:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in one.reasons.items())
        yield Kept(
            one.step,
            one.rows_in,
            one.kept,
            one.dropped,
            one.context,
            reasons,
            one.kept / whole,
            one.dropped / whole,
        )


def about(facts: Facts) -> str:
    """What the data set is, in a sentence or two."""
    manifest = facts.manifest
    where = f" in {len(facts.sets)} data sets" if len(facts.sets) > 1 else ""
    told = f"{_many(facts.rows, 'row')}{where}"
    if facts.looked_at >= facts.rows or manifest:
        learned = sum(one.learned for one in facts.splits)
        told += f", with {_many(learned, 'assistant turn')} to learn"
    if facts.looked_at >= facts.rows:
        told += f" and {_many(sum(one.calls for one in facts.splits), 'tool call')}"
    told += "."
    if facts.pairs:
        told += f" Beside them {_many(sum(facts.pairs.values()), 'preference pair')}: "
        told += f"{', '.join(f'{split} {number(count)}' for split, count in facts.pairs.items())}."
    if manifest:
        told += f" Made by tracemill {manifest.tracemill} with seed {manifest.seed}"
        told += f" from the sessions where {manifest.where}." if manifest.where else "."
    return told


def looked_at(facts: Facts) -> str:
    """Whether all rows were looked at; '' where they were."""
    if facts.looked_at >= facts.rows:
        return ""
    whole = "rows, sessions and turns of a split" if facts.manifest else "the rows of a split"
    more = "; tracemill dataset card looks at more" if facts.looked_at <= EXPORTED < facts.rows else ""
    return (
        f"Only {number(facts.looked_at)} of the {number(facts.rows)} rows were looked at, drawn by their "
        f"content{more}. Counts are of these, but for {whole}, and a sample shows fewer copies than there "
        "are."
    )


def counted(finding: Finding) -> str:
    """How often an ill is met: 12 of 345 rows (3%)."""
    if finding.ill.unit == "leaks":
        return number(finding.count)
    return f"{number(finding.count)} of {_units(finding.of, finding.ill.unit)} ({percent(finding.share)})"


def shares(finding: Finding, sets: Sequence[str]) -> list[str]:
    """How often an ill is met in each data set; '' where it is not."""
    found: list[str] = []
    for data in sets:
        count, of = finding.by.get(data, (0, 0))
        share = f" ({percent(count / of)})" if of and finding.ill.unit != "leaks" else ""
        found.append(f"{number(count)}{share}" if count else "")
    return found


def leaks(facts: Facts) -> str:
    """What was compared between the splits, and what was found."""
    if len(facts.splits) < 2:
        return "There is one split only, so nothing can stand in two."
    found = [_many(count, name).replace("copys", "copies")
             for kind, name in _LEAKS.items() if (count := facts.leaks[kind])]  # fmt: skip
    told = f"{', '.join(found)} stand in two splits" if found else "Nothing stands in two splits"
    every = "every row" if facts.looked_at >= facts.rows else "every row that was looked at"
    compared = (
        f"{every} was compared with those of the other splits, by session, task, prompt (case and white "
        "space aside), conversation and as a near copy"
    )
    if facts.manifest and facts.looked_at < facts.rows:
        compared += "; the export compared all rows by session, task and prompt"
    return f"{told}: {compared}. {_moved(facts)}".strip()


def proof(facts: Facts) -> str:
    """Whether the tokens were proved; '' where no export could have."""
    manifest = facts.manifest
    if manifest is None:
        return ""
    if manifest.proof is None:
        return "The tokens were not proved for any base model; training and evaluation prove their own."
    return (
        f"All {number(manifest.proof.rows)} rows give the same tokens in training and in serving with the "
        f"template of {manifest.proof.base} (SHA-256 {manifest.proof.template_sha256[:16]})."
    )


def _moved(facts: Facts) -> str:
    if facts.pinned is None:
        return ""
    pinned, moved = facts.pinned
    return f"Pinned by their session: {_many(pinned, 'row')}; {number(moved)} had to follow their group."


def _units(count: int, units: str) -> str:
    """So many of a unit: 1 row, 2 rows, 1 turn with a call."""
    first, space, rest = units.partition(" ")
    return f"{_many(count, first.removesuffix('s'))}{space}{rest}"


def _many(count: int, what: str) -> str:
    return f"{number(count)} {what}{'' if count == 1 else 's'}"

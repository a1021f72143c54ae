"""The card as one page of Markdown.

In: a `Card`. Out: text. Recorded text stands in indented lines or is escaped, so none of it acts as Markdown.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from tracemill.curate.card.advice import Finding
from tracemill.curate.card.facts import ClusterFacts, SplitFacts
from tracemill.curate.card.numbers import number, percent
from tracemill.curate.card.told import LOSSES, about, counted, kept, leaks, looked_at, proof, shares
from tracemill.curate.features.likeness import NEAR
from tracemill.curate.splits import SPLITS
from tracemill.tracer.plain import plain

if TYPE_CHECKING:
    from tracemill.curate.card import Card, Example

_BAR = 30
_CELL = 200
_SYSTEMS = 5
_CATEGORIES = 20
_TEXT = 400
# Characters that mark something up, and those that make a link of an address or a list of a line.
_ACTS = re.compile(r"[\\`*\[\]<>|&~]|(?<!\w)_|_(?!\w)|:(?=//)|(?<=www)\.|^[#+=]|^-(?= )", re.IGNORECASE)


def markdown(card: Card) -> str:
    """The page."""
    return "\n\n".join(filter(None, _parts(card))) + "\n"


def _parts(card: Card) -> Iterator[str]:
    facts = card.facts
    yield f"# {_cell(facts.name)}"
    yield prose(about(facts))
    yield prose(looked_at(facts))
    yield "## What looks wrong, and what to do"
    for finding in card.wrong:
        yield from _finding(finding)
    if not card.wrong:
        yield "Nothing that was looked for."
    yield f"Looked for and in order: {'; '.join(one.ill.title for one in card.fine)}."
    if len(facts.sets) > 1:
        yield "## By data set"
        yield table(("", *facts.sets), ((one.ill.title, *shares(one, facts.sets)) for one in card.wrong))
    yield "## What was kept"
    if facts.manifest:
        steps = kept(facts.manifest.steps)
        yield table(
            ("step", "", "in", "kept", "dropped", "turns out of the loss", "reasons"),
            (
                (one.step, _bar(one.kept), one.rows_in, one.kept_rows, one.dropped, one.context, one.reasons)
                for one in steps
            ),
        )
        yield "A turn out of the loss stays in its conversation as context (`weight` 0)."
    else:
        yield "No manifest says what these rows were chosen from."
    yield "## Splits"
    columns = ("split", "rows", "sessions", "prompts", "turns learned", "as context")
    yield table((*columns, "calls", "not in a last message", "rows that call"), map(_split, facts.splits))
    yield prose(leaks(facts))
    yield prose(proof(facts))
    yield "## Tool calls"
    if facts.tools:
        yield table(("tool", *SPLITS), ((tool, *by.values()) for tool, by in facts.tools.items()))
        yield table(
            ("wire format", "calls", "cannot be read", "in a last message"),
            ((one.format, one.read + one.unread, one.unread, one.last) for one in facts.formats),
        )
    else:
        yield "No row calls a tool."
    yield "## Lengths"
    yield table(
        ("split", "unit", "rows", "shortest", "median", "95%", "longest"),
        (
            (one.split, one.unit, one.rows, one.shortest, one.median, one.p95, one.longest)
            for one in facts.lengths
        ),
    )
    most = max((count for _, count in facts.histogram), default=1)
    yield table(
        ("characters", "rows", ""), ((bin_, count, _bar(count / most)) for bin_, count in facts.histogram)
    )
    yield "## Languages, outcomes, categories, system prompts"
    yield table(("language of the prompt", "prompts"), facts.languages.items())
    yield table(("outcome", "rows"), facts.outcomes.items())
    yield table(("category", "rows"), list(facts.categories.items())[:_CATEGORIES])
    yield table(
        ("system prompt", "rows"), ((text or "(none)", count) for text, count in facts.systems[:_SYSTEMS])
    )
    if more := facts.systems[_SYSTEMS:]:
        yield f"And {len(more)} others, in {number(sum(count for _, count in more))} rows."
    yield "## Near copies"
    if facts.clusters:
        yield f"The largest clusters; rows that are {NEAR:.0%} alike or more, by words and pairs of words."
    else:
        yield "No two rows are near copies."
    for cluster in facts.clusters:
        yield from _cluster(card, cluster)
    yield "## Rows by chance"
    yield "; ".join(f"{loss}: {told}" for loss, told in LOSSES.items()) + "."
    for example in card.examples:
        yield from _example(example)


def _split(one: SplitFacts) -> tuple[object, ...]:
    share = percent(one.rows_with_calls / one.looked_at if one.looked_at else 0)
    rows = (one.split, one.rows, one.sessions, one.prompts, one.learned, one.context)
    return (*rows, one.calls, one.calls_before_last, share)


def _finding(finding: Finding) -> Iterator[str]:
    yield f"### {finding.ill.title}: {counted(finding)}"
    level = "Mend this" if finding.level == "bad" else "Look at it"
    yield f"{level}. {prose(f'{finding.ill.why} {finding.ill.mend}')}"
    if finding.examples:
        yield "\n".join(f"- {_cell(row)}: {_cell(text)}" for row, text in finding.examples)
    if finding.ill.recipe:
        yield _indented(finding.ill.recipe)


def _cluster(card: Card, cluster: ClusterFacts) -> Iterator[str]:
    yield f"{cluster.size} rows{f' of {_cell(cluster.data)}' if len(card.facts.sets) > 1 else ''}:"
    lines: list[tuple[object, ...]] = []
    for at, member in enumerate(cluster.members):
        row = card.members[member.row]
        lines.append(
            (
                member.row,
                "stays" if not at else percent(member.alike),
                row.first("user"),
                row.first("assistant"),
            )
        )
    yield table(("row", "alike", "asked", "answered"), lines)


def _example(example: Example) -> Iterator[str]:
    yield f"### {_cell(example.row)} ({example.split})"
    width = max(len(loss) for loss in LOSSES)
    lines: list[str] = []
    for line in example.shown.lines:
        text = line.text if len(line.text) <= _TEXT else f"{line.text[:_TEXT]} ..."
        lines += [
            f"{line.loss:<{width}} | {line.role}",
            *(f"{'':<{width}} |   {one}" for one in plain(text).split("\n")),
        ]
    if example.shown.more:
        lines.append(f"and {example.shown.more} messages more")
    yield _indented("\n".join(lines))


def _indented(text: str) -> str:
    return "\n".join(f"    {line}".rstrip() for line in text.strip("\n").split("\n"))


def _bar(share: float) -> str:
    return "█" * round(_BAR * share)


def table(columns: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    """A table; what stands in a cell is cut at some length and acts as no Markdown."""
    rule = ["---"] * len(columns)
    return "\n".join(
        "| " + " | ".join(_cell(value) for value in line) + " |" for line in (columns, rule, *lines)
    )


def _cell(value: object) -> str:
    if not isinstance(value, str):
        return number(value)
    return prose(value if len(value) <= _CELL else f"{value[:_CELL]} ...")


def prose(text: str) -> str:
    """A text on one line, of which nothing acts as Markdown."""
    return _ACTS.sub(r"\\\g<0>", " ".join(plain(text).split()))

"""Which tool was called where which was due.

In: the results of one model. Out: a `Confusion`: a count for each pair of the tool that was due and what came
instead. Calls of one turn are free in their order: those of the right name are paired first, the rest as they
come. What cannot be read is no call of any tool.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from tracemill.curate.chat.codec import decode
from tracemill.evaluate.holdout import ItemResult

NONE_DUE, NO_CALL, UNREAD, OTHERS = "(none due)", "(no call)", "(cannot be read)", "(other tools)"
MOST = 12
"""Tools with a row of their own; the rarer ones are one row."""


@dataclass(frozen=True)
class Confusion:
    """`counts[i][j]`: how often `columns[j]` came where `rows[i]` was due."""

    rows: list[str]
    columns: list[str]
    counts: list[list[int]]

    def share(self, row: int, column: int) -> float:
        """The part of what was due in a row, 0..1."""
        return self.counts[row][column] / (sum(self.counts[row]) or 1)


def confusions(models: Sequence[Sequence[ItemResult]]) -> list[Confusion]:
    """One for each model, all with the same rows and columns; none where no tool was due nor called."""
    counted = [Counter(pair for one in results for pair in _pairs(one)) for results in models]
    due = Counter[str]()
    came = Counter[str]()
    for counts in counted:
        for (wanted, got), count in counts.items():
            due[wanted] += count
            came[got] += count
    tools = [name for name, _ in (due + came).most_common() if name not in (NONE_DUE, NO_CALL, UNREAD)]
    if not tools:
        return []
    kept = set(tools[:MOST])

    def named(name: str) -> str:
        return name if name in kept or name in (NONE_DUE, NO_CALL, UNREAD) else OTHERS

    order = [*tools[:MOST], OTHERS, NONE_DUE, NO_CALL, UNREAD]
    rows = [name for name in order if name in {named(one) for one in due}]
    columns = [name for name in order if name in {named(one) for one in due | came} - {NONE_DUE}]
    return [_table(rows, columns, counts, named) for counts in counted]


def _table(
    rows: list[str], columns: list[str], counts: Counter[tuple[str, str]], named: Callable[[str], str]
) -> Confusion:
    table = Counter[tuple[str, str]]()
    for (wanted, got), count in counts.items():
        table[named(wanted), named(got)] += count
    return Confusion(rows, columns, [[table[row, column] for column in columns] for row in rows])


def _pairs(result: ItemResult) -> Iterator[tuple[str, str]]:
    due = [call.name for call in result.item.calls]
    decoded = decode(result.text)
    if decoded.errors or result.score.failure in ("parse", "other-format"):
        yield from ((name, UNREAD) for name in due or [NONE_DUE])
        return
    got = [call.name for call in decoded.calls]
    if result.score.exact:
        due = got  # One of the alternatives may be what was called.
    if not due and not got:
        yield NONE_DUE, NO_CALL
        return
    right = list((Counter(due) & Counter(got)).elements())
    yield from zip(right, right, strict=True)
    rest = zip_longest(_without(due, right), _without(got, right))
    yield from ((wanted or NONE_DUE, came or NO_CALL) for wanted, came in rest)


def _without(names: Iterable[str], taken: Iterable[str]) -> list[str]:
    left, found = Counter(taken), list[str]()
    for name in names:
        if left[name]:
            left[name] -= 1
        else:
            found.append(name)
    return found

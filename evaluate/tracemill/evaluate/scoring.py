"""The score of one completion: strictly what the agent's own parser would execute.

In: an `Item` and the text a model wrote. Out: a `Score`, whose failure is exactly one kind. A call that
cannot be read, in whatever format, is a parse failure, never "no call"; a call in a format that the agent's
parser does not read is counted apart; an answer in words is "no call", never a parse failure. Calls of one
turn run in parallel, so their order is free. The lenient score beside the strict one takes a call in any wire
format (`curate/wire`), and forgives white space, case and a leading `./` in texts.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal, get_args

from tracemill.curate.chat.codec import Call, Decoded, decode
from tracemill.curate.wire import calls_in
from tracemill.evaluate.answers import grade
from tracemill.evaluate.arguments import DIFFERENCES, Difference, SameText, difference, same_loosely
from tracemill.evaluate.items import Item, WantedCall

Failure = (
    Literal[
        "",
        "parse",
        "other-format",
        "no-call",
        "unwanted-call",
        "unknown-tool",
        "missing-call",
        "extra-call",
        "no-answer",
        "wrong-answer",
    ]
    | Difference
)
FAILURES: tuple[Failure, ...] = tuple(
    dict.fromkeys(word for part in get_args(Failure) for word in get_args(part) if word)
)
"""Every way to be wrong; what each means is in docs/scoring.md."""

_GRAVITY: dict[Difference, int] = {
    word: len(DIFFERENCES) - i if word else 0 for i, word in enumerate(DIFFERENCES)
}


@dataclass(frozen=True)
class Score:
    """How right a completion is.

    parsed: every call in it could be read. exact: the same calls as expected. name: the same tools, as often.
    arguments: the right arguments, whatever the tools. direct: words and no call, where none was due.
    lenient: right when scored leniently. failure: the first thing wrong, or "". value: 1 where right, else 0,
    or the share that an answer was right.
    """

    parsed: bool
    exact: bool
    name: bool
    arguments: bool
    direct: bool
    lenient: bool
    failure: Failure
    value: float = 0.0

    @property
    def right(self) -> bool:
        """Exact where calls were due, direct where none was, right where an answer was asked for."""
        return not self.failure


def score(item: Item, text: str) -> Score:
    """Score the completion `text` of `item`; never raises on what a model wrote."""
    decoded = decode(text)
    if item.kind == "call":
        found = [
            _score_calls(replace(item, calls=calls), decoded, text)
            for calls in (item.calls, *item.alternatives)
        ]
        # Of equals the first: what is wrong is told of the calls that are shown as expected.
        return max(found, key=lambda one: (one.right, one.lenient))
    value, failure = _score_words(item, decoded, text)
    lenient = not failure or _lenient_words(item, text)
    return Score(
        parsed=not decoded.errors,
        exact=False,
        name=False,
        arguments=False,
        direct=not failure and item.kind == "direct",
        lenient=lenient,
        failure=failure,
        value=value,
    )


def _score_calls(item: Item, decoded: Decoded, text: str) -> Score:
    failure = _call_failure(item, decoded, text)
    parsed = failure != "parse"
    got = decoded.calls if parsed else ()
    # Whatever the tools: each argument object against each, as if of one tool.
    nameless = [WantedCall("", want.arguments, want.optional) for want in item.calls]
    arguments = _worst(nameless, [Call("", call.arguments) for call in got], None) == ""
    return Score(
        parsed=parsed,
        exact=not failure,
        name=sorted(want.name for want in item.calls) == sorted(call.name for call in got),
        arguments=not failure or arguments,
        direct=False,
        lenient=not failure or _lenient_calls(item, text),
        failure=failure,
        value=float(not failure),
    )


def _call_failure(item: Item, decoded: Decoded, text: str) -> Failure:
    if decoded.errors:
        return "parse"
    got = decoded.calls
    if not got:
        found = calls_in(text, item.tools)
        return "parse" if found.errors else "other-format" if found.calls else "no-call"
    failure = _worst(item.calls, got, item) if len(got) == len(item.calls) else None
    if failure == "":
        return ""
    if item.tools and {call.name for call in got} - {tool["name"] for tool in item.tools}:
        return "unknown-tool"
    if failure is None:
        return "missing-call" if len(got) < len(item.calls) else "extra-call"
    return failure


def _score_words(item: Item, decoded: Decoded, text: str) -> tuple[float, Failure]:
    if decoded.errors:
        return 0.0, "parse"
    if decoded.calls:
        return 0.0, "unwanted-call"
    if calls_in(text, item.tools).calls:
        return 0.0, "other-format"
    if not decoded.content:
        return 0.0, "no-answer"
    if item.answer is None:
        return 1.0, ""
    value = grade(item.answer, asdict(item), text)
    return value, "" if value >= 1 else "wrong-answer"


def _lenient_words(item: Item, text: str) -> bool:
    found = calls_in(text, item.tools)
    if found.calls or found.errors or not found.before.strip():
        return False
    return item.answer is None or grade(item.answer, asdict(item), text) >= 1


def _lenient_calls(item: Item, text: str) -> bool:
    found = calls_in(text, item.tools)
    same_number = len(found.calls) == len(item.calls)
    return not found.errors and same_number and _worst(item.calls, found.calls, item, same_loosely) == ""


def _worst(
    expected: Sequence[WantedCall], got: Sequence[Call], item: Item | None, same_text: SameText = operator.eq
) -> Difference | None:
    """The gravest difference when calls are paired as well as can be; None for another number of calls.

    A pairing costs powers of the number of calls, by gravity: the cheapest one has the fewest of the gravest
    differences, whatever the order of the calls.
    """
    if len(expected) != len(got):
        return None
    tools = {tool["name"]: tool for tool in item.tools} if item else {}
    table: list[list[Difference]] = [
        [difference(want, have, tools.get(want.name), same_text) for have in got] for want in expected
    ]
    if len(table) == 1:
        return table[0][0]
    from scipy.optimize import linear_sum_assignment

    base = len(table) + 1.0
    costs = [[base ** _GRAVITY[word] if word else 0.0 for word in row] for row in table]
    rows, columns = linear_sum_assignment(costs)
    return max(
        (table[row][column] for row, column in zip(rows, columns, strict=True)), key=_GRAVITY.__getitem__
    )

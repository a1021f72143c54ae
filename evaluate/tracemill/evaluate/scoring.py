"""The score of one completion: strictly what the agent's own parser would execute.

In: an `Item` and the text a model wrote. Out: a `Score`. A call that cannot be parsed is a parse failure,
never "no call"; an answer in words is "no call", never a parse failure. Calls of one turn run in parallel, so
their order is free. The lenient score beside the strict one forgives white space, case and a leading `./` in
string arguments, and nothing else.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, cast, get_args

from tracemill.curate.chat.codec import Call, calls_of, decode
from tracemill.evaluate.items import Item

Failure = Literal[
    "",
    "parse",
    "no-call",
    "unwanted-call",
    "call-count",
    "wrong-tool",
    "missing-argument",
    "extra-argument",
    "wrong-arguments",
    "no-answer",
]
FAILURES: tuple[Failure, ...] = tuple(word for word in get_args(Failure) if word)
SameText = Callable[[str, str], bool]
T = TypeVar("T")


@dataclass(frozen=True)
class Score:
    """How right a completion is.

    parsed: every call in it could be read. exact: the same calls as expected. name: the same tools, as often.
    arguments: the same argument objects, whatever the tools. direct: words and no call, where none was due.
    lenient: exact or direct with string arguments compared loosely. failure: the first thing wrong, or "".
    """

    parsed: bool
    exact: bool
    name: bool
    arguments: bool
    direct: bool
    lenient: bool
    failure: Failure

    @property
    def right(self) -> bool:
        """Exact where calls were due, direct where none was."""
        return not self.failure


def score(item: Item, text: str) -> Score:
    """Score the completion `text` of `item`; never raises on what a model wrote."""
    decoded = decode(text)
    if decoded.errors:
        return Score(False, False, False, False, False, False, "parse")
    if item.kind == "direct":
        return _score_direct(decoded.content, decoded.calls)
    expected, got = calls_of(item.expected), decoded.calls
    failure = _failure(expected, got)
    return Score(
        parsed=True,
        exact=not failure,
        name=sorted(call.name for call in expected) == sorted(call.name for call in got),
        arguments=_all_paired(
            [call.arguments for call in expected], [call.arguments for call in got], same_json
        ),
        direct=False,
        lenient=_all_paired(expected, got, _same_call_loosely),
        failure=failure,
    )


def _score_direct(content: str, calls: Sequence[Call]) -> Score:
    failure: Failure = "unwanted-call" if calls else "" if content else "no-answer"
    right = not failure
    return Score(True, False, False, False, right, right, failure)


def _failure(expected: Sequence[Call], got: Sequence[Call]) -> Failure:
    if len(got) != len(expected):
        return "call-count" if got else "no-call"
    missed, wrong = _unmatched(expected, got, _same_call)
    return _difference(missed, wrong) if missed else ""


def _difference(missed: Sequence[Call], wrong: Sequence[Call]) -> Failure:
    by_name = list(zip(sorted(missed, key=_name), sorted(wrong, key=_name), strict=True))
    if any(want.name != have.name for want, have in by_name):
        return "wrong-tool"
    if any(want.arguments.keys() - have.arguments.keys() for want, have in by_name):
        return "missing-argument"
    if any(have.arguments.keys() - want.arguments.keys() for want, have in by_name):
        return "extra-argument"
    return "wrong-arguments"


def _all_paired(expected: Sequence[T], got: Sequence[T], same: Callable[[T, T], bool]) -> bool:
    return not any(_unmatched(expected, got, same))


def _unmatched(
    expected: Sequence[T], got: Sequence[T], same: Callable[[T, T], bool]
) -> tuple[list[T], list[T]]:
    """What is left of both sides once each expected value has been paired with an equal one."""
    missed: list[T] = []
    left = list(got)
    for want in expected:
        at = next((i for i, have in enumerate(left) if same(want, have)), None)
        if at is None:
            missed.append(want)
        else:
            del left[at]
    return missed, left


def _name(call: Call) -> str:
    return call.name


def _same_call(a: Call, b: Call) -> bool:
    return a.name == b.name and same_json(a.arguments, b.arguments)


def _same_call_loosely(a: Call, b: Call) -> bool:
    return a.name == b.name and same_json(a.arguments, b.arguments, _same_text_loosely)


def same_json(a: object, b: object, same_text: SameText = operator.eq) -> bool:
    """Equality of JSON values: `true` is not `1`, but `1` is `1.0` (RFC 8259 knows one kind of number)."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, str) and isinstance(b, str):
        return same_text(a, b)
    if isinstance(a, dict) and isinstance(b, dict):
        one, other = cast(dict[str, Any], a), cast(dict[str, Any], b)
        return one.keys() == other.keys() and all(same_json(one[key], other[key], same_text) for key in one)
    if isinstance(a, list) and isinstance(b, list):
        left, right = cast(list[Any], a), cast(list[Any], b)
        return len(left) == len(right) and all(
            same_json(x, y, same_text) for x, y in zip(left, right, strict=True)
        )
    return a == b


def _same_text_loosely(a: str, b: str) -> bool:
    return _loose(a) == _loose(b)


def _loose(text: str) -> str:
    """Case folded, runs of white space as one space, `./` dropped where a word begins."""
    return re.sub(r"(?:^|(?<= ))(?:\./)+", "", " ".join(text.casefold().split()))

"""Scores of real completions: what is right, what is wrong and how, and what can never be confused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tracemill.curate.chat.codec import Call, encode
from tracemill.curate.chat.proof import Row
from tracemill.evaluate.items import Item, items
from tracemill.evaluate.scoring import FAILURES, same_json, score


def asked(expected: str) -> Item:
    """An item whose right answer is the assistant text `expected`."""
    row: Row = {
        "id": "row",
        "session_id": "session",
        "category": "read",
        "messages": [{"role": "user", "content": "Go."}, {"role": "assistant", "content": expected}],
        "tools": [],
    }
    return items([row])[0]


def call(name: str, **arguments: Any) -> str:
    return encode("", [Call(name, arguments)])


READ = asked(call("read_file", path="src/app.py", limit=10))
TWO = asked(call("read_file", path="a.py") + "\n" + call("read_file", path="b.py"))
DIRECT = asked("It is a list.")


@pytest.mark.parametrize(
    ("item", "text", "failure"),
    [
        (READ, call("read_file", path="src/app.py", limit=10), ""),
        (READ, "Let me look.\n" + call("read_file", limit=10, path="src/app.py"), ""),
        (READ, call("read_file", path="src/app.py", limit=10.0), ""),
        (READ, call("read_file", path="src/app.py", limit="10"), "wrong-arguments"),
        (READ, call("read_file", path="src/app.py", limit=True), "wrong-arguments"),
        (READ, call("read_file", path="./src/app.py", limit=10), "wrong-arguments"),
        (READ, call("read_file", path="src/app.py"), "missing-argument"),
        (READ, call("read_file", file="src/app.py", limit=10), "missing-argument"),
        (READ, call("read_file", path="src/app.py", limit=10, offset=0), "extra-argument"),
        (READ, call("list_files", path="src/app.py", limit=10), "wrong-tool"),
        (READ, call("read_file", path="src/app.py", limit=10) * 2, "call-count"),
        (READ, "I would call read_file with src/app.py.", "no-call"),
        (READ, '{"name": "read_file", "arguments": {"path": "src/app.py", "limit": 10}}', "no-call"),
        (READ, "", "no-call"),
        (READ, '<tool_call>\n{"name": "read_file", "argum', "parse"),
        (READ, "<tool_call>\nread_file src/app.py\n</tool_call>", "parse"),
        (READ, call("read_file", path="src/app.py", limit=10) + "\n<tool_call>", "parse"),
        (TWO, call("read_file", path="b.py") + "\n" + call("read_file", path="a.py"), ""),
        (TWO, call("read_file", path="a.py") * 2, "wrong-arguments"),
        (TWO, call("read_file", path="a.py"), "call-count"),
        (TWO, call("read_file", path="a.py") + call("list_files", path="b.py"), "wrong-tool"),
        (DIRECT, "A list keeps order.", ""),
        (DIRECT, call("read_file", path="src/app.py"), "unwanted-call"),
        (DIRECT, '<tool_call>{"name": 1}</tool_call>', "parse"),
        (DIRECT, " \n", "no-answer"),
    ],
)
def test_failure(item: Item, text: str, failure: str) -> None:
    found = score(item, text)
    assert found.failure == failure
    assert found.right == (failure == "")
    assert (found.exact, found.direct) == (
        found.right and item.kind == "call",
        found.right and item.kind == "direct",
    )


def test_partial_credit_is_kept_apart() -> None:
    found = score(READ, call("list_files", path="src/app.py", limit=10))
    assert (found.parsed, found.name, found.arguments, found.exact) == (True, False, True, False)
    found = score(READ, call("read_file", path="src/main.py", limit=10))
    assert (found.parsed, found.name, found.arguments, found.exact) == (True, True, False, False)


@pytest.mark.parametrize(
    ("path", "lenient"),
    [
        ("./src/app.py", True),
        ("SRC/App.py ", True),
        ("src/app.py", True),
        ("/src/app.py", False),
        ("src/app", False),
        (".src/app.py", False),
    ],
)
def test_lenient_forgives_case_space_and_leading_dot_only(path: str, lenient: bool) -> None:
    found = score(READ, call("read_file", path=path, limit=10))
    assert found.lenient is lenient
    assert found.exact is (path == "src/app.py")


LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
CALLS = st.lists(
    st.builds(Call, st.text(min_size=1), st.dictionaries(st.text(), VALUES, max_size=3)),
    min_size=1,
    max_size=3,
)


@given(CALLS, st.randoms(use_true_random=False))
def test_the_recorded_calls_are_right_in_any_order(calls: list[Call], random: Any) -> None:
    item = asked(encode("", calls))
    random.shuffle(calls)
    found = score(item, encode("Now.", calls))
    assert found.exact and found.name and found.arguments and found.lenient and found.failure == ""


@given(CALLS, CALLS)
def test_exact_means_the_same_calls_and_implies_every_other_credit(
    expected: list[Call], got: list[Call]
) -> None:
    found = score(asked(encode("", expected)), encode("", got))
    same = sorted(map(canonical, expected)) == sorted(map(canonical, got))
    assert found.exact == same
    assert found.failure in ("", *FAILURES) and (found.failure == "") == found.exact
    if found.exact:
        assert found.parsed and found.name and found.arguments and found.lenient


def canonical(call: Call) -> str:
    """Equal texts for equal calls: numbers of equal value are written alike."""

    def plain(value: Any) -> Any:
        if isinstance(value, float) and value.is_integer():
            return int(value)
        if isinstance(value, list):
            return [plain(part) for part in value]
        return {key: plain(part) for key, part in value.items()} if isinstance(value, dict) else value

    return json.dumps([call.name, plain(call.arguments)], sort_keys=True)


@given(st.text())
def test_any_text_gets_a_score_and_text_without_a_tag_is_never_a_parse_failure(text: str) -> None:
    for item in (READ, DIRECT):
        found = score(item, text)
        assert found.parsed == (found.failure != "parse")
        if "tool_call>" not in text:
            assert found.parsed and not found.exact
            assert found.failure in ("no-call", "", "no-answer")


@given(st.text())
def test_an_opened_call_is_never_counted_as_no_call(rest: str) -> None:
    assume("</tool_call>" not in rest)
    assert score(READ, "<tool_call>" + rest).failure == "parse"
    assert score(DIRECT, "<tool_call>" + rest).failure == "parse"


@given(VALUES, VALUES)
def test_json_equality_is_symmetric_and_tells_types_apart(a: Any, b: Any) -> None:
    assert same_json(a, a)
    assert same_json(a, b) == same_json(b, a)
    assert not same_json(a, [a])
    assert not same_json(True, 1) and not same_json(0, False) and not same_json(None, False)
    assert same_json(1, 1.0) and not same_json(2**53 + 1, float(2**53)) and not same_json("1", 1)

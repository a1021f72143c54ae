"""Scores of real completions: what is right, what is wrong and how, and what can never be confused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tracemill.curate.chat.codec import Call, encode
from tracemill.curate.chat.proof import Row
from tracemill.evaluate.arguments import same_json
from tracemill.evaluate.items import Item, items
from tracemill.evaluate.scoring import FAILURES, score
from tracemill.tracer.messages import Tool


def asked(expected: str, tools: list[Tool] | None = None) -> Item:
    """An item whose right answer is the assistant text `expected`."""
    row: Row = {
        "id": "row",
        "session_id": "session",
        "category": "read",
        "messages": [{"role": "user", "content": "Go."}, {"role": "assistant", "content": expected}],
        "tools": tools or [],
    }
    return items([row])[0]


def tool(name: str, required: list[str], **properties: Any) -> Tool:
    parameters = {"type": "object", "properties": properties, "required": required}
    return {"name": name, "description": "", "parameters": parameters}


TOOLS = [
    tool(
        "read_file",
        ["path"],
        path={"type": "string"},
        limit={"type": "integer"},
        offset={"type": "integer", "default": 0},
        mode={"enum": ["text", "bytes"]},
    ),
    tool("list_files", ["path"], path={"type": "string"}, limit={"type": "integer"}),
    tool(
        "query",
        ["body"],
        body={"type": "string", "contentMediaType": "application/json"},
        tags={"type": "array", "uniqueItems": True},
        rows={"type": "array"},
    ),
]


def call(name: str, **arguments: Any) -> str:
    return encode("", [Call(name, arguments)])


READ = asked(call("read_file", path="src/app.py", limit=10))
OFFERED = asked(call("read_file", path="src/app.py", limit=10), TOOLS)
BYTES = asked(call("read_file", path="a", mode="bytes", offset=0), TOOLS)
QUERY = asked(call("query", body='{"a": 1, "b": [2]}', tags=["x", "y"], rows=[1, 2]), TOOLS)
THREE = asked("\n".join(call("read_file", path=name, limit=1) for name in ("a", "b", "c")), TOOLS)
TWO = asked(call("read_file", path="a.py") + "\n" + call("read_file", path="b.py"))
DIRECT = asked("It is a list.")


@pytest.mark.parametrize(
    ("item", "text", "failure"),
    [
        (READ, call("read_file", path="src/app.py", limit=10), ""),
        (READ, "Let me look.\n" + call("read_file", limit=10, path="src/app.py"), ""),
        (READ, call("read_file", path="src/app.py", limit=10.0), ""),
        (READ, call("read_file", path="src/app.py", limit="10"), "wrong-value"),
        (READ, call("read_file", path="src/app.py", limit=True), "wrong-value"),
        (READ, call("read_file", path="./src/app.py", limit=10), "wrong-value"),
        (READ, call("read_file", path="src/app.py"), "missing-argument"),
        (READ, call("read_file", file="src/app.py", limit=10), "missing-argument"),
        (READ, call("read_file", path="src/app.py", limit=10, offset=0), "extra-argument"),
        (READ, call("list_files", path="src/app.py", limit=10), "wrong-tool"),
        (READ, call("read_file", path="src/app.py", limit=10) * 2, "extra-call"),
        (READ, "I would call read_file with src/app.py.", "no-call"),
        (READ, '{"name": "read_file", "arguments": {"path": "src/app.py", "limit": 10}}', "other-format"),
        (READ, "", "no-call"),
        (READ, '<tool_call>\n{"name": "read_file", "argum', "parse"),
        (READ, "<tool_call>\nread_file src/app.py\n</tool_call>", "parse"),
        (READ, call("read_file", path="src/app.py", limit=10) + "\n<tool_call>", "parse"),
        (TWO, call("read_file", path="b.py") + "\n" + call("read_file", path="a.py"), ""),
        (TWO, call("read_file", path="a.py") * 2, "wrong-value"),
        (TWO, call("read_file", path="a.py"), "missing-call"),
        (TWO, call("read_file", path="a.py") + call("list_files", path="b.py"), "wrong-tool"),
        (DIRECT, "A list keeps order.", ""),
        (DIRECT, call("read_file", path="src/app.py"), "unwanted-call"),
        (DIRECT, '<tool_call>{"name": 1}</tool_call>', "parse"),
        (DIRECT, " \n", "no-answer"),
        (DIRECT, '[TOOL_CALLS][{"name": "read_file", "arguments": {"path": "a"}}]', "other-format"),
        (READ, '[TOOL_CALLS][{"name": "read_file", "arguments": {"path": "a"}}]', "other-format"),
        (READ, '[TOOL_CALLS][{"name": "read_file", "argum', "parse"),
        (OFFERED, call("read_file", path="src/app.py", limit=10, offset=0), ""),
        (OFFERED, call("read_file", path="src/app.py", limit=10, offset=1), "extra-argument"),
        (OFFERED, call("read_file", path="src/app.py", limit=10, encoding="utf-8"), "hallucinated-argument"),
        (OFFERED, call("read_file", file="src/app.py", limit=10), "hallucinated-argument"),
        (OFFERED, call("read_file", path="src/app.py"), "missing-argument"),
        (OFFERED, call("read_file", path="src/app.py", limit="10"), "invalid-value"),
        (OFFERED, call("read_file", path="src/app.py", limit=11), "wrong-value"),
        (OFFERED, call("list_files", path="src/app.py", limit=10), "wrong-tool"),
        (OFFERED, call("open_file", path="src/app.py", limit=10), "unknown-tool"),
        (OFFERED, call("open_file", path="a") + call("read_file", path="src/app.py"), "unknown-tool"),
        (BYTES, call("read_file", path="a", mode="bytes"), ""),
        (BYTES, call("read_file", path="a", mode="bits"), "invalid-value"),
        (BYTES, call("read_file", path="a", mode="text"), "wrong-value"),
        (QUERY, call("query", body='{"b":[2.0],"a":1}', tags=["y", "x"], rows=[1, 2]), ""),
        (QUERY, call("query", body='{"b":[2.0],"a":1}', tags=["y", "x"], rows=[2, 1]), "wrong-value"),
        (QUERY, call("query", body='{"a": 1}', tags=["x", "y"], rows=[1, 2]), "wrong-value"),
        (QUERY, call("query", body="not JSON", tags=["x", "y"], rows=[1, 2]), "wrong-value"),
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
def test_any_text_gets_one_kind_and_text_without_a_call_is_never_right(text: str) -> None:
    for item in (READ, DIRECT):
        found = score(item, text)
        assert found.parsed == (found.failure != "parse")
        assert found.failure in ("", *FAILURES)
        assert found.value == float(found.right)
        assert found.lenient or not found.right
        if "tool_call>" not in text:
            assert not found.exact


SAID = st.lists(
    st.builds(
        Call,
        st.sampled_from(["read_file", "list_files", "open_file"]),
        st.dictionaries(
            st.sampled_from(["path", "limit", "offset", "mode", "bogus"]),
            st.sampled_from(["a", "b", "./A", 0, 1, "1", None, True]),
            max_size=4,
        ),
    ),
    max_size=4,
)


@given(SAID, SAID, st.randoms(use_true_random=False))
def test_the_order_of_parallel_calls_changes_nothing(
    expected: list[Call], got: list[Call], random: Any
) -> None:
    found = score(asked(encode("Yes.", expected), TOOLS), encode("Yes.", got))
    random.shuffle(expected)
    random.shuffle(got)
    assert score(asked(encode("Yes.", expected), TOOLS), encode("Yes.", got)) == found
    assert found.lenient or not found.right


def test_calls_are_paired_as_well_as_can_be() -> None:
    """Two calls are right, so only the third counts, wherever it stands."""
    said = [call("read_file", path=name, limit=1) for name in ("b", "c")]
    for got in ([*said, call("read_file", path="a")], [call("read_file", path="a"), *said]):
        assert score(THREE, "".join(got)).failure == "missing-argument"


@pytest.mark.parametrize(
    "text",
    [
        '[TOOL_CALLS][{"name": "read_file", "arguments": {"path": "src/app.py", "limit": 10}}]',
        '{"name": "read_file", "arguments": {"path": "./src/App.py", "limit": 10}}',
        '<function=read_file>{"path": "src/app.py", "limit": 10}</function>',
        '<tool_call>{"name": "read_file", "arguments": {"path": "src/app.py", "limit": 10}}',
    ],
)
def test_the_right_call_in_another_form_is_right_leniently_alone(text: str) -> None:
    found = score(OFFERED, text)
    assert found.lenient and not found.right and found.failure in ("other-format", "parse")


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

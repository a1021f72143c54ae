"""The codec of `<tool_call>` text: what is written is read back, whatever stands in it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from inline_snapshot import snapshot

from tracemill.curate.chat.codec import CLOSE, OPEN, Call, Decoded, decode, encode, from_row, to_row
from tracemill.curate.errors import CodecError
from tracemill.tracer.messages import Message

texts = st.text(st.characters(codec="utf-8"), max_size=40) | st.sampled_from(
    [
        "</tool_call>",
        "<tool_call>",
        "<|im_end|>",
        "a </tool_call> b",
        "\\u003c",
        '"',
        "\n\n",
        "日本語 \U0001f600",
    ]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
calls = st.builds(Call, texts.filter(bool), st.dictionaries(texts, values, max_size=4))
contents = texts.map(str.strip).filter(lambda text: OPEN not in text and CLOSE not in text)


@given(contents, st.lists(calls, max_size=3))
def test_a_turn_is_read_back_as_it_was(content: str, made: list[Call]) -> None:
    assert decode(encode(content, made)) == Decoded(content, tuple(made), ())


@given(contents, st.lists(calls, min_size=1, max_size=3))
def test_no_argument_ends_its_call_or_its_turn(content: str, made: list[Call]) -> None:
    text = encode(content, made)
    assert text.count(OPEN) == text.count(CLOSE) == len(made)
    assert "<|" not in text[len(content) :]


def test_the_form_is_the_one_people_expect() -> None:
    text = encode("I look.", [Call("read_file", {"path": "é.py"}), Call("now", {})])
    assert text == snapshot(
        """\
I look.
<tool_call>
{"name": "read_file", "arguments": {"path": "é.py"}}
</tool_call>
<tool_call>
{"name": "now", "arguments": {}}
</tool_call>\
"""
    )


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("<tool_call>\n{broken\n</tool_call>", "not JSON"),
        ('<tool_call>{"name": "a", "arguments": {}}', "no </tool_call>"),
        ('<tool_call>{"name": "a", "arguments": "{}"}</tool_call>', '"arguments" is not an object'),
        ('<tool_call>{"arguments": {}}</tool_call>', 'no "name"'),
        ("<tool_call>[1]</tool_call>", "not a JSON object"),
        ('<tool_call>{"name": "a", "arguments": {"x": NaN}}</tool_call>', "not JSON"),
        ("done</tool_call>", "without <tool_call>"),
        ("<tool_call>" + "[" * 100_000 + "</tool_call>", "not JSON"),
    ],
)
def test_what_is_not_a_call_is_an_error_and_never_a_call(text: str, error: str) -> None:
    decoded = decode(text)
    assert not decoded.calls
    assert error in decoded.errors[0]


def test_a_broken_call_does_not_hide_a_good_one() -> None:
    decoded = decode('<tool_call>{}</tool_call> and <tool_call>{"name": "a", "arguments": {}}</tool_call>')
    assert decoded.calls == (Call("a", {}),)
    assert len(decoded.errors) == 1


@given(st.text())
def test_any_text_can_be_read(text: str) -> None:
    decode(text)


@pytest.mark.parametrize("content", ["see <tool_call>", "</tool_call>"])
def test_text_that_looks_like_a_call_is_refused(content: str) -> None:
    with pytest.raises(CodecError, match="outside a call"):
        encode(content, [])


@pytest.mark.parametrize("arguments", ["{broken", ["a"], {"x": float("nan")}])
def test_arguments_that_are_no_json_object_have_no_text(arguments: Any) -> None:
    message: Message = {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"id": "1", "name": "f", "arguments": arguments}],
    }
    with pytest.raises(CodecError):
        to_row([message])


def test_tool_messages_answer_the_calls_in_order() -> None:
    messages: list[Message] = [
        {"role": "user", "content": "Go"},
        {
            "role": "assistant",
            "content": "Both.",
            "tool_calls": [
                {"id": "x", "name": "a", "arguments": {"n": 1}},
                {"id": "y", "name": "b", "arguments": {}},
            ],
        },
        {"role": "tool", "content": "1", "tool_call_id": "x", "name": "a"},
        {"role": "tool", "content": "2", "tool_call_id": "y", "name": "b"},
        {"role": "assistant", "content": "Done."},
    ]
    back = from_row(to_row(messages))
    assert [(m["role"], m["content"], m.get("name")) for m in back] == [
        (m["role"], m["content"], m.get("name")) for m in messages
    ]
    assert [m.get("tool_call_id") for m in back] == [None, None, "call_0", "call_1", None]
    assert [c["arguments"] for c in back[1].get("tool_calls", [])] == [{"n": 1}, {}]

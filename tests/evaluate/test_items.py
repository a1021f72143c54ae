"""Rows become items: which turns are asked for, with what history."""

from __future__ import annotations

import pytest

from tracemill.curate.chat.proof import Row
from tracemill.evaluate.errors import EvaluationError
from tracemill.evaluate.items import items

READ = '<tool_call>\n{"name": "read_file", "arguments": {"path": "a.py"}}\n</tool_call>'
ROW: Row = {
    "id": "r7",
    "session_id": "s1",
    "category": "read",
    "messages": [
        {"role": "system", "content": "You code."},
        {"role": "user", "content": "Hello."},
        {"role": "assistant", "content": "Hello!", "weight": 0},
        {"role": "user", "content": "What is in a.py?"},
        {"role": "assistant", "content": "Let me look.\n" + READ},
        {"role": "tool", "content": "x = 1"},
        {"role": "assistant", "content": "It sets x."},
    ],
    "tools": [{"name": "read_file", "description": "Read.", "parameters": {"type": "object"}}],
}


def test_one_item_per_turn_of_weight_with_its_own_history() -> None:
    first, second = items([ROW])
    assert (first.id, first.kind, first.category, first.session_id) == ("r7#4", "call", "read", "s1")
    assert (second.id, second.kind) == ("r7#6", "direct")
    assert [message["role"] for message in first.messages] == ["system", "user", "assistant", "user"]
    assert second.messages[:4] == first.messages
    assert second.messages[4] == first.expected
    assert second.messages[5].get("tool_call_id") == "call_0"
    assert first.expected.get("tool_calls") == [
        {"id": "call_0", "name": "read_file", "arguments": {"path": "a.py"}}
    ]
    assert first.tools == ROW["tools"]


def test_no_item_asks_for_a_turn_that_is_context_only() -> None:
    assert items([{**ROW, "messages": ROW["messages"][:4]}]) == []


def test_a_row_that_cannot_be_read_is_named() -> None:
    broken: Row = {**ROW, "messages": [{"role": "assistant", "content": "<tool_call>{</tool_call>"}]}
    with pytest.raises(
        EvaluationError, match="Row r7 cannot be scored: An assistant turn holds a malformed tool call"
    ):
        items([broken])

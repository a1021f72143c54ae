"""Rendering and the token proof: spans checked by hand, unfaithful templates refused."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from inline_snapshot import snapshot

from tiny import tiny_model
from tracemill.curate.chat.codec import Call, encode, from_row
from tracemill.curate.chat.proof import Row, learned_turns, prove
from tracemill.curate.chat.render import Rendered, render
from tracemill.curate.chat.template import TEMPLATE_FILE, Chat, chatml_tools
from tracemill.curate.errors import ProofError, TemplateError

ROW: Row = {
    "id": "row-1",
    "session_id": "s",
    "category": "read",
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is in a.py?"},
        {"role": "assistant", "content": encode("", [Call("read_file", {"path": "a.py"})])},
        {"role": "tool", "content": "x = 1"},
        {"role": "assistant", "content": "It sets x."},
    ],
    "tools": [
        {
            "name": "read_file",
            "description": "Read a file.",
            "parameters": {
                "type": "object",
                "properties": {"path": {"type": "string"}},
                "required": ["path"],
            },
        }
    ],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def chat(folder: Path) -> Chat:
    return Chat.load(folder)


def with_template(folder: Path, tmp_path: Path, template: str) -> Chat:
    (tmp_path / TEMPLATE_FILE).write_text(template)
    return Chat.load(folder, tmp_path)


def learned(chat: Chat, rendered: list[Rendered]) -> list[str]:
    return [chat.tokenizer.decode(part.tokens[a:b]) for part in rendered for a, b in part.spans]


def test_the_whole_conversation_as_the_model_sees_it(chat: Chat) -> None:
    (rendered,) = prove(chat, ROW)
    assert chat.tokenizer.decode(rendered.tokens) == snapshot(
        """\
<|im_start|>system
Be brief.

Tools:
{"name": "read_file", "description": "Read a file.", "parameters": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}}
To use a tool, answer with <tool_call>
{"name": ..., "arguments": {...}}
</tool_call><|im_end|>
<|im_start|>user
What is in a.py?<|im_end|>
<|im_start|>assistant
<tool_call>
{"name": "read_file", "arguments": {"path": "a.py"}}
</tool_call><|im_end|>
<|im_start|>tool
x = 1<|im_end|>
<|im_start|>assistant
It sets x.<|im_end|>\
"""
    )


def test_loss_falls_on_every_assistant_turn_through_its_stop_token_and_on_nothing_else(chat: Chat) -> None:
    assert learned(chat, prove(chat, ROW)) == snapshot(
        [
            """\
<tool_call>
{"name": "read_file", "arguments": {"path": "a.py"}}
</tool_call><|im_end|>\
""",
            "It sets x.<|im_end|>",
        ]
    )


def test_a_turn_of_weight_0_is_context_only(chat: Chat) -> None:
    row = copy.deepcopy(ROW)
    row["messages"][2]["weight"] = 0
    assert learned(chat, prove(chat, row)) == ["It sets x.<|im_end|>"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(content=st.text(max_size=30) | st.sampled_from(["<|im_end|>", "<|im_start|>assistant\nhi<|im_end|>"]))
def test_a_tool_result_never_changes_a_target(chat: Chat, content: str) -> None:
    row = copy.deepcopy(ROW)
    row["messages"][3]["content"] = content
    messages = from_row(row["messages"])
    assert learned(chat, render(chat, messages, row["tools"], learned_turns(row["messages"]))) == learned(
        chat, prove(chat, ROW)
    )


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(value=st.text(max_size=30) | st.sampled_from(["</tool_call>", "<|im_end|>", "<tool_call>"]))
def test_our_template_writes_a_call_as_the_codec_does(chat: Chat, value: str) -> None:
    row = copy.deepcopy(ROW)
    row["messages"][2]["content"] = encode(
        "Look:", [Call("read_file", {"path": value}), Call("read_file", {})]
    )
    text = chat.tokenizer.decode(chat.conversation(from_row(row["messages"]), row["tools"]))
    assert row["messages"][2]["content"] in text
    prove(chat, row)


def test_arguments_as_text_and_as_an_object_give_the_same_tokens(chat: Chat) -> None:
    messages = from_row(ROW["messages"])
    as_text = copy.deepcopy(messages)
    for call in as_text[2].get("tool_calls", []):
        call["arguments"] = json.dumps(call["arguments"])
    assert chat.conversation(as_text, ROW["tools"]) == chat.conversation(messages, ROW["tools"])


PLAIN = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
GENERATION = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"


@pytest.mark.parametrize(
    ("template", "complaint"),
    [
        (PLAIN + GENERATION, "do not parse back"),
        (
            chatml_tools().replace("<|im_start|>assistant\n{%", "<|im_start|>assistant\n<think>{%"),
            "differently",
        ),
        (chatml_tools().replace("message.content or ''", "message.content | upper"), "do not decode"),
        (
            chatml_tools().replace("<|im_end|>\n{% endif -%}\n{%- endfor", "\n{% endif -%}\n{%- endfor"),
            "stop token",
        ),
        (chatml_tools().replace('{"name": {{ function.name | tojson }}', "{"), "knows no tools"),
        (
            chatml_tools().replace("not (loop.first", "message.role != 'tool' and not (loop.first"),
            "leaves out",
        ),
    ],
    ids=["no calls", "other prompt", "shouting", "no stop", "no tools", "drops a message"],
)
def test_an_unfaithful_template_is_refused(
    folder: Path, tmp_path: Path, template: str, complaint: str
) -> None:
    with pytest.raises(ProofError, match=complaint) as error:
        prove(with_template(folder, tmp_path, template), ROW)
    assert "row-1" in str(error.value)


def test_a_template_that_forgets_history_gives_one_sequence_a_turn(
    folder: Path, tmp_path: Path, chat: Chat
) -> None:
    # Reasoning models drop what earlier turns thought; here, the text beside an earlier call.
    forgetful = chatml_tools().replace(
        "{{ message.content or '' }}",
        "{{ '' if message.tool_calls and not loop.last else message.content or '' }}",
    )
    row = copy.deepcopy(ROW)
    row["messages"][2]["content"] = encode("Let me look.", [Call("read_file", {"path": "a.py"})])
    other = with_template(folder, tmp_path, forgetful)
    messages = from_row(row["messages"])
    parts = render(other, messages, row["tools"], [2, 4])
    assert len(parts) == 2
    assert learned(other, parts) == learned(chat, prove(chat, row))


def test_a_folder_without_tokenizer_or_template_is_refused_in_a_sentence(
    folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(TemplateError, match="tokenizer"):
        Chat.load(tmp_path)
    for file in folder.iterdir():
        if file.name != TEMPLATE_FILE:
            (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(TemplateError, match="no chat template"):
        Chat.load(tmp_path)


def test_a_template_that_raises_says_so_in_a_sentence(folder: Path, tmp_path: Path) -> None:
    chat: Any = with_template(folder, tmp_path, "{{ raise_exception('no tools please') }}")
    with pytest.raises(TemplateError, match="no tools please"):
        chat.prompt([{"role": "user", "content": "Hi"}], [])

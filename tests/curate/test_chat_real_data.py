"""The loss on real data sets: counted by another way for every row, and what a mask of the last message misses."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tiny import tiny_model
from tracemill.curate.chat.codec import decode, to_row
from tracemill.curate.chat.proof import Row, prove
from tracemill.curate.chat.render import Rendered
from tracemill.curate.chat.template import Chat
from tracemill.curate.errors import CodecError
from tracemill.curate.features.talk import Talk
from tracemill.curate.rewrites import REWRITES, rewrite
from tracemill.tracer.messages import Message, Tool

CODE: Tool = {
    "name": "execute_code",
    "description": "Run Python.",
    "parameters": {"type": "object", "properties": {"code": {"type": "string"}}},
}


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> Chat:
    return Chat.load(tiny_model(tmp_path_factory.mktemp("model") / "tiny"))


def chat_jsonl(file: Path, tools: list[Tool], unread: list[str] | None = None) -> Iterator[Row]:
    """The rows of a chat JSONL file, their calls in whatever form made structured.

    The ids of those with a call that nobody can read go to `unread`.
    """
    for number, line in enumerate(file.read_text("utf-8").splitlines(), start=1):
        talk = Talk(json.loads(line)["messages"], tools, as_found=True)
        made, _ = rewrite(talk, {"wire": REWRITES["wire"].options()})
        try:
            yield row(f"{file.stem}:{number}", made.messages, tools)
        except CodecError:
            if unread is None:
                raise
            unread.append(f"{file.stem}:{number}")


def tau_bench(file: Path) -> Iterator[Row]:
    """The live sessions of an airline agent, arguments as text made objects."""
    for session in json.loads(gzip.decompress(file.read_bytes())):
        messages: list[Message] = []
        for message in session["traj"]:
            made: Any = {"role": message["role"], "content": message.get("content") or ""}
            if calls := message.get("tool_calls"):
                made["tool_calls"] = [
                    {
                        "id": call["id"],
                        "name": call["function"]["name"],
                        "arguments": json.loads(call["function"]["arguments"]),
                    }
                    for call in calls
                ]
            messages.append(made)
        yield row(f"{session['task_id']}/{session['trial']}", messages, [])


def row(name: str, messages: list[Message], tools: list[Tool]) -> Row:
    return {"id": name, "session_id": name, "category": "", "messages": to_row(messages), "tools": tools}


def counted_apart(chat: Chat, made: Row) -> int:
    """Tokens that should bear loss, from the row's text alone: no template, no spans."""
    tokenizer: Any = chat.tokenizer._tokenizer.backend_tokenizer  # pyright: ignore[reportPrivateUsage]
    texts = [
        m["content"].strip() for m in made["messages"] if m["role"] == "assistant" and m.get("weight", 1)
    ]
    return sum(len(tokenizer.encode(text + "<|im_end|>", add_special_tokens=False).ids) for text in texts)


def borne(parts: list[Rendered]) -> int:
    return sum(end - start for part in parts for start, end in part.spans)


def check_every_row(chat: Chat, rows: Iterator[Row]) -> int:
    """How many rows there are; each is counted both ways."""
    count = 0
    for made in rows:
        parts = prove(chat, made)
        assert len(parts) == 1, made["id"]  # our template keeps prefixes: a session is one sequence
        assert borne(parts) == counted_apart(chat, made), made["id"]
        count += 1
    return count


def test_every_row_of_phase26_counts_the_same_loss(chat: Chat, shared_data: Path) -> None:
    folder = shared_data / "punie" / "phase26-lsp-final"
    unread: list[str] = []
    counts = [
        check_every_row(chat, chat_jsonl(folder / name, [CODE], unread))
        for name in ("train.jsonl", "valid.jsonl")
    ]
    assert sum(counts) + len(unread) == 1023
    assert len(unread) == 60  # all in valid.jsonl: bare Python between the tags, which is no call


def test_every_row_of_hand_authored_counts_the_same_loss(chat: Chat, shared_data: Path) -> None:
    files = sorted((shared_data / "punie" / "hand-authored").glob("*.jsonl"))
    assert sum(check_every_row(chat, chat_jsonl(file, [])) for file in files) == 30


@pytest.mark.slow
def test_every_row_of_tau_bench_counts_the_same_loss(chat: Chat, shared_data: Path) -> None:
    assert check_every_row(chat, tau_bench(shared_data / "tau-bench" / "gpt-4o-airline.json.gz")) == 200


def test_691_calls_are_learned_where_a_mask_of_the_last_message_learns_232(
    chat: Chat, shared_data: Path
) -> None:
    """Calls in `<tool_call>` tags, as Punie wrote them; the six in code fences are learned beside them."""
    file = shared_data / "punie" / "phase26-lsp-final" / "train.jsonl"
    told = [json.loads(line)["messages"] for line in file.read_text("utf-8").splitlines()]
    ours, all_calls = 0, 0
    for messages, made in zip(told, chat_jsonl(file, [CODE]), strict=True):
        learned = [
            len(decode(chat.text(part.tokens[start:end])).calls)
            for part in prove(chat, made)
            for start, end in part.spans
        ]
        written = [m["content"].count("<tool_call>") for m in messages if m["role"] == "assistant"]
        ours += sum(calls for calls, tags in zip(learned, written, strict=True) if tags)
        all_calls += sum(learned)
    last = sum(messages[-1]["content"].count("<tool_call>") for messages in told)
    assert (ours, last, all_calls) == (691, 232, 697)

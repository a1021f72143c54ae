"""Small data sets of chat JSONL as they are met in the wild, for whoever tests `tracemill dataset`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

READ = {
    "name": "read_file",
    "description": "Read a file.",
    "parameters": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]},
}


def talk(prompt: str, answer: str = "Done.", **keys: Any) -> dict[str, Any]:
    """A row of one question and one answer."""
    said = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
    return {**keys, "messages": said}


def call_text(name: str = "read_file", **arguments: Any) -> str:
    """A call as `<tool_call>` text."""
    return f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments})}\n</tool_call>"


def structured(prompt: str, arguments: str = '{"path": "a.py"}', **keys: Any) -> dict[str, Any]:
    """A row with a call in OpenAI's form, its result and an answer; the tool is offered."""
    call = {"id": "c1", "type": "function", "function": {"name": "read_file", "arguments": arguments}}
    return {
        **keys,
        "messages": [
            {"role": "user", "content": prompt},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": "x = 1"},
            {"role": "assistant", "content": "It sets x."},
        ],
        "tools": [{"type": "function", "function": READ}],
    }


def pair(prompt: str, chosen: str = "Yes.", rejected: str = "No.", **keys: Any) -> dict[str, Any]:
    """A preference pair of messages."""
    sides = {
        name: [{"role": "assistant", "content": text}]
        for name, text in (("chosen", chosen), ("rejected", rejected))
    }
    return {**keys, "prompt": [{"role": "user", "content": prompt}], **sides}


def write(folder: Path, splits: Mapping[str, Sequence[Any]]) -> Path:
    """Write rows (or lines, as bytes) by split into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, rows in splits.items():
        lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
        (folder / f"{split}.jsonl").write_bytes(b"".join(line + b"\n" for line in lines))
    return folder


def rows_in(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """The rows of a folder by split."""
    return {
        file.stem: [json.loads(line) for line in file.read_bytes().splitlines()]
        for file in sorted(folder.glob("*.jsonl"))
    }

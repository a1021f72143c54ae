"""Held-out tasks from the user's own sessions, as a suite file to keep and to edit.

In: rows of a data set's split. Out: items in the form that `custom` reads, each with its source and the hash
of its content. A session that any data set has in its training or validation split is left out: an adapter
may have learned it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from tracemill.curate.chat.codec import calls_of
from tracemill.curate.chat.proof import Row
from tracemill.evaluate.errors import EvaluationError
from tracemill.evaluate.items import Item, items
from tracemill.evaluate.whole_file import write_whole
from tracemill.tracer.home import Home
from tracemill.warehouse.read import query


@dataclass(frozen=True)
class Drawn:
    """Items drawn, and how many sessions were left out because something was trained on them."""

    items: list[dict[str, Any]]
    sessions: int
    trained_on: int


def draw(home: Home, rows: Sequence[Row], limit: int | None = None) -> Drawn:
    """The turns of `rows` as items of a suite, of at most `limit` sessions.

    EvaluationError where nothing is left.
    """
    learned = _learned(home)
    held_out = [row for row in rows if row["session_id"] not in learned]
    trained_on = len({row["session_id"] for row in rows} & learned)
    kept = list(dict.fromkeys(row["session_id"] for row in held_out))[:limit]
    # A row's messages as they stand in it: the codec has one text for a turn, so nothing is lost on the way.
    texts = {row["id"]: row for row in held_out if row["session_id"] in set(kept)}
    found = [_plain(item, texts[item.id.rpartition("#")[0]]) for item in items(texts.values())]
    if not found:
        raise EvaluationError(
            f"No held-out session is left: all {trained_on} stand in the training or validation split of a "
            "data set; record more sessions, or export with a larger test split."
            if trained_on
            else "There is no held-out session; record more sessions, or name another split."
        )
    return Drawn(found, len(kept), trained_on)


def write_suite(path: Path, drawn: Drawn) -> None:
    """Write the items to the .jsonl file `path`, whole or not at all, for the user alone."""
    if path.suffix != ".jsonl":
        raise EvaluationError(f"Name a .jsonl file, not {path}: a suite of sessions has an item a line.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, "".join(json.dumps(item, ensure_ascii=True) + "\n" for item in drawn.items))
    except OSError as error:
        raise EvaluationError(f"Cannot write {path}: {error.strerror}; name another file.") from error


def _learned(home: Home) -> set[str]:
    if not home.snapshot.exists():
        return set()
    found = query(home, "SELECT DISTINCT session_id FROM dataset_rows WHERE split IN ('train', 'valid')")
    return {cast(str, session) for (session,) in found.rows()}


def _plain(item: Item, row: Row) -> dict[str, Any]:
    position = int(item.id.rpartition("#")[2])
    messages = row["messages"][:position]
    calls = [{"name": call.name, "arguments": call.arguments} for call in calls_of(item.expected)]
    return {
        "id": item.id,
        "category": item.category,
        "session": item.session_id,
        "source": f"session {item.session_id}, turn {position}",
        "hash": item.digest,
        "messages": [{"role": message["role"], "content": message["content"]} for message in messages],
        "tools": item.tools,
        **({"calls": calls} if calls else {"direct": True}),
    }

"""What the warehouse knows of a conversation: its requests and their events, and what was made of it.

In: a home, perhaps without a snapshot, and ids. Out: plain dicts with the names of the columns they come from
(docs/schema.md).
"""

from __future__ import annotations

import json
from typing import Any, Literal

from tracemill.curate.errors import RecipeError
from tracemill.curate.manifest import Manifest
from tracemill.curate.recipe import parse
from tracemill.curate.sources import SourceOptions
from tracemill.tracer.home import Home
from tracemill.warehouse.errors import QueryError
from tracemill.warehouse.read import connect, query
from tracemill.warehouse.sessions import rows

Row = dict[str, Any]
Kind = Literal["session", "run", "request", "tool call"]

_NAMED = """
SELECT 'session' AS kind, session_id, NULL AS id FROM sessions WHERE session_id = $name
UNION ALL SELECT 'request', session_id, request_id FROM requests WHERE request_id = $name
UNION ALL SELECT DISTINCT 'run', session_id, run_id FROM requests WHERE run_id = $name
UNION ALL SELECT 'tool call', session_id, request_id FROM tool_calls WHERE call_id = $name
LIMIT 1
"""
_CONVERSATIONS = """
SELECT c.conversation_id, r.session_id, list(c.request_id) AS requests, list(DISTINCT r.run_id) AS runs
FROM conversation_requests AS c JOIN requests AS r USING (request_id)
WHERE c.conversation_id IN (SELECT request_id FROM requests WHERE session_id = $session)
GROUP BY ALL ORDER BY min(r.sent), c.conversation_id
"""
_REQUESTS = """
SELECT c.request_id, r.session_id, r.run_id, r.step, r.model, r.sent
FROM conversation_requests AS c JOIN requests AS r USING (request_id)
WHERE c.conversation_id = $id
ORDER BY c.first_position, r.sent, r.step
"""
_EVENTS = "SELECT event_id, file, byte_offset FROM events WHERE kind = 'request' AND session_id = $session"
_MADE = """
SELECT 'data set' AS kind, dataset_id AS id, d.path, list(DISTINCT w.split) AS splits, d.created
FROM dataset_rows AS w JOIN datasets AS d USING (dataset_id)
WHERE w.row_id = $id OR starts_with(w.row_id, $id || '@') GROUP BY ALL
"""
_ADAPTERS = """
SELECT 'adapter' AS kind, training_id AS id, path, dataset_id, created
FROM training_runs WHERE list_contains($datasets, dataset_id)
"""
_IDS = """
SELECT session_id AS id FROM sessions
UNION SELECT run_id FROM requests UNION SELECT request_id FROM requests
"""


def named(home: Home, name: str) -> tuple[Kind | None, list[Row]]:
    """What the id `name` is an id of, and the conversations of that: conversation_id, session_id."""
    if not home.snapshot.exists():
        return None, []
    with connect(home) as connection:
        found = rows(connection, _NAMED, {"name": name})
        if not found:
            return None, []
        kind, wanted = found[0]["kind"], found[0]["id"]
        of_session = rows(connection, _CONVERSATIONS, {"session": found[0]["session_id"]})
    key = {"request": "requests", "tool call": "requests", "run": "runs"}.get(kind)
    return kind, [one for one in of_session if not key or wanted is None or wanted in one[key]]


def requests_of(home: Home, conversation_id: str) -> list[Row]:
    """The requests that a conversation is made of, each with its event and where that stands in the spool."""
    if not home.snapshot.exists():
        return []
    with connect(home) as connection:
        found = rows(connection, _REQUESTS, {"id": conversation_id})
        sessions = {one["session_id"] for one in found}
        events = [event for name in sessions for event in rows(connection, _EVENTS, {"session": name})]
    by_request = {name: event for event in events if (name := _request_at(home, event)) is not None}
    unknown = {"event_id": None, "file": None, "byte_offset": None}
    return [{**one, **by_request.get(one["request_id"], unknown)} for one in found]


def _request_at(home: Home, event: Row) -> str | None:
    """The request that an event in the spool is about; null where its file is gone or was rewritten."""
    try:
        with (home.spool / event["file"]).open("rb") as spool:
            spool.seek(event["byte_offset"])
            return json.loads(spool.readline()).get("request_id")
    except (OSError, ValueError, AttributeError):
        return None


def made_of(home: Home, conversation_id: str) -> list[Row]:
    """The data sets that hold rows of a conversation, and the adapters made of these."""
    if not home.snapshot.exists():
        return []
    with connect(home) as connection:
        datasets = rows(connection, _MADE, {"id": conversation_id})
        splits = {one["id"]: one["splits"] for one in datasets}
        # An adapter learned from the training split, and was chosen by the validation split.
        seen = [name for name, held in splits.items() if {"train", "valid"} & set(held)]
        adapters = rows(connection, _ADAPTERS, {"datasets": seen}) if seen else []
    return [*datasets, *({**one, "splits": splits[one["dataset_id"]]} for one in adapters)]


def known_ids(home: Home) -> list[str]:
    """The ids of every session, run and request."""
    if not home.snapshot.exists():
        return []
    return query(home, _IDS)["id"].drop_nulls().to_list()


def unread(home: Home, manifest: Manifest, conversation_id: str) -> str:
    """Why a recorded conversation reached no step of the recipe."""
    own = [one for one in manifest.sources if one.kind == "warehouse"]
    if not own:
        others = ", ".join(f"{one.name} ({one.kind})" for one in manifest.sources)
        return f"the recipe does not read the warehouse; its sources are {others}"
    identity = f"conversation_id = '{conversation_id.replace(chr(39), chr(39) * 2)}'"
    complete = query(home, f"SELECT complete FROM conversations WHERE {identity}")
    if not complete.height:
        return "none of its messages was recorded"
    if not complete["complete"][0]:
        return (
            "it is not complete: some of its messages, or the tools that were offered, were not recorded, "
            "and only complete conversations are read"
        )
    refused: list[str] = []
    for one in own:
        if one.where and not _meets(home, identity, one.where):
            part = next(
                (part for part in _parts(manifest, one.name) if not _meets(home, identity, part)), one.where
            )
            refused.append(f"the source {one.name} reads only conversations where {part}")
    if len(refused) == len(own):
        return "; ".join(refused)
    return (
        "it meets the condition of the source now, and did not when the data set was made: it was recorded "
        "or changed later; export again to take it in"
    )


def _parts(manifest: Manifest, source: str) -> list[str]:
    """The conditions that a source of the recipe is made of, as it was written."""
    try:
        options = next(one for one in parse(manifest.recipe, "the recipe").sources if one.title == source)
    except (RecipeError, StopIteration):  # a recipe of another version of Tracemill
        return []
    keys = ("where", "agent", "project", "branch", "model", "since", "until")
    given = ({key: value} for key in keys if (value := getattr(options, key)) is not None)
    return [condition for one in given if (condition := SourceOptions.model_validate(one).condition())]


def _meets(home: Home, identity: str, condition: str) -> bool:
    try:
        return query(home, f"FROM conversations WHERE {identity} AND ({condition}\n)").height > 0
    except QueryError:  # a condition of another version's columns
        return True

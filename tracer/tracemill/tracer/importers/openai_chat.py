"""Sessions kept as OpenAI-style message lists.

In: records, each a list of messages or an object that holds one. Out: sessions of one run, with a turn for
every answer. Times, tokens and the fate of calls are not known: a call that has a result went well. What the
messages hold besides is kept in the metadata, for a dump in the same format.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from tracemill.tracer.dumps import openai_chat as writer
from tracemill.tracer.importers.chat_messages import (
    API_FIELDS,
    Conversation,
    read_conversation,
    read_tools,
)
from tracemill.tracer.importers.described import metadata_of, outcomes_of
from tracemill.tracer.importers.imported_session import ImportedCall, ImportedRun, ImportedSession, turns_of
from tracemill.tracer.importers.options import Options
from tracemill.tracer.importers.records import Record, Source, field_at, made_of_each, scalars
from tracemill.tracer.importers.residue import difference, kept_names
from tracemill.tracer.importers.stored_form import as_stored
from tracemill.tracer.importers.values import as_list, as_object
from tracemill.tracer.messages import Message, content_id

NAME = "openai-chat"

_TOOL_FIELDS = ("tools", "functions")
_MESSAGE_FIELDS = ("messages", "traj", "trajectory.messages")
# What a record says it is: with the same messages but another trial it is another session.
_OWN_IDS = ("id", "session_id", "conversation_id", "task_id", "instance_id", "trial")


def looks_like(records: Sequence[Any]) -> bool:
    """Whether a record is a list of messages or holds one in one of the usual places."""
    return any(
        isinstance(items, list) and any(_is_message(item) for item in cast("list[Any]", items))
        for record in records
        for items in (record, *(field_at(record, path) for path in _MESSAGE_FIELDS))
    )


def read(sources: Sequence[Source], options: Options) -> Iterator[ImportedSession]:
    """A session for each record; TracemillError, with the place, where one is none."""
    return made_of_each(_session, sources, options)


def _session(record: Record, source: Source, options: Options, copies: Counter[str]) -> ImportedSession:
    field, items = _messages_of(record, options)
    try:
        talk, tools = read_conversation(items, keep_files=True), read_tools(record.value)
    except ValueError as error:
        raise record.refusal(f"{error}; mend or remove the record") from error
    turns, rest = turns_of(talk.messages, _calls(talk))
    own = {name: item for name, item in scalars(record.value) if name in _OWN_IDS}
    same = content_id({"messages": [_said(message) for message in talk.messages], "own": own})
    copies[same] += 1
    session = ImportedSession(
        session_id=content_id([same, copies[same]]),
        source=NAME,
        agent=options.agent or "imported",
        ts=source.modified,
        runs=[ImportedRun(turns, model=str(field_at(record.value, "model") or "unknown"))],
        metadata=metadata_of(record, options),
        tools=tools or None,
        rest=rest,
        outcomes=outcomes_of(record, options),
        left_out=talk.left_out,
    )
    return _with_residue(session, field, items, record.value) if turns else session


def _with_residue(
    session: ImportedSession, field: str | None, items: list[Any], value: Any
) -> ImportedSession:
    """The session with what its record says otherwise than a dump of it would.

    Fields that the API does not know are no part of the format; nor are objects and lists beside the messages
    and the tools. They are counted.
    """
    names: dict[str, str] = {}
    theirs: dict[str, Any] = {"messages": [_plain(as_object(item), names) for item in items]}
    for name, item in as_object(value).items():
        if name in _TOOL_FIELDS or not isinstance(item, (dict, list)):
            theirs[name] = item
        elif field is None or name != field.partition(".")[0]:
            session.left_out[f"field {name} beside the messages"] += 1
    (ours,) = writer.write(as_stored(session), Counter())
    residue = difference(ours, theirs) or {}
    if session.tools is None and "tools" not in theirs:
        # Tools that are inferred when it is stored are none that the record told of.
        residue = {**residue, "drop": [*residue.get("drop", []), "tools"]}
    session.kept.update(kept_names(residue))
    return replace(session, metadata={**session.metadata, NAME: residue}) if residue else session


def _plain(item: Mapping[str, Any], names: dict[str, str]) -> dict[str, Any]:
    """A message as it is mostly written, where there are several ways to say the same.

    `names` are those of the tools by call id, and are added to.
    """
    made = {name: value for name, value in item.items() if name in API_FIELDS}
    pieces = [as_object(piece) for piece in as_list(made.get("content"))]
    if pieces and all(piece.keys() == {"type", "text"} and piece["type"] == "text" for piece in pieces):
        made["content"] = "".join(str(piece["text"]) for piece in pieces)
    if made.get("content") == "" and made.get("tool_calls"):
        made["content"] = None
    if made["role"] == "tool" and "name" in made and names.get(str(made.get("tool_call_id"))) == made["name"]:
        del made["name"]
    for call in map(as_object, as_list(made.get("tool_calls"))):
        names[str(call.get("id"))] = str(as_object(call.get("function")).get("name"))
    return made


def _messages_of(record: Record, options: Options) -> tuple[str | None, list[Any]]:
    """The messages of a record, and the field that holds them if it is no list itself."""
    if isinstance(record.value, list):
        return None, cast("list[Any]", record.value)
    named = (options.messages_field,) if options.messages_field else _MESSAGE_FIELDS
    for path in named:
        items = field_at(record.value, path)
        if isinstance(items, list):
            return path, cast("list[Any]", items)
    raise record.refusal(
        f"there is no list of messages under {' or '.join(named)}; name the field that holds it"
    )


def _calls(talk: Conversation) -> dict[int, list[ImportedCall]]:
    calls: dict[int, list[ImportedCall]] = {}
    for number, made in enumerate(talk.calls):
        status = None if made.result is None else "ok"
        call = ImportedCall(number, made.call, made.raw_arguments, status, made.result)
        calls.setdefault(made.turn, []).append(call)
    return calls


def _said(message: Message) -> dict[str, Any]:
    # What was thought and shown besides is not what a session is known by.
    return {name: value for name, value in message.items() if name not in ("thinking", "attachments")}


def _is_message(item: Any) -> bool:
    return isinstance(item, dict) and isinstance(cast("dict[str, Any]", item).get("role"), str)

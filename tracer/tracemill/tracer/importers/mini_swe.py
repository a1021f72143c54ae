"""Sessions of mini-swe-agent: trajectories as it saves them, or records that hold one under `trajectory`.

In: `.traj.json` files, or JSON lines such as {"instance_id", "resolved", "trajectory": {"info", "messages"}}.
Out: sessions of one run whose tool is `bash` {command}.

Up to version 1, and where it is told to, the agent acts through a block of text in each answer and is shown
what came of it as a user message (https://mini-swe-agent.com/latest/advanced/v2_migration/). Such a block
becomes a call of `bash`: the answer keeps its prose, the block is the call's raw arguments, and what the
agent was shown is its result. All other messages stay as they were recorded, the system prompt too, although
it asks for blocks.
- A command that ran has the status `ok`, whatever it returned: a return code is what a command says, not a
  failure of the tool, and the agent goes on from it. It stands in the result, as the agent was shown it. One
  that was killed or could not be run is an `error`.
- An answer with several blocks was refused by the agent. It stays as said; its blocks are calls with the
  status `invalid`, and what the agent was told is their error.
- `resolved` is the outcome; the instance is the task.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from tracemill.tracer.events import ToolStatus
from tracemill.tracer.importers.chat_messages import Conversation, FoundCall, read_conversation
from tracemill.tracer.importers.described import metadata_of, outcomes_of
from tracemill.tracer.importers.imported_session import (
    ImportedCall,
    ImportedRun,
    ImportedSession,
    ImportedTurn,
    Outcome,
    refusals,
    turns_of,
)
from tracemill.tracer.importers.mini_swe_messages import (
    chat_messages,
    dialect_of,
    interruption,
    written_blocks,
)
from tracemill.tracer.importers.options import Options
from tracemill.tracer.importers.records import Record, Source, field_at, made_of_each
from tracemill.tracer.importers.responses_items import plain_content
from tracemill.tracer.importers.values import as_count, as_list, as_object, as_text, as_time
from tracemill.tracer.messages import Tool, content_id

NAME = "mini-swe-agent"

BASH: Tool = {
    "name": "bash",
    "description": "Execute a bash command",
    "parameters": {
        "type": "object",
        "properties": {"command": {"type": "string", "description": "The bash command to execute"}},
        "required": ["command"],
    },
}
"""The tool as version 2 offers it to models."""

_KILLED = "The last command <command>"
"""How version 1 tells of a command that took too long."""
_INSTANCE = re.compile(r"(?P<owner>.+)__(?P<name>.+)-\d+")


def looks_like(records: Sequence[Any]) -> bool:
    """Whether a record is a trajectory or holds one."""
    return any(
        str(trajectory.get("trajectory_format", "")).startswith(NAME)
        or "mini_version" in as_object(trajectory.get("info"))
        for record in records
        for trajectory in (as_object(record), as_object(as_object(record).get("trajectory")))
    )


def read(sources: Sequence[Source], options: Options) -> Iterator[ImportedSession]:
    """A session for each trajectory; TracemillError, with the place, where a record is none."""
    return made_of_each(_session, sources, options)


def _session(record: Record, source: Source, options: Options, copies: Counter[str]) -> ImportedSession:
    holder = as_object(record.value)
    trajectory = as_object(holder.get("trajectory")) or holder
    recorded = [as_object(item) for item in as_list(trajectory.get("messages"))]
    if not recorded:
        raise record.refusal("there is no trajectory with messages")
    info = as_object(trajectory.get("info"))
    blocks = dialect_of(trajectory)
    try:
        talk = read_conversation(chat_messages(recorded, blocks))
    except ValueError as error:
        raise record.refusal(f"{error}; mend or remove the record") from error
    model = as_text(field_at(info, "config.model.model_name")) or "unknown"
    turns, rest = turns_of(talk.messages, _calls(talk, recorded, blocks))
    turns = [_measured(turn, recorded[at]) for turn, at in zip(turns, _answers(talk), strict=True)]
    instance = as_text(holder.get("instance_id")) or as_text(trajectory.get("instance_id"))
    same = content_id([instance, [[item.get("role"), item.get("content")] for item in recorded]])
    copies[same] += 1
    times = [time for item in recorded for time in (_sent(item), _written(item)) if time is not None]
    run = ImportedRun(
        turns,
        model=model,
        started=min(times, default=None),
        ended=max(times, default=None),
        stop_reason=as_text(info.get("exit_status")),
    )
    return ImportedSession(
        session_id=content_id([NAME, same, copies[same]]),
        source=NAME,
        agent=options.agent or NAME,
        ts=min(times, default=source.modified),
        runs=[run],
        project=as_text(field_at(info, "config.environment.cwd")) or "",
        metadata=_metadata(record, info, instance, options),
        tools=options.tools or [BASH],
        rest=rest,
        outcomes=_outcomes(record, options),
        feedback=refusals([run]),
        left_out=talk.left_out + _left_out(info, recorded),
    )


def _answers(talk: Conversation) -> list[int]:
    return [index for index, message in enumerate(talk.messages) if message["role"] == "assistant"]


def _calls(
    talk: Conversation, recorded: Sequence[dict[str, Any]], blocks: re.Pattern[str]
) -> dict[int, list[ImportedCall]]:
    calls: dict[int, list[ImportedCall]] = {}
    for number, made in enumerate(talk.calls):
        of_turn = calls.setdefault(made.turn, [])
        written = written_blocks(recorded[made.turn], blocks)
        raw = written[len(of_turn)] if written else made.raw_arguments
        call = ImportedCall(number, made.call, raw, started=_written(recorded[made.turn]))
        of_turn.append(_ended(call, made, recorded))
    return calls


def _ended(call: ImportedCall, made: FoundCall, recorded: Sequence[dict[str, Any]]) -> ImportedCall:
    """A call with what became of it."""
    if made.answered is None:
        # Refused, with a user message that says why; or the last thing there is.
        after = next(iter(recorded[made.turn + 1 : made.turn + 2]), {})
        if after.get("role") != "user":
            return call
        return replace(call, status=_refused(after), error=plain_content(after.get("content")))
    answer = recorded[made.answered]
    call = replace(call, result=made.result, ended=_written(answer))
    exception = as_text(as_object(answer.get("extra")).get("exception_info"))
    if exception is not None and "not executed" in exception:
        after = next((item for item in recorded[made.answered + 1 :] if interruption(item)), {})
        return replace(call, status=_refused(after) if after else "cancelled", error=exception)
    if exception is not None:
        return replace(call, status="error", error=exception)
    if (made.result or "").startswith(_KILLED):
        return replace(call, status="error", result=None, error=made.result)
    return replace(call, status="ok")


def _refused(told: dict[str, Any]) -> ToolStatus:
    why = interruption(told) or "FormatError"
    return "invalid" if why == "FormatError" else "denied" if why == "UserRejection" else "cancelled"


def _measured(turn: ImportedTurn, answer: dict[str, Any]) -> ImportedTurn:
    """What the response of the model's server, kept beside an answer, says of it."""
    response = as_object(as_object(answer.get("extra")).get("response")) or answer
    usage = as_object(response.get("usage"))
    choice = as_object(next(iter(as_list(response.get("choices"))), None))
    return replace(
        turn,
        sent=_sent(answer),
        received=_written(answer),
        answered_by=as_text(response.get("model")),
        finish_reason=as_text(choice.get("finish_reason")) or as_text(response.get("status")),
        input_tokens=_first(usage, "prompt_tokens", "input_tokens"),
        output_tokens=_first(usage, "completion_tokens", "output_tokens"),
    )


def _sent(message: dict[str, Any]) -> float | None:
    """When the server began to answer, in whole seconds."""
    response = as_object(as_object(message.get("extra")).get("response")) or message
    return as_time(response.get("created")) or as_time(response.get("created_at"))


def _written(message: dict[str, Any]) -> float | None:
    return as_time(as_object(message.get("extra")).get("timestamp"))


def _first(usage: dict[str, Any], *names: str) -> int | None:
    return next((count for name in names if (count := as_count(usage.get(name))) is not None), None)


def _metadata(record: Record, info: dict[str, Any], instance: str | None, options: Options) -> dict[str, Any]:
    config = as_object(info.get("config"))
    stats = as_object(info.get("model_stats"))
    metadata = {
        **metadata_of(record, options),
        "exit_status": info.get("exit_status"),
        "mini_version": info.get("mini_version"),
        "cost": stats.get("instance_cost"),
        "api_calls": stats.get("api_calls"),
        "model": config.get("model"),
        "environment": config.get("environment"),
    }
    if instance is not None:
        metadata.setdefault("task", instance)
        metadata["instance_id"] = instance
        if named := _INSTANCE.fullmatch(instance):
            metadata["repository"] = f"{named['owner']}/{named['name']}"
    return {name: value for name, value in metadata.items() if value is not None}


def _outcomes(record: Record, options: Options) -> list[Outcome]:
    asked = options if options.outcome_field else replace(options, outcome_field="resolved")
    return outcomes_of(record, asked)


def _left_out(info: dict[str, Any], recorded: Sequence[dict[str, Any]]) -> Counter[str]:
    found: Counter[str] = Counter()
    if as_object(as_object(info.get("config")).get("agent")):
        found["templates and limits of the agent (info.config.agent)"] += 1
    for item in recorded:
        if interruption(item) == "FormatError" and as_object(item.get("extra")).get("response"):
            found["answer that the agent refused and did not keep"] += 1
        raw = as_object(item.get("extra")).get("raw_output")
        if isinstance(raw, str) and raw not in str(item.get("content", item.get("output", ""))):
            found["output that the model was shown a part of (raw_output)"] += 1
    return found

"""`tracemill show`: one session, as it was said and done."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from tracemill.cli import output

Row = dict[str, Any]


def show(
    session: Annotated[str, typer.Argument(help="Session id, or the beginning of one.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Read one session: its runs, messages, and tool calls with their status and latency."""
    from tracemill.cli.fresh import fresh_home
    from tracemill.warehouse.sessions import find, transcript

    home = fresh_home()
    found = transcript(home, find(home, session))
    if as_json:
        output.emit_json(found)
        return
    _heading(found["session"])
    for run in found["runs"]:
        _run(run)
    for given in found["outcomes"]:
        _label("outcome", given["outcome"], given)
    for given in found["feedback"]:
        _label("feedback on " + str(given["target"]), given["score"], given)


def _heading(session: Row) -> None:
    output.say(f"session {session['session_id']}", style="bold")
    for name, value in session.items():
        if value is not None and name != "session_id":
            output.say(f"  {name:14} {output.one_line(value)}")


def _run(run: Row) -> None:
    output.say()
    facts = [run["agent"], run["model"], run["status"], _took(run.get("latency_ms")), run.get("error")]
    output.say(f"run {run['run_id']}  " + _facts(facts), style="bold")
    for step in run["steps"]:
        for message in step["messages"]:
            _message(message)
        _response(step)
    for call in run["other_calls"]:
        _call(call)


def _message(message: Row) -> None:
    whose = f"{message['role']} {message['name']}" if message.get("name") else str(message["role"])
    output.say(f"\n[{whose}]", style="cyan")
    output.say(str(message["content"]))


def _response(step: Row) -> None:
    tokens = [
        f"{step[name]} {name.removesuffix('_tokens')} tokens"
        for name in ("input_tokens", "output_tokens")
        if step[name]
    ]
    output.say(f"\n[assistant] {_facts([step['model'], _took(step['latency_ms']), *tokens])}", style="green")
    if step["error"]:
        output.say(f"failed: {step['error']}", style="red")
    response: Row = step["response"] or {}
    if response.get("content"):
        output.say(str(response["content"]))
    executed = {call["tool_call_id"]: call for call in step["calls"]}
    for wanted in response.get("tool_calls", []):
        call = executed.pop(wanted["id"], None)
        _call(
            call or {"tool": wanted["name"], "raw_arguments": wanted["arguments"], "status": "not executed"}
        )
    for call in executed.values():
        _call(call)


def _call(call: Row) -> None:
    written = call["raw_arguments"]
    arguments = written if isinstance(written, str) else json.dumps(written, ensure_ascii=False)
    facts = _facts([call["status"], _took(call.get("latency_ms")), call.get("error")])
    style = None if call["status"] in ("ok", "deferred") else "red"
    output.say(f"  {call['tool']}({arguments})  {facts}", style=style)


def _label(what: str, value: object, given: Row) -> None:
    output.say()
    output.say(f"{what}: {_facts([value, given.get('source'), given['note']])}", style="bold")


def _took(milliseconds: float | None) -> str | None:
    return None if milliseconds is None else f"{milliseconds:.0f} ms"


def _facts(facts: list[Any]) -> str:
    return ", ".join(str(fact) for fact in facts if fact not in (None, ""))

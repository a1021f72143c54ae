"""`tracemill import`: sessions that others recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from tracemill.cli import output


def import_sessions(
    format: Annotated[Literal["openai-chat"], typer.Argument(help="How the file is laid out.")],
    path: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="JSON or JSON lines, plain or gzipped.")
    ],
    messages_field: Annotated[
        str | None, typer.Option(help="Where the messages are in a record, as a dotted path.")
    ] = None,
    outcome_field: Annotated[
        str | None, typer.Option(help="Where it says whether the session did what it should.")
    ] = None,
    task_field: Annotated[str | None, typer.Option(help="Where the task is named.")] = None,
    tools: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="JSON list of the tools offered, in OpenAI's form, where the sessions do not hold them.",
        ),
    ] = None,
    agent: Annotated[str, typer.Option(help="Name of the agent that was recorded.")] = "imported",
) -> None:
    """Import sessions kept as OpenAI-style message lists; importing again adds nothing."""
    from tracemill.cli.fresh import ingest_now
    from tracemill.tracer.home import Home
    from tracemill.tracer.importers.openai_chat import Options, import_openai_chat, read_tool_file

    home = Home.find()
    offered = tuple(read_tool_file(tools)) if tools else ()
    options = Options(messages_field, outcome_field, task_field, agent, offered)
    with output.progress() as progress:
        found = import_openai_chat(path, home, options, progress)
    report = ingest_now(home)
    output.say(
        f"{found.sessions} {format} sessions with {found.messages} messages, {found.tool_calls} tool calls "
        f"and {found.outcomes} outcomes; {report.sessions} sessions are new or have grown."
    )
    if found.inferred:
        names = ", ".join(found.inferred)
        output.hint(
            f"The file does not say which tools were offered; they were inferred from the calls: {names}. "
            "--tools gives the real ones."
        )
    for what, count in found.left_out.most_common():
        output.hint(f"left out: {count} x {what}.")

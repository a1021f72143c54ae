"""`tracemill dataset stats`: what is in a data set, in numbers."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tracemill.cli import output
from tracemill.cli.dataset.words import AsJson, Data, Model, chat_of


def stats(
    data: Data,
    model: Model = None,
    languages: Annotated[
        bool, typer.Option("--languages", help="Also tell the languages of the prompts, which takes longer.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Count rows, turns, tool calls, lengths, wire formats and repeated prompts of a data set."""
    from tracemill.curate.datasets.facts import scan
    from tracemill.curate.datasets.opened import find
    from tracemill.curate.datasets.stats import stats as count
    from tracemill.tracer.home import Home

    home = Home.find()
    opened = find(data, home)
    with output.progress() as progress:
        chat = chat_of(model, home, progress)
        found = count(scan(opened, progress, features=["prose"] if languages else [], chat=chat))
    if as_json:
        output.emit_json({"path": opened.path, **found})
    else:
        _show(found)


def _show(found: dict[str, Any]) -> None:
    output.table(
        ("split", "rows", "assistant turns", "tool calls", "characters"),
        [(split, *counts.values()) for split, counts in found["splits"].items()],
    )
    sizes = ("messages", "characters", "tokens")
    keys = ("least", "median", "p95", "most", "all")
    output.table(
        ("a row has", *keys),
        [(name, *(found[name][key] for key in keys)) for name in sizes if found[name]],
    )
    output.table(("what", "how many", "which"), _lines(found))
    if found["most_repeated_prompts"]:
        output.table(("rows", "prompt"), [(n, _cut(one)) for one, n in _few(found["most_repeated_prompts"])])
    if found["unread"]:
        output.hint(
            f"{found['unread']} lines cannot be read; `tracemill dataset validate` says which and why."
        )


def _lines(found: dict[str, Any]) -> list[tuple[str, int, str]]:
    calls, rows, formats = found["calls"], found["rows"], found["wire_formats"]
    turns = found["roles"]["assistant"]
    told: list[tuple[str, int, str]] = [
        ("messages by role", sum(found["roles"].values()), _told(found["roles"])),
        ("rows with a tool call", calls["rows"], f"{100 * calls['share_of_rows']:.1f}% of {rows}"),
        ("turns with a tool call", calls["turns"], f"{100 * calls['share_of_turns']:.1f}% of {turns}"),
        ("turns with a call that cannot be read", calls["unreadable_turns"], ""),
        ("tools called", calls["tools"], _told(calls["per_tool"])),
        ("rows by wire format of their calls", sum(formats.values()), _told(formats)),
        ("rows that offer tools", found["rows_with_tools_offered"], ""),
        ("preference pairs", found["pairs"], ""),
        ("different system prompts", found["system_prompts"], _told(found["most_system_prompts"], 2)),
        ("rows that repeat another", found["repeated_rows"], ""),
        ("rows that repeat a prompt", found["repeated_prompts"], ""),
        ("categories", len(found["categories"]), _told(found["categories"])),
    ]
    if found["languages"] is not None:
        told.append(("languages of prompts", len(found["languages"]), _told(found["languages"])))
    return told


def _told(tally: dict[str, int], most: int = 8) -> str:
    listed = ", ".join(f"{_cut(name)} {count}" for name, count in _few(tally, most))
    return listed + (", ..." if len(tally) > most else "")


def _few(tally: dict[str, int], most: int = 8) -> list[tuple[str, int]]:
    return list(tally.items())[:most]


def _cut(text: str, most: int = 70) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else line[:most] + "..."

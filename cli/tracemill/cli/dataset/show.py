"""`tracemill dataset show`: one row of a data set, with what is learned of it in colour."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tracemill.cli import output
from tracemill.cli.dataset.words import AsJson, MaybeData, WhichRow

if TYPE_CHECKING:
    from tracemill.curate.datasets.showing import Piece, Shown
    from tracemill.tracer.messages import Message


def show(
    row: WhichRow,
    data: MaybeData = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Base model whose chat template renders it: shows the very tokens, and which are learned."
        ),
    ] = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="Show secrets too, which are placeholders otherwise.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Read one row like a conversation; assistant turns that are learned are green.

    A row is named by its id, or by split and line: train:12. What looks like a secret is masked.
    """
    from tracemill.curate.datasets.finding import find_row, opened
    from tracemill.curate.datasets.showing import pieces, without_secrets
    from tracemill.curate.datasets.showing import show as read
    from tracemill.tracer.home import Home

    home = Home.find()
    found = opened(data, home, pairs=True)
    whole = read(find_row(found, row), found.folder)
    clean, kinds = without_secrets(whole)
    shown = whole if raw else clean
    sequences: list[list[Piece]] | None = None
    if model is not None:
        from tracemill.curate.chat.template import Chat
        from tracemill.train.base import resolve

        with output.progress() as progress:
            sequences = pieces(shown, Chat.load(resolve(model, home, progress).path))
    if kinds:
        _warn(kinds, raw, model)
    if as_json:
        output.emit_json(_object(shown, sequences))
        return
    _head(shown)
    if sequences is None:
        _talk(shown)
    else:
        _tokens(sequences)


def _warn(kinds: list[str], raw: bool, model: str | None) -> None:
    """Say that the row holds a secret, and what became of it here."""
    shown = "so mind where you paste it"
    if not raw:
        tokens = ", as are the tokens" if model else ""
        shown = f"masked here{tokens}; --raw shows the row as it stands in the file"
    output.hint(
        f"The row holds what looks like a secret ({', '.join(kinds)}), {shown}; the recipe step "
        "[steps.secrets] drops such rows."
    )


def _object(shown: Shown, sequences: list[list[Piece]] | None) -> dict[str, Any]:
    placed = shown.placed
    made: dict[str, Any] = {
        "id": placed.id,
        "split": placed.split,
        "file": placed.file,
        "line": placed.line,
        "row": placed.row,
        "learned": shown.learned,
        "put_out": {str(at): step for at, step in shown.put_out.items()},
        "origin": shown.origin,
    }
    if sequences is not None:
        made["sequences"] = [[asdict(piece) for piece in sequence] for sequence in sequences]
    return made


def _head(shown: Shown) -> None:
    placed, origin = shown.placed, shown.origin or {}
    output.say(f"row {placed.id}", style="bold")
    output.say(f"  {'stands in':10} {placed.file.name}, line {placed.line} ({placed.split})")
    facts = {
        key: value for key, value in {**placed.row, **origin}.items() if isinstance(value, str) and value
    }
    for key in ("session_id", "agent", "source", "origin", "task", "category", "outcome"):
        if key in facts:
            output.say(f"  {key.removesuffix('_id'):10} {output.one_line(facts[key])}")
    turns = len(shown.talk.assistants)
    output.say(f"  {'learned':10} {len(shown.learned)} of {turns} assistant turns")
    tools = ", ".join(output.one_line(tool["name"]) for tool in shown.talk.tools) or "none"
    output.say(f"  {'tools':10} {tools}")


def _talk(shown: Shown) -> None:
    for position, message in enumerate(shown.talk.messages):
        whose = " ".join(part for part in (message["role"], message.get("name", "")) if part)
        style: str | None = None
        if message["role"] == "assistant":
            style = "green" if position in shown.learned else "dim"
            whose += ", learned" if style == "green" else f", out of the loss{_by(shown, position)}"
            if shown.rejected and style == "green":
                whose = "assistant, chosen"
        output.say(f"\n[{position} {output.one_line(whose)}]", style=style or "cyan")
        _said(message, style)
    for message in shown.rejected:
        output.say(f"\n[{message['role']}, rejected]", style="red")
        _said(message, "red")


def _said(message: Message, style: str | None) -> None:
    if message["content"]:
        output.say(message["content"], style=style)
    for call in message.get("tool_calls", []):
        output.say(f"  {json.dumps(call, ensure_ascii=False)}", style=style)


def _by(shown: Shown, position: int) -> str:
    step = shown.put_out.get(position)
    if step is None:
        return ""
    return ", as its source has it" if step == "source" else f" by the step {step}"


def _tokens(sequences: list[list[Piece]]) -> None:
    for number, sequence in enumerate(sequences, start=1):
        if len(sequences) > 1:
            output.say(f"\nsequence {number} of {len(sequences)}", style="bold")
        for piece in sequence:
            what, style = ("learned", "green") if piece.learned else ("not learned", "dim")
            output.say(f"\n[{len(piece.tokens)} tokens, {what}]", style=style)
            output.say(piece.text, style=style)
    if not sequences:
        output.say("\nNo turn of it is learned, so it is trained as no tokens.")

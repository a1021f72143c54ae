"""`tracemill suite`: what a model can be asked, and suites of one's own.

In: the words after `suite`. Out: the suites there are, the items of one, what is wrong with one, or a file of
held-out tasks from the user's own sessions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tracemill.cli import output

if TYPE_CHECKING:
    from tracemill.evaluate.suites import ItemSuite, Size

Which = Annotated[
    str, typer.Argument(metavar="SUITE", help="holdout, guard, bfcl, bfcl-steps, or a .toml or .jsonl file.")
]
SizeOption = Annotated[
    Literal["quick", "standard", "full"], typer.Option(help="At most 48 items, 240, or all there are.")
]
DatasetOption = Annotated[Path | None, typer.Option(help="Folder of a data set: what holdout is taken from.")]
SplitOption = Annotated[Literal["train", "valid", "test"], typer.Option(help="Which rows of it.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def suite() -> None:
    """Look into suites, check one of your own, or draw one from your own sessions."""


def list_suites(as_json: AsJson = False) -> None:
    """List the suites: what each asks, how many items a size has at most, where they come from."""
    from tracemill.evaluate.suites.catalogue import catalogue
    from tracemill.evaluate.suites.suite import SIZES

    found = catalogue()
    if as_json:
        output.emit_json([asdict(one) for one in found])
        return
    rows = [
        (one.name, one.asks, *(_size(one.sizes, size) for size in SIZES), one.source, one.missing)
        for one in found
    ]
    output.table(("suite", "what it asks", *SIZES, "items from", "missing here"), rows)
    output.hint(
        "`tracemill suite show SUITE` shows the items; `tracemill evaluate MODEL --suite SUITE` asks."
    )


def show(
    which: Which,
    size: SizeOption = "quick",
    dataset: DatasetOption = None,
    split: SplitOption = "test",
    as_json: AsJson = False,
) -> None:
    """Show the items of a suite: id, category, what is asked, what is right, source and hash."""
    from tracemill.evaluate.guard.items import suite_digest
    from tracemill.evaluate.report_items import turn_text

    _refuse_idle(which, dataset, split)
    if which == "guard":
        _show_items(which, size, suite_digest(size), _guard(size), as_json)
        return
    found = _load(which, size, dataset, split)
    shown = [
        {
            "id": item.id,
            "category": item.category,
            "asked": item.asked,
            "expected": turn_text(item.expected),
            "tools": [tool["name"] for tool in item.tools],
            "source": item.source,
            "hash": item.digest,
        }
        for item in found.items
    ]
    _show_items(found.name, found.size, found.digest, shown, as_json, found.note)


def _show_items(
    name: str, size: Size, digest: str, shown: Sequence[Mapping[str, object]], as_json: bool, note: str = ""
) -> None:
    if as_json:
        told = {"note": note} if note else {}
        output.emit_json({"suite": name, "size": size, "hash": digest, **told, "items": shown})
        return
    columns = ("id", "category", "asked", "expected", "hash")
    rows = [[_short(str(one[column])) for column in columns[:-1]] + [str(one["hash"])[:8]] for one in shown]
    output.table(columns, rows)
    if note:
        output.hint(note)


def _guard(size: Size) -> list[dict[str, object]]:
    """The items and texts of the guard."""
    from tracemill.evaluate.guard.items import guard_items, passages

    items: list[dict[str, object]] = [
        {
            "id": item.id,
            "category": item.category,
            "asked": item.ask,
            "expected": " or ".join(item.right) or "(code that meets its checks)",
            "tools": [],
            "source": item.source,
            "hash": item.digest,
        }
        for item in guard_items(size)
    ]
    return items + [
        {
            "id": text.id,
            "category": f"text in {text.kind}",
            "asked": text.text,
            "expected": "(to be predicted)",
            "tools": [],
            "source": text.source,
            "hash": text.digest,
        }
        for text in passages(size)
    ]


def check(
    which: Which, dataset: DatasetOption = None, split: SplitOption = "test", as_json: AsJson = False
) -> None:
    """Check a suite: ids, tools and expected calls, regexes, scorers; says how much it can tell.

    Of the guard it says whether this machine can hold in the code that models write.
    """
    from tracemill.evaluate.verdict import foreseen

    _refuse_idle(which, dataset, split)
    if which == "guard":
        _check_guard(as_json)
        return
    found = _load(which, "full", dataset, split)
    sessions = len({item.session_id for item in found.items})
    kinds = dict(Counter(item.kind for item in found.items))
    if as_json:
        output.emit_json(
            {
                "suite": found.name,
                "source": found.source,
                "hash": found.digest,
                "items": len(found.items),
                "sessions": sessions,
                "kinds": kinds,
                "told": foreseen(sessions),
                "categories": dict(Counter(item.category for item in found.items)),
                **({"note": found.note} if found.note else {}),
            }
        )
        return
    output.say(
        f"{found.name} ({found.source}): {len(found.items)} items of {sessions} sessions, "
        f"SHA-256 {found.digest[:16]}"
    )
    counts = Counter(item.category or "no category" for item in found.items)
    output.table(("category", "items"), counts.items())
    output.say(foreseen(sessions))
    if found.note:
        output.hint(found.note)


def _check_guard(as_json: bool) -> None:
    from tracemill.evaluate.guard.items import guard_items, suite_digest
    from tracemill.evaluate.guard.run import runnable

    asked, notes = runnable(guard_items("full"))
    digest = suite_digest("full")
    counts = dict(Counter(str(one["category"]) for one in _guard("full")))
    if as_json:
        output.emit_json({"suite": "guard", "hash": digest, "items": len(asked), "categories": counts,
                          "left_out": notes})  # fmt: skip
        return
    output.say(f"guard: {len(asked)} items can be asked here, SHA-256 {digest[:16]}")
    output.table(("category", "items"), counts.items())
    for note in notes:
        output.hint(note)


def from_traces(
    output_file: Annotated[Path, typer.Option("--output", help="The .jsonl file to write.")],
    dataset: Annotated[
        Path | None, typer.Option(help="Folder of a data set; without it one is exported from your sessions.")
    ] = None,
    split: SplitOption = "test",
    recipe: Annotated[str, typer.Option(help="Recipe of the export.")] = "default",
    limit: Annotated[int | None, typer.Option(min=1, help="Most sessions to draw.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write held-out turns of your own sessions as a suite; nothing that was trained on is in it."""
    from tracemill.cli.fresh import fresh_home
    from tracemill.curate.dataset import load
    from tracemill.curate.export import export
    from tracemill.evaluate.suites.traces import draw, write_suite

    home = fresh_home()
    if dataset is None:
        with output.progress() as progress:
            found = export(home, recipe=recipe, progress=progress)
    else:
        found = load(dataset)
    drawn = draw(home, found.rows(split), limit)
    write_suite(output_file, drawn)
    if as_json:
        output.emit_json(
            {
                "suite": str(output_file),
                "items": len(drawn.items),
                "sessions": drawn.sessions,
                "left_out": drawn.trained_on,
                "dataset": found.name,
            }
        )
        return
    output.say(f"{output_file}: {len(drawn.items)} items of {drawn.sessions} sessions, from {found.name}")
    if drawn.trained_on:
        output.hint(f"{drawn.trained_on} sessions were left out: an adapter may have learned them.")


def _refuse_idle(which: str, dataset: Path | None, split: str) -> None:
    """BadParameter for what only holdout has a use for."""
    for given, name in ((dataset, "--dataset"), (split != "test", "--split")):
        if given and which != "holdout":
            raise typer.BadParameter("only holdout is taken from a data set; leave it out.", param_hint=name)


def _load(
    which: str, size: Size, dataset: Path | None, split: Literal["train", "valid", "test"]
) -> ItemSuite:
    from tracemill.curate.dataset import load
    from tracemill.evaluate.suites import load_suite

    with output.progress() as progress:
        return load_suite(which, size, load(dataset) if dataset else None, split, progress)


def _size(sizes: Mapping[Size, int | None], size: Size) -> object:
    return ("all" if sizes[size] is None else sizes[size]) if size in sizes else ""


def _short(text: str, most: int = 60) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 3] + "..."


def compose() -> typer.Typer:
    """The group with all its subcommands."""
    made = typer.Typer(no_args_is_help=True)
    made.callback()(suite)
    for name, function, example in (
        ("list", list_suites, "tracemill suite list"),
        ("show", show, "tracemill suite show bfcl --size quick"),
        ("check", check, "tracemill suite check mine.toml"),
        ("from-traces", from_traces, "tracemill suite from-traces --output mine.jsonl"),
    ):
        made.command(name, epilog=f"Example: {example}")(function)
    return made

"""`tracemill journal`: every experiment of this home, what it scored, and the command that makes it again.

In: what the warehouse knows of data sets, training runs, evaluations and notes. Out: a table, one experiment
in full, or a page in Markdown or HTML.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tracemill.cli import output

if TYPE_CHECKING:
    from tracemill.evaluate.journal import Experiment
    from tracemill.tracer.home import Home

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Named = Annotated[
    str,
    typer.Argument(
        metavar="ID", help="Experiment: an adapter or base model, its beginning, or that of its hash."
    ),
]


def journal(
    context: typer.Context,
    markdown: Annotated[Path | None, typer.Option(help="Write the journal to this file as Markdown.")] = None,
    html: Annotated[
        Path | None, typer.Option(help="Write it to this file as one HTML page that needs nothing else.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List every experiment: data set, recipe, base, seed, scores with 95% intervals, verdicts, notes.

    Both pages hold, for each experiment, the command that makes it again; `journal show` prints that of one.
    """
    if context.invoked_subcommand:
        if markdown or html or as_json:
            raise typer.BadParameter("--markdown, --html and --json of the journal go without a subcommand.")
        return
    if as_json and (markdown or html):
        raise typer.BadParameter("it is printed, and a page is written; name one.", param_hint="--json")
    from tracemill.evaluate import journal_pages as pages
    from tracemill.evaluate.journal import plain

    home, experiments = _found()
    if as_json:
        output.emit_json([plain(one) for one in experiments])
        return
    for path, text in ((markdown, pages.markdown), (html, pages.html)):
        if path:
            pages.write(path.absolute(), text(home, experiments))
            output.say(str(path.absolute()))
    if markdown or html:
        return
    if experiments:
        output.table(pages.COLUMNS, map(pages.line, experiments))
        output.hint("`tracemill journal show ID` prints the command that makes one again.")
    else:
        output.say(pages.NOTHING)


def show(named: Named, as_json: AsJson = False) -> None:
    """Show one experiment, with the command that makes it again."""
    from tracemill.evaluate import journal_pages as pages
    from tracemill.evaluate.journal import find, plain

    home, experiments = _found()
    one = find(experiments, named)
    if as_json:
        output.emit_json(plain(one))
        return
    output.say(one.id, style="bold")
    for label, value in pages.facts(one):
        output.say(f"{label}: {output.one_line(value)}")
    if one.scores:
        output.table(
            ("suite", "score", "items", "verdict", "evaluation"),
            [(score.suite, score.text, score.items, score.told, score.evaluation) for score in one.scores],
        )
    for note in one.notes:
        output.say(f"note: {note}")
    output.say(f"\n{pages.opening(home)}")
    if one.command:
        output.say(one.command)
    for remark in one.remarks:
        output.hint(remark)


def note(named: Named, text: Annotated[str, typer.Argument(help="What to remember of it.")]) -> None:
    """Note something about an experiment; earlier notes stay."""
    if not text.strip():
        raise typer.BadParameter("write something to note.", param_hint="TEXT")
    from tracemill.evaluate.journal import find
    from tracemill.warehouse.lineage import Note
    from tracemill.warehouse.store import record_note

    home, experiments = _found()
    one = find(experiments, named)
    record_note(home, Note(one.id, text.strip()))
    output.say(f"{one.id}: noted.")


def compose() -> typer.Typer:
    """The group with its subcommands; without one, the journal itself."""
    made = typer.Typer(invoke_without_command=True)
    made.callback()(journal)
    made.command("show", epilog="Example: tracemill journal show 3f2a91c0")(show)
    made.command("note", epilog="Example: tracemill journal note 3f2a91c0 'longer prompts, same data'")(note)
    return made


def _found() -> tuple[Home, list[Experiment]]:
    """This home and its experiments; those of the demo, which has a home of its own, where there are none."""
    from tracemill.cli.fresh import fresh_home, ingest_now
    from tracemill.evaluate.journal import journal as read
    from tracemill.tracer.home import Home

    home = fresh_home()
    found = read(home)
    demo = Home(home.root / "demo")
    if not found and demo.spool.is_dir():
        ingest_now(demo)
        if found := read(demo):
            output.hint(f"Nothing was trained here yet; this is the journal of the demo, {demo.root}.")
            return demo, found
    return home, found

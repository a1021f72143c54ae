"""The entry point: composes the commands, turns errors into one line and an exit code.

In: the words of the command line. Out: exit code 0 (done), 1 (failed, one line on standard error says why
and how to mend it), 2 (the command line was wrong) or 130 (interrupted). A command is one function in a file
of its own; it is registered by one line below. Those files import heavy libraries inside their function, so
that `tracemill --help` answers at once.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Sequence
from functools import cache
from typing import Annotated, Any

import typer

from tracemill.cli import dataset, journal, output, suite
from tracemill.cli.compare import compare
from tracemill.cli.demo import demo
from tracemill.cli.doctor import doctor
from tracemill.cli.dump import dump
from tracemill.cli.evaluate import evaluate
from tracemill.cli.export import export
from tracemill.cli.forget import forget
from tracemill.cli.fuse import fuse
from tracemill.cli.import_sessions import import_sessions
from tracemill.cli.improve import improve
from tracemill.cli.ingest import ingest
from tracemill.cli.judge import judge
from tracemill.cli.label import label
from tracemill.cli.promote import promote, rollback
from tracemill.cli.recipe import recipe
from tracemill.cli.record import record
from tracemill.cli.redact import redact
from tracemill.cli.serve import serve
from tracemill.cli.sessions import sessions
from tracemill.cli.show import show
from tracemill.cli.sql import sql
from tracemill.cli.sweep import sweep
from tracemill.cli.train import train
from tracemill.cli.verify import verify
from tracemill.tracer.errors import TracemillError

# (name, function, heading in --help, example); the order here is the order in --help.
COMMANDS: list[tuple[str, Callable[..., Any], str, str]] = [
    ("record", record, "Data", "tracemill record -- python agent.py"),
    (
        "import",
        import_sessions,
        "Data",
        "tracemill import openai-chat runs.jsonl --messages-field messages --outcome-field reward",
    ),
    ("dump", dump, "Data", "tracemill dump atif --outcome good --output trajectories.jsonl"),
    ("ingest", ingest, "Data", "tracemill ingest"),
    ("sessions", sessions, "Data", "tracemill sessions --outcome bad --limit 20"),
    ("show", show, "Data", "tracemill show 3f2a91c0"),
    ("sql", sql, "Data", "tracemill sql 'SELECT tool, calls, errors FROM tool_stats'"),
    ("label", label, "Data", "tracemill label 3f2a91c0 --bad --note 'deleted the wrong file'"),
    ("verify", verify, "Data", "tracemill verify latest -- pytest -q"),
    ("forget", forget, "Data", "tracemill forget 3f2a91c0"),
    ("redact", redact, "Data", "tracemill redact --dry-run"),
    ("recipe", recipe, "Learn", "tracemill recipe show default"),
    ("export", export, "Learn", "tracemill export --recipe default --model smollm2-135m"),
    ("dataset", dataset.dataset, "Learn", "tracemill dataset stats ~/.tracemill/datasets/NAME"),
    ("train", train, "Learn", "tracemill train ~/.tracemill/datasets/NAME --seed 1"),
    ("sweep", sweep, "Learn", "tracemill sweep ~/.tracemill/datasets/NAME sweep.toml"),
    ("suite", suite.suite, "Learn", "tracemill suite check mine.toml"),
    (
        "evaluate",
        evaluate,
        "Learn",
        "tracemill evaluate smollm2-135m --adapter ADAPTER --suite bfcl --size quick --report report.html",
    ),
    ("compare", compare, "Learn", "tracemill compare smollm2-135m ADAPTER --require better"),
    ("judge", judge, "Learn", "tracemill judge smollm2-135m ADAPTER --by openai:gpt-5-mini --by human"),
    ("journal", journal.journal, "Learn", "tracemill journal --html journal.html"),
    ("improve", improve, "Learn", "tracemill improve --model smollm2-135m --json"),
    ("promote", promote, "Use", "tracemill promote ~/.tracemill/adapters/NAME"),
    ("rollback", rollback, "Use", "tracemill rollback"),
    ("fuse", fuse, "Use", "tracemill fuse NAME --to ./my-model --quantize 8"),
    ("serve", serve, "Use", "tracemill serve ~/.tracemill/adapters/NAME --port 8400"),
    ("demo", demo, "Help", "tracemill demo --seed 1 --json"),
    ("doctor", doctor, "Help", "tracemill doctor"),
]

GROUPS = {"dataset": dataset.compose, "suite": suite.compose, "journal": journal.compose}
"""Commands with subcommands, and what composes them."""

PASSES_ON = {"record": {"allow_interspersed_args": False}}
"""Commands after whose first argument every word belongs to another program."""


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version  # it takes a fifth of the time until `--help` answers

        output.say(version("tracemill"))
        raise typer.Exit


def _options(
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Log what happens to standard error.")
    ] = False,
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Turn what a coding agent did into a local model that does it better.

    State lives under $TRACEMILL_HOME (default ~/.tracemill).
    """
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
        force=True,
    )


def _compose(alone: str | None = None) -> typer.Typer:
    """All commands, or one of them `alone`."""
    made = typer.Typer(
        name="tracemill",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    made.callback()(_options)
    for name, function, heading, example in COMMANDS:
        if alone not in (None, name):
            continue
        if name in GROUPS:
            made.add_typer(GROUPS[name](), name=name, rich_help_panel=heading, epilog=f"Example: {example}")
            continue
        made.command(
            name,
            rich_help_panel=heading,
            epilog=f"Example: {example}",
            context_settings=PASSES_ON.get(name),
        )(function)
    return made


app = _compose()


def _named(words: Sequence[str]) -> str | None:
    """The command that is asked for; None where there is none of that name."""
    first = next((word for word in words if not word.startswith("-")), None)
    return first if any(first == name for name, *_ in COMMANDS) else None


@cache
def _parser(alone: str | None) -> Callable[..., Any]:
    """What reads the command line. Typer reads the signature of every command in it, so most are left out."""
    return typer.main.get_command(_compose(alone) if alone else app)


def main() -> None:
    """Run the command line of this process; leaves through SystemExit."""
    # What DuckDB and others write beside our own files is as private as these; `record` gives the program
    # it runs the mask we were given.
    given = os.umask(0o077)
    try:
        _parser(_named(sys.argv[1:]))(prog_name="tracemill", obj=given)
    except TracemillError as error:
        output.error(str(error))
        sys.exit(1)
    except SystemExit as stop:
        if stop.code == 130:
            output.error("interrupted.")
        raise

"""The only way to the terminal: results on standard output; errors, hints and progress on standard error.

In: text, tables and objects, parts of which come from traces and so may hold anything at all. Out: the same
made safe to look at. A trace can carry terminal escapes (clear the screen, set the title, write to the
clipboard), rich markup and bidirectional overrides; `clean` shows them as what they are.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from typing import IO, TYPE_CHECKING, cast

from tracemill.tracer.plain import UNSAFE, plain

if TYPE_CHECKING:
    from rich.console import Console

ProgressCallback = Callable[[str, int, int], None]
"""What the lower rooms call while they work: (what, done, total); a total of 0 is not known yet."""

_COLUMNS = 160
"""How wide two texts side by side are at most."""

clean = plain
"""Text with every character that could act on a terminal shown as its escape, such as `\\x1b`."""


def one_line(value: object) -> str:
    """Any value as one clean line: nothing for None, seconds for a time, JSON for lists and objects."""
    match value:
        case None:
            return ""
        case datetime():
            return value.isoformat(sep=" ", timespec="seconds")
        case float():
            return f"{value:.4g}" if abs(value) < 1000 else f"{value:.1f}"
        case list() | dict():
            return clean(json.dumps(value, ensure_ascii=False, default=str))
        case _:
            return clean(" ".join(str(value).split("\n")))


def percent(share: float | None) -> str:
    """A share as `87.5%`; `not scored` for None."""
    return "not scored" if share is None else f"{100 * share:.1f}%"


def kept_since(count: int, of: int, days: Iterable[str | None]) -> str:
    """A sentence on answers that were given before; `days` are those on which they were."""
    known = [day for day in days if day]
    since = f"since {min(known)}" if known else "already"
    return f"{count} of {of} answers are on disk {since}; --fresh asks anew."


def say(text: str = "", *, style: str | None = None) -> None:
    """Print a cleaned line (or several) on standard output; `style` is a rich style."""
    _print(_console(), text, style)


def hint(text: str) -> None:
    """Print a cleaned line on standard error: what a person wants to know and a pipe does not."""
    _print(_console(stderr=True), text, "dim")


def error(text: str) -> None:
    """Print `error: <one clean line>` on standard error."""
    _print(_console(stderr=True), "error: " + one_line(text), None)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows under their column names; columns of numbers are set flush right."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    kept = [list(row) for row in rows]
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for at, column in enumerate(columns):
        numbers = all(isinstance(row[at], int | float | Decimal | None) for row in kept)
        shown.add_column(Text(one_line(column)), justify="right" if numbers else "left", overflow="fold")
    for row in kept:
        shown.add_row(*(Text(one_line(value)) for value in row))
    _console().print(shown)


def columns(names: tuple[str, str], lines: Iterable[tuple[str | None, str | None, bool]]) -> None:
    """Print two texts side by side: lines left and right, and whether they are the same.

    Where they are not, `-` marks what is on the left and `+` what is on the right.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    console = _console()
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, width=min(console.width, _COLUMNS))
    for name in names:
        shown.add_column(Text(one_line(name)), overflow="fold", ratio=1)
    for left, right, same in lines:
        cells = ((left, " " if same else "-", "red"), (right, " " if same else "+", "green"))
        shown.add_row(
            *(
                Text("" if text is None else f"{mark} {clean(text)}", style="dim" if same else colour)
                for text, mark, colour in cells
            )
        )
    console.print(shown)


def json_text(value: object) -> str:
    """One JSON document, indented, with nothing in it that acts on a terminal."""
    return _inside_json(json.dumps(value, ensure_ascii=False, indent=2, default=_plain))


def _inside_json(text: str) -> str:
    # Such characters stand only in strings, where the \\u escape means the same.
    return UNSAFE.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


def emit_json(value: object) -> None:
    """Print one JSON document on standard output."""
    print(json_text(value))


def data() -> IO[bytes]:
    """Where JSON lines go as they are: standard output, but for what would act on a terminal."""
    return cast("IO[bytes]", _Terminal()) if sys.stdout.isatty() else sys.stdout.buffer


class _Terminal:
    """A terminal that is written the bytes of JSON."""

    def write(self, line: bytes) -> int:
        return sys.stdout.write(_inside_json(line.decode().rstrip("\n")) + "\n")


@contextmanager
def progress() -> Generator[ProgressCallback]:
    """A callback for the lower rooms: bars on standard error, or plain lines where that is no terminal."""
    console = _console(stderr=True)
    if not console.is_terminal:
        yield _lines()
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(one_line(what).replace("[", r"\["), total=None)
            bars.update(tasks[what], completed=done, total=total or None)

        yield show


def _lines() -> ProgressCallback:
    """Progress for a log file: a line for each tenth done of each thing, never two alike."""
    seen: dict[str, int] = {}

    def show(what: str, done: int, total: int) -> None:
        tenth = 10 * done // total if total else 0
        if seen.get(what) != tenth:
            seen[what] = tenth
            print(
                f"{one_line(what)}: {done} of {total}" if total else one_line(what),
                file=sys.stderr,
                flush=True,
            )

    return show


def _console(*, stderr: bool = False) -> Console:
    """A console made for the stream as it is now; away from a terminal, lines are as long as they need be."""
    from rich.console import Console

    console = Console(stderr=stderr, highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = 100_000
    return console


def _print(console: Console, text: str, style: str | None) -> None:
    from rich.text import Text

    console.print(Text(clean(text), style=style or ""), soft_wrap=True)


def _plain(value: object) -> object:
    """How JSON shows what it has no word for: times in ISO 8601, whole decimals as whole numbers."""
    match value:
        case datetime():
            return value.isoformat()
        case Decimal():
            return int(value) if value == value.to_integral_value() else float(value)
        case _:
            return str(value)

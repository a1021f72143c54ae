"""`tracemill dataset diff`: what two data sets have in common, row by row, and what they do not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from tracemill.cli import output
from tracemill.cli.dataset.words import AsJson

if TYPE_CHECKING:
    import polars as pl

    from tracemill.curate.datasets.differences import Difference
    from tracemill.curate.datasets.opened import Opened

_HELP = "A data set folder, a JSONL file, or the name of a data set in $TRACEMILL_HOME/datasets."
_KINDS = ("changed", "only_a", "only_b", "moved")


def diff(
    a: Annotated[str, typer.Argument(metavar="A", help=_HELP)],
    b: Annotated[str, typer.Argument(metavar="B", help="The other one.")],
    show: Annotated[int, typer.Option(min=0, help="Rows of each kind to show side by side.")] = 3,
    as_json: AsJson = False,
) -> None:
    """Compare two data sets: rows that are the same byte for byte, changed, moved, or in one only.

    Messages, calls, tools and weights are compared; ids and other keys of a row are not. A row is paired with
    one that is the same, or else with one of the same id or the same prompt: that one changed.
    """
    from tracemill.curate.datasets.differences import compare
    from tracemill.curate.datasets.facts import scan
    from tracemill.curate.datasets.opened import find
    from tracemill.tracer.home import Home

    home = Home.find()
    sets = find(a, home), find(b, home)
    with output.progress() as progress:
        left, right = (scan(one, progress) for one in sets)
    found = compare(left.rows, right.rows)
    unread = {"unread_a": left.faults.height, "unread_b": right.faults.height}
    if as_json:
        listed = {kind: getattr(found, kind).head(show).to_dicts() for kind in _KINDS}
        output.emit_json({"a": sets[0].path, "b": sets[1].path, "rows": found.counts() | unread, **listed})
        return
    _counts(found.counts() | unread)
    if show:
        _changed(found, sets, show)
        _only("only in A", found.only_a, show)
        _only("only in B", found.only_b, show)


def _counts(counts: dict[str, Any]) -> None:
    moves = ", ".join(f"{what} {count}" for what, count in counts["moved_between"].items())
    lines = [
        ("in A", counts["a"], ""),
        ("in B", counts["b"], ""),
        ("the same, byte for byte", counts["same"], ""),
        ("of these, moved to another split", counts["moved"], moves),
        ("changed: same id or prompt, other messages", counts["changed"], ""),
        ("only in A", counts["only_a"], _again(counts["only_a_again"])),
        ("only in B", counts["only_b"], _again(counts["only_b_again"])),
    ]
    if unread := counts["unread_a"] + counts["unread_b"]:
        lines.append(("lines that cannot be read", unread, "`tracemill dataset validate` says which"))
    output.table(("rows", "how many", "which"), lines)


def _again(count: int) -> str:
    return f"{count} repeat a row that both have" if count else ""


def _changed(found: Difference, sets: tuple[Opened, Opened], show: int) -> None:
    import polars as pl

    from tracemill.curate.datasets.sides import messages_of, side_by_side

    rows = found.changed.head(show)
    left, right = (
        messages_of(data, rows.select(file=pl.col(f"file_{side}"), line=pl.col(f"line_{side}")))
        for data, side in zip(sets, ("a", "b"), strict=True)
    )
    for row in rows.iter_rows(named=True):
        heads = [f"{side.upper()}: {row[f'file_{side}']}, line {row[f'line_{side}']}" for side in ("a", "b")]
        lines = side_by_side(left[row["file_a"], row["line_a"]], right[row["file_b"], row["line_b"]])
        output.columns((heads[0], heads[1]), ((line.left, line.right, line.same) for line in lines))
    _rest(found.changed.height - rows.height, "changed")


def _only(what: str, rows: pl.DataFrame, show: int) -> None:
    if not rows.height:
        return
    listed = rows.sort("again", maintain_order=True).head(show).iter_rows(named=True)
    output.table(
        (what, "prompt", "answer"),
        [(f"{row['file']}, line {row['line']}", _cut(row["prompt"]), _cut(row["answer"])) for row in listed],
    )
    _rest(rows.height - show, what)


def _rest(count: int, what: str) -> None:
    if count > 0:
        output.hint(f"... and {count} more that are {what}; --show NUMBER shows more.")


def _cut(text: str | None, most: int = 100) -> str:
    line = " ".join((text or "").split())
    return line if len(line) <= most else line[:most] + "..."

"""`tracemill dataset validate`: what is wrong with a data set, where, and what to do about it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from tracemill.cli import output
from tracemill.cli.dataset.words import AsJson, Data, Model, chat_of


def validate(
    data: Data,
    model: Model = None,
    show: Annotated[int, typer.Option(min=0, help="Most defects of each kind to list.")] = 5,
    as_json: AsJson = False,
) -> None:
    """Check every row of a data set: JSON, encoding, roles, ids, calls, schemas, something to learn.

    With --model the tokens of every row are proved: what is trained is what is served. Exit code 1 where
    anything is wrong.
    """
    from tracemill.curate.datasets.opened import find
    from tracemill.curate.datasets.validating import validate as check
    from tracemill.tracer.home import Home

    home = Home.find()
    opened = find(data, home, pairs=True)
    with output.progress() as progress:
        found = check(opened, chat_of(model, home, progress), show, progress)
    counts = dict(found.counts)
    if as_json:
        listed = [asdict(defect) for defect in found.defects]
        output.emit_json({"path": opened.path, "rows": found.rows, "wrong": counts, "defects": listed})
    elif not counts:
        proved = " and their tokens proved" if model else ""
        output.say(f"Nothing is wrong with any of {found.rows} rows{proved}.")
    else:
        mends = {defect.kind: defect.mend for defect in found.defects}
        output.table(
            ("what is wrong", "how often", "what to do"),
            [(kind, count, mends.get(kind, "")) for kind, count in found.counts.most_common()],
        )
        for defect in found.defects:
            place = f"{defect.file}, line {defect.line}" if defect.line else defect.file
            output.say(f"{place}: {defect.kind}: {output.one_line(defect.told)}")
        if (rest := found.counts.total() - len(found.defects)) > 0:
            output.hint(f"... and {rest} more; --show NUMBER lists more of each kind.")
    if counts:
        raise typer.Exit(1)

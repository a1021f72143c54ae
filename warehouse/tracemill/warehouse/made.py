"""What was made of sessions and still holds them: data sets, adapters, evaluations.

In: a home with a snapshot, and session ids. Out: one `Made` each, with what to do so that the sessions are
gone from it too. Nothing of it is changed here.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tracemill.tracer.home import Home
from tracemill.warehouse.read import connect
from tracemill.warehouse.sessions import Row, rows


@dataclass(frozen=True)
class Made:
    """Something that holds parts of the sessions."""

    kind: str
    """data set, adapter or evaluation."""
    id: str
    path: str | None
    """Its folder, or the file of its report; None where it has none, or is not there any more."""
    rows: int
    """Rows or items that come from the sessions."""
    of: int
    """All its rows or items."""
    mend: str
    """What to do."""


def made_of(home: Home, session_ids: Sequence[str]) -> list[Made]:
    """What was made of any of these sessions, oldest first; also of sessions that are forgotten already."""
    with connect(home) as connection:
        found = rows(connection, _MADE, {"ids": list(session_ids)})
    return [
        Made(
            kind=row["kind"],
            id=row["id"],
            path=(path := _there(home, row["kind"], row["path"])),
            rows=row["rows"],
            of=row["of"],
            mend=_mend(row["kind"], path, _results(home, row)),
        )
        for row in found
    ]


def _there(home: Home, kind: str, path: str | None) -> str | None:
    """Where it is; the owner's name in the path of a home was taken out when it was stored."""
    if not path:
        return None
    folder = {"data set": home.datasets, "adapter": home.adapters, "evaluation": home.reports}[kind]
    return next((str(place) for place in (Path(path), folder / Path(path).name) if place.exists()), None)


def _results(home: Home, row: Row) -> str | None:
    """What quotes the items of an evaluation beside its report: the result file, or the reasons of judges."""
    cache = home.root / "cache"
    file = cache / "judgements" if row["judged"] else cache / "evaluations" / f"{row['id']}.jsonl"
    return str(file) if row["kind"] == "evaluation" and file.exists() else None


def _mend(kind: str, path: str | None, results: str | None) -> str:
    files = dict.fromkeys(one for one in (path, results) if one)
    if not files:
        return "nothing here; copies elsewhere still hold it"
    gone = f"rm -r {shlex.join(files)}"
    again = {
        "data set": "`tracemill export` makes one without it",
        "adapter": "train again on a data set without it",
        "evaluation": "its report may quote it: evaluate again",
    }
    return f"{gone}; {again[kind]}"


# An adapter learned from the rows of the training split, and was chosen by those of the validation split.
_MADE = """
WITH ids AS (SELECT unnest($ids) AS id)
SELECT * EXCLUDE (created) FROM (
  SELECT 'data set' AS kind, d.dataset_id AS id, d.path, d.created, false AS judged,
         count(*) FILTER (r.session_id IN (FROM ids)) AS rows, count(*) AS of
  FROM datasets AS d JOIN dataset_rows AS r USING (dataset_id) GROUP BY ALL
  UNION ALL
  SELECT 'adapter', t.training_id, t.path, t.created, false,
         count(*) FILTER (r.session_id IN (FROM ids)), count(*)
  FROM training_runs AS t JOIN dataset_rows AS r USING (dataset_id)
  WHERE r.split IN ('train', 'valid') GROUP BY ALL
  UNION ALL
  SELECT 'evaluation', e.evaluation_id, e.path, e.created, contains(e.suite, ', judged by '),
         count(*) FILTER (i.session_id IN (FROM ids)), count(*)
  FROM evaluations AS e JOIN evaluation_items AS i USING (evaluation_id) GROUP BY ALL
) WHERE rows > 0 ORDER BY created, id
"""

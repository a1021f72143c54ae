"""The ids that one might have meant, among very many.

In: what was typed, and the ids there are. Out: those that begin with it, else the one that is most like it.
"""

from __future__ import annotations

import duckdb
import polars as pl

from tracemill.curate.arrow import Arrow

_LIKE = 0.8
"""From which Jaro-Winkler similarity on an id is like another."""


def nearest(name: str, ids: pl.Series) -> list[str]:
    """Up to four of `ids` that begin with `name`; where none does, the one most like it, if any is.

    Of ids that all begin with one of them, that one alone.
    """
    begin = ids.filter(ids.str.starts_with(name)).sort() if name else ids.clear()
    if begin.len():
        return begin.head(1 if begin.str.starts_with(begin[0]).all() else 4).to_list()
    with duckdb.connect(":memory:") as connection:
        connection.register("ids", Arrow(pl.DataFrame({"id": ids})))
        found = connection.execute(
            "SELECT id FROM (SELECT id, jaro_winkler_similarity(id, $name) AS likeness FROM ids) "
            "WHERE likeness >= $like ORDER BY likeness DESC, id LIMIT 1",
            {"name": name, "like": _LIKE},
        ).fetchall()
    return [row[0] for row in found]

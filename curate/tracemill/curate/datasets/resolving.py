"""What an id means, asked of the lists of a manifest and of the warehouse.

In: a data set with a manifest and an id, or split and line. Out: what it is an id of (a row, conversation,
session, run, request or tool call), and the conversations that are meant.
"""

from __future__ import annotations

import re

import polars as pl

from tracemill.curate.datasets import recorded
from tracemill.curate.datasets.finding import find_row, with_id
from tracemill.curate.datasets.nearest import nearest
from tracemill.curate.datasets.opened import Opened
from tracemill.curate.errors import DatasetError
from tracemill.curate.manifest import List, Manifest, listed
from tracemill.curate.names import conversation_of
from tracemill.tracer.home import Home

_KEYS: tuple[tuple[List, tuple[str, ...]], ...] = (
    ("rows", ("run_id", "session_id")),
    ("dropped", ("session_id",)),
)


def resolve(home: Home, data: Opened, manifest: Manifest, name: str) -> tuple[str, dict[str, str]]:
    """What `name` is an id of, and its conversations with their sessions; DatasetError for an unknown one."""
    kind, found = _listed(data, manifest, name)
    recorded_kind, others = recorded.named(home, name)
    if recorded_kind is not None and recorded_kind != "request":
        kind = recorded_kind
    # What was read is in a list; what was not is known to the warehouse only.
    found |= {one["conversation_id"]: one["session_id"] for one in others}
    if found or recorded_kind is not None:
        return kind or recorded_kind or "conversation", found
    if re.fullmatch(r".+:[1-9][0-9]*", name) or with_id(data, name):
        row = find_row(data, name)
        own = conversation_of(row.id)
        if own != name:
            kind, found = _listed(data, manifest, own)
            if found:
                return "row", found
    close = nearest(name, _ids(home, data, manifest))
    if len(close) == 1 and close[0].startswith(name):
        return resolve(home, data, manifest, close[0])
    if close and all(one.startswith(name) for one in close):
        told = ", ".join(close[:3]) + (", ..." if len(close) > 3 else "")
        raise DatasetError(f"Several ids begin with {name!r} ({told}); write more of it.")
    mean = f" (did you mean {close[0]!r}?)" if close else ""
    raise DatasetError(
        f"Neither the data set {data.name} nor the warehouse knows {name!r}{mean}; give the id of a row, "
        "conversation, session, run or request, or split and line, as train:12."
    )


def _listed(data: Opened, manifest: Manifest, name: str) -> tuple[str, dict[str, str]]:
    """The conversations of that id in the lists of the manifest, or of the session or run of that id."""
    own = {name, conversation_of(name)}
    found: dict[str, str] = {}
    kind = ""
    for what, keys in _KEYS:
        lazy = listed(data.folder, manifest, what)
        wanted = pl.any_horizontal(
            pl.col("conversation_id").is_in(list(own)), *(pl.col(key) == name for key in keys)
        )
        part = lazy.filter(wanted).select("conversation_id", "session_id").collect()
        found |= dict(part.iter_rows())
        if not kind and part.height:
            kind = "conversation" if own & set(part["conversation_id"]) else "session"
    return kind, found


def _ids(home: Home, data: Opened, manifest: Manifest) -> pl.Series:
    every = [
        listed(data.folder, manifest, what).select(pl.col(key).alias("id"))
        for what, _ in _KEYS
        for key in ("conversation_id", "session_id")
    ]
    known = pl.concat(every).collect()["id"]
    return pl.concat([known, pl.Series("id", recorded.known_ids(home), pl.String)]).unique()

"""Why something is in a data set, or is not: the whole way from the recorded events to the line of the file.

In: a data set, and the id of a row, or of a conversation, session, run, request or tool call. Out: an
`Answer` with a `Way` for each conversation that is meant: where it comes from, what every step did to it, and
where it ended. Lists of any size are scanned, not loaded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import polars as pl

from tracemill.curate.datasets import recorded
from tracemill.curate.datasets.finding import Placed, find_row, manifest_of, of_conversation, with_id
from tracemill.curate.datasets.made import listed as made_listed
from tracemill.curate.datasets.made import made_of
from tracemill.curate.datasets.opened import Opened
from tracemill.curate.datasets.resolving import resolve
from tracemill.curate.errors import DatasetError
from tracemill.curate.manifest import List, Manifest, listed
from tracemill.curate.sources import REPLAY
from tracemill.curate.splits import DECIDED
from tracemill.curate.steps import STEPS
from tracemill.tracer.home import Home

Row = dict[str, Any]
ORIGIN = "origin.json"
"""What an import writes beside the rows (`importing.py`)."""
_OTHERS = 20
"""So many of the conversations that a row stands for are named, and of the rows that one became."""
_DOES = {
    "read": "Read the conversation from its source.",
    "weight": "Draw the sample that the weight of a source asks for.",
    "replay": "Draw the general conversations that are to be replayed.",
    "form": "Write the conversation as rows.",
    "proof": "Write the conversation as rows, and prove that training and serving see the same tokens.",
}
_PASSED_BY = ("read", "weight", "replay", "form", "proof")
"""What is done to a conversation to be replayed too, which the steps of the recipe do not judge."""
_NAMED = re.compile(r"conversation (.+?)(?:, which is kept of|$)")


@dataclass(frozen=True)
class Passed:
    """A step that a conversation met: what it is for, and the turns that it took out of the loss."""

    step: str
    does: str
    turns: list[int] = field(default_factory=list[int])


@dataclass(frozen=True)
class Way:
    """What became of a conversation: `verdict` is `in`, `dropped` or `not read`.

    `source` is its entry in the manifest, `dropped` that of a dropped one. `decided` says why it is in its
    split, `stands_for` which copies of it were dropped (`copies`: how many), `together` which near copies
    are kept with it, `instead` what was kept instead of it, `unread` why no step saw it.
    """

    conversation_id: str
    session_id: str | None
    verdict: str
    placed: list[Placed] = field(default_factory=list[Placed])
    source: Row | None = None
    dropped: Row | None = None
    steps: list[Passed] = field(default_factory=list[Passed])
    edits: list[Row] = field(default_factory=list[Row])
    decided: str | None = None
    stands_for: list[Row] = field(default_factory=list[Row])
    copies: int = 0
    together: list[str] = field(default_factory=list[str])
    instead: Row | None = None
    unread: str | None = None
    requests: list[Row] = field(default_factory=list[Row])
    made: list[Row] = field(default_factory=list[Row])


@dataclass(frozen=True)
class Answer:
    """What was asked for, what that is an id of, and the way of each of its conversations.

    A data set without a manifest tells less: `row` is the row, `origin` what an import wrote down; of a data
    set made of others, `operation` is what made it, and `taken` (`made.ROWS`) or `left` (`made.LEFT`) where
    the row comes from, or why it was left out.
    """

    asked: str
    kind: str
    ways: list[Way] = field(default_factory=list[Way])
    row: Placed | None = None
    origin: Row | None = None
    operation: str | None = None
    taken: Row | None = None
    left: Row | None = None


def why(home: Home, data: Opened, name: str) -> Answer:
    """The way of what is called `name`; DatasetError where nobody knows that id."""
    manifest = manifest_of(data.folder)
    if manifest is None:
        return _without_manifest(data, name)
    kind, found = resolve(home, data, manifest, name)
    if not found and kind in ("session", "run", "request", "tool call"):
        raise DatasetError(
            f"The {kind} {name} holds no conversation: no request of it was recorded, so there is nothing "
            "to learn."
        )
    ways = [
        replace(
            _way(home, data, manifest, one, session),
            requests=recorded.requests_of(home, one),
            made=recorded.made_of(home, one),
        )
        for one, session in found.items()
    ]
    return Answer(name, kind, ways)


def _without_manifest(data: Opened, name: str) -> Answer:
    made = made_of(data.folder)
    if made is None:
        return Answer(name, "row", row=find_row(data, name), origin=_origin(data))
    left = made_listed(data.folder, made, "dropped").filter(pl.col("id") == name)
    if left.height and not with_id(data, name):
        return Answer(name, "row", operation=made.operation, left=left.row(0, named=True))
    row = find_row(data, name)
    own = (pl.col("to") == row.file.stem) & (pl.col("at") == row.line)
    taken = next(made_listed(data.folder, made).filter(own).iter_rows(named=True), None)
    return Answer(name, "row", row=row, operation=made.operation, taken=taken)


def _way(home: Home, data: Opened, manifest: Manifest, name: str, session: str) -> Way:
    def entry(what: List) -> pl.DataFrame:
        return listed(data.folder, manifest, what).filter(pl.col("conversation_id") == name).collect()

    source = next(entry("rows").iter_rows(named=True), None)
    if source is not None:
        out = {step: positions for _, step, positions in entry("unlearned").iter_rows()}
        stands_for, copies = _stands_for(data, manifest, name)
        return Way(
            name,
            session,
            "in",
            placed=list(islice(of_conversation(data, name), _OTHERS)),
            source=source,
            steps=_steps(manifest, out, source["origin"] == REPLAY),
            edits=entry("edits").to_dicts(),
            decided=_decided(data, manifest, source),
            stands_for=stands_for,
            copies=copies,
            together=_together(data, manifest, source),
        )
    dropped = next(entry("dropped").iter_rows(named=True), None)
    if dropped is None:
        return Way(name, session, "not read", unread=recorded.unread(home, manifest, name))
    names = [count.step for count in manifest.steps]
    met = names[: names.index(dropped["step"]) + 1] if dropped["step"] in names else names[:1]
    passed = [_passed(step) for step in met]
    instead = _instead(data, manifest, dropped)
    return Way(name, session, "dropped", dropped=dropped, steps=passed, instead=instead)


def _steps(manifest: Manifest, out: dict[str, list[int]], replayed: bool) -> list[Passed]:
    """The steps that a row passed; what its source kept out of the loss was so from the first."""
    names = [one.step for one in manifest.steps]
    weightless = Passed(
        "source", "Keep out of the loss what the source gave no weight.", out.get("source", [])
    )
    return [
        *([weightless] if weightless.turns else []),
        *(_passed(name, out.get(name)) for name in names if not replayed or name in _PASSED_BY),
    ]


def _passed(name: str, turns: Sequence[int] | None = None) -> Passed:
    doc = (STEPS[name].run.__doc__ or "").strip() if name in STEPS else _DOES.get(name, "")
    return Passed(name, " ".join(doc.split("\n\n")[0].split()), list(turns or []))


def _stands_for(data: Opened, manifest: Manifest, name: str) -> tuple[list[Row], int]:
    """The copies that were dropped because this one is kept, and how many there are."""
    evidence = pl.col("evidence")
    mine = evidence.str.ends_with(f" conversation {name}") | evidence.str.contains(
        f" conversation {name}, which is kept", literal=True
    )
    found = (
        listed(data.folder, manifest, "dropped")
        .filter(pl.col("step").is_in(["duplicates", "near_duplicates"]) & mine)
        .collect()
    )
    return found.head(_OTHERS).to_dicts(), found.height


def _together(data: Opened, manifest: Manifest, source: Row) -> list[str]:
    if source["cluster"] is None:
        return []
    rows = listed(data.folder, manifest, "rows").filter(
        (pl.col("cluster") == source["cluster"]) & (pl.col("conversation_id") != source["conversation_id"])
    )
    return rows.select("conversation_id").collect()["conversation_id"].to_list()


def _instead(data: Opened, manifest: Manifest, dropped: Row) -> Row | None:
    """The conversation that was kept instead of a copy, and what became of that one."""
    named = _NAMED.search(dropped["evidence"])
    if dropped["step"] not in ("duplicates", "near_duplicates") or named is None:
        return None
    own = pl.col("conversation_id") == named[1]
    row = listed(data.folder, manifest, "rows").filter(own).select("split").collect()
    if row.height:
        return {"conversation_id": named[1], "split": row.item(), "dropped_by": None}
    gone = listed(data.folder, manifest, "dropped").filter(own).select("step").collect()
    return {
        "conversation_id": named[1],
        "split": None,
        "dropped_by": gone["step"][0] if gone.height else None,
    }


def _decided(data: Opened, manifest: Manifest, source: Row) -> str:
    """Why a row is in its split, in words."""
    if source["pin"] == source["split"]:
        return "its session asked for that split"
    if source["decided"] is None:
        return "an older Tracemill made this data set and did not write down why"
    told = {**DECIDED, "draw": f"{DECIDED['draw']} (seed {manifest.seed})"}[source["decided"]]
    if source["by"] == source["conversation_id"]:
        return told
    by = listed(data.folder, manifest, "rows").filter(pl.col("conversation_id") == source["by"])
    other = next(by.collect().iter_rows(named=True), None) or {}
    shared = _shared(source, other)
    return f"{told}; conversation {source['by']} was decisive, {shared}"


def _shared(one: Row, other: Row) -> str:
    names = {"session_id": "session", "task": "task", "cluster": "cluster of near copies"}
    same = [word for key, word in names.items() if one.get(key) and one.get(key) == other.get(key)]
    if not same:
        return "which has the same prompt or repository, or is joined to it by others of the group"
    return f"of the same {' and '.join(same)}"


def _origin(data: Opened) -> Row | None:
    file = data.folder / ORIGIN
    try:
        return json.loads(file.read_bytes()) if file.is_file() else None
    except ValueError as error:
        raise DatasetError(f"{file} is not JSON ({error}); mend or delete it.") from error

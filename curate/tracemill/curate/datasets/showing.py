"""One row of a data set as a person reads it: what is said, what is learned, where it comes from.

In: a row of a file (`finding.Placed`). Out: `Shown`, and with a chat template its very tokens, in pieces
that are learned and pieces that are not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import polars as pl

from tracemill.curate.chat.codec import RowMessage, from_row
from tracemill.curate.chat.render import render
from tracemill.curate.chat.template import Chat
from tracemill.curate.chat_lines import Fault
from tracemill.curate.datasets.finding import Placed, manifest_of
from tracemill.curate.datasets.reading import read_row
from tracemill.curate.errors import DatasetError
from tracemill.curate.features.leftovers import PERSONAL, masked
from tracemill.curate.features.talk import Talk
from tracemill.curate.manifest import listed
from tracemill.curate.names import conversation_of
from tracemill.tracer.messages import Message


@dataclass(frozen=True)
class Shown:
    """A row: its talk, the positions of the turns that are learned, and what the manifest tells of it.

    `put_out` is the step that took a turn out of the loss, by position, where the manifest says so. Of a
    preference pair, `talk` ends in the chosen answer, and `rejected` holds the messages of the other one.
    """

    placed: Placed
    talk: Talk
    learned: list[int]
    origin: dict[str, Any] | None
    put_out: dict[int, str]
    rejected: list[Message]


@dataclass(frozen=True)
class Piece:
    """A run of tokens, decoded; `learned` says whether they bear loss."""

    text: str
    tokens: list[int]
    learned: bool


def show(placed: Placed, folder: Path) -> Shown:
    """What is known of a row of the data set in `folder`; DatasetError where it holds no messages."""
    place = f"{placed.file}, line {placed.line}"
    read = read_row(placed.row, placed.id, place)
    if isinstance(read, Fault):
        raise DatasetError(f"{read.evidence} ({read.reason}); mend or delete the line.")
    talk, rejected = read.found.talk, read.rejected or []
    manifest, name = manifest_of(folder), conversation_of(placed.id)
    origin, put_out = None, dict[int, str]()
    if manifest is not None:
        own = pl.col("conversation_id").is_in([placed.id, name])
        origin = next(listed(folder, manifest, "rows").filter(own).collect().iter_rows(named=True), None)
        told = listed(folder, manifest, "unlearned").filter(own).collect()
        put_out = {
            at: step for step, positions in told.select("step", "positions").iter_rows() for at in positions
        }
    return Shown(placed, talk, learned(talk, bool(rejected)), origin, put_out, rejected)


def without_secrets(shown: Shown) -> tuple[Shown, list[str]]:
    """The row with a placeholder for each secret and all that is personal, and the kinds of secrets.

    A row without secrets is given back as it is. Ids stay, for they name the row.
    """
    talk, placed, origin = shown.talk, shown.placed, shown.origin
    # All at once, for what one text calls a password may stand in any other without its name.
    (row, messages, tools, rejected, told), found = masked(
        [placed.row, talk.messages, talk.tools, shown.rejected, origin]
    )
    kinds = sorted(found - {*PERSONAL})
    if not kinds:
        return shown, []
    clean = replace(
        shown,
        placed=replace(placed, row={**row, **_ids(placed.row)}),
        talk=replace(talk, messages=messages, tools=tools),
        origin=None if origin is None else {**told, **_ids(origin)},
        rejected=rejected,
    )
    return clean, kinds


def _ids(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key in ("id", "session_id", "conversation_id")}


def learned(talk: Talk, pair: bool = False) -> list[int]:
    """Positions of the assistant turns that bear loss; of a preference pair, the last one."""
    if pair:
        return talk.assistants[-1:]
    weights = cast("Sequence[Mapping[str, Any]]", talk.messages)
    return [at for at in talk.assistants if weights[at].get("weight", 1)]


def pieces(shown: Shown, chat: Chat) -> list[list[Piece]]:
    """The token sequences that the row is trained as; ProofError or CodecError where it has none."""
    messages: list[RowMessage] = shown.talk.row_messages()
    rendered = render(chat, from_row(messages), shown.talk.tools, shown.learned)
    made: list[list[Piece]] = []
    for sequence in rendered:
        edges = [0, *(edge for span in sequence.spans for edge in span), len(sequence.tokens)]
        parts = (sequence.tokens[start:end] for start, end in pairwise(edges))
        made.append(
            [
                Piece(chat.tokenizer.decode(tokens), tokens, number % 2 == 1)
                for number, tokens in enumerate(parts)
                if tokens
            ]
        )
    return made

"""The card of a data set: what is in it and why, as one page of Markdown for people.

In: the manifest and the rows in their splits. Out: text. Nothing in it is measured here that the files do not
show. Recorded text stands in indented JSON lines or is escaped, so none of it acts as Markdown.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from tracemill.curate.chat.proof import Row
from tracemill.curate.manifest import Manifest
from tracemill.curate.splits import SPLITS, Split

_EXAMPLES, _EXAMPLE_TEXT = 3, 300


def card(manifest: Manifest, by_split: Mapping[Split, Sequence[Row]]) -> str:
    """The Markdown of `card.md`."""
    rows = [row for split in SPLITS for row in by_split[split]]
    learned = sum(count.learned for count in manifest.splits.values())
    tools: Counter[str] = sum((Counter(count.tools) for count in manifest.splits.values()), Counter[str]())
    parts = [
        f"# {manifest.name}",
        f"{len(rows)} conversations from {len({row['session_id'] for row in rows})} sessions, with {learned} "
        f"assistant turns to learn and {tools.total()} tool calls in them. Made by tracemill "
        f"{manifest.tracemill} with seed {manifest.seed}"
        + (f" from the sessions where {_cell(manifest.where)}." if manifest.where else "."),
        "## What was kept",
        _retention(manifest),
        "A turn out of the loss stays in its conversation as context (`weight` 0).",
        "## Splits",
        _splits(manifest),
        "No session, no prompt (case and white space aside) and no task stands in two splits: every row was "
        f"compared before it was written. {_moved(manifest)}",
        _proof(manifest),
        "## Tool calls to learn",
        _table(("tool", *SPLITS), ((tool, *_per_split(manifest, tool)) for tool, _ in tools.most_common())),
        "## Characters a row",
        _lengths(by_split),
        "## Outcomes",
        _table(("outcome", "rows"), sorted(Counter(row.outcome or "none" for row in manifest.rows).items())),
        "## Examples",
        "Rows of the training split; long texts are cut.",
        *("\n".join(_example(row)) for row in by_split["train"][:_EXAMPLES]),
    ]
    return "\n\n".join(parts) + "\n"


def _retention(manifest: Manifest) -> str:
    lines = (
        (
            count.step,
            count.rows_in,
            count.kept,
            count.dropped,
            count.context,
            ", ".join(f"{reason} {number}" for reason, number in count.reasons.items()),
        )
        for count in manifest.steps
    )
    return _table(("step", "in", "kept", "dropped", "turns out of the loss", "reasons"), lines)


def _splits(manifest: Manifest) -> str:
    lines = (
        (split, count.rows, count.sessions, count.learned, count.context, _mix(count.categories))
        for split, count in manifest.splits.items()
    )
    return _table(("split", "rows", "sessions", "turns learned", "turns as context", "categories"), lines)


def _mix(categories: Mapping[str, int]) -> str:
    return ", ".join(f"{category or '(none)'} {number}" for category, number in categories.items())


def _moved(manifest: Manifest) -> str:
    pinned = [row for row in manifest.rows if row.pin]
    moved = sum(row.pin != row.split for row in pinned)
    return f"{len(pinned)} rows were pinned by their session; {moved} of them had to follow their group."


def _proof(manifest: Manifest) -> str:
    if manifest.proof is None:
        return "The tokens were not proved for any base model; training and evaluation prove their own."
    return (
        f"All {manifest.proof.rows} rows give the same tokens in training and in serving with the template "
        f"of {manifest.proof.base} (SHA-256 {manifest.proof.template_sha256[:16]})."
    )


def _per_split(manifest: Manifest, tool: str) -> list[int]:
    return [manifest.splits[split].tools.get(tool, 0) for split in SPLITS]


def _lengths(by_split: Mapping[Split, Sequence[Row]]) -> str:
    lines: list[tuple[object, ...]] = []
    for split in SPLITS:
        sizes = sorted(sum(len(message["content"]) for message in row["messages"]) for row in by_split[split])
        if sizes:
            lines.append((split, sizes[0], sizes[len(sizes) // 2], sizes[-1], sum(sizes)))
    return _table(("split", "shortest", "median", "longest", "all"), lines)


def _example(row: Row) -> Iterable[str]:
    for message in row["messages"]:
        content = message["content"]
        cut = content if len(content) <= _EXAMPLE_TEXT else content[:_EXAMPLE_TEXT] + " ..."
        yield "    " + json.dumps({**message, "content": cut}, ensure_ascii=False)


def _table(columns: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    rule = ["---"] * len(columns)
    return "\n".join(
        "| " + " | ".join(_cell(value) for value in line) + " |" for line in (columns, rule, *lines)
    )


def _cell(value: object) -> str:
    return re.sub(r"([\\`*\[\]<>|])", r"\\\1", " ".join(str(value).split()))

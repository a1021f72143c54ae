"""Preference pairs on disk: made of the conversations that wait in the scratch folder, split by split.

In: what was read, the rows in their splits, the recipe, perhaps a chat template. Out: `train_pairs.jsonl`,
`valid_pairs.jsonl` and `test_pairs.jsonl`, and how many pairs of each kind they hold. A pair stands in the
split of the row that its chosen answer comes from; a bad run that has anything in common with rows of two
splits is in none. With a template both answers are proved, each as a row of its own.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from tracemill.curate.chat.proof import prove
from tracemill.curate.chat.structured import openai_messages, openai_tools
from tracemill.curate.chat.template import Chat
from tracemill.curate.errors import CodecError, ProofError
from tracemill.curate.features.talk import Talk
from tracemill.curate.format import FormatOptions, only
from tracemill.curate.gather import part_file
from tracemill.curate.pairs.options import KINDS, Kind, Pair, PairCounts, PairOptions
from tracemill.curate.pairs.runs import PLACES, TOLD, differing, places
from tracemill.curate.pairs.within import Turns, denials, second_tries
from tracemill.curate.pipeline import Curated, sift
from tracemill.curate.sieve import DROPPED, ORDER, Options, Progress
from tracemill.curate.sources import REPLAY
from tracemill.curate.splits import SPLITS
from tracemill.curate.spread import spread
from tracemill.tracer.messages import Message

FEATURES = ("endings",)
"""What pairs ask of a conversation, beside what the steps do."""
_COMPARING = frozenset(
    ("outcome", "duplicates", "near_duplicates", "families", "against", "branches", "balance")
)
"""Steps that a bad run need not pass: they judge it by others, and other runs of a task are near to it."""
_TEXTS = ["messages", "tools", "as_found"]


@dataclass(frozen=True)
class Job:
    """The conversations of one part, the pairs of runs among them, and where their lines go."""

    rows: pl.DataFrame
    runs: Mapping[str, list[dict[str, Any]]]
    file: Path


@dataclass(frozen=True)
class Made:
    """The lines of one part by split, and what is counted of them."""

    files: Mapping[str, Path]
    counts: Counter[tuple[str, Kind]]
    left_out: Counter[str]


def write_pairs(
    options: PairOptions,
    format: FormatOptions,
    read: pl.DataFrame,
    placed: pl.DataFrame,
    steps: Mapping[str, Options],
    folder: Path,
    chat: Chat | None,
    progress: Progress | None = None,
) -> tuple[dict[str, Path], PairCounts]:
    """The files of pairs by name, and what is in them; `read` is all that was read, `placed` the rows."""
    rows = placed.filter(pl.col("origin") != REPLAY).unique("conversation_id", keep="first").sort(ORDER)
    found = _runs(rows, _bad_runs(read, steps, folder), options, folder) if "runs" in options.kinds else {}
    counts: Counter[tuple[str, Kind]] = Counter()
    left_out: Counter[str] = Counter()
    files = {split: folder / f"{split}_pairs.jsonl" for split in SPLITS}
    work = partial(_write, kinds=options.kinds, format=format, chat=chat)
    jobs = list(_jobs(rows, found, folder))
    with ExitStack() as stack:
        targets = {split: stack.enter_context(file.open("xb")) for split, file in files.items()}
        for done, made in enumerate(spread(work, jobs), start=1):
            for split, part in made.files.items():
                targets[split].write(part.read_bytes())
                part.unlink()
            counts += made.counts
            left_out += made.left_out
            if progress:
                progress("pairing", done, len(jobs))
    told = {split: {kind: counts[split, kind] for kind in KINDS if counts[split, kind]} for split in SPLITS}
    return {file.name: file for file in files.values()}, PairCounts(
        splits=told, left_out=dict(sorted(left_out.items()))
    )


def _bad_runs(read: pl.DataFrame, steps: Mapping[str, Options], folder: Path) -> pl.DataFrame:
    """What went badly, and is else as the recipe wants its conversations."""
    bad = read.filter(pl.col("outcome") == "bad")
    others = {name: options for name, options in steps.items() if name not in _COMPARING}
    return sift(Curated(bad, pl.DataFrame(schema=DROPPED), []), others, folder=folder).rows


def _runs(
    rows: pl.DataFrame, bad: pl.DataFrame, options: PairOptions, folder: Path
) -> dict[str, list[dict[str, Any]]]:
    """The pairs of runs by the conversation that is chosen, each with what is rejected."""
    bad = _on_one_side(rows, bad)
    good = rows.filter(pl.col("outcome") == "good")
    good = pl.concat([good.join(bad, on=key, how="semi") for key in ("prompt", "task")])
    good = good.unique("conversation_id", maintain_order=True)
    turns = _turns(good, folder).join(
        good.select("conversation_id", "context"), on="conversation_id", how="left", maintain_order="left"
    )
    turns = turns.with_columns(learned=~pl.col("context").list.contains(pl.col("position"))).drop("context")
    told = pl.concat([good.select(TOLD), bad.select(TOLD)])
    pairs = differing(turns, _turns(bad, folder), told, options)
    wanted: dict[str, set[int]] = {}
    for name, position in pairs.select("other", "other_position").iter_rows():
        wanted.setdefault(name, set()).add(position)
    spoken: dict[tuple[str, int], Message] = {}
    for name, talk in _talks(bad.filter(pl.col("conversation_id").is_in(list(wanted))), folder):
        spoken |= {(name, position): talk.messages[position] for position in wanted[name]}
    result: dict[str, list[dict[str, Any]]] = {}
    for row in pairs.iter_rows(named=True):
        same = "the same messages" if row["way"] == "messages" else "the same calls with the same results"
        evidence = f"turn {row['position']}: after {same} the bad run {row['other']} did something else"
        rejected = spoken[row["other"], row["other_position"]]
        made = {**row, "evidence": evidence, "rejected": json.dumps(rejected, ensure_ascii=False)}
        result.setdefault(row["conversation_id"], []).append(made)
    return result


def _on_one_side(rows: pl.DataFrame, bad: pl.DataFrame) -> pl.DataFrame:
    """The bad runs that have session, task or prompt in common with rows of one split, and of no other."""
    keys = ("session_id", "task", "prompt")
    met = [
        bad.select("conversation_id", key)
        .drop_nulls()
        .join(rows.select(key, "split").unique(), on=key)
        .select("conversation_id", "split")
        for key in keys
    ]
    sides = pl.concat(met).group_by("conversation_id").agg(pl.col("split").n_unique())
    return bad.join(
        sides.filter(pl.col("split") == 1), on="conversation_id", how="semi", maintain_order="left"
    )


def _turns(rows: pl.DataFrame, folder: Path) -> pl.DataFrame:
    found = [pl.DataFrame(schema=PLACES), *spread(_places, _parts(rows, folder))]
    return pl.concat(found)


def _places(part: tuple[pl.DataFrame, Path]) -> pl.DataFrame:
    found = [(name, *place) for name, talk in _of_part(*part) for place in places(talk)]
    return pl.DataFrame(found, dict(PLACES), orient="row")


def _parts(rows: pl.DataFrame, folder: Path) -> Iterator[tuple[pl.DataFrame, Path]]:
    needed = rows.select("conversation_id", "part", "row").sort("part", "row")
    for part in needed.partition_by("part"):
        yield part, part_file(folder, part["part"][0])


def _talks(rows: pl.DataFrame, folder: Path) -> Iterator[tuple[str, Talk]]:
    for part, file in _parts(rows, folder):
        yield from _of_part(part, file)


def _of_part(rows: pl.DataFrame, file: Path) -> Iterator[tuple[str, Talk]]:
    texts = pl.read_parquet(file, columns=_TEXTS)[rows["row"]]
    for name, row in zip(rows["conversation_id"], texts.iter_rows(named=True), strict=True):
        yield name, Talk.read(row["messages"], row["tools"], None, row["as_found"])


def _jobs(rows: pl.DataFrame, runs: Mapping[str, list[dict[str, Any]]], folder: Path) -> Iterator[Job]:
    told = ("conversation_id", "session_id", "category", "split", "context", "disliked", "endings")
    chosen = pl.col("conversation_id").is_in(list(runs))
    # Most conversations have nothing to tell.
    judged = (pl.col("endings").list.len() > 0) | (pl.col("disliked").list.len() > 0).fill_null(value=False)
    wanted = rows.filter(judged | chosen).select(*told, "part", "row").sort("part", "row")
    for part in wanted.partition_by("part"):
        file = part_file(folder, part["part"][0])
        own = {name: runs[name] for name in part["conversation_id"] if name in runs}
        yield Job(part, own, file)


def _write(job: Job, kinds: Sequence[Kind], format: FormatOptions, chat: Chat | None) -> Made:
    counts: Counter[tuple[str, Kind]] = Counter()
    left_out: Counter[str] = Counter()
    files = {
        split: job.file.with_suffix(f".{split}_pairs")
        for split in job.rows["split"].unique(maintain_order=True)
    }
    talks = _of_part(job.rows.select("conversation_id", "row"), job.file)
    with ExitStack() as stack:
        targets = {split: stack.enter_context(file.open("xb")) for split, file in files.items()}
        for row, (name, talk) in zip(job.rows.iter_rows(named=True), talks, strict=True):
            for other, pair in _pairs(row, talk, job.runs.get(name, []), kinds):
                try:
                    line = _line(row, talk, pair, other, format, chat)
                except (CodecError, ProofError) as error:
                    left_out["no text form" if isinstance(error, CodecError) else "no token proof"] += 1
                    continue
                targets[row["split"]].write(line)
                counts[row["split"], pair.kind] += 1
    return Made(files, counts, left_out)


def _pairs(
    row: Mapping[str, Any], talk: Talk, runs: Sequence[Mapping[str, Any]], kinds: Sequence[Kind]
) -> Iterator[tuple[str, Pair]]:
    """The pairs of one conversation, each with the id of the other one, if there is one."""
    learned = set(talk.assistants) - set(row["context"])
    turns = Turns(talk.messages, row["endings"] or (), row["disliked"] or ())
    first_file = next((at for at, message in enumerate(talk.messages) if message.get("attachments")), None)
    found: list[tuple[str, Pair]] = []
    if "retried" in kinds:
        found += [("", pair) for pair in second_tries(turns, learned)]
    if "denied" in kinds:
        found += [("", pair) for pair in denials(turns, learned)]
    for run in runs:
        at = run["position"]
        found.append(
            (run["other"], Pair("runs", at, talk.messages[at], json.loads(run["rejected"]), run["evidence"]))
        )
    for other, pair in sorted(found, key=lambda one: one[1].position):
        # Who has not seen the image cannot tell which answer to it is better.
        if first_file is None or pair.position < first_file:
            yield other, pair


def _line(
    row: Mapping[str, Any], talk: Talk, pair: Pair, other: str, format: FormatOptions, chat: Chat | None
) -> bytes:
    before = talk.messages[: pair.position]
    name = ":".join(filter(None, (f"{row['conversation_id']}@{pair.position}", pair.kind, other)))
    answers = (pair.chosen, pair.rejected)
    plain = [Talk([*before, answer], talk.tools, [], talk.as_found).row_messages() for answer in answers]
    if chat:
        for messages in plain:
            last = only(messages, pair.position)
            prove(chat, {"id": name, "session_id": "", "category": "", "messages": last, "tools": talk.tools})
    if format.structured:
        shown = [_structured([*before, answer], format) for answer in answers]
    else:
        shown = [[{**message} for message in messages] for messages in plain]
    prompt = shown[0][:-1]
    made: dict[str, Any] = {
        "id": name,
        "session_id": row["session_id"],
        "category": row["category"] or "",
        "kind": pair.kind,
        "prompt": prompt,
        "chosen": shown[0][-1:],
        "rejected": shown[1][-1:],
        "tools": openai_tools(talk.tools) if format.structured else talk.tools,
        "evidence": pair.evidence,
    }
    return (json.dumps(made, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _structured(messages: Sequence[Message], format: FormatOptions) -> list[dict[str, Any]]:
    return openai_messages(messages, format.arguments == "text")

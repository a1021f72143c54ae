"""What must not be learned again: the rows of earlier data sets, the prompts of evaluation suites.

In: paths of files, relative to where the command runs. Out: the signatures and shingles of earlier rows, or
the prompts of suites with their places, and which of other prompts are among these. RecipeError for a path
that holds nothing; a line that cannot be read is passed over, for nobody learned from it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from tracemill.curate.chat_lines import FILES, PAIRS, Fault, Lines, read_chat, read_lines
from tracemill.curate.errors import RecipeError
from tracemill.curate.features.conversation import weightless
from tracemill.curate.features.likeness import Packed, minhash, packed, shingles
from tracemill.curate.features.talk import prompt_key
from tracemill.curate.names import conversation_of
from tracemill.curate.sources import BATCH_ROWS
from tracemill.curate.spread import spread

_PROMPT_KEYS = ("prompt", "question", "input", "instruction", "problem_statement", "task")


@dataclass(frozen=True)
class Earlier:
    """Parallel lists over the rows of earlier data sets: what they are called, what is compared, the turns
    that are context there, and the conversation that a row is `of`."""

    names: list[str] = field(default_factory=list[str])
    signatures: list[bytes] = field(default_factory=list[bytes])
    shingles: list[Packed] = field(default_factory=list[Packed])
    context: list[list[int]] = field(default_factory=list[list[int]])
    of: list[str] = field(default_factory=list[str])


def earlier(datasets: Sequence[str]) -> Earlier:
    """The rows of folders or files of chat JSONL of which a turn was learned."""
    known = Earlier()
    learned: dict[str, set[int]] = {}
    for name in datasets:
        path = Path(name).expanduser()
        for found in spread(_work, read_chat(_files(path, "earlier data set"), path.name, BATCH_ROWS)):
            for row in found:
                known.names.append(f"{row.name} of the data set {path.name}")
                known.signatures.append(row.signature)
                known.shingles.append(row.shingles)
                known.context.append(row.context)
                learned.setdefault(f"{path}/{conversation_of(row.name)}", set()).update(row.learned)
                known.of.append(f"{path}/{conversation_of(row.name)}")
    # Where a row is a turn, the turns before it are learned in rows of their own.
    context = [
        [at for at in own if at not in learned[of]] for own, of in zip(known.context, known.of, strict=True)
    ]
    return replace(known, context=context)


@dataclass(frozen=True)
class _Row:
    name: str
    signature: bytes
    shingles: Packed
    context: list[int]
    learned: list[int]


def _work(lines: Lines) -> list[_Row]:
    made: list[_Row] = []
    for found in read_lines(lines):
        if isinstance(found, Fault):
            continue
        talk, context = found.talk, weightless(found.talk)
        learned = [at for at in talk.assistants if at not in context]
        if learned or not context:
            name = found.columns["conversation_id"]
            made.append(_Row(name, minhash(talk), packed(talk), context, learned))
    return made


def _files(path: Path, what: str) -> list[Path]:
    if path.is_file():
        return [path]
    files = sorted(file for file in path.glob(f"*{FILES}") if not file.name.endswith(PAIRS))
    if not files:
        raise RecipeError(f"There is no {what} at {path}: give a {FILES} file, or a folder that holds some.")
    return files


def prompts_of(suites: Sequence[str]) -> list[tuple[str, str]]:
    """Place and prompt of everything that the suites ask.

    A suite is a text file of one prompt a line, or JSONL with chat `messages` or a string under a key such as
    `prompt`, `question` or `problem_statement`.
    """
    found: list[tuple[str, str]] = []
    for suite in suites:
        path = Path(suite).expanduser()
        for file in _files(path, "evaluation suite"):
            lines = enumerate(file.read_text("utf-8", errors="replace").split("\n"), start=1)
            asked = ((f"{file.name}, line {number}", _prompt(line, file)) for number, line in lines)
            found += [(place, prompt) for place, prompt in asked if prompt]
    if not found:
        raise RecipeError(f"No prompt can be read in {', '.join(suites)}; give files that hold some.")
    return found


def _prompt(line: str, file: Path) -> str | None:
    if file.suffix != FILES:
        return _levelled(line)
    try:
        value: object = json.loads(line)
    except ValueError:
        return None
    record = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
    if isinstance(messages := record.get("messages"), list):
        listed = [cast("dict[str, Any]", one) for one in cast("list[Any]", messages) if isinstance(one, dict)]
        first = next((one.get("content") for one in listed if one.get("role") == "user"), None)
        return _levelled(first) if isinstance(first, str) else None
    texts = (record.get(key) for key in _PROMPT_KEYS)
    return _levelled(next((text for text in texts if isinstance(text, str)), ""))


def _levelled(prompt: str) -> str:
    """The prompt as the feature `prompt` has it."""
    return prompt_key([{"role": "user", "content": prompt}])


def matches(
    prompts: Sequence[str], asked: Sequence[str], threshold: float
) -> Iterator[tuple[int, float] | None]:
    """For each of `prompts` the number of the one among `asked` that is most like it, and how alike they are.

    None where none has a similarity of `threshold`. A prompt of few words is like an equal one only.
    """
    exact = {prompt: number for number, prompt in reversed(list(enumerate(asked)))}
    sets = [shingles(prompt) for prompt in asked]
    numbers = np.repeat(np.arange(len(sets)), [len(one) for one in sets])
    flat = np.concatenate([np.zeros(0, np.uint64), *sets])
    order = np.argsort(flat, kind="stable")
    flat, numbers = flat[order], numbers[order]
    sizes = np.array([len(one) for one in sets])
    for prompt in prompts:
        if prompt in exact:
            yield exact[prompt], 1.0
            continue
        own = shingles(prompt)
        start, end = np.searchsorted(flat, own, "left"), np.searchsorted(flat, own, "right")
        hits = [numbers[a:b] for a, b in zip(start.tolist(), end.tolist(), strict=True) if a < b]
        if len(hits) < threshold * len(own):
            yield None
            continue
        common = np.bincount(np.concatenate(hits), minlength=len(sets))
        alike = common / (len(own) + sizes - common)
        best = int(alike.argmax())
        yield (best, float(alike[best])) if alike[best] >= threshold else None

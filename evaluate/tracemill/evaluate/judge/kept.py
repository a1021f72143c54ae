"""What judges said, on disk the moment they said it: a judging that was killed goes on where it was.

In: answers, each under the key of what was asked (`Prompt.key`). Out: `cache/judgements/<judge>.jsonl`, a
line an answer, for the user alone; the same question is never asked of the same judge twice.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from tracemill.evaluate.errors import EvaluationError
from tracemill.tracer.home import Home

Choice = Literal["first", "second", "tie"]


@dataclass(frozen=True)
class Answer:
    """What a judge chose of two, and why; tokens and US dollars that it cost, None where nobody knows."""

    choice: Choice
    reason: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float | None = None


class Kept:
    """The answers of one judge, by key."""

    def __init__(self, home: Home, judge: str) -> None:
        self.home = home
        self.path = _path(home, judge)
        self.answers: dict[str, Answer] = _read(self.path)

    def add(self, key: str, answer: Answer) -> None:
        """Put an answer on disk; EvaluationError where it cannot be."""
        # The first break ends a line that a killed process tore.
        line = f"\n{json.dumps({'key': key, **asdict(answer)})}\n".encode()
        try:
            self.home.ensure(self.path.parent)
            file = os.open(self.path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
            try:
                os.write(file, line)
            finally:
                os.close(file)
        except OSError as error:
            raise EvaluationError(
                f"Cannot write {self.path}: {error.strerror}; make room, then run it again: it goes on."
            ) from error
        self.answers[key] = answer


_ANSWER = TypeAdapter(Answer)


def _path(home: Home, judge: str) -> Path:
    plain = re.sub(r"[^\w.-]+", "-", judge)[:60]
    return (
        home.root / "cache" / "judgements" / f"{plain}-{hashlib.sha256(judge.encode()).hexdigest()[:8]}.jsonl"
    )


def _read(path: Path) -> dict[str, Answer]:
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise EvaluationError(f"Cannot read {path}: {error.strerror}; mend its permissions.") from error
    found: dict[str, Answer] = {}
    for line in lines:
        try:
            value = json.loads(line)
            key = value.pop("key")
            found[str(key)] = _ANSWER.validate_python(value)
        except (ValueError, KeyError, AttributeError, ValidationError):
            continue  # the torn last line of a killed process
    return found

"""What judges said, on disk the moment they said it: a judging that was killed goes on where it was.

In: answers, each under the key of what was asked (`Prompt.key`). Out: `cache/judgements/<judge>.jsonl`, a
line an answer, for the user alone; the same question is not asked of the same judge twice, but where one
wants to. A judge of the same name at another URL is another judge.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from tracemill.evaluate.errors import EvaluationError
from tracemill.tracer.home import Home

Choice = Literal["first", "second", "tie"]


@dataclass(frozen=True)
class Answer:
    """What a judge chose of two, and why; tokens and US dollars that it cost, None where nobody knows.

    when: the day it was given (UTC).
    """

    choice: Choice
    reason: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float | None = None
    when: str | None = field(default=None, compare=False)


class Kept:
    """The answers of one judge, by key.

    place: the URL of a judge that has one; fresh: as if it had said nothing, and what it says now counts.
    """

    def __init__(self, home: Home, judge: str, place: str = "", *, fresh: bool = False) -> None:
        self.home = home
        self.path = _path(home, judge, place)
        self.answers: dict[str, Answer] = {} if fresh else _read(self.path)

    def add(self, key: str, answer: Answer) -> None:
        """Put an answer on disk; EvaluationError where it cannot be."""
        answer = replace(answer, when=datetime.now(UTC).date().isoformat())
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


def _path(home: Home, judge: str, place: str) -> Path:
    plain = re.sub(r"[^\w.-]+", "-", judge)[:60]
    code = hashlib.sha256((f"{judge}\n{place}" if place else judge).encode()).hexdigest()[:8]
    return home.root / "cache" / "judgements" / f"{plain}-{code}.jsonl"


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

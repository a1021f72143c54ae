"""Result files: an evaluation on disk, written while it runs and whole at its end.

In: completions as they are made, then the scored items. Out: `cache/evaluations/<id>.jsonl`, a header and an
item a line, the same bytes for the same evaluation; while it runs `<id>.part`, from which a killed evaluation
goes on. A file of another version is refused, not guessed at.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from tracemill.evaluate.costs import Usage
from tracemill.evaluate.errors import EvaluationError
from tracemill.evaluate.items import Item, Kind
from tracemill.evaluate.sampling import GREEDY, Sampling
from tracemill.evaluate.scoring import Score
from tracemill.evaluate.whole_file import write_whole
from tracemill.tracer.home import Home

VERSION = 1
T = TypeVar("T")


@dataclass(frozen=True)
class Header:
    """What was evaluated: `adapter` is None for the base alone; hashes are SHA-256.

    endpoint: the URL or the provider that was asked, None for a model in process, whose `base_sha256` is then
    ""; unanswered: items that got no answer, and why; they are not among those that were scored; source: the
    folder or file of what was asked, None where it is neither.
    """

    evaluation: str
    suite: str
    suite_sha256: str
    base: str
    base_sha256: str
    adapter: str | None
    adapter_sha256: str | None
    max_tokens: int
    sampling: Sampling = GREEDY
    endpoint: str | None = None
    unanswered: Mapping[str, str] = field(default_factory=dict[str, str])
    source: str | None = None

    @property
    def name(self) -> str:
        """The model, as a person names it."""
        return self.adapter or Path(self.base).name


@dataclass(frozen=True)
class StoredItem:
    """An item, what was written for it, and its score; `asked` is what the user said last.

    `usage` is what an endpoint says it took, None in process.
    """

    id: str
    session_id: str
    category: str
    kind: Kind
    source: str
    hash: str
    asked: str
    expected: str
    text: str
    score: Score
    usage: Usage | None = None


@dataclass(frozen=True)
class Stored:
    """An evaluation as its file holds it."""

    header: Header
    items: list[StoredItem]


def folder(home: Home) -> Path:
    """Where result files are."""
    return home.root / "cache" / "evaluations"


def stored_item(item: Item, text: str, score: Score, expected: str, usage: Usage | None = None) -> StoredItem:
    """What a result file keeps of an item."""
    return StoredItem(
        item.id,
        item.session_id,
        item.category,
        item.kind,
        item.source,
        item.digest,
        _whole(item.asked),
        _whole(expected),
        _whole(text),
        score,
        usage,
    )


def _whole(text: str) -> str:
    """Without lone surrogates, which UTF-8 does not know."""
    return text.encode("utf-8", "replace").decode()


def is_finished(home: Home, evaluation: str) -> bool:
    """Whether there is a result file of it."""
    return _file(home, evaluation).exists()


def known_texts(home: Home, evaluation: str) -> dict[str, str]:
    """Completions that are on disk already, by item, of a finished or of a killed evaluation."""
    return {item: one["text"] for item, one in _known(home, evaluation).items()}


def known_usage(home: Home, evaluation: str) -> dict[str, Usage]:
    """What completions that are on disk already took, by item, where an endpoint made them."""
    known = _known(home, evaluation)
    return {item: _USAGE.validate_python(one["usage"]) for item, one in known.items() if one.get("usage")}


def _known(home: Home, evaluation: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for file in (_file(home, evaluation), _part(home, evaluation)):
        try:
            lines = file.read_bytes().split(b"\n")
        except OSError:
            continue
        for line in lines:
            try:
                value = json.loads(line)
            except ValueError:
                continue  # the torn last line of a killed process
            if isinstance(value, dict) and "id" in value and "text" in value:
                found[value["id"]] = value
    return found


class Add(Protocol):
    """Puts a completion on disk before it returns."""

    def __call__(self, item: str, text: str, usage: Usage | None = None) -> None:
        """`usage` is what it took, where an endpoint made it."""
        ...


@contextmanager
def streaming(home: Home, evaluation: str, *, fresh: bool = False) -> Generator[Add]:
    """A function that puts completions on disk as they are made; EvaluationError where it cannot.

    With `fresh` the first of them takes the place of all that was there, so nothing is lost before.
    """
    home.ensure(folder(home))
    path = _part(home, evaluation)
    try:
        file = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
    except OSError as error:
        raise _full(home, error) from error

    def add(item: str, text: str, usage: Usage | None = None) -> None:
        nonlocal fresh
        line = {"id": item, "text": text, **({"usage": asdict(usage)} if usage else {})}
        # The first break ends a line that a killed process tore.
        data = f"\n{json.dumps(line)}\n".encode()
        try:
            if fresh:
                os.ftruncate(file, 0)
                _file(home, evaluation).unlink(missing_ok=True)
                fresh = False
            if os.write(file, data) < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise _full(home, error) from error

    try:
        yield add
    finally:
        os.close(file)


def _full(home: Home, error: OSError) -> EvaluationError:
    return EvaluationError(
        f"Cannot write to {folder(home)}: {error.strerror}; make room, then run it again: it goes on."
    )


def write_results(home: Home, header: Header, items: Sequence[StoredItem]) -> Path:
    """Write the result file, whole or not at all, for the user alone, and drop what was streamed."""
    home.ensure(folder(home))
    path = _file(home, header.evaluation)
    first = json.dumps({"version": VERSION, **asdict(header)})
    try:
        write_whole(path, "\n".join([first, *(json.dumps(asdict(item)) for item in items), ""]))
    except OSError as error:
        raise EvaluationError(f"Cannot write {path}: {error.strerror}; make room, run it again.") from error
    _part(home, header.evaluation).unlink(missing_ok=True)
    return path


def read_results(path: Path) -> Stored:
    """Read a result file; EvaluationError for one of another version, or that is none."""
    try:
        first, *lines = path.read_text("utf-8").splitlines()
        header = json.loads(first)
    except (OSError, ValueError) as error:
        told = error.strerror if isinstance(error, OSError) else "it does not begin with the line of one"
        raise EvaluationError(f"{path} is no result file: {told}; `tracemill evaluate` makes one.") from error
    version = cast("Mapping[str, Any]", header).get("version") if isinstance(header, dict) else None
    if version != VERSION:
        raise EvaluationError(
            f"{path} is a result file of version {version}, and this is version {VERSION}: evaluate again."
        )
    try:
        found = _HEADER.validate_python({key: one for key, one in header.items() if key != "version"})
        return Stored(found, [_ITEM.validate_json(line) for line in lines])
    except ValidationError as error:
        told = error.errors()[0]
        raise EvaluationError(
            f"{path} is damaged ({'.'.join(map(str, told['loc']))}: {told['msg']}); evaluate again."
        ) from error


def headers(home: Home) -> list[tuple[Path, Header]]:
    """The result files of a home that can be read, newest first."""
    files = sorted(folder(home).glob("*.jsonl"), key=lambda file: (-file.stat().st_mtime, file.name))
    found: list[tuple[Path, Header]] = []
    for file in files:
        with file.open(encoding="utf-8") as lines:
            try:
                first = json.loads(lines.readline())
                if first.pop("version") == VERSION:
                    found.append((file, _HEADER.validate_python(first)))
            except (ValueError, KeyError, AttributeError):
                continue
    return found


_HEADER, _ITEM, _USAGE = TypeAdapter(Header), TypeAdapter(StoredItem), TypeAdapter(Usage)


def _file(home: Home, evaluation: str) -> Path:
    return folder(home) / f"{evaluation}.jsonl"


def _part(home: Home, evaluation: str) -> Path:
    return folder(home) / f"{evaluation}.part"

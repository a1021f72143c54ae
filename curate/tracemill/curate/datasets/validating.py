"""Everything that is wrong with a data set, each with its file, its line and what to do about it.

In: the files of a data set of any size, and perhaps the chat template that tokens are proved for. Out:
`Checked`: how often each kind of defect was found, and the first ones of each kind.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tracemill.curate.chat.template import Chat
from tracemill.curate.chat_lines import FILES, Fault, Lines
from tracemill.curate.datasets.checks import MENDS, wrong_with
from tracemill.curate.datasets.facts import Turn, turns_of
from tracemill.curate.datasets.made import made_of
from tracemill.curate.datasets.opened import Opened, is_of_pairs
from tracemill.curate.datasets.reading import Read, chunks, read_rows
from tracemill.curate.errors import DatasetError
from tracemill.curate.manifest import FILE, Manifest, file_digest
from tracemill.curate.sieve import Progress
from tracemill.curate.spread import spread

LISTED = 5
"""Most defects of a kind that are kept unless more are asked for."""
_PAIR, _CONVERSATION = "preference pairs", "conversations"


@dataclass(frozen=True)
class Defect:
    """What is wrong, where (line 0: with the file as a whole), and what to do."""

    kind: str
    file: str
    line: int
    told: str
    mend: str


@dataclass
class Checked:
    """How many rows were read, and what is wrong: a count by kind, and the first `listed` defects of each."""

    listed: int
    rows: int = 0
    counts: Counter[str] = field(default_factory=Counter[str])
    defects: list[Defect] = field(default_factory=list[Defect])

    def add(self, kind: str, file: str, line: int, told: str) -> None:
        """Count a defect, and keep it while there are few of its kind."""
        self.counts[kind] += 1
        if self.counts[kind] <= self.listed:
            self.defects.append(Defect(kind, file, line, told, MENDS[kind]))


@dataclass(frozen=True)
class _Part:
    """What was found in some lines: defects by line, ids and formats with the lines they stand in."""

    file: str
    size: int
    rows: int
    found: list[tuple[str, int, str]]
    ids: list[tuple[str, int]]
    formats: dict[str, list[int]]


@dataclass(frozen=True)
class _Check:
    """What a process does with some lines."""

    chat: Chat | None

    def __call__(self, lines: Lines) -> _Part:
        part = _Part(Path(lines.place).name, lines.size, len(lines.lines), [], [], {})
        for number, read in read_rows(lines):
            if isinstance(read, Fault):
                told = read.evidence.removeprefix(f"{lines.place}, line {number}: ")
                part.found.append((read.reason, number, told))
                continue
            if read.own_id is not None:
                part.ids.append((read.own_id, number))
            turns = turns_of(read.found.talk)
            for name in _formats(read, turns.values()):
                part.formats.setdefault(name, []).append(number)
            part.found.extend((kind, number, told) for kind, told in wrong_with(read, turns, self.chat))
        return part


def validate(
    data: Opened, chat: Chat | None = None, listed: int = LISTED, progress: Progress | None = None
) -> Checked:
    """Check every row; with `chat` the tokens of each are proved.

    DatasetError where a file cannot be read.
    """
    checked = Checked(listed)
    for kind, file, told in _of_files(data):
        checked.add(kind, file, 0, told)
    seen: dict[tuple[bool, str], str] = {}
    formats: dict[str, dict[str, tuple[int, int]]] = {}
    rows: Counter[str] = Counter()
    done = 0
    try:
        for part in spread(_Check(chat), chunks(data)):
            rows[part.file] += part.rows
            for kind, line, told in part.found:
                checked.add(kind, part.file, line, told)
            for name, line in part.ids:
                place = seen.setdefault((_PAIR in part.formats, name), f"{part.file}, line {line}")
                if place != f"{part.file}, line {line}":
                    checked.add("id twice", part.file, line, f"the id {name!r} stands already in {place}")
            for name, lines in part.formats.items():
                count, first = formats.setdefault(part.file, {}).get(name, (0, lines[0]))
                formats[part.file][name] = (count + len(lines), first)
            done += part.size
            if progress:
                progress(f"checking {data.name}", done, data.size)
    except OSError as error:
        raise DatasetError(f"Cannot read {data.path}: {error.strerror or error}; mend that.") from error
    for file, found in formats.items():
        for line, told in _mixed(found):
            checked.add("mixed formats", file, line, told)
    for _, file in data.files:
        if not rows[file.name] and file.name == "train.jsonl":
            checked.add("no rows", file.name, 0, "it holds no row")
    checked.rows = rows.total()
    order = list(MENDS)
    checked.defects.sort(key=lambda one: (order.index(one.kind), one.file, one.line))
    return checked


def _formats(read: Read, turns: Iterable[Turn]) -> set[str]:
    """The formats that a row is in: those of its calls, and whether it is a conversation or a pair."""
    found = {turn.format for turn in turns if turn.format and turn.tools}
    return found | {_CONVERSATION if read.rejected is None else _PAIR}


def _mixed(found: Mapping[str, tuple[int, int]]) -> Iterator[tuple[int, str]]:
    """The formats of a file beside the most frequent one: where each begins, and how often it is there."""
    kinds = {_PAIR, _CONVERSATION}
    for group, told in ((found.keys() & kinds, "are {}"), (found.keys() - kinds, "write calls as {}")):
        main, *others = sorted(group, key=lambda name: (-found[name][0], name)) or [""]
        for name in others:
            (count, first), (most, _) = found[name], found[main]
            yield first, f"{count} rows {told.format(name)}, {most} {told.format(main)}; this is the first"


def _of_files(data: Opened) -> Iterator[tuple[str, str, str]]:
    """What is wrong with the files as a whole: kind, file, details."""
    names = [file.name for _, file in data.files]
    if data.path.is_dir() and f"train{FILES}" not in names and not all(map(is_of_pairs, names)):
        yield "no train.jsonl", data.path.name, "`tracemill train` takes a folder with a train.jsonl"
    written = _written(data)
    for _, file in data.files:
        if file.name in written and file_digest(file) != written[file.name]:
            yield "changed file", file.name, "its SHA-256 is another than when it was written"


def _written(data: Opened) -> Mapping[str, str]:
    """The SHA-256 of the files as an export or an operation wrote them, by name."""
    file = data.folder / FILE
    if file.exists():
        try:
            return Manifest.model_validate_json(file.read_bytes()).files
        except ValueError as error:
            raise DatasetError(f"{file} is not a manifest; export again, or delete it.") from error
    made = made_of(data.folder)
    return made.files if made else {}

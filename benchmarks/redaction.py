"""What redaction takes out of real sessions, and what it costs.

`python benchmarks/redaction.py` writes `benchmarks/results/redaction.md`.

In: the sessions in `../shared/data` (see its README) and files of the installed packages, text that is full
of code and holds hardly a secret. Out: for each corpus and kind how many replacements there are, of how many
different things, with a sample of them, masked; a verdict on each kind, given by hand by whoever read all of
them; and the speed, on these texts and on a message, the arguments of a tool call, a path and a prompt.
"""

from __future__ import annotations

import gzip
import json
import os
import platform
import random
import statistics
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydantic_core

from tracemill.tracer.redact import Redactor

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
RESULT = ROOT / "benchmarks" / "results" / "redaction.md"
PACKAGE_FILES = 8000
SUFFIXES = (".py", ".md", ".rst", ".txt", ".json", ".yaml", ".yml", ".toml", ".js", ".cfg", ".html", ".ts")
ENVIRONMENT: dict[str, str] = {}
"""No variables and no home: what is found does not depend on where this runs."""

VERDICTS = {
    "email": "people in copyright lines, git logs and package metadata; none wrong. Of the addresses in code "
    "and tests (`user@example.com`, decorators, `git@host`) not one was touched",
    "user": "owners of homes in tracebacks and version listings of bug reports; one is a made-up project "
    "folder, some are examples of documentation. All stay paths",
    "password": "fixtures of tests and examples of documentation: literals in the place of a password, not "
    "known to be harmless",
    "url-password": "examples with a password in a URL, in tests of URL validators and in documentation",
    "token": "examples of documentation in the shape of a token",
    "huggingface-token": "a real token of a test account, published with its package",
    "private-key": "examples of keys in documentation",
    "jwt": "examples of documentation",
    "base64": "encoded data that holds a password or key of an example",
    "authorization": "examples of documentation",
}


@dataclass
class Corpus:
    """Texts, session by session."""

    name: str
    sessions: Callable[[], Iterator[list[Any]]]


@dataclass
class Found:
    """What redaction did to a corpus."""

    characters: int = 0
    seconds: float = 0
    counts: dict[str, int] = field(default_factory=dict[str, int])
    samples: dict[str, list[tuple[str, str, str]]] = field(
        default_factory=dict[str, list[tuple[str, str, str]]]
    )


def mini_swe_agent() -> Iterator[list[Any]]:
    with gzip.open(DATA / "mini-swe-agent" / "sessions.jsonl.gz", "rt", encoding="utf-8") as file:
        for line in file:
            yield [message["content"] for message in json.loads(line)["trajectory"]["messages"]]


def tau_bench() -> Iterator[list[Any]]:
    with gzip.open(DATA / "tau-bench" / "gpt-4o-airline.json.gz", "rt", encoding="utf-8") as file:
        for session in json.load(file):
            calls = [call for message in session["traj"] for call in message.get("tool_calls") or []]
            yield [message["content"] for message in session["traj"]] + [
                call["function"]["arguments"] for call in calls
            ]


def punie() -> Iterator[list[Any]]:
    for path in sorted((DATA / "punie").glob("*/*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            yield [message["content"] for message in json.loads(line).get("messages", [])]


def packages() -> Iterator[list[Any]]:
    folder = Path(sysconfig.get_paths()["purelib"])
    paths = sorted(path for path in folder.rglob("*") if path.suffix in SUFFIXES and path.is_file())
    chosen = random.Random(0).sample(paths, min(PACKAGE_FILES, len(paths)))
    yield from ([path.read_text(encoding="utf-8", errors="replace")] for path in chosen)


CORPORA = (
    Corpus("mini-swe-agent", mini_swe_agent),
    Corpus("tau-bench", tau_bench),
    Corpus("punie", punie),
    Corpus("installed packages", packages),
)


def redact_all(corpus: Corpus) -> Found:
    """Redact a corpus, a session at a time, timing nothing but the redaction."""
    found = Found()
    for number, texts in enumerate(corpus.sessions()):
        redactor = Redactor(ENVIRONMENT)
        session = redactor.session(str(number))
        values = [text for text in texts if text]
        started = time.process_time()
        for value in values:
            session.redact(value)
        found.seconds += time.process_time() - started
        found.characters += sum(len(value) for value in values)
        for kind, count in session.counts.items():
            found.counts[kind] = found.counts.get(kind, 0) + count
        if session.counts:
            for value in values:
                for start, end, kind in redactor.detector.find(value):
                    around = value[max(0, start - 30) : start], value[start:end], value[end : end + 10]
                    found.samples.setdefault(kind, []).append(around)
    return found


def masked(secret: str) -> str:
    """The first two characters of a secret and its length."""
    return f"{secret[:2]}…({len(secret)})"


def microseconds(text: str, again: bool) -> float:
    """The median time of redacting a text, for the first time or once more in the same process."""
    times: list[float] = []
    redactor = Redactor(ENVIRONMENT)
    redactor.text(text)
    for _ in range(200):
        if not again:
            redactor = Redactor(ENVIRONMENT)
        session = redactor.session("s")
        started = time.process_time()
        session.text(text)
        times.append((time.process_time() - started) * 1e6)
    return statistics.median(times)


def speeds() -> Iterator[str]:
    texts = [text for session in mini_swe_agent() for text in session]
    short = random.Random(0).sample([text for text in texts if 250 <= len(text) <= 350], 100)
    edit = {"path": "src/app/models.py", "old_text": short[0][:120], "new_text": short[1][:120]}
    once, again = (statistics.median(microseconds(text, more) for text in short) for more in (False, True))
    yield "| what | characters | first time, us | again, us |"
    yield "|---|---|---|---|"
    yield f"| a message of a session, median of 100 | 250-350 | {once:.1f} | {again:.1f} |"
    others = {
        "arguments of a tool call, JSON": json.dumps(edit),
        "a path": edit["path"],
        "a prompt": "\n".join(texts[:400])[:20_000],
    }
    for name, text in others.items():
        yield f"| {name} | {len(text):,} | {microseconds(text, False):.1f} | {microseconds(text, True):.1f} |"


def report(found: dict[str, Found]) -> Iterator[str]:
    model = platform.processor() or platform.machine()
    yield "# Redaction of real sessions"
    yield ""
    yield (
        f"{os.cpu_count()} cores, {platform.system()} {model}, Python {platform.python_version()}, "
        f"pydantic-core {pydantic_core.__version__} (every agent has it, and redaction uses it where it is); "
        f"process time on one core, load average before the run {os.getloadavg()[0]:.1f}."
    )
    yield ""
    yield "| corpus | MB | replacements | MB/s |"
    yield "|---|---|---|---|"
    for name, result in found.items():
        size, total = result.characters / 1e6, sum(result.counts.values())
        yield f"| {name} | {size:.1f} | {total} | {size / result.seconds:.1f} |"
    yield ""
    yield from speeds()
    yield ""
    yield "A text that was found harmless is remembered: what a tool is given and returns is looked at once."
    yield ""
    yield "## What was replaced"
    yield ""
    yield "| corpus | kind | replacements | different | samples, masked |"
    yield "|---|---|---|---|---|"
    for name, result in found.items():
        for kind, count in sorted(result.counts.items(), key=lambda item: -item[1]):
            samples = result.samples.get(kind, [])
            different = sorted({secret for _, secret, _ in samples})
            shown = random.Random(1).sample(sorted(set(samples)), min(3, len(set(samples))))
            texts = "; ".join(f"`{_plain(a)}`**{masked(s)}**`{_plain(z)}`" for a, s, z in shown)
            yield f"| {name} | {kind} | {count} | {len(different)} | {texts} |"
    yield ""
    yield "## Verdicts, by hand"
    yield ""
    for kind in sorted({kind for result in found.values() for kind in result.counts}):
        yield f"- **{kind}**: {VERDICTS.get(kind, 'not judged yet')}."
    yield ""
    yield "Made by `python benchmarks/redaction.py`."


def _plain(text: str) -> str:
    # What stands around may be a name as well, so little of it is shown; some of it would break the table.
    words = "".join(sign if sign.isprintable() and sign not in "`|" else " " for sign in text)
    return " ".join(words.split())[-10:] or " "


def main() -> None:
    if not DATA.is_dir():
        sys.exit(f"There is no {DATA}: this benchmark needs the real sessions beside the checkout.")
    found = {corpus.name: redact_all(corpus) for corpus in CORPORA}
    RESULT.write_text("\n".join(report(found)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

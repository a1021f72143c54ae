"""Scratch projects: a small Python project, made up from a seed and the vocabulary of one split.

In: a seed and a split ("train", "valid" or "test"). Out: a `Project`, its files as text and the facts a task
asks about (which file defines what, what a script prints). Splits share no word, so neither a path nor an
identifier of a held-out project was ever seen in training.
"""

from __future__ import annotations

import random
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Literal, cast

Split = Literal["train", "valid", "test"]


@dataclass(frozen=True)
class Module:
    """A module of the project and what stands in it."""

    path: str
    names: tuple[str, ...]
    """Its function first, then its constant or class."""
    test: str | None
    """Path of the file that tests it."""


@dataclass(frozen=True)
class Script:
    """A script that prints one line."""

    path: str
    says: str


@dataclass(frozen=True)
class Project:
    """A project that exists as text until `write` puts it into a folder."""

    files: dict[str, str]
    modules: tuple[Module, ...]
    pages: dict[str, str]
    """Documentation: path to a phrase that stands nowhere else."""
    memo: str
    """Path of a file of one line, alone in its folder."""
    script: Script

    def write(self, folder: Path) -> None:
        """Put all files into `folder`."""
        for name, text in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")

    def entries(self, folder: str) -> list[str]:
        """Paths right below `folder` ("." is the top), folders with a slash, as `list_files` gives them."""
        prefix = "" if folder == "." else f"{folder}/"
        found: set[str] = set()
        for name in self.files:
            if name.startswith(prefix):
                head, slash, _ = name.removeprefix(prefix).partition("/")
                found.add(prefix + head + slash)
        return sorted(found)


@cache
def words(split: Split) -> dict[str, tuple[str, ...]]:
    """The vocabulary of a split: nouns, verbs, adjectives and a few names for each kind of folder."""
    text = files("tracemill.demo").joinpath("words.toml").read_text("utf-8")
    table = cast(dict[str, dict[str, str]], tomllib.loads(text))[split]
    return {kind: tuple(listed.split()) for kind, listed in table.items()}


class Vocabulary:
    """Draws words of a split; a noun, a verb or an adjective comes back only after all others were drawn."""

    def __init__(self, split: Split, rng: random.Random) -> None:
        self._words, self._rng = words(split), rng
        self._decks: dict[str, list[str]] = {}

    def draw(self, kind: str) -> str:
        """One word of `kind`, a key of `words`."""
        if not self._decks.get(kind):
            self._decks[kind] = self._rng.sample(self._words[kind], len(self._words[kind]))
        return self._decks[kind].pop()

    def noun(self) -> str:
        """A noun, such as `lantern`."""
        return self.draw("nouns")

    def pair(self) -> str:
        """An adjective and a noun, such as `amber lantern`."""
        return f"{self.draw('adjectives')} {self.noun()}"

    def folder(self, kind: str) -> str:
        """A name for a folder of `kind`: what such folders are called, or as often just a noun."""
        return self.draw(kind) if self._rng.random() < 0.5 else self.noun()

    def file(self, folder: str, *endings: str) -> str:
        """A new path in `folder`; some names have two words."""
        stem = f"{self.noun()}_{self.noun()}" if self._rng.random() < 0.25 else self.noun()
        return f"{folder}/{stem}.{self._rng.choice(endings)}"

    def line(self) -> str:
        """Two to six words that make one line of a note."""
        shape = self._rng.choice(_LINES)
        made = shape.format(
            a=self.pair(),
            b=self.pair(),
            n=self.noun(),
            m=self.noun(),
            v=self.draw("verbs"),
            k=self._rng.randint(2, 99),
        )
        return made[0].upper() + made[1:] if self._rng.random() < 0.4 else made


_LINES = (
    "{a}",
    "{a} and {b}",
    "{v} the {a}",
    "{v} the {n} first",
    "{v} every {n} twice",
    "the {n} is {k}",
    "{k} {n} lines left",
    "no {n} for the {m}",
    "{v} {n} before the {m}",
    "a {a} near the {m}",
    "{n} = {k}",
    "{n}: {m}",
)


def project(seed: int, split: Split) -> Project:
    """The project of a seed, the same each time."""
    rng = random.Random(f"project {split} {seed}")
    draw = Vocabulary(split, rng)
    made: dict[str, str] = {f"{draw.noun()}.toml": f'name = "{draw.noun()}"\n'}
    modules = _modules(draw, rng, made)
    docs, config, data, bin_ = (draw.folder(kind) for kind in ("docs", "settings", "data", "scripts"))
    pages = {draw.file(docs, "md", "txt"): draw.pair() for _ in range(rng.randint(2, 3))}
    for path, phrase in pages.items():
        made[path] = (
            f"# {draw.noun().title()}\n\n{rng.choice(_SENTENCES).format(phrase=phrase, noun=draw.noun())}\n"
        )
    for _ in range(rng.randint(1, 3)):
        path = draw.file(config, "toml", "ini", "json", "yaml")
        made[path] = _settings(path, draw, rng)
    for _ in range(rng.randint(1, 2)):
        path = draw.file(data, "csv", "tsv")
        made[path] = _table(path, draw, rng)
    script = Script(draw.file(bin_, "py"), draw.pair())
    made[script.path] = f'print("{script.says}")\n'
    memo = draw.file(draw.folder("notes"), "txt", "md")
    made[memo] = draw.line() + "\n"
    return Project(made, modules, pages, memo, script)


_SENTENCES = (
    "Here the {phrase} comes first.",
    "Every {noun} needs a {phrase}.",
    "The {phrase} belongs to the {noun}.",
    "Ask for the {phrase} at night.",
    "One {noun}, then one {phrase}.",
    "Mind the {phrase}!",
)


def _modules(draw: Vocabulary, rng: random.Random, made: dict[str, str]) -> tuple[Module, ...]:
    """Two or three modules, the first with a test; their files go into `made`."""
    package, tests = draw.noun(), draw.folder("tests")
    nested = f"{draw.draw('code')}/{draw.noun()}"
    modules: list[Module] = []
    for index in range(rng.randint(2, 3)):
        path = draw.file(rng.choice([package, nested]) if index else package, "py")
        stem = path.rpartition("/")[2].removesuffix(".py")
        function, given, step = (
            f"{draw.draw('verbs')}_{draw.noun()}",
            rng.choice(_PARAMETERS),
            rng.randint(2, 90),
        )
        name, source = _second(draw, rng)
        pieces = [source, f"def {function}({given}):\n    return {given} + {step}\n"]
        rng.shuffle(pieces)
        made[path] = "\n\n".join(pieces)
        module = Module(path, (function, name), None if index else f"{tests}/test_{stem}.py")
        if module.test:
            made[module.test] = _TEST.format(
                package=package, stem=stem, function=function, name=draw.noun().title(), result=step + 1
            )
        modules.append(module)
    return tuple(modules)


_PARAMETERS = ("value", "number", "count", "size")


def _second(draw: Vocabulary, rng: random.Random) -> tuple[str, str]:
    """Name and source of a constant or a class."""
    constant, kind = f"{draw.noun()}_{draw.noun()}".upper(), draw.noun().title() + draw.noun().title()
    match rng.randrange(4):
        case 0:
            return constant, f"{constant} = {rng.randint(2, 999)}\n"
        case 1:
            return constant, f'{constant} = "{draw.pair()}"\n'
        case 2:
            return kind, f"class {kind}:\n    size = {rng.randint(2, 999)}\n"
        case _:
            return kind, f"class {kind}(list):\n    pass\n"


_TEST = """from unittest import TestCase

from {package}.{stem} import {function}


class {name}Test(TestCase):
    def test_one(self):
        self.assertEqual({function}(1), {result})
"""


def _settings(path: str, draw: Vocabulary, rng: random.Random) -> str:
    """One to three settings in the format the ending of `path` names."""
    pairs = [(draw.noun(), rng.randint(1, 99)) for _ in range(rng.randint(1, 3))]
    match path.rpartition(".")[2]:
        case "json":
            return "{" + ", ".join(f'"{key}": {value}' for key, value in pairs) + "}\n"
        case "yaml":
            return "".join(f"{key}: {value}\n" for key, value in pairs)
        case "ini":
            return f"[{draw.noun()}]\n" + "".join(f"{key} = {value}\n" for key, value in pairs)
        case _:
            return "".join(f"{key} = {value}\n" for key, value in pairs)


def _table(path: str, draw: Vocabulary, rng: random.Random) -> str:
    """A header and one to four rows of two columns."""
    mark = "," if path.endswith(".csv") else "\t"
    rows = [(draw.noun(), draw.noun())] + [
        (draw.noun(), str(rng.randint(1, 99))) for _ in range(rng.randint(1, 4))
    ]
    return "".join(mark.join(row) + "\n" for row in rows)

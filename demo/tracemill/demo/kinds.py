"""The kinds of task: what each asks for, and the calls that do it.

In: a scratch project and fresh words. Out: the slots of a prompt and a plan. Every argument of a plan stands
in the prompt or in an earlier result, word for word, or follows from one rule: a script is run as
`python PATH`, tests as `python -m unittest PATH`.
So the next call is never a guess.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from tracemill.demo.project import Project, Vocabulary

Part = Literal["path", "text"]


@dataclass(frozen=True)
class Taken:
    """An argument that an earlier result gives."""

    step: int
    part: Part
    """`path`: its first line up to the first colon (a search hit or a listed file); `text`: all of it."""


@dataclass(frozen=True)
class Step:
    """One call: what it is, and what its result must hold."""

    tool: str
    arguments: Mapping[str, str]
    taken: Mapping[str, Taken] = field(default_factory=dict[str, Taken])
    """Which of the arguments only an earlier result can tell."""
    shows: tuple[str, ...] = ()


@dataclass(frozen=True)
class Given:
    """What a task is drawn up from."""

    project: Project
    draw: Vocabulary
    """Words for what the project does not have yet."""
    rng: random.Random


Draft = tuple[dict[str, str], tuple[Step, ...]]
"""The slots of a prompt and the plan behind it."""


@dataclass(frozen=True)
class Kind:
    """A sort of task: how often each split has it, and how one is drawn up."""

    category: str
    train: int
    valid: int
    test: int
    draft: Callable[[Given], Draft]


def _listing(made: Project, folder: str) -> Step:
    return Step("list_files", {"path": folder}, shows=tuple(made.entries(folder)))


def _reading(made: Project, path: str, taken: Taken | None = None) -> Step:
    return Step(
        "read_file", {"path": path}, {"path": taken} if taken else {}, shows=(made.files[path].rstrip("\n"),)
    )


def _searching(made: Project, text: str) -> Step:
    hits = tuple(f"{path}:" for path, content in sorted(made.files.items()) if text in content)
    return Step("search", {"text": text}, shows=hits)


def _writing(path: str, line: str, taken: Taken | None = None) -> Step:
    return Step("write_file", {"path": path, "content": line}, {"content": taken} if taken else {})


def _running(command: str, *shows: str) -> Step:
    return Step("run_command", {"command": command}, shows=shows)


def _testing(path: str) -> Step:
    return _running(f"python -m unittest {path}", "Ran 1 test", "OK")


def _folder(path: str) -> str:
    return path.rpartition("/")[0]


def _list(given: Given) -> Draft:
    folder = _folder(given.rng.choice(list(given.project.files)[1:]))
    return {"folder": folder}, (_listing(given.project, folder),)


def _read(given: Given) -> Draft:
    path = given.rng.choice(list(given.project.files))
    return {"path": path}, (_reading(given.project, path),)


def _search(given: Given) -> Draft:
    text = given.rng.choice(_names(given.project, first=0))
    return {"text": text}, (_searching(given.project, text),)


def _write(given: Given) -> Draft:
    path, line = _new_file(given), given.draw.line()
    return {"path": path, "line": line}, (_writing(path, line),)


def _script(given: Given) -> Draft:
    path = given.project.script.path
    return {"path": path}, (_running(f"python {path}", given.project.script.says),)


def _tests(given: Given) -> Draft:
    path = _test_file(given.project)
    return {"path": path}, (_testing(path),)


def _direct(given: Given) -> Draft:
    return {"path": given.project.script.path}, ()


def _search_read(given: Given) -> Draft:
    text = given.rng.choice(_names(given.project, first=1))
    path = next(path for path, content in given.project.files.items() if text in content)
    return {"text": text}, (_searching(given.project, text), _reading(given.project, path, Taken(0, "path")))


def _copy(given: Given) -> Draft:
    path, target = given.project.memo, _new_file(given)
    line = given.project.files[path].rstrip("\n")
    plan = (_reading(given.project, path), _writing(target, line, Taken(0, "text")))
    return {"path": path, "target": target}, plan


def _write_run(given: Given) -> Draft:
    path, says = given.draw.file(_folder(given.project.script.path), "py"), given.draw.pair()
    line = f"print('{says}')"
    return {"path": path, "line": line}, (_writing(path, line), _running(f"python {path}", says))


def _search_read_test(given: Given) -> Draft:
    slots, plan = _search_read(given)
    test = _test_file(given.project)
    return slots | {"test": test}, (*plan, _testing(test))


def _names(made: Project, first: int) -> list[str]:
    """Functions, constants and classes of the modules from number `first` on; a test names one of 0 too."""
    return [name for module in made.modules[first:] for name in module.names]


def _test_file(made: Project) -> str:
    return next(module.test for module in made.modules if module.test)


def _new_file(given: Given) -> str:
    """A path that no file has yet, in a folder that exists."""
    folder = given.rng.choice(sorted({_folder(path) for path in (given.project.memo, *given.project.pages)}))
    while (path := given.draw.file(folder, "txt", "md")) in given.project.files:
        pass
    return path


KINDS: dict[str, Kind] = {
    "list": Kind("list", 34, 2, 5, _list),
    "read": Kind("read", 36, 2, 6, _read),
    "search": Kind("search", 34, 2, 6, _search),
    "write": Kind("write", 38, 2, 6, _write),
    "script": Kind("run", 32, 2, 5, _script),
    "tests": Kind("run", 28, 2, 5, _tests),
    "direct": Kind("direct", 56, 4, 10, _direct),
    "search_read": Kind("two calls", 40, 2, 6, _search_read),
    "copy": Kind("two calls", 36, 2, 6, _copy),
    "write_run": Kind("two calls", 28, 2, 5, _write_run),
    "search_read_test": Kind("three calls", 38, 2, 6, _search_read_test),
}
"""Every sort of task and its number of tasks in each split: 400, 24 and 66."""

"""The rules of the house: which room may know which, what a wheel holds, what every command offers."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, cast

import pytest
import typer.main

from tracemill.cli.main import COMMANDS, app

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ["tracer", "warehouse", "curate", "train", "evaluate", "demo", "cli"]
SOURCES = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]


def imported(path: Path) -> set[str]:
    """Every module a file imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_room_knows_only_the_rooms_before_it(path: Path) -> None:
    room = path.relative_to(ROOT).parts[0]
    known = {match[1] for name in imported(path) if (match := re.match(r"tracemill\.(\w+)", name))}
    assert known <= set(ROOMS[: ROOMS.index(room) + 1])


@pytest.mark.parametrize(
    "path", [path for path in SOURCES if "tracer" in path.parts], ids=lambda path: path.name
)
def test_the_tracer_needs_nothing_but_pydantic_ai(path: Path) -> None:
    allowed = {
        *sys.stdlib_module_names,
        "tracemill",
        "pydantic_ai",
        "pydantic",
        "pydantic_core",
    }  # which brings pydantic
    assert {name.partition(".")[0] for name in imported(path)} <= allowed


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_the_command_line_prints(path: Path) -> None:
    calls = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call)]
    printing = any(isinstance(call.func, ast.Name) and call.func.id == "print" for call in calls)
    # `python -m tracemill.warehouse.describe` writes docs/schema.md; the server tells its parent its port.
    assert not printing or path.name in {"output.py", "describe.py", "server_main.py"}


def test_the_namespace_stays_open() -> None:
    for room in ROOMS:
        assert not (ROOT / room / "__init__.py").exists()
        assert not (ROOT / room / "tracemill" / "__init__.py").exists()
        assert (ROOT / room / "tracemill" / room / "py.typed").exists()


def test_the_wheel_holds_every_room_with_its_data(tmp_path: Path) -> None:
    from hatchling.builders.wheel import WheelBuilder

    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    listed = subprocess.run(
        [sys.executable, "-m", "zipfile", "-l", wheel], capture_output=True, text=True, check=True
    ).stdout
    held = {line.split()[0] for line in listed.splitlines()[1:]}
    wanted = {
        str(path.relative_to(ROOT / room))
        for room in ROOMS
        for path in (ROOT / room / "tracemill").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert wanted <= held
    assert {name.split("/")[0] for name in held} == {"tracemill", "tracemill-0.1.0.dist-info"}


@pytest.mark.parametrize(("file", "number"), [("requirements.lock", 50), ("requirements-oldest.lock", 20)])
def test_pins_name_no_download_host(file: str, number: int) -> None:
    lock = (ROOT / file).read_text("utf-8")
    assert "://" not in lock
    pinned = [line for line in lock.splitlines() if re.match(r"[a-z0-9]", line)]
    assert len(pinned) > number
    assert all("==" in line for line in pinned)


def test_every_dependency_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    wanted = project["project"]["dependencies"] + [
        one for group in project["dependency-groups"].values() for one in group
    ]
    lock = (ROOT / "requirements.lock").read_text("utf-8")
    for requirement in wanted:
        name = re.match(r"[\w-]+", requirement)
        assert name is not None
        assert re.search(rf"^{re.escape(name[0])}==", lock, re.MULTILINE), requirement


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_every_command_is_explained(command: tuple[str, object, str, str]) -> None:
    name, function, _, example = command
    assert function.__doc__
    assert example.startswith(f"tracemill {name}")
    assert f"tracemill {name}" in (ROOT / "README.md").read_text("utf-8")


@pytest.mark.parametrize(("page", "least"), [("README.md", 10), ("docs/beyond_imitation.md", 8)])
def test_the_commands_that_a_page_shows_exist(page: str, least: int) -> None:
    commands = cast(Any, typer.main.get_command(app)).commands
    lines = re.findall(r"^    (tracemill .+)$", (ROOT / page).read_text("utf-8"), re.MULTILINE)
    assert len(lines) >= least
    for line in lines:
        _, name, *words = shlex.split(line)
        command = commands[name]
        while inner := getattr(command, "commands", None):
            command, *words = inner[words[0]], *words[1:]
        known = {option for parameter in command.params for option in parameter.opts}
        # What stands behind `--` are the words of another program.
        ours = words[: words.index("--")] if "--" in words else words
        assert {word for word in ours if word.startswith("--")} <= known, line


def test_the_figures_of_the_readme_are_those_of_the_benchmark() -> None:
    table = (ROOT / "benchmarks" / "results" / "demo.md").read_text("utf-8")
    columns, seed_0 = (
        [cell.strip() for cell in re.findall(rf"^\| {first} \|.*$", table, re.MULTILINE)[0].split("|")]
        for first in ("seed", "0")
    )
    figures = dict(zip(columns, seed_0, strict=True))
    shown = (ROOT / "README.md").read_text("utf-8").partition("<!-- demo output -->")[2]
    for column in ("base_exact", "adapter_exact", "base_live", "adapter_live"):
        assert f"{100 * float(figures[column]):.1f}%" in shown, column
    assert f"\n{figures['verdict']}: " in shown.replace("    ", "")

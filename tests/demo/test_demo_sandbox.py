"""The fence around the coding agent's tools: what it does, and what it refuses."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tracemill.demo import sandbox
from tracemill.demo.sandbox import RefusedError, Sandbox


@pytest.fixture
def box(tmp_path: Path) -> Sandbox:
    """A folder with a few files, a secret beside it, and links that lead to the secret."""
    root = tmp_path / "project"
    (root / "notes").mkdir(parents=True)
    (root / "notes" / "todo.txt").write_text("buy tea\nsell tea\n")
    (root / "main.py").write_text("print('tea time')\n")
    (root / ".hidden").write_text("tea under the table\n")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.txt").write_text("secret tea\n")
    (root / "link.txt").symlink_to(outside / "secret.txt")
    (root / "door").symlink_to(outside)
    (root / "alias.txt").symlink_to(root / "notes" / "todo.txt")
    return Sandbox(root)


def test_lists_one_level_sorted_with_paths_from_the_root(box: Sandbox) -> None:
    (box.root / "notes" / "deep").mkdir()
    assert box.list("notes") == "notes/deep/\nnotes/todo.txt"
    assert box.list("notes/deep") == "(empty)"
    assert box.list(".").splitlines() == ["alias.txt", "door/", "link.txt", "main.py", "notes/"]


def test_reads_without_the_line_end_that_closes_the_file(box: Sandbox) -> None:
    assert box.read("notes/todo.txt") == "buy tea\nsell tea"
    assert box.read("./notes/../notes/todo.txt") == "buy tea\nsell tea"
    assert box.read("alias.txt") == "buy tea\nsell tea"


def test_finds_lines_in_order_of_path_and_nothing_outside_or_hidden(box: Sandbox) -> None:
    found = "main.py:1: print('tea time')\nnotes/todo.txt:1: buy tea\nnotes/todo.txt:2: sell tea"
    assert box.search("tea") == found
    assert box.search("Tea") == "no match"
    assert box.search("secret") == "no match"


def test_writes_a_new_file_with_its_folders_and_closes_the_last_line(box: Sandbox) -> None:
    assert box.write("a/b/c.txt", "one line") == "wrote a/b/c.txt"
    assert (box.root / "a/b/c.txt").read_bytes() == b"one line\n"
    box.write("a/b/c.txt", "two\nlines\n")
    assert (box.root / "a/b/c.txt").read_bytes() == b"two\nlines\n"


def test_runs_scripts_tests_and_counts(box: Sandbox) -> None:
    assert box.run("python main.py") == "tea time"
    assert box.run("python3 ./main.py") == "tea time"
    assert box.run("wc -l notes/todo.txt") == "2 notes/todo.txt"
    assert box.run("cat notes/todo.txt") == "buy tea\nsell tea"
    box.write("test_it.py", "from unittest import TestCase\nclass T(TestCase):\n    def test_it(self): pass")
    assert box.run("python -m unittest test_it.py") == ".\nRan 1 test\nOK"
    assert sorted(path.name for path in box.root.rglob("__pycache__")) == []


def test_a_failure_shows_its_exit_code_and_no_path_of_the_machine(box: Sandbox) -> None:
    box.write("bad.py", "import sys\nprint(__file__)\nraise ValueError('no')")
    output = box.run("python bad.py")
    assert output.endswith("ValueError: no\nexit code 1")
    assert str(box.root) not in output
    box.write("exit.py", "raise SystemExit(3)")
    assert box.run("python exit.py") == "exit code 3"


def test_a_script_sees_neither_the_environment_nor_the_keyboard(
    box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_KEY", "hidden")
    box.write("spy.py", "import os, sys\nprint(os.environ.get('API_KEY'), repr(sys.stdin.read()))")
    assert box.run("python spy.py") == "None ''"


@pytest.mark.parametrize(
    "path", ["..", "../outside/secret.txt", "/etc/passwd", "link.txt", "door", "door/secret.txt", "a\0b"]
)
def test_no_path_leads_out(box: Sandbox, path: str) -> None:

    def write(path: str) -> str:
        return box.write(path, "x")

    def cat(path: str) -> str:
        return box.run(f"cat '{path}'")

    before = (box.root.parent / "outside" / "secret.txt").read_text()
    for call in (box.list, box.read, write, cat):
        with pytest.raises(RefusedError):
            call(path)
    assert (box.root.parent / "outside" / "secret.txt").read_text() == before


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from(["..", ".", "notes", "door", "link.txt", "~", "", "x y", "\n"]), max_size=6),
    st.booleans(),
)
def test_whatever_path_is_read_it_is_inside(box: Sandbox, parts: list[str], absolute: bool) -> None:
    path = ("/" if absolute else "") + "/".join(parts)
    try:
        text = box.read(path)
    except RefusedError as refusal:
        assert str(refusal).endswith(".")
    else:
        assert "secret" not in text


@pytest.mark.parametrize(
    "command",
    [
        "",
        "ls",
        "rm -r notes",
        "bash -c 'cat ../outside/secret.txt'",
        "python -c 'print(1)'",
        "python -m http.server",
        "python",
        "python ../outside/x.py",
        "python missing.py",
        "python link.txt",
        "python main.py ../outside/secret.txt",
        "wc --files0-from=/etc/passwd",
        "cat 'notes/todo.txt",
        "/bin/cat notes/todo.txt",
    ],
)
def test_commands_off_the_list_are_refused(box: Sandbox, command: str) -> None:
    with pytest.raises(RefusedError):
        box.run(command)


def test_no_shell_reads_the_command(box: Sandbox) -> None:
    box.write("echo.py", "import sys\nprint(sys.argv[1:])")
    assert box.run("python echo.py ; '$(id)' '>' new.txt") == "[';', '$(id)', '>', 'new.txt']"
    assert not (box.root / "new.txt").exists()


@pytest.mark.parametrize(
    ("path", "hint"),
    [("notes", "list_files"), ("nothing.txt", "list_files"), ("blob.bin", "not a text file")],
)
def test_a_refusal_says_what_to_do(box: Sandbox, path: str, hint: str) -> None:
    (box.root / "blob.bin").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RefusedError, match=hint):
        box.read(path)


def test_a_folder_is_no_file_and_a_file_no_folder(box: Sandbox) -> None:
    for call in (
        lambda: box.write("notes", "x"),
        lambda: box.write("main.py/x", "x"),
        lambda: box.list("main.py"),
    ):
        with pytest.raises(RefusedError):
            call()
    with pytest.raises(RefusedError):
        box.search("  ")


def test_long_results_are_cut(box: Sandbox) -> None:
    box.write("long.txt", "tea " * 5000)
    assert box.read("long.txt").endswith("\n(cut)")
    box.write("many.txt", "coffee\n" * 100)
    assert len(box.search("coffee").splitlines()) == sandbox.MOST_HITS


def test_a_command_that_does_not_end_is_stopped(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "SECONDS", 0.5)
    box.write("sleep.py", "import time\nprint('zzz', flush=True)\ntime.sleep(60)")
    started = time.monotonic()
    assert box.run("python sleep.py") == "zzz\nstopped after 0.5 s"
    box.write("child.py", "import os, time\nos.fork()\ntime.sleep(60)")
    assert box.run("python child.py") == "stopped after 0.5 s"
    assert time.monotonic() - started < 20


def test_a_command_that_prints_without_end_is_stopped(box: Sandbox) -> None:
    box.write("loud.py", "while True: print('tea')")
    started = time.monotonic()
    output = box.run("python loud.py")
    assert len(output) < sandbox.LONGEST + 100
    assert "(cut)" in output
    assert time.monotonic() - started < sandbox.SECONDS


def test_a_pipe_in_the_folder_does_not_hang_a_call(box: Sandbox) -> None:
    os.mkfifo(box.root / "pipe")
    with pytest.raises(RefusedError):
        box.read("pipe")
    assert box.search("secret") == "no match"

"""What is told of the git work tree, from real repositories."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tracemill.tracer.home import Home
from tracemill.tracer.process import working_folder
from tracemill.tracer.spool import Spool, read_events, spool_files
from tracemill.tracer.work_tree import WorkTreeWatch, read_work_tree


def git(folder: Path, *words: str) -> str:
    who = ("-c", "user.name=A", "-c", "user.email=a@example.com", "-c", "init.defaultBranch=main")
    done = subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    git(folder, "init", "-q")
    for name in ("kept.py", "changed.py", "moved.py", "gone.py"):
        (folder / name).write_text(f"# {name}\n" * 5)
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "first")
    return folder


def test_a_clean_work_tree(repository: Path) -> None:
    found = read_work_tree(repository)
    assert found is not None
    assert (found.root, found.branch, found.files) == (str(repository), "main", ())
    assert found.commit == git(repository, "rev-parse", "HEAD")


def test_every_way_a_file_can_change(repository: Path) -> None:
    (repository / "changed.py").write_text("new")
    (repository / "gone.py").unlink()
    git(repository, "mv", "moved.py", "with space.py")
    (repository / "new ä.py").write_text("new")
    (repository / "sub").mkdir()
    (repository / "sub" / "x").write_text("new")
    found = read_work_tree(repository / "sub")
    assert found is not None
    assert found.root == str(repository)
    # git names paths from the folder it is asked in only for people; porcelain names them from the root.
    assert set(found.files) == {"changed.py", "gone.py", "with space.py", "new ä.py", "sub/"}


def test_a_merge_conflict(repository: Path) -> None:
    git(repository, "checkout", "-q", "-b", "other")
    (repository / "changed.py").write_text("theirs")
    git(repository, "commit", "-q", "-a", "-m", "theirs")
    git(repository, "checkout", "-q", "main")
    (repository / "changed.py").write_text("ours")
    git(repository, "commit", "-q", "-a", "-m", "ours")
    with pytest.raises(subprocess.CalledProcessError):
        git(repository, "merge", "-q", "other")
    found = read_work_tree(repository)
    assert found is not None
    assert found.files == ("changed.py",)


def test_a_detached_head_and_a_repository_without_a_commit(repository: Path, tmp_path: Path) -> None:
    git(repository, "checkout", "-q", "--detach")
    found = read_work_tree(repository)
    assert found is not None
    assert found.branch is None
    empty = tmp_path / "empty"
    empty.mkdir()
    git(empty, "init", "-q")
    found = read_work_tree(empty)
    assert found is not None
    assert (found.commit, found.branch, found.files) == (None, "main", ())


def test_no_repository_and_no_git(tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_work_tree(tmp_path) is None
    monkeypatch.setenv("PATH", "")
    assert read_work_tree(repository) is None


def test_nothing_that_the_repository_configures_is_run(repository: Path, tmp_path: Path) -> None:
    proof = tmp_path / "ran"
    program = tmp_path / "hook.sh"
    program.write_text(f"#!/bin/sh\ntouch {proof}\n")
    program.chmod(0o755)
    git(repository, "config", "core.fsmonitor", str(program))
    before = (repository / ".git" / "index").stat().st_mtime_ns
    os.utime(repository / "kept.py")
    assert read_work_tree(repository) is not None
    assert not proof.exists()
    assert (repository / ".git" / "index").stat().st_mtime_ns == before


@pytest.mark.parametrize("kind", ["clean", "process"])
def test_no_filter_of_the_repository_is_run(repository: Path, tmp_path: Path, kind: str) -> None:
    proof = tmp_path / "ran"
    program = tmp_path / "filter.sh"
    program.write_text(f"#!/bin/sh\ntouch {proof}\ncat\n")
    program.chmod(0o755)
    (repository / ".gitattributes").write_text("*.py filter=evil.one\n")
    git(repository, "config", f"filter.evil.one.{kind}", str(program))
    git(repository, "config", "filter.evil.one.required", "true")
    before = (repository / "changed.py").read_text()
    (repository / "changed.py").write_text(before.swapcase())
    found = read_work_tree(repository)
    assert found is not None
    assert set(found.files) == {".gitattributes", "changed.py"}
    assert not proof.exists()
    # A name that no option of git can hold: rather no answer than its program.
    (repository / ".gitattributes").write_text("*.py filter=a=b\n")
    git(repository, "config", f"filter.a=b.{kind}", str(program))
    assert read_work_tree(repository) is None
    assert not proof.exists()


def test_a_submodule_is_not_entered(repository: Path, tmp_path: Path) -> None:
    proof = tmp_path / "ran"
    allowed = ("-c", "protocol.file.allow=always")
    git(repository, *allowed, "submodule", "--quiet", "add", str(repository), "inner")
    git(repository, "commit", "-q", "-m", "inner")
    inner = repository / "inner"
    (inner / ".gitattributes").write_text("*.py filter=evil\n")
    git(inner, "config", "filter.evil.clean", f"touch {proof}; cat")
    (inner / "changed.py").write_text((inner / "changed.py").read_text().swapcase())
    found = read_work_tree(repository)
    assert found is not None
    assert found.files == ()
    assert not proof.exists()


def states(home: Home) -> list[tuple[str, bool]]:
    found = [dict(line.event) for path in spool_files(home) for line in read_events(path) if line.event]
    return [(str(event["moment"]), bool(event["dirty"])) for event in found if event["kind"] == "git"]


WAIT = """
import os, sys, time
def told(number):
    folder = os.path.join(os.environ["TRACEMILL_HOME"], "spool")
    for _ in range(2000):
        files = [os.path.join(folder, name) for name in os.listdir(folder)] if os.path.exists(folder) else []
        if sum(open(file).read().count('"kind":"git"') for file in files) >= number:
            return
        time.sleep(0.01)
"""
PROGRAM = (
    WAIT
    + """
from tracemill.tracer.spool import Spool
from tracemill.tracer.work_tree import WorkTreeWatch
watch = WorkTreeWatch(Spool())
watch.run_starts("s"); watch.run_starts("s")
watch.run_ends("s")
told(2)
if sys.argv[1] == "fork":
    if os.fork() == 0:
        watch.run_starts("child"); watch.run_ends("child")
        told(4)
        sys.exit(0)
    os.wait()
"""
)


@pytest.mark.parametrize(("how", "events"), [("plain", 2), ("fork", 4)])
def test_a_process_tells_and_so_does_one_that_is_forked(
    home: Home, repository: Path, tracer_folder: Path, how: str, events: int
) -> None:
    environment = {**os.environ, "PYTHONPATH": str(tracer_folder)}
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM, how], cwd=repository, env=environment, check=True
    )
    found = states(home)
    assert len(found) == events
    assert {moment for moment, _ in found} == {"start", "end"}


def test_a_slow_git_does_not_hold_up_the_exit_and_is_ended(
    home: Home, repository: Path, tracer_folder: Path, tmp_path: Path
) -> None:
    slow = tmp_path / "bin" / "git"
    slow.parent.mkdir()
    os.mkfifo(tmp_path / "alive")
    slow.write_text(f"#!/bin/sh\nexec 1>{tmp_path / 'alive'}\necho x\nexec sleep 60\n")
    slow.chmod(0o755)
    program = """
import sys, time
from tracemill.tracer.spool import Spool
from tracemill.tracer.work_tree import WorkTreeWatch
watch = WorkTreeWatch(Spool())
watch.run_starts("s"); watch.run_ends("s")
sys.stdin.read()
print(time.time(), flush=True)
"""
    path = f"{slow.parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PYTHONPATH": str(tracer_folder), "PATH": path}
    with (
        subprocess.Popen(
            [sys.executable, "-c", program],
            cwd=repository,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process,
        (tmp_path / "alive").open() as alive,
    ):
        assert alive.readline() == "x\n"
        out, _ = process.communicate(timeout=30)
        assert time.time() - float(out) < 1.5
        # Its end is that of the pipe; a git that lived on would hold it for a minute.
        assert alive.read() == ""
        assert time.time() - float(out) < 5


def test_a_folder_that_was_deleted(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    watch = WorkTreeWatch(Spool(home))
    watch.run_starts("s")
    watch.run_ends("s")
    assert working_folder() == ""
    assert states(home) == []


def test_where_there_is_no_work_tree_nothing_is_said(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    watch = WorkTreeWatch(Spool(home))
    watch.run_starts("s")
    watch._finish()  # pyright: ignore[reportPrivateUsage] (what the end of the process does)
    assert states(home) == []


def test_many_changed_files_are_cut_and_the_event_says_dirty(
    home: Home, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(250):
        (repository / f"new{number}").write_text("x")
    monkeypatch.chdir(repository)
    watch = WorkTreeWatch(Spool(home))
    watch.run_ends("s")
    until = time.monotonic() + 20
    while not states(home) and time.monotonic() < until:
        time.sleep(0.01)
    watch._finish()  # pyright: ignore[reportPrivateUsage] (what the end of the process does)
    (event,) = [json.loads(line) for path in spool_files(home) for line in path.read_text().splitlines()]
    assert (event["dirty"], len(event["files"])) == (True, 200)


def test_an_attached_process_tells_the_work_tree_of_its_sessions(
    home: Home, repository: Path, tracer_folder: Path
) -> None:
    program = (
        WAIT
        + """
import asyncio
from pathlib import Path
from pydantic_ai import Agent
from pydantic_ai.models.test import TestModel
from tracemill.tracer import attach
attach()
agent = Agent(TestModel())
@agent.tool_plain
def write() -> str:
    Path("made.py").write_text("made by the agent")
    return "done"
asyncio.run(agent.run("Write it."))
told(2)
"""
    )
    environment = {**os.environ, "PYTHONPATH": str(tracer_folder)}
    subprocess.run([sys.executable, "-c", program], cwd=repository, env=environment, check=True)
    assert states(home)[-1] == ("end", True)

"""Code of a model can do no harm: every test here tries to, in small, and finds itself stopped.

Each attempt is bounded, so that a wall with a hole shows as a failure and not as a machine that hangs.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tracemill.evaluate import sandbox
from tracemill.evaluate.errors import EvaluationError
from tracemill.evaluate.sandbox import Limits, run_code

SHORT = Limits(seconds=2)
FOLDER = Path(sandbox.__file__).parent


def test_code_that_keeps_to_itself_runs_to_its_end() -> None:
    found = run_code(["def double(x):\n    return 2 * x\nprint('so far')", "assert double(4) == 8"])
    assert (found.end, found.reason, found.output) == ("finished", "", "so far\n")
    assert set(found.walls) == {"files", "network", "processes"}


def test_the_standard_library_and_the_own_folder_are_there() -> None:
    code = """
import asyncio, collections, csv, datetime, decimal, hashlib, json, logging, math, random, re, sqlite3, ssl
import tempfile, threading, unittest, uuid, zoneinfo
with tempfile.TemporaryDirectory() as folder:
    open(folder + "/a.txt", "w").write("inside")
import os, shutil
open("b.txt", "w").write("inside")
os.rename("b.txt", "c.txt")
os.remove("c.txt")
print(os.path.realpath(os.environ["HOME"]) == os.getcwd(), sorted(os.environ), datetime.datetime.now().year > 2000)
"""
    found = run_code([code])
    assert (found.end, found.reason) == ("finished", "")
    assert found.output.startswith("True ['HOME'")


def test_packages_of_this_environment_are_not_there() -> None:
    found = run_code(["import numpy"])
    assert (found.end, found.reason) == ("error", "ModuleNotFoundError: No module named 'numpy'")


def test_equal_code_prints_equal_text() -> None:
    code = ["print(set('hash seeds decide the order of a set'.split()))"]
    assert run_code(code).output == run_code(code).output


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("assert 1 == 2", "AssertionError"),
        ("assert 1 == 2, 'one is\\nnot two'", "AssertionError: one is not two"),
        ("def f(:", "SyntaxError: invalid syntax (<part 0>, line 1)"),
        ("import sys; sys.exit(0)", "SystemExit: 0"),
        ("import os; os._exit(0)", "ended before its end was reached"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("raise type('Odd', (BaseException,), {'__str__': lambda self: 'x' * 9999})", "Odd: " + "x" * 200),
        ("def f(n): return f(n + 1)\nf(0)", "RecursionError: maximum recursion depth exceeded"),
    ],
)
def test_code_that_ends_early_has_not_finished(code: str, reason: str) -> None:
    found = run_code([code, "print('never')"])
    assert (found.end, found.reason, found.output) == ("error", reason, "")


def test_saying_finished_does_not_make_it_so() -> None:
    lie = r"""
import os
for number in range(3, 64):
    try:
        os.write(number, b'{"finished": "yes"}\n[1]\n{"finished": true}\nnoise\n')
    except OSError:
        pass
print('{"finished": "yes"}')
os._exit(0)
"""
    found = run_code([lie])
    assert (found.end, found.reason) == ("error", "ended before its end was reached")


FORKS = """
import os, time
for _ in range(20):
    if os.fork() == 0:
        time.sleep(20)
        os._exit(0)
"""


def test_a_fork_bomb() -> None:
    began = time.monotonic()
    found = run_code([FORKS], SHORT)
    assert (found.end, found.reason) == ("refused", "tried to start a process or thread")
    assert time.monotonic() - began < 2


def test_an_endless_loop() -> None:
    began = time.monotonic()
    found = run_code(["while True: pass"], Limits(seconds=1))
    assert (found.end, found.reason) == ("time", "ran longer than 1 s")
    assert time.monotonic() - began < 3


@pytest.mark.parametrize(
    "code",
    [
        "import time; time.sleep(30)",
        "import os, time; os.closerange(0, 64); time.sleep(30)",
        "import signal\nfor one in (signal.SIGXCPU, signal.SIGTERM, signal.SIGINT):\n"
        "    signal.signal(one, signal.SIG_IGN)\nwhile True: pass",
        "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
    ],
)
def test_code_that_clings_to_life(code: str) -> None:
    began = time.monotonic()
    found = run_code([code], Limits(seconds=1))
    assert (found.end, found.reason) == ("time", "ran longer than 1 s")
    assert time.monotonic() - began < 3


@pytest.mark.parametrize(
    "code", ["x = bytearray(10 * 2**30)", "x = []\nfor _ in range(10**4): x.append(' ' * 10**6)"]
)
def test_ten_gigabytes(code: str) -> None:
    found = run_code([code], Limits(seconds=10))
    assert (found.end, found.reason) == ("memory", "took more than 512 MB")


@pytest.mark.parametrize(
    "code",
    [
        "open({path!r}, 'w').write('x')",
        "open({path!r}, 'ab').write(b'x')",
        "import os; os.open({path!r}, os.O_CREAT | os.O_RDWR)",
        "import os; os.symlink({folder!r}, 'link'); open('link/evil', 'w')",
        "import os; os.mkdir({path!r})",
        "import os; os.rename('own', {path!r})",
        "import os; os.remove({kept!r})",
        "import os; os.chmod({kept!r}, 0o777)",
        "import os; os.mkfifo({path!r})",
        "import os; os.link('own', {path!r})",
        "import os; os.truncate({kept!r}, 0)",
        "import shutil; shutil.rmtree({folder!r})",
    ],
)
def test_a_write_outside_the_folder(code: str, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_text("as it was")
    before = kept.stat()
    own = "open('own', 'w').close()"
    found = run_code([own, code.format(path=str(tmp_path / "evil"), kept=str(kept), folder=str(tmp_path))])
    assert found.end in {"refused", "error"}
    assert "outside its folder" in found.reason or "Permission" in found.reason
    assert [one.name for one in tmp_path.iterdir()] == ["kept"]
    assert kept.read_text() == "as it was"
    assert kept.stat().st_mode == before.st_mode


def test_the_files_of_the_user_cannot_be_read(tmp_path: Path) -> None:
    if sys.platform == "darwin":
        pytest.skip("sandbox-exec is asked to hold writes")
    (tmp_path / "secret").write_text("a key")
    found = run_code([f"print(open({str(tmp_path / 'secret')!r}).read())"])
    assert (found.end, found.output) == ("error", "")
    assert found.reason.startswith("PermissionError")


@pytest.mark.parametrize(
    "code",
    [
        "import socket; socket.create_connection(('127.0.0.1', {port}), 1)",
        "import urllib.request; urllib.request.urlopen('http://127.0.0.1:{port}/', timeout=1)",
        "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', {port}))",
        "import socket; socket.getaddrinfo('example.org', 80)",
    ],
)
def test_a_network_call(code: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        found = run_code([code.format(port=server.getsockname()[1])])
        with pytest.raises(TimeoutError):
            server.accept()
    assert (found.end, found.reason) == ("refused", "tried to use the network")


def test_output_without_end() -> None:
    found = run_code(["for _ in range(10**6): print('x' * 999)"])
    assert (found.end, found.reason) == ("output", "printed more than 64 KB")
    assert len(found.output) <= 2**16


def test_a_disk_is_not_filled() -> None:
    many = run_code(["for i in range(200): open(f'{i}', 'wb').write(b'x' * 2**20)"], Limits(files=2**22))
    one = run_code(["open('one', 'wb').write(b'x' * 2**23)"], Limits(files=2**22))
    assert one.end in {"files", "error"}
    assert many.end == "files" or many.finished  # 200 MB may be written between two looks


def test_a_child_that_would_outlive_its_parent(tmp_path: Path) -> None:
    late = tmp_path / "late"
    code = f"""
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(1)
        open({str(late)!r}, "w").close()
"""
    assert run_code([code]).end == "refused"
    time.sleep(1.3)
    assert not late.exists()


def test_the_evaluation_cannot_be_killed_from_within() -> None:
    found = run_code(["import os, signal; os.kill(os.getppid(), signal.SIGKILL)"])
    assert (found.end, found.reason) == ("refused", "tried to signal a process")


def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = set(Path("/proc/self/fd").iterdir()) if Path("/proc/self/fd").is_dir() else set()
    for code in ("open('a', 'w')", "while True: pass", "raise ValueError"):
        run_code([code], Limits(seconds=0.5))
    after = set(Path("/proc/self/fd").iterdir()) if before else set()
    assert len(after) <= len(before)
    assert list(tmp_path.iterdir()) == []


# The walls alone, without the audit hook before them.

linux = pytest.mark.skipif(sys.platform != "linux", reason="these walls are Linux's")


def behind_walls(
    folder: Path, code: str, walls: str = "child.wall_in(FOLDER, '')"
) -> subprocess.CompletedProcess[str]:
    start = f"import sys; sys.path.insert(0, {str(FOLDER)!r}); FOLDER = {str(folder)!r}; import child, os, socket, signal\n"
    return subprocess.run(
        [sys.executable, "-B", "-c", f"{start}{walls}\n{code}"],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        timeout=20,
    )


@linux
@pytest.mark.parametrize(
    "code",
    [
        "os.fork()",
        "os.execv('/bin/true', ['true'])",
        "os.posix_spawn('/bin/true', ['true'], {})",
        "import threading; threading.Thread(target=print).start()",
        "socket.socket()",
        "socket.socketpair()",
        "os.kill(os.getppid(), 0)",
    ],
)
def test_the_kernel_kills_what_opens_processes_or_the_network(tmp_path: Path, code: str) -> None:
    found = behind_walls(tmp_path, f"print('walls', flush=True)\n{code}")
    assert (found.returncode, found.stdout) == (-signal.SIGSYS, "walls\n")


@linux
@pytest.mark.parametrize(
    "code",
    [
        "open('/tmp/../{}/evil', 'w')",
        "os.chmod('{}/kept', 0o777)",
        "os.mkdir('{}/evil')",
        "os.remove('{}/kept')",
    ],
)
def test_the_kernel_refuses_changes_outside(tmp_path: Path, code: str) -> None:
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    outside.mkdir()
    inside.mkdir()
    (outside / "kept").write_text("as it was")
    found = behind_walls(inside, f"open('own', 'w').write('x')\n{code.format(outside)}")
    assert "PermissionError" in found.stderr
    assert (inside / "own").read_text() == "x"
    assert [one.name for one in outside.iterdir()] == ["kept"]


@linux
@pytest.mark.parametrize(
    "code", ["open('own', 'w')", "os.mkdir('own')", "os.open('kept', os.O_RDONLY | os.O_TRUNC)"]
)
def test_without_landlock_no_file_is_written_at_all(tmp_path: Path, code: str) -> None:
    (tmp_path / "kept").write_text("as it was")
    walls = "import ctypes, seccomp\nctypes.CDLL(None).prctl(38, ctypes.c_ulong(1), 0, 0, 0)\nseccomp.restrict(changes=False)"
    found = behind_walls(tmp_path, f"print(open('kept').read())\n{code}", walls)
    assert found.stdout == "as it was\n"
    assert "PermissionError: [Errno 1]" in found.stderr
    assert (tmp_path / "kept").read_text() == "as it was"


@linux
def test_where_nothing_holds_code_in_it_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Behind a first wall no second one can be had: a kernel without any looks the same from within.
    starter = tmp_path / "starter.py"
    starter.write_text(
        f"import sys; sys.path.insert(0, {str(FOLDER)!r})\nimport child\nchild.wall_in('/', '')\nchild.main()\n"
    )
    monkeypatch.setattr(sandbox, "_CHILD", starter)
    with pytest.raises(
        EvaluationError, match="not run here, because nothing would hold it in: seccomp is not"
    ):
        run_code(["print('run')"])


@linux
def test_the_system_calls_are_those_of_this_machine() -> None:
    import re

    from tracemill.evaluate.sandbox import seccomp

    header = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
    if not header.exists():
        pytest.skip("the kernel's headers are not installed")
    known = {m[1]: m[2] for m in re.finditer(r"#define __NR_(\w+)\s+(\d+)", header.read_text())}
    words = f"{seccomp.RUN} {seccomp.CHANGE} {seccomp.KILL}".split()
    assert len(words) > 300
    for name, number in zip(words[::3], words[1::3], strict=True):
        assert known[name] == number


def test_what_a_process_holds_is_measured() -> None:
    assert 2**20 < sandbox._resident(os.getpid()) < 2**40
    assert sandbox._resident(2**22 + 1) == 0

"""Python code that a model wrote, run where it can do no harm.

In: sources and `Limits`. Out: an `Outcome`: whether all of it ran to its end, else what stopped it. Every
run has a process, a temporary folder and an interpreter without installed packages of its own, and no
environment. The kernel holds it in, without privileges: on Linux Landlock and seccomp (`child.py` says which
did), on macOS `sandbox-exec`. Where neither is to be had nothing is run: EvaluationError.

A wall keeps the machine safe, not the test honest: code that looks for the token that says "finished" in the
interpreter's own frames would find it.
"""

from __future__ import annotations

import json
import os
import secrets
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tracemill.evaluate.errors import EvaluationError

End = Literal["finished", "error", "refused", "time", "memory", "output", "files"]
_CHILD = Path(__file__).with_name("child.py")
_LOOK = 0.05
"""Seconds between two looks at what the code uses."""
_PROFILE = """(version 1)
(allow default)
(deny network*)
(deny process-fork)
(deny signal)
(deny file-write*)
(allow file-write* (subpath (param "FOLDER")) (literal "/dev/null"))
"""
"""What `sandbox-exec` holds code to on macOS."""


@dataclass(frozen=True)
class Limits:
    """What code may use; bytes, but for the time."""

    seconds: float = 5.0
    """Wall clock, start of the interpreter included."""
    memory: int = 512 * 2**20
    """Address space on Linux, resident memory elsewhere."""
    output: int = 64 * 2**10
    """Of standard output and error together."""
    files: int = 32 * 2**20
    """All files in its folder; also the size of one."""


@dataclass(frozen=True)
class Outcome:
    """How code ended, with a `reason` to show where it did not finish; `output` is what it printed."""

    end: End
    reason: str
    output: str
    walls: dict[str, str]
    """What held it in, by what is held: files, network, processes."""

    @property
    def finished(self) -> bool:
        """Whether all of it ran to its end."""
        return self.end == "finished"


def run_code(sources: Sequence[str], limits: Limits | None = None) -> Outcome:
    """Execute `sources` one after another in one namespace; whatever they do, this returns.

    EvaluationError, and nothing is run, where this machine has nothing that would hold the code in.
    """
    limits = limits or Limits()
    with tempfile.TemporaryDirectory(prefix="tracemill-", ignore_cleanup_errors=True) as made:
        folder = os.path.realpath(made)
        token = secrets.token_hex(16)
        fence = "sandbox-exec" if sys.platform == "darwin" and shutil.which("sandbox-exec") else ""
        job = {
            "sources": list(sources),
            "folder": folder,
            "fence": fence,
            "token": token,
            "limits": {"seconds": int(limits.seconds) + 1, "memory": limits.memory, "file": limits.files},
        }
        return _Watched(job, limits).outcome()


class _Watched:
    """A child and what it says, until it ends or goes beyond a limit."""

    def __init__(self, job: dict[str, Any], limits: Limits):
        self._job, self._limits = job, limits
        self._output, self._said = bytearray(), bytearray()
        self._stopped: tuple[End, str] | None = None

    def outcome(self) -> Outcome:
        listen, tell = os.pipe()
        try:
            process = self._start(tell)
        except OSError as error:
            os.close(listen)
            raise EvaluationError(f"No process for code could be started: {error.strerror}.") from error
        finally:
            os.close(tell)
        with os.fdopen(listen, "rb", 0) as said, process:
            try:
                self._watch(process, said.fileno())
            finally:
                # All that it may have started has its group; none of it outlives this.
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)
        return self._told(process.returncode)

    def _start(self, tell: int) -> subprocess.Popen[bytes]:
        python = [sys.executable, "-s", "-S", "-P", "-B", "-X", "utf8", str(_CHILD), str(tell)]
        folder = self._job["folder"]
        if self._job["fence"]:
            python = [self._job["fence"], "-D", f"FOLDER={folder}", "-p", _PROFILE, *python]
        with tempfile.TemporaryFile() as job:
            job.write(json.dumps(self._job).encode())
            job.seek(0)
            return subprocess.Popen(
                python,
                cwd=folder,
                env={"HOME": folder, "TMPDIR": folder, "PYTHONHASHSEED": "0"},
                stdin=job,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(tell,),
                start_new_session=True,
            )

    def _watch(self, process: subprocess.Popen[bytes], said: int) -> None:
        assert process.stdout is not None
        end = time.monotonic() + self._limits.seconds
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ, self._output)
            selector.register(said, selectors.EVENT_READ, self._said)
            while selector.get_map() and self._stopped is None:
                for key, _ in selector.select(_LOOK):
                    data = os.read(key.fd, 2**16)
                    key.data.extend(data)
                    if not data:
                        selector.unregister(key.fileobj)
                self._stopped = self._beyond(process.pid, time.monotonic() > end)
        # It may have closed both and go on.
        if self._stopped is None:
            try:
                process.wait(max(end - time.monotonic(), 0))
            except subprocess.TimeoutExpired:
                self._stopped = self._beyond(process.pid, late=True)

    def _beyond(self, pid: int, late: bool) -> tuple[End, str] | None:
        limits = self._limits
        if late:
            return "time", f"ran longer than {limits.seconds:g} s"
        if len(self._output) + len(self._said) > limits.output:
            return "output", f"printed more than {limits.output // 2**10} KB"
        if _size(self._job["folder"], limits.files) > limits.files:
            return "files", f"wrote more than {limits.files // 2**20} MB"
        if sys.platform == "darwin" and _resident(pid) > limits.memory:
            return "memory", f"took more than {limits.memory // 2**20} MB"
        return None

    def _told(self, code: int) -> Outcome:
        told = _first(bytes(self._said))
        output = bytes(self._output[: self._limits.output]).decode("utf-8", "replace")
        if "walls" not in told and self._stopped is None:
            why = told.get("unprotected") or "".join(output.strip().splitlines()[-1:]) or f"exit code {code}"
            raise EvaluationError(
                f"Code of a model is not run here, because nothing would hold it in: {why}. "
                "Linux 5.13 or later on x86-64 or ARM64 can, and macOS with sandbox-exec."
            )
        end, reason = self._stopped or self._ended(told, code)
        return Outcome(end, reason, output, told.get("walls", {}))

    def _ended(self, told: dict[str, Any], code: int) -> tuple[End, str]:
        limits = self._limits
        if told.get("finished") == self._job["token"]:
            return "finished", ""
        memory: tuple[End, str] = ("memory", f"took more than {limits.memory // 2**20} MB")
        late: tuple[End, str] = ("time", f"ran longer than {limits.seconds:g} s")
        said: dict[str, tuple[End, str]] = {
            "refused": ("refused", str(told.get("refused"))),
            "memory": memory,
            "error": ("error", str(told.get("error"))),
        }
        died: dict[int, tuple[End, str]] = {
            signal.SIGSYS: ("refused", "made a system call that is not allowed"),
            signal.SIGXCPU: late,
            signal.SIGKILL: late,
            signal.SIGXFSZ: ("files", f"wrote more than {limits.files // 2**20} MB"),
        }
        if word := next((word for word in said if word in told), None):
            return said[word]
        if code < 0:
            return died.get(-code, ("error", f"died of {signal.Signals(-code).name}"))
        return "error", "ended before its end was reached"


def _first(said: bytes) -> dict[str, Any]:
    """What a child said, under each key what came first: later lines may be those of the code."""
    told: dict[str, Any] = {}
    for line in said.splitlines():
        with suppress(ValueError):
            message: object = json.loads(line)
            told = {**message, **told} if isinstance(message, dict) else told
    return told


def _size(folder: str, most: int) -> int:
    """Bytes of all files below `folder`, or somewhat more than `most`."""
    total, waiting = 0, [folder]
    while waiting and total <= most:
        with suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                total += 512  # The entry itself: many empty files fill a disk too.
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                else:
                    total += entry.stat(follow_symlinks=False).st_size
    return total


def _resident(pid: int) -> int:
    """Bytes of memory that a process holds, 0 where it is gone."""
    found = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return int(found.stdout.strip() or 0) * 1024

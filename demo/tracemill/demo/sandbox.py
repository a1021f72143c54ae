"""Files and commands of one folder, for an agent that must not leave it.

In: relative paths and command lines as a model writes them. Out: short texts without absolute paths or
timings, the same on every machine. A path that leads out of the folder, also through a symbolic link, and a
command that is not on the list are refused. This is a fence around the agent's calls, not a jail: a script
it runs has the rights of the user who started it.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

LONGEST = 4000
"""Characters of a result; the rest is cut."""
MOST_HITS = 20
SECONDS = 10.0
"""Wall clock of one command."""

_OPTION = re.compile(r"--?[A-Za-z0-9-]*")
_TIMING = re.compile(r"^(Ran \d+ tests?) in [\d.]+s$", re.MULTILINE)
_RULE = re.compile(r"^[-=]{20,}$")


class RefusedError(Exception):
    """A call that was not carried out; its text tells the model what to do instead."""


@dataclass(frozen=True)
class Sandbox:
    """The folder that calls are held to."""

    root: Path

    def list(self, path: str) -> str:
        """Entries of a folder, sorted, one a line, as paths from the root; folders end in a slash."""
        folder = self._inside(path)
        if not folder.is_dir():
            raise RefusedError(f"There is no folder {path!r}; list_files with path '.' shows the top.")
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
        return _cut("\n".join(self._name(e) + ("/" if e.is_dir() else "") for e in entries)) or "(empty)"

    def read(self, path: str) -> str:
        """The text of a file, without the line end that closes it."""
        file = self._file(path)
        try:
            return _cut(file.read_text("utf-8").removesuffix("\n"))
        except UnicodeDecodeError as error:
            raise RefusedError(f"{path!r} is not a text file.") from error
        except OSError as error:
            raise RefusedError(f"{path!r} cannot be read: {error.strerror}.") from error

    def search(self, text: str) -> str:
        """Lines that hold `text` (upper and lower case differ), as `path:line: content`, in order of path."""
        if not text.strip():
            raise RefusedError("The text to search for is empty.")
        hits: list[str] = []
        for file in self._texts():
            lines = file.read_text("utf-8", errors="replace").splitlines()
            hits += [
                f"{self._name(file)}:{n}: {line.strip()}" for n, line in enumerate(lines, 1) if text in line
            ]
        return _cut("\n".join(hits[:MOST_HITS])) or "no match"

    def write(self, path: str, content: str) -> str:
        """Create or replace a text file and the folders above it; its last line is closed as editors do."""
        file = self._inside(path)
        if file.is_dir():
            raise RefusedError(f"{path!r} is a folder; write_file needs the path of a file.")
        closed = content if not content or content.endswith("\n") else content + "\n"
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(closed, "utf-8")
        except (OSError, UnicodeEncodeError) as error:
            raise RefusedError(f"{path!r} cannot be written; choose another path.") from error
        return f"wrote {self._name(file)}"

    def run(self, command: str) -> str:
        """Output and error output of an allowed command; a last line tells an exit code other than 0."""
        words = self._allowed(command)
        with subprocess.Popen(
            words,
            cwd=self.root,
            env={"PATH": os.defpath, "PYTHONHASHSEED": "0", "PYTHONUTF8": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process:
            late = threading.Event()
            timer = threading.Timer(SECONDS, lambda: (late.set(), _kill(process)))
            timer.start()
            assert process.stdout is not None
            # One read with a limit: a command that prints without end is stopped, not collected.
            output = process.stdout.read(4 * LONGEST).decode("utf-8", "replace")
            if process.stdout.read(1):
                _kill(process)
            code = process.wait()
            timer.cancel()
        lines = [self._tidy(output)]
        if late.is_set():
            lines.append(f"stopped after {SECONDS:g} s")
        elif code:
            lines.append(f"exit code {code}")
        return "\n".join(line for line in lines if line) or "(no output)"

    def _allowed(self, command: str) -> list[str]:
        try:
            words = shlex.split(command)
        except ValueError as error:
            raise RefusedError(f"The command cannot be split into words: {error}.") from error
        match words:
            case ["python" | "python3", "-m", "unittest", *rest]:
                start = [sys.executable, "-S", "-B", "-m", "unittest"]
            case ["python" | "python3", script, *rest] if script.endswith(".py"):
                self._file(script)
                start = [sys.executable, "-S", "-B", script]
            case [("wc" | "cat") as name, *rest] if found := shutil.which(name):
                start = [found]
            case _:
                raise RefusedError(
                    "Allowed are: python FILE.py, python -m unittest FILE, wc FILE and cat FILE."
                )
        for word in rest:
            if not word.startswith("-"):
                self._inside(word)
            elif not _OPTION.fullmatch(word):
                raise RefusedError(f"The option {word!r} is not allowed; options are plain, such as -l.")
        return start + rest

    def _tidy(self, output: str) -> str:
        """Without the folder's own path, the timings, rules and blank lines of a test run."""
        text = output.replace(f"{self.root.resolve()}{os.sep}", "").replace(f"{self.root}{os.sep}", "")
        lines = (line.rstrip() for line in _TIMING.sub(r"\1", text).splitlines())
        return _cut("\n".join(line for line in lines if line and not _RULE.match(line)).strip())

    def _inside(self, path: str) -> Path:
        root = self.root.resolve()
        with suppress(ValueError, OSError, RuntimeError):
            target = (root / path).resolve()
            if target.is_relative_to(root):
                return target
        raise RefusedError(f"{path!r} is outside the project; use a path relative to its top folder.")

    def _file(self, path: str) -> Path:
        file = self._inside(path)
        if not file.is_file():
            raise RefusedError(f"There is no file {path!r}; list_files shows what there is.")
        return file

    def _name(self, path: Path) -> str:
        return path.relative_to(self.root.resolve()).as_posix()

    def _texts(self) -> Iterator[Path]:
        """Every regular file below the root in order of path; links and hidden files are left out."""
        root = self.root.resolve()
        for path in sorted(root.rglob("*"), key=lambda found: found.as_posix()):
            hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
            if path.is_file() and not hidden and path.resolve() == path:
                yield path


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else text[:LONGEST] + "\n(cut)"


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)

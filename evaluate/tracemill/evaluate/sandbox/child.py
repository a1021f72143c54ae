"""The process that code written by a model runs in: `python -s -S -P -B child.py RESULT_FD < job.json`.

In: a job (sources, folder, limits, token) on standard input. Out, on the pipe RESULT_FD, a JSON line each:
what holds the code in (`walls`), or why nothing was run (`unprotected`); then how it ended (`error`,
`refused`, or `finished` with the token). Limits come first, then the walls of the kernel, then an audit hook
that ends the process with a readable reason before the kernel would; the hook alone would hold nothing.
Standard library only: this runs in an isolated interpreter.
"""

from __future__ import annotations

import json
import os
import resource
import socket
import sys
import sysconfig
from collections.abc import Callable
from contextlib import suppress
from typing import Any

REFUSED = 3
"""Exit code of a process that the audit hook ended."""
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS, _SIGKILL = 1, 38, 9
_FOLDERS = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/share/zoneinfo", "/dev/urandom")
"""What Python reads beside its own library: shared libraries, time zones, randomness."""
_PROCESSES = {
    "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.exec", "os.system", "subprocess.Popen",
    "pty.spawn", "_thread.start_new_thread", "_thread.start_joinable_thread",
}  # fmt: skip
_SIGNALS = {"os.kill", "os.killpg", "signal.pthread_kill"}
_CHANGES = {
    "os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod",
    "os.chown", "os.utime", "os.setxattr", "os.removexattr",
}  # fmt: skip
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


def main() -> None:
    """Run the job of standard input."""
    result = int(sys.argv[1])
    job = json.loads(sys.stdin.buffer.read())
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)

    def say(message: dict[str, Any]) -> None:
        os.write(result, json.dumps(message).encode() + b"\n")

    limit(job["limits"])
    try:
        walls = wall_in(job["folder"], job["fence"])
    except OSError as error:
        say({"unprotected": f"{error.strerror} ({type(error).__name__})"})
        return
    say({"walls": walls})
    sys.addaudithook(_hook(job["folder"], say))
    _run(job["sources"], job["token"], say)


def _run(sources: list[str], token: str, say: Callable[[dict[str, Any]], None]) -> None:
    """Execute `sources` one after another in one namespace; the token says that the last came to its end."""
    space: dict[str, Any] = {"__name__": "__main__", "__builtins__": __builtins__}
    try:
        for number, source in enumerate(sources):
            exec(compile(source, f"<part {number}>", "exec"), space)
        sys.stdout.flush()
    except MemoryError:
        space.clear()
        say({"memory": True})
    except BaseException as error:  # whatever it raises ends it, SystemExit and KeyboardInterrupt too
        text = " ".join(str(error).split())[:200]
        say({"error": f"{type(error).__name__}: {text}" if text else type(error).__name__})
    else:
        say({"finished": token})
    # Exit handlers and destructors of the code have no more say.
    os._exit(0)


def limit(limits: dict[str, int]) -> None:
    """Set the limits of this process; what a platform does not know is left out."""
    for name, value in (
        ("RLIMIT_CPU", limits["seconds"]),
        ("RLIMIT_AS", limits["memory"]),
        ("RLIMIT_FSIZE", limits["file"]),
        ("RLIMIT_NOFILE", 64),
        ("RLIMIT_NPROC", 0),
        ("RLIMIT_CORE", 0),
    ):
        # The parent watches time and memory too, and the walls stop new processes.
        with suppress(AttributeError, ValueError, OSError):
            resource.setrlimit(getattr(resource, name), (value, value))


def wall_in(folder: str, fence: str) -> dict[str, str]:
    """Let the kernel hold this process in; returns what stops changes of files, the network and processes.

    `fence` names what the process was started within ("" for nothing). OSError where no wall can be had.
    """
    if fence:
        return _proved(fence, folder)
    import ctypes

    # The folder of this file is not on the path: modules of the code must not be found there.
    sys.path.insert(0, os.path.dirname(__file__))  # noqa: PTH120
    import landlock  # pyright: ignore[reportMissingImports]
    import seccomp  # pyright: ignore[reportMissingImports]

    del sys.path[0]
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(_SIGKILL), 0, 0, 0)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), 0, 0, 0)
    _drop_capabilities(libc)
    files = "Landlock"
    try:
        landlock.restrict((*_libraries(), *_FOLDERS), folder)
    except OSError:
        files = "seccomp, which lets no file be written"
    seccomp.restrict(changes=files == "Landlock")
    # Who imports it anew meets the audit hook.
    for name in ("ctypes", "_ctypes", "landlock", "seccomp"):
        sys.modules.pop(name, None)
    return {"files": files, "network": "seccomp", "processes": "seccomp"}


def _libraries() -> set[str]:
    paths = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib")}
    return paths | {os.path.join(sys.base_prefix, "lib")}  # noqa: PTH118


def _drop_capabilities(libc: Any) -> None:
    """Where the user is root: of its rights only that to its own files."""
    import ctypes
    import struct

    version_3 = struct.pack("=Ii", 0x20080522, 0)
    libc.capset(ctypes.create_string_buffer(version_3), ctypes.create_string_buffer(24))


def _proved(fence: str, folder: str) -> dict[str, str]:
    """That a fence of the parent's making holds, by trying it."""
    beside = f"{folder}.outside"
    try:
        os.close(os.open(beside, os.O_CREAT | os.O_WRONLY))
        os.unlink(beside)  # noqa: PTH108
    except PermissionError:
        pass
    else:
        raise OSError(0, f"{fence} lets files be written")
    try:
        socket.socket().bind(("127.0.0.1", 0))
    except PermissionError:
        return {"files": fence, "network": fence, "processes": fence}
    raise OSError(0, f"{fence} lets the network be used")


def _hook(folder: str, say: Callable[[dict[str, Any]], None]) -> Callable[[str, tuple[Any, ...]], None]:
    inside = os.path.realpath(folder) + os.sep
    places = (inside, os.devnull)

    def outside(path: object) -> bool:
        if isinstance(path, int):
            return False  # An open file, which was allowed when it was opened.
        whole = os.path.realpath(os.fsdecode(path))  # type: ignore[arg-type]
        return not (whole + os.sep).startswith(places)

    def hook(event: str, given: tuple[Any, ...]) -> None:
        reason = ""
        if event.startswith("socket."):
            reason = "tried to use the network"
        elif event in _PROCESSES:
            reason = "tried to start a process or thread"
        elif event in _SIGNALS:
            reason = "tried to signal a process"
        elif event == "ctypes.dlopen":
            reason = "tried to load a C library"
        elif event == "open" and given[2] & _WRITING and outside(given[0]):
            reason = "tried to write outside its folder"
        elif event in _CHANGES and outside(given[0]):
            reason = "tried to change files outside its folder"
        if reason:
            say({"refused": reason})
            os._exit(REFUSED)

    return hook


if __name__ == "__main__":
    main()

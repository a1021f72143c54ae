"""An OpenAI-compatible server for a base model and an adapter, as a process of its own.

    with ModelServer(base.path, adapter_path, home=home) as server:
        ...  # POST {server.base_url}/chat/completions with "model": server.model

In: folders. Out: a server on the loopback interface that has loaded its model, has answered a request, and
has shown that it is the process started here: it must return a token of this start, so another server on
the port is never taken for it. It ends with the `with` block and with this process, however that dies.
"""

from __future__ import annotations

import http.client
import json
import os
import secrets
import select
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Any, cast

from tracemill.tracer.home import Home
from tracemill.train.base import BaseModel
from tracemill.train.errors import ServerError
from tracemill.train.identity import identify
from tracemill.train.ports import HOST, occupant

MAX_TOKENS = 1024
GRACE = 5.0  # seconds between asking the process to end and killing it


class ModelServer:
    """A model server of our own; use it as a context manager."""

    def __init__(
        self,
        base: Path | BaseModel,
        adapter_path: Path | None = None,
        *,
        home: Home,
        log: Path | None = None,
        startup_timeout: float = 120,
        port: int = 0,
        max_tokens: int = MAX_TOKENS,
    ):
        """Check the folders: ServerError or BaseModelError where one is none, or they do not belong together.

        Port 0 is any unused one.
        """
        base_path = base.path if isinstance(base, BaseModel) else base
        self.model = (adapter_path or base_path).absolute().name
        self.identity = identify(base, adapter_path)
        self._settings: dict[str, Any] = {
            "home": str(home.root),
            "base": str(base_path.absolute()),
            "adapter": str(adapter_path.absolute()) if adapter_path else None,
            "model": self.model,
            "port": port,
            "token": secrets.token_hex(16),
            "max_tokens": max_tokens,
        }
        self._log_path = log
        self._timeout = startup_timeout
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None

    @property
    def base_url(self) -> str:
        """The URL an OpenAI client takes: `http://127.0.0.1:PORT/v1`."""
        return f"http://{HOST}:{self._settings['port']}/v1"

    @property
    def pid(self) -> int:
        """The process that serves."""
        return self._running().pid

    def __enter__(self) -> ModelServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the process and wait until its model answers; ServerError if it does not."""
        port = self._settings["port"]
        if port and (who := occupant(port)):
            raise ServerError(f"Port {port} of {HOST} is taken by {who}; stop it, or choose another port.")
        self._log = _open_log(self._log_path)
        self._process = subprocess.Popen(
            # -P: nothing in the current folder is imported in place of a library.
            [sys.executable, "-P", "-m", "tracemill.train.server_main"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            start_new_session=True,  # an interrupt from the keyboard is ours to handle
        )
        try:
            deadline = time.monotonic() + self._timeout
            self._settings["port"] = self._await_port(deadline)
            left = max(0.1, deadline - time.monotonic())
            confirm_identity(self._settings["port"], self._settings["token"], self._process.pid, left)
            self._generate_once(deadline)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the process: asked first, killed after a few seconds. Does nothing where none runs."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            try:
                process.wait(GRACE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            for pipe in (process.stdin, process.stdout):
                cast(IO[bytes], pipe).close()
        if self._log is not None:
            self._log.close()
            self._log = None

    def check(self) -> None:
        """ServerError, with the end of its log, if the server has died."""
        code = self._running().poll()
        if code is not None:
            how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
            raise ServerError(f"The model server of {self.model} {how}: {self._last_words()}")

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise ServerError("The model server is not running; start it with a `with` block.")
        return self._process

    def _await_port(self, deadline: float) -> int:
        """Hand over the settings and wait for the one line that says the model is loaded."""
        process = self._running()
        stdin, stdout = cast(IO[bytes], process.stdin), cast(IO[bytes], process.stdout)
        try:
            stdin.write(json.dumps(self._settings).encode() + b"\n")
            stdin.flush()
        except BrokenPipeError:
            process.wait()
        if not select.select([stdout], [], [], max(0.0, deadline - time.monotonic()))[0]:
            raise ServerError(self._slow("has not loaded its model"))
        line = stdout.readline()
        if not line:
            process.wait()
            raise ServerError(f"The model server of {self.model} did not start: {self._last_words()}")
        told = json.loads(line)
        if "error" in told:
            raise ServerError(f"The model server of {self.model} did not start: {told['error']}.")
        return told["port"]

    def _generate_once(self, deadline: float) -> None:
        """One token from the loaded model: it compiles what MLX compiles and shows what cannot be."""
        body = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1, "model": self.model}
        left = max(0.1, deadline - time.monotonic())
        try:
            status, told = _request(self._settings["port"], "POST", "/v1/chat/completions", body, left)
        except TimeoutError as error:
            raise ServerError(self._slow("has not answered")) from error
        except (OSError, http.client.HTTPException) as error:
            self.check()
            raise ServerError(f"The model server of {self.model} does not answer: {error}.") from error
        if status != 200:
            raise ServerError(f"The model server of {self.model} cannot generate: {told}")

    def _slow(self, what: str) -> str:
        return (
            f"The model server of {self.model} {what} within {self._timeout:g} seconds; "
            f"give it a longer startup_timeout. Its log ends: {self._last_words()}"
        )

    def _last_words(self) -> str:
        """The last line of the log; the whole of it is in the file `log`, where one was given."""
        log = cast(IO[bytes], self._log).fileno()
        # pread leaves the offset alone, which the server process shares.
        tail = os.pread(log, 4096, max(0, os.fstat(log).st_size - 4096)).decode(errors="replace")
        lines = [line.strip() for line in tail.splitlines() if line.strip()] or ["it wrote nothing"]
        return lines[-1] + (f" (log: {self._log_path})" if self._log_path else "")


def confirm_identity(port: int, token: str, pid: int, timeout: float) -> None:
    """ServerError unless the process `pid`, which was given `token`, is the one that answers on `port`."""
    try:
        answer = _request(port, "GET", "/tracemill", None, timeout)
    except (OSError, http.client.HTTPException) as error:
        raise ServerError(f"Nothing of ours answers on port {port}: {error}.") from error
    if answer != (200, {"token": token, "pid": pid}):
        raise ServerError(f"Another program answers on port {port}; stop it or choose another port.")


def _request(port: int, method: str, path: str, body: object, timeout: float) -> tuple[int, Any]:
    """Status and JSON (or text) of one request to this machine, past any proxy."""
    connection = http.client.HTTPConnection(HOST, port, timeout=timeout)
    try:
        connection.request(method, path, json.dumps(body) if body is not None else None)
        response = connection.getresponse()
        data = response.read()
    finally:
        connection.close()
    try:
        return response.status, json.loads(data)
    except ValueError:
        return response.status, data.decode(errors="replace")


def _open_log(path: Path | None) -> IO[bytes]:
    if path is None:
        return tempfile.TemporaryFile()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), "r+b", buffering=0)

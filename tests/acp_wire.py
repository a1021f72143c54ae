"""The editor's side of a tee around an agent, in real processes: what the tests of the tee drive."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from tracemill.tracer.home import Home

TEE = """
import dataclasses, json, sys
from tracemill.tracer.acp.tee import Tee
from tracemill.tracer.home import Home
from tracemill.tracer.launch import environment, run
home, command = Home.find(), sys.argv[1:]
tee = Tee(home, "recording1", command, {"task": "t"})
code = run(command, environment(home, "recording1"), connect=tee.connect)
counted = tee.counted and dataclasses.asdict(tee.counted)
print(json.dumps({"code": code, "lost": tee.lost, "failure": tee.failure, "counted": counted}), file=sys.stderr)
sys.exit(code)
"""

# An agent that answers a prompt in two chunks, and does as the prompt says in between.
AGENT = """
import json, os, signal, sys, time
def send(message):
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + chr(10))
    sys.stdout.flush()
def chunk(text):
    update = {"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": text}}
    send({"method": "session/update", "params": {"sessionId": "s", "update": update}})
for line in sys.stdin:
    message = json.loads(line)
    if message.get("method") == "session/new":
        send({"id": message["id"], "result": {"sessionId": "s"}})
    elif message.get("method") == "session/prompt":
        chunk("before ")
        exec(message["params"]["prompt"][0]["text"])
        chunk("after")
        send({"id": message["id"], "result": {"stopReason": "end_turn"}})
"""


class Wire:
    """The editor's side of a tee."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.to = cast("BinaryIO", process.stdin)
        self.fro = cast("BinaryIO", process.stdout)

    def send(self, method: str, id: int, **params: Any) -> None:
        line = json.dumps({"jsonrpc": "2.0", "id": id, "method": method, "params": params}) + "\n"
        self.to.write(line.encode())

    def receive(self) -> dict[str, Any]:
        line = self.fro.readline()
        assert line.endswith(b"\n"), "the agent said no more"
        return json.loads(line)

    def prompt(self, code: str) -> None:
        """Open a session and have the agent execute `code` in the middle of its answer."""
        self.send("session/new", 0, cwd="/project", mcpServers=[])
        assert self.receive()["result"] == {"sessionId": "s"}
        self.send("session/prompt", 1, sessionId="s", prompt=[{"type": "text", "text": code}])
        assert self.receive()["params"]["update"]["content"]["text"] == "before "

    def wait(self) -> dict[str, Any]:
        """What the tee says at its end."""
        assert self.process.stderr is not None
        last = self.process.stderr.read().splitlines()[-1]
        self.process.wait(timeout=60)
        return json.loads(last)


Start = Callable[..., Wire]


@contextmanager
def wires(home: Home, tracer_folder: Path) -> Generator[Start]:
    """Starts tees around agents, each a Python program; none outlives it."""
    started: list[Wire] = []

    def run(agent: str, **options: Any) -> Wire:
        home.ensure(home.spool)
        options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, **options}
        process = subprocess.Popen(
            [sys.executable, "-c", TEE, sys.executable, "-u", "-c", agent],
            env={**os.environ, "PYTHONPATH": str(tracer_folder)},
            stderr=subprocess.PIPE,
            bufsize=0,
            **options,
        )
        started.append(Wire(process))
        if process.stdout is not None:
            started[-1].fro = cast("BinaryIO", os.fdopen(os.dup(process.stdout.fileno()), "rb"))
        return started[-1]

    yield run
    for wire in started:
        wire.process.kill()
        with wire.process:
            pass
        if wire.fro is not None:
            wire.fro.close()


def eventually(found: Callable[[], Any], seconds: float = 30) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
    return value

"""Fixtures of the tracer's tests; they run on both majors of Pydantic AI."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from acp_wire import Start, wires
from tracemill.tracer.home import Home
from tracemill.tracer.spool import read_events, spool_files
from witness import Witness


class Recorded:
    """All events of a home, in the order they were written."""

    def __init__(self, home: Home) -> None:
        lines = [line for path in spool_files(home) for line in read_events(path)]
        assert [line.fault for line in lines if line.fault] == []
        self.events: list[dict[str, Any]] = [dict(line.event) for line in lines if line.event]
        self.bodies = {event["message_id"]: event["message"] for event in self.of("message")}
        self.toolsets = {event["toolset_id"]: event["tools"] for event in self.of("toolset")}

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["kind"] == kind]

    def one(self, kind: str) -> dict[str, Any]:
        (event,) = self.of(kind)
        return event

    def message_ids(self, request: dict[str, Any]) -> list[str]:
        """The ids of all messages of a request, put together again from its chain."""
        before: list[str] = []
        if request["previous"] is not None:
            (earlier,) = [r for r in self.of("request") if r["request_id"] == request["previous"]]
            before = self.message_ids(earlier)[: request["kept"]]
            assert len(before) == request["kept"]
        return before + request["added"]

    def messages(self, request: dict[str, Any]) -> list[dict[str, Any]]:
        return [self.bodies[name] for name in self.message_ids(request)]

    def tool_calls(self) -> list[dict[str, Any]]:
        """Starts and ends joined, in the order of the starts; `status` is None for an unfinished one."""
        ends = {event["call_id"]: event for event in self.of("tool_end")}
        assert len(ends) == len(self.of("tool_end"))
        return [
            {"status": None, **start, **ends.get(start["call_id"], {})} for start in self.of("tool_start")
        ]


@pytest.fixture
def recorded(home: Home) -> Callable[[], Recorded]:
    """Reads back everything recorded so far."""
    return lambda: Recorded(home)


@pytest.fixture
def witness(home: Home) -> Witness:
    """Notes what models and tools really see."""
    return Witness(home)


class ChatServer:
    """An OpenAI-compatible server on the loopback: gives prepared answers, keeps what it was sent."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.answers: list[dict[str, Any]] = []
        self.requests: list[dict[str, Any]] = []

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        self.requests.append(body)
        message = {"role": "assistant", "content": None, **self.answers[len(self.requests) - 1]}
        reason = "tool_calls" if message.get("tool_calls") else "stop"
        return {
            "id": "chat-1",
            "object": "chat.completion",
            "created": 1,
            "model": "local",
            "choices": [{"index": 0, "finish_reason": reason, "message": message}],
            "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18},
        }


@pytest.fixture
def chat_server() -> Iterator[ChatServer]:
    chat: ChatServer

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            answer = json.dumps(chat.answer(body)).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    chat = ChatServer(f"http://127.0.0.1:{server.server_port}/v1")
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield chat
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def tracer_folder() -> Path:
    """The folder that must be on the path of a process that imports `tracemill.tracer` alone."""
    return Path(__file__).resolve().parents[2] / "tracer"


@pytest.fixture
def shared_architecture() -> Callable[[], dict[str, set[str]]]:
    """Reads the table of event kinds out of `docs/architecture.md`."""

    def read() -> dict[str, set[str]]:
        text = (Path(__file__).resolve().parents[2] / "docs" / "architecture.md").read_text(encoding="utf-8")
        rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", text.partition("## Events")[2], re.MULTILINE)
        required = [(kind, re.sub(r"\([^)]*\)", "", row).partition(";")[0]) for kind, row in rows]
        return {kind: set(re.findall(r"\b([a-z]\w*)\b", row)) for kind, row in required}

    return read


@pytest.fixture
def start(home: Home, tracer_folder: Path) -> Iterator[Start]:
    """Starts a tee around an agent, a Python program."""
    with wires(home, tracer_folder) as starting:
        yield starting

"""An OpenAI-compatible server on the loopback interface, scripted by a test: real HTTP, no model."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any

Answer = tuple[int, Mapping[str, str], bytes | Iterable[bytes]]
Script = Callable[[dict[str, Any]], Answer]
"""From the body of a chat request to status, headers and body of the answer, whole or piece by piece."""


@dataclass
class ChatServer:
    """What tests see of the server: its URL, and the chat requests it got, as JSON, in their order."""

    url: str
    requests: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    keys: list[str] = field(default_factory=list[str])


def said(
    content: str | None = None,
    calls: list[tuple[str, str]] | None = None,
    model: str = "m",
    finish: str = "stop",
    **more: Any,
) -> Answer:
    """A chat completion with text and calls (name, arguments as text), of 100 tokens in and 10 out."""
    message: dict[str, Any] = {"role": "assistant", "content": content}
    if calls:
        message["tool_calls"] = [
            {"id": f"c{i}", "type": "function", "function": {"name": name, "arguments": arguments}}
            for i, (name, arguments) in enumerate(calls)
        ]
    body = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 0,
        "model": model,
        "choices": [{"index": 0, "finish_reason": finish, "message": message}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
        **more,
    }
    return 200, {"Content-Type": "application/json"}, json.dumps(body).encode()


def failed(status: int, message: str = "no", **headers: str) -> Answer:
    """An error as OpenAI's API tells it."""
    body = json.dumps({"error": {"message": message}}).encode()
    return status, {"Content-Type": "application/json", **headers}, body


PAGE: Answer = (200, {"Content-Type": "text/html"}, b"<!doctype html><title>Welcome</title>")


@contextmanager
def chat_server(script: Script, models: Answer | tuple[str, ...] = ("m",)) -> Generator[ChatServer]:
    """Serve `script` for chat completions, and the names (or the answer) `models` as the list of models."""
    lock = Lock()
    if not models or isinstance(models[0], str):
        listed = json.dumps({"object": "list", "data": [{"id": one} for one in models]}).encode()
        models = (200, {"Content-Type": "application/json"}, listed)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._reply(models)  # type: ignore[arg-type]

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                seen.requests.append(body)
                seen.keys.append(self.headers.get("Authorization", ""))
            self._reply(script(body))

        def _reply(self, answer: Answer) -> None:
            status, headers, content = answer
            try:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                for piece in [content] if isinstance(content, bytes) else content:
                    self.wfile.write(piece)
            except OSError:  # whoever asked gave up waiting
                pass

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        seen = ChatServer(f"http://127.0.0.1:{server.server_port}/v1")
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield seen
        finally:
            server.shutdown()
            thread.join()

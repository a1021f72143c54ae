"""mlx-lm's HTTP server, made to keep the one rule: what is served is what was trained and scored.

The engine (loading, batching, caching, HTTP) is `mlx_lm.server`. Three things are ours: the prompt comes from
`curate.chat`, as every training row did; the completion is read by the codec that scores it, so a call that
cannot be parsed reaches the client as the text it is and never disappears; and the process serves one model
under one name, refuses any other, and can prove which process it is. In: `Settings`. Out: a server that runs
until its process ends. Importing this module imports MLX: activate the BLAS first.
"""

from __future__ import annotations

import json
import os
import sys
import time
import uuid
from collections.abc import Callable
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypedDict, cast

from mlx_lm import server as engine
from mlx_lm.models.cache import LRUPromptCache

from tracemill.curate.chat.codec import OPEN, decode
from tracemill.curate.chat.template import TEMPLATE_FILE, Chat
from tracemill.train.requests import neutral, toolset

HOST = "127.0.0.1"
IDENTITY = "/tracemill"
DEFAULT_MODEL = "default_model"  # mlx-lm's own name for the model it was started with
HERE = ("127.0.0.1", "localhost", "")  # what the header Host names when a program of this machine asks


class Settings(TypedDict):
    """What the parent writes as one JSON line to the standard input of the server process."""

    home: str
    base: str
    adapter: str | None
    model: str
    port: int
    token: str
    max_tokens: int


class Generator(engine.ResponseGenerator):
    """mlx-lm's generation thread, with prompts from `curate.chat` and no tool parsing of its own."""

    _chat: Chat | None = None

    def _tokenize(self, tokenizer: Any, request: Any, args: Any) -> Any:
        if request.request_type != "chat":
            return super()._tokenize(tokenizer, request, args)
        if self._chat is None or self._chat.tokenizer is not tokenizer:
            self._chat = Chat(tokenizer, Path(self.cli_args.model))
        prompt = self._chat.prompt(neutral(request.messages), toolset(request.tools or []))
        context = getattr(getattr(self.model_provider.model, "args", None), "max_position_embeddings", None)
        if context is not None and len(prompt) >= context:
            raise ValueError(f"The prompt has {len(prompt)} tokens; the model reads at most {context - 1}.")
        if context is not None:
            args.max_tokens = min(args.max_tokens, context - len(prompt))
        thinking = tokenizer.has_thinking and (
            tokenizer.rfind_think_start(prompt) > tokenizer.rfind_think_end(prompt)
        )
        return prompt, [prompt], ["assistant"], "reasoning" if thinking else "normal", None


class Handler(engine.APIHandler):
    """mlx-lm's request handler for one model, whose tool calls are read by our own codec."""

    settings: Settings

    def parse_request(self) -> bool:
        """Refuse what was asked of another host: a web page may give its own name this machine's address."""
        if not super().parse_request():
            return False
        if self.headers.get("Host", "").partition(":")[0] in HERE:
            return True
        self.close_connection = True
        self._answer(403, {"error": "This server is for programs of this machine; ask 127.0.0.1."})
        return False

    def do_GET(self) -> None:  # noqa: N802 - the name http.server calls
        """Answer who we are, which model there is, and mlx-lm's health check."""
        if self.path == IDENTITY:
            self._answer(200, {"token": self.settings["token"], "pid": os.getpid()})
        elif self.path.startswith("/v1/models"):
            self._answer_models(self.path.removeprefix("/v1/models").strip("/"))
        else:
            super().do_GET()

    def _answer_models(self, name: str) -> None:
        model = {"id": self.settings["model"], "object": "model", "created": self.created}
        if name in ("", self.settings["model"]):
            self._answer(200, model if name else {"object": "list", "data": [model]})
        else:
            self._refuse_model(name)

    def _refuse_model(self, asked: object) -> None:
        self._answer(404, {"error": f"This server serves {self.settings['model']!r} only, not {asked!r}."})

    def handle_chat_completions(self) -> Any:
        """mlx-lm's request, without tools where the client wants none called."""
        request = super().handle_chat_completions()
        if self.body.get("tool_choice") == "none":
            request.tools = None
        return request

    def handle_completion(self, request: Any, stop_words: list[str]) -> None:
        """Refuse another model or adapter than ours, bound the length, and generate."""
        self._held = ""
        if self.body.get("model") != self.settings["model"] or self.adapter is not None:
            self._refuse_model(self.adapter or self.body.get("model"))
            return
        self.requested_model = self.requested_draft_model = DEFAULT_MODEL
        self.max_tokens = min(self.max_tokens, self.settings["max_tokens"])
        super().handle_completion(request, stop_words)

    def generate_response(
        self, text: str, finish_reason: str | None, *counts: Any, **parts: Any
    ) -> dict[str, Any]:
        """A response or a chunk of one, with the calls that `text` holds taken out of it."""
        calls: list[dict[str, Any]] = []
        if self.object_type.startswith("chat.completion"):
            text, calls = self._read(text, finish_reason)
        if calls and finish_reason == "stop":
            finish_reason = "tool_calls"
        parts["tool_calls"] = calls
        response = super().generate_response(text, cast(Any, finish_reason), *counts, **parts)
        return {**response, "model": self.settings["model"]}

    def _read(self, text: str, finish_reason: str | None) -> tuple[str, list[dict[str, Any]]]:
        """What of the text written so far can be sent now: words at once, calls when all is written."""
        self._held += text
        if finish_reason is None:
            sent, self._held = split_before_call(self._held)
            return sent, []
        decoded = decode(self._held)
        if decoded.errors or not decoded.calls:
            return self._held, []
        calls = [
            {
                "index": index,
                "id": f"call_{uuid.uuid4().hex}",
                "type": "function",
                "function": {"name": call.name, "arguments": json.dumps(call.arguments, ensure_ascii=False)},
            }
            for index, call in enumerate(decoded.calls)
        ]
        return decoded.content, calls

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        self._set_completion_headers(status)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())


def split_before_call(text: str) -> tuple[str, str]:
    """`text` cut where a tool call begins, or where its end may be the beginning of the tag."""
    at = text.find(OPEN)
    if at < 0:
        tail = next((n for n in range(len(OPEN) - 1, 0, -1) if text.endswith(OPEN[:n])), 0)
        at = len(text) - tail
    return text[:at], text[at:]


def serve(settings: Settings, ready: Callable[[dict[str, Any]], None]) -> None:
    """Load the model and serve it; `ready` is told `{"port"}` once it is loaded, or `{"error"}`."""

    def run(host: str, port: int, provider: engine.ModelProvider) -> None:
        handler = type("BoundHandler", (Handler,), {"settings": settings})
        made: list[Generator] = []

        def answer(*connection: Any) -> Handler:
            return handler(made[0], *connection)

        try:
            httpd = ThreadingHTTPServer((host, port), answer)
        except OSError as error:
            ready({"error": f"port {port} of {host} cannot be used: {error.strerror}"})
            return
        made.append(Generator(provider, LRUPromptCache(provider.cli_args.prompt_cache_size)))
        while provider.tokenizer is None or provider.model_key is None:
            if not made[0].is_healthy:
                return  # its exception is the last thing in the log
            time.sleep(0.02)
        # Its template may end turns with another token than those of its configuration.
        chat = Chat(provider.tokenizer, Path(provider.cli_args.model))
        provider.tokenizer.eos_token_ids = chat.stop_tokens
        # Without a start tag mlx-lm leaves the text of a completion whole, for our codec to read.
        provider.tokenizer._tool_call_start = None  # pyright: ignore[reportPrivateUsage] - no public way
        ready({"port": httpd.server_port})
        httpd.serve_forever()

    engine.run = run
    sys.argv = ["mlx_lm.server", *_arguments(settings)]
    engine.main()


def _arguments(settings: Settings) -> list[str]:
    """The command line of mlx_lm.server, which parses it itself: its defaults are its own."""
    arguments = [f"--host={HOST}", f"--port={settings['port']}", f"--model={settings['base']}"]
    # No web page may read from this server, whatever its origin.
    arguments += ["--allowed-origins=", f"--max-tokens={settings['max_tokens']}", "--temp=0"]
    adapter = settings["adapter"]
    if adapter is not None:
        arguments.append(f"--adapter-path={adapter}")
        template = Path(adapter) / TEMPLATE_FILE
        if template.is_file():
            arguments.append(f"--chat-template={template.read_text('utf-8')}")
    return arguments

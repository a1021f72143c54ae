"""The model server: ours and no other, loaded when it says so, tool calls as the scorer reads them, no orphan."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import mlx.core as mx
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlx.utils import tree_flatten
from mlx_lm.tuner.utils import linear_to_lora_layers
from mlx_lm.utils import load_model
from pydantic_ai import Agent, UsageLimitExceeded, UsageLimits
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from adapters import lora_adapter
from tiny import CALL, scripted_model, tiny_model
from tracemill.curate.chat.codec import OPEN, from_row, to_row
from tracemill.curate.chat.template import Chat
from tracemill.curate.errors import CodecError
from tracemill.tracer.home import Home
from tracemill.tracer.messages import Message
from tracemill.train import requests, serving
from tracemill.train.errors import ServerError
from tracemill.train.ports import occupant
from tracemill.train.server import ModelServer, confirm_identity

BROKEN = ["<tool_call>\n", '{"name": "read_file", "argu', "ments: {}}\n", "</tool_call>"]
TOOL: Any = {
    "type": "function",
    "function": {
        "name": "read_file",
        "description": "Read a file",
        "parameters": {"type": "object", "properties": {}},
    },
}


def client(server: ModelServer) -> openai.OpenAI:
    return openai.OpenAI(base_url=server.base_url, api_key="none", max_retries=0)


def ask(server: ModelServer, **changes: Any) -> Any:
    request: dict[str, Any] = {
        "model": server.model,
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Read a.py"}],
        "tools": [TOOL],
        "max_tokens": 16,
        **changes,
    }
    with client(server) as api:
        answer = api.chat.completions.create(**request)
        return list(answer) if request.get("stream") else answer


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except ProcessLookupError:
        return False
    except FileNotFoundError:  # no /proc here, or it ended between the two lines
        return not Path("/proc").is_dir()


def gone_soon(pid: int) -> bool:
    deadline = time.monotonic() + 20
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not alive(pid)


@pytest.fixture(scope="module")
def shared_home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def tiny(shared_home: Home) -> Path:
    return tiny_model(shared_home.models / "tiny")


@pytest.fixture(scope="module")
def calling(shared_home: Home) -> Iterator[ModelServer]:
    """A server of a model that always calls `read_file`."""
    with ModelServer(scripted_model(shared_home.models / "calling", CALL), home=shared_home) as server:
        yield server


def test_a_call_reaches_the_client_as_a_call(calling: ModelServer) -> None:
    answer = ask(calling)
    assert answer.model == "calling"
    (choice,) = answer.choices
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content == "I look."
    (call,) = choice.message.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == ("read_file", {"path": "a.py"})


def test_a_streamed_call_is_the_same(calling: ModelServer) -> None:
    chunks = ask(calling, stream=True)
    deltas = [chunk.choices[0].delta for chunk in chunks]
    assert "".join(delta.content or "" for delta in deltas) == "I look.\n"
    (call,) = [call for delta in deltas for call in delta.tool_calls or []]
    assert (call.function.name, json.loads(call.function.arguments)) == ("read_file", {"path": "a.py"})
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


def test_an_agent_really_calls_its_tool(calling: ModelServer) -> None:
    provider = OpenAIProvider(base_url=calling.base_url, api_key="none")
    agent = Agent(OpenAIChatModel(calling.model, provider=provider))
    read: list[str] = []

    @agent.tool_plain
    def read_file(path: str) -> str:  # pyright: ignore[reportUnusedFunction]
        """Read a file."""
        read.append(path)
        return "text"

    with pytest.raises(UsageLimitExceeded):
        asyncio.run(agent.run("Read a.py", usage_limits=UsageLimits(request_limit=2)))
    assert read == ["a.py", "a.py"]


def test_the_prompt_is_the_training_row_token_for_token(calling: ModelServer, shared_home: Home) -> None:
    history: list[Message] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Read a.py"},
        {
            "role": "assistant",
            "content": " I look.\n",
            "tool_calls": [
                {"id": "x1", "name": "read_file", "arguments": {"path": "a.py", "n": 1.5, "é": "日"}}
            ],
        },
        {"role": "tool", "content": "text", "tool_call_id": "x1", "name": "read_file"},
    ]
    sent: list[dict[str, Any]] = [dict(message) for message in history]
    function = {"name": "read_file", "arguments": '{"path":"a.py","n":1.5,"\\u00e9":"日"}'}
    sent[2]["tool_calls"] = [{"id": "x1", "type": "function", "function": function}]
    sent[3] = {"role": "tool", "tool_call_id": "x1", "content": [{"type": "text", "text": "text"}]}
    row = from_row(to_row(history))
    assert requests.neutral(sent) == row
    chat = Chat.load(shared_home.models / "calling")
    prompt = chat.prompt(row, requests.toolset([TOOL]))
    assert ask(calling, messages=sent).usage.prompt_tokens == len(prompt)


def test_arguments_nobody_could_read_are_refused() -> None:
    function = {"name": "read_file", "arguments": "{path"}
    broken = [{"role": "assistant", "tool_calls": [{"id": "1", "type": "function", "function": function}]}]
    with pytest.raises(CodecError, match="not a JSON object"):
        requests.neutral(broken)
    unread = [{"role": "assistant", "content": f"{OPEN}never closed"}]
    assert requests.neutral(unread) == unread


@given(st.text(alphabet="<tol_ca>/x", max_size=40))
def test_streamed_words_are_sent_up_to_a_possible_call(text: str) -> None:
    sent, held = serving.split_before_call(text)
    assert sent + held == text
    assert OPEN not in sent
    assert not held or held.startswith(OPEN) or OPEN.startswith(held)


def refusal(server: ModelServer, **changes: Any) -> str:
    with pytest.raises(openai.APIStatusError) as caught:
        ask(server, **changes)
    return str(caught.value.body)


def test_another_model_or_adapter_is_refused(calling: ModelServer) -> None:
    assert "serves 'calling' only, not 'org/other'" in refusal(calling, model="org/other")
    assert "not '/nowhere'" in refusal(calling, extra_body={"adapters": "/nowhere"})
    assert "only, not 'default_model'" in refusal(calling, model="default_model")
    with client(calling) as api:
        assert [model.id for model in api.models.list()] == ["calling"]
        assert api.models.retrieve("calling").id == "calling"
        with pytest.raises(openai.NotFoundError):
            api.models.retrieve("default")


def raw(server: ModelServer, path: str, body: Any = None, **headers: str) -> tuple[int, str]:
    """Status and text of one request, without what a client library does about it."""
    connection = http.client.HTTPConnection(server.base_url.split("/")[2], timeout=20)
    connection.request("GET" if body is None else "POST", f"/v1{path}", body and json.dumps(body), headers)
    answer = connection.getresponse()
    found = answer.status, answer.read().decode()
    connection.close()
    return found


def test_a_request_without_a_model_is_refused(calling: ModelServer) -> None:
    status, told = raw(calling, "/chat/completions", {"messages": []})
    assert (status, json.loads(told)["error"]) == (404, "This server serves 'calling' only, not None.")


def test_a_web_page_under_another_name_is_refused(calling: ModelServer) -> None:
    for path, body in (("/models", None), ("/chat/completions", {"model": "calling", "messages": []})):
        status, told = raw(calling, path, body, Host="evil.example:80")
        assert (status, "calling" in told) == (403, False)
    assert raw(calling, "/models", Host="localhost")[0] == 200


def test_tools_that_may_not_be_called_are_not_offered(calling: ModelServer) -> None:
    without = ask(calling, tools=openai.omit).usage.prompt_tokens
    assert ask(calling, tool_choice="none").usage.prompt_tokens == without < ask(calling).usage.prompt_tokens


def test_a_completion_ends_with_the_context(shared_home: Home) -> None:
    folder = scripted_model(shared_home.models / "short", [f"w{n} " for n in range(60)])
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 40}))
    with ModelServer(folder, home=shared_home) as server:
        usage = ask(
            server, messages=[{"role": "user", "content": "Hi"}], tools=openai.omit, max_tokens=60
        ).usage
    assert usage.completion_tokens < 60
    assert usage.prompt_tokens + usage.completion_tokens <= 40


def test_a_prompt_beyond_the_context_is_refused(calling: ModelServer) -> None:
    long = [{"role": "user", "content": "123 " * 2048}]
    assert "the model reads at most 2047" in refusal(calling, messages=long)


def test_a_call_that_cannot_be_read_stays_text(shared_home: Home) -> None:
    with ModelServer(scripted_model(shared_home.models / "broken", BROKEN), home=shared_home) as server:
        (choice,) = ask(server).choices
        chunks = ask(server, stream=True)
    assert choice.message.content == "".join(BROKEN)
    assert choice.message.tool_calls is None
    assert choice.finish_reason == "stop"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "".join(BROKEN)
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_an_adapter_is_served_with_its_own_template_and_name(
    shared_home: Home, tiny: Path, tmp_path: Path
) -> None:
    adapter = tmp_path / "run-1"
    adapter.mkdir()
    model, _ = load_model(tiny)
    settings: dict[str, Any] = {"rank": 2, "scale": 10.0, "dropout": 0.0}
    linear_to_lora_layers(model, 2, settings)
    trainable: dict[str, Any] = dict(tree_flatten(model.trainable_parameters()))
    weights = {name: value + 0.5 for name, value in trainable.items() if "lora" in name}
    mx.save_safetensors(str(adapter / "adapters.safetensors"), weights)
    config = {"fine_tune_type": "lora", "num_layers": 2, "lora_parameters": settings}
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    template = "{% for m in messages %}{{ m.content }}{% endfor %}<|im_start|>assistant\n"
    (adapter / "chat_template.jinja").write_text(template)
    log = tmp_path / "logs" / "server.log"
    with ModelServer(tiny, adapter, home=shared_home, log=log) as server:
        answer = ask(server)
        pid = server.pid
        assert server.base_url.startswith("http://127.0.0.1:")
        server.check()
    assert (answer.model, server.model) == ("run-1", "run-1")
    prompt = Chat.load(tiny, adapter).prompt(
        [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Read a.py"}], []
    )
    assert answer.usage.prompt_tokens == len(prompt)
    assert answer.choices[0].message.content != "\n" * 16  # what the base alone writes
    assert gone_soon(pid)
    assert log.stat().st_mode & 0o777 == 0o600
    plain = ModelServer(tiny, home=shared_home).identity
    assert server.identity.adapter is not None
    assert (plain.base, plain.adapter) == (server.identity.base, None)
    assert plain.template != server.identity.template
    (adapter / "adapters.safetensors").unlink()
    with pytest.raises(ServerError, match=r"is not an adapter: it has no adapters\.safetensors"):
        ModelServer(tiny, adapter, home=shared_home)


def test_a_taken_port_is_refused_before_anything_is_loaded(shared_home: Home, tiny: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as foreign:
        port = foreign.getsockname()[1]
        server = ModelServer(tiny, home=shared_home, port=port)
        with pytest.raises(
            ServerError, match=f"Port {port} of 127.0.0.1 is taken by a program that does not"
        ):
            server.start()
        with pytest.raises(ServerError, match="is not running"):
            server.check()


def test_a_port_that_is_taken_at_the_last_moment_is_refused_too(
    shared_home: Home, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tracemill.train.server.occupant", dict[int, str]().get)
    with socket.create_server(("127.0.0.1", 0)) as foreign:
        port = foreign.getsockname()[1]
        with pytest.raises(
            ServerError, match=f"port {port} of 127.0.0.1 cannot be used: Address already in use"
        ):
            ModelServer(tiny, home=shared_home, port=port).start()


def test_who_has_the_port_is_told(calling: ModelServer) -> None:
    port = int(calling.base_url.split(":")[2].removesuffix("/v1"))
    who = occupant(port) or ""
    assert who.startswith("a model server of Tracemill that serves calling")
    if Path("/proc/net/tcp").exists():
        assert f"(process {calling.pid}, " in who

    class Other(BaseHTTPRequestHandler):
        listing = ""

        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            found = {"object": "list", "data": [{"id": "their-model"}, {"id": 7}, "x"]}
            self.wfile.write(json.dumps(found if self.path == self.listing else []).encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    for listing, told in [
        ("/v1/models", "an OpenAI-compatible server that serves their-model"),
        ("", "a web server (Base"),
    ]:
        Other.listing = listing
        with HTTPServer(("127.0.0.1", 0), Other) as other:
            thread = threading.Thread(target=other.serve_forever)
            thread.start()
            assert (occupant(other.server_port) or "").startswith(told)
            other.shutdown()
            thread.join()
        assert occupant(other.server_port) is None


def test_a_server_on_the_other_loopback_address_counts(shared_home: Home, tiny: Path) -> None:
    try:
        other = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("no IPv6 here")
    with other:
        assert occupant(other.getsockname()[1]) is not None


def test_a_foreign_server_is_never_taken_for_ours() -> None:
    class Foreign(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"token": "guess", "pid": 1}')

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Foreign) as foreign:
        thread = threading.Thread(target=foreign.serve_forever)
        thread.start()
        with pytest.raises(ServerError, match="Another program answers on port"):
            confirm_identity(foreign.server_port, "secret", 1, 5)
        foreign.shutdown()
        thread.join()
    with pytest.raises(ServerError, match="Nothing of ours answers"):
        confirm_identity(foreign.server_port, "secret", 1, 5)


def test_a_model_that_cannot_be_loaded_fails_with_the_reason(shared_home: Home, tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "odd")
    config = json.loads((folder / "config.json").read_text()) | {"model_type": "no-such-model"}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ServerError, match=r"did not start: .*no-such-model not supported"):
        ModelServer(folder, home=shared_home).start()


def test_an_adapter_is_served_on_its_own_base_with_its_own_template(
    shared_home: Home, tiny: Path, tmp_path: Path
) -> None:
    made = lora_adapter(tmp_path / "run-2", tiny)
    assert ModelServer(tiny, made.path, home=shared_home).identity.adapter == made.card["weights_sha256"]
    other = tiny_model(tmp_path / "other", seed=1)
    with pytest.raises(ServerError, match="was trained on another base"):
        ModelServer(other, made.path, home=shared_home)
    template = made.path / "chat_template.jinja"
    template.write_text(template.read_text() + " ")
    with pytest.raises(ServerError, match="is not the template that run-2 was trained with"):
        ModelServer(tiny, made.path, home=shared_home)
    (made.path / "adapters.safetensors").write_bytes(b"cut in half")
    with pytest.raises(ServerError, match="changed after training"):
        ModelServer(tiny, made.path, home=shared_home)
    (made.path / "tracemill.json").write_text("[1]")
    with pytest.raises(ServerError, match="cannot be read"):
        ModelServer(tiny, made.path, home=shared_home)
    with pytest.raises(ServerError, match="is not an adapter"):
        ModelServer(tiny, tmp_path / "missing", home=shared_home)


def test_a_server_that_is_not_ready_in_time_is_stopped(shared_home: Home, tiny: Path) -> None:
    with pytest.raises(ServerError, match=r"has not loaded its model within 0\.01 seconds"):
        ModelServer(tiny, home=shared_home, startup_timeout=0.01).start()


def test_a_death_is_noticed(shared_home: Home, tiny: Path) -> None:
    server = ModelServer(tiny, home=shared_home)
    with pytest.raises(ServerError, match="is not running"):
        server.check()
    with server:
        pid = server.pid
        os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + 20
        with pytest.raises(ServerError, match=r"was killed by SIGKILL: .* - INFO - "):
            while time.monotonic() < deadline:
                server.check()
                time.sleep(0.05)


def test_no_server_outlives_a_killed_parent(shared_home: Home, tiny: Path) -> None:
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom tracemill.tracer.home import Home\n"
        "from tracemill.train.server import ModelServer\n"
        "server = ModelServer(Path(sys.argv[1]), home=Home(Path(sys.argv[2])))\nserver.start()\n"
        "print(server.pid, flush=True)\ntime.sleep(600)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script, str(tiny), str(shared_home.root)], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    with parent.stdout as told:
        pid = int(told.readline())
        assert alive(pid)
        parent.kill()
        parent.wait()
    assert gone_soon(pid)

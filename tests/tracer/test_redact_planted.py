"""Secrets are planted wherever a secret can stand, in real agents and an import; nothing of them is on disk."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import json
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, Field, create_model
from pydantic_ai import Agent, BinaryContent, ImageUrl, ModelRetry, ToolReturn
from pydantic_ai.exceptions import ModelHTTPError
from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    UserPromptPart,
)
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, FunctionModel

from garden import Garden, assert_gone
from tracemill.tracer import Home, Recorder, Spool, events
from tracemill.tracer.importers.importing import import_sessions

Recording = Callable[[], Any]
DONE = [TextPart("done")]


@dataclasses.dataclass
class Finding:
    """What a tool may return."""

    note: str
    more: list[dict[str, str]]


class Verdict(BaseModel):
    """What an agent may give back."""

    verdict: str


def scripted(*turns: Any) -> FunctionModel:
    """A model that says the turns one after the other; one that is an exception it raises."""
    left = iter(turns)

    async def say(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        turn = next(left)
        if isinstance(turn, BaseException):
            raise turn
        return ModelResponse(parts=turn)

    return FunctionModel(say, model_name="scripted")


def run(agent: Agent[Any, Any], prompt: Any = "go", **options: Any) -> Any:
    return asyncio.run(agent.run(prompt, **options))


def what_an_agent_is_given(home: Home, garden: Garden) -> None:
    token, password = garden.token, garden.password
    address = garden.email("session id")
    metadata = {
        "task": token("metadata"),
        token("name of metadata"): {"deep": [token("deep in metadata")]},
        "api_key": password("metadata by its name"),
    }
    recorder = Recorder(home, session_id=lambda ctx: address, metadata=metadata, keep_files=True)
    agent = Agent(
        scripted(DONE),
        name=f"agent {token('agent name')}",
        system_prompt=f"You may use {token('system prompt')}.",
        instructions=f"The password is {password('instructions')}.",
        capabilities=[recorder],
    )
    choice: Any = Field(
        description=f"Not {token('schema description')}.",
        default=token("schema default"),
        json_schema_extra={"enum": [token("schema enum"), "other"]},
    )
    secret: Any = Field(default=password("schema default by its name"), examples=[password("schema example")])
    arguments: Any = create_model("Arguments", choice=(str, choice), password=(str, secret))

    def look(given: Any) -> str:
        return ""

    look.__doc__ = f"Look with {token('tool description')}."
    look.__annotations__["given"] = arguments
    agent.tool_plain(look)
    prompt = [
        f"Here: {token('first part of a prompt')}",
        BinaryContent(f"DB_PASSWORD={password('attached text')}".encode(), media_type="text/plain"),
        ImageUrl(f"https://files.host.io/x.png?X-Amz-Signature={token('signed address of an image')}"),
        f"and {garden.email('last part of a prompt')}",
    ]
    history = [
        ModelRequest(parts=[UserPromptPart(f"Earlier: {token('history')}")]),
        ModelResponse(parts=[TextPart(f"Answer: {token('earlier answer')}")]),
    ]
    run(agent, prompt, message_history=history)
    assert recorder.faults == 0


def what_a_model_writes(home: Home, garden: Garden) -> None:
    token, password = garden.token, garden.password
    inner = json.dumps(
        {"headers": {"x-api-key": password("JSON in JSON")}, "k": token("token in JSON in JSON")}
    )
    calls = [
        ToolCallPart("use", {"text": token("arguments as dict")}, "c1"),
        ToolCallPart("use", json.dumps({"text": token("arguments as text")}), "c2"),
        ToolCallPart("use", json.dumps({"text": json.dumps({"body": inner})}), "c3"),
        ToolCallPart(
            "use", json.dumps({"password": password("no such argument"), "a": token("invalid")}), "c4"
        ),
        ToolCallPart("use", f'{{"text": "{token("broken JSON")}', "c5"),
        ToolCallPart("absent", {"text": token("unknown tool"), token("name of an argument"): 1}, "c6"),
    ]
    answer = [
        ThinkingPart(f"I think {token('thinking')}."),
        TextPart(f"Now with {token('answer')}: export GITHUB_TOKEN={token('export in an answer')}"),
        *calls,
    ]
    recorder = Recorder(home)
    agent = Agent(scripted(answer, DONE), capabilities=[recorder], retries=3)

    @agent.tool_plain
    def use(text: str) -> str:
        return "used"

    run(agent)
    judge = Agent(
        scripted([ToolCallPart("final_result", {"verdict": token("output tool")}, "c7")]),
        output_type=Verdict,
        capabilities=[recorder],
    )
    run(judge)
    assert recorder.faults == 0


def contexts(garden: Garden) -> list[str]:
    """Texts as files, commands and servers give them."""
    token, password, make = garden.token, garden.password, garden.make
    pem = garden.put("PEM with escaped line ends", "private-key", make.of("private-key"))
    return [
        f"GET https://api.host.io/v1/items?access_token={token('query parameter')}&page=2",
        f"https://account.blob.core.net/x?sv=2024&sig={garden.put('signed URL', 'signature', make.base64(44))}",
        f"{{'Authorization': 'Bearer {token('bearer header')}', 'Accept': '*/*'}}",
        f"> X-Api-Key: {password('header')}\r\n> Cookie: session={password('cookie')}; a=b\r\n",
        f"# .env\nDB_PASSWORD={password('.env')}\nSMTP_PASS='{password('.env in quotes')}'\nDEBUG=1\n",
        f"database:\n  user: app\n  password: {password('YAML')}\n  token: {token('token in YAML')}\n",
        f"env:\n- name: DB_PASSWORD\n  value: {password('YAML of a cluster')}\n",
        f'[db]\npassword = "{password("TOML")}"\n[api]\nkey = "{token("token in TOML")}"\n',
        f"[smtp]\nhost=x\npassword={password('INI')}\n",
        f"$ export NPM_TOKEN={token('export')} && mysql -uroot -p{password('option of a command')} app",
        f"curl -u admin:{password('curl user')} -H 'X-Auth-Token: {token('curl header')}' https://host.io",
        f"psql --password {password('long option')} -h db",
        f"sqlalchemy.create_engine('postgresql+psycopg://app:{password('SQLAlchemy URL')}@db.host.io:5432/x')",
        f"redis://:{password('URL without a user')}@cache:6379/0",
        f"CREATE USER app IDENTIFIED BY '{password('SQL')}';",
        f"machine host.io login app password {password('netrc')}",
        f"<login><password>{password('XML')}</password></login>",
        f'<input name="password" value="{password("HTML")}">',
        f'settings = Settings(api_key=SecretStr("{password("Python")}"), retries=3)',
        f"os.environ.setdefault('API_TOKEN', '{token('Python environment')}')",
        json.dumps({"private_key": pem, "client_email": garden.email("service account")}),
        f'KEY = "{pem.splitlines()[0]}\\n{garden.put("one line of a key", "private-key", make.base64(64))}\\n',
        f'Author: A <{garden.email("git log")}>\n\n    File "/home/{garden.person("traceback")}/x.py", line 1',
        "blob: " + base64.b64encode(f"user=app\npassword={password('base64')}".encode()).decode(),
        f"\x1b[32m{token('terminal colours')}\x1b[0m\r\n",
        f"print('one\\n{token('escape before a token')}\\n')",
    ]


def what_tools_give(home: Home, garden: Garden, monkeypatch: pytest.MonkeyPatch) -> None:
    token, password = garden.token, garden.password
    late = garden.put("variable set by a tool", "variable", garden.make.password())
    results: dict[str, Any] = {
        "text": "\n".join(contexts(garden)),
        "dict": {
            "a": {"b": [token("dict"), {"client_secret": password("dict by its name")}]},
            token("key"): 1,
        },
        "dataclass": Finding(token("dataclass"), [{"password": password("field of a dataclass")}]),
        "bytes": f"key={token('bytes')}\n".encode(),
        "wrapped": ToolReturn(
            {"result": token("return value")},
            content=[f"See {token('content of a return')}"],
            metadata={"token": token("metadata of a return")},
        ),
    }
    turns = [[ToolCallPart("give", {"what": what}, f"r{n}")] for n, what in enumerate(results)]
    failures = [[ToolCallPart("fail", {"how": how}, f"f{n}")] for n, how in enumerate(("retry", "variable"))]
    recorder = Recorder(home)
    agent = Agent(scripted(*turns, *failures, DONE), capabilities=[recorder], retries=2)

    @agent.tool_plain
    def give(what: str) -> Any:
        return results[what]

    @agent.tool_plain
    def fail(how: str) -> str:
        if how == "retry":
            raise ModelRetry(f"Not with {token('retry')}; the password is {password('retry in prose')}.")
        monkeypatch.setenv("SET_LATE_SECRET", late)
        return f"it is {late}"

    run(agent)
    assert recorder.faults == 0


def what_goes_wrong(home: Home, garden: Garden) -> None:
    body = {"error": {"message": f"Incorrect API key provided: {garden.token('body of an error')}"}}
    recorder = Recorder(home)
    refused = Agent(scripted(ModelHTTPError(401, "scripted", body)), capabilities=[recorder])
    with pytest.raises(ModelHTTPError):
        run(refused)
    broken = Agent(scripted([ToolCallPart("fail", {}, "c1")]), capabilities=[recorder])

    @broken.tool_plain
    def fail() -> str:
        try:
            raise KeyError(garden.token("cause of an exception"))
        except KeyError as error:
            home_of = garden.person("path in an exception")
            raise OSError(f"/Users/{home_of}/.netrc: {garden.token('exception')}: {error}") from error

    with pytest.raises(OSError, match="netrc"):
        run(broken)
    assert recorder.faults == 0


def what_is_streamed(home: Home, garden: Garden) -> None:
    text = f"The key is {garden.token('streamed text')}, the URL https://a:{garden.password('streamed URL')}@b.io."
    arguments = json.dumps(
        {"text": f"password={garden.password('streamed arguments')} {garden.token('streamed')}"}
    )

    async def say(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[Any]:
        if len(messages) > 1:
            for letter in text:
                yield letter
            return
        yield {0: DeltaToolCall(name="use", json_args="", tool_call_id="c1")}
        for letter in arguments:
            yield {0: DeltaToolCall(json_args=letter)}

    recorder = Recorder(home)
    agent = Agent(FunctionModel(stream_function=say), capabilities=[recorder])

    @agent.tool_plain
    def use(text: str) -> str:
        return "used"

    async def stream() -> None:
        async with agent.run_stream("go") as found:
            assert [text async for text in found.stream_text(delta=True, debounce_by=None)]

    asyncio.run(stream())
    assert recorder.faults == 0


def what_others_write(home: Home, garden: Garden) -> None:
    """Events that no agent makes: opinions, outcomes, states of git, plans."""
    token, person, spool = garden.token, garden.person, Spool(home)
    spool.write(events.session("s1", agent="a", project=f"/home/{person('project')}/x", source="acp"))
    spool.write(events.feedback("s1", target="session", target_id="s1", score=1, note=token("feedback")))
    evidence: Any = {
        "command": f"x --token {token('command of a check')}",
        "exit_code": 1,
        "output": token("output"),
    }
    spool.write(events.outcome("s1", outcome="bad", source="check", note=token("outcome"), evidence=evidence))
    spool.write(
        events.git(
            "s1",
            moment="start",
            root=f"/Users/{person('root')}/x",
            commit="0" * 40,
            branch=f"fix/{token('branch')}",
            files=[f"conf/{token('changed file')}.txt"],
        )
    )
    entry = {"content": f"Use {token('plan')}", "priority": "high", "status": "pending"}
    spool.write(events.plan("s1", "r1", entries=[entry]))
    spool.close()
    assert spool.dropped == 0


def what_is_imported(home: Home, garden: Garden, folder: Path) -> None:
    token, password = garden.token, garden.password
    arguments = json.dumps(
        {"env": {"PASSWORD": password("imported arguments")}, "k": token("imported token")}
    )
    call = {"id": "c1", "type": "function", "function": {"name": "use", "arguments": arguments}}
    parameters = {"type": "object", "properties": {"k": {"default": token("imported schema")}}}
    record = {
        "user_email": garden.email("imported metadata"),
        "path": f"C:\\Users\\{garden.person('imported path')}\\x",
        "tools": [{"type": "function", "function": {"name": "use", "parameters": parameters}}],
        "messages": [
            {"role": "system", "content": f"API_KEY={token('imported system prompt')}"},
            {"role": "user", "content": [{"type": "text", "text": f"with {token('imported prompt')}"}]},
            {"role": "assistant", "content": token("imported answer"), "tool_calls": [call]},
            {
                "role": "tool",
                "tool_call_id": "c1",
                "content": f"https://a:{password('imported result')}@b.io/",
            },
            {"role": "assistant", "content": "done"},
        ],
    }
    path = folder / "sessions.json"
    path.write_text(json.dumps([record]))
    assert import_sessions("openai-chat", [path], home).sessions == 1


def test_nothing_planted_is_on_disk(
    home: Home,
    recorded: Recording,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    garden = Garden()
    own = tmp_path / "people" / garden.person("own home")
    (own / "project").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(own))
    monkeypatch.chdir(own / "project")
    monkeypatch.setenv("SOME_API_TOKEN", garden.put("variable", "variable", garden.make.password()))

    what_an_agent_is_given(home, garden)
    what_a_model_writes(home, garden)
    what_tools_give(home, garden, monkeypatch)
    what_goes_wrong(home, garden)
    what_is_streamed(home, garden)
    what_others_write(home, garden)
    what_is_imported(home, garden, tmp_path)
    run(
        Agent(scripted([TextPart(os.environ["SOME_API_TOKEN"])]), capabilities=[Recorder(home)]),
        f"cat {own}/.bashrc",
    )

    held = assert_gone(home, garden)
    print(len(garden.planted), "planted, of", len(garden.kinds), "kinds")
    assert len(garden.planted) >= 90
    assert len(garden.kinds) >= 50
    spools = b"".join(data for name, data in held.items() if name.endswith(".ndjson"))
    assert spools.count(b"[REDACTED:") + spools.count(b"/user") > len(garden.planted)
    # What was redacted still says where it was called with what.
    starts = [event["raw_arguments"] for event in recorded().of("tool_start")]
    assert {"what": "dict"} in starts
    projects = {event["project"] for event in recorded().of("session")} - {"", "/home/user/x"}
    assert projects == {str(tmp_path / "people" / "user" / "project")}


@pytest.mark.parametrize("every", [4, pytest.param(1, marks=pytest.mark.slow)], ids=["some", "all"])
@pytest.mark.parametrize("shape", ["openai-key", "jwt", "private-key", "slack-token"])
def test_a_secret_split_anywhere_between_two_chunks(
    home: Home, recorded: Recording, shape: str, every: int
) -> None:
    garden = Garden()
    secret = garden.put("stream", shape, garden.make.of(shape))
    text = f"It is {secret}, you see."
    places = range(len("It is "), len("It is ") + len(secret) + 1, every)

    async def go() -> None:
        for place in places:

            async def say(
                messages: list[ModelMessage], info: AgentInfo, at: int = place
            ) -> AsyncIterator[str]:
                yield text[:at]
                yield text[at:]

            agent = Agent(FunctionModel(stream_function=say), capabilities=[Recorder(home)])
            async with agent.run_stream("go") as found:
                assert await found.get_output() == text

    asyncio.run(go())
    assert_gone(home, garden)
    answers = [body["content"] for body in recorded().bodies.values() if body["role"] == "assistant"]
    assert len(answers) == 1
    assert len(recorded().of("response")) == len(places)
    assert answers[0].startswith("It is [REDACTED:")


def test_a_search_finds_what_is_there(home: Home) -> None:
    """The search itself: what is planted and not redacted is found, in whatever form it was written."""
    for hide in (
        str,
        lambda secret: json.dumps({"a": json.dumps({"b": f'"{secret}'})}),
        lambda secret: base64.urlsafe_b64encode(f"x{secret}".encode()).decode(),
        lambda secret: secret.encode("utf-16-le").decode("latin-1"),
    ):
        garden = Garden()
        secret = garden.token("in the open")
        home.ensure(home.spool)
        (home.spool / "a.ndjson").write_text(hide(secret), encoding="latin-1")
        with pytest.raises(AssertionError):
            assert_gone(home, garden)

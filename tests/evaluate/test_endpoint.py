"""A model behind a URL or of a provider: exact prompts, calls in either form, failures, resuming. Real HTTP."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any

import pytest

from chat_server import PAGE, Answer, Script, chat_server, failed, said
from tiny import CALL, scripted_model
from tracemill.curate.chat.codec import Call, encode
from tracemill.evaluate.costs import Usage, price, spent
from tracemill.evaluate.endpoint import Endpoint
from tracemill.evaluate.errors import EvaluationError
from tracemill.evaluate.evaluation import Suite, score_model
from tracemill.evaluate.provider import Provider
from tracemill.evaluate.remote import Remote
from tracemill.evaluate.remote_evaluation import RemoteResults, kept_answers, score_remote
from tracemill.evaluate.results import folder, read_results
from tracemill.evaluate.sampling import GREEDY, Sampling
from tracemill.evaluate.suites import load_suite
from tracemill.tracer.home import Home
from tracemill.warehouse.read import query

READ = '{"path": "a.py"}'


def suite(tmp_path: Path, count: int = 1, sampling: Sampling = GREEDY, **more: Any) -> Suite:
    """Items `0`, `1`, ...: each wants a.py to be read, and asks so with its number."""
    tool = {
        "name": "read_file",
        "description": "Read.",
        "parameters": {"type": "object", "properties": {"path": {"type": "string"}}},
    }
    lines = [
        {
            "id": str(n),
            "prompt": f"Read a.py {n}",
            "tools": [tool],
            "calls": [{"name": "read_file", "arguments": {"path": "a.py"}}],
            **more,
        }
        for n in range(count)
    ]
    file = tmp_path / "mine.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return Suite(None, max_tokens=64, asked=load_suite(str(file), "full"), sampling=sampling)


def number(body: dict[str, Any]) -> int:
    return int(body["messages"][-1]["content"].rpartition(" ")[2])


def failures(found: RemoteResults) -> list[str]:
    return [one.score.failure for one in found.results]


def test_what_is_sent_is_the_item_and_nothing_else(home: Home, tmp_path: Path) -> None:
    talk = [
        {"role": "system", "content": "You code."},
        {"role": "user", "content": "Read b.py"},
        {"role": "assistant", "content": encode("I look.", [Call("read_file", {"path": "ü.py"})])},
        {"role": "tool", "content": "x = 1"},
        {"role": "user", "content": "Now a.py 0"},
    ]
    asked = suite(tmp_path, prompt=None, messages=talk)
    with chat_server(lambda body: said(None, [("read_file", READ)])) as server:
        found = score_remote(home, asked, Endpoint(server.url, "m"))
    call = {"id": "call_0", "type": "function"}
    call["function"] = {"name": "read_file", "arguments": '{"path": "ü.py"}'}  # type: ignore[assignment]
    assert server.requests == [
        {
            "model": "m",
            "max_tokens": 64,
            "temperature": 0.0,
            "messages": [
                {"role": "system", "content": "You code."},
                {"role": "user", "content": "Read b.py"},
                {"role": "assistant", "content": "I look.", "tool_calls": [call]},
                {"role": "tool", "content": "x = 1", "tool_call_id": "call_0"},
                {"role": "user", "content": "Now a.py 0"},
            ],
            "tools": [{"type": "function", "function": asked.items()[0].tools[0]}],
        }
    ]
    assert failures(found) == [""]


def test_calls_come_structured_or_as_text(home: Home, tmp_path: Path) -> None:
    cases = [
        (said(None, [("read_file", READ)]), ""),
        (said("I look.", [("read_file", READ)]), ""),
        (said(encode("", [Call("read_file", {"path": "a.py"})])), ""),
        (said(None, [("read_file", '{"path": "a.p')]), "parse"),
        (said(None, [("read_file", '["a.py"]')]), "parse"),
        (said(None, [("read_file", '{"path": NaN}')]), "parse"),
        (said(None, [("read_file", "")]), "missing-argument"),
        (said(None, [("read_file", READ), ("read_file", READ)]), "extra-call"),
        (said('<tool_call>\n{"name": "read_file"', []), "parse"),
        (said("It is there."), "no-call"),
        (said(None), "no-call"),
    ]
    with chat_server(lambda body: cases[number(body)][0]) as server:
        found = score_remote(home, suite(tmp_path, len(cases)), Endpoint(server.url, "m"))
    assert failures(found) == [failure for _, failure in cases]


def test_what_was_answered_is_not_asked_again(home: Home, tmp_path: Path) -> None:
    asked = suite(tmp_path, 4)

    def breaking(body: dict[str, Any]) -> Answer:
        return said(None, [("read_file", READ)]) if number(body) < 2 else failed(404)

    working: list[bool] = []

    def script(body: dict[str, Any]) -> Answer:
        return said(None, [("read_file", READ)]) if working else breaking(body)

    with chat_server(script) as server:
        remote = Endpoint(server.url, "m")
        with pytest.raises(EvaluationError, match="does not know the model 'm'"):
            score_remote(home, asked, remote, concurrency=1)
        assert not list(folder(home).glob("*.jsonl"))
        working.append(True)
        found = score_remote(home, asked, remote)
        assert sorted(map(number, server.requests[3:])) == [2, 3]
        (file,) = folder(home).glob("*.jsonl")
        first = file.read_bytes()
    again = score_remote(home, asked, remote)  # the server is gone, and is not needed
    assert again == found and file.read_bytes() == first
    assert failures(found) == [""] * 4
    assert (found.spent.requests, found.spent.input_tokens, found.spent.output_tokens) == (4, 400, 40)
    assert found.spent.dollars is None
    stored = read_results(file)
    assert (stored.header.endpoint, stored.header.name) == (remote.url, "m")
    assert stored.items[0].usage == Usage("m", 100, 10)


def test_a_few_items_without_an_answer_are_counted_apart_and_many_give_no_score(
    home: Home, tmp_path: Path
) -> None:
    def refusing(*numbers: int) -> Script:
        return lambda body: failed(400, "too long") if number(body) in numbers else said("No.")

    asked = suite(tmp_path, 20)
    with (
        chat_server(refusing(3, 4)) as server,
        pytest.raises(
            EvaluationError, match=r"^2 of 20 items got no answer from m at .*\(HTTP 400: too long\)"
        ),
    ):
        score_remote(home, asked, Endpoint(server.url, "m"))
    with chat_server(refusing(3)) as server:
        found = score_remote(home, asked, Endpoint(server.url, "m"))
    assert found.unanswered == {"3": "HTTP 400: too long"}
    assert failures(found) == ["no-call"] * 19
    stored = read_results(folder(home) / f"{found.evaluation}.jsonl")
    assert stored.header.unanswered == found.unanswered
    assert "3" not in {item.id for item in stored.items}


def test_as_many_requests_are_under_way_as_were_asked_for(home: Home, tmp_path: Path) -> None:
    under_way, most, lock = 0, 0, Lock()

    def script(body: dict[str, Any]) -> Answer:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        time.sleep(0.05)
        with lock:
            under_way -= 1
        return said("No.")

    seen: list[tuple[str, int, int]] = []
    with chat_server(script) as server:
        remote = Endpoint(server.url, "m")
        score_remote(home, suite(tmp_path, 12), remote, concurrency=3, progress=lambda *one: seen.append(one))
    assert 2 <= most <= 3
    assert seen == [("asking m", done, 12) for done in range(1, 13)]


def test_a_limit_on_requests_is_waited_for_as_long_as_the_server_asks(home: Home, tmp_path: Path) -> None:
    seen: list[float] = []

    def script(body: dict[str, Any]) -> Answer:
        seen.append(time.monotonic())
        return failed(429, **{"Retry-After": "1.2"}) if len(seen) == 1 else said("No.")

    with chat_server(script) as server:
        found = score_remote(home, suite(tmp_path), Endpoint(server.url, "m"))
    assert failures(found) == ["no-call"] and len(seen) == 2
    assert seen[1] - seen[0] >= 1.2


def slowly(body: dict[str, Any]) -> Answer:
    time.sleep(1.5)
    return said("No.")


def trickling() -> Iterator[bytes]:
    for _ in range(30):
        time.sleep(0.05)
        yield b" "


@pytest.mark.parametrize(
    ("script", "models", "told"),
    [
        (lambda body: (200, {}, trickling()), ("m",), r"no answer within 1 seconds, 1 times"),
        (slowly, ("m",), r"^1 of 1 items got no answer .* \(no answer within 1 seconds, 1 times\)"),
        (
            lambda body: failed(429, **{"Retry-After": "600"}),
            ("m",),
            r"too many requests \(HTTP 429\); wait 600 sec",
        ),
        (lambda body: failed(503, "busy"), ("m",), r"\(HTTP 503: busy\)"),
        (lambda body: PAGE, ("m",), r"answers with a web page, .* often ends in /v1\.$"),
        (lambda body: said("No."), PAGE, r"answers with a web page"),
        (
            lambda body: failed(401),
            failed(404),
            r"refuses the key, or wants one \(HTTP 401\): .*--key-variable",
        ),
        (lambda body: said("No."), failed(403), r"refuses the key, or wants one \(HTTP 403\)"),
        (
            lambda body: failed(404),
            ("a", "b"),
            r"does not know the model 'm' \(HTTP 404\); it serves a, b\.$",
        ),
        (lambda body: said("No.", model="other"), ("m",), r"answers as 'other' where 'm' was asked"),
        (lambda body: (200, {}, b'{"choices": []}'), ("m",), r"what came back is no chat completion"),
        (
            lambda body: said(None, finish="length"),
            ("m",),
            r"\(cut off before it said anything; raise --max-tokens\)",
        ),
        (lambda body: (200, {}, b"\xff\x00"), ("m",), r"what came back is no chat completion"),
    ],
)
def test_what_goes_wrong_is_one_sentence(
    home: Home,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    script: Script,
    models: Any,
    told: str,
) -> None:
    monkeypatch.setattr("tracemill.evaluate.endpoint.TRIES", 1)
    with chat_server(script, models) as server, pytest.raises(EvaluationError, match=told) as error:
        score_remote(home, suite(tmp_path), Endpoint(server.url, "m"), seconds=1)
    assert "\n" not in str(error.value)
    assert not list(folder(home).glob("*.jsonl"))


def test_a_server_that_is_down_is_one_sentence(home: Home, tmp_path: Path) -> None:
    with chat_server(lambda body: said("No.")) as server:
        pass
    with pytest.raises(
        EvaluationError, match=r"^Nothing answers at http://127\.0\.0\.1:\d+/v1 \(.+\); start"
    ):
        score_remote(home, suite(tmp_path), Endpoint(server.url, "m"))


@pytest.mark.parametrize(
    ("asked", "answers", "same"),
    [
        ("gpt-4o", "gpt-4o-2024-08-06", True),
        ("gpt-4", "gpt-4o", False),
        ("gpt-4o", "gpt-4o-mini", False),
        ("gpt-4", "gpt-4-0613", True),
        ("claude-sonnet-4", "claude-sonnet-4-5", False),
        ("claude-sonnet-4", "claude-sonnet-4-5-20250929", False),
        ("claude-latest", "claude-20250101", True),
        ("qwen", "/models/Qwen.gguf", True),
        ("org/qwen", "qwen:latest", False),
    ],
)
def test_which_model_answered_is_held_against_the_one_asked(
    home: Home, tmp_path: Path, asked: str, answers: str, same: bool
) -> None:
    with chat_server(lambda body: said("No.", model=answers)) as server:
        remote = Endpoint(server.url, asked)
        if same:
            assert failures(score_remote(home, suite(tmp_path), remote)) == ["no-call"]
        else:
            with pytest.raises(EvaluationError, match="answers as"):
                score_remote(home, suite(tmp_path), remote)


def test_samples_have_seeds_of_their_own_that_stay_the_same(home: Home, tmp_path: Path) -> None:
    def asked(seed: int) -> dict[int, list[int]]:
        with chat_server(lambda body: said("No.")) as server:
            found = score_remote(home, suite(tmp_path, 2, Sampling(3, 0.7, seed)), Endpoint(server.url, "m"))
        assert [one.item.id for one in found.results] == ["0~1", "0~2", "0~3", "1~1", "1~2", "1~3"]
        assert {body["temperature"] for body in server.requests} == {0.7}
        return {n: sorted(body["seed"] for body in server.requests if number(body) == n) for n in range(2)}

    first = asked(0)
    with chat_server(lambda body: said("Yes.")) as server:  # of more samples only the further ones are asked
        three, five, two = (Sampling(count, 0.7) for count in (3, 5, 2))
        for sampling, requests in ((three, 6), (five, 10), (two, 10)):
            found = score_remote(home, suite(tmp_path, 2, sampling), Endpoint(server.url, "m"))
            assert len(server.requests) == requests
            assert found.spent.requests == len(found.results) == 2 * sampling.samples
        assert len({body["seed"] for body in server.requests}) == 10
    assert len({*first[0], *first[1]}) == 6
    assert asked(0) == first != asked(1)


def test_prices_are_those_of_the_list_and_none_is_not_nothing() -> None:
    tokens = Usage("gpt-4o", 1000, 100)
    listed = price("https://api.openai.com/v1", tokens)
    assert listed.dollars is not None and 0.001 < listed.dollars < 0.01
    cached = price("https://api.openai.com/v1", tokens, 1000)
    assert cached.dollars is not None and cached.dollars < listed.dollars
    assert price("http://127.0.0.1:8080/v1", tokens).dollars is None
    assert price("https://api.openai.com/v1", Usage("nobody", 1, 1)).dollars is None
    assert price("https://api.openai.com/v1", Usage("gpt-4o", None, 1)).dollars is None
    assert spent([listed, listed]).dollars == pytest.approx(2 * listed.dollars)
    assert spent([listed, tokens]).dollars is None


def test_answers_that_were_cut_off_are_scored_and_counted(home: Home, tmp_path: Path) -> None:
    answers = [
        said("I look.", finish="length"),
        said(None, [("read_file", READ)], finish="length"),
        said("No."),
    ]
    with chat_server(lambda body: answers[number(body)]) as server:
        remote = Endpoint(server.url, "m")
        found = score_remote(home, suite(tmp_path, 3), remote)
    assert failures(found) == ["no-call", "", "no-call"] and found.spent.cut == 2
    assert score_remote(home, suite(tmp_path, 3), remote).spent.cut == 2  # it stands on disk


def test_answers_are_asked_anew_where_one_wants_to_and_kept_until_then(home: Home, tmp_path: Path) -> None:
    asked, words = suite(tmp_path, 3), ["No."]

    def script(body: dict[str, Any]) -> Answer:
        return said(words[0]) if words else failed(404)

    with chat_server(script) as server:
        remote = Endpoint(server.url, "m")
        score_remote(home, asked, remote)
        assert kept_answers(home, asked, remote) == [datetime.now(UTC).date().isoformat()] * 3
        words.clear()
        with pytest.raises(EvaluationError, match="does not know"):
            score_remote(home, asked, remote, fresh=True)
        assert {one.text for one in score_remote(home, asked, remote).results} == {"No."}
        words.append("Yes.")
        assert {one.text for one in score_remote(home, asked, remote, fresh=True).results} == {"Yes."}
    assert {one.text for one in score_remote(home, asked, remote).results} == {"Yes."}


def test_a_full_disk_is_one_sentence(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tracemill.evaluate.results.os.write", lambda file, data: len(data) - 1)
    with (
        chat_server(lambda body: said("No.")) as server,
        pytest.raises(EvaluationError, match=r"^Cannot write to .*: No space left on device; make room"),
    ):
        score_remote(home, suite(tmp_path, 3), Endpoint(server.url, "m"))


def test_what_the_warehouse_does_not_know_it_is_told(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    asked = suite(tmp_path)
    with chat_server(lambda body: said("No.")) as server, monkeypatch.context() as patch:
        patch.setattr("tracemill.evaluate.remote_evaluation.record", killed)
        with pytest.raises(KeyboardInterrupt):
            score_remote(home, asked, Endpoint(server.url, "m"))
    found = score_remote(home, asked, Endpoint(server.url, "m"))
    assert query(home, "SELECT evaluation_id FROM evaluations").rows() == [(found.evaluation,)]


@pytest.fixture
def openai_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Remote]:
    """The provider `openai-chat`, at another address."""

    def at(url: str) -> Remote:
        monkeypatch.setenv("OPENAI_BASE_URL", url)
        monkeypatch.setenv("OPENAI_API_KEY", "k-1")
        return Provider("openai-chat:gpt-4o")

    return at


def test_a_provider_is_asked_through_pydantic_ai(
    home: Home, tmp_path: Path, openai_at: Callable[[str], Remote]
) -> None:
    talk = [
        {"role": "system", "content": "You code."},
        {"role": "user", "content": "Read b.py"},
        {"role": "assistant", "content": encode("", [Call("read_file", {"path": "b.py"})])},
        {"role": "tool", "content": "x = 1"},
        {"role": "user", "content": "Now a.py 0"},
    ]
    asked = suite(tmp_path, prompt=None, messages=talk)
    with chat_server(lambda body: said("I look.", [("read_file", READ)], "gpt-4o")) as server:
        found = score_remote(home, asked, openai_at(server.url))
    (sent,) = server.requests
    assert [one["role"] for one in sent["messages"]] == ["system", "user", "assistant", "tool", "user"]
    assert sent["messages"][2]["tool_calls"][0]["function"] == {
        "name": "read_file",
        "arguments": '{"path":"b.py"}',
    }
    assert sent["messages"][3]["tool_call_id"] == sent["messages"][2]["tool_calls"][0]["id"] == "call_0"
    assert sent["tools"][0]["function"]["parameters"] == asked.items()[0].tools[0]["parameters"]
    assert server.keys == ["Bearer k-1"]
    with chat_server(lambda body: said("No.", model="gpt-4o")) as other:  # the same name, another server
        assert failures(score_remote(home, asked, openai_at(other.url))) == ["no-call"]
    assert failures(found) == [""] and found.results[0].text.startswith("I look.\n<tool_call>")
    assert found.spent.dollars is not None and found.spent.dollars > 0


def test_names_that_providers_refuse_are_others_there_and_the_same_here(
    home: Home, tmp_path: Path, openai_at: Callable[[str], Remote]
) -> None:
    def tool(name: str) -> Any:
        return {"name": name, "description": "", "parameters": {"type": "object", "properties": {}}}

    tools = [tool("math.gcd"), tool("math_gcd"), tool("x" * 70), tool("ü")]
    talk = [
        {"role": "user", "content": "Go"},
        {"role": "assistant", "content": encode("", [Call("math.gcd", {})])},
        {"role": "tool", "content": "1"},
        {"role": "user", "content": "Again 0"},
    ]
    calls = [{"name": "math.gcd", "arguments": {}}, {"name": "math_gcd", "arguments": {}}]
    asked = suite(tmp_path, prompt=None, messages=talk, tools=tools, calls=calls)
    answer = said(None, [("math_gcd_2", "{}"), ("math_gcd", "{}")], "gpt-4o")
    with chat_server(lambda body: answer) as server:
        found = score_remote(home, asked, openai_at(server.url))
    sent = server.requests[0]
    names = [one["function"]["name"] for one in sent["tools"]]
    assert names == ["math_gcd_2", "math_gcd", "x" * 64, "_"]
    assert sent["messages"][1]["tool_calls"][0]["function"]["name"] == "math_gcd_2"
    assert failures(found) == [""]


@pytest.mark.parametrize(
    ("name", "answer", "told"),
    [
        (
            "openai-chat:gpt-4o",
            failed(401),
            r"openai-chat:gpt-4o cannot be asked: .*401.*; mend the name or the key\.$",
        ),
        ("openai-chat:gpt-4o", failed(400, "too long"), r"^1 of 1 items got no answer .*too long"),
        (
            "openai-chat:gpt-4o",
            said(None, model="gpt-4o", finish="length"),
            r"^1 of 1 items got no answer .*\(cut off before it said anything; raise --max-tokens\)",
        ),
        ("nobody:x", None, r"nobody:x cannot be asked: Unknown model"),
        ("openai-chat:no-key", None, r"cannot be asked: Set the `OPENAI_API_KEY` environment variable"),
        ("anthropic:x", None, r"cannot be asked: Please install the `anthropic` package"),
    ],
)
def test_what_goes_wrong_with_a_provider_is_one_sentence(
    home: Home,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    openai_at: Callable[[str], Remote],
    name: str,
    answer: Answer | None,
    told: str,
) -> None:
    with chat_server(lambda body: answer or said("No.")) as server:
        openai_at(server.url)
        if name.endswith("no-key"):
            monkeypatch.delenv("OPENAI_API_KEY")
            monkeypatch.delenv("OPENAI_BASE_URL")
        with pytest.raises(EvaluationError, match=told) as error:
            score_remote(home, suite(tmp_path), Provider(name))
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_a_server_of_our_own_writes_what_the_model_writes_in_process(home: Home, tmp_path: Path) -> None:
    from tracemill.curate.chat.template import Chat
    from tracemill.train.base import resolve
    from tracemill.train.server import ModelServer

    base = resolve(str(scripted_model(tmp_path / "tiny", CALL)), home)
    asked = suite(tmp_path, 3)
    here = score_model(asked, base)
    with ModelServer(base, home=home) as server:
        found = score_remote(home, asked, Endpoint(server.base_url, server.model))
    assert [one.score for one in found.results] == [one.score for one in here]
    assert failures(found) == [""] * 3
    prompts = [Chat.load(base.path).prompt(item.messages, item.tools) for item in asked.items()]
    assert found.spent.input_tokens == sum(map(len, prompts))

"""What a connection between an editor and an agent may be like, and what prompts may hold."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acp_talk import Talk


@pytest.fixture
def talk() -> Talk:
    made = Talk()
    made.open()
    return made


class TestPrompts:
    def test_images_and_files_are_kept_by_hash_and_size(self, talk: Talk) -> None:
        image, text = b"\x89PNG" + bytes(100), "x = 1\n" * 1000
        blocks = [
            {"type": "text", "text": "Look:"},
            {"type": "image", "mimeType": "image/png", "data": base64.b64encode(image).decode()},
            {"type": "audio", "mimeType": "audio/wav", "data": "not base64!"},
            {"type": "resource_link", "uri": "file:///project/b.py", "name": "b.py"},
            {
                "type": "resource",
                "resource": {"uri": "file:///project/a.py", "mimeType": "text/x-python", "text": text},
            },
            {
                "type": "resource",
                "resource": {"uri": "file:///project/a.bin", "blob": base64.b64encode(image).decode()},
            },
            {"type": "hologram"},
        ]
        talk.client("session/prompt", {"sessionId": "s", "prompt": blocks})
        (message,) = talk.bodies().values()
        assert message["content"].split("\n") == [
            "Look:",
            "[image/png]",
            "[audio/wav]",
            "[file:///project/b.py]",
            "[file:///project/a.py]",
            "[file:///project/a.bin]",
            "[hologram]",
        ]
        png, wav, source, blob = message["attachments"]
        digest = hashlib.sha256(image).hexdigest()
        assert png == {"media_type": "image/png", "sha256": digest, "bytes": 104}
        assert wav["media_type"] == "audio/wav"
        assert source == {
            "media_type": "text/x-python",
            "sha256": hashlib.sha256(text.encode()).hexdigest(),
            "bytes": 6000,
            "url": "file:///project/a.py",
        }
        assert (blob["media_type"], blob["sha256"]) == ("application/octet-stream", digest)
        assert "x = 1" not in json.dumps(talk.events)

    def test_the_agent_answers_with_an_image(self, talk: Talk) -> None:
        name = talk.prompt()
        talk.update("agent_message_chunk", content={"type": "image", "mimeType": "image/png", "data": "AAAA"})
        talk.agent_answers(name, {"stopReason": "end_turn"})
        (answer,) = talk.answers()
        assert answer is not None
        assert (answer["content"], answer["attachments"][0]["bytes"]) == ("[image/png]", 3)

    def test_two_prompts_at_once_are_worked_at_one_after_the_other(self, talk: Talk) -> None:
        first, second = talk.prompt("one"), talk.prompt("two")
        talk.chunk("to one")
        talk.agent_answers(first, {"stopReason": "end_turn"})
        talk.chunk("to two")
        talk.agent_answers(second, {"stopReason": "end_turn"})
        assert [answer and answer["content"] for answer in talk.answers()] == ["to one", "to two"]
        one, two = talk.of("request")
        assert [event["request_id"] for event in talk.of("response")] == [
            one["request_id"],
            two["request_id"],
        ]


class TestConnection:
    def test_sessions_side_by_side(self, talk: Talk) -> None:
        talk.open("t", cwd="/elsewhere")
        one, two = talk.prompt("for s"), talk.prompt("for t", session="t")
        talk.chunk("from t", session="t")
        talk.chunk("from s")
        talk.update("tool_call", session="t", toolCallId="c", status="completed", title="t")
        talk.update("tool_call", toolCallId="c", status="failed", title="s")
        talk.agent_answers(two, {"stopReason": "refusal"})
        talk.agent_answers(one, {"stopReason": "end_turn"})
        s, t = talk.of("session")
        assert (s["project"], t["project"]) == ("/project", "/elsewhere")
        told = {(e["session_id"], e["status"]) for e in talk.of("run_end")}
        assert told == {(s["session_id"], "ok"), (t["session_id"], "error")}
        assert [answer and answer["content"] for answer in talk.answers()] == ["from t", "from s"]
        assert {(call["session_id"], call["title"]) for call in talk.calls()} == {
            (s["session_id"], "s"),
            (t["session_id"], "t"),
        }

    def test_both_sides_use_the_same_ids(self, talk: Talk) -> None:
        talk.prompt(id=5)
        call = {"toolCallId": "c", "title": "Run"}
        options = [{"optionId": "y", "kind": "allow_once", "name": "Yes"}]
        talk.agent(
            "session/request_permission", {"sessionId": "s", "toolCall": call, "options": options}, id=5
        )
        (given,) = talk.client_answers(5, {"outcome": {"outcome": "selected", "optionId": "y"}})
        assert given["score"] == 1
        assert talk.of("run_end") == []
        talk.agent_answers(5, {"stopReason": "end_turn"})
        assert talk.one("run_end")["status"] == "ok"

    def test_an_id_is_free_again_once_it_is_answered(self, talk: Talk) -> None:
        for _ in range(3):
            talk.prompt(id=1)
            talk.agent_answers(1, {"stopReason": "end_turn"})
            assert talk.agent_answers(1, {"stopReason": "end_turn"}) == []
        assert len(talk.of("run_end")) == 3

    def test_the_number_1_and_the_text_1_are_two_ids(self, talk: Talk) -> None:
        talk.prompt("number", id=1)
        talk.prompt("text", id="1")
        talk.agent_answers("1", {"stopReason": "refusal"})
        talk.agent_answers(1, {"stopReason": "end_turn"})
        first, second = talk.of("run_start")
        assert [(e["run_id"], e["stop_reason"]) for e in talk.of("run_end")] == [
            (second["run_id"], "refusal"),
            (first["run_id"], "end_turn"),
        ]

    def test_what_a_loaded_session_repeats_is_not_done_again(self, talk: Talk) -> None:
        name = talk.client("session/load", {"sessionId": "old", "cwd": "/old", "mcpServers": []})
        talk.chunk("Hello", session="old", kind="user_message_chunk")
        talk.chunk("Hello to you", session="old")
        talk.update("tool_call", session="old", toolCallId="c", title="Read", status="completed")
        talk.agent_answers(name, {})
        assert talk.events == []
        prompt = talk.prompt("Go on", session="old")
        talk.chunk("Gladly", session="old")
        talk.agent_answers(prompt, {"stopReason": "end_turn"})
        assert talk.one("session")["project"] == "/old"
        assert [answer and answer["content"] for answer in talk.answers()] == ["Gladly"]

    def test_a_session_that_cannot_be_loaded_is_not_waited_for(self, talk: Talk) -> None:
        name = talk.client("session/load", {"sessionId": "s", "cwd": "/old", "mcpServers": []})
        talk.say("agent", {"id": name, "error": {"code": -32602, "message": "unknown"}})
        prompt = talk.prompt()
        talk.chunk("Here")
        talk.agent_answers(prompt, {"stopReason": "end_turn"})
        assert [answer and answer["content"] for answer in talk.answers()] == ["Here"]
        assert talk.one("session")["project"] == "/project"

    @pytest.mark.parametrize("method", ["session/resume", "session/fork"])
    def test_other_ways_to_a_session(self, talk: Talk, method: str) -> None:
        name = talk.client(method, {"sessionId": "s", "cwd": "/there", "mcpServers": []})
        talk.agent_answers(name, {"sessionId": "new"} if method == "session/fork" else {})
        talk.prompt(session="new" if method == "session/fork" else "s")
        assert talk.one("session")["project"] == "/there"

    def test_a_session_nobody_opened_here(self) -> None:
        talk = Talk()
        talk.agent_answers(talk.prompt(session="unheard of"), {"stopReason": "end_turn"})
        assert talk.one("session")["metadata"]["acp_session"] == "unheard of"
        assert talk.one("session")["project"] == "/somewhere"

    def test_the_model_where_a_session_names_it(self) -> None:
        talk = Talk()
        option = {
            "id": "model",
            "name": "Model",
            "category": "model",
            "type": "select",
            "currentValue": "big",
        }
        opened = talk.client("session/new", {"cwd": "/project", "mcpServers": []})
        talk.agent_answers(opened, {"sessionId": "s", "configOptions": [{"id": "mode"}, option]})
        talk.prompt()
        talk.update("config_option_update", configOptions=[{**option, "currentValue": "small"}])
        talk.prompt()
        name = talk.client("session/set_model", {"sessionId": "s", "modelId": "tiny"})
        talk.agent_answers(name, {})
        talk.prompt()
        assert [run["model"] for run in talk.of("run_start")] == ["big", "small", "tiny"]

    def test_a_plan_is_kept_each_time_it_is_told(self, talk: Talk) -> None:
        talk.prompt()
        entries = [
            {"content": "Read", "priority": "high", "status": "pending", "_meta": {"resume_token": "t"}}
        ]
        talk.update("plan", entries=entries)
        talk.update(
            "plan_update", plan={"type": "items", "planId": "p", "entries": [*entries, {"content": "Write"}]}
        )
        talk.update("plan_update", plan={"type": "markdown", "planId": "p", "content": "# Plan"})
        first, second, third = talk.of("plan")
        assert first["run_id"] == talk.one("run_start")["run_id"]
        assert first["entries"] == [{"content": "Read", "priority": "high", "status": "pending"}]
        assert second["entries"][1] == {"content": "Write", "priority": None, "status": None}
        assert third["entries"] == [{"content": "# Plan"}]

    def test_updates_of_an_unknown_kind_are_counted(self, talk: Talk) -> None:
        talk.prompt()
        assert talk.update("mood_update", mood="good") == []
        assert talk.update("mood_update", mood="better") == []
        assert dict(talk.connection.unknown) == {"mood_update": 2}

    def test_what_was_recorded_is_counted(self, talk: Talk) -> None:
        talk.prompt()
        talk.permission({"toolCallId": "c"}, "yes")
        talk.permission({"toolCallId": "c"}, None)
        assert dict(talk.connection.counts) == {"sessions": 1, "prompts": 1, "tool calls": 1, "decisions": 1}

    def test_a_token_to_resume_is_nowhere(self, talk: Talk) -> None:
        secret = {"_meta": {"resume_token": "resume-me-5d41402abc"}}
        resumed = talk.client(
            "session/resume", {"sessionId": "s", "cwd": "/project", "resumeToken": "resume-me-5d41402abc"}
        )
        talk.agent_answers(resumed, secret)
        name = talk.client(
            "session/prompt",
            {"sessionId": "s", "prompt": [{"type": "text", "text": "Hi", **secret}], **secret},
        )
        talk.update("agent_message_chunk", content={"type": "text", "text": "Hi", **secret}, **secret)
        talk.update(
            "tool_call",
            toolCallId="c",
            rawInput={"a": [secret]},
            rawOutput=secret,
            status="completed",
            **secret,
        )
        talk.permission({"toolCallId": "d", **secret}, "yes")
        talk.agent_answers(name, {"stopReason": "end_turn", **secret})
        assert "resume-me" not in json.dumps(talk.events)
        assert len(talk.calls()) == 2


KEYS = st.sampled_from(
    [
        *(
            "sessionId",
            "update",
            "sessionUpdate",
            "content",
            "type",
            "text",
            "toolCallId",
            "toolCall",
            "status",
        ),
        *(
            "options",
            "outcome",
            "optionId",
            "kind",
            "rawInput",
            "prompt",
            "plan",
            "entries",
            "resource",
            "_meta",
        ),
        *("agentInfo", "name", "configOptions", "stopReason", "code", "message", "cwd", "data", "terminalId"),
    ]
)
ANYTHING: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
METHODS = st.sampled_from(
    [
        *("initialize", "session/new", "session/load", "session/prompt", "session/update", "session/cancel"),
        *("session/request_permission", "terminal/output", "session/set_model", "$/cancel_request", "x/y"),
    ]
)
WIRE = st.dictionaries(
    st.sampled_from(["id", "method", "params", "result", "error"]), ANYTHING, max_size=5
) | st.builds(
    lambda method, params, id: {"method": method, "params": params, "id": id},
    METHODS,
    ANYTHING,
    st.integers(0, 3),
)


@given(st.lists(st.tuples(st.sampled_from(["client", "agent"]), WIRE), max_size=20))
def test_no_message_of_any_shape_breaks_the_record(told: list[tuple[str, dict[str, Any]]]) -> None:
    talk = Talk()
    for sender, message in told:
        talk.say(sender, message)
    talk.close("error", "over")
    assert len(talk.of("run_start")) == len(talk.of("response")) == len(talk.of("run_end"))
    json.dumps(talk.events, allow_nan=False)
    talk.calls()


def test_every_update_of_the_published_schema_is_known() -> None:
    schema = pytest.importorskip("acp.schema")
    talk = Talk()
    talk.open()
    talk.prompt()
    union = schema.SessionNotification.model_fields["update"].annotation
    kinds = [member.model_fields["session_update"].annotation.__args__[0] for member in union.__args__]
    assert len(kinds) >= 13
    for kind in kinds:
        talk.update(kind)
    assert dict(talk.connection.unknown) == {}

"""What passes between an editor and an agent, and the events that tell it."""

from __future__ import annotations

from typing import Any

import pytest

from acp_talk import Talk
from tracemill.tracer.messages import content_id


@pytest.fixture
def talk() -> Talk:
    made = Talk()
    made.open()
    return made


def test_a_prompt_is_a_run(talk: Talk) -> None:
    name = talk.prompt("What is 6 times 7?")
    talk.chunk("It is ")
    talk.chunk("42.")
    talk.agent_answers(name, {"stopReason": "end_turn"})
    session, start, request = talk.one("session"), talk.one("run_start"), talk.one("request")
    assert session["source"] == "acp"
    assert session["project"] == "/project"
    assert session["metadata"] == {"acp_session": "s", "process": {"pid": 7, "recording": "recording1"}}
    assert session["session_id"] == content_id(["acp-tee", "recording1", "s"])
    assert request["run_id"] == start["run_id"]
    assert (request["step"], request["previous"], request["kept"]) == (0, None, 0)
    assert request["toolset_id"] is None, "an editor is not told which tools there are"
    assert [talk.bodies()[name] for name in request["added"]] == [
        {"role": "user", "content": "What is 6 times 7?"}
    ]
    assert talk.answers() == [{"role": "assistant", "content": "It is 42."}]
    response, end = talk.one("response"), talk.one("run_end")
    assert (response["request_id"], response["finish_reason"]) == (request["request_id"], "end_turn")
    assert (end["status"], end["stop_reason"], end["error"], end["latency_ms"]) == (
        "ok",
        "end_turn",
        None,
        3000,
    )
    kinds = [event["kind"] for event in talk.events]
    assert kinds == ["session", "run_start", "message", "request", "message", "response", "run_end"]


def test_both_sides_say_who_they_are() -> None:
    talk = Talk()
    name = talk.client(
        "initialize", {"protocolVersion": 1, "clientInfo": {"name": "pycharm", "version": "2026.1"}}
    )
    talk.agent_answers(name, {"protocolVersion": 1, "agentInfo": {"name": "punie", "version": "0.1"}})
    talk.open()
    talk.prompt()
    assert talk.one("session")["agent"] == talk.one("run_start")["agent"] == "punie"
    assert talk.one("session")["metadata"]["client"] == {"name": "pycharm", "version": "2026.1"}


def test_a_session_without_a_prompt_is_none(talk: Talk) -> None:
    talk.update("available_commands_update", availableCommands=[])
    talk.chunk("Welcome!")
    assert talk.events == []


def test_the_next_prompt_continues_the_conversation(talk: Talk) -> None:
    for number in range(3):
        name = talk.prompt(f"prompt {number}")
        talk.chunk(f"answer {number}")
        talk.agent_answers(name, {"stopReason": "end_turn"})
    assert len(talk.of("session")) == 1
    first, second, third = talk.of("request")
    assert (second["previous"], second["kept"]) == (first["request_id"], 1)
    assert (third["previous"], third["kept"]) == (second["request_id"], 3)
    said = [talk.bodies()[name]["content"] for request in (first, second, third) for name in request["added"]]
    assert said == ["prompt 0", "answer 0", "prompt 1", "answer 1", "prompt 2"]


def test_a_secret_that_is_split_between_chunks_is_not_kept(talk: Talk) -> None:
    name = talk.prompt()
    for part in ("The key is sk-proj-", "abcdefghij01", "23456789, keep it."):
        talk.chunk(part)
        talk.chunk(part, kind="agent_thought_chunk")
    talk.agent_answers(name, {"stopReason": "end_turn"})
    (answer,) = talk.answers()
    assert answer is not None
    assert answer["content"] == answer["thinking"] == "The key is [REDACTED:openai-key:1], keep it."


def test_messages_and_thoughts_of_a_turn(talk: Talk) -> None:
    name = talk.prompt()
    talk.chunk("Hm", kind="agent_thought_chunk")
    talk.chunk("m.", kind="agent_thought_chunk")
    talk.chunk("Let me ", messageId="m1")
    talk.chunk("look.", messageId="m1")
    talk.update("tool_call", toolCallId="c", title="Reading", kind="read", status="in_progress")
    talk.chunk("A file.", messageId="m1")
    talk.update("tool_call_update", toolCallId="c", status="completed")
    talk.chunk(" A good one.", messageId="m1")
    talk.chunk("Done.", messageId="m2")
    talk.agent_answers(name, {"stopReason": "end_turn"})
    assert talk.answers() == [
        {
            "role": "assistant",
            "content": "Let me look.\n\nA file. A good one.\n\nDone.",
            "thinking": "Hmm.",
        }
    ]


def test_a_turn_without_a_word(talk: Talk) -> None:
    talk.agent_answers(talk.prompt(), {"stopReason": "end_turn"})
    assert talk.answers() == [None]
    assert talk.one("response")["error"] is None
    assert talk.one("run_end")["status"] == "ok"


class TestToolCalls:
    def test_one_that_runs_and_ends(self, talk: Talk) -> None:
        talk.prompt()
        talk.update(
            "tool_call",
            toolCallId="call_1",
            title="Read a.py",
            kind="read",
            status="in_progress",
            rawInput={"path": "a.py"},
        )
        talk.update("tool_call_update", toolCallId="call_1", status="completed", rawOutput={"text": "x = 1"})
        (call,) = talk.calls()
        assert (call["tool"], call["title"], call["tool_call_id"]) == ("read", "Read a.py", "call_1")
        assert call["raw_arguments"] == call["arguments"] == {"path": "a.py"}
        assert (call["status"], call["result"], call["latency_ms"]) == ("ok", {"text": "x = 1"}, 1000)
        assert call["run_id"] == talk.one("run_start")["run_id"]
        assert call["request_id"] == talk.one("request")["request_id"]

    def test_the_start_waits_for_the_input_and_keeps_its_time(self, talk: Talk) -> None:
        talk.prompt()
        assert talk.update("tool_call", toolCallId="c", title="Bash", status="pending", rawInput={}) == []
        announced = talk.now
        (start,) = talk.update("tool_call_update", toolCallId="c", rawInput={"command": "ls"}, title="`ls`")
        assert (start["ts"], start["raw_arguments"], start["title"]) == (announced, {"command": "ls"}, "`ls`")
        talk.update("tool_call_update", toolCallId="c", rawInput={"command": "ls -l"}, status="completed")
        (call,) = talk.calls()
        assert call["arguments"] == {"command": "ls -l"}, "what it was in the end"

    def test_one_that_fails(self, talk: Talk) -> None:
        talk.prompt()
        talk.update("tool_call", toolCallId="c", title="Run", kind="execute")
        content = [{"type": "content", "content": {"type": "text", "text": "no such file"}}]
        talk.update("tool_call_update", toolCallId="c", status="failed", content=content)
        (call,) = talk.calls()
        assert (call["status"], call["error"], call["result"]) == ("error", "no such file", None)

    def test_one_that_is_over_when_it_is_announced(self, talk: Talk) -> None:
        talk.prompt()
        talk.update("tool_call", toolCallId="c", title="Think", kind="think", status="completed")
        (call,) = talk.calls()
        assert (call["status"], call["raw_arguments"], call["result"]) == ("ok", None, None)

    def test_one_that_never_ends_is_unfinished(self, talk: Talk) -> None:
        name = talk.prompt()
        talk.update("tool_call", toolCallId="c", title="Wait", status="pending")
        talk.agent_answers(name, {"stopReason": "end_turn"})
        (call,) = talk.calls()
        assert call["status"] is None

    def test_one_that_ends_after_its_turn(self, talk: Talk) -> None:
        name = talk.prompt()
        talk.update("tool_call", toolCallId="c", title="Wait", status="in_progress")
        talk.agent_answers(name, {"stopReason": "end_turn"})
        talk.update("tool_call_update", toolCallId="c", status="completed")
        talk.update("tool_call_update", toolCallId="c", status="failed")
        (call,) = talk.calls()
        assert call["status"] == "ok"

    def test_ids_that_begin_anew_in_each_turn(self, talk: Talk) -> None:
        for number in range(2):
            name = talk.prompt()
            for _ in range(2):
                talk.update("tool_call", toolCallId="call_0", title=f"turn {number}", status="in_progress")
                talk.update("tool_call_update", toolCallId="call_0", status="completed", rawOutput=number)
            talk.agent_answers(name, {"stopReason": "end_turn"})
        assert [(call["title"], call["result"], call["status"]) for call in talk.calls()] == [
            ("turn 0", 0, "ok"),
            ("turn 0", 0, "ok"),
            ("turn 1", 1, "ok"),
            ("turn 1", 1, "ok"),
        ]
        assert [call["run_id"] for call in talk.calls()[1:3]] == [
            run["run_id"] for run in talk.of("run_start")
        ]

    def test_the_name_of_the_tool_where_an_agent_tells_it(self, talk: Talk) -> None:
        talk.prompt()
        talk.update("tool_call", toolCallId="c", kind="execute", _meta={"claudeCode": {"toolName": "Bash"}})
        talk.update("tool_call_update", toolCallId="c", status="completed", _meta={"other": 1})
        assert [call["tool"] for call in talk.calls()] == ["Bash"]

    @pytest.mark.parametrize(
        ("content", "result"),
        [
            ([], None),
            ([{"type": "content", "content": {"type": "text", "text": "one"}}], "one"),
            (
                [
                    {"type": "content", "content": {"type": "text", "text": "one"}},
                    {
                        "type": "content",
                        "content": {"type": "image", "mimeType": "image/png", "data": "AA=="},
                    },
                ],
                "one\n[image/png]",
            ),
            (
                [
                    {
                        "type": "diff",
                        "path": "/a",
                        "oldText": "x",
                        "newText": "y",
                        "_meta": {"resume_token": "t"},
                    }
                ],
                {"path": "/a", "oldText": "x", "newText": "y"},
            ),
            ([{"type": "terminal", "terminalId": "t1"}], "3 passed"),
            ([{"type": "terminal", "terminalId": "t2"}], "[terminal t2]"),
        ],
    )
    def test_what_the_editor_shows_is_the_result(
        self, talk: Talk, content: list[Any], result: object
    ) -> None:
        talk.prompt()
        output = talk.agent("terminal/output", {"sessionId": "s", "terminalId": "t1"})
        talk.client_answers(output, {"output": "3 passed", "truncated": False})
        talk.update("tool_call", toolCallId="c", status="completed", content=content)
        assert talk.calls()[0]["result"] == result


CALL = {"toolCallId": "c", "title": "Write a.py", "kind": "edit", "rawInput": {"path": "a.py"}}


class TestPermissions:
    @pytest.mark.parametrize(
        ("option", "score", "note"),
        [
            ("yes", 1, "allow_once"),
            ("ever", 1, "allow_always"),
            ("no", -1, "reject_once"),
            ("never", -1, "reject_always"),
        ],
    )
    def test_a_decision_is_feedback_on_the_call(self, talk: Talk, option: str, score: int, note: str) -> None:
        talk.prompt()
        talk.update("tool_call", **CALL, status="pending")
        (given,) = talk.permission({"toolCallId": "c"}, option)
        (call,) = talk.calls()
        assert given["target"] == "tool_call"
        assert given["target_id"] == call["call_id"]
        assert (given["score"], given["note"], given["source"]) == (score, note, "permission")

    @pytest.mark.parametrize(("option", "status"), [(None, "cancelled"), ("an option nobody offered", None)])
    def test_to_decide_nothing_is_no_feedback(
        self, talk: Talk, option: str | None, status: str | None
    ) -> None:
        name = talk.prompt()
        assert talk.permission(CALL, option) == []
        talk.agent_answers(name, {"stopReason": "end_turn"})
        assert [call["status"] for call in talk.calls()] == [status]

    def test_an_error_is_no_decision(self, talk: Talk) -> None:
        talk.prompt()
        name = talk.agent("session/request_permission", {"sessionId": "s", "toolCall": CALL, "options": []})
        assert talk.say("client", {"id": name, "error": {"code": -32603, "message": "no"}}) == []

    def test_a_call_that_was_rejected_is_denied(self, talk: Talk) -> None:
        name = talk.prompt()
        talk.permission(CALL, "no")
        talk.permission({**CALL, "toolCallId": "d"}, "no")
        talk.update("tool_call_update", toolCallId="d", status="failed")
        talk.agent_answers(name, {"stopReason": "end_turn"})
        assert [call["status"] for call in talk.calls()] == ["denied", "denied"]

    def test_a_call_that_ran_although_it_was_rejected_says_so(self, talk: Talk) -> None:
        talk.prompt()
        (given,) = talk.permission(CALL, "no")
        talk.update("tool_call_update", toolCallId="c", status="completed")
        assert (given["score"], talk.calls()[0]["status"]) == (-1, "ok")


class TestEndings:
    @pytest.mark.parametrize(
        ("reason", "status", "error"),
        [
            ("end_turn", "ok", None),
            ("cancelled", "cancelled", None),
            ("refusal", "error", "stopped: refusal"),
            ("max_tokens", "error", "stopped: max_tokens"),
            ("max_turn_requests", "error", "stopped: max_turn_requests"),
            ("something_new", "ok", None),
        ],
    )
    def test_stop_reasons(self, talk: Talk, reason: str, status: str, error: str | None) -> None:
        talk.agent_answers(talk.prompt(), {"stopReason": reason})
        end = talk.one("run_end")
        assert (end["stop_reason"], end["status"], end["error"]) == (reason, status, error)

    def test_an_error(self, talk: Talk) -> None:
        name = talk.prompt()
        told = {
            "code": -32603,
            "message": "Internal error",
            "data": {"details": "boom", "_meta": {"resume_token": 1}},
        }
        talk.say("agent", {"id": name, "error": told})
        end = talk.one("run_end")
        assert (end["status"], end["error"]) == ("error", 'Internal error {"details": "boom"}')
        assert "stop_reason" not in end
        assert talk.one("response")["error"] == end["error"]

    def test_what_was_said_before_an_error_is_kept(self, talk: Talk) -> None:
        name = talk.prompt()
        talk.chunk("I was about to")
        talk.say("agent", {"id": name, "error": {"code": -32603, "message": "Internal error"}})
        assert talk.answers() == [{"role": "assistant", "content": "I was about to"}]
        assert talk.one("response")["error"] is None
        assert talk.one("run_end")["error"] == "Internal error"

    @pytest.mark.parametrize("how", ["session/cancel", "$/cancel_request"])
    @pytest.mark.parametrize(
        "answer", [{"result": {"stopReason": "end_turn"}}, {"error": {"message": "stopped"}}]
    )
    def test_a_prompt_that_a_person_stopped_is_cancelled(self, talk: Talk, how: str, answer: Any) -> None:
        name = talk.prompt()
        talk.update("tool_call", toolCallId="c", title="Run", status="in_progress")
        params = {"sessionId": "s"} if how == "session/cancel" else {"requestId": name}
        talk.say("client", {"method": how, "params": params})
        talk.say("agent", {"id": name, **answer})
        assert talk.one("run_end")["status"] == "cancelled"
        assert [call["status"] for call in talk.calls()] == ["cancelled"]
        talk.agent_answers(talk.prompt(), {"stopReason": "end_turn"})
        assert talk.of("run_end")[1]["status"] == "ok", "only the prompt that was running is cancelled"

    def test_the_connection_ends_before_the_answer(self, talk: Talk) -> None:
        talk.prompt()
        talk.chunk("Half a")
        talk.update("tool_call", toolCallId="c", title="Run", status="in_progress")
        talk.close("error", "the agent exited with code 3 before it answered")
        assert talk.answers() == [{"role": "assistant", "content": "Half a"}]
        assert talk.one("run_end")["error"] == "the agent exited with code 3 before it answered"
        assert talk.calls()[0]["status"] is None
        assert talk.close("error", "again") == []

    def test_nobody_knows_how_it_ended(self, talk: Talk) -> None:
        talk.prompt()
        talk.close(None)
        assert talk.of("run_end") == []

    def test_an_answer_may_be_among_what_was_lost(self, talk: Talk) -> None:
        answered, lost = talk.prompt("one"), talk.prompt("two", session="t")
        talk.chunk("Half a", session="t")
        talk.record.gap()
        talk.agent_answers(answered, {"stopReason": "end_turn"})
        again = talk.prompt("three", session="t")
        talk.chunk("A whole", session="t")
        talk.agent_answers(lost, {"stopReason": "end_turn"})
        talk.agent_answers(again, {"stopReason": "end_turn"})
        assert [answer and answer["content"] for answer in talk.answers()] == [None, "Half a", "A whole"]
        one, _, three = talk.of("run_start")
        assert [end["run_id"] for end in talk.of("run_end")] == [one["run_id"], three["run_id"]]

    def test_a_clock_that_is_set_back(self, talk: Talk) -> None:
        name = talk.prompt()
        talk.now -= 100
        talk.agent_answers(name, {"stopReason": "end_turn"})
        assert talk.one("run_end")["latency_ms"] == 0

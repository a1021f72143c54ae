"""The first look clears no text in which a closer one finds something."""

from __future__ import annotations

import base64
import json
import uuid
from typing import Any

import pytest

pytest.importorskip("hypothesis", reason="property tests need hypothesis")

from hypothesis import given, settings
from hypothesis import strategies as st

from planted_secrets import SHAPES, Maker
from tracemill.tracer import Redactor
from tracemill.tracer.base64_texts import encoded
from tracemill.tracer.detect import Detector
from tracemill.tracer.messages import spelled
from tracemill.tracer.named_secrets import CONTEXT_HINTS
from tracemill.tracer.secret_patterns import RULES, long_runs, tokens

OWNER = "ada"
ENVIRONMENT = {"A_TOKEN": "hunter2x-9", "HOME": f"/home/{OWNER}"}
LOOK = Detector(ENVIRONMENT).look
# What stands around secrets, so that many of the texts hold one.
PIECES = st.sampled_from(
    [
        *CONTEXT_HINTS,
        *(hint for rule in RULES for hint in rule.hints),
        *(
            "password",
            "api_key",
            "token",
            "=",
            ": ",
            '"',
            "'",
            "\\",
            "\\n",
            "{",
            "}",
            "[",
            "]",
            ",",
            " ",
            "@",
        ),
        *(
            "K1" * 12,
            "a1b2c3d4e5f6" * 3,
            "hunter2x-9",
            "[REDACTED:password:1]",
            "\ud83d",
            "ü",
            "\u0130",
            "%3D",
        ),
        *("/home/", "/Users/", "C:\\Users\\", "ada", "/x", "ada@lovelace", ".org", "-home-ada", "pytest-of-"),
        *(
            "user",
            "pass",
            "hunter7",
            "xK9#mQ2v",
            "postgres:",
            "--token ",
            "-u",
            " -p",
            "root:",
            "@host",
            "@b.io",
        ),
        *("\u212aey", "PASS\u212aEY", "\\u0070assword", "\\/", '{"sha256": "", "data": "cHdkPWFiYzEyMyE="}'),
    ]
)
SECRETS = st.tuples(st.sampled_from(sorted(SHAPES)), st.integers(0, 10**9)).map(
    lambda made: Maker(made[1]).of(made[0])
)
TEXTS = st.lists(PIECES | PIECES | SECRETS | st.text(max_size=4), max_size=10).map("".join)
VALUES = st.recursive(
    st.none() | st.integers() | TEXTS | TEXTS.map(json.dumps),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(PIECES, inner, max_size=4),
    max_leaves=10,
)


class _Closely:
    """Clears nothing, so that everything is looked at closely."""

    def clears(self, _text: str, *, is_json: bool = False) -> bool:
        return False


def closely(value: Any) -> Any:
    """A value as it is redacted without the first look."""
    redactor = Redactor(ENVIRONMENT)
    redactor.detector.look = _Closely()  # pyright: ignore[reportAttributeAccessIssue]
    return redactor.redact(value)


@settings(max_examples=1500)
@given(TEXTS)
def test_texts_that_are_cleared_hold_nothing(text: str) -> None:
    if LOOK.clears(text):
        assert closely(text) == text


@settings(max_examples=1000)
@given(VALUES)
def test_values_that_are_cleared_hold_nothing(value: Any) -> None:
    if LOOK.clears(json.dumps(value, ensure_ascii=False, separators=(",", ":")), is_json=True):
        assert closely(value) == value


@pytest.mark.parametrize("kind", sorted(SHAPES))
def test_no_planted_secret_is_cleared(kind: str) -> None:
    secret = Maker(7).of(kind)
    for text in (secret, f"it is {secret} here", json.dumps(secret), json.dumps({"a": f"x {secret}"})):
        if closely(text) != text:
            assert not LOOK.clears(text)
            assert not LOOK.clears(json.dumps([text], ensure_ascii=False), is_json=True)


def test_ordinary_texts_are_cleared() -> None:
    code = "def step_12(value: int) -> int:\n    return value + 12  # see src/module.py, line 200\n"
    assert LOOK.clears(code)
    assert LOOK.clears("from tests.curate import test_something_with_a_very_long_name_indeed\n@property\n")
    assert LOOK.clears('{"path":"src/module.py","limit":200}', is_json=True)
    assert LOOK.clears("größer als die Straße: 日本")


def test_hashes_and_ids_are_cleared() -> None:
    assert LOOK.clears("commit 9fceb02d0ae598e95dc970b74767f19372d61af8")
    assert LOOK.clears('{"id":"call_0a1b2c3d4e5f60718293a4b5","path":"src/module.py"}', is_json=True)


@given(st.from_regex("pyd_ai_[0-9a-f]{32}", fullmatch=True))
def test_an_id_that_pydantic_ai_makes_is_no_token_and_no_base64_of_text(made: str) -> None:
    assert long_runs(f'"id":"{made}"') == ""
    assert not any(tokens(made, made))
    assert not any(encoded(made, made))
    with pytest.raises(UnicodeDecodeError):
        base64.urlsafe_b64decode(made + "=").decode()


@given(st.uuids())
def test_an_id_that_a_program_makes_holds_nothing(made: uuid.UUID) -> None:
    for written in (str(made), made.hex):
        assert Detector(ENVIRONMENT).find(written) == []


def test_base64_of_a_secret_is_not_cleared_behind_an_escape() -> None:
    hidden = base64.b64encode(b"password=hunter2x-9abc").decode()
    for text in (hidden, f"a\n{hidden}", f"{hidden} \u00e9"):
        assert closely(text) != text
        assert not LOOK.clears(text)
        assert not LOOK.clears(json.dumps({"text": text}, ensure_ascii=False), is_json=True)


MINTED = "pyd_ai_" + "0a1b2c3d" * 4


@settings(max_examples=300)
@given(
    st.sampled_from([ENVIRONMENT, {"A_TOKEN": "hunter2x-9"}, {"A_TOKEN": "1b2c3d0a1b2c3d0a"}]),
    TEXTS,
    st.lists(st.tuples(st.just(MINTED) | TEXTS, TEXTS, VALUES), max_size=3),
)
def test_answers_with_calls_are_redacted_the_same_at_one_look(
    environment: dict[str, str], content: str, calls: list[Any]
) -> None:
    message: Any = {
        "role": "assistant",
        "content": content,
        "tool_calls": [{"id": id, "name": name, "arguments": arguments} for id, name, arguments in calls],
    }
    slow = Redactor(environment)
    slow.detector.look = _Closely()  # pyright: ignore[reportAttributeAccessIssue]
    assert Redactor(environment).redact_message(message, "", spelled(message)[1]) == slow.redact_message(
        message
    )


def test_what_cannot_be_written_as_utf8_is_looked_at_closely() -> None:
    assert not LOOK.clears("half \ud83d")
    assert Redactor({}).text("half \ud83d") == "half ?"


def test_secrets_of_the_environment_are_found_however_they_are_written() -> None:
    value = 'a"b\\c hunter é 42'
    redactor = Redactor({"MY_PASSWORD": value})
    for told in (value, json.dumps(value), json.dumps(json.dumps({"x": value}))):
        assert not redactor.detector.look.clears(told)
    assert not Redactor({"MY_PASSWORD": "é" * 9}).detector.look.clears("anything")


@given(TEXTS)
def test_a_redactor_that_has_looked_before_finds_the_same(text: str) -> None:
    redactor = Redactor(ENVIRONMENT)
    event = {"kind": "tool_end", "session_id": "s", "arguments": {"text": text}, "result": text}
    assert redactor.redact_event(event) == redactor.redact_event(event)

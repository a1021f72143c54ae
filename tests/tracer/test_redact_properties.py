"""Redaction for every text: a fixed point that spares ids and leaves no secret."""

from __future__ import annotations

import json
import string
import uuid
from typing import Any

import pytest

pytest.importorskip("hypothesis", reason="property tests need hypothesis")

from hypothesis import given, settings
from hypothesis import strategies as st

from tracemill.tracer import Redactor, ToolCall, message_id

# Pieces from which texts that almost hold a secret are made.
PIECES = st.sampled_from(
    [
        *(
            "sk-",
            "ghp_",
            "eyJ",
            "AKIA",
            "K1" * 12,
            "a1b2c3d4e5f6" * 3,
            "hunter2x",
            "Bearer ",
            "://u:",
            "@",
            ".",
        ),
        *("password", "api_key", "token", "=", ": ", '"', "'", "\\", "{", "}", "[", "]", ",", " ", "\n", "0"),
        *("[REDACTED:", "openai-key:1]", "[REDACTED:password:1]", "\ud83d", "ü"),
        *("-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----"),
    ]
)
TEXTS = st.lists(PIECES | st.text(max_size=6), max_size=14).map("".join)
NAMES = st.sampled_from(["password", "api_key", "Authorization", "name", "content", "größe", "a b", ""])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
TOKEN = st.text(string.ascii_letters + string.digits, min_size=36, max_size=60).filter(
    lambda text: any(c.isdigit() for c in text) and any(c.isalpha() for c in text)
)


@settings(max_examples=400)
@given(TEXTS)
def test_texts_are_redacted_once_and_for_all(text: str) -> None:
    redactor = Redactor({"A_TOKEN": "hunter2x"})
    once = redactor.text(text)
    assert redactor.text(once) == once
    assert "hunter2x" not in once
    once.encode("utf-8")


@given(JSON)
def test_only_strings_change(value: Any) -> None:
    redactor = Redactor({})
    once = redactor.redact(value)
    assert redactor.redact(once) == once
    assert without_strings(once) == without_strings(value)


def without_strings(value: Any) -> Any:
    if isinstance(value, list):
        return [without_strings(item) for item in value]
    if isinstance(value, dict):
        return [without_strings(item) for item in value.values()]
    return "text" if isinstance(value, str) else value


@given(st.uuids(), st.binary(min_size=16, max_size=32), st.integers(), TEXTS)
def test_ids_hashes_and_numbers_are_spared(name: uuid.UUID, digest: bytes, number: int, text: str) -> None:
    redactor = Redactor({})
    for id in (str(name), name.hex, digest.hex(), f"call_{name.hex}", f"pyd_ai_{name.hex}", str(number)):
        assert redactor.text(id) == id
        assert redactor.text(f"see {id}, please") == f"see {id}, please"
    call: ToolCall = {"id": text, "name": "t", "arguments": {}}
    found = redactor.redact_message({"role": "assistant", "content": "", "tool_calls": [call]})
    assert found.get("tool_calls") == [call]


@given(TOKEN, TEXTS, TEXTS)
def test_a_token_is_gone_wherever_it_stands(token: str, before: str, after: str) -> None:
    redactor = Redactor({})
    found = redactor.text(f"{before} ghp_{token} {after}")
    assert f"ghp_{token}" not in found


@given(st.text(min_size=12, max_size=40), JSON)
def test_the_value_of_a_secret_variable_is_gone_from_disk(secret: str, value: Any) -> None:
    clean = secret.encode("utf-8", "replace").decode()
    redactor = Redactor({"SOME_SECRET": clean})
    if redactor.text(clean) == clean:
        return  # not worth hiding: a plain word, a path
    for told in (clean, json.dumps([clean, value]), {"deep": [{"k": f"x {clean} y"}, value]}):
        data = json.dumps(redactor.redact(told), ensure_ascii=False)
        assert json.dumps(clean, ensure_ascii=False)[1:-1] not in data


@given(TEXTS)
def test_a_message_is_named_by_its_redacted_form(text: str) -> None:
    redactor = Redactor({})
    clean = redactor.redact_message({"role": "user", "content": text})
    assert message_id(redactor.redact_message(clean)) == message_id(clean)

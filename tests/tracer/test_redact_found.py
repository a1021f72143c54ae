"""Secrets in the places where they once stood unseen: ids, files, quotes, numbered lines, commands."""

from __future__ import annotations

import base64
import json
import uuid
from typing import Any

import pytest

from planted_secrets import SHAPES, Maker
from tracemill.tracer import Redactor, events, process
from tracemill.tracer.messages import Message
from tracemill.tracer.secret_names import without_secrets

MAKE = Maker(7)
LINES = [MAKE.base64(64) for _ in range(3)]
"""The body of a private key."""
BEGIN, END = "-----BEGIN RSA PRI" + "VATE KEY-----", "-----END RSA PRI" + "VATE KEY-----"


@pytest.fixture
def redactor() -> Redactor:
    return Redactor(environment={})


def test_the_ids_of_a_call_hide_a_secret_and_stay_together(redactor: Redactor) -> None:
    key = MAKE.of("github-token")
    name = f"id-{key}"
    asked: Message = {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"id": name, "name": "tt", "arguments": {}}],
    }
    answered: Message = {"role": "tool", "tool_call_id": name, "name": "tt", "content": ""}
    start: Any = events.tool_start(
        "s",
        name,
        run_id="r",
        request_id=None,
        tool_call_id=name,
        tool="tt",
        raw_arguments="",
        parent_call_id=name,
    )
    request: Any = events.request(
        "s", "q", run_id=name, step=1, model="m", previous=name, kept=0, added=[], toolset_id=None
    )
    found: list[Any] = [
        redactor.redact_message(asked, "s"),
        redactor.redact_message(answered, "t"),
        redactor.redact_event(start),
        redactor.redact_event(request),
    ]
    assert key not in json.dumps(found)
    same = redactor.clean_id(name)
    assert found[0]["tool_calls"][0]["id"] == found[1]["tool_call_id"] == same
    assert {found[2][field] for field in ("call_id", "tool_call_id", "parent_call_id")} == {same}
    assert {found[3][field] for field in ("run_id", "previous")} == {same}


def test_an_id_like_our_own_may_be_the_value_of_a_secret_variable() -> None:
    secret, own = MAKE.hex(32), MAKE.hex(32)
    redactor = Redactor({"DATADOG_API_KEY": secret})
    assert redactor.clean_id(own) == own
    assert redactor.clean_id(secret) != secret


def test_a_secret_may_stand_in_an_id_like_our_own() -> None:
    secret = MAKE.hex(12)
    redactor = Redactor({"DATADOG_API_KEY": secret})
    around, plain = f"{MAKE.hex(8)}-1234-4234-8234-{secret}", str(uuid.UUID(int=7))
    joined = MAKE.hex(20) + secret
    for id in (around, joined):
        event: Any = {"kind": "run_end", "id": plain, "session_id": "s", "run_id": id, "status": "ok"}
        told = redactor.redact_event(event)
        assert told["run_id"] == redactor.clean_id(id)
        assert secret not in json.dumps(told) and told["id"] == plain


@pytest.mark.parametrize(
    "media_type",
    [
        *("application/octet-stream", "application/x-pem-file", "application/sql", "application/x-ndjson"),
        *("Text/Plain", "image/png", "application/pdf"),
    ],
)
def test_a_file_that_reads_as_text_is_looked_into(redactor: Redactor, media_type: str) -> None:
    def kept(content: bytes) -> bool:
        data = base64.b64encode(content).decode()
        file: Any = {"media_type": media_type, "sha256": "0" * 64, "bytes": len(content), "data": data}
        message = redactor.redact_message({"role": "user", "content": "", "attachments": [file]})
        return "data" in message.get("attachments", [{}])[0]

    assert kept("nothing, naïve".encode())
    assert kept(b"\x89PNG\xff\x00")
    assert not kept(f"x {MAKE.of('stripe-key')}\n".encode())


@pytest.mark.parametrize("quote", ['"', "'", "`", '\\"', '\\\\\\"', "'\"'\"'"])
def test_the_quoted_value_of_an_option(redactor: Redactor, quote: str) -> None:
    for command in ("mysql --password {}", "x --api-key {} db", "mysql -u root -p{} db", "x --db-passwd {}"):
        secret = MAKE.password()
        told = command.format(f"{quote}{secret}{quote}")
        for text in (told, json.dumps({"command": told}), json.dumps({"command": told})[:-1]):
            found = redactor.text(text, text)
            assert secret not in found
            assert redactor.text(found, text) == found


@pytest.mark.parametrize("host", ["discord.com/api", "discordapp.com/api", "ptb.discord.com/api/v10"])
def test_webhooks_of_discord(redactor: Redactor, host: str) -> None:
    token = SHAPES["discord-webhook"](MAKE).partition("hooks/")[2]
    found = redactor.text(f"curl https://{host}/webhooks/{token}?wait=true")
    assert found.startswith("curl https://")
    assert found.endswith("[REDACTED:discord-webhook:1]?wait=true")


@pytest.mark.parametrize(
    "number", ["{:6}\t", "{}→", "{}:", "{}: ", "{:4} | ", "{:3}  ", "{}-", "{:6}\\t", ""]
)
@pytest.mark.parametrize("cut", ["end", "beginning", "middle of a line", "neither"])
def test_private_keys_in_numbered_lines(redactor: Redactor, number: str, cut: str) -> None:
    lines = [BEGIN, *LINES, "dGhlIGVuZA==", END]
    if cut == "end":
        lines = lines[:-2]
    elif cut != "neither":
        lines = lines[1:]
    text = "\n".join(number.format(n) + line for n, line in enumerate(lines, 1))
    if cut == "middle of a line":
        text = f"...{text[-180:]}"
    for told in (text, json.dumps(text), json.dumps(text)[:-1], f"see\n{text}"):
        found = redactor.text(told)
        assert "[REDACTED:private-key:" in found
        assert not any(line[-20:] in found for line in LINES)
        assert redactor.text(found) == found


def test_what_only_speaks_of_the_end_of_a_key_is_left_alone(redactor: Redactor) -> None:
    for text in (f'if line == "{END}":', f"read until\n{END}\nand stop", END, f"a\n\n{END}"):
        assert redactor.text(text) == text


@pytest.mark.parametrize(
    "name",
    [
        *("PGPASSWORD", "SSHPASS", "DBPASSWORD", "GITHUB_TOKENS", "NPM_AUTH", "API_KEYS", "MYSQL_PWD"),
        *("DB_PASSWORD", "npm_config__auth"),
    ],
)
@pytest.mark.parametrize("value", ["tr0ub4", "tr0ub4d", "Sup3rS3cret9"])
def test_the_values_of_secret_variables(name: str, value: str) -> None:
    assert Redactor({name: value}).text(f"it is {value}!") == "it is [REDACTED:variable:1]!"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MAX_OUTPUT_TOKENS", "128000000"),
        ("HTTP_PROXY_BYPASS", "localhost1"),
        ("COMPASS", "north-west-1"),
        ("MY_TOKEN", "abcdefg"),
        ("MY_TOKEN", "1234567"),
        ("MY_TOKEN", "test12"),
    ],
)
def test_the_values_of_other_variables(name: str, value: str) -> None:
    assert Redactor({name: value}).text(f"it is {value}!") == f"it is {value}!"


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["--password", "hunter two", "x"], ["--password", "[REDACTED:argument:1]", "x"]),
        (["--api-key", "abcdefghijk"], ["--api-key", "[REDACTED:argument:1]"]),
        (["--token=plain"], ["--token=[REDACTED:argument:1]"]),
        (["-p", "Sup3rsecret"], ["-p", "[REDACTED:argument:1]"]),
        (["--dbPassword", "a", "DB_PASSWORD=a"], ["--dbPassword", *2 * ["[REDACTED:argument:1]"]]),
        (
            ["SSHPASS=a b", "--pass", "c"],
            ["SSHPASS=[REDACTED:argument:1]", "--pass", "[REDACTED:argument:2]"],
        ),
    ],
)
def test_the_secrets_of_a_command(words: list[str], found: list[str]) -> None:
    clean = without_secrets(words)
    assert [word.removeprefix("DB_PASSWORD=") for word in clean] == found
    assert without_secrets(clean) == clean


@pytest.mark.parametrize(
    "command",
    [
        "agent.py --max-tokens 100 --sort-key name key=name",
        "serve -p 8080 -p 127.0.0.1:80:80 -p no:randomly -p dir/a1b2c3d4",
        "login --password --verbose",
        "login --password-stdin --no-password db --tokenizer gpt2 --author=me",
    ],
)
def test_the_other_words_of_a_command(command: str) -> None:
    assert without_secrets(command.split()) == command.split()
    assert without_secrets(["claude", "-p", "Fix bug #12 now"]) == ["claude", "-p", "Fix bug #12 now"]


def test_what_a_session_says_of_its_process(monkeypatch: pytest.MonkeyPatch, redactor: Redactor) -> None:
    words = [
        "python",
        "agent.py",
        "--password",
        "hunter two",
        "--api-key",
        "abcdefghijk",
        "-p",
        "Sup3rsecret",
    ]
    monkeypatch.setattr("sys.orig_argv", words)
    monkeypatch.setenv(process.RECORDING, "0" * 32)
    command = process.session_metadata()["process"]["command"]
    assert command == (
        "python agent.py --password '[REDACTED:argument:1]' --api-key '[REDACTED:argument:2]' "
        "-p '[REDACTED:argument:3]'"
    )
    assert redactor.text(command) == command

"""Secrets are gone from what is written, and nothing else is."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tracemill.tracer import Home, Redactor, Spool, events, spool_files

# Each line is a secret of a kind in its natural surroundings; built from pieces, so that no scanner of this
# repository takes them for real ones.
A = "Ab1" * 20
HEX = "0123456789abcdef" * 4
SECRETS = {
    "openai-key": f"sk-proj-{A}",
    "anthropic-key": f"sk-ant-api03-{A}",
    "stripe-key": f"sk_live_{A[:24]}",
    "github-token": f"ghp_{A[:36]}",
    "gitlab-token": f"glpat-{A[:20]}",
    "aws-key": "AKIA" + "ABCDEFGH23456722",
    "google-key": "AIza" + A[:35],
    "google-token": f"ya29.{A[:40]}",
    "slack-token": f"xoxb-{HEX[:12]}-{A[:20]}",
    "huggingface-token": f"hf_{A[:34]}",
    "groq-key": f"gsk_{A[:40]}",
    "npm-token": f"npm_{A[:36]}",
    "pypi-token": f"pypi-{A[:40]}",
    "logfire-token": f"pylf_v1_us_{A[:40]}",
    "sendgrid-key": f"SG.{A[:22]}.{A[:43]}",
    "databricks-token": f"dapi{HEX[:32]}",
    "vault-token": f"hvs.{A[:30]}",
    "shopify-token": f"shpat_{HEX[:32]}",
    "telegram-token": f"123456789:AA{A[:33]}",
    "jwt": f"eyJ{A[:20]}.eyJ{A[:20]}.{A[:20]}",
    "private-key": f"-----BEGIN RSA PRIVATE KEY-----\n{A}\n{A}\n-----END RSA PRIVATE KEY-----",
}


@pytest.fixture
def redactor() -> Redactor:
    return Redactor(environment={})


@pytest.mark.parametrize("kind", SECRETS)
@pytest.mark.parametrize(
    "text", ["{}", "key: {}.", "'{}',", "https://host/?k={}&x=1", '{{"a": "{}"}}', "\n{}\n"]
)
def test_known_tokens(redactor: Redactor, kind: str, text: str) -> None:
    told = text.format(SECRETS[kind])
    found = redactor.text(told)
    assert SECRETS[kind] not in found
    assert f"[REDACTED:{kind}:1]" in found
    assert redactor.text(found) == found


@pytest.mark.parametrize(
    ("told", "found"),
    [
        ('password="hunter2!"', 'password="[REDACTED:password:1]"'),
        ("password: hunter22", "password: [REDACTED:password:1]"),
        ("DB_PASSWORD=correcthorse\n", "DB_PASSWORD=[REDACTED:password:1]\n"),
        ('"api_key": "abcdef"', '"api_key": "[REDACTED:password:1]"'),
        (r"log: {\"password\": \"hunter22\"}", r"log: {\"password\": \"[REDACTED:password:1]\"}"),
        ("clientSecret: 's3cret-value'", "clientSecret: '[REDACTED:password:1]'"),
        ("token=3f2a9c8b7d6e5f4a3b2c", "token=[REDACTED:token:1]"),
        ("postgres://bob:s3cr3t@host/db", "postgres://bob:[REDACTED:url-password:1]@host/db"),
        ("Authorization: Bearer abcdef0123456789", "Authorization: Bearer [REDACTED:authorization:1]"),
        ("-----BEGIN PRIVATE KEY-----\nMIIcut", "[REDACTED:private-key:1]"),
        ('{"password": "with space \\" and quote"}', '{"password": "[REDACTED:password:1]"}'),
    ],
)
def test_assignments_urls_and_headers(redactor: Redactor, told: str, found: str) -> None:
    assert redactor.text(told) == found


@pytest.mark.parametrize(
    "text",
    [
        "def login(password: str, token: str | None = None) -> None:",
        "password = get_password()",
        'api_key=os.environ["OPENAI_API_KEY"]',
        "api_key=settings.api_key, max_tokens=4096",
        'password = f"{password}"; key = "${API_KEY}"; secret = "<your secret>"',
        "token = tokens[position]",
        "risk-free-and-task-oriented-sk-learn-names",
        "https://host:8080/path?key=1@home",
        "git checkout 0123456789abcdef0123456789abcdef01234567",
        "-----BEGIN PUBLIC KEY-----\nabc\n-----END PUBLIC KEY-----",
        "primary_key=True, foreign_key: users.id, keyboard=qwerty1",
        "PWD=/srv/project1",
    ],
)
def test_ordinary_code_is_left_alone(redactor: Redactor, text: str) -> None:
    assert redactor.text(text) == text


def test_a_secret_keeps_its_number(redactor: Redactor) -> None:
    first, second = f"sk-{A[:30]}", f"sk-{A[1:31]}"
    assert redactor.text(f"{first} {second} {first}") == (
        "[REDACTED:openai-key:1] [REDACTED:openai-key:2] [REDACTED:openai-key:1]"
    )
    assert redactor.redact({"password": second}) == {"password": "[REDACTED:openai-key:2]"}


def test_fields_keys_and_nested_values(redactor: Redactor) -> None:
    told = {
        "password": "x y",
        "list": [{"apiKey": "abc"}, 7, None, True, 1.5],
        f"sk-{A[:30]}": "as a key",
        "text": json.dumps({"deep": json.dumps({"client_secret": 'quo"ted'})}),
        "password_length": "12",
        "properties": {"password": {"type": "string"}},
    }
    found = redactor.redact(told)
    assert found["password"].startswith("[REDACTED:password:")
    assert found["list"] == [{"apiKey": "[REDACTED:password:2]"}, 7, None, True, 1.5]
    assert "[REDACTED:openai-key:1]" in found
    assert json.loads(json.loads(found["text"])["deep"]) == {"client_secret": "[REDACTED:password:3]"}
    assert (found["password_length"], found["properties"]) == ("12", told["properties"])


def test_secret_variables(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text("x")
    environment = {
        "MY_SERVICE_TOKEN": 'odd "value" \\ here',
        "DB_PASSWORD": "tr0ub4dor",
        "LONG_SECRET": "tr0ub4dor-and-more",
        "SHORT_KEY": "abc",
        "PLAIN_PASSWORD": "postgres",
        "SSL_KEY": str(tmp_path / "key.pem"),
        "TOKENIZERS_PARALLELISM": "disabled-for-now",
        "HOME": "/home/somebody",
    }
    redactor = Redactor(environment)
    assert redactor.text("tr0ub4dor-and-more, tr0ub4dor") == "[REDACTED:variable:1], [REDACTED:variable:2]"
    quoted = json.dumps({"a": environment["MY_SERVICE_TOKEN"]})
    assert redactor.text(quoted) == '{"a": "[REDACTED:variable:3]"}'
    assert redactor.text(f"echo {quoted[1:-1]}") == 'echo "a": "[REDACTED:variable:3]"'
    for name in ("SHORT_KEY", "PLAIN_PASSWORD", "SSL_KEY", "TOKENIZERS_PARALLELISM", "HOME"):
        assert redactor.text(environment[name]) == environment[name]
    environment["LATE_TOKEN"] = "loaded-later-1"
    assert redactor.text("loaded-later-1") == "loaded-later-1"
    redactor.refresh()
    assert redactor.text("loaded-later-1") == "[REDACTED:variable:4]"


def test_ids_in_events_are_never_changed(redactor: Redactor) -> None:
    strange = f"sk-{A[:30]}"
    event: Any = events.tool_start(
        strange,
        strange,
        run_id=strange,
        request_id=strange,
        tool_call_id=strange,
        tool="t",
        raw_arguments=strange,
    )
    found = redactor.redact_event(event)
    assert found == {**event, "raw_arguments": "[REDACTED:openai-key:1]"}


@pytest.mark.parametrize("kind", SECRETS)
def test_no_secret_reaches_the_disk(home: Home, kind: str) -> None:
    secret = SECRETS[kind]
    spool = Spool(home)
    spool.message({"role": "user", "content": f"here: {secret}"})
    spool.message(
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"id": "c", "name": "t", "arguments": {"deep": [json.dumps({"k": secret})]}}],
        }
    )
    spool.toolset([{"name": "t", "description": secret, "parameters": {"default": secret}}])
    spool.write(events.session("s", agent="a", project="/p", source="pydantic-ai", metadata={secret: secret}))
    spool.write(
        events.tool_start(
            "s",
            "c",
            run_id="r",
            request_id=None,
            tool_call_id="c",
            tool="t",
            raw_arguments=f'{{"k": "{secret}"}}',
        )
    )
    spool.write(events.tool_end("s", "c", status="error", result={"out": secret}, error=f"OSError: {secret}"))
    spool.write(events.feedback("s", target="session", target_id="s", score=0, note=secret))
    spool.close()
    assert spool.dropped == 0
    (path,) = spool_files(home)
    data = path.read_bytes()
    assert secret.encode() not in data
    assert secret.replace("\n", "\\n").encode() not in data
    assert A[:16].encode() not in data


def test_no_text_is_slow_to_redact(redactor: Redactor) -> None:
    pieces = [
        "a-",
        "token=",
        "password",
        "eyJ",
        "sk-",
        ":AA",
        "://",
        "bearer ",
        "api_key",
        "-----BEGIN PRIVATE KEY-----",
    ]
    started = time.process_time()
    for piece in pieces:
        redactor.text(piece * (100_000 // len(piece)))
        redactor.text(piece + "x" * 100_000)
        redactor.text(piece + " " * 100_000)
    redactor.text("[" * 100_000 + "]" * 100_000)
    assert time.process_time() - started < 10

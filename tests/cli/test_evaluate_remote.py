"""`tracemill evaluate` with a server, a provider and samples, as a user runs it."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from chat_server import chat_server, failed, said
from tiny import tiny_model
from tracemill.cli.main import main
from tracemill.tracer.home import Home


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["tracemill", *words])
    with pytest.raises(SystemExit) as stop:
        main()
    return int(stop.value.code or 0)


@pytest.fixture
def asked(tmp_path: Path) -> Path:
    """A suite of 20 questions, whose answers are numbers."""
    file = tmp_path / "sums.jsonl"
    lines = [{"id": f"s{n}", "prompt": f"{n} + 1 = ?", "numeric": n + 1} for n in range(20)]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


def words_of(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines()]


def test_a_server_is_asked_by_its_url(
    asked: Path, home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MY_KEY", "k-1")
    words = ("evaluate", "--suite", str(asked), "--key-variable", "MY_KEY", "--endpoint")
    with chat_server(
        lambda body: failed(400, "\x1b[31mtoo long") if "'7 + 1" in str(body) else said("It is 3.")
    ) as server:
        assert run(monkeypatch, *words, server.url + "/") == 0
        shown = capsys.readouterr()
        assert "all answers 19 1 5.3% 0.9% to 24.6%" in words_of(shown.out)
        assert "wrong-answer 18" in words_of(shown.out)
        assert "19 answers, 1,900 tokens in, 190 out; price unknown" in words_of(shown.out)
        assert (
            "error: 1 of 20 items without an answer, not scored (1: HTTP 400: \\x1b[31mtoo long)" in shown.err
            and "\x1b" not in shown.err
        )
        assert set(server.keys) == {"Bearer k-1"}
        assert run(monkeypatch, *words, server.url, "--json") == 0
        shown = capsys.readouterr()
        told, since = json.loads(shown.out), datetime.now(UTC).date().isoformat()
        assert f"19 of 20 answers are on disk since {since}; --fresh asks anew." in shown.err
        assert len(server.requests) == 21  # only what got no answer is asked again
        assert run(monkeypatch, *words, server.url, "--fresh", "--json") == 0
        assert "on disk" not in capsys.readouterr().err and len(server.requests) == 41
    assert told["endpoint"] == server.url and told["unanswered"] == {"s7": "HTTP 400: \x1b[31mtoo long"}
    assert told["spent"] == {
        "requests": 19,
        "input_tokens": 1900,
        "output_tokens": 190,
        "dollars": None,
        "cut": 0,
    }
    assert "k-1" not in "".join(file.read_text("utf-8") for file in home.root.rglob("*.jsonl"))
    with chat_server(lambda body: said("It is 3.", model="b"), ("a", "b")) as server:
        assert run(monkeypatch, "evaluate", "--suite", str(asked), "--endpoint", server.url) == 1
        assert "serves a, b: name one, as in `tracemill evaluate NAME" in capsys.readouterr().err
        assert run(monkeypatch, "evaluate", "b", "--suite", str(asked), "--endpoint", server.url) == 0
    assert run(monkeypatch, "compare", "m", "b") == 0
    assert "Compared on the 19 items that both have" in capsys.readouterr().out


def test_samples_of_a_model_here_and_what_compare_makes_of_them(
    asked: Path,
    home: Home,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = str(tiny_model(tmp_path / "tiny"))
    words = ("evaluate", model, "--suite", str(asked), "--max-tokens", "2", "--json")
    hot = (*words, "--samples", "2", "--temperature", "1.5")
    names: list[str] = []
    for one in (words, hot, (*hot, "--seed", "1")):
        assert run(monkeypatch, *one) == 0
        told = json.loads(capsys.readouterr().out)
        names.append(told["evaluation"])
    assert len({*names}) == 3
    assert told["sampling"] == {"samples": 2, "temperature": 1.5, "seed": 1}
    assert [one["id"] for one in told["items"]][:3] == ["s0~1", "s0~2", "s1~1"]
    assert [(one["name"], one["n"], one["k"]) for one in told["passes"]] == [
        ("answers", 20, 1),
        ("answers", 20, 2),
    ]
    assert run(monkeypatch, *hot[:-5], *hot[-4:]) == 0
    lines = words_of(capsys.readouterr().out)
    assert "2 samples at temperature 1.5, seed 0 items k pass@k 95% interval pass^k 95% interval" in lines
    assert run(monkeypatch, "compare", *names[1:], "--json") == 0
    assert json.loads(capsys.readouterr().out)["comparisons"][0]["shared"] == 40
    assert run(monkeypatch, "compare", *names[:2]) == 1
    assert "1 samples of each item and" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("m", "--endpoint", "127.0.0.1:1"), 1, "is no URL of a server"),
        (("m", "--endpoint", "http://[::1"), 1, "is no URL of a server"),
        (("m", "--endpoint", "http://here:99999/v1"), 1, "is no URL of a server"),
        (("m", "--endpoint", "http://me:secret@localhost/v1"), 1, "Put no name or password into the URL"),
        (
            ("m", "--endpoint", "http://localhost:1/v1", "--key-variable", "NOT_THERE"),
            1,
            "NOT_THERE is empty",
        ),
        (("nobody:x",), 1, "Unknown model: nobody:x"),
        ((), 2, "name a model, or a server with --endpoint"),
        (("m", "--samples", "3"), 2, "add --temperature"),
        (("m", "--seed", "3"), 2, "add --temperature"),
        (("m", "--key-variable", "K"), 2, "it is for --endpoint"),
        (("openai:m", "--adapter", "a"), 2, "an adapter goes with a base model here"),
        (("openai:m", "--batch-size", "16"), 2, "--batch-size: it is for a model here"),
        (("m", "--concurrency", "8"), 2, "--concurrency: it is for --endpoint"),
        (("m", "--timeout", "9"), 2, "--timeout: it is for --endpoint"),
        (("m", "--fresh"), 2, "--fresh: it is for --endpoint"),
        (("m", "--dataset", "d"), 2, "--dataset: only holdout is taken from a data set"),
        (("m", "--split", "test"), 2, "--split: only holdout is taken from a data set"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    asked: Path,
    home: Home,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    code: int,
    told: str,
) -> None:
    monkeypatch.delenv("NOT_THERE", raising=False)
    assert run(monkeypatch, "evaluate", *words, "--suite", str(asked)) == code
    err = capsys.readouterr().err
    assert told in " ".join(err.replace("│", " ").split())
    assert "secret@" not in err


@pytest.mark.parametrize("idle", ["--max-tokens", "--batch-size", "--dataset"])
def test_options_that_the_guard_would_pass_over_are_refused(
    home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], idle: str
) -> None:
    assert run(monkeypatch, "evaluate", "m", "--suite", "guard", idle, "9") == 2
    assert f"{idle}: the guard has its own" in " ".join(capsys.readouterr().err.replace("│", " ").split())

"""`tracemill forget` and `tracemill redact` as a person uses them: by name, by age, by size, by mistake."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest

from command_line import Run
from conversations import assistant, chat, record, user
from forgetting import check, files_with
from session_events import session, spool
from tracemill.tracer.home import Home
from tracemill.tracer.spool import spool_files
from tracemill.warehouse import store
from tracemill.warehouse.lineage import Dataset, DatasetRow
from tracemill.warehouse.read import query

DAY = 86400.0


@pytest.fixture
def recorded(home: Home) -> Home:
    """Sessions of 100, 50 and no days ago; the second one has an outcome."""
    now = time.time()
    spool(home, session("old", at=now - 100 * DAY, outcome=None, prompt="old " + "x" * 5000))
    spool(home, session("labelled", at=now - 50 * DAY), file="b.ndjson")
    spool(home, session("mid", at=now - 40 * DAY, outcome=None), file="b.ndjson")
    spool(home, session("new", at=now - 100, outcome=None), file="c.ndjson")
    return home


def sessions_of(home: Home) -> list[str]:
    return query(home, "SELECT session_id FROM sessions ORDER BY 1")["session_id"].to_list()


def test_a_session_is_forgotten_by_the_beginning_of_its_id(recorded: Home, tracemill: Run) -> None:
    ended = tracemill("forget", "ol")
    assert ended.code == 0
    assert ended.out.startswith("Forgot 1 session: old. ")
    assert ended.out.endswith(" freed.\nNo data set, adapter or evaluation holds any of it.\n")
    assert sessions_of(recorded) == ["labelled", "mid", "new"]
    again = tracemill("forget", "ol")
    assert again.code == 0
    assert "old is forgotten already." in again.err
    assert tracemill("show", "old").code == 1


def test_several_at_once_and_the_latest(recorded: Home, tracemill: Run) -> None:
    ended = tracemill("forget", "latest", "old", "new", "--json")
    told = json.loads(ended.out)
    assert (told["sessions"], told["dry_run"], told["made"]) == (["new", "old"], False, [])
    assert sessions_of(recorded) == ["labelled", "mid"]
    check(recorded)


def test_a_dry_run_changes_nothing_and_names_what_holds_it(recorded: Home, tracemill: Run) -> None:
    recorded.ensure(recorded.datasets / "d1")
    store.record_dataset(recorded, Dataset("d1", "/gone/d1", "h", {}, [DatasetRow("r", "train", "old")]))
    before = {path: path.read_bytes() for path in spool_files(recorded)}
    ended = tracemill("forget", "old", "--dry-run")
    assert ended.code == 0
    assert ended.out.startswith("Would forget 1 session: old.\nIt is still in:\n")
    assert f"rm -r {recorded.datasets / 'd1'}; `tracemill export` makes one without it" in ended.out
    assert {path: path.read_bytes() for path in spool_files(recorded)} == before
    assert not recorded.forgotten.exists()


def test_an_id_of_nothing_changes_nothing(recorded: Home, tracemill: Run) -> None:
    ended = tracemill("forget", "old", "nothing")
    assert (ended.code, ended.out) == (1, "")
    assert "No session id begins with 'nothing'" in ended.err
    assert len(sessions_of(recorded)) == 4


def test_a_home_without_sessions(home: Home, tracemill: Run) -> None:
    assert "There is no session yet" in tracemill("forget", "latest").err
    assert tracemill("forget", "--older-than", "1d", "--yes").out == "There is no session to forget.\n"
    assert tracemill("redact").out == "There is nothing to redact.\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "give session ids, or --older-than, --keep-under or both"),
        (("old", "--older-than", "1d"), "give session ids, or --older-than"),
        (("old", "--all"), "give session ids, or --older-than"),
        (("--older-than", "1d", "--lift"), "give session ids, or --older-than"),
        (("--older-than", "ninety"), "'ninety' is no age"),
        (("--keep-under", "5"), "'5' is no size"),
    ],
)
def test_a_wrong_command_line(home: Home, tracemill: Run, words: tuple[str, ...], said: str) -> None:
    ended = tracemill("forget", *words)
    assert ended.code == 2
    assert said in " ".join(ended.err.replace("│", " ").split())


def test_what_is_old_goes_and_what_has_an_outcome_stays(recorded: Home, tracemill: Run) -> None:
    would = tracemill("forget", "--older-than", "45d", "--dry-run")
    assert would.out.startswith("Would forget 1 session: old.\n")
    assert "1 session would go too but for an outcome or feedback; --all takes them." in would.err
    assert tracemill("forget", "--older-than", "45d", "--yes").out.startswith("Forgot 1 session: old.")
    assert sessions_of(recorded) == ["labelled", "mid", "new"]
    assert tracemill("forget", "--older-than", "0.5h", "--all", "-y").code == 0
    # In the last hour something happened in the newest.
    assert sessions_of(recorded) == ["new"]
    assert tracemill("forget", "--older-than", "45d", "--yes").out == "There is no session to forget.\n"
    check(recorded)


def test_the_oldest_go_until_the_spool_is_small(recorded: Home, tracemill: Run) -> None:
    total = sum(path.stat().st_size for path in spool_files(recorded))
    enough = tracemill("forget", "--keep-under", f"{total / 1000}kB", "--yes")
    assert enough.out == "There is no session to forget.\n"
    done = tracemill("forget", "--keep-under", f"{(total - 1000) / 1000}kB", "--yes")
    assert done.out.startswith("Forgot 1 session: old.")
    assert sum(path.stat().st_size for path in spool_files(recorded)) < total - 1000
    done = tracemill("forget", "--keep-under", "1 KiB", "--yes")
    assert done.out.startswith("Forgot 1 session: mid.")
    assert "1 session would go too but for an outcome" in done.err
    assert "The spool takes" in done.err
    assert sessions_of(recorded) == ["labelled", "new"]


def test_nobody_to_ask_is_an_error(recorded: Home, tracemill: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = tracemill("forget", "--older-than", "45d")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.splitlines()[-1] == (
        "error: 1 session would be forgotten for good and nobody is there to be asked: "
        "give --yes, or --dry-run to see which."
    )
    assert "old" in sessions_of(recorded)


@pytest.mark.parametrize(("answer", "left"), [("y\n", 3), ("n\n", 4)])
def test_a_person_is_asked(
    recorded: Home, tracemill: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, answer: str, left: int
) -> None:
    said = tmp_path / "answer"
    said.write_text(answer)
    with said.open() as keyboard:
        monkeypatch.setattr(sys, "stdin", keyboard)
        monkeypatch.setattr(keyboard, "isatty", lambda: True, raising=False)
        ended = tracemill("forget", "--older-than", "45d")
    assert "Forget 1 session for good? [y/N]" in ended.err
    assert ended.code == (0 if left == 3 else 1)
    assert len(sessions_of(recorded)) == left


def test_an_import_leaves_out_what_was_forgotten_until_that_is_lifted(
    home: Home, tracemill: Run, tmp_path: Path
) -> None:
    path = tmp_path / "runs.jsonl"
    for text in ("alpha", "beta"):
        messages = [{"role": "user", "content": text}, {"role": "assistant", "content": f"{text}!"}]
        with path.open("a") as file:
            file.write(json.dumps({"messages": messages}) + "\n")
    assert tracemill("import", "openai-chat", str(path)).code == 0
    first = query(
        home, "SELECT session_id FROM requests JOIN messages ON message_id = added[1] WHERE content = 'alpha'"
    ).item()
    assert tracemill("forget", first).code == 0
    again = tracemill("import", "openai-chat", str(path))
    assert again.code == 0
    assert "left out: 1 x session that was forgotten (`tracemill forget --lift ID`" in again.err
    assert files_with(home, "alpha!") == []
    lifted = tracemill("forget", "--lift", first[:10])
    assert lifted.out.startswith(f"May be recorded and imported again: {first} (forgotten 20")
    assert tracemill("import", "openai-chat", str(path)).out.endswith("1 sessions are new or have grown.\n")
    assert len(sessions_of(home)) == 2
    check(home)
    assert "No forgotten session begins with" in tracemill("forget", "--lift", first).err


def test_what_turns_up_again_is_taken_out_and_said(recorded: Home, tracemill: Run) -> None:
    backup = (recorded.spool / "a.ndjson").read_bytes()
    tracemill("forget", "old")
    (recorded.spool / "backup.ndjson").write_bytes(backup)
    ended = tracemill("ingest")
    assert ended.code == 0
    assert "events of sessions that were forgotten turned up and were taken out again" in ended.err
    assert files_with(recorded, "old xxx") == []


def test_redact_says_what_it_replaced_and_where(
    recorded: Home, tracemill: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = "quite-a-long-value-7"
    spool(recorded, session("s9", prompt=f"it is {value}", task=value), file="d.ndjson")
    store.record_dataset(recorded, Dataset("d1", "/gone/d1", "h", {}, [DatasetRow("r", "train", "s9")]))
    assert tracemill("redact").out == "There is nothing to redact.\n"
    monkeypatch.setenv("DEPLOY_TOKEN", value)
    would = tracemill("redact", "--dry-run")
    assert would.out.startswith("Would redact 1 session: 2 x variable.\nIt is still in:\n")
    assert files_with(recorded, value) != []
    told = json.loads(tracemill("redact", "--json").out)
    assert (told["sessions"], told["places"], told["files"]) == (["s9"], {"variable": 2}, 1)
    assert told["made"][0]["mend"] == "nothing here; copies elsewhere still hold it"
    assert files_with(recorded, value) == []
    assert tracemill("redact").out == "There is nothing to redact.\n"
    check(recorded)


@pytest.mark.parametrize("words", [("",), ("", "--lift"), ("only", ""), ("", "--dry-run")])
def test_an_empty_id_forgets_nothing(home: Home, tracemill: Run, words: tuple[str, ...]) -> None:
    spool(home, session("only"))
    ended = tracemill("forget", *words)
    assert (ended.code, ended.out) == (2, "")
    assert "an id is empty" in ended.err
    tracemill("ingest")
    assert sessions_of(home) == ["only"]


@pytest.mark.slow
def test_what_was_made_of_data_sets_is_named_too(home: Home, tracemill: Run, tmp_path: Path) -> None:
    for name in ("one", "two", "three"):
        record(home, name, chat(f"Tell me of number {name}", f"{name}.py"))
    tracemill("ingest")
    recipe = tmp_path / "all.toml"
    recipe.write_text('name = "all"\n[steps.learnable]\n')
    tracemill("export", "--recipe", str(recipe), "--name", "all")
    plain = tmp_path / "plain"
    commands = {
        "some": ("sample", "all", "--rows", "3"),
        "drawn": ("split", "all"),
        "kept": ("filter", "all", "--where", "session_id = 'one'"),
        "sieved": ("filter", "all", "--recipe", str(recipe)),
        "both": ("merge", "all", str(plain)),
    }
    plain.mkdir()
    (plain / "train.jsonl").write_text(
        json.dumps({"messages": [user("Who goes there?"), assistant("Nobody.")]}) + "\n"
    )
    for name, words in commands.items():
        for _ in range(2):
            assert tracemill("dataset", *words, "--to", str(tmp_path / name)).code == 0
    assert tracemill("dataset", "split", "all", "--to", str(tmp_path / "elsewhere" / "drawn")).code == 0
    assert tracemill("dataset", "split", str(plain), "--to", str(tmp_path / "none")).code == 0
    made = json.loads(tracemill("forget", "one", "--dry-run", "--json").out)["made"]
    ids = [one["id"] for one in made]
    assert ids[:6] == ["all", "some", "drawn", "kept", "sieved", "both"]
    assert len(ids) == 7
    assert ids[6].startswith("drawn@")
    assert [one["path"] for one in made[1:]] == [
        *(str(tmp_path / name) for name in commands), str(tmp_path / "elsewhere" / "drawn")
    ]  # fmt: skip
    assert [(one["rows"], one["of"]) for one in made] == [
        (1, 3), (1, 3), (1, 3), (1, 1), (1, 3), (1, 4), (1, 3)
    ]  # fmt: skip

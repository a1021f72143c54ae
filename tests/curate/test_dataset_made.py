"""Data sets made of others by merge, split, sample and filter: rows unchanged, nothing lost, nothing leaks."""

from __future__ import annotations

import json
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chat_sets import call_text, pair, rows_in, structured, talk, write
from tracemill.curate.datasets.facts import scan
from tracemill.curate.datasets.filtering import narrow, sieve
from tracemill.curate.datasets.made import FILE, listed, made_of
from tracemill.curate.datasets.merging import merge
from tracemill.curate.datasets.opened import Opened, find
from tracemill.curate.datasets.sampling import sample, write_sample
from tracemill.curate.datasets.splitting import divide
from tracemill.curate.errors import DatasetError, ExportError
from tracemill.curate.leaks import check
from tracemill.curate.recipe import parse
from tracemill.curate.splits import SplitOptions
from tracemill.tracer.home import Home

WORDS = [f"word{letter}" for letter in "abcdefghijklmnopqr"]


def long_talk(number: int, **keys: Any) -> dict[str, Any]:
    """A row like no other of another number."""
    said = [f"{word}{number * 31 + at}" for at, word in enumerate(WORDS)]
    return talk(f"Question {number} " + " ".join(said), " ".join(reversed(said)), **keys)


def nearly(row: dict[str, Any]) -> dict[str, Any]:
    """The row with one word of its answer changed."""
    question, answer = row["messages"]
    return {**row, "messages": [question, {**answer, "content": answer["content"] + " more"}]}


def made(folder: Path) -> Any:
    return json.loads((folder / FILE).read_text("utf-8"))


def lines_in(folder: Path) -> list[bytes]:
    return sorted(line for file in folder.glob("*.jsonl") for line in file.read_bytes().splitlines())


def opened(home: Home, folder: Path, splits: dict[str, Sequence[Any]]) -> Opened:
    return find(write(folder, splits), home)


def test_rows_that_teach_different_turns_are_no_duplicates(tmp_path: Path, home: Home) -> None:
    def weighed(first: int, last: int) -> dict[str, Any]:
        said = [("user", "q", 1), ("assistant", "one", first), ("user", "r", 1), ("assistant", "two", last)]
        return {
            "messages": [{"role": role, "content": text, "weight": weight} for role, text, weight in said]
        }

    rows = [weighed(0, 1), weighed(1, 0), weighed(0, 1)]
    sets = [opened(home, tmp_path / str(at), {"train": [row]}) for at, row in enumerate(rows)]
    merge(sets, tmp_path / "merged", home)
    assert rows_in(tmp_path / "merged") == {"train": rows[:2]}


def test_merging_keeps_rows_and_says_where_they_come_from(tmp_path: Path, home: Home) -> None:
    first = opened(
        home, tmp_path / "a", {"train": [long_talk(1, id="x"), long_talk(2), b"{"], "valid": [long_talk(3)]}
    )
    second = opened(home, tmp_path / "b", {"train": [long_talk(4, id="x"), long_talk(2), structured("s")]})
    done = merge([first, second], tmp_path / "m", home)
    rows = rows_in(tmp_path / "m")
    assert [row.get("id") for row in rows["train"]] == ["x", None, "b/x", None]
    assert rows["train"][:2] == [long_talk(1, id="x"), long_talk(2)]
    assert rows["train"][2] == long_talk(4, id="b/x")
    assert rows["train"][3] == structured("s")
    assert (done.renamed, done.moved) == (1, 0)
    told = made(tmp_path / "m")
    assert [(one["name"], one["rows"]) for one in told["sources"]] == [("a", 4), ("b", 3)]
    assert [(one["step"], one["source"], one["line"], one["evidence"]) for one in told["dropped"][1:]] == [
        ("merge", "b", 2, "the same messages and tools as train.jsonl, line 2 of a")
    ]
    assert told["dropped"][0]["reason"] == "not JSON"
    assert [(one["to"], one["at"], one["source"], one["line"]) for one in told["rows"]] == [
        ("train", 1, "a", 1),
        ("train", 2, "a", 2),
        ("valid", 1, "a", 1),
        ("train", 3, "b", 1),
        ("train", 4, "b", 3),
    ]
    assert str(tmp_path) not in (tmp_path / "m" / FILE).read_text("utf-8")


def test_another_id_changes_nothing_else_of_a_line(tmp_path: Path, home: Home) -> None:
    odd = rb'{ "x":1e5,"n":123456789012345678901234567890 , "a":{"id":"x"}, "\u0069d" : "x","messages":%b}'
    messages = rb'[{"role":"user","content":"\u00e9 \/"},{"role":"assistant","content":"yes %d"}]'
    lines = [odd % (messages % number) for number in range(2)]
    merge(
        [opened(home, tmp_path / name, {"train": [line]}) for name, line in zip("ab", lines, strict=True)],
        tmp_path / "m",
        home,
    )
    written = (tmp_path / "m" / "train.jsonl").read_bytes().splitlines()
    assert written == [lines[0], lines[1].replace(rb': "x","mess', rb': "b/x","mess')]


def test_what_was_written_is_private_and_the_same_again(tmp_path: Path, home: Home) -> None:
    sets = [opened(home, tmp_path / name, {"train": [long_talk(n)]}) for n, name in enumerate("ab")]
    assert not merge(sets, tmp_path / "m", home).written.reused
    before = {file.name: file.read_bytes() for file in (tmp_path / "m").iterdir()}
    assert merge(sets, tmp_path / "m", home).written.reused
    assert before == {file.name: file.read_bytes() for file in (tmp_path / "m").iterdir()}
    assert {stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "m").iterdir()} == {0o600}
    assert stat.S_IMODE((tmp_path / "m").stat().st_mode) == 0o700
    (tmp_path / "empty").mkdir()
    merge(sets, tmp_path / "empty", home)
    with pytest.raises(ExportError, match=r"holds another train\.jsonl; choose a different --to"):
        merge([sets[0], sets[0]], tmp_path / "m", home)


def test_nothing_is_written_over_or_beside_what_is_read(tmp_path: Path, home: Home) -> None:
    data = opened(home, tmp_path / "a", {"train": [long_talk(1)]})
    for to in (tmp_path / "a", tmp_path / "a" / "inner"):
        with pytest.raises(DatasetError, match="is where a is read from"):
            narrow(data, "true", to, home)
    with pytest.raises(DatasetError, match="is a file; --to names the folder"):
        narrow(data, "true", tmp_path / "a" / "train.jsonl", home)
    write(tmp_path / "other", {"extra": [long_talk(2)]})
    with pytest.raises(DatasetError, match=r"holds extra\.jsonl already"):
        narrow(data, "true", tmp_path / "other", home)
    assert [file.name for file in (tmp_path / "a").iterdir()] == ["train.jsonl"]
    with pytest.raises(DatasetError, match="is where train is read from"):
        narrow(find(tmp_path / "a" / "train.jsonl", home), "true", tmp_path / "a", home)
    narrow(find(tmp_path / "a" / "train.jsonl", home), "true", tmp_path / "a" / "beside", home)
    assert [file.name for file in (tmp_path / "other").iterdir()] == ["extra.jsonl"]


def test_what_says_what_is_held_out_is_left_out_of_training(tmp_path: Path, home: Home) -> None:
    held = [long_talk(1, task="t"), long_talk(2), long_talk(3, id="i", session_id="s")]
    mine = opened(home, tmp_path / "mine", {"train": [long_talk(9)], "test": held})
    session = long_talk(5, id="j", session_id="s")
    same_prompt = talk(held[1]["messages"][0]["content"], "Something else.")
    theirs = opened(
        home,
        tmp_path / "theirs",
        {
            "train": [
                long_talk(1),
                long_talk(4, task="t"),
                session,
                same_prompt,
                nearly(long_talk(2)),
                long_talk(6),
            ]
        },
    )
    done = merge([mine, theirs], tmp_path / "m", home)
    assert rows_in(tmp_path / "m") == {"train": [long_talk(9), long_talk(6)], "test": held}
    assert done.written.reasons == {
        "exact duplicate": 1,
        "held out: prompt": 2,
        "held out: session": 1,
        "held out: task": 1,
    }
    assert not any(done.report.counts().values())
    moved = merge([mine, theirs], tmp_path / "moved", home, splits="move")
    assert moved.moved == 4
    assert len(rows_in(tmp_path / "moved")["test"]) == 7
    assert not any(check(tmp_path / "moved").counts().values())


def test_a_near_copy_of_what_is_held_out_is_left_out(tmp_path: Path, home: Home) -> None:
    held = long_talk(1)
    other = talk("Please: " + held["messages"][0]["content"], held["messages"][1]["content"])
    mine = opened(home, tmp_path / "mine", {"train": [long_talk(2)], "valid": [held]})
    theirs = opened(home, tmp_path / "theirs", {"train": [other]})
    done = merge([mine, theirs], tmp_path / "m", home)
    assert done.written.reasons == {"held out: near copy": 1}
    (left,) = made(tmp_path / "m")["dropped"]
    assert left["evidence"].endswith("% alike to valid.jsonl, line 1 of mine")


ROWS = st.lists(
    st.tuples(st.integers(0, 6), st.booleans(), st.sampled_from(["train", "valid", "test"]), st.booleans()),
    min_size=1,
    max_size=10,
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ROWS, ROWS, st.sampled_from(["keep", "move", "reassign"]))
def test_merged_sets_never_leak_and_lose_nothing(
    tmp_path_factory: pytest.TempPathFactory, home: Home, left: Any, right: Any, splits: Any
) -> None:
    root = tmp_path_factory.mktemp("sets")
    sets: list[Opened] = []
    for name, listed_rows in (("a", left), ("b", right)):
        rows: dict[str, list[Any]] = {"train": [], "valid": [], "test": []}
        for number, near, split, with_id in listed_rows:
            row = long_talk(number, **({"id": str(number)} if with_id else {}))
            rows[split].append(nearly(row) if near else row)
        sets.append(find(write(root / name, rows), home))
    done = merge(sets, root / "m", home, splits=splits)
    told = done.written.made
    assert not any(check(root / "m").counts().values())
    assert len(told.rows) + len(told.dropped) == len(left) + len(right)
    written = [row for rows in rows_in(root / "m").values() for row in rows]
    assert len(written) == len(told.rows)
    ids = [row["id"] for row in written if "id" in row]
    assert len(ids) == len(set(ids))
    if splits != "keep":
        before = {
            json.dumps(row["messages"]) for one in sets for rows in rows_in(one.path).values() for row in rows
        }
        assert {json.dumps(row["messages"]) for row in written} == before


def test_splitting_moves_rows_and_changes_none(tmp_path: Path, home: Home) -> None:
    rows: list[Any] = [long_talk(number) for number in range(60)] + [
        nearly(long_talk(n)) for n in range(1, 11)
    ]
    rows += [structured("s"), pair("p"), long_talk(70, split="test")]
    data = opened(home, tmp_path / "a", {"train": rows[::2], "valid": rows[1::2]})
    options = SplitOptions(valid=0.2, test=0.2, seed=3)
    done = divide(data, tmp_path / "s", home, options)
    assert lines_in(tmp_path / "s") == lines_in(tmp_path / "a")
    assert any(done.before.counts().values())
    assert not any(check(tmp_path / "s").counts().values())
    assert long_talk(70, split="test") in rows_in(tmp_path / "s")["test"]
    assert set(rows_in(tmp_path / "s")) == {"train", "valid", "test"}
    again = divide(data, tmp_path / "s2", home, options)
    assert again.written.made.files == done.written.made.files
    other = divide(data, tmp_path / "s3", home, SplitOptions(valid=0.2, test=0.2, seed=4))
    assert other.written.made.files != done.written.made.files


def test_splitting_by_repository_needs_projects(tmp_path: Path, home: Home) -> None:
    data = opened(home, tmp_path / "a", {"train": [long_talk(1)]})
    with pytest.raises(DatasetError, match=r"No row of .* names its project"):
        divide(data, tmp_path / "s", home, SplitOptions(repository=True))
    rows = [long_talk(number, project=f"p{number % 6}") for number in range(30)]
    data = opened(home, tmp_path / "b", {"train": rows})
    divide(data, tmp_path / "s", home, SplitOptions(repository=True, valid=0.3, test=0.3))
    sides = [{row["project"] for row in listed_rows} for listed_rows in rows_in(tmp_path / "s").values()]
    assert sum(map(len, sides)) == 6


def test_stratifying_holds_out_every_tool(tmp_path: Path, home: Home) -> None:
    rows = [
        talk(long_talk(n)["messages"][0]["content"], call_text("rare" if n < 6 else "often"))
        for n in range(80)
    ]
    data = opened(home, tmp_path / "a", {"train": rows})
    divide(data, tmp_path / "s", home, SplitOptions(stratify=True, valid=0.1, test=0.1))
    for split in ("valid", "test"):
        assert any("rare" in row["messages"][1]["content"] for row in rows_in(tmp_path / "s")[split])


def test_what_was_known_of_rows_is_known_of_what_is_made_of_them(tmp_path: Path, home: Home) -> None:
    data = opened(home, tmp_path / "a", {"train": [long_talk(n, task=f"t{n // 2}") for n in range(8)]})
    bare = opened(home, tmp_path / "b", {"train": [long_talk(n) for n in range(8)]})
    divide(data, tmp_path / "s", home, SplitOptions(valid=0.3, test=0.3))
    sampled = sample(scan(find(tmp_path / "s", home)), 8, 0)
    write_sample(find(tmp_path / "s", home), sampled, tmp_path / "x", home, {})
    assert sorted(scan(find(tmp_path / "x", home)).rows["task"]) == [f"t{n // 2}" for n in range(8)]
    assert scan(bare).rows["task"].null_count() == 8


def test_a_task_that_no_row_names_any_longer_still_leaks(tmp_path: Path, home: Home) -> None:
    data = opened(
        home,
        tmp_path / "a",
        {"train": [long_talk(1, task="t"), long_talk(2, task="t", id="i", session_id="s")]},
    )
    divide(data, tmp_path / "s", home, SplitOptions())
    (tmp_path / "s" / "train.jsonl").write_text(json.dumps(long_talk(1)) + "\n")
    (tmp_path / "s" / "test.jsonl").write_text(json.dumps(long_talk(2, id="i", session_id="s")) + "\n")
    assert check(tmp_path / "s").counts()["task"] == 1


@given(st.integers(1, 40), st.integers(0, 5), st.sampled_from([None, "category", "tool", "split"]))
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_sample_has_so_many_rows_and_every_kind(
    tmp_path_factory: pytest.TempPathFactory, home: Home, number: int, seed: int, by: Any
) -> None:
    rows = [
        talk(f"q{n}", call_text("rare") if n == 7 else "a", category="odd" if n == 9 else "")
        for n in range(30)
    ]
    folder = tmp_path_factory.mktemp("set")
    data = find(write(folder, {"train": rows[:20], "valid": rows[20:]}), home)
    found = scan(data)
    drawn = sample(found, number, seed, by)
    assert drawn.height == min(number, 30)
    assert drawn.rows() == sample(found, number, seed, by).rows()
    assert set(drawn["prompt"]) <= set(sample(found, number + 1, seed, by)["prompt"]), "more adds to it"
    if number >= 2 and by == "category":
        assert set(drawn["category"]) == {"", "odd"}
    if number >= 2 and by == "tool":
        assert drawn["calls"].sum() == 1
    if number >= 2 and by == "split":
        assert set(drawn["split"]) == {"train", "valid"}


def test_a_sample_of_all_is_all(tmp_path: Path, home: Home) -> None:
    bom = b"\xef\xbb\xbf" + json.dumps(talk("first")).encode() + b"\r"
    data = opened(home, tmp_path / "a", {"train": [bom, talk("last")]})
    write_sample(data, sample(scan(data), 10, 0), tmp_path / "s", home, {})
    assert rows_in(tmp_path / "s") == {"train": [talk("first"), talk("last")]}


def test_a_condition_keeps_rows_as_they_are(tmp_path: Path, home: Home) -> None:
    odd = b'{"messages":[{"content":"q","role":"user"},{"role":"assistant","content":"a"}],   "mine": 1.50}'
    data = opened(
        home,
        tmp_path / "a",
        {"train": [odd, structured("s"), b"{"], "test": [talk("t", call_text(path="a"))]},
    )
    done = narrow(data, "calls = 0 -- none", tmp_path / "none", home)
    assert (tmp_path / "none" / "train.jsonl").read_bytes() == odd + b"\n"
    assert done.reasons == {"does not meet the condition": 2, "not JSON": 1}
    assert [one["evidence"] for one in made(tmp_path / "none")["dropped"][1:]] == ["calls = 0 -- none"] * 2
    narrow(data, "list_contains(tools, 'read_file') AND split = 'test'", tmp_path / "test", home)
    assert rows_in(tmp_path / "test") == {"train": [], "test": [talk("t", call_text(path="a"))]}


@pytest.mark.parametrize(
    ("where", "told"),
    [
        ("turn = 1", r"names the column 'turn', which does not exist \(did you mean 'turns'\?\)"),
        ("calls >", "The condition cannot be asked: Parser Error"),
        ("calls > 5", "None of the 1 rows of a meets 'calls > 5', so nothing is written"),
        ("prompt IN (SELECT content FROM read_text('/project/x'))", "cannot be asked: Permission Error"),
    ],
)
def test_a_condition_that_cannot_be(tmp_path: Path, home: Home, where: str, told: str) -> None:
    data = opened(home, tmp_path / "a", {"train": [talk("q")]})
    with pytest.raises(DatasetError, match=told):
        narrow(data, where, tmp_path / "out", home)
    assert not (tmp_path / "out").exists()


RECIPE = 'name = "r"\n[rewrites.preambles]\n[steps.duplicates]\n[steps.learnable]\n'


def test_a_recipe_keeps_each_row_in_its_split_and_says_what_it_did(tmp_path: Path, home: Home) -> None:
    said = talk("q", "Let me look.\n" + call_text(path="a"))
    data = opened(
        home,
        tmp_path / "a",
        {"train": [said, said, talk("x", ""), long_talk(1)], "validation": [long_talk(2), b"{"]},
    )
    done = sieve(
        data, parse(RECIPE, "r"), tmp_path / "out", home, where="turns > 0 AND prompt <> 'q' OR calls > 0"
    )
    rows = rows_in(tmp_path / "out")
    assert [row["messages"][1]["content"] for row in rows["train"]] == [
        call_text(path="a"),
        long_talk(1)["messages"][1]["content"],
    ]
    assert [row["id"] for row in rows["valid"]] == ["a/validation:1"]
    assert [(one.step, one.dropped) for one in done.manifest.steps] == [
        ("read", 1),
        ("where", 0),
        ("duplicates", 1),
        ("learnable", 1),
        ("form", 0),
    ]
    assert {one.reason for one in done.manifest.dropped} == {
        "not JSON",
        "exact duplicate",
        "nothing to learn",
    }
    (edit,) = [one for one in done.manifest.edits if one.conversation_id == "a/train:1"]
    assert edit.before == "Let me look.\n"
    assert sieve(
        data, parse(RECIPE, "r"), tmp_path / "out", home, where="turns > 0 AND prompt <> 'q' OR calls > 0"
    ).reused


def test_a_recipe_that_leaves_nothing_says_which_step_did(tmp_path: Path, home: Home) -> None:
    data = opened(home, tmp_path / "a", {"train": [talk("x", ""), talk("y", "")]})
    with pytest.raises(DatasetError, match=r"None of 2 .* the step learnable dropped 2"):
        sieve(data, parse(RECIPE, "r"), tmp_path / "out", home)
    with pytest.raises(DatasetError, match=r"None of 2 .* the step where dropped 2"):
        sieve(data, parse(RECIPE, "r"), tmp_path / "out", home, where="calls > 0")
    assert not (tmp_path / "out").exists()


def test_long_lists_stand_beside(tmp_path: Path, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tracemill.curate.datasets.made.LISTED", 3)
    data = opened(home, tmp_path / "a", {"train": [talk(f"q{n}", task=f"t{n}") for n in range(8)]})
    narrow(data, "line > 4", tmp_path / "out", home)
    told = made_of(tmp_path / "out")
    assert told is not None
    assert (told.rows, told.dropped, sorted(told.beside)) == ([], [], ["dropped.parquet", "rows.parquet"])
    assert listed(tmp_path / "out", told)["line"].to_list() == [5, 6, 7, 8]
    assert scan(find(tmp_path / "out", home)).rows["task"].to_list() == ["t4", "t5", "t6", "t7"]

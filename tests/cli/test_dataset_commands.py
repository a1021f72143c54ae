"""`tracemill dataset` as a user runs it: what is printed, what is written, exit codes."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from chat_sets import call_text, rows_in, talk, write
from command_line import Run
from tracemill.cli.dataset import SUBCOMMANDS
from tracemill.tracer.home import Home


@pytest.fixture
def mine(tmp_path: Path, home: Home) -> str:
    rows = [talk("Read it", call_text(path="a.py")), talk("Why?", "So."), talk("Why?", "So.")]
    return str(write(tmp_path / "mine", {"train": rows, "valid": [talk("How?", "Thus.")]}))


@pytest.mark.parametrize(("name", "example"), [(name, example) for name, _, example in SUBCOMMANDS])
def test_every_subcommand_has_help_and_an_example(tracemill: Run, name: str, example: str) -> None:
    ended = tracemill("dataset", name, "--help")
    assert ended.code == 0
    words = shlex.split(example)
    assert words[:3] == ["tracemill", "dataset", name]
    assert "Example: tracemill dataset" in ended.out
    assert [word for word in words if word.startswith("--") and word not in ended.out] == []


@pytest.mark.parametrize(
    ("name", "tables"), [("filter", ("rewrites", "steps", "format")), ("split", ("split",))]
)
def test_help_names_the_tables_of_a_recipe(tracemill: Run, name: str, tables: tuple[str, ...]) -> None:
    said = tracemill("dataset", name, "--help").out
    assert [table for table in tables if f"[{table}]" not in said] == []


def test_the_group_names_its_subcommands(tracemill: Run) -> None:
    ended = tracemill("dataset", "--help")
    assert ended.code == 0
    for name, *_ in SUBCOMMANDS:
        assert f" {name} " in ended.out


def test_stats(tracemill: Run, mine: str) -> None:
    ended = tracemill("dataset", "stats", mine)
    assert ended.code == 0
    assert "33.3% of 3" not in ended.out
    assert "25.0% of 4" in ended.out
    assert "rows that repeat another" in ended.out
    told = json.loads(tracemill("dataset", "stats", mine, "--json").out)
    assert (told["rows"], told["repeated_rows"], told["path"]) == (4, 1, mine)


def test_validate_says_what_is_wrong_and_fails(tracemill: Run, mine: str) -> None:
    ended = tracemill("dataset", "validate", mine)
    assert (ended.code, ended.out) == (0, "Nothing is wrong with any of 4 rows.\n")
    with (Path(mine) / "valid.jsonl").open("ab") as file:
        file.write(b'{"messages": \x1b[2J\n' * 9)
    ended = tracemill("dataset", "validate", mine, "--show", "2")
    assert ended.code == 1
    assert "valid.jsonl, line 2: not JSON: not JSON (" in ended.out
    assert ended.out.count("valid.jsonl, line") == 2
    assert "... and 7 more" in ended.err
    assert "Traceback" not in ended.err
    ended = tracemill("dataset", "validate", mine, "--json")
    told = json.loads(ended.out)
    assert (ended.code, told["rows"], told["wrong"]) == (1, 13, {"not JSON": 9})
    assert told["defects"][0]["mend"] == "mend the line, or delete it"


def test_what_stands_in_rows_does_not_act_on_the_terminal(tracemill: Run, tmp_path: Path, home: Home) -> None:
    evil = "\x1b[2Jclear [red]it[/red] \u202e"
    a, b = (str(write(tmp_path / name, {"train": [talk(evil, name + evil)] * 2})) for name in "ab")
    for words in (["stats", a], ["diff", a, b], ["validate", a]):
        ended = tracemill("dataset", *words)
        assert ended.code == 0
        assert "\x1b[2J" not in ended.out
        assert "\u202e" not in ended.out
    assert "[red]it[/red]" in tracemill("dataset", "diff", a, b).out


def test_filter(tracemill: Run, mine: str, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    ended = tracemill("dataset", "filter", mine, "--where", "calls > 0", "--to", out, "--json")
    told = json.loads(ended.out)
    assert (ended.code, told["splits"], told["dropped"]) == (
        0,
        {"train": 1},
        {"does not meet the condition": 3},
    )
    assert rows_in(Path(out)) == {"train": [talk("Read it", call_text(path="a.py"))]}
    again = tracemill("dataset", "filter", mine, "--where", "calls > 0", "--to", out)
    assert (again.code, again.out.splitlines()[-1]) == (0, f"{out} (it was there already)")
    assert "There is one split only, so nothing can stand in two." in again.out
    recipe = tmp_path / "r.toml"
    recipe.write_text('name = "r"\n[steps.duplicates]\n')
    made = tracemill("dataset", "filter", mine, "--recipe", str(recipe), "--to", str(tmp_path / "made"))
    assert (made.code, "exact duplicate 1" in made.out) == (0, True)
    assert tracemill("dataset", "filter", mine, "--to", out).code == 2
    wrong = tracemill("dataset", "filter", mine, "--where", "x", "--to", str(tmp_path / "wrong"))
    assert (wrong.code, wrong.out, wrong.err.count("\n")) == (1, "", 1)
    assert wrong.err.startswith("error: The condition names the column 'x'")
    assert not (tmp_path / "wrong").exists()


def test_a_filter_says_what_leaks(tracemill: Run, tmp_path: Path, home: Home) -> None:
    data = write(
        tmp_path / "leaky", {"train": [talk("One"), talk("Two")], "test": [talk("Two"), talk("Six")]}
    )
    recipe = tmp_path / "r.toml"
    recipe.write_text('name = "r"\n[steps.learnable]\n')
    for at, asked in enumerate((("--where", "turns > 0"), ("--recipe", str(recipe)))):
        words = (*asked, "--to", str(tmp_path / f"out{at}"))
        ended = tracemill("dataset", "filter", str(data), *words)
        assert (ended.code, "In several splits stand: messages 1, prompt 1." in ended.out) == (0, True)
        assert f"`tracemill dataset leaks {words[-1]}` shows them" in ended.err
        told = json.loads(tracemill("dataset", "filter", str(data), *words, "--json").out)
        assert told["leaks"] == {"messages": 1, "session": 0, "task": 0, "prompt": 1, "near": 0}
        assert tracemill("dataset", "leaks", words[-1]).code == 1


def test_merge_split_and_diff(tracemill: Run, mine: str, tmp_path: Path) -> None:
    theirs = str(write(tmp_path / "theirs", {"train": [talk("How?", "Well."), talk("Where?", "There.")]}))
    merged = tracemill("dataset", "merge", mine, theirs, "--to", str(tmp_path / "m"), "--json")
    told = json.loads(merged.out)
    assert told["dropped"] == {"exact duplicate": 1, "held out: prompt": 1}
    assert told["splits"] == {"train": 3, "valid": 1}
    assert not any(told["leaks"].values())
    shown = tracemill("dataset", "merge", mine, theirs, "--to", str(tmp_path / "m"))
    assert "No session, task, prompt or near copy stands in two splits." in shown.out
    assert tracemill("dataset", "merge", mine, "--to", str(tmp_path / "x")).code == 2
    split = tracemill("dataset", "split", mine, "--to", str(tmp_path / "s"), "--valid", "0.4", "--seed", "1")
    assert split.code == 0
    assert "Now: No session, task, prompt or near copy stands in two splits." in split.out
    bad = tracemill("dataset", "split", mine, "--to", str(tmp_path / "y"), "--valid", "0.6", "--test", "0.6")
    assert (bad.code, "must leave something to learn from" in bad.err) == (2, True)
    diff = tracemill("dataset", "diff", mine, theirs)
    assert diff.code == 0
    assert "- Thus." in diff.out
    assert "+ Well." in diff.out
    told = json.loads(tracemill("dataset", "diff", mine, theirs, "--json").out)
    assert (told["rows"]["same"], told["rows"]["changed"], told["rows"]["only_b"]) == (0, 1, 1)
    assert [row["prompt"] for row in told["only_b"]] == ["where?"]


def test_sample(tracemill: Run, mine: str, tmp_path: Path) -> None:
    ended = tracemill("dataset", "sample", mine, "--rows", "2", "--by", "tool", "--seed", "3")
    rows = [json.loads(line) for line in ended.out.splitlines()]
    assert (ended.code, len(rows)) == (0, 2)
    assert talk("Read it", call_text(path="a.py")) in rows
    assert tracemill("dataset", "sample", mine, "-n", "2", "--by", "tool", "--seed", "3").out == ended.out
    written = tracemill("dataset", "sample", mine, "-n", "4", "--to", str(tmp_path / "s"))
    assert written.code == 0
    assert rows_in(tmp_path / "s") == rows_in(Path(mine))


@pytest.mark.parametrize(
    "words",
    [["stats", "nowhere"], ["validate", "nowhere"], ["diff", "nowhere", "nowhere"], ["sample", "nowhere"]],
    ids=lambda words: words[0],
)
def test_a_set_that_is_not_there_is_one_sentence(tracemill: Run, home: Home, words: list[str]) -> None:
    ended = tracemill("dataset", *words)
    assert (ended.code, ended.out, ended.err.count("\n")) == (1, "", 1)
    assert ended.err.startswith("error: There is no data set 'nowhere'; give a folder")


def test_a_set_without_rows_is_no_fault_to_count(tracemill: Run, tmp_path: Path, home: Home) -> None:
    empty = str(write(tmp_path / "empty", {"train": []}))
    assert tracemill("dataset", "stats", empty).code == 0
    assert tracemill("dataset", "diff", empty, empty).code == 0
    for words in (["sample", empty], ["split", empty, "--to", str(tmp_path / "s")]):
        ended = tracemill("dataset", *words)
        assert (ended.code, ended.out) == (1, "")
        assert "There is no row" in ended.err

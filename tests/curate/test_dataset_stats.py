"""What `dataset stats` counts: in rows of every form, in sets of others, whatever is wrong in them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat_sets import call_text, pair, structured, talk, write
from tiny import tiny_model
from tracemill.curate.chat.template import Chat
from tracemill.curate.datasets.facts import scan
from tracemill.curate.datasets.opened import find
from tracemill.curate.datasets.stats import stats
from tracemill.curate.errors import DatasetError
from tracemill.tracer.home import Home


def test_rows_of_every_form_are_counted(tmp_path: Path, home: Home) -> None:
    system = {"role": "system", "content": "You help."}
    xml = "<tool_call><function=run><parameter=code>\nls\n</parameter></function></tool_call>"
    spoken = talk("Read it", call_text(path="a.py"), id="a", session_id="s", category="code")
    folder = write(
        tmp_path / "set",
        {
            "train": [{**spoken, "messages": [system, *spoken["messages"]]}, structured("Read a.py"), b"{"],
            "valid": [talk("List", xml), talk("List ", "No."), talk("List", xml)],
            "test": [pair("Which?"), talk("Read it", "<tool_call>{oops</tool_call>")],
        },
    )
    found = stats(scan(find(folder, home)))
    assert (found["rows"], found["unread"], found["pairs"]) == (7, 1, 1)
    assert {split: one["rows"] for split, one in found["splits"].items()} == {
        "train": 2,
        "valid": 3,
        "test": 2,
    }
    assert found["roles"] == {"system": 1, "user": 7, "assistant": 8, "tool": 1}
    assert found["calls"]["per_tool"] == {"read_file": 2, "run": 2}
    assert (found["calls"]["rows"], found["calls"]["turns"], found["calls"]["calls"]) == (4, 4, 4)
    assert found["calls"]["share_of_rows"] == round(4 / 7, 4)
    assert found["calls"]["unreadable_turns"] == 1
    assert found["wire_formats"] == {"tool_call": 2, "function_xml": 2, "tool_calls": 1}
    assert found["most_system_prompts"] == {"You help.": 1}
    assert found["repeated_rows"] == 1
    assert found["most_repeated_prompts"] == {"list": 3, "read it": 2}
    assert found["categories"] == {"code": 1}
    assert found["rows_with_tools_offered"] == 1
    assert found["tokens"] is None


def test_tokens_are_those_of_the_base_model(tmp_path: Path, home: Home) -> None:
    chat = Chat.load(tiny_model(tmp_path / "tiny"))
    folder = write(
        tmp_path / "set", {"train": [talk("Hello"), talk("Hello", "<tool_call>{oops</tool_call>")]}
    )
    rows = scan(find(folder, home), chat=chat).rows
    expected = chat.conversation(
        [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Done."}], []
    )
    assert rows["tokens"][0] == len(expected)
    assert rows["tokens"][1] > 0, "a call that cannot be read counts as the text it is"
    assert stats(scan(find(folder, home), chat=chat))["tokens"]["least"] == len(expected)


def test_languages_are_told_of_prompts_that_say_enough(tmp_path: Path, home: Home) -> None:
    german = "Bitte erkläre mir ausführlich, warum dieses Programm nicht mehr startet und was zu tun ist"
    english = "Please explain to me in detail why this program does not start any longer and what to do"
    folder = write(tmp_path / "set", {"train": [talk(german), talk(english), talk("ls")]})
    found = stats(scan(find(folder, home), features=["prose"]))
    assert found["languages"] == {"de": 1, "en": 1, "unsure": 1}


@given(st.lists(st.sampled_from("abc"), max_size=12))
def test_repeats_are_rows_beyond_the_first_of_their_kind(
    tmp_path_factory: pytest.TempPathFactory, prompts: list[str]
) -> None:
    home = Home(tmp_path_factory.mktemp("home"))
    folder = write(tmp_path_factory.mktemp("set"), {"train": [talk(prompt) for prompt in prompts]})
    found = stats(scan(find(folder, home)))
    assert found["repeated_rows"] == found["repeated_prompts"] == len(prompts) - len(set(prompts))
    assert found["rows"] == len(prompts)


def test_a_set_is_a_folder_a_file_or_a_name(tmp_path: Path, home: Home) -> None:
    mine = write(
        home.datasets / "mine", {"train": [talk("a")], "validation": [talk("b")], "more": [talk("c")]}
    )
    assert [(split, file.name) for split, file in find("mine", home).files] == [
        ("train", "train.jsonl"),
        ("train", "more.jsonl"),
        ("valid", "validation.jsonl"),
    ]
    assert find(mine / "more.jsonl", home).files == (("train", mine / "more.jsonl"),)
    with pytest.raises(DatasetError, match=r"no data set 'mien' \(did you mean 'mine'\?\); give a folder"):
        find("mien", home)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match=r"empty holds no \.jsonl file"):
        find(tmp_path / "empty", home)


def test_the_pairs_of_an_export_are_not_counted_as_its_rows(tmp_path: Path, home: Home) -> None:
    folder = write(tmp_path / "set", {"train": [talk("a")], "train_pairs": [pair("a")]})
    assert len(find(folder, home).files) == 1
    assert len(find(folder, home, pairs=True).files) == 2
    only = write(tmp_path / "pairs", {"train_pairs": [pair("a")]})
    assert stats(scan(find(only, home)))["pairs"] == 1


def test_the_sets_of_others_are_counted(shared_data: Path, home: Home) -> None:
    def told(name: str) -> tuple[int, int, dict[str, int]]:
        found = stats(scan(find(shared_data / "punie" / name, home)))
        return found["rows"], found["calls"]["rows"], found["wire_formats"]

    assert told("phase27-augmented") == (1164, 923, {"function_xml": 920, "json_fence": 4})
    assert told("synthetic-tool-calling") == (107, 107, {"labelled_json": 107})
    assert told("qwen-tool-calling")[2] == {"tool_call": 10}
    assert told("glaive-function-calling") == (73, 3, {"glaive": 3})

"""The filters: what each finds, what it leaves alone, and how many false alarms it raises on real sessions."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conversations import READ, answer, assistant, call, chat, conversation, frame, user
from tiny import tiny_model
from tracemill.curate.chat_lines import Found, read_chat, read_lines
from tracemill.curate.errors import RecipeError
from tracemill.curate.features import answers, arguments, copied, language, leftovers, markers
from tracemill.curate.features.python2 import python2, python2_in
from tracemill.curate.features.talk import Talk
from tracemill.curate.filters import FeedbackOptions, MarkerOptions, SecretOptions, TurnOptions
from tracemill.curate.languages import LanguageOptions
from tracemill.curate.lengths import LengthOptions, with_tokenizer
from tracemill.curate.pipeline import Curated, curate
from tracemill.curate.rewrites import rewrite
from tracemill.curate.rewrites.markers import MarkerOptions as StripOptions
from tracemill.curate.sieve import Options
from tracemill.curate.steps import STEPS
from tracemill.tracer.importers.chat_messages import read_conversation
from tracemill.tracer.messages import Message, Tool


def run(step: str, *rows: dict[str, Any], options: Options | None = None) -> Curated:
    return curate(frame(*rows), {step: options or STEPS[step].options()})


def dropped(curated: Curated) -> list[tuple[str, str, str]]:
    return curated.dropped.select("conversation_id", "reason", "evidence").rows()


def context(curated: Curated) -> dict[str, list[int]]:
    return dict(curated.rows.select("conversation_id", "context").rows())


def said(text: str, asked: str = "Please tell me about it") -> Talk:
    return Talk([user(asked), assistant(text)])


def chat_set(folder: Path) -> list[Talk]:
    lines = (read_lines(chunk) for chunk in read_chat(sorted(folder.glob("*.jsonl")), folder.name, 1000))
    return [found.talk for some in lines for found in some if isinstance(found, Found)]


def airline(data: Path) -> list[Talk]:
    with gzip.open(data / "tau-bench" / "gpt-4o-airline.json.gz") as file:
        return [Talk(read_conversation(one["traj"]).messages) for one in json.load(file)]


def coding(data: Path, most: int = 250) -> Iterator[Talk]:
    with gzip.open(data / "mini-swe-agent" / "sessions.jsonl.gz") as file:
        for line, _ in zip(file, range(most), strict=False):
            messages = json.loads(line)["trajectory"]["messages"]
            yield Talk([{"role": one["role"], "content": one["content"]} for one in messages], as_found=True)


# feedback


def test_sessions_rated_badly_go_and_rejected_calls_are_context() -> None:
    rows = [
        conversation(1, chat("a"), feedback=-0.5),
        conversation(2, chat("b"), feedback=0.0),
        conversation(3, chat("c"), disliked=[1]),
    ]
    curated = run("feedback", *rows)
    assert dropped(curated) == [("c1", "bad feedback", "the mean score of the session is -0.5, below 0.0")]
    assert context(curated) == {"c2": [], "c3": [1]}
    rated = run("feedback", *rows, options=FeedbackOptions(rated=True, min_score=-1))
    assert dropped(rated) == [("c3", "no feedback", "nobody rated the session")]


# schema


def tool(**schema: Any) -> Tool:
    return {"name": "read_file", "description": "", "parameters": {"type": "object", **schema}}


LIMITED = tool(properties={"path": {"type": "string"}, "limit": {"type": "integer"}}, required=["path"])
MISFITS: dict[str, tuple[Tool, dict[str, Any], str | None]] = {
    "fits": (LIMITED, {"path": "a", "limit": 3}, None),
    "type": (LIMITED, {"path": "a", "limit": "3"}, "read_file: limit: '3' is not of type 'integer'"),
    "missing": (LIMITED, {}, "read_file: 'path' is a required property"),
    "made up": (tool(additionalProperties=False), {"x": 1}, "read_file: Additional properties are not allowed ('x' was unexpected)"),
    "enum": (tool(properties={"m": {"enum": ["r"]}}), {"m": "w"}, "read_file: m: 'w' is not one of ['r']"),
    "broken schema": (tool(properties={"m": {"type": "strin"}}), {"m": 1}, None),
    "reference to nothing": (tool(properties={"m": {"$ref": "#/$defs/none"}}), {"m": 1}, None),
    "reference elsewhere": (tool(properties={"m": {"$ref": "https://example.org/s"}}), {"m": 1}, None),
    "own reference": (tool(properties={"m": {"$ref": "#/$defs/n"}}, **{"$defs": {"n": {"type": "null"}}}), {"m": 1}, "read_file: m: 1 is not of type 'null'"),
}  # fmt: skip


@pytest.mark.parametrize("kind", MISFITS)
def test_arguments_are_held_against_the_schema_that_was_offered(kind: str) -> None:
    offered, given_, told = MISFITS[kind]
    found = arguments.misfits(Talk([user("p"), assistant("", call(given_))], [offered]))
    assert [one["evidence"] for one in found or []] == ([told] if told else [])


def test_a_call_that_does_not_fit_is_context_or_drops() -> None:
    wrong = [*chat("p"), user("more"), assistant("", call({"path": 1}))]
    assert context(run("schema", conversation(1, wrong))) == {"c1": [5]}
    only = run("schema", conversation(1, wrong[-2:]))
    evidence = "turn 1: read_file: path: 1 is not of type 'string'"
    assert dropped(only) == [("c1", "arguments do not fit", evidence)]
    assert dropped(run("schema", conversation(1, wrong), options=TurnOptions(turns="drop")))


# answers

BAD_ANSWERS = {
    " \n": "empty answer",
    "Done.": "vacuous answer",
    "Sure! Let me know if you need anything else.": "vacuous answer",
    "I'll run the test suite.": "promise without a call",
    "Okay, let me check src/app.py for you.": "promise without a call",
    "please tell me about it!": "repeats the question",
    "Here it is:\n```python\nprint(1)": "truncated answer",
    'x\n<tool_call>\n{"name": ': "truncated answer",
    "The function reads the file. " * 10 + "It is called by the": "truncated answer",
}
GOOD_ANSWERS = (
    "Yes.", "No, it is not used.", "src/app.py:12", "3", "I'll need the confirmation number of your booking.",
    "I will not do that: it is against the policy.", "Let me know your user id.", "Which file?",
    "```\nprint(1)\n```", "Done: 3 tests pass.", "````md\n```\nx\n```\n````", "Use `git log`.",
    "Please confirm by saying \"yes.\" " * 8 + 'Say "yes"', "I'll explain. A list is mutable, a tuple is not.",
)  # fmt: skip


@pytest.mark.parametrize("text", BAD_ANSWERS)
def test_answers_that_teach_nothing_are_found(text: str) -> None:
    assert [one["reason"] for one in answers.answer_faults(said(text)) or []] == [BAD_ANSWERS[text]]


@pytest.mark.parametrize("text", GOOD_ANSWERS)
def test_short_answers_to_the_point_are_none_of_them(text: str) -> None:
    assert answers.answer_faults(said(text)) is None


def test_a_turn_that_calls_is_no_answer_and_one_cut_off_by_its_model_is() -> None:
    calling = Talk([user("p"), assistant("I'll read it.", call({"path": "a"}))], [READ])
    assert answers.answer_faults(calling) is None
    messages = [*chat("p"), user("q"), assistant("Two.")]
    assert context(run("answers", conversation(1, messages, cut_off=[5]))) == {"c1": [5]}
    only = run("answers", conversation(1, [user("p"), assistant("Done.")], cut_off=None))
    assert dropped(only) == [("c1", "vacuous answer", "turn 1: 'Done.'")]
    cut = run("answers", conversation(1, [user("p"), assistant("A long one")], cut_off=[1]))
    assert dropped(cut) == [("c1", "truncated answer", "turn 1: the model stopped for want of tokens")]


def test_live_answers_raise_no_alarm(shared_data: Path) -> None:
    assert not [found for talk in airline(shared_data) if (found := answers.answer_faults(talk))]
    assert not [found for talk in coding(shared_data, 60) if (found := answers.answer_faults(talk))]


# Python 2

OLD = {
    "print 'x'": "a print statement in line 1: \"print 'x'\"",
    "def f():\n    print >>out, 1": "a print statement in line 2: 'print >>out, 1'",
    "exec code in space": "an exec statement",
    "try:\n    f()\nexcept OSError, e:\n    raise": "`except X, e`",
    "raise ValueError, 'no'": "`raise X, message`",
    "a <> b": "`<>`",
    "x = `1`": "backquotes",
    "os.chmod(p, 0755)": "an old number",
    "f = lambda (a, b): a": "a tuple as parameter",
    ">>> print 'x'\nx": "a print statement",
    "    print 'indented'\n": "a print statement",
}
NEW = (
    "print('x')", "match x:\n    case 1: pass", "type X = int", "def f(:", "git rebase main", "print the result",
    "try:\n    f()\nexcept OSError, ValueError:\n    pass", "print('x') if", "x = 0o755", "", "$ ls\n", "\0",
    "((((" * 1000, "raise ValueError('a, b')", "function f() { return 1 }",
)  # fmt: skip


@pytest.mark.parametrize("code", OLD)
def test_python2_is_told_by_parsing(code: str) -> None:
    # `print >>out, 1` alone is an expression in Python 3 too.
    told = python2_in(code + ("\nprint 1" if ">>out" in code else ""))
    assert told and told.startswith(OLD[code])


@pytest.mark.parametrize("code", NEW)
def test_python3_fragments_and_other_languages_are_not_python2(code: str) -> None:
    assert python2_in(code) is None


@given(st.text(alphabet="print x'\n():,=>`e", max_size=60))
def test_any_text_has_a_verdict_on_python2(code: str) -> None:
    assert python2_in(code) is None or " in line " in str(python2_in(code))


def test_python2_is_looked_for_in_fences_and_in_arguments_that_are_code() -> None:
    fenced = said("So:\n```python\nprint 'x'\n```\nand\n```ruby\nprint 'x'\n```")
    assert [one["turn"] for one in python2(fenced) or []] == [1]
    assert python2(said("```ruby\nprint 'x'\n```")) is None
    for given_ in ({"code": "print 'x'"}, {"path": "a.py", "content": "x = 1\nprint x"}):
        assert python2(Talk([user("p"), assistant("", call(given_))], [READ]))
    for given_ in ({"text": "print 'x'"}, {"path": "a.rb", "content": "x = 1\nprint x"}):
        assert python2(Talk([user("p"), assistant("", call(given_))], [READ])) is None


def test_live_code_raises_no_alarm(shared_data: Path) -> None:
    sets = [*coding(shared_data, 60), *chat_set(shared_data / "punie" / "phase27-augmented")]
    assert not [found for talk in sets if (found := python2(talk))]


# markers

STRONG = {
    "Read setup.py (request 12)": "Read setup.py",
    "Explain GIL (question 505).": "Explain GIL",
    "Variation 4: Run the tests": "Run the tests",
    "Run the tests [example 3 of 10]": "Run the tests",
    "Run it (Sample #7)": "Run it",
}
WEAK = ("Fix type error example 8", "Show recent commits (4)", "Run the linter #17", "Example 3: run it", "1. Run it", "Test it (case 5)")  # fmt: skip
NONE = (
    "Fix issue #17", "Fix #17", "See PR 12", "Show the last 5 commits", "Use Python 3.11", "f(3)", "Run step 4",
    "What is in example_3.py?", "", "(request)", "Upgrade to version 2", "It costs 30",
)  # fmt: skip


@pytest.mark.parametrize("prompt", STRONG)
def test_strong_markers_are_found_and_taken_out(prompt: str) -> None:
    found = markers.marker_in(prompt)
    assert found and found.strong
    talk, edits = rewrite(said("Yes.", prompt), {"markers": StripOptions()})
    assert talk.messages[0]["content"] == STRONG[prompt]
    assert edits == [{"rewrite": "markers", "position": 0, "before": prompt, "after": STRONG[prompt]}]
    assert rewrite(talk, {"markers": StripOptions()}) == (talk, [])


@pytest.mark.parametrize("prompt", WEAK)
def test_weak_markers_count_where_there_are_many(prompt: str) -> None:
    found = markers.marker_in(prompt)
    assert found and not found.strong
    assert rewrite(said("Yes.", prompt), {"markers": StripOptions()})[1] == []
    assert rewrite(said("Yes.", prompt), {"markers": StripOptions(weak=True)})[1]


@pytest.mark.parametrize("prompt", NONE)
def test_numbers_that_belong_to_the_sentence_are_no_markers(prompt: str) -> None:
    assert markers.marker_in(prompt) is None


def test_a_marker_goes_from_the_end_of_the_answer_too() -> None:
    talk, edits = rewrite(said("x = 1\n\n# Example 7", "Set x (example 7)"), {"markers": StripOptions()})
    assert [one["content"] for one in talk.messages] == ["Set x", "x = 1"]
    assert len(edits) == 2


def test_weak_markers_drop_only_where_the_data_set_is_full_of_them() -> None:
    rows = [conversation(i, chat(f"Fix it example {i}")) for i in range(5)]
    assert run("markers", *rows[:4]).dropped.is_empty()
    curated = run("markers", *rows)
    assert curated.rows.is_empty()
    assert dropped(curated)[0] == (
        "c0",
        "variation marker",
        "the prompt is marked example 0, as 4 others of that form are",
    )
    same = [conversation(i, chat("1. Read it")) for i in range(9)]
    assert run("markers", *same).dropped.is_empty()
    assert run("markers", *rows[:2], options=MarkerOptions(weak_from=2)).rows.is_empty()


def test_every_marker_of_the_synthetic_set_is_found(shared_data: Path) -> None:
    # Counted by hand: 107 rows, and each prompt ends in "(request N)".
    found = [
        markers.marker_in(talk.messages[1]["content"])
        for talk in chat_set(shared_data / "punie" / "synthetic-tool-calling")
    ]
    assert len(found) == 107
    assert all(one and one.strong and one.form == "(request N)" for one in found)


def test_live_prompts_have_no_strong_marker(shared_data: Path) -> None:
    found = [markers.marker(talk) for talk in [*airline(shared_data), *coding(shared_data)]]
    assert [one for one in found if one and one["strong"]] == []
    assert sum(one is not None for one in found) <= 3


# secrets


def test_secrets_are_named_by_kind_and_never_shown() -> None:
    key = "sk-proj-" + "a1B2c3D4e5F6g7H8i9J0" * 2
    rows = [
        conversation(1, chat(f"use {key}")),
        conversation(2, chat("mail ada@lovelace.dev")),
        conversation(3, [user("p"), assistant("", call({"password": "hunter2x9"}))]),
        conversation(4, chat("the word hunter2x9")),
    ]
    curated = run("secrets", *rows)
    assert {(name, reason) for name, reason, _ in dropped(curated)} == {("c1", "secret"), ("c3", "secret")}
    assert key not in str(dropped(curated)) and "hunter2x9" not in str(dropped(curated))
    assert "c2" in {
        name for name, _, _ in dropped(run("secrets", *rows, options=SecretOptions(personal=True)))
    }


def test_what_was_redacted_is_no_secret_but_another_beside_it_is() -> None:
    assert leftovers.secrets(said("[REDACTED:password:1] is it")) is None
    two = [user("p"), assistant("", call({"password": "hunter2x9", "note": "[REDACTED:password:1]"}))]
    assert leftovers.secrets(Talk(two)) == ["password"]


def test_a_secret_in_what_a_tool_says_of_itself_is_found() -> None:
    key, owner = "sk-proj-" + "a1B2c3D4e5F6g7H8i9J0" * 2, "ada"
    password = {"type": "string", "description": "The password.", "default": "hunter2x9"}
    tools: list[Tool] = [
        {**READ, "description": f"Read a file, such as with {key}."},
        {**READ, "parameters": {"type": "object", "properties": {"password": password}}},
        {**READ, "description": f"Mail {owner}@lovelace.dev or look into /home/{owner}/x."},
        {**READ, "parameters": {"type": "object", "properties": {"password": {"type": "string"}}}},
    ]
    rows = [conversation(at, chat("p"), tools=[READ, tool]) for at, tool in enumerate(tools, 1)]
    curated = run("secrets", *rows)
    assert {name for name, _, _ in dropped(curated)} == {"c1", "c2"}
    assert all(evidence.startswith("it holds ") for _, _, evidence in dropped(curated))
    assert key not in str(dropped(curated)) and "hunter2x9" not in str(dropped(curated))
    personal = dropped(run("secrets", *rows, options=SecretOptions(personal=True)))
    assert {name for name, _, _ in personal} == {"c1", "c2", "c3"}


# language

GERMAN = "Bitte lies die Datei und erkläre mir ganz genau, was die Funktion darin eigentlich macht"
ENGLISH = "Please read the file and explain to me what the function in it really does"
UNSURE = (
    "git rebase main",
    "refactor utils dedupe imports",
    "pytest -x tests/a.py",
    "ls -la",
    "Bitte lies es",
    "",
)


@pytest.mark.parametrize("detector", ["langdetect", "py3langid"])
def test_prompts_in_another_language_go_where_that_is_sure(detector: Any) -> None:
    if detector == "py3langid":
        pytest.importorskip("py3langid")
    rows = [conversation(i, chat(text)) for i, text in enumerate([GERMAN, ENGLISH, *UNSURE])]
    curated = run("language", *rows, options=LanguageOptions(detector=detector))
    assert [(name, reason) for name, reason, _ in dropped(curated)] == [("c0", "language de")]
    assert dropped(curated)[0][2].startswith("the prompt is de by 9")
    both = run("language", *rows, options=LanguageOptions(keep=["en", "de"], detector=detector))
    assert both.dropped.is_empty()


def test_code_and_names_are_no_prose() -> None:
    asked = "Look at `foo bar baz` and src/main.py, then call parse_args(x):\n```\ndef der die das\n```\nthank you so very much"
    assert language.prose(Talk([user(asked)])) == "Look at and then call thank you so very much"
    assert language.prose(Talk([user("git rebase main")])) is None


def test_live_english_prompts_are_not_called_foreign(shared_data: Path) -> None:
    talks = [
        *airline(shared_data)[:60],
        *coding(shared_data, 60),
        *chat_set(shared_data / "punie" / "phase27-augmented")[:300],
    ]
    rows = [conversation(i, talk.messages) for i, talk in enumerate(talks)]
    assert dropped(run("language", *rows)) == []


# length


def test_what_is_too_short_or_long_goes_with_its_size(tmp_path: Path) -> None:
    rows = [
        conversation(1, [user("p")]),
        conversation(2, chat("p")),
        conversation(3, [*chat("p"), *chat("x" * 900)]),
    ]
    assert dropped(run("length", *rows)) == [("c1", "too short", "1 messages, and 2 are the least")]
    long = run("length", *rows, options=LengthOptions(max_messages=4, min_messages=1))
    assert dropped(long) == [("c3", "too long", "8 messages, and 4 are the most")]
    written = run("length", *rows, options=LengthOptions(max_characters=500, min_messages=1))
    assert [name for name, _, _ in dropped(written)] == ["c3"]


def test_tokens_are_counted_by_the_trainee(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "tiny")
    rows = [conversation(1, chat("p")), conversation(2, chat("word " * 2000))]
    with pytest.raises(RecipeError, match="no tokenizer"):
        run("length", *rows, options=LengthOptions(max_tokens=1000))
    named = with_tokenizer({"length": LengthOptions(max_tokens=1000)}, folder)
    curated = run("length", *rows, options=named["length"])
    assert [(name, reason) for name, reason, _ in dropped(curated)] == [("c2", "too long")]
    assert dropped(curated)[0][2].endswith(" tokens, and 1000 are the most")


# copied


def test_turns_that_copy_what_stands_above_are_context() -> None:
    page = "\n".join(f"line {i} of a file that the tool has read" for i in range(9))
    messages: list[Message] = [user("p"), assistant("", call({"path": "a"})), answer(page)]
    copying = [*messages, assistant(f"```\n{page}\n```")]
    assert context(run("copied", conversation(1, copying))) == {"c1": [3]}
    assert (
        copied.copies(Talk([*messages, assistant("It has nine lines, of which the first is line 0.")]))
        is None
    )
    assert copied.copies(Talk([*messages, assistant("line 3 of a file")])) is None


@pytest.mark.parametrize("step", ["schema", "answers", "copied", "python2"])
def test_a_conversation_without_such_turns_is_left_alone(step: str) -> None:
    curated = run(step, conversation(1, chat("p")))
    assert context(curated) == {"c1": []}
    assert dropped(curated) == []

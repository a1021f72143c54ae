"""Which answers to the guard's items are right, rule by rule."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracemill.evaluate.guard.items import GuardItem, Rule
from tracemill.evaluate.guard.scoring import code_of, mark


def item(rule: Rule, *right: str, options: tuple[str, ...] = ()) -> GuardItem:
    return GuardItem("one", "direct answers", "What?", rule, "a test", right, options)


NUMBER, WORDS = item("number", "12"), item("words", "Paris", "thank you")
YES = item("choice", "yes", options=("yes", "no"))
FISH = item("choice", "mammal", options=("fish", "mammal"))


@pytest.mark.parametrize(
    "text",
    ["12", "12.", "12.0", "The answer is 12.", "7 + 5 = 12", "First 10, then 2 more: **12**", "twelve", "It is Twelve",
     "$12", "12 apples", "x=12", "<think>13? no</think>12", "+12", "\\boxed{12}"],
)  # fmt: skip
def test_numbers_that_are_right(text: str) -> None:
    assert mark(NUMBER, text).right


@pytest.mark.parametrize(
    "text",
    ["13", "12 or 13", "-12", "120", "1.2", "12.5", "twenty", "a dozen", "12th", "v12", "It is 12, not 5", "3.12.1"],
)  # fmt: skip
def test_numbers_that_are_not(text: str) -> None:
    assert mark(NUMBER, text).failure == "wrong-answer"


@pytest.mark.parametrize(
    ("right", "text"),
    [
        ("1024", "1,024"),
        ("-3", "The result is -3"),
        ("-3", "−3"),
        ("42", "forty-two"),
        ("40", "forty"),
        ("0", "zero"),
        ("0.5", "0.50"),
    ],
)
def test_forms_of_numbers(right: str, text: str) -> None:
    assert mark(item("number", right), text).right


@given(
    st.integers(-(10**9), 10**9), st.sampled_from(["{}", "{:,}", "It is {:,}.", "{}.0", "**{}**", "so = {}"])
)
def test_every_number_in_every_form(number: int, form: str) -> None:
    assert mark(item("number", str(number)), form.format(number)).right
    assert not mark(item("number", str(number + 1)), form.format(number)).right


@pytest.mark.parametrize(
    "text",
    ["Paris", "paris!", "The capital of France is Paris.", "It means 'Thank  you'.", "PARIS, of course"],
)
def test_words_that_are_right(text: str) -> None:
    assert mark(WORDS, text).right


@pytest.mark.parametrize("text", ["London", "Parisian", "thankyou", "Rome " * 20 + "Paris", "I thank God"])
def test_words_that_are_not(text: str) -> None:
    assert mark(WORDS, text).failure == "wrong-answer"


@pytest.mark.parametrize("text", ["yes", "Yes.", "Yes, no doubt about it", "**Yes**", "The answer is yes."])
def test_choices_that_are_right(text: str) -> None:
    assert mark(YES, text).right


@pytest.mark.parametrize(
    "text", ["no", "No, yes is wrong", "It could be yes or no.", "maybe", "yesterday", "eyes"]
)
def test_choices_that_are_not(text: str) -> None:
    assert mark(YES, text).failure == "wrong-answer"


def test_a_choice_named_alone() -> None:
    assert mark(FISH, "A whale is a mammal.").right
    assert not mark(FISH, "A whale is a fish and a mammal.").right
    assert mark(FISH, "Mammal, not fish").right
    assert not mark(FISH, "Mammal or fish").right


ANSWERS = {"number": NUMBER, "words": WORDS, "choice": YES}


@pytest.mark.parametrize("rule", ANSWERS)
@pytest.mark.parametrize("text", ["", "  \n", "<think>It is 12, Paris, yes.</think>", "<think>12</think>\n "])
def test_saying_nothing_is_wrong(rule: str, text: str) -> None:
    assert mark(ANSWERS[rule], text).failure == "no-answer"


@pytest.mark.parametrize("rule", ANSWERS)
@pytest.mark.parametrize(
    "call",
    [
        '<tool_call>\n{"name": "answer", "arguments": {"text": "12 Paris yes"}}\n</tool_call>',
        '12 Paris yes\n<tool_call>\n{"name": "answer", "arguments": {}}\n</tool_call>',
        '<tool_call>\n{"name": "answer", "arguments": {"text": "12 Paris yes',
        '{"name": "calculate", "arguments": {"answer": "12"}}',
        '[TOOL_CALLS] [{"name": "calculate", "arguments": {"answer": "12"}}]',
    ],
)
def test_calling_a_tool_where_none_is_offered_is_wrong(rule: str, call: str) -> None:
    assert mark(ANSWERS[rule], call).failure == "called-a-tool"


@given(st.text(max_size=200), st.sampled_from([*ANSWERS.values(), FISH]))
def test_no_text_makes_it_fail(text: str, asked: GuardItem) -> None:
    assert mark(asked, text).failure in {"", "no-answer", "wrong-answer", "called-a-tool"}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("```python\ndef f():\n    pass\n```", "def f():\n    pass\n"),
        ("Sure:\n```\nx = 1\n```\nand\n```py\ny = 2\n```", "x = 1\n\ny = 2\n"),
        ("```python\ndef f():\n    return 1", "def f():\n    return 1\n"),
        ("def f():\n    return 1", "def f():\n    return 1\n"),
        ("Here you are.\n\nimport re\n\ndef f():\n    return 1", "import re\n\ndef f():\n    return 1\n"),
        ("```bash\npip install x\n```\n```python\ny = 2\n```", "y = 2\n"),
        ("<code>\ndef f():\n    return 1\n</code>\n</code> is it.", "def f():\n    return 1\n"),
        ("<code>f(x)</code> does it.", ""),
        ("I cannot do that.", ""),
        ("Use `def` to define it", ""),
    ],
)
def test_the_code_of_an_answer(text: str, code: str) -> None:
    assert code_of(text) == code


DOUBLE = GuardItem("double", "code", "Write it.", "code", "a test", checks="assert double(4) == 8")


@pytest.mark.parametrize(
    ("text", "failure", "detail"),
    [
        ("def double(x):\n    return 2 * x", "", ""),
        ("def double(x):\n    return x", "error", "AssertionError"),
        ("def duble(x):\n    return 2 * x", "error", "NameError: name 'double' is not defined"),
        ("def double(x) return", "error", "SyntaxError: expected ':' (<part 0>, line 1)"),
        ("I would multiply by two.", "no-code", ""),
        ("", "no-answer", ""),
        ("def double(x):\n    return 2 * x\nimport sys\nsys.exit(0)", "error", "SystemExit: 0"),
        (
            "import os\ndef double(x):\n    os.fork()\n    return 2 * x",
            "refused",
            "tried to start a process or thread",
        ),
        (
            "import socket\ndef double(x):\n    socket.socket()\n    return 8",
            "refused",
            "tried to use the network",
        ),
        (
            "def double(x):\n    open('/etc/evil', 'w')\n    return 8",
            "refused",
            "tried to write outside its folder",
        ),
        ("def double(x):\n    return len(bytearray(10 * 2**30)) and 8", "memory", "took more than 512 MB"),
    ],
)
def test_code_is_run_and_checked(text: str, failure: str, detail: str) -> None:
    found = mark(DOUBLE, text)
    assert (found.failure, found.detail) == (failure, detail)


def test_code_that_never_ends_fails_its_item() -> None:
    from tracemill.evaluate.sandbox import Limits

    found = mark(DOUBLE, "def double(x):\n    while True: pass", Limits(seconds=1))
    assert (found.failure, found.detail) == ("time", "ran longer than 1 s")

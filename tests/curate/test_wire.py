"""Calls in text of any wire format: nothing dropped in silence, nothing made up, nothing that raises or hangs.

The labelled turns are in `test_wire_corpus.py`.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import random
import re
import time
from collections import Counter
from pathlib import Path
from typing import Any

import mlx_lm.tool_parsers
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tracemill.curate.chat.codec import CLOSE, OPEN, Call, decode, encode
from tracemill.curate.wire import Parsed, calls_in
from tracemill.curate.wire.objects import json_at
from wire_tools import TOOLS

# What texts are made of: the tokens of every format, whole calls and pieces of them, code, prose, line noise.
WHOLE = [
    '<tool_call>\n{"name": "read_file", "arguments": {"path": "a.py"}}\n</tool_call>',
    "<tool_call><function=read_file><parameter=path>a</parameter></function></tool_call>",
    "<function=now>\n</function>",
    '<function=now>{"a": 1}</function>',
    "<tool_call>f<arg_key>k</arg_key><arg_value>v</arg_value></tool_call>",
    '```json\n{"name": "read_file", "arguments": {"path": "a.py"}}\n```',
    '{"name": "read_file", "arguments": {"path": "a.py"}}',
    'Tool call: {"type": "function", "function": {"name": "f", "arguments": "{\\"a\\": 1}"}}',
    '[TOOL_CALLS] [{"name": "f", "arguments": {}}]',
    '[TOOL_CALLS]f[ARGS]{"a": 1}',
    '<|python_tag|>{"name": "f", "parameters": {"a": 1}}',
    '[f(x=1, y="a")]',
    '<|tool_call_start|>[f(x=1)]<|tool_call_end|>',
    "```tool_code\nprint(f(x=1))\n```",
    "<start_function_call>call:f{a:<escape>x<escape>}<end_function_call>",
    '<|tool_call>call:f{a:<|"|>x<|"|>,b:{c:1}}<tool_call|>',
    '<longcat_tool_call>f<longcat_arg_key>a</longcat_arg_key><longcat_arg_value>1</longcat_arg_value></longcat_tool_call>',
    '<minimax:tool_call><invoke name="f"><parameter name="a">1</parameter></invoke></minimax:tool_call>',
    '<function name="f"><param name="a"><![CDATA[x]]></param></function>',
    '<atem:function_calls><atem:invoke name="f"><atem:parameter name="a">1</atem:parameter></atem:invoke></atem:function_calls>',
    '<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>{"a": 1}<|tool_call_end|><|tool_calls_section_end|>',
    '<|open|>tools<|sep|><|open|>call tool="f" index="1"<|sep|><|open|>argument key="a" type="string"<|sep|>x<|close|>argument<|sep|><|close|>call<|sep|><|close|>tools<|sep|>',
    '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{"a": 1}<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
    '<｜DSML｜function_calls><｜DSML｜invoke name="f"><｜DSML｜parameter name="a" string="true">1</｜DSML｜parameter></｜DSML｜invoke></｜DSML｜function_calls>',
    '<|channel|>commentary to=functions.f <|constrain|>json<|message|>{"a": 1}<|call|>',
    "<functioncall> {\"name\": \"f\", \"arguments\": '{\"a\": 1}'} <|endoftext|>",
    '<|tool_call|>[{"name": "f", "arguments": {}}]<|/tool_call|>',
    '<tool_calls>[{"name": "f", "arguments": {}}]</tool_calls>',
    '<TOOLCALL>[{"name": "f", "arguments": {}}]</TOOLCALL>',
    '<|START_ACTION|>[{"tool_name": "f", "parameters": {}}]<|END_ACTION|>',
    '<|action_start|><|plugin|>{"name": "f", "parameters": {}}<|action_end|>',
    '<function_calls>f(x=1)</function_calls>',
]  # fmt: skip
TOKENS = sorted(
    {token for whole in WHOLE for token in re.findall(r"<[^<>]*>|\[[A-Z_]+\]|```\w*\n?|\w+|\W", whole)}
)
NOISE = [
    "`", "``", "<think>", "</think>", "\n", "\n\n", " ", "\\", "\\u12", "\x00", "\ud800", "é", "😀", "</s>", "<|im_end|>",
    "NaN", "1e999", "-", "null", "true", "lambda: 0", "**{}",
    "print(", "'", '"""', "#", "to=functions.", "=functions.", "{'name': 'f', 'arguments': {}}", "def f(x):\n    return x",
    "Here is an example:", "functools[{", "tool_call:", "\u2028", "\r\n",
]  # fmt: skip
DEEP = ["9", "(", "[", '{"a":', "-"]
fragments = st.sampled_from(WHOLE) | st.sampled_from(TOKENS) | st.sampled_from(NOISE) | st.text(max_size=8)
pieces = fragments | st.builds(
    lambda text, cut: text[: cut % (len(text) + 1)], st.sampled_from(WHOLE), st.integers(0)
)
deep = st.lists(st.sampled_from(DEEP).map(lambda one: one * 5000) | pieces, min_size=1, max_size=4).map(
    "".join
)
texts = st.lists(pieces, max_size=10).map("".join)
offered = st.sampled_from([(), TOOLS])

# An opening token that stands outside of code and reasoning must leave a trace.
OPENED = re.compile(
    r"""<tool_call>|</tool_call>|<function=|\[TOOL_CALLS\]|<\|python_tag\|>|<\|tool_call_start\|>|<\|tool_call>
        |<start_function_call>|<longcat_tool_call>|<minimax:tool_call>|<function\ name=|<atem:function_calls>
        |<\|tool_calls_section_begin\|>|<｜tool▁calls▁begin｜>|<functioncall>|<\|tool_call\|>|<tool_calls>
        |<TOOLCALL>|<\|START_ACTION\|>|<function_calls>|<｜DSML｜function_calls>|<\|channel\|>\w+\ to=""",
    re.VERBOSE,
)  # fmt: skip


def without_json(text: str) -> str:
    """The text without its JSON values: what stands in their strings is data."""
    rest, at = "", 0
    while at < len(text):
        try:
            if text[at] not in "[{":
                raise ValueError
            _, end = json.JSONDecoder().raw_decode(text, at)
        except (ValueError, RecursionError):
            rest, end = rest + text[at], at + 1
        at = end
    return rest


def check(text: str, parsed: Parsed) -> None:
    """What holds of any text."""
    for call in parsed.calls:
        assert call.name and isinstance(call.arguments, dict)
        assert json.loads(json.dumps(call.arguments, allow_nan=False)) == call.arguments
    assert (parsed.format is None) == (not parsed.calls and not parsed.errors)
    if parsed.format is None:
        assert parsed.before == text and not parsed.after
        # Parse failure is never "no call": what opens a call and is not quoted is a call or an error.
        assert "`" in text or "<think>" in text or not OPENED.search(without_json(text))
    for error in parsed.errors:
        form, _, rest = error.partition(" at character ")
        place, _, why = rest.partition(": ")
        assert form and why and 0 <= int(place) <= len(text)
    assert len(parsed.before) <= len(text) and len(parsed.after) <= len(text)


def no_name_is_made_up(text: str, parsed: Parsed) -> None:
    plain = text.replace("\\", "")
    for call in parsed.calls:
        # JSON may write a name in escapes, which have backslashes.
        assert call.name in text or "\\" in text or call.name in plain


@settings(max_examples=800, deadline=None, suppress_health_check=list(HealthCheck))
@given(texts, offered)
def test_any_text_is_read(text: str, tools: Any) -> None:
    parsed = calls_in(text, tools)
    check(text, parsed)
    no_name_is_made_up(text, parsed)
    assert calls_in(text, tools) == parsed


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(deep, offered)
def test_deep_and_long_texts_are_read(text: str, tools: Any) -> None:
    parsed = calls_in(text, tools)
    assert (parsed.format is None) == (not parsed.calls and not parsed.errors)


@pytest.mark.slow
def test_a_hundred_thousand_texts_are_read() -> None:
    # Plain chance, for Hypothesis takes ten times as long to think of as many.
    chance = random.Random(0)
    kinds: Counter[str] = Counter()
    for _ in range(100_000):
        parts: list[str] = []
        for _ in range(chance.randint(1, 7)):
            part = chance.choice(chance.choices([WHOLE, TOKENS, NOISE], [35, 40, 25])[0])
            parts.append(part[: chance.randint(0, len(part))] if chance.random() < 0.25 else part)
        text = "".join(parts)
        parsed = calls_in(text, chance.choice([(), TOOLS]))
        check(text, parsed)
        no_name_is_made_up(text, parsed)
        kinds["error" if parsed.errors else "call" if parsed.calls else "nothing"] += 1
    assert min(kinds.values()) > 10_000


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(WHOLE), st.data())
def test_a_call_cut_off_is_never_another_call(whole: str, data: st.DataObject) -> None:
    (call,) = calls_in(whole).calls
    cut = data.draw(st.integers(0, len(whole) - 1))
    parsed = calls_in(whole[:cut])
    check(whole[:cut], parsed)
    # All of its arguments stood there already, or it is no call at all.
    assert parsed.calls in ((), (call,))


@given(st.lists(st.sampled_from(WHOLE[:2]), min_size=1, max_size=5))
def test_calls_in_a_row_are_all_found(whole: list[str]) -> None:
    parsed = calls_in("\n".join(whole))
    assert [call.arguments["path"] for call in parsed.calls] == [
        {"<tool_call>\n": "a.py"}.get(one[:12], "a") for one in whole
    ]
    assert not parsed.errors


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
names = st.from_regex(r"[A-Za-z_][\w.-]{0,20}", fullmatch=True)
made = st.lists(
    st.builds(Call, names, st.dictionaries(st.text(max_size=5), json_values, max_size=3)), max_size=3
)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(["", "I look.", "é: so.\n\nThen:"]), made)
def test_what_the_strict_codec_writes_is_read_the_same(content: str, calls: list[Call]) -> None:
    parsed = calls_in(encode(content, calls))
    assert list(parsed.calls) == calls
    assert (parsed.before, parsed.after, parsed.errors) == (content, "", ())
    assert parsed.format == ("tool_call" if calls else None)


@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.sampled_from([OPEN, CLOSE, "\n", "a word", *WHOLE[:2]]), max_size=8).map("".join))
def test_what_the_strict_codec_calls_a_call_is_one_here(text: str) -> None:
    strict = decode(text)
    parsed = calls_in(text)
    if strict.calls and not strict.errors:
        assert parsed.calls == strict.calls
    if strict.errors:
        assert parsed.errors or len(parsed.calls) > len(strict.calls)


def mlx(parser: str, text: str) -> list[Call]:
    found = importlib.import_module(f"mlx_lm.tool_parsers.{parser}").parse_tool_call(text, None)
    return [Call(one["name"], one["arguments"]) for one in (found if isinstance(found, list) else [found])]


PARSERS = {
    "json_tools": (0, r"<tool_call>(.*)</tool_call>"),
    "qwen3_coder": (1, r"<tool_call>(.*)</tool_call>"),
    "glm47": (4, r"<tool_call>(.*)</tool_call>"),
    "laguna": (4, r"<tool_call>(.*)</tool_call>"),
    "mistral": (9, r"\[TOOL_CALLS\](.*)"),
    "pythonic": (12, r"<\|tool_call_start\|>(.*)<\|tool_call_end\|>"),
    "function_gemma": (14, r"<start_function_call>(.*)<end_function_call>"),
    "gemma4": (15, r"<\|tool_call>(.*)<tool_call\|>"),
    "longcat": (16, r"<longcat_tool_call>(.*)</longcat_tool_call>"),
    "minimax_m2": (17, r"<minimax:tool_call>(.*)</minimax:tool_call>"),
    "minicpm5": (18, r"(.*)"),
    "muse_spark": (19, r"<atem:function_calls>(.*)</atem:function_calls>"),
    "kimi_k2": (20, r"<\|tool_calls_section_begin\|>(.*)<\|tool_calls_section_end\|>"),
    "kimi_k3": (21, r"<\|open\|>tools<\|sep\|>(.*)<\|close\|>tools<\|sep\|>"),
}


def test_every_parser_of_mlx_lm_is_known() -> None:
    assert {module.name for module in pkgutil.iter_modules(mlx_lm.tool_parsers.__path__)} == set(PARSERS)


@pytest.mark.parametrize("parser", PARSERS)
def test_a_whole_call_is_what_mlx_lm_reads(parser: str) -> None:
    number, block = PARSERS[parser]
    inner = re.fullmatch(block, WHOLE[number], re.DOTALL)
    assert inner
    theirs = mlx(parser, inner[1])
    if parser == "longcat":  # It guesses types where no schema is known; we keep text.
        theirs = [
            Call(call.name, {key: str(value) for key, value in call.arguments.items()}) for call in theirs
        ]
    assert list(calls_in(WHOLE[number]).calls) == theirs


@pytest.mark.parametrize("one", [*WHOLE, *TOKENS, *NOISE, *DEEP])
def test_a_long_text_takes_no_longer_than_its_length(one: str) -> None:
    def seconds(times: int) -> float:
        text = one * times
        started = time.process_time()
        parsed = calls_in(text)
        spent = time.process_time() - started
        assert (parsed.format is None) == (not parsed.calls and not parsed.errors)
        return spent

    times = max(1, 8_000 // len(one))
    short = seconds(times)
    # Four times the text: linear time is a factor of 4, quadratic 16; below 0.1 s nothing can be told.
    assert min(seconds(4 * times), seconds(4 * times)) < max(0.1, 9 * short)


@pytest.mark.slow
@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(fragments, min_size=1, max_size=4).map("".join).filter(bool),
    st.sampled_from(["", CLOSE, '"}]}```']),
)
def test_no_mixture_takes_longer_than_its_length(one: str, end: str) -> None:
    text = one * (60_000 // len(one)) + end
    started = time.process_time()
    calls_in(text)
    # Quadratic time would be minutes.
    assert time.process_time() - started < 5


@given(json_values.filter(lambda value: isinstance(value, (list, dict))), texts)
def test_json_ends_where_it_ends(value: Any, rest: str) -> None:
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False, indent=1)):
        assert json_at(f"x{text}{rest}", 1) == (value, 1 + len(text))


def test_punie_all_of_it(shared_data: Path) -> None:
    """Its calls by format, and its broken ones, each looked at by a person: `<tool_call>` with bare Python in it
    (60) or with its line ends written out (1), JSON with a lone backslash (5), with single quotes (2) or
    without its last brace (1). Some stand in two of the sets.
    """  # fmt: skip
    found: Counter[str] = Counter()
    broken: Counter[str] = Counter()
    for path in sorted((shared_data / "punie").rglob("*.jsonl")):
        for line in path.read_text("utf-8").splitlines():
            for message in json.loads(line)["messages"]:
                if message["role"] == "assistant":
                    parsed = calls_in(message["content"])
                    assert len(parsed.calls) + len(parsed.errors) <= 1
                    found[parsed.format or "no call"] += bool(parsed.calls) or not parsed.errors
                    broken.update(
                        f"{path.parent.name}: {error.partition(' at')[0]}" for error in parsed.errors
                    )
    assert found == {
        "no call": 7194, "function_xml": 2560, "labelled_json": 107, "json_fence": 42, "tool_call": 9, "glaive": 3,
    }  # fmt: skip
    assert broken == {
        "hand-authored: json_fence": 4,
        "phase26-lsp-final: json_fence": 2,
        "phase26-lsp-final: tool_call": 60,
        "phase27-augmented: json_fence": 1,
        "qwen-tool-calling: tool_call": 1,
    }

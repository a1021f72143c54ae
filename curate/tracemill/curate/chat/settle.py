"""A chat template as a text that decides all by itself, in any server and on any day.

In: the template that a base model ships. Out: the same, with what it needs in front of it:

- a template that writes today's date gets a fixed one: a model trained in May is not served another prompt in
  June;
- a template that can leave thinking out does so, if only then the prompt it ends with is how it writes an
  answer without thinking: the empty block of thoughts is then part of the prompt and not learned;
- a template that knows no tools, or writes calls in another form than the `<tool_call>` JSON that is scored
  and served here, gets calls, results and tools as text (`templates/calls_as_text.jinja`).

All that is part of the template that travels with an adapter: who serves it needs to know no option.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date
from importlib.resources import files
from typing import Any

from jinja2 import TemplateError as JinjaError

from tracemill.curate.chat.codec import Call, decode

Messages = list[dict[str, Any]]
Write = Callable[[str, Messages, Messages | None, bool], str]
"""(template, messages, tools, add_generation_prompt) -> the text of a conversation."""

NO_THINKING = "{%- set enable_thinking = false -%}\n"
TODAY = date(2024, 7, 26)
"""The day that every prompt names: the one that Llama 3.1's template falls back to."""
_CLOCK = re.compile(r"strftime_now\(\s*(['\"])(.+?)\1\s*\)")
_ASK = {"role": "user", "content": "Ready?"}
_CALLS = [Call("qz_look", {"at": "a\nb", "n": 1}), Call("qz_look", {})]


def settle(template: str, write: Write) -> str:
    """`template` with what it needs in front of it; itself where it needs nothing, or has it."""
    if "strftime_now(" in template and "macro strftime_now(" not in template:
        template = _fixed_clock(template) + template
    quiet = [NO_THINKING + template] if "enable_thinking" in template else []
    template = _chosen([template, *quiet], write, _answers_after_prompt)
    return _chosen([template, *_with_calls_as_text(template)], write, _calls_stand)


def _chosen(candidates: list[str], write: Write, right: Callable[[str, Write], bool]) -> str:
    """The first of the candidates that is right; where none is, the first, which the proof then refuses."""
    return next((one for one in candidates if _holds(one, write, right)), candidates[0])


def _holds(template: str, write: Write, right: Callable[[str, Write], bool]) -> bool:
    try:
        return right(template, write)
    except (JinjaError, TypeError, ValueError):  # many templates refuse tools, or a system prompt
        return False


def _fixed_clock(template: str) -> str:
    """A macro that takes the place of the clock for the formats that `template` asks for."""
    formats = sorted({found[1] for found in _CLOCK.findall(template)})
    cases = "".join(
        f'{{%- {"elif" if n else "if"} form == "{form}" -%}}{TODAY.strftime(form)}'
        for n, form in enumerate(formats)
    )
    otherwise = f"{{%- else -%}}{TODAY}{{%- endif -%}}" if formats else str(TODAY)
    return f"{{%- macro strftime_now(form) -%}}{cases}{otherwise}{{%- endmacro -%}}\n"


def _with_calls_as_text(template: str) -> list[str]:
    """The template behind our rewriting of calls, with tools in the system prompt or in the first message."""
    head = (files("tracemill.curate.chat") / "templates" / "calls_as_text.jinja").read_text("utf-8")
    return [head + template, head.replace("set in_system = true", "set in_system = false") + template]


def _answers_after_prompt(template: str, write: Write) -> bool:
    """Whether an answer in words stands right behind the prompt that the template asks for it with."""
    prompt = write(template, [_ASK], None, True)
    whole = write(template, [_ASK, {"role": "assistant", "content": "Yes."}], None, False)
    return whole.startswith(prompt) and whole[len(prompt) :].lstrip().startswith("Yes.")


def _calls_stand(template: str, write: Write) -> bool:
    """Whether tools, calls and results stand in what the template writes, the calls as `<tool_call>` JSON."""
    parameters = {"type": "object", "properties": {"at": {"type": "string"}}}
    function = {"name": _CALLS[0].name, "description": "Look.", "parameters": parameters}
    tools = [{"type": "function", "function": function}]
    asked = [{"role": "system", "content": "Be brief."}, _ASK]
    calls = [
        {"id": f"call_{n}", "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for n, call in enumerate(_CALLS)
    ]
    results = [
        {"role": "tool", "content": f"Seen {n}.", "tool_call_id": f"call_{n}", "name": call.name}
        for n, call in enumerate(_CALLS)
    ]
    prompt = write(template, asked, tools, True)
    turn = {"role": "assistant", "content": "", "tool_calls": calls}
    called = write(template, [*asked, turn], tools, False)
    answered = write(template, [*asked, turn, *results], tools, True)
    read = decode(called[len(prompt) :])
    return (
        called.startswith(prompt)
        and (read.calls, read.errors) == (tuple(_CALLS), ())
        and _CALLS[0].name in prompt
        and all(result["content"] in answered for result in results)
    )

"""A chat template as a text that decides all by itself, in any server and on any day.

In: the template that a base model ships. Out: the same, with up to two lines in front of it:

- a template that writes today's date gets a fixed one: a model trained in May is not served another prompt in
  June;
- a template that can leave thinking out does so, if only then the prompt it ends with is how it writes an
  answer without thinking: the empty block of thoughts is then part of the prompt and not learned.

The lines are part of the template that travels with an adapter: who serves it needs to know no option.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date
from typing import Any

from jinja2 import TemplateError as JinjaError

Write = Callable[[str, list[dict[str, Any]], bool], str]
"""(template, messages, add_generation_prompt) -> the text of a conversation."""

NO_THINKING = "{%- set enable_thinking = false -%}\n"
TODAY = date(2024, 7, 26)
"""The day that every prompt names: the one that Llama 3.1's template falls back to."""
_CLOCK = re.compile(r"strftime_now\(\s*(['\"])(.+?)\1\s*\)")


def settle(template: str, write: Write) -> str:
    """`template` with the lines it needs; itself where it needs none, or has them."""
    if "strftime_now(" in template and "macro strftime_now(" not in template:
        template = _fixed_clock(template) + template
    if "enable_thinking" in template:
        quiet = NO_THINKING + template
        if not _answers_after_prompt(template, write) and _answers_after_prompt(quiet, write):
            return quiet
    return template


def _fixed_clock(template: str) -> str:
    """A macro that takes the place of the clock for the formats that `template` asks for."""
    formats = sorted({found[1] for found in _CLOCK.findall(template)})
    cases = "".join(
        f'{{%- {"elif" if n else "if"} form == "{form}" -%}}{TODAY.strftime(form)}'
        for n, form in enumerate(formats)
    )
    otherwise = f"{{%- else -%}}{TODAY}{{%- endif -%}}" if formats else str(TODAY)
    return f"{{%- macro strftime_now(form) -%}}{cases}{otherwise}{{%- endmacro -%}}\n"


def _answers_after_prompt(template: str, write: Write) -> bool:
    """Whether an answer in words stands right behind the prompt that the template asks for it with."""
    asked: list[dict[str, Any]] = [{"role": "user", "content": "Ready?"}]
    try:
        prompt = write(template, asked, True)
        whole = write(template, [*asked, {"role": "assistant", "content": "Yes."}], False)
    except (JinjaError, TypeError, ValueError):
        return False
    return whole.startswith(prompt) and whole[len(prompt) :].lstrip().startswith("Yes.")

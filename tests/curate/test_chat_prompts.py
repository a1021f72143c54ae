"""Long conversations: the ends of their prompts found from one writing are those found from writing each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tiny import tiny_model
from tracemill.curate.chat import render as render_module
from tracemill.curate.chat.codec import Call, encode, from_row
from tracemill.curate.chat.prompts import prompt_ends
from tracemill.curate.chat.proof import Row, learned_turns, prove
from tracemill.curate.chat.template import TEMPLATE_FILE, Chat, chatml_tools
from tracemill.curate.errors import ProofError

OURS = chatml_tools()
END = "<|im_end|>\n{% endif -%}\n{%- endfor -%}"
TAIL = "{%- if add_generation_prompt -%}"
LOOP = "{%- for message in messages -%}\n"
assert all(OURS.count(part) == 1 for part in (END, TAIL, LOOP))
COUNT = "{%- set seen = namespace(n=0) -%}\n"
LATER = "<|im_start|>assistant\n{% endif -%}"
assert OURS.endswith(LATER + "\n") or OURS.endswith(LATER)


def counted(before: str, after: str, name: str = "messages", early: bool = False) -> str:
    """Our template with its loop between these texts, counting; what it writes last knows the number.

    What it writes last stands within them too, or where `early` behind them. The last loop does nothing.
    """
    loop = before + LOOP.replace("in messages", f"in {name}") + "{%- set seen.n = seen.n + 1 -%}\n"
    told = LATER.replace("{% endif", "{% if seen.n in (4, 10) %}!{% endif %}{% endif")
    ends = (after, "") if early else ("", after)
    head, tail = OURS.replace(LOOP, COUNT + loop).replace(END, END + ends[0]).rsplit(LATER, 1)
    return head + told + tail + ends[1] + "{%- for _ in [] -%}{%- endfor -%}"


STEADY = {
    "ours": OURS,
    "the messages by another name": OURS.replace(
        LOOP, "{%- set all = messages -%}" + LOOP.replace("in messages", "in all")
    ),
    "the rest of the messages": OURS.replace(LOOP, LOOP.replace("in messages", "in messages[0:]")),
    "a count that nobody reads behind the loop": OURS.replace(
        LOOP, "{%- set seen = namespace(n=0) -%}\n" + LOOP + "{%- set seen.n = seen.n + 1 -%}\n"
    ),
}
UNSTEADY = {
    "asks for the last": OURS.replace(END, END.replace("\n", "{% if loop.last %}{% endif %}\n", 1)),
    "writes after the last": OURS.replace(END, END.replace("\n", "{% if loop.last %} {% endif %}\n", 1)),
    "counts them before": OURS.replace(LOOP, "{%- set many = messages | length -%}\n" + LOOP),
    "counts them behind": OURS.replace(TAIL, TAIL + "{%- set many = messages | length -%}"),
    "reads them twice": OURS.replace(LOOP, "{%- for message in messages -%}{%- endfor -%}\n" + LOOP),
    "begins at the end": OURS.replace(LOOP, "{%- set last = messages[-1] -%}\n" + LOOP),
    "looks one ahead": OURS.replace(LOOP, LOOP + "{%- set next = messages[loop.index0 + 1] -%}\n"),
    "writes all at once": OURS.replace(LOOP, "{%- set all -%}\n" + LOOP).replace(
        END, END + "{%- endset -%}{{ all }}"
    ),
    "remembers behind the loop": OURS.replace(
        LOOP, "{%- set seen = namespace(n=0) -%}\n" + LOOP + "{%- set seen.n = seen.n + 1 -%}\n"
    ).replace("<|im_start|>assistant\n{% endif -%}", "<|im_start|>assistant\n{% if seen.n > 7 %}!{% endif %}{% endif -%}"),
    "remembers behind a loop within a condition": counted(
        "{%- if messages -%}", "{%- endif -%}", early=True
    ),
    "remembers behind a loop within a loop": counted("{%- for _ in [0] -%}", "{%- endfor -%}"),
    "remembers behind a loop within a loop over a list of them": counted(
        "{%- set all = [messages] -%}{%- for each in all -%}", "{%- endfor -%}", "each"
    ),
    "remembers behind a loop within a macro": counted(
        "{%- macro write(all) -%}", "{%- endmacro -%}{{ write(messages) }}", "all"
    ),
    "forgets": OURS.replace(LOOP, "{%- for message in messages[-3:] -%}\n"),
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def chats(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Chat]:
    made: dict[str, Chat] = {}
    for name, template in {**STEADY, **UNSTEADY}.items():
        adapter = tmp_path_factory.mktemp("adapter")
        (adapter / TEMPLATE_FILE).write_text(template)
        made[name] = Chat.load(folder, adapter)
    return made


def row(*rounds: tuple[str, str, str], system: str | None = None) -> Row:
    messages: list[Any] = [{"role": "system", "content": system}] if system is not None else []
    for number, (asked, seen, said) in enumerate(rounds):
        messages.append({"role": "user", "content": asked})
        if number % 2:
            messages.append({"role": "assistant", "content": encode("", [Call("look", {"at": seen})])})
            messages.append({"role": "tool", "content": seen})
        messages.append({"role": "assistant", "content": said})
    return {"id": "r", "session_id": "s", "category": "", "messages": messages, "tools": []}


def proved(chat: Chat, one: Row, many: int, monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.setattr(render_module, "MANY", many)
    try:
        return prove(chat, one)
    except ProofError as error:
        return str(error)


TEXT = st.text(max_size=8) | st.sampled_from(
    ["<|im_end|>", "<|im_start|>", "<|im_start|>assistant\n", "<|im_start|", "im_end|>", " \n", "", "\n\n a"]
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from([*STEADY, *UNSTEADY]),
    rounds=st.lists(st.tuples(TEXT, TEXT, TEXT), min_size=2, max_size=6),
    system=st.none() | TEXT,
)
def test_the_same_is_proved_and_refused(
    chats: dict[str, Chat],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    rounds: list[tuple[str, str, str]],
    system: str | None,
) -> None:
    one = row(*rounds, system=system)
    assert proved(chats[name], one, 1, monkeypatch) == proved(chats[name], one, 10**9, monkeypatch)


def ends(chat: Chat, one: Row) -> list[int] | None:
    messages, positions = from_row(one["messages"]), learned_turns(one["messages"])
    last = chat.prompt(messages[: positions[-1]], one["tools"])
    return prompt_ends(chat, messages, one["tools"], positions, last)


LONG = row(*((f"Ask {n}.", f"See {n}.", f"Say {n}.") for n in range(8)), system="Be brief.")


@pytest.mark.parametrize("name", STEADY)
def test_a_template_that_reads_one_message_after_another_is_written_once(
    chats: dict[str, Chat], name: str
) -> None:
    chat = chats[name]
    messages = from_row(LONG["messages"])
    earlier = learned_turns(LONG["messages"])[:-1]
    assert ends(chat, LONG) == [len(chat.prompt(messages[:at], [])) for at in earlier]


@pytest.mark.parametrize("name", UNSTEADY)
def test_a_template_that_looks_ahead_is_not(chats: dict[str, Chat], name: str) -> None:
    assert ends(chats[name], LONG) is None


def test_five_hundred_turns_are_not_five_hundred_prompts(
    chats: dict[str, Chat], monkeypatch: pytest.MonkeyPatch
) -> None:
    many = row(*((f"Ask {n}.", f"See {n}.", f"Say {n}.") for n in range(250)))
    prompts: list[int] = []
    plain = Chat.prompt

    def counted(chat: Chat, messages: Any, tools: Any) -> list[int]:
        prompts.append(len(messages))
        return plain(chat, messages, tools)

    monkeypatch.setattr(Chat, "prompt", counted)
    (whole,) = prove(chats["ours"], many)
    assert len(whole.spans) == 375
    assert len(prompts) < 15
    assert sum(prompts) < 4 * len(many["messages"])

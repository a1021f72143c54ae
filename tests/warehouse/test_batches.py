"""A warehouse read some sessions at a time gives what it gives as a whole, whatever continues what."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from session_events import SEARCH, session, spool
from tracemill.tracer import events
from tracemill.tracer.home import Home
from tracemill.tracer.messages import Message, message_id, toolset_id
from tracemill.warehouse.batches import batches
from tracemill.warehouse.errors import MistakeError, QueryError
from tracemill.warehouse.ingest import ingest
from tracemill.warehouse.read import asked, conversations, frame


def in_batches(home: Home, size: int, where: str | None = None) -> pl.DataFrame:
    return pl.concat([batch.conversations(where) for batch in batches(home, size)])


def same(home: Home, size: int, where: str | None = None) -> None:
    whole = conversations(home, where).collect()
    assert in_batches(home, size, where).sort("conversation_id").equals(whole.sort("conversation_id"))


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_continues_what(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Requests of five sessions; one may continue any earlier one, of another session too, or a lost one."""
    home = Home(tmp_path_factory.mktemp("home"))
    made: list[Any] = [events.toolset([SEARCH])]
    lengths: list[int] = []
    for number in range(data.draw(st.integers(1, 12))):
        parent = data.draw(st.none() | st.integers(-1, number - 1)) if number else None
        length = lengths[parent] if parent is not None and parent >= 0 else 0
        kept = data.draw(st.integers(0, length)) if length else 0
        added: list[Message] = [
            {"role": "user", "content": data.draw(st.sampled_from(["shared", f"own {number}"]))}
            for _ in range(data.draw(st.integers(0, 2)))
        ]
        answer: Message = {"role": "assistant", "content": f"answer {number}"}
        if data.draw(st.booleans()):
            answer["tool_calls"] = [{"id": "call_0", "name": "search", "arguments": {}}]
        lengths.append(kept + len(added))
        made += [events.message(message) for message in (*added, answer)]
        name = f"s{data.draw(st.integers(0, 4))}"
        at = 1_700_000_000.0 + number
        made.append(
            events.request(
                name,
                f"r{number}",
                run_id="r",
                step=0,
                model="m",
                previous=None if parent is None else f"r{parent}",
                kept=kept,
                added=[message_id(message) for message in added],
                toolset_id=toolset_id([SEARCH]),
                ts=at,
            )
        )
        made.append(events.response(name, f"r{number}", message_id=message_id(answer), ts=at))
        made.append(
            events.tool_start(
                name,
                f"c{number}",
                run_id="r",
                request_id=f"r{number}",
                tool_call_id="call_0",
                tool="search",
                raw_arguments="{}",
                ts=at,
            )
        )
    spool(home, made)
    ingest(home)
    same(home, data.draw(st.integers(1, 6)))


def test_a_condition_is_about_all_that_is_recorded(home: Home) -> None:
    spool(home, *(session(f"s{n}", task=f"t{n % 2}", outcome="bad" if n else "good") for n in range(5)))
    ingest(home)
    often = "task IN (SELECT task FROM sessions GROUP BY task HAVING count(*) > 2) AND conversations.outcome = 'bad'"
    assert sorted(in_batches(home, 3, often)["session_id"]) == ["s2", "s4"]
    same(home, 3, often)
    parts = [(batch.requests, batch.total) for batch in batches(home, 4)]
    assert sum(requests for requests, _ in parts) == 15
    assert len(parts) > 1
    assert {total for _, total in parts} == {15}
    assert not list(home.root.glob("spill-*"))


def test_a_batch_ends_by_the_length_of_its_messages(home: Home) -> None:
    spool(home, *(session(f"s{n}", prompt=f"{n} " + "x" * 5000) for n in range(6)))
    ingest(home)
    every = [pl.DataFrame(batch.conversations()) for batch in batches(home, text=11_500)]
    assert len(every) in (3, 4) and max(part["session_id"].n_unique() for part in every) == 2
    assert len(list(batches(home, text=1))) == 6, "each session is longer"
    assert pl.concat(every).sort("session_id").equals(conversations(home).collect().sort("session_id"))


def test_too_little_memory_is_no_mistake_of_the_question(home: Home) -> None:
    spool(home, session("s1"))
    ingest(home)
    with pytest.raises(QueryError) as told, asked(home, "20MB") as connection:
        frame(connection, "SELECT list(range) FROM range(20_000_000)")
    assert not isinstance(told.value, MistakeError)
    assert str(told.value).startswith("There is not enough memory for what is asked")
    assert "Possible" not in str(told.value)


def test_a_condition_cannot_write_here_either(home: Home) -> None:
    spool(home, session("s1"), session("s2"))
    ingest(home)
    for where in ("true)) AS c; DROP TABLE memory.staged.requests; --", "nothing = 1"):
        with pytest.raises(MistakeError):
            in_batches(home, 1, where)
    with pytest.raises(MistakeError, match="Refused"):
        in_batches(home, 1, "agent IN (SELECT content FROM read_text('/etc/hostname'))")

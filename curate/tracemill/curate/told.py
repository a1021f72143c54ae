"""What the warehouse was told of single assistant turns, beside what stands in them.

In: batches of conversations. Out: for each a frame of conversations with the positions of such turns.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import polars as pl

from tracemill.warehouse.batches import Batch

_DISLIKED = """
SELECT coalesce(a.inner_call_id, f.target_id) AS call_id
FROM feedback AS f LEFT JOIN acp_calls AS a ON a.call_id = f.target_id
WHERE f.target = 'tool_call' GROUP BY ALL HAVING avg(f.score) < 0
"""
_CALLS = "SELECT conversation_id, position, call_id FROM {place}conversation_calls WHERE call_id IS NOT NULL"
_CUT_OFF = """
SELECT c.conversation_id, c.reach AS position
FROM {place}conversation_requests AS c JOIN {place}responses AS a USING (request_id)
WHERE c.whole AND a.finish_reason = 'length'
"""


@dataclass(frozen=True)
class Told:
    """The calls that people disliked, and whether any turn at all was cut off."""

    disliked: pl.DataFrame
    cut_off: bool

    @classmethod
    def of(cls, batch: Batch) -> Told:
        """What is told of all turns, asked once, in any batch."""
        scored = batch.query("FROM feedback WHERE target = 'tool_call' AND score < 0 LIMIT 1").height
        calls = batch.query(_DISLIKED) if scored else pl.DataFrame(schema={"call_id": pl.String})
        cut_off = batch.query("FROM responses WHERE finish_reason = 'length' LIMIT 1").height > 0
        return cls(calls, cut_off)

    def turns(self, batch: Batch) -> pl.DataFrame:
        """The conversations of a batch in which a turn was disliked or cut off."""
        none = pl.DataFrame(schema={"conversation_id": pl.String, "position": pl.Int64})
        asked = {
            # Both read all conversations of the batch, which is mostly for nothing.
            "disliked": batch.query(_CALLS.format(place=batch.place)).join(self.disliked, on="call_id")
            if self.disliked.height
            else none,
            "cut_off": batch.query(_CUT_OFF.format(place=batch.place)) if self.cut_off else none,
        }
        found = [
            rows.group_by("conversation_id").agg(
                pl.col("position").cast(pl.Int64).unique().sort().alias(name)
            )
            for name, rows in asked.items()
        ]
        return reduce(lambda a, b: a.join(b, on="conversation_id", how="full", coalesce=True), found)

"""Questions to start from: `tracemill sql --example NAME`.

In: nothing. Out: `EXAMPLES`, each one question in words and one SELECT. A test runs each on real sessions.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Example:
    """A question and the SQL that answers it."""

    question: str
    sql: str


EXAMPLES: dict[str, Example] = {
    "slowest-tools": Example(
        "Which tools keep the agent waiting?",
        """SELECT tool, calls, round(median_ms) AS median_ms, round(p95_ms) AS p95_ms
FROM tool_stats
WHERE median_ms IS NOT NULL
ORDER BY p95_ms DESC
LIMIT 20""",
    ),
    "failing-tools": Example(
        "Which tools fail, and how?",
        """SELECT tool, calls, errors, retries, invalid, unknown,
       round(100 * (errors + retries + invalid + unknown) / calls, 1) AS failed_percent
FROM tool_stats
WHERE errors + retries + invalid + unknown > 0
ORDER BY failed_percent DESC, calls DESC
LIMIT 20""",
    ),
    "failed-calls": Example(
        "What did the calls that failed look like?",
        """SELECT session_id, tool, status, raw_arguments, coalesce(error, result) AS answer
FROM tool_calls
WHERE status IN ('error', 'retry', 'invalid', 'unknown')
ORDER BY started DESC
LIMIT 20""",
    ),
    "bad-sessions": Example(
        "Which sessions ended badly, and after how much work?",
        """SELECT session_id, agent, task, turns, tool_calls, failed_calls, round(duration_s) AS seconds
FROM session_overview
WHERE outcome = 'bad'
ORDER BY started DESC
LIMIT 20""",
    ),
    "outcomes": Example(
        "How often does each agent succeed?",
        """SELECT agent, source, count(*) AS sessions, count(*) FILTER (outcome = 'good') AS good,
       count(*) FILTER (outcome = 'bad') AS bad, round(avg(tool_calls), 1) AS tool_calls
FROM session_overview
GROUP BY ALL
ORDER BY sessions DESC""",
    ),
    "tokens": Example(
        "How many tokens did each model take?",
        """SELECT model, sessions, requests, input_tokens, output_tokens
FROM model_stats
ORDER BY input_tokens + output_tokens DESC NULLS LAST""",
    ),
    "longest-conversations": Example(
        "Which conversations are longest?",
        """SELECT conversation_id, session_id, count(*) AS messages, sum(len(content)) AS characters
FROM conversation_messages JOIN conversations USING (conversation_id)
GROUP BY ALL
ORDER BY messages DESC
LIMIT 20""",
    ),
    "session-in-adapters": Example(
        "Which adapters learned from which sessions?",
        """SELECT training_id, adapter, count(DISTINCT session_id) AS sessions, count(*) AS rows
FROM lineage
WHERE split = 'train'
GROUP BY ALL
ORDER BY training_id""",
    ),
}
"""The questions by name."""

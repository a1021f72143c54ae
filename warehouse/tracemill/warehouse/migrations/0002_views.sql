-- Views: the questions that are asked again and again, answered once.

-- Both walks go from a request to the ones it continues. `first_position` is where the messages that an ancestor
-- added begin, `reach` how many of its messages still begin the request. UNION and not UNION ALL: a request that
-- is, by damage, its own ancestor must not run for ever.

CREATE VIEW request_messages AS
WITH RECURSIVE chain AS (
  SELECT request_id, request_id AS ancestor_id, previous_request_id, kept AS first_position,
         kept + len(added) AS reach
  FROM requests
  UNION
  SELECT c.request_id, r.request_id, r.previous_request_id, r.kept,
         least(c.reach, c.first_position, r.kept + len(r.added))
  FROM chain AS c JOIN requests AS r ON r.request_id = c.previous_request_id
  WHERE least(c.reach, c.first_position) > 0
)
SELECT s.request_id, s.position, s.message_id, m.role, m.content
FROM (
  SELECT c.request_id, unnest(a.added[:greatest(0, c.reach - a.kept)]) AS message_id,
         a.kept + generate_subscripts(a.added[:greatest(0, c.reach - a.kept)], 1) - 1 AS position
  FROM chain AS c JOIN requests AS a ON a.request_id = c.ancestor_id
) AS s LEFT JOIN messages AS m USING (message_id);
COMMENT ON VIEW request_messages IS 'Every message of every request, in order.';
COMMENT ON COLUMN request_messages.request_id IS 'Request.';
COMMENT ON COLUMN request_messages.position IS 'Place of the message in it, from 0.';
COMMENT ON COLUMN request_messages.message_id IS 'Message.';
COMMENT ON COLUMN request_messages.role IS 'system, user, assistant or tool; null if the body was never recorded.';
COMMENT ON COLUMN request_messages.content IS 'Its text.';

CREATE VIEW conversation_requests AS
WITH RECURSIVE chain AS (
  SELECT request_id AS conversation_id, request_id, previous_request_id, kept AS first_position,
         kept + len(added) AS length, kept + len(added) AS reach, sent
  FROM requests AS r LEFT JOIN responses AS a USING (request_id)
  -- A later request continues it if it keeps all of its messages and goes on with an answer. One that asks the
  -- same again, or goes on without the answer, does not: the answer stands in no other conversation.
  WHERE NOT EXISTS (
    FROM requests AS later LEFT JOIN messages AS next ON next.message_id = later.added[1]
    WHERE later.previous_request_id = r.request_id AND later.kept = r.kept + len(r.added)
      AND (a.message_id IS NULL OR coalesce(next.role = 'assistant', len(later.added) > 0))
  )
  UNION
  SELECT c.conversation_id, r.request_id, r.previous_request_id, r.kept, r.kept + len(r.added),
         least(c.reach, c.first_position, r.kept + len(r.added)), r.sent
  FROM chain AS c JOIN requests AS r ON r.request_id = c.previous_request_id
  WHERE least(c.reach, c.first_position) > 0
)
SELECT conversation_id, request_id, first_position, reach, reach = length AS whole, sent FROM chain;
COMMENT ON VIEW conversation_requests IS
  'The requests a conversation is made of: one that no later request continues, and those it continues.';
COMMENT ON COLUMN conversation_requests.conversation_id IS 'Conversation: its last request.';
COMMENT ON COLUMN conversation_requests.request_id IS 'A request it continues, or itself.';
COMMENT ON COLUMN conversation_requests.first_position IS 'Position of the first message this request added.';
COMMENT ON COLUMN conversation_requests.reach IS 'How many messages of this request the conversation begins with.';
COMMENT ON COLUMN conversation_requests.whole IS 'Whether those are all the request had.';
COMMENT ON COLUMN conversation_requests.sent IS 'When it was sent.';

CREATE VIEW conversation_messages AS
SELECT s.conversation_id, s.position, s.message_id, m.role, m.content
FROM (
  SELECT c.conversation_id, unnest(a.added[:greatest(0, c.reach - a.kept)]) AS message_id,
         a.kept + generate_subscripts(a.added[:greatest(0, c.reach - a.kept)], 1) - 1 AS position
  FROM conversation_requests AS c JOIN requests AS a USING (request_id)
  UNION ALL
  SELECT c.conversation_id, a.message_id, c.reach
  FROM conversation_requests AS c JOIN responses AS a USING (request_id)
  WHERE c.request_id = c.conversation_id AND a.message_id IS NOT NULL
) AS s LEFT JOIN messages AS m USING (message_id);
COMMENT ON VIEW conversation_messages IS 'Every message of every conversation, the final response included.';
COMMENT ON COLUMN conversation_messages.conversation_id IS 'Conversation: its last request.';
COMMENT ON COLUMN conversation_messages.position IS 'Place of the message in it, from 0.';
COMMENT ON COLUMN conversation_messages.message_id IS 'Message.';
COMMENT ON COLUMN conversation_messages.role IS
  'system, user, assistant or tool; null if the body was never recorded.';
COMMENT ON COLUMN conversation_messages.content IS 'Its text.';

CREATE VIEW conversation_calls AS
WITH wanted AS (
  SELECT conversation_id, position, unnest(calls) AS call, generate_subscripts(calls, 1) AS number
  FROM (
    SELECT conversation_id, position,
           json_transform(m.tool_calls, '[{"id": "VARCHAR", "name": "VARCHAR"}]') AS calls
    FROM conversation_messages AS c JOIN messages AS m USING (message_id)
    WHERE c.role = 'assistant' AND m.tool_calls IS NOT NULL
  )
)
SELECT w.conversation_id, w.position, w.number, w.call.id AS tool_call_id, w.call.name AS tool,
       coalesce(t.status, 'unknown') AS status, t.call_id
FROM wanted AS w
JOIN requests AS r ON r.request_id = w.conversation_id
-- The answer to an ancestor of n messages stands at position n. Ids of calls repeat within a session ("call_0"), so
-- where the request that was answered is known, only what it asked for can be meant.
LEFT JOIN conversation_requests AS asked
  ON asked.conversation_id = w.conversation_id AND asked.reach = w.position AND asked.whole
LEFT JOIN tool_calls AS t
  ON t.session_id = r.session_id AND t.tool_call_id = w.call.id AND t.tool = w.call.name
  AND coalesce(t.request_id = asked.request_id, true)
QUALIFY row_number() OVER (
  PARTITION BY w.conversation_id, w.position, w.number
  ORDER BY t.request_id = asked.request_id DESC NULLS LAST, t.started DESC
) = 1;
COMMENT ON VIEW conversation_calls IS 'Every tool call that stands in a conversation, and what became of it.';
COMMENT ON COLUMN conversation_calls.conversation_id IS 'Conversation.';
COMMENT ON COLUMN conversation_calls.position IS 'Position of the assistant message that asks for it.';
COMMENT ON COLUMN conversation_calls.number IS 'Its number in that message, from 1.';
COMMENT ON COLUMN conversation_calls.tool_call_id IS 'The model''s own id of the call.';
COMMENT ON COLUMN conversation_calls.tool IS 'Tool name, as the model wrote it.';
COMMENT ON COLUMN conversation_calls.status IS 'Status of its execution; unknown if it was never executed.';
COMMENT ON COLUMN conversation_calls.call_id IS 'Row of tool_calls; null if it was never executed.';

CREATE VIEW session_outcomes AS
SELECT session_id, arg_max(outcome, (decided, event_id)) AS outcome, arg_max_null(score, (decided, event_id)) AS score,
       arg_max_null(source, (decided, event_id)) AS source, arg_max_null(note, (decided, event_id)) AS note,
       max(decided) AS decided
FROM outcomes GROUP BY session_id;
COMMENT ON VIEW session_outcomes IS 'The outcome that counts: the newest of each session.';
COMMENT ON COLUMN session_outcomes.session_id IS 'Session.';
COMMENT ON COLUMN session_outcomes.outcome IS 'good or bad.';
COMMENT ON COLUMN session_outcomes.score IS 'The number behind it, if there is one.';
COMMENT ON COLUMN session_outcomes.source IS 'Who decided.';
COMMENT ON COLUMN session_outcomes.note IS 'In words.';
COMMENT ON COLUMN session_outcomes.decided IS 'When.';

CREATE VIEW conversations AS
SELECT c.conversation_id, r.session_id, r.run_id, s.agent, s.source, s.task, s.category, s.split, o.outcome,
       f.started, r.sent AS ended, c.messages, c.assistant_turns, r.toolset_id,
       c.recorded = c.expected AND t.tools IS NOT NULL AS complete
FROM (
  SELECT conversation_id, to_json(list(m.message ORDER BY position)) AS messages,
         coalesce(list({'position': position, 'message_id': message_id} ORDER BY position)
           FILTER (c.role = 'assistant'), []) AS assistant_turns,
         count(m.message) AS recorded, max(position) + 1 AS expected
  FROM conversation_messages AS c LEFT JOIN messages AS m USING (message_id)
  GROUP BY conversation_id
) AS c
JOIN requests AS r ON r.request_id = c.conversation_id
JOIN (SELECT conversation_id, min(sent) AS started FROM conversation_requests WHERE whole GROUP BY ALL) AS f
  USING (conversation_id)
LEFT JOIN sessions AS s USING (session_id)
LEFT JOIN session_outcomes AS o USING (session_id)
LEFT JOIN toolsets AS t USING (toolset_id);
COMMENT ON VIEW conversations IS
  'Whole conversations: the messages of each request that no other request continues, and the response to it.';
COMMENT ON COLUMN conversations.conversation_id IS 'Conversation: its last request.';
COMMENT ON COLUMN conversations.session_id IS 'Session.';
COMMENT ON COLUMN conversations.run_id IS 'Run of the last request.';
COMMENT ON COLUMN conversations.agent IS 'Name of the agent.';
COMMENT ON COLUMN conversations.source IS 'How the session was recorded.';
COMMENT ON COLUMN conversations.task IS 'Task worked on, from the metadata.';
COMMENT ON COLUMN conversations.category IS 'Kind of task, from the metadata.';
COMMENT ON COLUMN conversations.split IS 'Split asked for in the metadata.';
COMMENT ON COLUMN conversations.outcome IS 'Outcome of the session: good, bad, or null.';
COMMENT ON COLUMN conversations.started IS 'When its first request was sent.';
COMMENT ON COLUMN conversations.ended IS 'When its last request was sent.';
COMMENT ON COLUMN conversations.messages IS 'Its messages in the neutral form, as a JSON list.';
COMMENT ON COLUMN conversations.assistant_turns IS 'Position and id of every assistant message.';
COMMENT ON COLUMN conversations.toolset_id IS 'Tools offered with the last request.';
COMMENT ON COLUMN conversations.complete IS 'Whether every message and the toolset were recorded.';

CREATE VIEW session_overview AS
SELECT s.session_id, s.agent, s.source, s.task, s.category, s.split, s.started,
       epoch(e.ended - s.started) AS duration_s, coalesce(r.runs, 0) AS runs, coalesce(a.turns, 0) AS turns,
       coalesce(t.tool_calls, 0) AS tool_calls, coalesce(t.failed_calls, 0) AS failed_calls,
       a.input_tokens, a.output_tokens, o.outcome, f.feedback
FROM sessions AS s
LEFT JOIN (SELECT session_id, max(ts) AS ended FROM events WHERE kind NOT IN ('feedback', 'outcome')
           GROUP BY session_id) AS e USING (session_id)
LEFT JOIN (SELECT session_id, count(*) AS runs FROM runs GROUP BY session_id) AS r USING (session_id)
LEFT JOIN (SELECT session_id, count(message_id) AS turns, sum(input_tokens)::BIGINT AS input_tokens,
                  sum(output_tokens)::BIGINT AS output_tokens
           FROM responses GROUP BY session_id) AS a USING (session_id)
LEFT JOIN (SELECT session_id, count(*) AS tool_calls,
                  count(*) FILTER (status IN ('error', 'retry', 'invalid', 'unknown')) AS failed_calls
           FROM tool_calls GROUP BY session_id) AS t USING (session_id)
LEFT JOIN session_outcomes AS o USING (session_id)
LEFT JOIN (SELECT session_id, avg(score) AS feedback FROM feedback GROUP BY session_id) AS f USING (session_id);
COMMENT ON VIEW session_overview IS 'One row per session: what it was, how long it took, how it ended.';
COMMENT ON COLUMN session_overview.session_id IS 'Session.';
COMMENT ON COLUMN session_overview.agent IS 'Name of the agent.';
COMMENT ON COLUMN session_overview.source IS 'How it was recorded.';
COMMENT ON COLUMN session_overview.task IS 'Task worked on, from the metadata.';
COMMENT ON COLUMN session_overview.category IS 'Kind of task, from the metadata.';
COMMENT ON COLUMN session_overview.split IS 'Split asked for in the metadata.';
COMMENT ON COLUMN session_overview.started IS 'Time of the first event.';
COMMENT ON COLUMN session_overview.duration_s IS 'Seconds from the first event to the last, labels apart.';
COMMENT ON COLUMN session_overview.runs IS 'Runs.';
COMMENT ON COLUMN session_overview.turns IS 'Answers of a model.';
COMMENT ON COLUMN session_overview.tool_calls IS 'Tool calls.';
COMMENT ON COLUMN session_overview.failed_calls IS 'Tool calls whose status is error, retry, invalid or unknown.';
COMMENT ON COLUMN session_overview.input_tokens IS 'Tokens read by models.';
COMMENT ON COLUMN session_overview.output_tokens IS 'Tokens written by models.';
COMMENT ON COLUMN session_overview.outcome IS 'good, bad, or null.';
COMMENT ON COLUMN session_overview.feedback IS 'Mean feedback score, -1 to 1.';

CREATE VIEW tool_stats AS
SELECT tool, count(*) AS calls, count(*) FILTER (status = 'ok') AS ok, count(*) FILTER (status = 'error') AS errors,
       count(*) FILTER (status = 'retry') AS retries, count(*) FILTER (status = 'invalid') AS invalid,
       count(*) FILTER (status = 'unknown') AS unknown,
       count(*) FILTER (status IN ('denied', 'deferred', 'cancelled', 'unfinished')) AS other,
       median(latency_ms) AS median_ms, quantile_cont(latency_ms, 0.95) AS p95_ms,
       count(DISTINCT session_id) AS sessions
FROM tool_calls GROUP BY tool;
COMMENT ON VIEW tool_stats IS 'One row per tool: how often it was called, how that went, how long it took.';
COMMENT ON COLUMN tool_stats.tool IS 'Tool name.';
COMMENT ON COLUMN tool_stats.calls IS 'Calls.';
COMMENT ON COLUMN tool_stats.ok IS 'Calls that went well.';
COMMENT ON COLUMN tool_stats.errors IS 'Calls that raised.';
COMMENT ON COLUMN tool_stats.retries IS 'Calls that asked the model for another try.';
COMMENT ON COLUMN tool_stats.invalid IS 'Calls whose arguments did not fit.';
COMMENT ON COLUMN tool_stats.unknown IS 'Calls of a tool that does not exist.';
COMMENT ON COLUMN tool_stats.other IS 'Calls that were denied, deferred, cancelled or never ended.';
COMMENT ON COLUMN tool_stats.median_ms IS 'Median latency in milliseconds.';
COMMENT ON COLUMN tool_stats.p95_ms IS '95th percentile of the latency in milliseconds.';
COMMENT ON COLUMN tool_stats.sessions IS 'Sessions that called it.';

CREATE VIEW model_stats AS
SELECT r.model, count(*) AS requests, count(a.error) AS errors, sum(a.input_tokens)::BIGINT AS input_tokens,
       sum(a.output_tokens)::BIGINT AS output_tokens, median(a.latency_ms) AS median_ms,
       count(DISTINCT r.session_id) AS sessions
FROM requests AS r LEFT JOIN responses AS a USING (request_id) GROUP BY r.model;
COMMENT ON VIEW model_stats IS 'One row per model: requests, tokens, latency.';
COMMENT ON COLUMN model_stats.model IS 'Model.';
COMMENT ON COLUMN model_stats.requests IS 'Requests sent to it.';
COMMENT ON COLUMN model_stats.errors IS 'Requests that failed.';
COMMENT ON COLUMN model_stats.input_tokens IS 'Tokens read.';
COMMENT ON COLUMN model_stats.output_tokens IS 'Tokens written.';
COMMENT ON COLUMN model_stats.median_ms IS 'Median latency in milliseconds.';
COMMENT ON COLUMN model_stats.sessions IS 'Sessions that used it.';

CREATE VIEW lineage AS
SELECT t.training_id, t.path AS adapter, t.base, t.dataset_id, d.row_id, d.split, d.session_id
FROM training_runs AS t JOIN dataset_rows AS d USING (dataset_id);
COMMENT ON VIEW lineage IS 'From an adapter to the rows and sessions it was made from, and back.';
COMMENT ON COLUMN lineage.training_id IS 'Training run.';
COMMENT ON COLUMN lineage.adapter IS 'Folder of the adapter.';
COMMENT ON COLUMN lineage.base IS 'Base model.';
COMMENT ON COLUMN lineage.dataset_id IS 'Data set.';
COMMENT ON COLUMN lineage.row_id IS 'Row of the data set.';
COMMENT ON COLUMN lineage.split IS 'train, valid or test.';
COMMENT ON COLUMN lineage.session_id IS 'Session the row comes from; its events are in the table events.';

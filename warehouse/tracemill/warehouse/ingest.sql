-- One batch of spool lines into the tables, in whatever order the events come.
-- In: the temporary tables `lines` (file, start, text; null where it is not UTF-8) and `required` (kind, fields, key).
-- Runs inside the transaction of tracemill.warehouse.ingest, which then reads `parsed`, `newer` and `incoming`.
-- The large tables have no keys: an index would cost more than looking for what is there already.

CREATE OR REPLACE TEMP TABLE parsed AS
WITH events AS (SELECT file, start, text, CASE WHEN json_valid(text) THEN text::JSON END AS event FROM lines),
typed AS (
  SELECT *, (event->>'kind') AS kind, (event->>'id') AS id, json_keys(event) AS keys,
         -- TRY: a time beyond the calendar is a bad line, not a failed ingestion
         TRY(make_timestamp((TRY_CAST(event->>'ts' AS DOUBLE) * 1e6)::BIGINT)) AS ts
  FROM events
)
SELECT t.file, t.start, t.event, t.kind, t.id, t.ts, t.event->>'session_id' AS session_id,
  CASE
    WHEN t.text IS NULL THEN 'not UTF-8'
    WHEN t.event IS NULL THEN 'not JSON'
    WHEN json_type(t.event) <> 'OBJECT' THEN 'not a JSON object'
    WHEN (t.event->>'v') IS DISTINCT FROM '1'
      THEN 'event version ' || coalesce(t.event->>'v', 'missing') || ', this Tracemill reads version 1'
    WHEN r.kind IS NULL THEN 'unknown kind ' || coalesce(t.kind, 'null')
    WHEN NOT list_has_all(t.keys, r.fields)
      THEN t.kind || ' event without ' || array_to_string(list_filter(r.fields, lambda f: NOT list_contains(t.keys, f)), ', ')
    WHEN t.id IS NULL OR t.ts IS NULL THEN t.kind || ' event whose id or ts is none'
    WHEN json_type(t.event, '$.' || r.key) IS DISTINCT FROM 'VARCHAR'
      THEN t.kind || ' event whose ' || r.key || ' is no text'
    WHEN t.kind = 'request' AND (
           json_type(t.event->'kept') IS DISTINCT FROM 'UBIGINT'
           OR json_type(t.event->'added') IS DISTINCT FROM 'ARRAY')
      THEN 'request event whose kept or added is none'
  END AS fault
FROM typed AS t LEFT JOIN required AS r ON r.kind = t.kind;

-- From the first line of a newer version on, a file waits until Tracemill is upgraded: nothing of it is skipped.
CREATE OR REPLACE TEMP TABLE newer AS
SELECT file, min(start) AS start FROM parsed WHERE TRY_CAST(event->>'v' AS BIGINT) > 1 GROUP BY file;
DELETE FROM parsed USING newer WHERE parsed.file = newer.file AND parsed.start >= newer.start;

INSERT OR IGNORE INTO bad_lines SELECT file, start, fault FROM parsed WHERE fault IS NOT NULL;

CREATE OR REPLACE TEMP TABLE incoming AS
SELECT * FROM parsed WHERE fault IS NULL AND NOT EXISTS (FROM events WHERE event_id = id)
QUALIFY row_number() OVER (PARTITION BY id ORDER BY file, start) = 1;

INSERT INTO events SELECT id, kind, ts, session_id, file, start FROM incoming;

-- A session is known by whatever happened in it; the latest event that describes it counts. How the work tree
-- was is no happening: a launcher saw that long before, when its program started.
MERGE INTO sessions USING (
  SELECT session_id, min(ts) AS ts FROM incoming WHERE session_id IS NOT NULL AND kind <> 'git' GROUP BY session_id
) AS new ON sessions.session_id = new.session_id
WHEN MATCHED AND new.ts < started THEN UPDATE SET started = new.ts
WHEN NOT MATCHED THEN INSERT (session_id, started) VALUES (new.session_id, new.ts);

UPDATE sessions SET
  agent = new.agent, project = new.project, source = new.source, metadata = new.metadata, described = new.ts,
  task = new.metadata->>'task', category = new.metadata->>'category', split = new.metadata->>'split'
FROM (
  SELECT session_id, ts, event->>'agent' AS agent, event->>'project' AS project, event->>'source' AS source,
         event->'metadata' AS metadata
  FROM incoming WHERE kind = 'session'
  QUALIFY row_number() OVER (PARTITION BY session_id ORDER BY ts DESC, id) = 1
) AS new
WHERE sessions.session_id = new.session_id AND coalesce(sessions.described <= new.ts, true);

INSERT INTO messages (message_id, message)
SELECT event->>'message_id' AS body_id, any_value(event->'message') FROM incoming
WHERE kind = 'message' AND NOT EXISTS (FROM messages WHERE message_id = event->>'message_id') GROUP BY body_id;

INSERT INTO toolsets (toolset_id, tools)
SELECT event->>'toolset_id' AS body_id, any_value(event->'tools') FROM incoming
WHERE kind = 'toolset' AND NOT EXISTS (FROM toolsets WHERE toolset_id = event->>'toolset_id') GROUP BY body_id;

-- Starts and ends meet in one row, whichever comes first. Of two ends the later counts: what became of a result can
-- fail after the run.
MERGE INTO runs AS old USING (
  SELECT e.run_id AS run_id, any_value(session_id) AS session_id, any_value(e.parent_run_id) AS parent_run_id,
         any_value(e.agent) AS agent, any_value(e.model) AS model,
         coalesce(arg_max(e.status, ts), 'unfinished') AS status, arg_max(e.error, ts) AS error,
         min(ts) FILTER (kind = 'run_start') AS started, max(ts) FILTER (kind = 'run_end') AS ended,
         any_value(e.latency_ms) AS latency_ms, any_value(e.stop_reason) AS stop_reason
  FROM (
    SELECT kind, ts, session_id, json_transform(event, '{"run_id": "VARCHAR", "parent_run_id": "VARCHAR",
      "agent": "VARCHAR", "model": "VARCHAR", "status": "VARCHAR", "error": "VARCHAR", "latency_ms": "DOUBLE",
      "stop_reason": "VARCHAR"}') AS e
    FROM incoming WHERE kind IN ('run_start', 'run_end')
  ) GROUP BY e.run_id
) AS new ON old.run_id = new.run_id
WHEN MATCHED THEN UPDATE SET
  session_id = coalesce(new.session_id, old.session_id),
  parent_run_id = coalesce(new.parent_run_id, old.parent_run_id),
  agent = coalesce(new.agent, old.agent), model = coalesce(new.model, old.model),
  status = CASE new.status WHEN 'unfinished' THEN old.status ELSE new.status END,
  error = coalesce(new.error, old.error), started = coalesce(new.started, old.started),
  ended = coalesce(new.ended, old.ended), latency_ms = coalesce(new.latency_ms, old.latency_ms),
  stop_reason = coalesce(new.stop_reason, old.stop_reason)
WHEN NOT MATCHED THEN INSERT BY NAME;

MERGE INTO tool_calls AS old USING (
  SELECT e.call_id AS call_id, any_value(session_id) AS session_id, any_value(e.run_id) AS run_id,
         any_value(e.request_id) AS request_id, any_value(e.tool_call_id) AS tool_call_id,
         any_value(e.tool) AS tool, any_value(e.raw_arguments) AS raw_arguments,
         any_value(e.arguments) AS arguments, coalesce(any_value(e.status), 'unfinished') AS status,
         any_value(e.result) AS result, any_value(e.error) AS error, min(ts) FILTER (kind = 'tool_start') AS started,
         max(ts) FILTER (kind = 'tool_end') AS ended, any_value(e.latency_ms) AS latency_ms,
         any_value(e.parent_call_id) AS parent_call_id, any_value(e.title) AS title
  FROM (
    SELECT kind, ts, session_id, json_transform(event, '{"call_id": "VARCHAR", "run_id": "VARCHAR",
      "request_id": "VARCHAR", "tool_call_id": "VARCHAR", "tool": "VARCHAR", "raw_arguments": "VARCHAR",
      "arguments": "JSON", "status": "VARCHAR", "result": "VARCHAR", "error": "VARCHAR", "latency_ms": "DOUBLE",
      "parent_call_id": "VARCHAR", "title": "VARCHAR"}') AS e
    FROM incoming WHERE kind IN ('tool_start', 'tool_end')
  ) GROUP BY e.call_id
) AS new ON old.call_id = new.call_id
WHEN MATCHED THEN UPDATE SET
  session_id = coalesce(new.session_id, old.session_id), run_id = coalesce(new.run_id, old.run_id),
  request_id = coalesce(new.request_id, old.request_id),
  tool_call_id = coalesce(new.tool_call_id, old.tool_call_id), tool = coalesce(new.tool, old.tool),
  raw_arguments = coalesce(new.raw_arguments, old.raw_arguments), arguments = coalesce(new.arguments, old.arguments),
  status = CASE new.status WHEN 'unfinished' THEN old.status ELSE new.status END,
  result = coalesce(new.result, old.result), error = coalesce(new.error, old.error),
  started = coalesce(new.started, old.started), ended = coalesce(new.ended, old.ended),
  latency_ms = coalesce(new.latency_ms, old.latency_ms),
  parent_call_id = coalesce(new.parent_call_id, old.parent_call_id), title = coalesce(new.title, old.title)
WHEN NOT MATCHED THEN INSERT BY NAME;

INSERT INTO requests
SELECT e.request_id, session_id, e.run_id, e.step, e.model, e.previous, coalesce(e.kept, 0),
       coalesce(e.added, []), e.toolset_id, ts
FROM (
  SELECT ts, session_id, json_transform(event, '{"request_id": "VARCHAR", "run_id": "VARCHAR", "step": "INTEGER",
    "model": "VARCHAR", "previous": "VARCHAR", "kept": "INTEGER", "added": ["VARCHAR"], "toolset_id": "VARCHAR"}') AS e
  FROM incoming WHERE kind = 'request'
) WHERE NOT EXISTS (FROM requests WHERE request_id = e.request_id)
QUALIFY row_number() OVER (PARTITION BY e.request_id ORDER BY ts) = 1;

INSERT INTO responses
SELECT e.request_id, session_id, e.message_id, e.finish_reason, e.input_tokens, e.output_tokens, e.latency_ms,
       e.error, ts, e.model
FROM (
  SELECT ts, session_id, json_transform(event, '{"request_id": "VARCHAR", "message_id": "VARCHAR",
    "finish_reason": "VARCHAR", "input_tokens": "BIGINT", "output_tokens": "BIGINT", "latency_ms": "DOUBLE",
    "error": "VARCHAR", "model": "VARCHAR"}') AS e
  FROM incoming WHERE kind = 'response'
) WHERE NOT EXISTS (FROM responses WHERE request_id = e.request_id)
QUALIFY row_number() OVER (PARTITION BY e.request_id ORDER BY ts) = 1;

INSERT INTO feedback
SELECT id, session_id, event->>'target', event->>'target_id', TRY_CAST(event->>'score' AS DOUBLE), event->>'note', ts,
       event->>'source'
FROM incoming WHERE kind = 'feedback';

INSERT INTO outcomes
SELECT id, session_id, event->>'outcome', TRY_CAST(event->>'score' AS DOUBLE), event->>'source', event->>'note', ts,
       event->'evidence'
FROM incoming WHERE kind = 'outcome';

INSERT INTO git_states
SELECT id, session_id, event->>'moment', event->>'root', event->>'commit', event->>'branch',
       TRY_CAST(event->>'dirty' AS BOOLEAN), json_transform(event->'files', '["VARCHAR"]'), ts
FROM incoming WHERE kind = 'git';

INSERT INTO plans
SELECT id, session_id, event->>'run_id', event->'entries', ts FROM incoming WHERE kind = 'plan';

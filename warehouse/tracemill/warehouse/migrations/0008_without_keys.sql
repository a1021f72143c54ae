-- The large tables without keys: an index takes more room than the rows, and every publication of the snapshot copies
-- it. Ingestion looks for itself whether it has a row already; there is one ingester at a time.

ALTER TABLE events RENAME TO old_events;
CREATE TABLE events (
  event_id VARCHAR NOT NULL, kind VARCHAR NOT NULL, ts TIMESTAMP NOT NULL, session_id VARCHAR,
  file VARCHAR NOT NULL, byte_offset BIGINT NOT NULL
);
INSERT INTO events SELECT * FROM old_events;
DROP TABLE old_events;
COMMENT ON TABLE events IS 'Every event ever ingested, and the line it came from; an event seen twice counts once.';
COMMENT ON COLUMN events.event_id IS 'The event''s own stable id.';
COMMENT ON COLUMN events.kind IS 'What happened: session, message, toolset, run_start, request, response, ...';
COMMENT ON COLUMN events.ts IS 'When it happened.';
COMMENT ON COLUMN events.session_id IS 'Session it belongs to; null for messages, toolsets and lineage.';
COMMENT ON COLUMN events.file IS 'Spool file it was read from.';
COMMENT ON COLUMN events.byte_offset IS 'Where its line starts in that file.';

ALTER TABLE sessions RENAME TO old_sessions;
CREATE TABLE sessions (
  session_id VARCHAR NOT NULL, agent VARCHAR, project VARCHAR, source VARCHAR, task VARCHAR, category VARCHAR,
  split VARCHAR, metadata JSON, started TIMESTAMP NOT NULL, described TIMESTAMP
);
INSERT INTO sessions SELECT * FROM old_sessions;
DROP TABLE old_sessions;
COMMENT ON TABLE sessions IS 'One conversation of a person or program with an agent: one or more runs.';
COMMENT ON COLUMN sessions.session_id IS 'Session.';
COMMENT ON COLUMN sessions.agent IS 'Name of the agent; null if the session event was never seen.';
COMMENT ON COLUMN sessions.project IS 'Folder the agent worked in.';
COMMENT ON COLUMN sessions.source IS 'How it was recorded: pydantic-ai, or the format it was imported from.';
COMMENT ON COLUMN sessions.task IS 'Task worked on, from the metadata.';
COMMENT ON COLUMN sessions.category IS 'Kind of task, from the metadata.';
COMMENT ON COLUMN sessions.split IS 'Split asked for in the metadata (train, valid, test), if any.';
COMMENT ON COLUMN sessions.metadata IS 'Everything the caller said about the session.';
COMMENT ON COLUMN sessions.started IS 'Time of the first event.';
COMMENT ON COLUMN sessions.described IS 'Time of the session event the above comes from; the latest counts.';

ALTER TABLE runs RENAME TO old_runs;
CREATE TABLE runs (
  run_id VARCHAR NOT NULL, session_id VARCHAR, parent_run_id VARCHAR, agent VARCHAR, model VARCHAR,
  status VARCHAR NOT NULL, error VARCHAR, started TIMESTAMP, ended TIMESTAMP, latency_ms DOUBLE,
  stop_reason VARCHAR
);
INSERT INTO runs SELECT * FROM old_runs;
DROP TABLE old_runs;
COMMENT ON TABLE runs IS 'One call of an agent: from a prompt to its final answer.';
COMMENT ON COLUMN runs.run_id IS 'Run.';
COMMENT ON COLUMN runs.session_id IS 'Session it belongs to.';
COMMENT ON COLUMN runs.parent_run_id IS 'Run whose tool started this one, for a sub-agent.';
COMMENT ON COLUMN runs.agent IS 'Name of the agent.';
COMMENT ON COLUMN runs.model IS 'Model asked for.';
COMMENT ON COLUMN runs.status IS 'ok, error, cancelled, or unfinished (no end was recorded).';
COMMENT ON COLUMN runs.error IS 'The exception, where status is error.';
COMMENT ON COLUMN runs.started IS 'When it started.';
COMMENT ON COLUMN runs.ended IS 'When it ended.';
COMMENT ON COLUMN runs.latency_ms IS 'How long it took, in milliseconds.';
COMMENT ON COLUMN runs.stop_reason IS 'Why it stopped, as an agent that is spoken to over ACP says: end_turn, refusal, ...';

ALTER TABLE requests RENAME TO old_requests;
CREATE TABLE requests (
  request_id VARCHAR NOT NULL, session_id VARCHAR, run_id VARCHAR, step INTEGER, model VARCHAR,
  previous_request_id VARCHAR, kept INTEGER NOT NULL, added VARCHAR[] NOT NULL, toolset_id VARCHAR,
  sent TIMESTAMP
);
INSERT INTO requests SELECT * FROM old_requests;
DROP TABLE old_requests;
COMMENT ON TABLE requests IS 'What a model was asked: the first `kept` messages of the previous request, then `added`.';
COMMENT ON COLUMN requests.request_id IS 'Request.';
COMMENT ON COLUMN requests.session_id IS 'Session it belongs to.';
COMMENT ON COLUMN requests.run_id IS 'Run it belongs to.';
COMMENT ON COLUMN requests.step IS 'Its number in the run, from 0.';
COMMENT ON COLUMN requests.model IS 'Model asked.';
COMMENT ON COLUMN requests.previous_request_id IS 'Request whose messages it starts with; null if none.';
COMMENT ON COLUMN requests.kept IS 'How many messages of the previous request it starts with.';
COMMENT ON COLUMN requests.added IS 'Messages that follow; the view request_messages expands them all.';
COMMENT ON COLUMN requests.toolset_id IS 'Tools offered.';
COMMENT ON COLUMN requests.sent IS 'When it was sent.';

ALTER TABLE messages RENAME TO old_messages;
CREATE TABLE messages (
  message_id VARCHAR NOT NULL,
  message JSON NOT NULL,
  role VARCHAR GENERATED ALWAYS AS (json_extract_string(message, '$.role')) VIRTUAL,
  content VARCHAR GENERATED ALWAYS AS (json_extract_string(message, '$.content')) VIRTUAL,
  tool_calls JSON GENERATED ALWAYS AS (json_extract(message, '$.tool_calls')) VIRTUAL,
  tool_call_id VARCHAR GENERATED ALWAYS AS (json_extract_string(message, '$.tool_call_id')) VIRTUAL,
  name VARCHAR GENERATED ALWAYS AS (json_extract_string(message, '$.name')) VIRTUAL
);
INSERT INTO messages (message_id, message) SELECT message_id, message FROM old_messages;
DROP TABLE old_messages;
COMMENT ON TABLE messages IS 'Every message once, however many requests it stands in.';
COMMENT ON COLUMN messages.message_id IS 'Hash of the message.';
COMMENT ON COLUMN messages.message IS 'The message in the neutral form (docs/architecture.md).';
COMMENT ON COLUMN messages.role IS 'system, user, assistant or tool.';
COMMENT ON COLUMN messages.content IS 'Its text.';
COMMENT ON COLUMN messages.tool_calls IS 'Calls an assistant message asks for: [{id, name, arguments}].';
COMMENT ON COLUMN messages.tool_call_id IS 'Call a tool message answers.';
COMMENT ON COLUMN messages.name IS 'Tool a tool message comes from.';

ALTER TABLE responses RENAME TO old_responses;
CREATE TABLE responses (
  request_id VARCHAR NOT NULL, session_id VARCHAR, message_id VARCHAR, finish_reason VARCHAR,
  input_tokens BIGINT, output_tokens BIGINT, latency_ms DOUBLE, error VARCHAR, received TIMESTAMP NOT NULL,
  model VARCHAR
);
INSERT INTO responses SELECT * FROM old_responses;
DROP TABLE old_responses;
COMMENT ON TABLE responses IS 'What a model answered to a request.';
COMMENT ON COLUMN responses.request_id IS 'Request it answers.';
COMMENT ON COLUMN responses.session_id IS 'Session it belongs to.';
COMMENT ON COLUMN responses.message_id IS 'The assistant message; null if the request failed.';
COMMENT ON COLUMN responses.finish_reason IS 'Why the model stopped, as it said itself.';
COMMENT ON COLUMN responses.input_tokens IS 'Tokens read, as the model counted.';
COMMENT ON COLUMN responses.output_tokens IS 'Tokens written, as the model counted.';
COMMENT ON COLUMN responses.latency_ms IS 'How long it took, in milliseconds.';
COMMENT ON COLUMN responses.error IS 'Why the request failed, if it did.';
COMMENT ON COLUMN responses.received IS 'When the answer came.';
COMMENT ON COLUMN responses.model IS 'The model that answered, where it is another than the request names.';

ALTER TABLE tool_calls RENAME TO old_tool_calls;
CREATE TABLE tool_calls (
  call_id VARCHAR NOT NULL, session_id VARCHAR, run_id VARCHAR, request_id VARCHAR, tool_call_id VARCHAR,
  tool VARCHAR, raw_arguments VARCHAR, arguments JSON, status VARCHAR NOT NULL, result VARCHAR, error VARCHAR,
  started TIMESTAMP, ended TIMESTAMP, latency_ms DOUBLE, parent_call_id VARCHAR, title VARCHAR
);
INSERT INTO tool_calls SELECT * FROM old_tool_calls;
DROP TABLE old_tool_calls;
COMMENT ON TABLE tool_calls IS 'Every call of a tool by a model, rejected and unknown ones included.';
COMMENT ON COLUMN tool_calls.call_id IS 'This execution of the call.';
COMMENT ON COLUMN tool_calls.session_id IS 'Session it belongs to.';
COMMENT ON COLUMN tool_calls.run_id IS 'Run it belongs to.';
COMMENT ON COLUMN tool_calls.request_id IS 'Request whose response asked for it.';
COMMENT ON COLUMN tool_calls.tool_call_id IS 'The model''s own id of the call; unique in its message only.';
COMMENT ON COLUMN tool_calls.tool IS 'Tool name.';
COMMENT ON COLUMN tool_calls.raw_arguments IS 'Arguments as the model wrote them.';
COMMENT ON COLUMN tool_calls.arguments IS 'Arguments after validation.';
COMMENT ON COLUMN tool_calls.status IS 'ok, error (it raised), retry (it asked for another try), invalid (arguments did not fit), unknown (no such tool), denied, deferred, cancelled, or unfinished (no end was recorded).';
COMMENT ON COLUMN tool_calls.result IS 'What it returned; JSON where it is not text.';
COMMENT ON COLUMN tool_calls.error IS 'What went wrong.';
COMMENT ON COLUMN tool_calls.started IS 'When it started.';
COMMENT ON COLUMN tool_calls.ended IS 'When it ended.';
COMMENT ON COLUMN tool_calls.latency_ms IS 'How long it took, in milliseconds.';
COMMENT ON COLUMN tool_calls.parent_call_id IS 'The call whose code made this one; null where the model itself asked for it.';
COMMENT ON COLUMN tool_calls.title IS 'What an editor showed for it (source acp).';

ALTER TABLE dataset_rows RENAME TO old_dataset_rows;
CREATE TABLE dataset_rows (
  dataset_id VARCHAR NOT NULL, row_id VARCHAR NOT NULL, split VARCHAR, session_id VARCHAR
);
INSERT INTO dataset_rows SELECT * FROM old_dataset_rows;
DROP TABLE old_dataset_rows;
COMMENT ON TABLE dataset_rows IS 'Rows of each data set and the sessions they come from.';
COMMENT ON COLUMN dataset_rows.dataset_id IS 'Data set.';
COMMENT ON COLUMN dataset_rows.row_id IS 'The row''s id in the files.';
COMMENT ON COLUMN dataset_rows.split IS 'train, valid or test.';
COMMENT ON COLUMN dataset_rows.session_id IS 'Session it comes from.';

-- A data set of many rows is recorded in several events, and counts when all of them are here.

CREATE TABLE unfinished_datasets (event_id VARCHAR NOT NULL, event JSON NOT NULL, ts TIMESTAMP NOT NULL);
COMMENT ON TABLE unfinished_datasets IS 'Records of data sets of whose rows not all were read yet.';
COMMENT ON COLUMN unfinished_datasets.event_id IS 'Event that describes the data set.';
COMMENT ON COLUMN unfinished_datasets.event IS 'The event.';
COMMENT ON COLUMN unfinished_datasets.ts IS 'When it happened.';

CREATE TABLE unfinished_rows (
  part_of VARCHAR NOT NULL, part_id VARCHAR NOT NULL, row_id VARCHAR, split VARCHAR, session_id VARCHAR
);
COMMENT ON TABLE unfinished_rows IS 'Rows of data sets of which not all was read yet.';
COMMENT ON COLUMN unfinished_rows.part_of IS 'Event that describes the data set.';
COMMENT ON COLUMN unfinished_rows.part_id IS 'Event that brought the row.';
COMMENT ON COLUMN unfinished_rows.row_id IS 'The row''s id in the files.';
COMMENT ON COLUMN unfinished_rows.split IS 'train, valid or test.';
COMMENT ON COLUMN unfinished_rows.session_id IS 'Session it comes from.';

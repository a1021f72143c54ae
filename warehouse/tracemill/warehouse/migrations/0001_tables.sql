-- Tables: what sessions did, in normal form; how far it was read; what was made of it.
-- Times are UTC. Identifiers are the recorder's own. Every table, view and column carries its meaning as a COMMENT:
-- docs/schema.md and `tracemill sql --tables` are made from them.

------------------------------------------------------------------------------------------- bookkeeping

CREATE TABLE spool_files (file VARCHAR PRIMARY KEY, byte_offset BIGINT NOT NULL);
COMMENT ON TABLE spool_files IS 'How far each spool file has been read.';
COMMENT ON COLUMN spool_files.file IS 'Name of the file in the spool folder.';
COMMENT ON COLUMN spool_files.byte_offset IS 'Bytes of it that are in this database; reading goes on there.';

CREATE TABLE events (
  event_id VARCHAR PRIMARY KEY, kind VARCHAR NOT NULL, ts TIMESTAMP NOT NULL, session_id VARCHAR,
  file VARCHAR NOT NULL, byte_offset BIGINT NOT NULL
);
COMMENT ON TABLE events IS 'Every event ever ingested, and the line it came from; an event seen twice counts once.';
COMMENT ON COLUMN events.event_id IS 'The event''s own stable id.';
COMMENT ON COLUMN events.kind IS 'What happened: session, message, toolset, run_start, request, response, ...';
COMMENT ON COLUMN events.ts IS 'When it happened.';
COMMENT ON COLUMN events.session_id IS 'Session it belongs to; null for messages, toolsets and lineage.';
COMMENT ON COLUMN events.file IS 'Spool file it was read from.';
COMMENT ON COLUMN events.byte_offset IS 'Where its line starts in that file.';

CREATE TABLE bad_lines (
  file VARCHAR, byte_offset BIGINT, reason VARCHAR NOT NULL, PRIMARY KEY (file, byte_offset)
);
COMMENT ON TABLE bad_lines IS 'Spool lines that could not be read as events, and why; they are skipped, never lost.';
COMMENT ON COLUMN bad_lines.file IS 'Spool file.';
COMMENT ON COLUMN bad_lines.byte_offset IS 'Where the line starts in that file.';
COMMENT ON COLUMN bad_lines.reason IS 'What is wrong with it.';

-------------------------------------------------------------------------------------- what sessions did

CREATE TABLE sessions (
  session_id VARCHAR PRIMARY KEY, agent VARCHAR, project VARCHAR, source VARCHAR, task VARCHAR,
  category VARCHAR, split VARCHAR, metadata JSON, started TIMESTAMP NOT NULL, described TIMESTAMP
);
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

CREATE TABLE runs (
  run_id VARCHAR PRIMARY KEY, session_id VARCHAR, parent_run_id VARCHAR, agent VARCHAR, model VARCHAR,
  status VARCHAR NOT NULL, error VARCHAR, started TIMESTAMP, ended TIMESTAMP, latency_ms DOUBLE
);
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

CREATE TABLE requests (
  request_id VARCHAR PRIMARY KEY, session_id VARCHAR, run_id VARCHAR, step INTEGER, model VARCHAR,
  previous_request_id VARCHAR, kept INTEGER NOT NULL, added VARCHAR[] NOT NULL, toolset_id VARCHAR, sent TIMESTAMP
);
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

CREATE TABLE messages (
  message_id VARCHAR PRIMARY KEY,
  message JSON NOT NULL,
  role VARCHAR GENERATED ALWAYS AS (json_extract_string(message, '$.role')) VIRTUAL,
  content VARCHAR GENERATED ALWAYS AS (json_extract_string(message, '$.content')) VIRTUAL,
  tool_calls JSON GENERATED ALWAYS AS (json_extract(message, '$.tool_calls')) VIRTUAL,
  tool_call_id VARCHAR GENERATED ALWAYS AS (json_extract_string(message, '$.tool_call_id')) VIRTUAL,
  name VARCHAR GENERATED ALWAYS AS (json_extract_string(message, '$.name')) VIRTUAL
);
COMMENT ON TABLE messages IS 'Every message once, however many requests it stands in.';
COMMENT ON COLUMN messages.message_id IS 'Hash of the message.';
COMMENT ON COLUMN messages.message IS 'The message in the neutral form (docs/architecture.md).';
COMMENT ON COLUMN messages.role IS 'system, user, assistant or tool.';
COMMENT ON COLUMN messages.content IS 'Its text.';
COMMENT ON COLUMN messages.tool_calls IS 'Calls an assistant message asks for: [{id, name, arguments}].';
COMMENT ON COLUMN messages.tool_call_id IS 'Call a tool message answers.';
COMMENT ON COLUMN messages.name IS 'Tool a tool message comes from.';

CREATE TABLE toolsets (toolset_id VARCHAR PRIMARY KEY, tools JSON NOT NULL);
COMMENT ON TABLE toolsets IS 'Every list of tools that was ever offered to a model.';
COMMENT ON COLUMN toolsets.toolset_id IS 'Hash of the list.';
COMMENT ON COLUMN toolsets.tools IS 'The tools: [{name, description, parameters}].';

CREATE TABLE responses (
  request_id VARCHAR PRIMARY KEY, session_id VARCHAR, message_id VARCHAR, finish_reason VARCHAR, input_tokens BIGINT,
  output_tokens BIGINT, latency_ms DOUBLE, error VARCHAR, received TIMESTAMP NOT NULL
);
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

CREATE TABLE tool_calls (
  call_id VARCHAR PRIMARY KEY, session_id VARCHAR, run_id VARCHAR, request_id VARCHAR, tool_call_id VARCHAR,
  tool VARCHAR, raw_arguments VARCHAR, arguments JSON, status VARCHAR NOT NULL, result VARCHAR, error VARCHAR,
  started TIMESTAMP, ended TIMESTAMP, latency_ms DOUBLE
);
COMMENT ON TABLE tool_calls IS 'Every call of a tool by a model, rejected and unknown ones included.';
COMMENT ON COLUMN tool_calls.call_id IS 'This execution of the call.';
COMMENT ON COLUMN tool_calls.session_id IS 'Session it belongs to.';
COMMENT ON COLUMN tool_calls.run_id IS 'Run it belongs to.';
COMMENT ON COLUMN tool_calls.request_id IS 'Request whose response asked for it.';
COMMENT ON COLUMN tool_calls.tool_call_id IS 'The model''s own id of the call; unique in its message only.';
COMMENT ON COLUMN tool_calls.tool IS 'Tool name.';
COMMENT ON COLUMN tool_calls.raw_arguments IS 'Arguments as the model wrote them.';
COMMENT ON COLUMN tool_calls.arguments IS 'Arguments after validation.';
COMMENT ON COLUMN tool_calls.status IS
  'ok, error (it raised), retry (it asked for another try), invalid (arguments did not fit), unknown (no such tool), '
  'denied, deferred, cancelled, or unfinished (no end was recorded).';
COMMENT ON COLUMN tool_calls.result IS 'What it returned; JSON where it is not text.';
COMMENT ON COLUMN tool_calls.error IS 'What went wrong.';
COMMENT ON COLUMN tool_calls.started IS 'When it started.';
COMMENT ON COLUMN tool_calls.ended IS 'When it ended.';
COMMENT ON COLUMN tool_calls.latency_ms IS 'How long it took, in milliseconds.';

CREATE TABLE feedback (
  event_id VARCHAR PRIMARY KEY, session_id VARCHAR, target VARCHAR, target_id VARCHAR, score DOUBLE, note VARCHAR,
  given TIMESTAMP NOT NULL
);
COMMENT ON TABLE feedback IS 'What somebody thought of a session, a run or a tool call.';
COMMENT ON COLUMN feedback.event_id IS 'Event that gave it.';
COMMENT ON COLUMN feedback.session_id IS 'Session it belongs to.';
COMMENT ON COLUMN feedback.target IS 'session, run or tool_call.';
COMMENT ON COLUMN feedback.target_id IS 'The session, run or call it is about.';
COMMENT ON COLUMN feedback.score IS 'From -1 (bad) to 1 (good).';
COMMENT ON COLUMN feedback.note IS 'In words.';
COMMENT ON COLUMN feedback.given IS 'When.';

CREATE TABLE outcomes (
  event_id VARCHAR PRIMARY KEY, session_id VARCHAR, outcome VARCHAR, score DOUBLE, source VARCHAR, note VARCHAR,
  decided TIMESTAMP NOT NULL
);
COMMENT ON TABLE outcomes IS 'Whether a session did what it should; the newest one of a session wins.';
COMMENT ON COLUMN outcomes.event_id IS 'Event that said so.';
COMMENT ON COLUMN outcomes.session_id IS 'Session it is about.';
COMMENT ON COLUMN outcomes.outcome IS 'good or bad.';
COMMENT ON COLUMN outcomes.score IS 'The number behind it, if there is one.';
COMMENT ON COLUMN outcomes.source IS 'Who decided: a label given by hand, an importer, a checker of the task.';
COMMENT ON COLUMN outcomes.note IS 'In words.';
COMMENT ON COLUMN outcomes.decided IS 'When.';

--------------------------------------------------------------------------------------- what was made of it

CREATE TABLE datasets (
  dataset_id VARCHAR PRIMARY KEY, path VARCHAR, content_hash VARCHAR, base VARCHAR, seed BIGINT, recipe JSON,
  counts JSON, details JSON, created TIMESTAMP NOT NULL
);
COMMENT ON TABLE datasets IS 'Exported data sets.';
COMMENT ON COLUMN datasets.dataset_id IS 'Data set.';
COMMENT ON COLUMN datasets.path IS 'Folder of its files.';
COMMENT ON COLUMN datasets.content_hash IS 'Hash of its rows.';
COMMENT ON COLUMN datasets.base IS 'Model whose chat template it was proven with.';
COMMENT ON COLUMN datasets.seed IS 'Seed of its splits.';
COMMENT ON COLUMN datasets.recipe IS 'The recipe it was made by.';
COMMENT ON COLUMN datasets.counts IS 'Rows kept per split and dropped per reason.';
COMMENT ON COLUMN datasets.details IS 'The rest of its manifest.';
COMMENT ON COLUMN datasets.created IS 'When it was exported.';

CREATE TABLE dataset_rows (
  dataset_id VARCHAR, row_id VARCHAR, split VARCHAR, session_id VARCHAR, PRIMARY KEY (dataset_id, row_id)
);
COMMENT ON TABLE dataset_rows IS 'Rows of each data set and the sessions they come from.';
COMMENT ON COLUMN dataset_rows.dataset_id IS 'Data set.';
COMMENT ON COLUMN dataset_rows.row_id IS 'The row''s id in the files.';
COMMENT ON COLUMN dataset_rows.split IS 'train, valid or test.';
COMMENT ON COLUMN dataset_rows.session_id IS 'Session it comes from.';

CREATE TABLE training_runs (
  training_id VARCHAR PRIMARY KEY, dataset_id VARCHAR, base VARCHAR, seed BIGINT, path VARCHAR,
  adapter_hash VARCHAR, recipe JSON, counts JSON, score DOUBLE, details JSON, created TIMESTAMP NOT NULL
);
COMMENT ON TABLE training_runs IS 'Fine-tunings.';
COMMENT ON COLUMN training_runs.training_id IS 'Training run.';
COMMENT ON COLUMN training_runs.dataset_id IS 'Data set it learned from.';
COMMENT ON COLUMN training_runs.base IS 'Base model.';
COMMENT ON COLUMN training_runs.seed IS 'Seed of weights and order.';
COMMENT ON COLUMN training_runs.path IS 'Folder of the adapter.';
COMMENT ON COLUMN training_runs.adapter_hash IS 'Hash of the adapter''s weights.';
COMMENT ON COLUMN training_runs.recipe IS 'Rank, layers, learning rate, steps and the like.';
COMMENT ON COLUMN training_runs.counts IS 'Steps, tokens, seconds.';
COMMENT ON COLUMN training_runs.score IS 'Score of the checkpoint chosen, on the selection split.';
COMMENT ON COLUMN training_runs.details IS 'Everything else known about it.';
COMMENT ON COLUMN training_runs.created IS 'When it ended.';

CREATE TABLE checkpoints (
  training_id VARCHAR, step BIGINT, path VARCHAR, train_loss DOUBLE, valid_loss DOUBLE, score DOUBLE,
  chosen BOOLEAN, details JSON, PRIMARY KEY (training_id, step)
);
COMMENT ON TABLE checkpoints IS 'Adapters saved and scored on the way.';
COMMENT ON COLUMN checkpoints.training_id IS 'Training run.';
COMMENT ON COLUMN checkpoints.step IS 'Optimizer steps done.';
COMMENT ON COLUMN checkpoints.path IS 'File of the weights.';
COMMENT ON COLUMN checkpoints.train_loss IS 'Mean loss per learned token since the one before.';
COMMENT ON COLUMN checkpoints.valid_loss IS 'Mean loss per learned token on the validation split.';
COMMENT ON COLUMN checkpoints.score IS 'Share of tool calls right on the selection split.';
COMMENT ON COLUMN checkpoints.chosen IS 'Whether this is the one that was kept.';
COMMENT ON COLUMN checkpoints.details IS 'Everything else known about it.';

CREATE TABLE evaluations (
  evaluation_id VARCHAR PRIMARY KEY, suite VARCHAR, base VARCHAR, training_id VARCHAR, dataset_id VARCHAR,
  baseline_id VARCHAR, seed BIGINT, path VARCHAR, counts JSON, score DOUBLE, verdict VARCHAR, details JSON,
  created TIMESTAMP NOT NULL
);
COMMENT ON TABLE evaluations IS 'A model scored on a suite of items.';
COMMENT ON COLUMN evaluations.evaluation_id IS 'Evaluation.';
COMMENT ON COLUMN evaluations.suite IS 'What it was scored on.';
COMMENT ON COLUMN evaluations.base IS 'Base model.';
COMMENT ON COLUMN evaluations.training_id IS 'Training run whose adapter was used; null for the base as it is.';
COMMENT ON COLUMN evaluations.dataset_id IS 'Data set the items come from.';
COMMENT ON COLUMN evaluations.baseline_id IS 'Evaluation it was compared with.';
COMMENT ON COLUMN evaluations.seed IS 'Seed of sampling, where something was sampled.';
COMMENT ON COLUMN evaluations.path IS 'Report file.';
COMMENT ON COLUMN evaluations.counts IS 'Items per kind of result.';
COMMENT ON COLUMN evaluations.score IS 'Share of items right, by the strict score.';
COMMENT ON COLUMN evaluations.verdict IS 'better, not better, worse or undecided; null where nothing was compared.';
COMMENT ON COLUMN evaluations.details IS 'Intervals, tests, lenient score and the rest.';
COMMENT ON COLUMN evaluations.created IS 'When it ended.';

CREATE TABLE evaluation_items (
  evaluation_id VARCHAR, item_id VARCHAR, session_id VARCHAR, category VARCHAR, expected VARCHAR, generated VARCHAR,
  score DOUBLE, details JSON, PRIMARY KEY (evaluation_id, item_id)
);
COMMENT ON TABLE evaluation_items IS 'What the model wrote for each item, and its score.';
COMMENT ON COLUMN evaluation_items.evaluation_id IS 'Evaluation.';
COMMENT ON COLUMN evaluation_items.item_id IS 'Item.';
COMMENT ON COLUMN evaluation_items.session_id IS 'Session the item comes from.';
COMMENT ON COLUMN evaluation_items.category IS 'Kind of item.';
COMMENT ON COLUMN evaluation_items.expected IS 'What should have been written.';
COMMENT ON COLUMN evaluation_items.generated IS 'What was written.';
COMMENT ON COLUMN evaluation_items.score IS 'Strict score, 0 or 1.';
COMMENT ON COLUMN evaluation_items.details IS 'Lenient score, kind of error and the rest.';

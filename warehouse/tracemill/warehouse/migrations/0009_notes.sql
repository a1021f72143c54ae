-- What people note about the adapters and models that they made, for the journal.

CREATE TABLE notes (event_id VARCHAR, about VARCHAR, note VARCHAR, written TIMESTAMP);
COMMENT ON TABLE notes IS 'What somebody noted about an experiment.';
COMMENT ON COLUMN notes.event_id IS 'Event that holds it.';
COMMENT ON COLUMN notes.about IS 'Training run, or base model, that it is about.';
COMMENT ON COLUMN notes.note IS 'In words.';
COMMENT ON COLUMN notes.written IS 'When.';

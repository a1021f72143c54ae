-- A call is recorded with the answer that asks for it, so where tools run one after another it waits from `started` on.
-- It ran for the `latency_ms` before it ended, and that is what an editor's call is joined by.

COMMENT ON COLUMN tool_calls.started IS
  'When the answer that asks for it came; it may have waited then, and ran for the latency_ms before it ended.';
COMMENT ON COLUMN tool_calls.latency_ms IS 'How long it ran, in milliseconds, without waiting for other calls.';

CREATE OR REPLACE VIEW acp_calls AS
WITH together AS (
  SELECT t.session_id, t.call_id, s.inner_session_id, i.call_id AS inner_call_id, i.parent_call_id,
         i.tool_call_id = t.tool_call_id AS same_id,
         greatest(epoch(i.started), epoch(i.ended) - i.latency_ms / 1000) - epoch(t.started) AS ahead,
         -- The longest argument that the editor was shown.
         CASE WHEN t.raw_arguments = i.raw_arguments THEN len(t.raw_arguments) ELSE list_max(list_transform(
           list_filter(json_extract_string(coalesce(i.arguments, try_cast(i.raw_arguments AS JSON)), '$.*'),
                       lambda value: len(value) > 1 AND contains(concat_ws(' ', t.title, t.raw_arguments), value)),
           lambda value: len(value))) END AS shown
  FROM acp_sessions AS s
  JOIN tool_calls AS t ON t.session_id = s.session_id
  JOIN tool_calls AS i ON i.session_id = s.inner_session_id
  LEFT JOIN runs AS r ON r.run_id = i.run_id
  -- Editors are told of a call while it runs, or is about to, often under an id made for them.
  WHERE same_id OR t.started BETWEEN i.started AND coalesce(i.ended, r.ended, t.started)
),
pairs AS (
  SELECT *, CASE WHEN same_id THEN 'id' WHEN shown > 0 THEN 'arguments' ELSE 'time' END AS matched FROM together
),
candidates AS (
  SELECT *, abs(ahead) AS apart, matched <> 'time' OR 1 = CASE
           WHEN ahead <= 0 THEN count(*) FILTER (matched = 'time' AND ahead <= 0) OVER (PARTITION BY call_id)
           ELSE count(*) FILTER (matched = 'time') OVER (PARTITION BY call_id) END AS is_the_one
  FROM pairs AS p
  -- A call whose code makes another is running as well; the editor is told of the other.
  WHERE matched = 'id' OR NOT EXISTS (
    FROM pairs AS inside WHERE inside.call_id = p.call_id AND inside.parent_call_id = p.inner_call_id
  )
)
SELECT t.session_id, t.call_id, t.tool_call_id, t.tool, t.title, t.status, t.started,
       c.inner_session_id, c.inner_call_id, c.matched
FROM tool_calls AS t
JOIN acp_sessions AS s USING (session_id)
-- Of several that were running at that moment, none is better than a guess; one that ran beats those that waited.
LEFT JOIN candidates AS c ON c.call_id = t.call_id AND c.is_the_one
QUALIFY row_number() OVER (
  PARTITION BY t.call_id
  ORDER BY list_position(['id', 'arguments', 'time'], c.matched) NULLS LAST,
           CASE c.matched WHEN 'arguments' THEN c.shown END DESC, c.apart, c.inner_call_id
) = 1;
COMMENT ON VIEW acp_calls IS 'Tool calls as an editor was told of them, and the same calls as the model made them.';
COMMENT ON COLUMN acp_calls.session_id IS 'Session as the editor saw it.';
COMMENT ON COLUMN acp_calls.call_id IS 'Call as the editor saw it.';
COMMENT ON COLUMN acp_calls.tool_call_id IS 'The id that editor and agent know it by.';
COMMENT ON COLUMN acp_calls.tool IS 'Name of the tool where the agent tells it, else its kind: read, edit, execute, ...';
COMMENT ON COLUMN acp_calls.title IS 'What the editor showed.';
COMMENT ON COLUMN acp_calls.status IS 'How it ended, as the editor was told.';
COMMENT ON COLUMN acp_calls.started IS 'When the editor was told of it.';
COMMENT ON COLUMN acp_calls.inner_session_id IS 'Session as the agent''s process saw it.';
COMMENT ON COLUMN acp_calls.inner_call_id IS 'Call as the model made it; null if it was not recorded or cannot be told from others.';
COMMENT ON COLUMN acp_calls.matched IS
  'What they have in common: id, arguments (one of them stands in the title), or time (the only call running then).';

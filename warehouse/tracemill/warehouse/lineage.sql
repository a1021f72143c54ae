-- Records of what was made of sessions into the tables: data sets, trainings, evaluations, each with all its rows.
-- In: the temporary table `incoming` of ingest.sql, in the same transaction.

-- A data set of many rows comes in several events, in any order.
INSERT INTO unfinished_datasets SELECT id, event, ts FROM incoming WHERE kind = 'dataset';

-- Materialized, or DuckDB would read the whole event again for each of its rows.
INSERT INTO unfinished_rows
WITH parts AS MATERIALIZED (
  SELECT event->>'part_of' AS part_of, id, json_transform(event->'rows',
    '[{"row_id": "VARCHAR", "split": "VARCHAR", "session_id": "VARCHAR"}]') AS rows
  FROM incoming WHERE kind = 'dataset_rows'
)
SELECT part_of, id, row.row_id, row.split, row.session_id FROM (SELECT part_of, id, unnest(rows) AS row FROM parts);

CREATE OR REPLACE TEMP TABLE whole AS
SELECT event_id, event, ts FROM unfinished_datasets
LEFT JOIN (SELECT part_of, count(DISTINCT part_id) AS parts FROM unfinished_rows GROUP BY part_of) AS seen
  ON part_of = event_id
WHERE coalesce(seen.parts, 0) = coalesce(TRY_CAST(event->>'parts' AS BIGINT), 0);

-- Of one id, the newest counts.
CREATE OR REPLACE TEMP TABLE made AS
SELECT kind, event->>('$.' || kind || '_id') AS made_id, id, event, ts
FROM (
  SELECT 'dataset' AS kind, event_id AS id, event, ts FROM whole
  UNION ALL SELECT kind, id, event, ts FROM incoming WHERE kind IN ('training', 'evaluation')
) AS i
WHERE NOT EXISTS (
  FROM (
    SELECT 'dataset' AS kind, dataset_id AS made_id, created FROM datasets
    UNION ALL SELECT 'training', training_id, created FROM training_runs
    UNION ALL SELECT 'evaluation', evaluation_id, created FROM evaluations
  ) AS known
  WHERE known.kind = i.kind AND known.made_id = i.event->>('$.' || i.kind || '_id') AND known.created > i.ts
)
QUALIFY row_number() OVER (PARTITION BY kind, made_id ORDER BY ts DESC, id) = 1;

DELETE FROM dataset_rows WHERE dataset_id IN (SELECT made_id FROM made WHERE kind = 'dataset');
DELETE FROM checkpoints WHERE training_id IN (SELECT made_id FROM made WHERE kind = 'training');
DELETE FROM evaluation_items WHERE evaluation_id IN (SELECT made_id FROM made WHERE kind = 'evaluation');

INSERT OR REPLACE INTO datasets
SELECT made_id, event->>'path', event->>'content_hash', event->>'base', TRY_CAST(event->>'seed' AS BIGINT),
       event->'recipe', event->'counts', event->'details', ts
FROM made WHERE kind = 'dataset';

INSERT INTO dataset_rows
SELECT made_id, row_id, any_value(split), any_value(session_id)
FROM (
  SELECT made_id, row.row_id, row.split, row.session_id
  FROM (
    SELECT made_id, unnest(json_transform(event->'rows',
      '[{"row_id": "VARCHAR", "split": "VARCHAR", "session_id": "VARCHAR"}]')) AS row
    FROM made WHERE kind = 'dataset'
  )
  UNION ALL
  SELECT made_id, row_id, split, session_id FROM made JOIN unfinished_rows ON part_of = id WHERE kind = 'dataset'
) WHERE row_id IS NOT NULL GROUP BY made_id, row_id;

DELETE FROM unfinished_rows WHERE part_of IN (SELECT event_id FROM whole);
DELETE FROM unfinished_datasets WHERE event_id IN (SELECT event_id FROM whole);

INSERT OR REPLACE INTO training_runs
SELECT made_id, event->>'dataset_id', event->>'base', TRY_CAST(event->>'seed' AS BIGINT), event->>'path',
       event->>'adapter_hash', event->'recipe', event->'counts', TRY_CAST(event->>'score' AS DOUBLE),
       event->'details', ts
FROM made WHERE kind = 'training';

INSERT OR REPLACE INTO checkpoints
SELECT made_id, c.step, any_value(c.path), any_value(c.train_loss), any_value(c.valid_loss), any_value(c.score),
       any_value(c.chosen), any_value(c.details)
FROM (
  SELECT made_id, unnest(json_transform(event->'checkpoints', '[{"step": "BIGINT", "path": "VARCHAR",
    "train_loss": "DOUBLE", "valid_loss": "DOUBLE", "score": "DOUBLE", "chosen": "BOOLEAN",
    "details": "JSON"}]')) AS c
  FROM made WHERE kind = 'training'
) WHERE c.step IS NOT NULL GROUP BY made_id, c.step;

INSERT OR REPLACE INTO evaluations
SELECT made_id, event->>'suite', event->>'base', event->>'training_id', event->>'dataset_id',
       event->>'baseline_id', TRY_CAST(event->>'seed' AS BIGINT), event->>'path', event->'counts',
       TRY_CAST(event->>'score' AS DOUBLE), event->>'verdict', event->'details', ts
FROM made WHERE kind = 'evaluation';

INSERT OR REPLACE INTO evaluation_items
SELECT made_id, i.item_id, any_value(i.session_id), any_value(i.category), any_value(i.expected),
       any_value(i.generated), any_value(i.score), any_value(i.details)
FROM (
  SELECT made_id, unnest(json_transform(event->'items', '[{"item_id": "VARCHAR", "session_id": "VARCHAR",
    "category": "VARCHAR", "expected": "VARCHAR", "generated": "VARCHAR", "score": "DOUBLE",
    "details": "JSON"}]')) AS i
  FROM made WHERE kind = 'evaluation'
) WHERE i.item_id IS NOT NULL GROUP BY made_id, i.item_id;

INSERT INTO notes SELECT id, event->>'about', event->>'note', ts FROM incoming WHERE kind = 'note';

"""What is known: schema, ingestion, the published snapshot, read-only SQL."""

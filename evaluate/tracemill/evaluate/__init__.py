"""Is it better: generation, scoring, statistics, live runs, the report."""

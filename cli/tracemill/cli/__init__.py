"""The `tracemill` command: one file per command, the only place that prints."""

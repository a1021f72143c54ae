"""What happened: events, the spool, the recorder, redaction and importers."""

"""What can be done with a data set of chat JSONL, made by whomever: one small module per operation."""

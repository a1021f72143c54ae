"""What is worth learning: the chat format, recipes, splits, export."""

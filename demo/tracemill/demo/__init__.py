"""A small coding agent with real tools, its tasks and a scripted policy, to show the whole loop."""

"""Pipelines: one file a verb; each has `run(config)` and returns what it made."""

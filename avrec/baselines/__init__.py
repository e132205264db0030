"""Baselines that every result stands beside: one file each, `fit(dataset) -> Scorer`, answering from a query's history. scipy only."""

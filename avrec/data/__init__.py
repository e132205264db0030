"""The way from any interaction log to a prepared data set: sources, validation, engine, splits, finisher, loader, samplers."""

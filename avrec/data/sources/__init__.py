"""Where data comes from: one module for each layout, each with a class whose `read()` gives `RawData`."""

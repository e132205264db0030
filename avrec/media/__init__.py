"""Media files to arrays: probing, decoding, isolation, and a sample catalogue. No torch."""

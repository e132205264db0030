"""The bundle: a folder that recommends without PyTorch; its schema, reader, verifier and recommender."""

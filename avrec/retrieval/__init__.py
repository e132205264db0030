"""Search over item vectors: numpy in, numpy out."""

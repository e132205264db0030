"""Encoders turn one modality into tokens (N, T, D) and a mask."""

"""Factorisations and item neighbours of an interaction matrix: ALS, BPR, SVD, fold-in, P3, Jaccard, content. implicit and scipy only."""

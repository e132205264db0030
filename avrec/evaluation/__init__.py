"""Honest evaluation: exact ranks over the whole catalogue, metrics by user, slices, significance and choice on validation."""

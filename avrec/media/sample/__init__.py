"""The sample catalogue: short synthesised films with sound, users who hear and see them, and the truth about both."""

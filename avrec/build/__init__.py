"""Config node to object: composing, checking and building what a configuration names, and nothing else."""

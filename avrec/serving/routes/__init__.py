"""The server's paths, one module a family."""

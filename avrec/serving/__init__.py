"""The server: a bundle's answers over HTTP, without PyTorch in the process."""

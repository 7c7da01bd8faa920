"""The benchmark of a running service."""

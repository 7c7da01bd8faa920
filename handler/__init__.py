"""Requests in, answers out: what TorchServe calls."""

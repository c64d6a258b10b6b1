"""Adapters: orders that a queue brings, or that leave in files or from a cluster, loaded with the same outcomes."""

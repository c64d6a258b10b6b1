"""Adapters: orders that come from another program's queue, cluster or batch, loaded as `ingest` loads them."""

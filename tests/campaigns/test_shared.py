"""Two workers with one journal in Postgres; ``tests/campaigns/shared.py`` shows the same at full size."""

from __future__ import annotations

from signal import SIGKILL

from tests.campaigns.shared import lived, workers
from tests.databases import PostgresServer


async def test_two_workers_load_the_same_orders(postgres: str, postgres_server: PostgresServer) -> None:
    """Both get each order, and one is killed with ``kill -9``: nothing is lost, nothing doubled."""
    assert postgres_server.port
    async with workers() as pair:
        lives = [await lived(pair, postgres, seed, count=2, hurts=[SIGKILL]) for seed in (5, 6)]
    assert [life for life in lives if not life.figures.exact] == []
    assert sum(life.killed for life in lives) > 0

"""The rate of four workers together: ``python -m tests.engines.ray_campaign --rate 100 --orders 1000``.

It is counted by the server: its requests, over the time between the first and the last one.
"""

from __future__ import annotations

import argparse
import logging
import os
import tempfile
import time
from collections import Counter
from pathlib import Path

from cdp_orders_async.emulator import Emulator, in_thread
from cdp_orders_async.engines.partition import PartitionOptions
from tests.cli.support import orders, write

__all__ = ["campaign"]


class Timed(Counter[str]):
    """Counts, and notes when it did."""

    def __init__(self) -> None:
        """Start with nothing."""
        super().__init__()
        self.times: list[float] = []

    def __setitem__(self, name: str, count: int) -> None:
        """Count one."""
        self.times.append(time.monotonic())
        super().__setitem__(name, count)


def campaign(rate: float, count: int, workers: int) -> tuple[int, float]:
    """Load *count* orders by *workers* at a *rate*; return the requests, and how many a second the server got."""
    # They need the extra.
    from cdp_orders_async.engines.ray import load_dataset, read_lines  # noqa: PLC0415
    from cdp_orders_async.engines.ray_api import ray  # noqa: PLC0415

    os.environ |= {"CDP_CLIENT_KEY": "key", "CDP_API_TOKEN": "token", "RAY_AUTH_MODE": "disabled"}
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    emulator = Emulator()
    emulator.requests = timed = Timed()
    with tempfile.TemporaryDirectory() as folder, in_thread(emulator) as served:
        path = write(Path(folder) / "o.jsonl", orders(count))
        ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        load_dataset(
            read_lines([path]),
            journal=Path(folder) / "j.sqlite",
            rate=rate,
            url=served.base_url,
            workers=workers,
            options=PartitionOptions(settle=0.0),
        )
        ray.shutdown()
    return len(timed.times), (len(timed.times) - 1) / (timed.times[-1] - timed.times[0])


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rate", type=float, default=100)
    parser.add_argument("--orders", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=4)
    given = parser.parse_args()
    requests, speed = campaign(given.rate, given.orders, given.workers)
    print(f"{requests:,} requests, {speed:.2f} a second, {speed / given.rate - 1:+.2%} of the rate")  # noqa: T201

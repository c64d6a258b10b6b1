"""Processes that share a rate: ``python -m tests.campaigns.rates --processes 4 --rate 200 --seconds 8``."""

from __future__ import annotations

import argparse
import asyncio

from tests.campaigns.run import say
from tests.databases import running_server, stop_running_server
from tests.pacing.rates import shared


async def main(processes: int, rate: float, seconds: float) -> int:
    """Run them, and print what came to the server; return 1 if it was too much or too little."""
    server = running_server()
    try:
        seen = await shared(server.dsn(server.create_database()), processes, rate, seconds)
    finally:
        stop_running_server()
    say("", "asked", "seen", "most/s", "requests")
    say(f"{processes} processes, requests a second", f"{rate:g}", f"{seen.rate:.1f}", seen.most, seen.requests)
    return int(not (0.99 * rate <= seen.rate <= 1.005 * rate and seen.most <= 1.025 * rate))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=4)
    for name, default in (("rate", 200.0), ("seconds", 8.0)):
        parser.add_argument(f"--{name}", type=float, default=default)
    raise SystemExit(asyncio.run(main(**vars(parser.parse_args()))))

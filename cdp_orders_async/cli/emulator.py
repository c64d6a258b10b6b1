"""``cdp-orders emulator``: the API on this machine, with no account."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from cdp_orders_async.cli.display import Screen
from cdp_orders_async.cli.options import refuse
from cdp_orders_async.emulator import Emulator, Faults, Switches, serve
from cdp_orders_async.jobs import on_stop

__all__ = ["emulator"]


def emulator(
    *,
    port: Annotated[int, Parameter(allow_leading_hyphen=True)] = 8642,
    client_key: str = "key",
    api_token: str = "token",  # noqa: S107 it guards nothing but a test server
    seed: int = 0,
    faults: Path | None = None,
    switch: Annotated[list[str] | None, Parameter(negative=(), metavar="READING")] = None,
    storage: Path | None = None,
) -> int:
    """Serve an emulator of the Order REST API v2.1 on 127.0.0.1 until Ctrl-C.

    GET /__state tells what it holds, GET /__ledger what each request did, POST /__reset empties it; they want
    the same credentials.

    Example: cdp-orders emulator --port 8642 --client-key K --api-token T

    A slow one: cdp-orders emulator --switch latency=0.1 --switch 'slow_writes={"orders.create": 3}'

    Parameters
    ----------
    port
        The port; 0 takes a free one.
    client_key
        The client key that callers must use.
    api_token
        The API token that callers must use. It shows in the list of processes: make it none of your tenant's.
    seed
        Where the references that it makes begin: the same seed makes the same ones.
    faults
        A JSON file of faults to place; the README describes it.
    switch
        A reading of what the documents leave open, as emulator.Switches names them: list_lag=2 lets lists lag,
        rate=50 hides a bucket of 429s, limits={"kind": "window", "calls": 600, "seconds": 60} is one of several
        limiters that the README lists, latency=0.1 holds each answer back, slow_writes=3 lets what is written take
        effect late, even if the client is gone by then. Give it again for another one.
    storage
        An SQLite file to keep the state in, for you alone; without it the state is gone at the end.

    """
    if not 0 <= port <= 65535:  # noqa: PLR2004 what a port can be
        return refuse("--port must be from 0 to 65535")
    try:
        plan = None if faults is None else Faults.load(faults)
    except (OSError, ValueError) as error:
        where = f"{faults}: " if isinstance(error, OSError) else ""
        return refuse(f"the emulator cannot use these faults: {where}{_reason(error)}")
    try:
        switches = Switches.read(switch or ())
    except ValueError as error:
        return refuse(f"--switch {error}")
    try:
        server = Emulator(
            client_key=client_key, api_token=api_token, switches=switches, faults=plan, seed=seed, storage=storage
        )
    except (OSError, sqlite3.Error) as error:
        return refuse(f"the emulator cannot keep its state in {storage}: {_reason(error)}")
    try:
        asyncio.run(_serve(server, port))
    except OSError as error:
        return refuse(f"the emulator cannot listen on port {port}: {_reason(error)}")
    finally:
        server.close()
    return 0


def _reason(error: Exception) -> str:
    """Return the system's own words: those of asyncio repeat the address."""
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno)
    return str(error).rstrip(".")


async def _serve(server: Emulator, port: int) -> None:
    stop = asyncio.Event()
    async with on_stop(lambda _: stop.set()):
        await serve(server, port, _say, stop)


def _say(base_url: str) -> None:
    Screen().say(f"The emulator listens on {base_url} (Ctrl-C stops it)")

"""``cdp-orders emulator``: the API on this machine, with pages to look at, and no account."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import secrets
import sqlite3
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from cdp_orders_async.cli.display import Screen
from cdp_orders_async.cli.options import refuse
from cdp_orders_async.emulator import Emulator, Faults, Switches, serve
from cdp_orders_async.emulator.access import HOST, is_this_machine
from cdp_orders_async.emulator.pages import PAGES
from cdp_orders_async.jobs import on_stop

__all__ = ["TOKEN", "emulator", "pages_of"]

TOKEN = "token"  # noqa: S105 it guards nothing but a test server


def emulator(
    *,
    host: str = HOST,
    port: Annotated[int, Parameter(allow_leading_hyphen=True)] = 8642,
    client_key: str = "key",
    api_token: str = TOKEN,
    seed: int = 0,
    faults: Path | None = None,
    switch: Annotated[list[str] | None, Parameter(negative=(), metavar="READING")] = None,
    storage: Path | None = None,
) -> int:
    """Serve an emulator of the Order REST API v2.1 on 127.0.0.1 until Ctrl-C.

    It prints the address of its pages for a browser: guests, orders, requests as they come in, switches and faults.

    GET /__state returns all orders, GET /__ledger the effect of each request, POST /__reset deletes everything.
    They need the same credentials.

    Example: cdp-orders emulator --port 8642 --client-key K --api-token T

    A slow one: cdp-orders emulator --switch latency=0.1 --switch 'slow_writes={"orders.create": 3}'

    Parameters
    ----------
    host
        The address to listen on. With 0.0.0.0, in a container for instance, other machines reach it: then --api-token
        must be given, and the pages need a token, which is in the address that is printed.
    port
        The port; 0 takes a free one.
    client_key
        The client key that callers must use.
    api_token
        The API token that callers must use. It is visible in the list of processes: do not use one of your tenant.
    seed
        The start of its references: the same seed makes the same references.
    faults
        A JSON file of faults to inject; the README describes it.
    switch
        A behaviour that the vendor's documents leave open, by its name in emulator.Switches: list_lag=2 makes lists
        lag behind writes, rate=50 answers 429 above that rate, limits={"kind": "window", "calls": 600, "seconds": 60}
        is one of several limiters that the README lists, latency=0.1 delays each answer, slow_writes=3 delays the
        effect of writes, even if the client has gone. Give the option again for another switch.
    storage
        An SQLite file that keeps the state, readable by you only. Without it the state is lost at the end.

    """
    if (wrong := _wrong_place(host, port, api_token)) is not None:
        return refuse(wrong)
    pages_token = None if is_this_machine(host) else secrets.token_urlsafe()
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
        asyncio.run(_serve(server, host, port, pages_token))
    except OSError as error:
        where = f"port {port}" if host == HOST else f"port {port} of {host}"
        return refuse(f"the emulator cannot listen on {where}: {_reason(error)}")
    finally:
        server.close()
    return 0


def _wrong_place(host: str, port: int, api_token: str) -> str | None:
    """Say why the emulator must not listen there, None if it may."""
    if not 0 <= port <= 65535:  # noqa: PLR2004 what a port can be
        return "--port must be from 0 to 65535"
    if not is_this_machine(host) and api_token in {"", TOKEN}:
        return f"other machines reach --host {host}: give --api-token a token that they cannot guess"
    return None


def _reason(error: Exception) -> str:
    """Return the words of the system, since those of asyncio repeat the address."""
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno)
    return str(error).rstrip(".")


async def _serve(server: Emulator, host: str, port: int, pages_token: str | None) -> None:
    stop = asyncio.Event()

    def ready(base_url: str) -> None:
        screen = Screen()
        screen.say(f"The emulator listens on {base_url} (Ctrl-C stops it)")
        screen.say(pages_of(base_url, pages_token))

    async with on_stop(lambda _: stop.set()):
        await serve(server, port, ready, stop, host=host, pages_token=pages_token)


def pages_of(base_url: str, token: str | None = None) -> str:
    """Say where the pages of the emulator are, or how to install them."""
    if importlib.util.find_spec("jinja2") is None:
        return "Its pages need an extra: pip install 'cdp-orders-async[emulator]'"
    return f"Its pages: {base_url}{PAGES}{'' if token is None else f'?token={token}'}"

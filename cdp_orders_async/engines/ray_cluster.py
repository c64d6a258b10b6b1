"""The Ray cluster of a load: one that runs already, or one that is started on this machine for the load."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import signal
import threading
from collections.abc import AsyncGenerator, Callable
from typing import Any, Final

from cdp_orders_async.engines.ray_actors import ray_sentence
from cdp_orders_async.engines.ray_api import RayError, ray
from cdp_orders_async.errors import InputError

__all__ = ["cluster"]

LONGEST_CONNECT: Final = 5.0
"""Seconds in which the head of a cluster must take a connection."""
LONGEST_JOIN: Final = 60.0
"""Seconds in which this process must have joined the cluster."""


@contextlib.asynccontextmanager
async def cluster(address: str | None, cores: int) -> AsyncGenerator[bool, None]:
    """Join the cluster at *address*, or start one on this machine, for at least so many *cores*; end what was started.

    Gives whether the cluster ends with the block. Where Ray runs in this process already, that cluster is used. Raises
    `InputError` for a cluster that cannot be used.
    """
    if ray.is_initialized():
        yield False
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    where = "on this machine" if address in {None, "auto"} else f"at {address}"
    try:
        if address is None:
            # Workers wait for answers, so more of them than cores are of use.
            quiet |= {"address": "local", "num_cpus": max(os.cpu_count() or 1, cores), "include_dashboard": False}
            # In a thread Ray sets no handler of Python.
            await asyncio.to_thread(ray.init, **quiet)
        else:
            await _check_listens(address)
            await _limited(lambda: ray.init(address=address, **quiet), LONGEST_JOIN)
    except TimeoutError:
        raise InputError(f"there is no Ray cluster {where}: no answer came in time") from None
    except (RayError, ValueError, RuntimeError, OSError, OverflowError) as error:
        raise InputError(f"there is no Ray cluster {where}: {ray_sentence(error, ended=False)}") from None
    finally:
        _take_back_sigterm()
    try:
        yield address is None
    finally:
        await asyncio.to_thread(ray.shutdown)


async def _check_listens(address: str) -> None:
    """Raise OSError, or TimeoutError, if nobody listens at *address*: Ray would try for a quarter of an hour."""
    host, _, port = address.rpartition(":")
    if host:
        connection = asyncio.open_connection(host.strip("[]"), int(port))
        _, writer = await asyncio.wait_for(connection, LONGEST_CONNECT)
        writer.close()


async def _limited(call: Callable[[], object], seconds: float) -> None:
    """Do a *call* in a thread; raise TimeoutError after so many *seconds*, though it may go on."""
    done: concurrent.futures.Future[None] = concurrent.futures.Future()
    done.set_running_or_notify_cancel()

    def run() -> None:
        try:
            call()
        except BaseException as error:  # noqa: BLE001 who waits for it gets it
            done.set_exception(error)
        else:
            done.set_result(None)

    threading.Thread(target=run, daemon=True).start()  # the end of the process does not wait for it
    await asyncio.wait_for(asyncio.wrap_future(done), seconds)


def _take_back_sigterm() -> None:
    """Set the handler of SIGTERM again: the core of Ray has put one in its place that aborts the process."""
    handler = signal.getsignal(signal.SIGTERM)
    if handler is not None and threading.current_thread() is threading.main_thread():  # which alone has signals
        signal.signal(signal.SIGTERM, handler)

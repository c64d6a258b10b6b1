"""The command that loads by Ray: a cluster that is not there, and a signal to all processes of one that is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import orjson
import pytest

from cdp_orders_async.emulator import Emulator, Switches, in_thread
from cdp_orders_async.emulator.threads import Served
from tests.cli.support import COMMAND, orders, write
from tests.databases import free_port

pytestmark = [
    pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: pip install 'cdp-orders-async[ray]'"),
    pytest.mark.skipif(sys.platform != "linux", reason="the processes of a cluster are found in /proc"),
]
MARK = "CDP_TESTS_COMMAND"
PATIENCE = 180.0


def started(served: Served, folder: Path, *more: str, engine: str = "ray", mark: str = "") -> subprocess.Popen[str]:
    """Start a load of the orders of the *folder*, in a group of processes of its own."""
    given = {"CDP_CLIENT_KEY": "key", "CDP_API_TOKEN": "token", "RAY_AUTH_MODE": "disabled", MARK: mark}
    options = ("--engine", engine, "--rate", "200", "--base-url", served.base_url, "--journal", "j", "--settle", "0")
    return subprocess.Popen(
        [*COMMAND, "load", "o.jsonl", *options, "--json", *more],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), **given},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def running(mark: str) -> list[bytes]:
    """Return the commands of all processes with this *mark*, which each process hands to those that it starts."""
    found: list[bytes] = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}".encode() in (folder / "environ").read_bytes():
                found.append((folder / "cmdline").read_bytes())
        except OSError:  # it has ended
            continue
    return found


def test_a_cluster_that_is_not_there(tmp_path: Path) -> None:
    """One sentence says so at once, and nothing is left behind."""
    write(tmp_path / "o.jsonl", orders(1))
    with in_thread(Emulator()) as served:
        for address, sentence in (
            (f"127.0.0.1:{free_port()}", "there is no Ray cluster at 127.0.0.1:"),
            ("ray://127.0.0.1:10001", "--address must be auto, or HOST:PORT of the head of a cluster"),
        ):
            process = started(served, tmp_path, "--address", address)
            _, told = process.communicate()
            (line,) = told.splitlines()
            assert (process.returncode, line.startswith(f"cdp-orders: {sentence}")) == (2, True), told
    assert sorted(path.name for path in tmp_path.iterdir()) == ["o.jsonl"]


def test_a_signal_to_all_processes(tmp_path: Path) -> None:
    """As a service manager or a terminal sends it: the load tells what it did, ends its cluster, and can go on."""
    count, mark = 60, uuid.uuid4().hex
    write(tmp_path / "o.jsonl", orders(count))
    with in_thread(Emulator(switches=Switches(upsert=False, latency=0.1))) as served:
        process = started(served, tmp_path, mark=mark)
        end = time.monotonic() + PATIENCE
        while sum(requests(served).values()) < 30 and process.poll() is None and time.monotonic() < end:
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGTERM)
        shown, told = process.communicate()
        assert process.returncode == 143, told
        assert orjson.loads(shown)["graphs"] == count
        assert "To resume: cdp-orders load o.jsonl" in told
        while running(mark) and time.monotonic() < end:
            time.sleep(0.05)
        assert running(mark) == []
        served.switches = Switches(upsert=False)
        process = started(served, tmp_path, engine="rest")  # a second cluster would only take time
        shown, told = process.communicate()
        assert process.returncode == 0, told
        assert (
            Counter({"loaded": orjson.loads(shown)["loaded"], "already": orjson.loads(shown)["already"]}).total()
            == count
        )
        found: Any = served.state()["orders"]
        assert Counter(str(order["referenceId"]) for order in found) == {f"B-{n}": 1 for n in range(count)}
        assert {len(order["orderItems"]) for order in found} == {1}


def requests(served: Served) -> dict[str, int]:
    """Return how many requests of each operation the server got."""
    found: Any = served.ledger()["requests"]
    return dict(found)

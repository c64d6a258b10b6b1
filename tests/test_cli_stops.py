"""``cdp-orders load`` cut short, by a signal or by a full disk: nothing is lost, nothing doubled."""

from __future__ import annotations

import os
import re
import signal
import sys
from pathlib import Path

import pytest

from tests.cli_support import (
    PARTS,
    TOKEN,
    cdp_orders,
    ended,
    lines_of,
    orders,
    said,
    started,
    watched,
    write,
)

CODE = """
import resource, sys
from cdp_orders_async.__main__ import main
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
sys.exit(main())
"""
SMALL_DISK = (sys.executable, "-c", CODE)
"""The command on a disk with no space for a file of more than 100 kB."""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
async def test_first_signal_finishes_what_is_in_flight(tmp_path: Path, number: signal.Signals, status: int) -> None:
    """A signal takes no new order, finishes the others, and prints the command that resumes, without the token."""
    lines = orders(30)
    arguments = ("load", write(tmp_path / "o.jsonl", lines), "--journal", "j 1.sqlite", "--outcomes", "out.jsonl")
    options = ("--connections", "2", "--rate", "100", "--client-key", "key", "--api-token", TOKEN)
    async with watched() as server:
        async with started(*arguments, *options, "--base-url", server.base_url, cwd=tmp_path) as process:
            await server.has_received(3 * PARTS)
            process.send_signal(number)
            ran = await ended(process)
        assert ran.status == status
        outcomes = lines_of(tmp_path / "out.jsonl")
        assert {one["verdict"] for one in outcomes} == {"loaded"}
        assert 0 < len(outcomes) < 30
        assert re.search(rf"│ loaded │ +{len(outcomes)} │", ran.out)
        told = ran.told.splitlines()
        assert told[0].startswith("Stopping: what is in flight has 20 s to finish.")
        assert TOKEN not in ran.out + ran.err
        assert told[-1].startswith("To resume: cdp-orders load ")
        resume = ("sh", "-c", told[-1].removeprefix("To resume: ").replace("--rate 100", "--json"))
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        again = await cdp_orders(cwd=tmp_path, command=resume, env={"CDP_API_TOKEN": TOKEN, "PATH": path})
        assert (again.status, again.err) == (0, "")
        assert server.holds(lines)
        assert server.received == 30 * PARTS + 1


async def test_second_signal_stops_at_once(tmp_path: Path) -> None:
    """A second signal gives up what is in flight; the next run looks it up, and doubles nothing."""
    lines = orders(6)
    stall = {
        "operation": "items.create",
        "script": ["ok", "ok", {"phase": "written", "action": "stall", "seconds": 999}],
    }
    arguments = ("load", write(tmp_path / "o.jsonl", lines), "--outcomes", "out.jsonl", "--settle", "0.2")
    async with watched({"faults": [stall]}) as server:
        async with started(*arguments, cwd=tmp_path, env=server.environment) as process:
            await server.has_received(6 * PARTS - 2)  # all but what waits for the item that stalls
            process.send_signal(signal.SIGINT)
            assert "Once more stops at once" in await said(process, "Stopping")
            process.send_signal(signal.SIGINT)
            ran = await ended(process)
        verdicts = sorted(one["verdict"] for one in lines_of(tmp_path / "out.jsonl"))
        assert (ran.status, verdicts) == (130, ["loaded"] * 5 + ["unknown"])
        again = await cdp_orders(*arguments, cwd=tmp_path, env=server.environment)
        assert (again.status, again.err) == (0, "")
        assert server.holds(lines)


async def test_drain_is_bounded(tmp_path: Path) -> None:
    """After one signal, what is still in flight when --drain has passed is given up."""
    stall = {"operation": "orders.create", "action": "stall", "seconds": 999}
    arguments = (
        "load",
        write(tmp_path / "o.jsonl", orders(1)),
        "--drain",
        "0.1",
        "--timeout",
        "900",
        "--deadline",
        "900",
    )
    async with (
        watched({"faults": [stall]}) as server,
        started(*arguments, cwd=tmp_path, env=server.environment) as load,
    ):
        await server.has_received(1)
        load.send_signal(signal.SIGINT)
        ran = await ended(load)
    assert ran.status == 130
    assert "│ unknown │ 1 │" in ran.out


async def test_full_disk_under_the_journal(tmp_path: Path) -> None:
    """A journal that cannot be written ends the load in one sentence; with space again, the same command completes."""
    lines = orders(60)
    arguments = ("load", write(tmp_path / "o.jsonl", lines), "--settle", "0.2")
    async with watched() as server:
        full = await cdp_orders(*arguments, cwd=tmp_path, env=server.environment, command=SMALL_DISK)
        assert server.received > 0
        whole = await cdp_orders(*arguments, cwd=tmp_path, env=server.environment)
        assert (whole.status, whole.err) == (0, "")
        assert server.holds(lines)
    told = full.told.splitlines()
    assert full.status == 2
    assert re.match(
        r"cdp-orders: the journal /\S+/o\.jsonl\.journal\.sqlite cannot be .*: (see to its disk|free some space)",
        told[0],
    )
    assert [line.partition(":")[0] for line in told[1:]] in ([], ["To resume"])


async def test_killed_load_resumes(tmp_path: Path) -> None:
    """A load that was killed goes on with the same command, and loses and doubles nothing."""
    lines = orders(30)
    arguments = ("load", write(tmp_path / "o.jsonl", lines), "--settle", "0.2")
    async with watched() as server:
        async with started(*arguments, "--rate", "300", cwd=tmp_path, env=server.environment) as process:
            await server.has_received(70)
            process.kill()
            assert (await ended(process)).status == -signal.SIGKILL
        assert (await cdp_orders(*arguments, cwd=tmp_path, env=server.environment)).status == 0
        assert server.holds(lines)


async def test_signal_ends_a_load_that_waits_for_input(tmp_path: Path) -> None:
    """A load of standard input that stays silent ends at the first signal, with what it read."""
    reader, writer = os.pipe()
    line = write(tmp_path / "o.jsonl", orders(1)).read_bytes()
    arguments = ("load", "-", "--journal", "j.sqlite", "--json")
    async with watched() as server, started(*arguments, cwd=tmp_path, env=server.environment, stdin=reader) as process:
        os.close(reader)
        os.write(writer, line)
        await server.has_received(PARTS)
        process.send_signal(signal.SIGTERM)
        ran = await ended(process)
        os.close(writer)
    assert ran.status == 143

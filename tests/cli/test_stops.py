"""``cdp-orders load`` cut short, by a signal or by a full disk: nothing is lost, nothing doubled."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from types import FrameType

import anyio
import orjson
import pytest

from cdp_orders_async.jobs.stopping import on_stop
from tests.cli.support import (
    COMMAND,
    PARTS,
    PATIENCE,
    TOKEN,
    Ran,
    broken_pipe,
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
MAIN = "import sys; from cdp_orders_async.__main__ import main; {} sys.exit(main())"
EACH_COUNTS, ALL_ARE_ONE = (
    (
        sys.executable,
        "-c",
        MAIN.format(f"from cdp_orders_async.jobs import stopping; stopping.SAME_SIGNAL = {seconds};"),
    )
    for seconds in (0.0, 900.0)
)
"""The command, for which two signals are two, however close they come, or one, however slow the machine is."""
AS_ON_WINDOWS = (
    sys.executable,
    "-c",
    MAIN.format(
        "import asyncio, os;"
        "asyncio.SelectorEventLoop.add_signal_handler = asyncio.AbstractEventLoop.add_signal_handler;"
        "[delattr(os, name) for name in ('O_NOFOLLOW', 'O_NONBLOCK', 'fchmod', 'geteuid')];"
        "sys.modules.update(fcntl=None, resource=None);"
    ),
)
"""The command without what Windows lacks: handlers of signals in its event loop, and functions of the system."""


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
        async with started(*arguments, cwd=tmp_path, env=server.environment, command=EACH_COUNTS) as process:
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


async def test_two_signals_at_once_are_one(tmp_path: Path) -> None:
    """A second signal soon after the first, as `timeout` sends it, stops nothing: what is in flight finishes."""
    lines = orders(4)
    slow = {"operation": "orders.create", "action": "drip", "phase": "body", "seconds": 0.5}
    arguments = ("load", write(tmp_path / "o.jsonl", lines), "--json")
    async with watched({"faults": [slow]}) as server:
        async with started(*arguments, cwd=tmp_path, env=server.environment, command=ALL_ARE_ONE) as process:
            await server.has_received(4)
            process.send_signal(signal.SIGINT)
            await said(process, "Stopping")
            process.send_signal(signal.SIGINT)
            ran = await ended(process)
        assert server.holds(lines)
    assert (ran.status, orjson.loads(ran.out)["loaded"]) == (130, 4)


async def test_load_works_as_on_windows(tmp_path: Path) -> None:
    """Without what Windows lacks, a load writes its outcomes, stops at a signal, and resumes."""
    lines = orders(30)
    options = ("--rate", "100", "--connections", "2", "--outcomes", "out.jsonl")
    arguments = ("load", write(tmp_path / "o.jsonl", lines), *options)
    async with watched() as server:
        for number in (signal.SIGINT, signal.SIGTERM):
            received = server.received
            async with started(*arguments, cwd=tmp_path, env=server.environment, command=AS_ON_WINDOWS) as process:
                await server.has_received(received + 3 * PARTS)
                process.send_signal(number)
                ran = await ended(process)
            assert ran.status == 128 + number
            assert "unknown" not in ran.out
            assert ran.err.splitlines()[-1].startswith("To resume: ")
        ran = await cdp_orders(*arguments, cwd=tmp_path, env=server.environment, command=AS_ON_WINDOWS)
        assert (ran.status, server.holds(lines)) == (0, True)
    assert len(lines_of(tmp_path / "out.jsonl")) == 30


async def test_demo_and_emulator_work_as_on_windows(tmp_path: Path) -> None:
    """Without what Windows lacks, both run, and a signal stops them."""
    env = {"TMPDIR": str(tmp_path)}
    async with started("demo", "--rate", "100", cwd=tmp_path, env=env, command=AS_ON_WINDOWS) as process:
        await said(process, "A new journal")  # with its first outcome
        process.send_signal(signal.SIGINT)
        ran = await ended(process)
    assert ran.status == 130
    assert re.search(r"│ loaded +│ +\d+ │", ran.out)
    arguments = ("emulator", "--port", "0", "--storage", "s.sqlite")
    async with started(*arguments, cwd=tmp_path, command=AS_ON_WINDOWS) as process:
        assert process.stdout is not None
        for _ in range(2):
            await process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert await ended(process) == Ran(0, "", "")


@pytest.mark.parametrize("module", ["cyclopts", "rich"])
async def test_interrupt_at_the_start_is_silent(tmp_path: Path, module: str) -> None:
    """A Ctrl-C while the command is still imported is no traceback."""
    # A process in the background may be born with the signal ignored.
    interrupt = "signal.signal(signal.SIGINT, signal.default_int_handler)\nos.kill(os.getpid(), signal.SIGINT)\n"
    (tmp_path / f"{module}.py").write_text(f"import os, signal\n{interrupt}")
    path = os.pathsep.join((str(tmp_path), os.environ.get("PYTHONPATH", "")))
    assert await cdp_orders("--help", cwd=tmp_path, env={"PYTHONPATH": path}) == Ran(130, "", "")


async def test_stop_does_not_wait_for_a_server_that_is_down(tmp_path: Path) -> None:
    """While a load is paused, a signal ends it at once, whatever the drain: it would wait for nothing."""
    down = {"operation": "orders.create", "script": ["ok"] * 5 + [{"action": "html", "status": 521}] * 999}
    arguments = ("load", write(tmp_path / "o.jsonl", orders(50)), "--drain", "900", "--json", "--settle", "0.2")
    often = ("--connections", "1", "--progress-every", "0.05")
    async with (
        watched({"faults": [down]}) as server,
        started(*arguments, *often, cwd=tmp_path, env=server.environment) as process,
    ):
        assert "POST /v2.1/orders: 521" in await said(process, "PAUSED")
        process.send_signal(signal.SIGTERM)
        ran = await ended(process)
    assert (ran.status, orjson.loads(ran.out)["loaded"]) == (143, 5)


@pytest.mark.parametrize("stream", ["full", "closed", "broken", "none"])
async def test_signal_stops_a_load_that_nobody_hears(tmp_path: Path, stream: str) -> None:
    """The load stops first and speaks second: where nothing can be said it stops all the same, and tells its counts."""
    shut = "2>&-" if stream == "closed" else "2>/dev/full"
    shell = ("sh", "-c", f'exec "$0" -m cdp_orders_async "$@" {shut}', sys.executable)
    command = shell if stream in {"full", "closed"} else COMMAND
    arguments = ("load", write(tmp_path / "o.jsonl", [{}, *orders(30)]), "--connections", "2", "--rate", "100")
    with broken_pipe() as nobody:
        err = nobody if stream == "broken" else PIPE
        async with (
            watched() as server,
            started(*arguments, "--json", cwd=tmp_path, env=server.environment, command=command, stderr=err) as process,
        ):
            await server.has_received(3 * PARTS)
            process.send_signal(signal.SIGTERM)
            ran = await ended(process)
    told = orjson.loads(ran.out)
    assert (ran.status, told["invalid"], told["unknown"]) == (143, 1, 0)
    assert 0 < told["loaded"] < 30
    assert ("To resume" in ran.err) is (stream == "none")


async def test_hangup_is_ignored_under_nohup(tmp_path: Path) -> None:
    """A SIGHUP that whoever started the command had ignored stays ignored."""
    lines = orders(10)
    shell = ("sh", "-c", 'trap "" HUP; exec "$0" -m cdp_orders_async "$@"', sys.executable)
    arguments = ("load", write(tmp_path / "o.jsonl", lines), "--rate", "100")
    async with watched() as server:
        async with started(*arguments, cwd=tmp_path, env=server.environment, command=shell) as process:
            await server.has_received(2 * PARTS)
            process.send_signal(signal.SIGHUP)
            ran = await ended(process)
        assert server.holds(lines)
    assert (ran.status, ran.told) == (0, "")


@pytest.mark.parametrize("handles", [True, False])
async def test_handlers_of_before_come_back(*, handles: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the block, each signal does what it did before, whether the event loop handles signals or not."""
    loop = asyncio.get_running_loop()
    if not handles:
        monkeypatch.setattr(type(loop), "add_signal_handler", asyncio.AbstractEventLoop.add_signal_handler)
    came: list[str] = []
    inside: asyncio.Queue[int] = asyncio.Queue()

    def handler(_: int, __: FrameType | None) -> None:
        came.append("before")

    before = signal.signal(signal.SIGTERM, handler)
    try:
        async with on_stop(inside.put_nowait):
            os.kill(os.getpid(), signal.SIGTERM)
            assert await asyncio.wait_for(inside.get(), PATIENCE) == signal.SIGTERM
        os.kill(os.getpid(), signal.SIGTERM)
        assert came == ["before"]
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("cancelled", [False, True])
async def test_no_task_is_left(*, cancelled: bool) -> None:
    """After the block nothing listens any more, also where its task is cancelled."""
    before = asyncio.all_tasks()
    with anyio.CancelScope() as scope:
        async with on_stop(lambda _: None):
            if cancelled:
                scope.cancel()
            await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
    assert scope.cancelled_caught is cancelled


async def test_signal_while_outcomes_cannot_be_written(tmp_path: Path) -> None:
    """Handlers stay until a load that an error ends is closed: a signal while it finishes kills nothing."""
    stall = {"operation": "items.create", "script": ["ok", {"phase": "written", "action": "stall", "seconds": 999}]}
    arguments = ("load", write(tmp_path / "o.jsonl", orders(2)), "--outcomes", "/dev/full", "--drain", "900")
    async with (
        watched({"faults": [stall]}) as server,
        started(*arguments, cwd=tmp_path, env=server.environment, command=EACH_COUNTS) as process,
    ):
        await said(process, "A new journal")  # with its first outcome, which cannot be written
        process.send_signal(signal.SIGTERM)
        await said(process, "Stopping")
        process.send_signal(signal.SIGTERM)
        ran = await ended(process)
    assert ran.status == 2
    assert ran.err.startswith("cdp-orders: the outcomes cannot be written to /dev/full")
    assert "To resume: " in ran.err


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
        assert (whole.status, whole.told) == (0, "")
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

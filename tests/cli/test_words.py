"""What ``cdp-orders load`` says: what ended it, what it left, and how to go on; and what it says it to."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import orjson
import pytest

from tests.cli.support import (
    PARTS,
    TOKEN,
    Json,
    cdp_orders,
    ended,
    full_disk,
    lines_of,
    names,
    orders,
    said,
    started,
    watched,
    write,
)

PAGE = {"action": "html", "status": 403}
ANSWER = {"action": "status", "status": 401}
LIMITED = ("sh", "-c", 'ulimit -n 40; exec "$0" -m cdp_orders_async "$@"', sys.executable)


async def test_page_of_a_gateway_does_not_blame_the_credentials(tmp_path: Path) -> None:
    """A 403 that is not the API's ends the load after some in a row, with the server's words, request and line."""
    script = ["ok"] * 4 + [PAGE] * 99
    source = write(tmp_path / "o.jsonl", orders(20))
    arguments = ("load", source, "--connections", "1", "--json")
    async with watched({"faults": [{"operation": "orders.create", "script": script}]}) as server:
        ran = await cdp_orders(*arguments, cwd=tmp_path, env=server.environment)
    error = orjson.loads(ran.out)["error"]
    assert (ran.status, orjson.loads(ran.out)["loaded"]) == (2, 4)
    assert re.fullmatch(
        rf"{server.base_url} does not answer as the API does, the last time to {source}:9: POST /v2.1/orders: 403 .+",
        error,
    )
    assert f"cdp-orders: {error}\n" in ran.err


async def test_one_order_that_a_gateway_refuses_is_its_own_failure(tmp_path: Path) -> None:
    """A single 403 after calls that succeeded fails that order, and the load goes on."""
    faults = [{"operation": "orders.create", "script": ["ok"] * 4 + [PAGE]}]
    async with watched({"faults": faults}) as server:
        ran = await cdp_orders(
            *("load", write(tmp_path / "o.jsonl", orders(9)), "--connections", "1", "--json"),
            cwd=tmp_path,
            env=server.environment,
        )
    told = orjson.loads(ran.out)
    assert (ran.status, told["loaded"], told["failed"], told["error"]) == (1, 8, 1, None)


async def test_revoked_credentials_name_line_and_request(tmp_path: Path) -> None:
    """Credentials that the API refuses in mid-load are blamed, and the request and the line are named."""
    source = write(tmp_path / "o.jsonl", orders(20))
    faults = [{"operation": "orders.create", "script": ["ok"] * 2 + [ANSWER] * 99}]
    async with watched({"faults": faults}) as server:
        ran = await cdp_orders("load", source, "--connections", "1", cwd=tmp_path, env=server.environment)
        (sentence,) = (line for line in ran.err.splitlines() if line.startswith("cdp-orders: "))
        assert sentence == (
            f"cdp-orders: {server.base_url} refused the credentials (401): check the client key and the API token; "
            f"this was its answer to {source}:7, POST /v2.1/orders"
        )
    assert ran.status == 2


async def test_orders_that_were_not_tried_are_told_by_number(tmp_path: Path) -> None:
    """Orders that a stop left untouched are counted apart, and one line says how many they are."""
    stall = {"operation": "orders.create", "action": "stall", "seconds": 999}
    arguments = ("load", write(tmp_path / "o.jsonl", orders(9)), "--connections", "4", "--drain", "0", "--json")
    async with (
        watched({"faults": [stall]}) as server,
        started(*arguments, cwd=tmp_path, env=server.environment) as process,
    ):
        await server.has_received(4)
        process.send_signal(signal.SIGINT)
        ran = await ended(process)
    told = orjson.loads(ran.out)
    assert (ran.status, told["unknown"], told["failed"]) == (130, 4, 0)
    assert told["not_tried"] == told["graphs"] - 4 > 1
    assert f"{told['not_tried']} orders were taken from the input and not tried.\n" in ran.err
    assert "not_tried: " not in ran.err


async def test_wrong_path_of_the_server_is_one_sentence(tmp_path: Path) -> None:
    """A base URL under which there is no API ends the load after a few answers; one with a version is refused."""
    source = write(tmp_path / "o.jsonl", orders(50))
    async with watched() as server:
        env = {**server.environment, "CDP_BASE_URL": f"{server.base_url}/nothing"}
        ran = await cdp_orders("load", source, "--connections", "1", cwd=tmp_path, env=env)
        assert ran.status == 2
        assert f"{server.base_url}/nothing does not answer as the API does, the last time" in ran.err
        assert "Traceback" not in ran.err
        env = {**server.environment, "CDP_BASE_URL": f"{server.base_url}/v2.1"}
        assert (await cdp_orders("load", source, cwd=tmp_path, env=env)).refused(
            "CDP_BASE_URL must end before the version"
        )
        assert server.received < 50


async def test_empty_input_is_told(tmp_path: Path) -> None:
    """An input without any order is said, and leaves no journal."""
    source = write(tmp_path / "o.jsonl", [])
    async with watched() as server:
        ran = await cdp_orders("load", source, "--json", cwd=tmp_path, env=server.environment)
    assert (ran.status, ran.err) == (0, f"{source} holds no orders: nothing was loaded.\n")
    assert orjson.loads(ran.out)["graphs"] == 0
    assert names(tmp_path) == ["o.jsonl"]


async def test_what_the_input_no_longer_has_is_told(tmp_path: Path) -> None:
    """A part that was dropped from the input stays on the server, which is told and no failure."""
    (line,) = orders(1)
    more = {**line["orderItems"][0], "referenceId": "A-second"}
    del more["extensions"]
    both: Json = {**line, "orderItems": [*line["orderItems"], more]}
    source = tmp_path / "o.jsonl"
    arguments = ("load", source, "--settle", "0.1", "--json", "--outcomes", "out.jsonl")
    async with watched() as server:
        write(source, [both])
        assert (await cdp_orders(*arguments, cwd=tmp_path, env=server.environment)).status == 0
        write(source, [line])
        ran = await cdp_orders(*arguments, cwd=tmp_path, env=server.environment)
    assert ran.status == 0
    assert re.fullmatch(rf"{source}:1: \w+: 1 item on the server that the input does not have\n", ran.err)
    assert lines_of(tmp_path / "out.jsonl")[0]["leftovers"][0]["kind"] == "items"


async def test_times_and_references_of_an_export(tmp_path: Path) -> None:
    """A time without a zone is refused and says which option reads it; items without an id get one where told."""
    (line,) = orders(1)
    line["orderedAt"] = "2024-07-01T16:17:16"
    del line["orderItems"][0]["referenceId"], line["consumers"]
    source = write(tmp_path / "o.jsonl", [line])
    arguments = ("load", source, "--json")
    async with watched() as server:
        refused = await cdp_orders(*arguments, cwd=tmp_path, env=server.environment)
        assert (refused.status, server.received) == (1, 0)
        assert "--timezone Europe/Dublin" in refused.err
        unknown = await cdp_orders(*arguments, "--timezone", "Europe/Nowhere", cwd=tmp_path, env=server.environment)
        assert unknown.refused("--timezone", "Europe/Nowhere")
        ran = await cdp_orders(
            *arguments, "--timezone", "Europe/Dublin", "--assign-references", cwd=tmp_path, env=server.environment
        )
        state: Json = orjson.loads(orjson.dumps(server.state()))
    assert ran.status == 0
    (stored,) = state["orders"]
    assert stored["orderedAt"].startswith("2024-07-01T15:17:16")
    assert [item["referenceId"] for item in stored["orderItems"]] == ["B-0#1"]


async def test_damaged_journal_resumes_with_look_first(tmp_path: Path) -> None:
    """Where a journal is refused as damaged, the command that resumes looks for each order."""
    journal = tmp_path / "j.sqlite"
    arguments = ("load", write(tmp_path / "o.jsonl", orders(1)), "--journal", "j.sqlite")
    async with watched() as server:
        assert (await cdp_orders(*arguments, cwd=tmp_path, env=server.environment)).status == 0
        content = journal.read_bytes()
        journal.write_bytes(content[:4096] + b"\0" * (len(content) - 4096))
        ran = await cdp_orders(*arguments, cwd=tmp_path, env=server.environment)
    told = ran.err.splitlines()
    assert (ran.status, len(told)) == (2, 2)
    assert "is damaged" in told[0]
    assert told[1] == f"To resume: cdp-orders load {tmp_path / 'o.jsonl'} --journal j.sqlite --look-first"


@pytest.mark.parametrize("given", ["option", "variable", "file"])
async def test_resume_names_no_variable_that_is_not_set(tmp_path: Path, given: str) -> None:
    """The command that resumes has no token, and says to set its variable only where the token is nowhere else."""
    (tmp_path / "token").write_text(TOKEN)
    source = write(tmp_path / "o.jsonl", orders(2))
    options = {"option": ("--api-token", TOKEN), "variable": (), "file": ("--api-token-file", "token")}[given]
    stop = {"operation": "items.create", "script": [{"action": "status", "status": 400}]}
    async with watched({"faults": [stop]}) as server:
        env = dict(server.environment)
        if given != "variable":
            del env["CDP_API_TOKEN"]
        ran = await cdp_orders("load", source, *options, "--json", cwd=tmp_path, env=env)
        assert ran.status == 1
        assert TOKEN not in ran.err
        assert ("Set CDP_API_TOKEN to the API token first." in ran.err) is (given == "option")
        resume = ran.err.splitlines()[-1].removeprefix("To resume: ")
        assert "$" not in resume
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        env = {**(env if given == "file" else server.environment), "PATH": path}
        again = await cdp_orders(cwd=tmp_path, command=("sh", "-c", resume), env=env)
    assert again.status == 0


async def test_missing_certificates_are_one_sentence(tmp_path: Path) -> None:
    """A file of certificates that is not there is told before anything is sent or made."""
    source = write(tmp_path / "o.jsonl", orders(1))
    async with watched() as server:
        env = {**server.environment, "CDP_CA_FILE": "none.pem"}
        ran = await cdp_orders("load", source, cwd=tmp_path, env=env)
        assert server.received == 0
    assert ran.refused("CDP_CA_FILE must be")
    assert names(tmp_path) == ["o.jsonl"]


async def test_few_open_files_mean_few_connections(tmp_path: Path) -> None:
    """A load and the demo take no more connections than the limit of open files lets them, and say so."""
    lines = orders(80)
    arguments = ("load", write(tmp_path / "o.jsonl", lines), "--rate", "none")
    async with watched() as server:
        ran = await cdp_orders(*arguments, cwd=tmp_path, env=server.environment, command=LIMITED)
        assert server.holds(lines)
    assert ran.status == 0
    first, _, progress = ran.told.partition("\n")  # of which there is none where the machine is quick
    assert first == "This shell allows 40 open files (ulimit -n), so there are 10 connections in place of 64."
    assert all(" done · 0 not loaded · " in line for line in progress.splitlines())
    demo = await cdp_orders("demo", "--rate", "5000", cwd=tmp_path, env={"TMPDIR": str(tmp_path)}, command=LIMITED)
    assert demo.status == 0
    assert "so there are 5 connections" in demo.err


@pytest.mark.parametrize("shut", ["2>/dev/full", "2>&-", "<&- 2>&-"])
@pytest.mark.parametrize("more", [(), ("--verbose",)], ids=["quiet", "verbose"])
async def test_what_cannot_be_said_fails_nothing(tmp_path: Path, shut: str, more: tuple[str, ...]) -> None:
    """With standard error on a full disk, or closed, a load loads, prints its counts, and has its own exit status."""
    lines = orders(3)
    shell = ("sh", "-c", f'exec "$0" -m cdp_orders_async "$@" {shut}', sys.executable)
    arguments = ("load", write(tmp_path / "o.jsonl", [{}, *lines]), "--json", "--outcomes", "out.jsonl", *more)
    async with watched() as server:
        ran = await cdp_orders(*arguments, cwd=tmp_path, env=server.environment, command=shell)
        assert server.holds(lines)
    told = orjson.loads(ran.out)
    assert (ran.status, told["loaded"], told["invalid"]) == (1, 3, 1)
    assert len(lines_of(tmp_path / "out.jsonl")) == 4


async def test_messages_that_would_block_fail_nothing(tmp_path: Path) -> None:
    """With a terminal that does not block and is full, a load goes on without its messages."""
    lines = orders(3)
    nothing: Json = {}
    arguments = ("load", write(tmp_path / "o.jsonl", [*[nothing] * 50, *lines]), "--json", "--verbose")
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while os.write(writer, b"x" * 4096):
            pass
    async with watched() as server:
        async with started(*arguments, cwd=tmp_path, env=server.environment, stderr=writer) as process:
            ran = await ended(process)
        assert server.holds(lines)
    os.close(reader)
    os.close(writer)
    assert (ran.status, orjson.loads(ran.out)["loaded"]) == (1, 3)


@pytest.mark.parametrize(("bad", "status"), [(0, 2), (1, 1)], ids=["loaded", "not all"])
async def test_full_disk_under_the_summary_is_told(tmp_path: Path, bad: int, status: int) -> None:
    """Counts that cannot be written are one sentence and no success, after everything is loaded."""
    lines = orders(3)
    nothing: Json = {}
    source = write(tmp_path / "o.jsonl", [*[nothing] * bad, *lines])
    async with watched() as server:
        with full_disk() as full:
            async with started("load", source, cwd=tmp_path, env=server.environment, stdout=full, stderr=PIPE) as load:
                ran = await ended(load)
        assert server.holds(lines)
        assert server.received == 3 * PARTS
    assert ran.status == status
    assert "cdp-orders: the output cannot be written: No space left on device\n" in ran.err


async def test_closed_standard_input_is_refused(tmp_path: Path) -> None:
    """Without a standard input, - is refused: no other file is taken for it."""
    command = ("sh", "-c", 'exec "$0" -m cdp_orders_async "$@" <&-', sys.executable)
    async with watched() as server:
        ran = await cdp_orders("load", "-", "--journal", "j", cwd=tmp_path, env=server.environment, command=command)
        assert server.received == 0
    assert ran.refused("standard input cannot be read: it is closed")


async def test_pause_names_its_cause(tmp_path: Path) -> None:
    """While a load waits for the server, its lines say why."""
    down = {"operation": "orders.create", "action": "status", "status": 503}
    arguments = ("load", write(tmp_path / "o.jsonl", orders(50)), "--progress-every", "0.05")
    async with (
        watched({"faults": [down]}) as server,
        started(*arguments, cwd=tmp_path, env=server.environment) as process,
    ):
        told = await said(process, "PAUSED")
    assert re.search(r"PAUSED, trying again in \d+ s: POST /v2.1/orders: 503 ", told)

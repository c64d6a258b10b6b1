"""``cdp-orders plan``, run as a process: what it says of an input, and that it sends nothing."""

from __future__ import annotations

import asyncio
import gzip
import os
import pty
import signal
from pathlib import Path

import orjson
import pytest

from cdp_orders_async.sources import GraphFiles
from tests.cli.support import (
    PARTS,
    PATIENCE,
    TOKEN,
    cdp_orders,
    ended,
    full_disk,
    names,
    orders,
    orders_v2,
    started,
    watched,
    write,
)

TOLD = """\
8 orders in {name}, 3 of them invalid
  2 x $.name is no key of version 2.1; put its values into the order's extension, first at {name}:5
  1 x $.orderItems[].name must be at most 128 characters, first at {name}:4
Doubtful, though it can be loaded:
  1 x $.price is not the sum of the prices of the items, with or without their quantities, first at {name}:8
Orders that the server takes for an earlier one, within two days, so that nothing of them is sent: \
1 copy, 1 in conflict
  B-0: loaded {name}:1, already {name}:7, conflict {name}:8
Requests of a load with a new journal: 18 (3 orders.create, 3 items.create, 3 contacts.create, 3 consumers.create, \
3 order_extensions.create, 3 item_extensions.create)
Least time at 0.001 requests/s: 5 h
Engine rest: about 5 h at 0.001 requests/s
Engine batch: 0 orders in 0 files, 0.0 MB, about 0 s; it cannot take 5 orders
  5 x $.channel is required by the Batch API, first at {name}:1
  5 x $.pointOfSale is required by the Batch API, first at {name}:1
  5 x $.status is required by the Batch API, first at {name}:1
  5 x $.paymentType is required by the Batch API, first at {name}:1
  5 x $.orderItems[].productId is required by the Batch API, first at {name}:1
  5 x $.orderItems[].description is required by the Batch API, first at {name}:1
  5 x $.orderItems[].vendor is required by the Batch API, first at {name}:1
Recommended: --engine rest: the Batch API cannot take 5 of 5 orders
Hash: {hash} (cdp-orders load --plan {hash} takes no other input)
"""


async def test_plan_of_a_short_load_and_of_none(tmp_path: Path) -> None:
    """A short load is told in seconds; an input without an order that can be loaded gets no recommendation."""
    write(tmp_path / "o.jsonl", orders(10))
    ran = await cdp_orders("plan", "o.jsonl", "--rate", "20", cwd=tmp_path)
    assert "Least time at 20 requests/s: 3 s\nEngine rest: about 3 s at 20 requests/s\n" in ran.out
    write(tmp_path / "bad.jsonl", [{**order, "price": "fifty"} for order in orders(2)])
    ran = await cdp_orders("plan", "bad.jsonl", "--rate", "20", cwd=tmp_path)
    assert "Requests of a load with a new journal: 0\nNo order can be loaded: mend the input.\nHash: " in ran.out
    assert ran.status == 1


async def test_plan_tells_all_of_an_input(tmp_path: Path) -> None:
    """A person is told requests, time, faults, doubts and orders with one reference id; the JSON has them too."""
    long = orders(4)[3]
    long["orderItems"][0]["name"] = "x" * 129
    bad = [{**order, "name": "canary"} for order in orders(6)[4:]]
    lines = [*orders(3), long, *bad, orders(1)[0], {**orders(1)[0], "price": 51}]
    path = write(tmp_path / "o.jsonl", lines)
    ran = await cdp_orders("plan", "o.jsonl", "--rate", "0.001", "--rejects", "bad", cwd=tmp_path)
    digest = await GraphFiles([path]).fingerprint()
    assert ran.out == TOLD.format(name="o.jsonl", hash=digest)
    assert (ran.status, ran.err) == (1, "")
    assert (tmp_path / "bad").read_bytes() == b"".join(orjson.dumps(line) + b"\n" for line in (long, *bad))
    ran = await cdp_orders("plan", "o.jsonl", "--json", cwd=tmp_path)
    told = orjson.loads(ran.out)
    assert (ran.status, ran.err) == (1, "")
    assert (told["orders"], told["invalid"], told["seconds"], told["hash"]) == (8, 3, None, digest)
    assert told["requests"]["total"] == 3 * PARTS
    assert [group["count"] for group in told["faults"]] == [2, 1]
    assert [group["first"] for group in told["warnings"]] == ["o.jsonl:8"]
    assert [order["number"] for order in told["same_reference"][0]["orders"]] == [1, 7, 8]
    assert names(tmp_path) == ["bad", "bad.reasons.jsonl", "o.jsonl"]


async def test_plan_needs_no_credentials_and_sends_nothing(tmp_path: Path) -> None:
    """Several files, packed too, are one input; nothing is sent, also where a server is named."""
    write(tmp_path / "1.jsonl", orders(2))
    (tmp_path / "2.jsonl.gz").write_bytes(gzip.compress(orjson.dumps(orders(3)[2])))
    async with watched() as server:
        ran = await cdp_orders("plan", "*.jsonl*", "--json", cwd=tmp_path, env=server.environment)
        assert server.received == 0
    assert (ran.status, orjson.loads(ran.out)["orders"]) == (0, 3)
    given = (tmp_path / "1.jsonl").read_bytes()
    ran = await cdp_orders("plan", "-", cwd=tmp_path, given=given)
    assert ran.out.startswith(
        "2 orders in standard input, 0 of them invalid\nRequests of a load with a new journal: 12 "
    )


async def test_plan_of_a_load_in_both_versions(tmp_path: Path) -> None:
    """A load of the same input sends just so many requests as the plan says."""
    for api, lines in (("v2.1", orders(101)), ("v2", orders_v2(101))):
        source = write(tmp_path / api, lines)
        arguments = (source, "--api", api, "--json")
        async with watched() as server:
            plan = await cdp_orders("plan", *arguments, "--rate", "50", cwd=tmp_path)
            load = await cdp_orders("load", *arguments, cwd=tmp_path, env=server.environment)
            planned, loaded = orjson.loads(plan.out), orjson.loads(load.out)
            assert planned["requests"]["total"] == loaded["requests"] == server.received
        assert planned["seconds"] == round(loaded["requests"] / 50, 3)


async def test_server_is_asked_on_request(tmp_path: Path) -> None:
    """It tells how many orders of a sample are there; without a server that can be asked it ends with status 2."""
    source = write(tmp_path / "o.jsonl", orders(5))
    async with watched() as server:
        await cdp_orders("load", write(tmp_path / "some", orders(2)), cwd=tmp_path, env=server.environment)
        ran = await cdp_orders("plan", source, "--check-server", cwd=tmp_path, env=server.environment)
        assert "Of 5 orders that were looked for, the server has 2 whole and 0 in part\n" in ran.out
        wrong = {**server.environment, "CDP_API_TOKEN": "wrong"}
        ran = await cdp_orders("plan", source, "--check-server", cwd=tmp_path, env=wrong)
        assert ran.refused("401")
        assert TOKEN not in ran.err
    ran = await cdp_orders("plan", source, "--check-server", cwd=tmp_path)
    assert ran.refused("--region, --base-url: exactly one of them must be given")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "no input is named: name a file"),
        (("none.jsonl",), "none.jsonl cannot be read: No such file or directory"),
        (("o.jsonl", "--nonsense"), "--nonsense"),
        (("o.jsonl", "--rate", "0"), "--rate must be a finite number above 0"),
        (("o.jsonl", "--rate", "nan"), "--rate must be a finite number above 0"),
        (("o.jsonl", "--sample", "0"), "--sample must be a whole number above 0"),
        (("o.jsonl", "--timezone", "Nowhere"), "--timezone"),
        (("o.jsonl", "--rejects", "o.jsonl"), "must be different files"),
        (("o.jsonl", "--rejects", "none/bad"), "none/bad: No such file or directory"),
    ],
)
async def test_plan_refuses_what_is_wrong(tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    """Bad usage and bad files are one sentence and status 2; nothing is written."""
    write(tmp_path / "o.jsonl", [{}])
    ran = await cdp_orders("plan", *arguments, cwd=tmp_path)
    assert ran.refused(words)
    assert (ran.out, names(tmp_path)) == ("", ["o.jsonl"])


async def test_empty_input_is_said(tmp_path: Path) -> None:
    """An empty export is no error, and is said."""
    ran = await cdp_orders("plan", write(tmp_path / "o.jsonl", []), "--json", cwd=tmp_path)
    assert (ran.status, orjson.loads(ran.out)["requests"]["total"]) == (0, 0)
    assert ran.err == f"The input, {tmp_path / 'o.jsonl'}, holds no order.\n"


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_signal_ends_it(tmp_path: Path, number: signal.Signals, status: int) -> None:
    """A signal ends it also while nothing comes; one sentence says so, and nothing is left."""
    read, wrote = os.pipe()
    async with started("plan", "-", "--json", "--rejects", "bad", cwd=tmp_path, stdin=read) as process:
        os.close(read)
        os.write(wrote, b"{}\n")  # is kept at once, so that it shows that the command reads
        async with asyncio.timeout(PATIENCE):
            while not _is_there(tmp_path / "bad.reasons.jsonl"):  # noqa: ASYNC110 another process makes it
                await asyncio.sleep(0.01)
        process.send_signal(number)
        ran = await ended(process)
    os.close(wrote)
    assert (ran.status, ran.out) == (status, "")
    assert ran.err == "Stopped after 1 order: the plan is not made, and nothing was sent.\n"


def _is_there(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


async def test_progress_on_a_terminal(tmp_path: Path) -> None:
    """How much was read is redrawn in place."""
    source = write(tmp_path / "o.jsonl", orders(4_000))
    ours, theirs = pty.openpty()
    async with started("plan", source, "--json", cwd=tmp_path, stderr=theirs, env={"TERM": "xterm"}) as process:
        os.close(theirs)
        shown = await asyncio.to_thread(_read_all, ours)
        ran = await ended(process)
    assert (ran.status, orjson.loads(ran.out)["orders"]) == (0, 4_000)
    assert b" orders read \xc2\xb7 0 invalid \xc2\xb7 " in shown


def _read_all(terminal: int) -> bytes:
    shown = b""
    try:
        while piece := os.read(terminal, 4096):
            shown += piece
    except OSError:  # the other end is closed
        pass
    os.close(terminal)
    return shown


async def test_output_on_a_full_disk_is_told(tmp_path: Path) -> None:
    """What standard output does not take is one sentence, and status 2."""
    with full_disk() as full:
        source = write(tmp_path / "o.jsonl", orders(1))
        async with started("plan", source, cwd=tmp_path, stdout=full) as process:
            ran = await ended(process)
    assert ran.refused("cannot be written: No space left on device")

"""``cdp-orders load`` from start to end, and what it says when it cannot go on."""

from __future__ import annotations

import base64
import gzip
import re
import signal
import socket
import stat
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import orjson
import pytest

from tests.cli.support import (
    PARTS,
    TOKEN,
    Json,
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

KEYS = [
    "graphs",
    "loaded",
    "already",
    "updated",
    "kept",
    "partial",
    "failed",
    "unknown",
    "conflict",
    "invalid",
    "busy",
    "not_tried",
    "requests",
    "seconds",
    "cpu",
    "times",
    "error",
]
"""The counts and the times; what names the run comes after them."""
RUN_KEYS = ["run", "started", "ended", "files", "hash", "parts_created"]


async def test_load_loads_each_order_once(tmp_path: Path) -> None:
    """A load leaves what it read on the server, one outcome an order, and private files; again it asks for nothing."""
    lines = orders(5)
    source = write(tmp_path / "o.jsonl", lines)
    files = ("--journal", "j.sqlite", "--outcomes", "out.jsonl")
    async with watched() as server:
        options = ("--base-url", server.base_url, "--client-key", "key", "--api-token", TOKEN)
        first = await cdp_orders("load", source, *options, *files, "--json", cwd=tmp_path)
        outcomes = lines_of(tmp_path / "out.jsonl")
        again = await cdp_orders("load", source, *files, "--json", cwd=tmp_path, env=server.environment)
        assert server.holds(lines)
        assert server.received == 5 * PARTS + 1
        assert server.requests["orders.get"] == 1
    told: Json = orjson.loads(first.out)
    assert (first.status, first.out.count("\n")) == (0, 1)
    assert first.err == f"A new journal remembers what is loaded: {tmp_path / 'j.sqlite'}\n"
    assert list(told) == [*KEYS, *RUN_KEYS]
    run = {key: told.pop(key) for key in RUN_KEYS}
    assert (run["parts_created"], len(run["hash"])) == (5 * PARTS, 32)
    assert run["files"] == [{"name": str(source), "bytes": source.stat().st_size}]
    assert re.fullmatch(r"\d{8}T\d{6}Z-[0-9a-f]{8}", run["run"])
    assert isinstance(told.pop("seconds"), float)
    assert told.pop("cpu") > 0
    assert told.pop("times")["server"] > 0
    assert told == {**dict.fromkeys(KEYS[:-4], 0), "graphs": 5, "loaded": 5, "requests": 5 * PARTS, "error": None}
    assert sorted((one["number"], one["verdict"]) for one in outcomes) == [(n, "loaded") for n in range(1, 6)]
    assert {(one["file"], one["run"]) for one in outcomes} == {(str(source), run["run"])}
    assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in files[1::2]] == [0o600, 0o600]
    told = orjson.loads(again.out)
    assert (again.status, again.err, told["already"], told["requests"]) == (0, "", 5, 1)
    assert [one["verdict"] for one in lines_of(tmp_path / "out.jsonl")] == ["already"] * 5
    assert lines_of(tmp_path / "out.jsonl.1") == outcomes


async def test_load_shows_a_table(tmp_path: Path) -> None:
    """Without --json, the last words are a table, the speed and the times, and the journal is named after the file."""
    async with watched() as server:
        ran = await cdp_orders(
            "load", write(tmp_path / "o.jsonl", orders(3)), cwd=tmp_path, env={**server.environment, "CDP_RATE": "500"}
        )
    assert (ran.status, ran.told) == (0, "")
    assert "│ loaded │ 3 │" in ran.out
    assert f"{3 * PARTS} requests in " in ran.out
    assert ran.out.splitlines()[-1].startswith("Where the time went: ")
    assert (tmp_path / "o.jsonl.journal.sqlite").is_file()


async def test_load_knows_its_own_cpu(tmp_path: Path) -> None:
    """The seconds that the process computed while it loaded are in --json."""
    fake = "import time; time.process_time = iter((5, 65.25)).__next__"
    command = (sys.executable, "-c", f"{fake}; from cdp_orders_async.__main__ import main; raise SystemExit(main())")
    arguments = ("load", write(tmp_path / "o.jsonl", orders(1)), "--json")
    async with watched() as server:
        ran = await cdp_orders(*arguments, cwd=tmp_path, env=server.environment, command=command)
    assert (ran.status, ran.told, orjson.loads(ran.out)["cpu"]) == (0, "", 60.25)


async def test_load_reads_standard_input(tmp_path: Path) -> None:
    """With - the orders come from standard input, also compressed, and messages call it by its name."""
    lines = orders(3)
    given = gzip.compress(b"\n".join(orjson.dumps(line) for line in lines) + b"\nno order\n")
    async with watched() as server:
        ran = await cdp_orders("load", "-", "--journal", "j", cwd=tmp_path, env=server.environment, given=given)
        assert server.holds(lines)
    assert ran.status == 1
    assert ran.told.startswith("standard input:4: invalid: $: must be JSON")


async def test_load_tells_bad_lines(tmp_path: Path) -> None:
    """A line that breaks a rule is told with file, number, field and rule, and the rest of the file loads."""
    good = orders(3)
    (bad,) = orders(1)
    bad["orderItems"] = bad["orderItems"] * 3 + [{**bad["orderItems"][0], "name": "x" * 129}]
    source = write(tmp_path / "o.jsonl", [good[0], bad, good[1], {"referenceId": 7}, good[2]])
    async with watched() as server:
        ran = await cdp_orders(
            "load", source, "--outcomes", "out.jsonl", "--json", cwd=tmp_path, env=server.environment
        )
        assert server.holds(good)
    told = ran.told.splitlines()
    assert (ran.status, orjson.loads(ran.out)["loaded"], orjson.loads(ran.out)["invalid"]) == (1, 3, 2)
    assert [line.partition(": ")[0] for line in told] == [f"{source}:2", f"{source}:4"]
    assert "$.orderItems[3].name: must be at most 128 characters" in told[0]
    outcomes = lines_of(tmp_path / "out.jsonl")
    assert len(outcomes) == 5
    (worst,) = (one for one in outcomes if one["number"] == 2)
    assert "$.orderItems[3].name" in str(worst["violations"])


async def test_load_tells_few_problems(tmp_path: Path) -> None:
    """Of many problems the first are told, and where all of them are; --verbose tells each."""
    nothing: Json = {}
    source = write(tmp_path / "o.jsonl", [nothing] * 30)
    async with watched() as server:
        ran = await cdp_orders("load", source, "--outcomes", "out.jsonl", cwd=tmp_path, env=server.environment)
        verbose = await cdp_orders("load", source, "--verbose", cwd=tmp_path, env=server.environment)
    assert ran.err.count(": invalid: ") == 5
    assert "\n30 lines are invalid; out.jsonl has them all:\n  30 x $.referenceId is required, first at" in ran.err
    assert len(lines_of(tmp_path / "out.jsonl")) == verbose.err.count(": invalid: ") == 30


async def test_load_keeps_what_it_read_of_a_truncated_file(tmp_path: Path) -> None:
    """A file that breaks off is status 2 and a sentence; with the whole file, the same journal goes on."""
    lines = orders(40)
    plain = b"".join(orjson.dumps(line) + b"\n" for line in lines)
    source = tmp_path / "o.jsonl.gz"
    source.write_bytes(gzip.compress(plain)[:-40])
    arguments = ("load", source, "--connections", "2", "--json")
    async with watched() as server:
        cut = await cdp_orders(*arguments, cwd=tmp_path, env=server.environment)
        source.write_bytes(gzip.compress(plain))
        whole = await cdp_orders(*arguments, cwd=tmp_path, env=server.environment)
        assert server.holds(lines)
    assert cut.status == 2
    assert f"cdp-orders: {source} cannot be read after line " in cut.err
    assert "Traceback" not in cut.err
    assert (whole.status, whole.err) == (0, "")
    assert orjson.loads(whole.out)["already"] > 0


async def test_load_stops_at_wrong_credentials(tmp_path: Path) -> None:
    """The first 401 ends the load: no connection sees a second one, and one sentence says it for all orders."""
    source = write(tmp_path / "o.jsonl", orders(50))
    async with watched() as server:
        ran = await cdp_orders(
            *("load", source, "--connections", "4"), cwd=tmp_path, env={**server.environment, "CDP_API_TOKEN": "wrong"}
        )
        assert 1 <= server.received <= 4
    assert ran.refused(server.base_url, "refused the credentials (401)", "client key")
    assert ran.out == ""


async def test_load_takes_the_token_from_a_file(tmp_path: Path) -> None:
    """A file with the token goes before the variable; one that is missing, empty or no text is refused by its name."""
    source, file = write(tmp_path / "o.jsonl", orders(1)), tmp_path / "token"
    arguments = ("load", source, "--api-token-file", str(file))
    async with watched() as server:
        given = {**server.environment, "CDP_API_TOKEN": "wrong"}
        for content in (None, b"", b"a\nb", b"\xff"):
            if content is not None:
                file.write_bytes(content)
            refused = await cdp_orders(*arguments, cwd=tmp_path, env=given)
            assert refused.refused("--api-token-file must be a readable file")
        file.write_text(f"{TOKEN}\n")
        ran = await cdp_orders(*arguments, cwd=tmp_path, env=given)
    assert (ran.status, ran.told) == (0, "")


async def test_load_says_that_nobody_answers(tmp_path: Path) -> None:
    """A server that cannot be reached ends the load with one sentence."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    here = {"CDP_BASE_URL": f"http://127.0.0.1:{port}", "CDP_CLIENT_KEY": "K", "CDP_API_TOKEN": "T"}
    source = write(tmp_path / "o.jsonl", orders(3))
    ran = await cdp_orders("load", source, cwd=tmp_path, env={**here, "CDP_RETRIES": "0"})
    assert ran.refused(here["CDP_BASE_URL"], "cannot be reached")


async def test_load_refuses_the_journal_of_another_server(tmp_path: Path) -> None:
    """A journal belongs to one base URL, which is told; the outcomes of the load that made it stay."""
    arguments = ("load", write(tmp_path / "o.jsonl", orders(1)), "--journal", "j.sqlite", "--outcomes", "out.jsonl")
    async with watched() as server, watched() as other:
        assert (await cdp_orders(*arguments, cwd=tmp_path, env=server.environment)).status == 0
        ran = await cdp_orders(*arguments, cwd=tmp_path, env=other.environment)
        assert other.received == 0
    assert ran.refused("j.sqlite", server.base_url, other.base_url)
    assert len(lines_of(tmp_path / "out.jsonl")) == 1


async def test_load_leaves_another_load_alone(tmp_path: Path) -> None:
    """A journal in use is refused in one sentence, and the outcomes of the load that uses it stay whole."""
    lines = orders(8)
    source = write(tmp_path / "o.jsonl", lines)
    arguments = ("load", source, "--journal", "j.sqlite", "--outcomes", "out.jsonl", "--settle", "0.1")
    stall = {"operation": "items.create", "script": ["ok"] * 7 + [{"phase": "written", "action": "stall"}]}
    async with watched({"faults": [stall]}) as server:
        async with started(*arguments, cwd=tmp_path, env=server.environment) as process:
            await server.has_received(8 * PARTS - 2)  # all but what waits for the item that stalls
            second = await cdp_orders(*arguments, cwd=tmp_path, env=server.environment)
            process.send_signal(signal.SIGINT)
            await said(process, "Stopping")
            process.send_signal(signal.SIGINT)
            first = await ended(process)
        assert second.refused("j.sqlite is in use")
        assert first.status == 130
        assert sorted(one["number"] for one in lines_of(tmp_path / "out.jsonl")) == list(range(1, 9))
        assert (await cdp_orders(*arguments, cwd=tmp_path, env=server.environment)).status == 0
        assert server.holds(lines)


async def test_load_refuses_outcomes_through_a_link(tmp_path: Path) -> None:
    """Outcomes are not written through a symbolic link to something else."""
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "out.jsonl").symlink_to("precious")
    async with watched() as server:
        ran = await cdp_orders(
            *("load", write(tmp_path / "o.jsonl", orders(1)), "--outcomes", "out.jsonl"),
            cwd=tmp_path,
            env=server.environment,
        )
        assert server.received == 0
    assert ran.refused("out.jsonl", "symbolic link")
    assert (tmp_path / "precious").read_text() == "precious"


async def test_load_ends_where_outcomes_cannot_be_written(tmp_path: Path) -> None:
    """A full disk under the outcomes ends the load in one sentence, and the journal still knows what is done."""
    lines = orders(20)
    source = write(tmp_path / "o.jsonl", lines)
    arguments = ("load", source, "--connections", "2")
    async with watched() as server:
        full = await cdp_orders(*arguments, "--outcomes", "/dev/full", cwd=tmp_path, env=server.environment)
        whole = await cdp_orders(*arguments, "--settle", "0.1", cwd=tmp_path, env=server.environment)
        assert server.holds(lines)
    assert full.status == 2
    sentence = "cdp-orders: the outcomes cannot be written to /dev/full: No space left on device"
    told = [line for line in full.told.splitlines() if not line.endswith("taken from the input and not tried.")]
    assert told[0] == sentence  # before it only the number of orders that were drawn too late
    assert "Traceback" not in full.err
    assert whole.status == 0


@pytest.mark.parametrize(("policy", "verdict", "status"), [("keep", "kept", 1), ("fail", "conflict", 1)])
async def test_load_says_what_differs(tmp_path: Path, policy: str, verdict: str, status: int) -> None:
    """Something that is there but differs is left as it is and told, or refused, as --on-existing says."""
    (line,) = orders(1)
    async with watched() as server:
        first = await cdp_orders("load", write(tmp_path / "a", [line]), cwd=tmp_path, env=server.environment)
        assert first.told == ""
        ran = await cdp_orders(
            *("load", write(tmp_path / "b", [{**line, "price": 51}]), "--look-first", "--on-existing", policy),
            *("--settle", "0.1", "--json"),
            cwd=tmp_path,
            env=server.environment,
        )
        assert server.holds([line])
    assert (ran.status, orjson.loads(ran.out)[verdict]) == (status, 1)
    assert f"{tmp_path / 'b'}:1: {verdict}: order differs in price" in ran.err


async def test_load_bounds_an_attempt(tmp_path: Path) -> None:
    """After --timeout a create counts as lost: it is looked up and adopted, not sent again."""
    lines = orders(1)
    stall = {"operation": "orders.create", "script": [{"phase": "written", "action": "stall"}]}
    async with watched({"faults": [stall]}) as server:
        ran = await cdp_orders(
            *("load", write(tmp_path / "o.jsonl", lines), "--timeout", "0.3", "--settle", "0.1"),
            cwd=tmp_path,
            env=server.environment,
        )
        assert server.holds(lines)
        assert server.requests["orders.create"] == 1
    assert ran.status == 0


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
async def test_load_goes_on_unheard(tmp_path: Path, stream: str) -> None:
    """A load whose output or messages nobody reads any more loads all the same."""
    lines = orders(3)
    source = write(tmp_path / "o.jsonl", [{}, *lines])
    async with watched() as server:
        with broken_pipe() as nobody:
            out, err = (nobody, PIPE) if stream == "stdout" else (PIPE, nobody)
            async with started("load", source, cwd=tmp_path, env=server.environment, stdout=out, stderr=err) as process:
                ran = await ended(process)
        assert server.holds(lines)
    assert ran.status == 1
    assert "Traceback" not in ran.err


async def test_load_keeps_secrets(tmp_path: Path) -> None:
    """Neither the token nor a personal value is in any output or file of a load, however much goes wrong."""
    faults = [
        {"operation": "orders.create", "script": ["ok", {"action": "html", "status": 500}]},
        {"operation": "contacts.create", "script": [{"action": "status", "status": 400}, {"action": "close"}]},
        {"operation": "*", "chance": 0.1, "action": "reset", "phase": "written"},
    ]
    arguments = ("load", write(tmp_path / "o.jsonl", orders(10)), "--journal", "j.sqlite", "--outcomes", "out.jsonl")
    options = ("--client-key", "key", f"--api-token={TOKEN}", "--timeout", "5", "--settle", "0.1", "--verbose")
    async with watched({"faults": faults}) as server:
        ran = await cdp_orders(*arguments, *options, "--base-url", server.base_url, cwd=tmp_path)
    written = (tmp_path / "j.sqlite").read_bytes() + (tmp_path / "out.jsonl").read_bytes()
    assert ran.status == 1
    assert "POST /v2.1/orders, attempt 1: done" in ran.err
    assert ran.err.splitlines()[-2] == "Set CDP_API_TOKEN to the API token first."
    everything = ran.out.encode() + ran.err.encode() + written
    assert [secret for secret in (b"canary", base64.b64encode(f"key:{TOKEN}".encode())) if secret in everything] == []


async def test_load_reads_several_files(tmp_path: Path) -> None:
    """A folder, a glob and files are read one after the other; each outcome has its file, and the log each request."""
    lines, folder = orders(3), tmp_path / "in"
    folder.mkdir()
    write(folder / "a.jsonl", lines[:2])
    (folder / "b.jsonl.gz").write_bytes(gzip.compress(orjson.dumps(lines[2])))
    async with watched() as server:
        ran = await cdp_orders(
            *("load", "in", "--outcomes", "out", "--verbose", "--progress", "json", "--json"),
            cwd=tmp_path,
            env=server.environment,
        )
        again = await cdp_orders(
            "load", "in/a.jsonl", "in/b*", "--journal", "in.journal.sqlite", cwd=tmp_path, env=server.environment
        )
        assert server.holds(lines)
    assert (ran.status, again.status) == (0, 0)
    assert sorted(Path(one["file"]).name for one in lines_of(tmp_path / "out")) == ["a.jsonl", "a.jsonl", "b.jsonl.gz"]
    logged = [line for line in map(orjson.loads, ran.err.splitlines()) if line["event"] == "log" and "status" in line]
    assert len(logged) == 3 * PARTS
    assert all({"time", "status", "line", "request_id", "seconds"} <= line.keys() for line in logged)

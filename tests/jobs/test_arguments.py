"""A job takes the path of a file as text too, and says in words what else it takes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from cdp_orders_async import CdpOrders, GraphFiles, InputError, MemoryJournal, Settings, Verdict, jobs
from tests.cli.support import PARTS, TOKEN, lines_of, names, orders, watched, write

WHERE = "the path of a file"
PLACE = "journal must be the path of a file, or the address of a database, not "
SOURCE = "source must be the path of a file, GraphFiles or a GraphFile, not "
CLIENT = "client must be an open CdpOrders or CdpOrdersV2, not "
ENGINE = "engine must be a BatchEngine, a RayEngine or None, not "


@asynccontextmanager
async def connected() -> AsyncGenerator[Any, None]:
    """Give a client, without its types, of an emulator."""
    settings = Settings(rate=None, connections=4, retries=0)
    async with (
        watched() as server,
        CdpOrders(base_url=server.base_url, client_key="key", api_token=TOKEN, settings=settings) as cdp,
    ):
        yield cdp


async def test_texts_are_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each job takes the names of files as a reader would write them."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "o.jsonl", [*orders(2), {}])
    async with connected() as cdp:
        plan = await jobs.plan("o.jsonl", rejects="planned")
        assert (plan.orders, plan.invalid, len(lines_of(tmp_path / "planned"))) == (3, 1, 1)
        files: Any = {"outcomes": "out", "rejects": "bad", "before": "before", "control": "control.toml"}
        report = await jobs.load(cdp, "o.jsonl", journal="j", **files, settle=0)
        assert report.counts == {Verdict.LOADED: 2, Verdict.INVALID: 1}
        loaded = next(line["key"] for line in lines_of(tmp_path / "out") if line["verdict"] == "loaded")
        assert len(lines_of(tmp_path / "bad")) == 1
        assert (await jobs.load(cdp, Path("o.jsonl"), journal="j")).counts[Verdict.ALREADY] == 2
        checked = await jobs.verify(cdp, "out", "o.jsonl", differences="differences", settle=0)
        assert (checked.same, checked.missing) == (2 * PARTS, 0)
        again = await jobs.retry(cdp, "out", "o.jsonl", journal="j", only=["invalid"], outcomes_to="again")
        assert again.counts == {Verdict.INVALID: 1}
        assert (await jobs.report_of(again, "again")).total.orders == 1
        assert (await jobs.journal_report("j")).orders == 2
        assert len([one async for one in jobs.journal_orders("j")]) == 2
        assert await jobs.forget_order("j", loaded) == PARTS
        assert (await jobs.undoable(cdp, "j")).orders == 1
        assert (await jobs.undo(cdp, "j", outcomes="undone", before=None)).deleted == PARTS


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"source": None}, SOURCE + "NoneType"),
        ({"source": ["o.jsonl"]}, SOURCE + "list"),
        ({"journal": None}, PLACE + "NoneType"),
        ({"journal": MemoryJournal()}, PLACE + "MemoryJournal"),
        ({"outcomes": 1}, f"outcomes must be {WHERE}, not int"),
        ({"rejects": b"bad"}, f"rejects must be {WHERE}, not bytes"),
        ({"before": True}, f"before must be {WHERE}, not bool"),
        ({"control": ["c"]}, f"control must be {WHERE}, not list"),
        ({"engine": "batch"}, ENGINE + "str"),
        ({"engine": GraphFiles}, ENGINE + "the class GraphFiles"),
        ({"max_errors": "3"}, "max_errors must be a whole number or None, not str"),
        ({"give_up": "3"}, "give_up must be a number or None, not str"),
        ({"settle": "3"}, "settle must be a number, not str"),
        ({"drain": None}, "drain must be a number, not NoneType"),
        ({"run": "one"}, "run must be Run or None, not str"),
        ({"on_event": 5}, "on_event must be a function that takes an event, not int"),
        ({"clock": "now"}, "clock must be a function that returns seconds, not str"),
        ({"client": "cdp"}, CLIENT + "str"),
        ({"shared_rate": ["x"]}, "shared_rate must be str, not list"),
        ({"plan": 1}, "plan must be the hash of a plan, or None, not int"),
    ],
)
async def test_load_says_what_it_takes(tmp_path: Path, given: dict[str, object], words: str) -> None:
    """What is neither is refused in words, before a file is made."""
    source = write(tmp_path / "o.jsonl", orders(1))
    async with connected() as cdp:
        options: dict[str, Any] = {"client": cdp, "source": source, "journal": tmp_path / "j", **given}
        with pytest.raises(TypeError) as caught:
            await jobs.load(**options)
    assert str(caught.value) == words
    assert names(tmp_path) == ["o.jsonl"]


async def test_the_other_jobs_say_what_they_take(tmp_path: Path) -> None:
    """So do they."""
    out: Any = write(tmp_path / "out", [])
    other: Any = ["f"]
    number: Any = 5
    async with connected() as cdp:
        for words, call in (
            (SOURCE + "list", jobs.verify(cdp, out, other)),
            ("settle must be a number, not list", jobs.verify(cdp, out, settle=other)),
            (f"differences must be {WHERE}, not list", jobs.verify(cdp, out, differences=other)),
            (
                "source must be the path of a file, GraphFiles or None, not list",
                jobs.retry(cdp, out, other, journal=out),
            ),
            (PLACE + "list", jobs.retry(cdp, out, journal=other)),
            (f"outcomes_to must be {WHERE}, not list", jobs.retry(cdp, out, journal=out, outcomes_to=other)),
            ("source must be the path of a file, or GraphFiles, not list", jobs.plan(other)),
            (PLACE + "list", jobs.undo(cdp, other)),
            (f"before must be {WHERE}, not list", jobs.undo(cdp, out, before=other)),
            (PLACE + "list", jobs.journal_report(other)),
            (CLIENT + "list", jobs.verify(other, out)),
            (CLIENT + "list", jobs.retry(other, out, journal=out)),
            (CLIENT + "list", jobs.undo(other, out)),
            (CLIENT + "list", jobs.undoable(other, out)),
            (CLIENT + "list", jobs.plan(out, client=other)),
            ("on_event must be a function that takes an event, not list", jobs.verify(cdp, out, on_event=other)),
            ("on_event must be a function that takes an event, not list", jobs.undo(cdp, out, on_event=other)),
            ("clock must be a function that returns seconds, not list", jobs.retry(cdp, out, journal=out, clock=other)),
            ("clock must be a function that returns seconds, not list", jobs.plan(out, clock=other)),
            ("now must be a function that returns a datetime with a time zone, not list", jobs.plan(out, now=other)),
            ("rate must be a number or None, not list", jobs.plan(out, rate=other)),
            ("sample must be a whole number, not list", jobs.plan(out, sample=other)),
            ("seed must be a whole number, not list", jobs.plan(out, seed=other)),
            ("force must be True or False, not list", jobs.undo(cdp, out, force=other)),
            ("only must be several verdicts, not int", jobs.retry(cdp, out, journal=out, only=number)),
        ):
            with pytest.raises(TypeError) as caught:
                await call
            assert str(caught.value) == words


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with a name")
async def test_pipes_are_refused(tmp_path: Path) -> None:
    """A pipe that nobody writes, and a device that never ends, are no files to read, and hold nothing up."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, Path("/dev/zero")):
        async with connected() as cdp, asyncio.timeout(60):
            for call in (
                jobs.verify(cdp, path),
                jobs.report_data([path]),
                jobs.retry(cdp, path, journal=tmp_path / "j"),
            ):
                with pytest.raises(
                    InputError, match=f"the outcomes cannot be read from {path}: it is not a regular file"
                ):
                    await call
    assert names(tmp_path) == ["pipe"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with a name")
async def test_a_pipe_beside_the_outcomes_is_no_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A report says that it has no record, and an undo refuses a pipe of values."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "o.jsonl", orders(1))
    async with connected() as cdp, asyncio.timeout(60):
        await jobs.load(cdp, "o.jsonl", journal="j", outcomes="out")
        (tmp_path / "out.run.json").unlink()
        os.mkfifo(tmp_path / "out.run.json")
        (note,) = (await jobs.report_data(["out"])).notes
        assert "out.run.json: it is not a regular file" in note
        with pytest.raises(InputError, match=r"out\.run\.json cannot be read: it is not a regular file"):
            await jobs.undo(cdp, "j", before="out.run.json")

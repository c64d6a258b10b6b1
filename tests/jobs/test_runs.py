"""A run of a load: its name, its record, its input."""

from __future__ import annotations

import errno
import re
import stat
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest

from cdp_orders_async import GraphFiles, InputError, Invalid, jobs
from cdp_orders_async.jobs import owned_file, run_file
from tests.cli.support import PARTS, lines_of, names, orders, write
from tests.jobs.test_load import connected


def noon() -> datetime:
    """Return the time."""
    return datetime(2026, 11, 29, 12, 36, 5, tzinfo=UTC)


def run_of(digit: bytes) -> jobs.Run:
    """Return a run at noon."""
    return jobs.new_run(noon, lambda count: digit * count)


async def test_record_of_a_run(tmp_path: Path) -> None:
    """Beside the outcomes of several files is the record of the run; both are put aside together by the next run."""
    first, second = write(tmp_path / "a.jsonl", orders(2)), write(tmp_path / "b.jsonl", [{}, *orders(3)[2:]])
    files = GraphFiles([first, second])
    out = tmp_path / "out.jsonl"
    async with connected() as (server, cdp):
        report = await jobs.load(cdp, files, journal=tmp_path / "j", outcomes=out, run=run_of(b"a"))
        again = await jobs.load(cdp, files, journal=tmp_path / "j", outcomes=out, run=run_of(b"b"))
    assert (report.parts_created, again.parts_created) == (3 * PARTS, 0)
    record = orjson.loads((tmp_path / "out.jsonl.1.run.json").read_bytes())
    assert record["options"] == {
        "api": "v2.1",
        "timezone": None,
        "assign_references": False,
        "base_url": server.base_url,
        "journal": str(tmp_path / "j"),
        "look_first": False,
        "on_existing": "keep",
        "settle": 10.0,
    }
    assert (record["run"], record["started"], record["ended"]) == (
        "20261129T123605Z-61616161",
        "2026-11-29T12:36:05Z",
        "2026-11-29T12:36:05Z",
    )
    assert record["hash"] == await files.fingerprint()
    assert record["files"] == [{"name": str(one), "bytes": one.stat().st_size} for one in (first, second)]
    assert (record["counts"]["loaded"], record["counts"]["invalid"]) == (3, 1)
    assert {(one["file"], one["run"]) for one in lines_of(tmp_path / "out.jsonl.1")} == {
        (str(first), record["run"]),
        (str(second), record["run"]),
    }
    assert {one["run"] for one in lines_of(out)} == {"20261129T123605Z-62626262"}
    assert stat.S_IMODE((tmp_path / "out.jsonl.run.json").stat().st_mode) == 0o600


def test_record_on_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The earlier record stays, and no half of the new one is beside it."""
    path = tmp_path / "out.run.json"
    run_file.write_run(path, {"run": "1"})

    def full(number: int, text: bytes) -> None:
        owned_file.write_all(number, text[:5])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(run_file, "write_all", full)
    with pytest.raises(InputError, match="No space left on device"):
        run_file.write_run(path, {"run": "2"})
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [(path.name, b'{"run":"1"}\n')]


async def test_record_never_takes_the_place_of_anything(tmp_path: Path) -> None:
    """A file of that name that is not a record, or a link, is refused before anything is sent."""
    source, beside = write(tmp_path / "o.jsonl", orders(1)), tmp_path / "out.jsonl.run.json"
    async with connected() as (server, cdp):
        for make in (lambda: beside.write_text("{}"), lambda: beside.symlink_to("o.jsonl")):
            make()
            with pytest.raises(InputError, match="the record of the run cannot be written"):
                await jobs.load(cdp, GraphFiles([source]), journal=tmp_path / "j", outcomes=tmp_path / "out.jsonl")
            beside.unlink()
        assert server.received == 0
    assert names(tmp_path) == ["o.jsonl"]


async def test_plan_admits_its_input_alone(tmp_path: Path) -> None:
    """The planned input is loaded; another one is refused, and nothing is sent or made."""
    source = write(tmp_path / "o.jsonl", orders(1))
    async with connected() as (server, cdp):
        plan = await GraphFiles([source]).fingerprint()
        report = await jobs.load(cdp, GraphFiles([source]), journal=tmp_path / "j", plan=plan)
        assert (report.status, report.hash) == (0, plan)
        write(source, orders(2))
        received = server.received
        with pytest.raises(InputError, match=r"^nothing was sent: .* cdp-orders plan$"):
            await jobs.load(cdp, GraphFiles([source]), journal=tmp_path / "k", plan=plan)
        assert server.received == received
    assert names(tmp_path) == ["j", "o.jsonl"]


async def test_rejects_hold_the_bad_lines(tmp_path: Path) -> None:
    """The lines that break rules are kept as they stand."""
    source = write(tmp_path / "o.jsonl", orders(1))
    source.write_bytes(source.read_bytes() + b'{"referenceId": 7 }\nnothing\n')
    async with connected() as (_, cdp):
        await jobs.load(cdp, GraphFiles([source]), journal=tmp_path / "j", rejects=tmp_path / "bad")
    assert (tmp_path / "bad").read_bytes() == b'{"referenceId": 7 }\nnothing\n'
    assert [one["number"] for one in lines_of(tmp_path / "bad.reasons.jsonl")] == [2, 3]


def test_place_of_the_journal(tmp_path: Path) -> None:
    """It is beside the one file, or the one folder; several files need it to be given."""
    folder = tmp_path / "2024"
    folder.mkdir()
    first, second = (write(folder / name, orders(1)) for name in ("a.jsonl", "b.jsonl"))

    def place(*given: Path | str, journal: Path | None = None) -> Path:
        names = [str(one) for one in given]
        path = jobs.journal_path(names, GraphFiles(names).names, journal, print)
        assert isinstance(path, Path)
        return path

    assert place(first) == folder / "a.jsonl.journal.sqlite"
    assert place(folder) == place(f"{folder}/") == tmp_path / "2024.journal.sqlite"
    assert place(first, second, journal=tmp_path / "j") == tmp_path / "j"
    for given in ((first, second), (f"{folder}/*.jsonl",)):
        with pytest.raises(Invalid, match=re.escape("journal: must be given where there are several input files")):
            place(*given)
    with pytest.raises(InputError, match="the input and the journal must be different files"):
        place(folder, journal=second)

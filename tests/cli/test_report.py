"""``cdp-orders report`` and ``load --report``: the same page, and one sentence for whatever is wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from cdp_orders_async.cli import main
from cdp_orders_async.ingest import Verdict
from cdp_orders_async.jobs.recorded import WholeRecord
from cdp_orders_async.jobs.report_data import Tally
from tests.cli.support import cdp_orders, lines_of, names, orders, watched, write
from tests.reports.files import failed, outcome, record, written
from tests.reports.pages import Page
from tests.security.canaries import leaks

FAULTS = [
    {"operation": "items.create", "script": ["ok", {"action": "status", "status": 400}]},
    {"operation": "contacts.create", "script": ["ok", {"action": "close"}]},
    {"operation": "*", "chance": 0.05, "action": "status", "status": 503},
]


def made(folder: Path) -> Path:
    """Write a file of outcomes with its record."""
    return written(folder / "out", [outcome(1), failed(2, "BadRequest", 400)], record({"loaded": 1, "partial": 1}))


async def test_report_of_a_load_is_the_report_of_its_outcomes(tmp_path: Path) -> None:
    """The load and the command make the same page, without a secret or a personal value, readable by its owner only."""
    write(tmp_path / "o.jsonl", [*orders(12), {}])
    async with watched({"faults": FAULTS}) as server:
        options = ("--report", "r.html", "--settle", "0.1", "--api-token", "canary-token")
        ran = await cdp_orders("load", "o.jsonl", *options, cwd=tmp_path, env=server.environment)
    assert ran.status == 1, ran.err
    assert f"The report is {tmp_path / 'r.html'}\n" in ran.err
    outcomes, report = tmp_path / "r.html.outcomes.jsonl", tmp_path / "r.html"
    assert await asyncio.to_thread(main, ["report", str(outcomes), "--output", str(tmp_path / "later.html")]) == 0
    assert (tmp_path / "later.html").read_bytes() == report.read_bytes()
    assert report.stat().st_mode & 0o777 == 0o600
    text = report.read_text(encoding="utf-8")
    assert leaks(text, (tmp_path / "r.html.outcomes.jsonl.run.json").read_text(encoding="utf-8")) == []
    words = Page(text).text
    assert "of 13 orders are on the server as the input says" in words
    for wanted in ("the server refuses it as wrong (400)", "Requests a second", f"--base-url {server.base_url}"):
        assert wanted in words
    (run,) = lines_of(tmp_path / "r.html.outcomes.jsonl.run.json")
    moments = run["course"]["moments"]
    assert [sum(moment[n] for moment in moments) for n in (1, 2)] == [13, run["requests"]]
    assert sum(moment[4] for moment in moments) > 0
    assert (run["rate"], run["folder"], run["identity"]["base URL"]) == ("none", str(tmp_path), server.base_url)


async def test_report_of_a_load_without_orders(tmp_path: Path) -> None:
    """It says so, and shows nothing of the outcomes of an earlier load."""
    write(tmp_path / "o.jsonl", [])
    made(tmp_path)
    async with watched() as server:
        options = ("--report", "r.html", "--outcomes", "out")
        ran = await cdp_orders("load", "o.jsonl", *options, cwd=tmp_path, env=server.environment)
    assert ran.status == 0, ran.err
    text = Page((tmp_path / "r.html").read_text(encoding="utf-8")).text
    assert "The load came to no order, so nothing was loaded." in text
    assert "The load sent no request." in text
    assert "partial" not in text


WRONG: dict[str, tuple[Callable[[Path], object], tuple[str, ...]]] = {
    "no file": (lambda _: None, ("out: No such file or directory",)),
    "a folder": (lambda folder: (folder / "out").mkdir(), ("out: Is a directory",)),
    "empty": (lambda folder: (folder / "out").touch(), ("out holds no outcome", "cdp-orders load --outcomes")),
    "orders": (
        lambda folder: write(folder / "out", orders(2)),
        ("out, line 1: it is not an outcome: ", "`number`", "name the file that cdp-orders load --outcomes wrote"),
    ),
    "a table": (lambda folder: (folder / "out").write_text("a,b\n1,2\n"), ("out, line 1: it is not an outcome",)),
    "bytes": (lambda folder: (folder / "out").write_bytes(b"\x1f\x8b\0\xff"), ("out, line 1: it is not an outcome",)),
    "only a cut line": (
        lambda folder: (folder / "out").write_text('{"number": 1, "ver'),
        ("out holds no outcome", "line 1: the file ends in the middle of this outcome"),
    ),
    "a wrong line": (
        lambda folder: write(folder / "out", [outcome(1), {"number": 2, "verdict": "guilty"}]),
        ("out, line 2: it is not an outcome: ", "$.verdict", "mend this line, or remove it"),
    ),
    "a negative time": (
        lambda folder: write(folder / "out", [{**outcome(1), "seconds": -1}]),
        ("out, line 1: it is not an outcome: ", "$.seconds"),
    ),
    "endless times": (
        lambda folder: write(folder / "out", [{**outcome(1), "times": {"server": 1e308}}] * 2),
        ("out, line 1: it is not an outcome: a time of more than 1e+12 seconds",),
    ),
    "a huge number": (
        lambda folder: (folder / "out").write_text(f'{{"number":{"9" * 400},"verdict":"loaded"}}\n'),
        ("out, line 1: it is not an outcome: ", "$.number"),
    ),
    "zeros after a crash": (
        lambda folder: (folder / "out").write_bytes(write(folder / "out", [outcome(1)]).read_bytes() + bytes(4096)),
        ("out, line 2: it is not an outcome: ", "mend this line, or remove it"),
    ),
    "an empty line": (
        lambda folder: (folder / "out").write_bytes(b"\n" + write(folder / "out", [outcome(1)]).read_bytes()),
        ("out, line 1: it is not an outcome",),
    ),
    "a report of something else": (
        lambda folder: (made(folder), (folder / "r.html").write_text("<!doctype html>\n<p>mine")),
        ("r.html: it holds something else, name another file",),
    ),
    "a link": (
        lambda folder: (folder / "r.html").symlink_to(write(made(folder).with_name("mine"), [])),
        ("r.html: it is a symbolic link, name the file itself",),
    ),
    "a folder of that name": (
        lambda folder: made(folder).with_name("r.html").mkdir(),
        ("r.html: it is not a regular file",),
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_one_sentence(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It names the file, the line and the rule; nothing is written, and nothing is destroyed."""
    make, words = WRONG[case]
    make(tmp_path)
    before = [(name, (tmp_path / name).stat().st_mtime_ns) for name in names(tmp_path)]
    assert main(["report", str(tmp_path / "out"), "--output", str(tmp_path / "r.html")]) == 2
    told = capsys.readouterr().err
    assert told.startswith("cdp-orders: ")
    assert told.count("\n") == 1
    for word in words:
        assert word in told
    assert [(name, (tmp_path / name).stat().st_mtime_ns) for name in names(tmp_path)] == before


def test_places_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder that is not there, a full disk, and the outcomes themselves."""
    out = made(tmp_path)
    content = out.read_bytes()
    for output, words in (
        (tmp_path / "no" / "r.html", "r.html: No such file or directory"),
        (Path("/dev/full"), "/dev/full: No space left on device"),
        (out, "the outcomes and the report must be different files"),
        (tmp_path / ".." / tmp_path.name / "out", "the outcomes and the report must be different files"),
        (tmp_path / "out.run.json", "the record of the run and the report must be different files"),
    ):
        assert main(["report", str(out), "--output", str(output)]) == 2
        told = capsys.readouterr().err
        assert words in told
        assert told.count("\n") == 1
    assert (names(tmp_path), out.read_bytes()) == (["out", "out.run.json"], content)


def test_folder_without_rights(unprivileged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is told before the outcomes are read."""
    out, locked = made(unprivileged), unprivileged / "locked"
    locked.mkdir(0o500)
    assert main(["report", str(out), "--output", str(locked / "r.html")]) == 2
    assert "r.html: Permission denied" in capsys.readouterr().err


LACKING: dict[str, tuple[Callable[[Path], object], tuple[str, ...]]] = {
    "cut": (
        lambda out: out.write_bytes(out.read_bytes()[:-20]),
        ("line 2: the file ends in the middle of this outcome, which is left out",),
    ),
    "shorter": (lambda out: write(out, [outcome(1)]), ("out has 1 outcomes, but its load counted 2",)),
    "no record": (
        lambda out: out.with_name("out.run.json").unlink(),
        ("the record of the run cannot be read from ", "No such file or directory: the report of "),
    ),
    "a record of something else": (
        lambda out: out.with_name("out.run.json").write_text("[1]"),
        ("out.run.json is not the record of the run: Expected `object`",),
    ),
    "a record with a huge number": (
        lambda out: out.with_name("out.run.json").write_text(f'{{"requests": 1{"0" * 400}}}'),
        ("out.run.json is not the record of the run: ", "$.requests"),
    ),
    "the record of another run": (
        lambda out: write(out.with_name("out.run.json"), [record({}, run="other")]),
        ("out.run.json is the record of another run",),
    ),
    "a record that was not completed": (
        lambda out: write(out.with_name("out.run.json"), [record({}, ended=None)]),
        ("was not completed: the load still runs, or was killed",),
    ),
    "lines of two runs": (
        lambda out: write(out, [outcome(1), {**outcome(2), "run": "other"}]),
        ("out holds the outcomes of several runs",),
    ),
}


@pytest.mark.parametrize("case", LACKING)
def test_what_a_report_lacks_is_said_in_it(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And on standard error, with exit status 1."""
    make, words = LACKING[case]
    out = made(tmp_path)
    make(out)
    assert main(["report", str(out), "--output", str(tmp_path / "r.html")]) == 1
    told = capsys.readouterr().err
    text = Page((tmp_path / "r.html").read_text(encoding="utf-8")).text
    assert "The report may not be complete" in text
    for word in words:
        assert word in told
        assert word in text


EDGES: dict[str, tuple[dict[str, object], str]] = {
    "moments without a length": (
        {"course": {"moments": [[0.0, 1, 1], [1e-300, 9, 9], [5e-324, 1, 1]]}},
        "has no course",
    ),
    "times next to nothing": (
        {"course": {"moments": [[1.0, 1, 1, 0, 0, 1.0, 5e-324, 5e-324, 0.0]] * 2}},
        "Requests a second",
    ),
    "no time at all": ({"seconds": 5e-324}, "What was done"),
    "the longest times": (
        {"course": {"moments": [[1e12, 1, 1, 0, 0, 1e12, 1e12, 1e12, 1e12]] * 700}},
        "Requests a second",
    ),
    "very many limits": ({"limits": ["x" * 9_000] * 900}, "Rate found"),
    "dates without end": ({"started": "9999-12-31T23:59:59-23:00", "ended": "soon\0"}, "9999-12-31T23:59:59-23:00"),
}


@pytest.mark.parametrize("case", EDGES)
def test_a_record_at_the_edges_makes_a_report(case: str, tmp_path: Path) -> None:
    """Whatever its numbers and texts are, the report of a record is whole and small."""
    more, words = EDGES[case]
    out = written(tmp_path / "out", [outcome(1)], record({"loaded": 1}, **more))
    assert main(["report", str(out), "--output", str(tmp_path / "r.html")]) == 0
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert words in Page(text).text
    assert "\0" not in text
    assert len(text) < 50_000


def test_a_file_that_grows_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A load that still writes is reported as far as it has come; a half line is left out, and both are said."""
    out = written(tmp_path / "out", [outcome(1), outcome(2)], record({}, ended=None))
    later = [orjson.dumps(outcome(n)) + b"\n" for n in (3, 4)]
    add = Tally.add

    def grow(tally: Tally, one: WholeRecord) -> None:
        add(tally, one)
        if one.number == 1:
            with out.open("ab") as file:
                file.write(later[0] + later[1][:-20])

    monkeypatch.setattr(Tally, "add", grow)
    assert main(["report", str(out), "--output", str(tmp_path / "r.html")]) == 1
    told = capsys.readouterr().err
    text = Page((tmp_path / "r.html").read_text(encoding="utf-8")).text
    assert "All 3 orders are on the server as the input says." in text
    for words in ("line 4: the file ends in the middle of this outcome", "the load still runs, or was killed"):
        assert words in told
        assert words in text


def test_the_report_of_a_load_that_was_killed(tmp_path: Path) -> None:
    """It says why it has no course, and gives no number of requests, which was not recorded."""
    out = made(tmp_path)
    write(out.with_name("out.run.json"), [record({}, ended=None, requests=0, course={})])
    assert main(["report", str(out), "--output", str(tmp_path / "r.html")]) == 1
    text = Page((tmp_path / "r.html").read_text(encoding="utf-8")).text
    assert "The load was killed, or it still runs: its course over time is written at its end" in text
    assert "not recorded, because the load was killed or still runs" in text


def test_several_files_of_one_tenant(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Runs of two tenants, or one file twice, are refused; nothing is written."""
    first, second = made(tmp_path), tmp_path / "second"
    output = str(tmp_path / "r.html")
    for more, words in (
        ({"identity": {"base URL": "https://api-engage-eu.sitecorecloud.io", "tenant": "other"}}, "tenant other"),
        ({"identity": {"base URL": "https://api-engage-us.sitecorecloud.io"}}, "is of https://api-engage-us"),
    ):
        written(second, [outcome(1)], record({"loaded": 1}, **more))
        assert main(["report", str(first), str(second), "--output", output]) == 2
        told = capsys.readouterr().err
        assert "the runs are of different tenants" in told
        assert words in told
        assert told.count("\n") == 1
    assert main(["report", str(first), str(tmp_path / "." / "out"), "--output", output]) == 2
    assert "out is named twice" in capsys.readouterr().err
    assert not Path(output).exists()
    written(second, [outcome(1, Verdict.ALREADY)], record({"already": 1}))
    assert main(["report", str(first), str(second), "--output", output]) == 0


def test_load_refuses_a_report_that_cannot_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything is sent."""
    source = write(tmp_path / "o.jsonl", orders(1))
    (tmp_path / "mine.html").write_text("mine")
    here = ("--base-url", "http://127.0.0.1:9", "--client-key", "K", "--api-token", "T")
    for options, words in (
        (("--report", "mine.html"), "the report cannot be written to"),
        (("--report", "no/r.html"), "No such file or directory"),
        (("--report", "r.html", "--outcomes", "r.html"), "the outcomes and the report must be different files"),
        (("--report", "new.run.json", "--outcomes", "new"), "the record of the run and the report must be different"),
        (("--report", "r.html", "--outcomes", "/dev/null"), "--outcomes must be a file where there is a report"),
        (("--report", "o.jsonl"), "o.jsonl: it holds something else"),
        (("--report", "r.html", "--rejects", "r.html"), "the report and the rejects must be different files"),
    ):
        placed = [str(tmp_path / word) if not word.startswith("--") else word for word in options]
        assert main(["load", str(source), *here, *placed]) == 2
        told = capsys.readouterr().err
        assert words in told
        assert told.count("\n") == 1
    assert names(tmp_path) == ["mine.html", "o.jsonl"]

"""The page of a report: whole, bounded, safe to open, and readable by everybody."""

from __future__ import annotations

import errno
import itertools
import re
import sys
import tracemalloc
from pathlib import Path

import pytest

from cdp_orders_async import InputError, Verdict, jobs, reports
from cdp_orders_async.errors import Violation
from cdp_orders_async.ingest import PartVerdict
from cdp_orders_async.ingest.outcomes import Failure, PartOutcome
from cdp_orders_async.jobs.owned_file import write_all
from cdp_orders_async.jobs.series import Course, Moment
from cdp_orders_async.reports import html
from cdp_orders_async.reports.charts import allowed_of, charts_of
from cdp_orders_async.reports.words import duration, figure, megabytes, number, options_in, share, when
from tests.cli.support import names
from tests.reports.files import ALL, COUNTS, failed, kept, outcome, record, stray, written
from tests.reports.pages import Page

HOSTILE = "</title><script>alert('1')</script><img src=http://x.test/ onerror=alert(1)>\u202e&amp;"


async def page(*paths: Path) -> str:
    """Return the report of files of outcomes."""
    return reports.to_html(await jobs.report_data(paths))


async def test_page_says_it_all(tmp_path: Path) -> None:
    """Counts, causes with lines and advice, slow orders, differences, leftovers, and commands with real names."""
    path = written(tmp_path / "out 1.jsonl", ALL, record(COUNTS))
    data = await jobs.report_data([path])
    assert data.notes == ()
    text = Page(reports.to_html(data)).text
    for words in (
        "31 of 48 orders are on the server as the input says. 17 are not.",
        "10 orders partial : an item: the server refuses it as wrong (400)",
        "First at orders.jsonl:31, orders.jsonl:32, orders.jsonl:33, orders.jsonl:34, orders.jsonl:35, and 5 more",
        "POST /v2.1/orders/x/orderItems: 400 Bad Request (request id-31)",
        "mend these orders in the input, and retry them.",
        "2 orders invalid : $.orderItems[].price is required",
        "1 order partial : an item: its answer was lost",
        "1 order busy : another process was loading the order",
        "1 order conflict : the order: it has … at …",
        "the order: it has … at … The words of the first: it has 2 at 3",
        "an item unit_price 1",
        "8 items",
        "B-48@2024-01-01 orders.jsonl:48 48 ms conflict waiting for the server's answer",
        "And 28 more orders were as fast or faster.",
        "30; 1 of them were sent again, 2 were refused",
        "as many requests a second as the server bears (auto)",
        "run in the folder /srv/loads",
        f"cdp-orders retry '{path}' --journal '/srv/it'\"'\"'s here.sqlite' --outcomes '{path}.retried.jsonl'",
        f"cdp-orders verify '{path}' --differences '{path}.differences.jsonl'",
        "cdp-orders undo --journal '/srv/it'\"'\"'s here.sqlite' --base-url https://api-engage-eu.sitecorecloud.io",
        "cdp-orders load orders.jsonl --journal",
        "--only kept --on-existing update",
    ):
        assert words in text, words


async def test_cause_in_several_parts_counts_its_orders(tmp_path: Path) -> None:
    """An order whose items all fail alike is one order at one place, and so is a line with one fault in each item."""
    faulty = [
        PartOutcome(f"items/{n}", PartVerdict.FAILED, failure=Failure("BadRequest", f"no {n}", 400)) for n in range(3)
    ]
    broken = [Violation(f"$.orderItems[{n}].price", "is required") for n in range(2)]
    lines = [outcome(n, Verdict.PARTIAL, parts=tuple(faulty)) for n in (4, 8)]
    lines.append(outcome(9, Verdict.INVALID, violations=tuple(broken)))
    found = await page(written(tmp_path / "out", lines))
    for words in (
        "2 orders partial : an item: the server refuses it as wrong (400), 6 times in all The words of the first: no 0",
        "At orders.jsonl:4, orders.jsonl:8 What to do",
        "1 order invalid : $.orderItems[].price is required, 2 times in all At orders.jsonl:9 What to do",
    ):
        assert words in Page(found).text, words


async def test_page_is_safe_and_accessible(tmp_path: Path) -> None:
    """No script, nothing from elsewhere, and each table, picture and landmark has its name."""
    run = record({}, error=HOSTILE, limits=[HOSTILE], folder=HOSTILE, files=[{"name": HOSTILE}])
    lines = [*ALL, {**outcome(50, Verdict.FAILED), "key": HOSTILE, "file": HOSTILE}, kept(51, HOSTILE)]
    lines += [
        failed(52, HOSTILE, 400, HOSTILE),
        {**stray(53, 1), "leftovers": [{"kind": HOSTILE, "ref": f"{'0' * 32}"}]},
    ]
    first = written(tmp_path / "<b>.jsonl", lines, run)
    whole = await page(first, written(tmp_path / "second", ALL, record(COUNTS)))
    found = Page(whole)
    assert found.open == []
    tags = {tag for tag, _ in found.elements}
    assert not tags & {"script", "link", "img", "iframe", "object", "form", "b", "base"}
    attributes = [(name, value) for _, found in found.elements for name, value in found.items()]
    assert [name for name, _ in attributes if name.startswith("on") or name in {"src", "srcset"}] == []
    assert {value[0] for name, value in attributes if name == "href" and value} == {"#"}
    assert "\u202e" not in whole
    assert "url(http" not in whole
    (policy,) = (one["content"] for one in found.all("meta") if one.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'")
    ids = [value for name, value in attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert {value[1:] for name, value in attributes if name == "href" and value} <= set(ids)
    for name in ("aria-labelledby",):
        assert {one for n, value in attributes if n == name and value for one in value.split()} <= set(ids)
    assert (tags & {"header", "nav", "main", "footer", "h1"}) == {"header", "nav", "main", "footer", "h1"}
    assert {one.get("scope") for one in found.all("th")} == {"col", "row"}
    assert len(found.all("caption")) == len(found.all("table"))
    assert {one["role"] for one in found.all("svg")} == {"img"}
    assert len(found.all("desc")) == len(found.all("svg")) == 8
    levels = [int(tag[1]) for tag, _ in found.elements if re.fullmatch(r"h\d", tag)]
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


async def test_several_runs_and_their_sum(tmp_path: Path) -> None:
    """Each run has its section, and the sum is said to count outcomes."""
    paths = [
        written(tmp_path / f"out{n}", [outcome(n), failed(9, "BadRequest", 400)], record({"loaded": 1, "partial": 1}))
        for n in (1, 2)
    ]
    found = Page(await page(*paths))
    assert "2 of 4 orders are on the server as the input says. 2 are not." in found.text
    assert "an order that several runs loaded counts several times" in found.text
    assert "2 orders partial : an item: the server refuses it as wrong (400)" in found.text
    assert "At orders.jsonl:9 What to do" in found.text
    for n in (1, 2):
        assert f"Run {n}: {paths[n - 1]}" in found.text
    assert "all 4 2 60 2 min" in found.text


async def test_memory_and_size_are_bounded(tmp_path: Path) -> None:
    """Twice the orders, each of them with texts of its own, need no more memory, and make the page no larger."""
    peaks, pages = list[int](), list[str]()
    for count in (2_600, 5_200):
        path = tmp_path / f"out{count}"
        lines = (
            (
                kept(n, f"field_{n}_" + "y" * 300),
                stray(n, 9),
                failed(n, f"Kind{n}" + "z" * 300, 400, "long " * 300),
                outcome(n, Verdict.INVALID, violations=(Violation(f"$.ext.a{n}" + "x" * 300, "is wrong"),)),
                outcome(n),
            )[n % 5]
            for n in range(count)
        )
        run = record({}, course={"moments": [[1.0, 1, 9, 1, 1, 5.0, 0.1, 0.2, 0.0]] * 600})
        written(path, lines, run)
        tracemalloc.start()
        data = await jobs.report_data([path])
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        pages.append(reports.to_html(data))
    assert peaks[1] < 1.5 * peaks[0]
    assert len(pages[1]) < len(pages[0]) + 5_000
    assert len(pages[1]) < 500_000
    assert "more causes" in Page(pages[1]).text


async def test_report_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An earlier report is put aside; on a full disk it stays where it is, and nothing else is left behind."""
    data = await jobs.report_data([written(tmp_path / "out", ALL, record(COUNTS))])
    target = tmp_path / "r.html"
    reports.write_html(data, target)
    assert target.stat().st_mode & 0o777 == 0o600
    first = target.read_bytes()
    before = names(tmp_path)

    def full(number: int, text: bytes) -> None:
        write_all(number, text[:100])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(html, "write_all", full)
        with pytest.raises(InputError, match=r"the report cannot be written to .*r\.html: No space left on device"):
            reports.write_html(data, target)
    assert (names(tmp_path), target.read_bytes()) == (before, first)
    reports.write_html(data, target)
    assert {*names(tmp_path)} - {*before} == {"r.html.1"}
    assert (tmp_path / "r.html.1").read_bytes() == first == target.read_bytes()


async def test_without_jinja2_one_sentence_helps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what to install."""
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(InputError, match=r"^the report needs an extra: pip install 'cdp-orders-async\[cli\]'$"):
        reports.check_report(tmp_path / "r.html")


def test_what_was_sent_is_at_most_what_was_allowed() -> None:
    """A short load sends one or two requests more than its rate, and a rate that was cut allowed more before."""
    short, cut, slow = Moment(0.25, 0, 7, rate=20), Moment(1.0, 0, 80, rate=80), Moment(1.0, 0, 75, rate=40)
    assert allowed_of([short]) == [28]
    assert allowed_of([cut, slow, Moment(1.0, 0, 40, rate=40), Moment(1.0, 0, 99)]) == [82, 82, 42, None]
    (chart, *_) = charts_of(Course(moments=(cut, slow) * 2), "a", 2)
    assert [line.words for line in chart.lines] == [
        "sent: 77.5 to 77.5, 77.5 at the end.",
        "allowed: 81 to 81, 81 at the end.",
    ]


def test_one_late_answer_leaves_the_others_apart() -> None:
    """The times of answers have a tick for each power of ten, so that short ones are not all at the foot."""
    early, late = Moment(1.0, 0, 1, median=0.02, slow=0.04), Moment(1.0, 0, 1, median=0.02, slow=20.0)
    chart = next(c for c in charts_of(Course(moments=(early, late)), "a", 9) if c.title.startswith("Time of an answer"))
    assert [words for _, words in chart.ticks_y] == ["10 ms", "100 ms", "1 s", "10 s"]
    (median, _), (slow, late_one) = (line.markers for line in chart.lines)
    assert median[1] - slow[1] > 10
    assert slow[1] - late_one[1] > 50


def test_times_near_each_other_have_ticks_around_them() -> None:
    """Times of a few powers of ten have ticks below, between and above, so that each can be read."""
    for least, most, ticks in (
        (0.08, 0.7, ["50 ms", "100 ms", "200 ms", "500 ms", "1 s"]),
        (0.1, 0.1, ["100 ms", "200 ms"]),
        (0.001, 60.0, ["1 ms", "10 ms", "100 ms", "1 s", "10 s", "1 min 40 s"]),
        (0.02, 3600.0, ["10 ms", "100 ms", "1 s", "10 s", "1 min 40 s", "16 min 40 s"]),
    ):
        chart = charts_of(Course(moments=(Moment(1.0, 0, 1, median=least, slow=most),) * 2), "a", 9)[-1]
        assert [words for _, words in chart.ticks_y] == ticks
        places = [y for line in chart.lines for _, y in line.markers]
        assert chart.top <= min(places) <= max(places) <= chart.bottom
        assert chart.ticks_y[-1][0] >= chart.top


def test_times_and_figures_in_words() -> None:
    """A time of a record is in UTC; the figures of a column have as many digits as each other."""
    assert when("2026-11-29T12:36:05Z") == when("2026-11-29T14:36:05+02:00") == "2026-11-29 12:36:05 UTC"
    for text in ("soon", "2026-11-29T12:36:05", "", "0001-01-01T00:00:00+23:59"):
        assert when(text) == text
    assert [figure(value) for value in (None, 0.0, 0.5, 30.0, 29.44, 275.2, 1234.0)] == [
        "–",  # noqa: RUF001 a dash
        "0",
        "0.500",
        "30.0",
        "29.4",
        "275",
        "1,234",
    ]


def test_options_are_found_in_sentences() -> None:
    """An option of a command is a piece of its own, and nothing of the sentence is lost."""
    assert options_in("Retry with a lower --rate, or --on-existing update.") == [
        ("Retry with a lower ", False),
        ("--rate", True),
        (", or ", False),
        ("--on-existing", True),
        (" update.", False),
    ]
    assert options_in("") == []


def test_words_of_numbers() -> None:
    """Numbers, durations, shares and sizes are short and true."""
    assert [number(value) for value in (None, 0, 0.123456, 12.345, 1234.5)] == ["–", "0", "0.123", "12.3", "1,234"]  # noqa: RUF001 a dash
    seconds = (0, 0.0123, 2.5, 60, 75, 3600, 9000)
    assert [duration(value) for value in seconds] == [
        "0 s",
        "12.3 ms",
        "2.5 s",
        "1 min",
        "1 min 15 s",
        "1 h",
        "2 h 30 min",
    ]
    assert [share(part, 10**6) for part in (0, 1, 500_000, 999_999, 10**6)] == [
        "0 %",
        "0.1 %",
        "50.0 %",
        "99.9 %",
        "100 %",
    ]
    assert [megabytes(size) for size in (None, 5, 1234, 5 * 10**9)] == ["size not known", "5 bytes", "1.23 kB", "5 GB"]

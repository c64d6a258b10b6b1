"""Loads in a real Ray cluster of several processes on this machine."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
import time
import uuid
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Iterator
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import orjson
import pytest

from cdp_orders_async import CdpOrders, GraphFiles, Settings, Verdict, jobs
from cdp_orders_async.emulator import Emulator, Faults, Switches, in_thread
from cdp_orders_async.emulator.threads import Served
from cdp_orders_async.engines.partition import PartitionOptions
from cdp_orders_async.errors import Invalid, JournalError
from cdp_orders_async.graph import InputLine
from cdp_orders_async.settings import Settings as ClientSettings
from tests.cli.support import lines_of, orders, write
from tests.databases import REQUIRED
from tests.laws.pages import blocks, section

if find_spec("ray") is None:
    SENTENCE = "Ray is not installed: pip install 'cdp-orders-async[ray]' (there is none for Python 3.15)"
    if os.environ.get(REQUIRED) == "1":
        pytest.fail(SENTENCE, pytrace=False)
    pytest.skip(SENTENCE, allow_module_level=True)

from cdp_orders_async.engines.ray import LoadEnded, load_dataset, make_job, read_lines
from cdp_orders_async.engines.ray_actors import ATTEMPTS, ray_sentence
from cdp_orders_async.engines.ray_api import RayError, ray
from cdp_orders_async.engines.ray_load import RayEngine, RayLoad
from cdp_orders_async.engines.ray_owner import STARTS, Job, Owner

pytestmark = [
    # Ray warns of its own options.
    pytest.mark.filterwarnings(f"ignore::{kind}:ray[.]")
    for kind in ("DeprecationWarning", "FutureWarning")
]
PAGE = "cdp_orders_async/engines/README.md"
MARK = f"CDP_TESTS_CLUSTER={uuid.uuid4().hex}"
"""Stands in the environment of all processes of the cluster of this module."""
PATIENCE = 60.0
PATIENT = PartitionOptions(settle=0.0, patience=PATIENCE)


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """Start one cluster for all tests; its processes have the credentials of the emulators."""
    name, _, value = MARK.partition("=")
    given = {name: value, "CDP_CLIENT_KEY": "key", "CDP_API_TOKEN": "token"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**given, "RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}.items():
            patch.setenv(name, value)
        ray.init(address="local", num_cpus=3, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        yield
        ray.shutdown()


@pytest.fixture
def served() -> Iterator[Served]:
    """Serve an emulator that takes the same order twice, as if it were two."""
    with in_thread(Emulator(switches=Switches(upsert=False))) as served:
        yield served


def stored(served: Served) -> Counter[str]:
    """Return how often the server has each order."""
    found: Any = served.state()["orders"]
    return Counter(str(order["referenceId"]) for order in found)


def once(count: int) -> Counter[str]:
    """Return each order of `orders` once."""
    return Counter({f"B-{n}": 1 for n in range(count)})


def sent(served: Served) -> int:
    """Return how many requests the server got."""
    requests: Any = served.ledger()["requests"]
    return sum(requests.values())


def workers() -> list[int]:
    """Return the process ids of the workers of the cluster."""
    found: list[int] = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            name = (folder / "cmdline").read_bytes()
            if b"Worker" in name and name.startswith(b"ray::") and MARK.encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
        except OSError:  # it has ended
            continue
    return found


def test_a_dataset_is_loaded_once(served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each line keeps its file and its number; whoever reads the result sends nothing; a second load finds all."""
    monkeypatch.chdir(tmp_path)
    made = orders(12)
    write(tmp_path / "a.jsonl", made[:5])
    write(tmp_path / "b.jsonl", [*made[5:], {"bad": 1}])
    journal = tmp_path / "j.sqlite"
    given: dict[str, Any] = {"journal": journal, "rate": 2000, "url": served.base_url, "workers": 2, "batch": 3}
    done = load_dataset(read_lines(["a.jsonl", "b.jsonl"]), options=PATIENT, **given)
    before = sent(served)
    rows = done.take_all()
    assert done.count() == 13
    assert len(done.take(3)) == 3
    assert sent(served) == before
    assert {(row["file"], row["number"]): row["verdict"] for row in rows} == {
        **{("a.jsonl", n): "loaded" for n in range(1, 6)},
        **{("b.jsonl", n): "loaded" for n in range(1, 8)},
        ("b.jsonl", 8): "invalid",
    }
    assert {row["key"].partition("@")[0] for row in rows if row["key"]} == set(once(12))
    for row in rows:
        outcome = orjson.loads(row["outcome"])
        assert (outcome["file"], outcome["number"], outcome["verdict"]) == (row["file"], row["number"], row["verdict"])
    given["workers"] = 1
    again = load_dataset(read_lines(["a.jsonl", "b.jsonl"]), options=PATIENT, **given)
    assert Counter(row["verdict"] for row in again.take_all()) == {"already": 12, "invalid": 1}
    assert stored(served) == once(12)
    assert sent(served) == before


def test_the_program_of_the_page_runs(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It prints the place and the verdict of each order."""
    write(tmp_path / "orders.jsonl", orders(2))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CDP_BASE_URL", served.base_url)
    text = next(text for _, text in blocks(section("## Ray and Spark", PAGE)))
    exec(compile(text, PAGE, "exec"), {})  # noqa: S102 the page is this project's own
    assert sorted(capsys.readouterr().out.splitlines()) == [f"orders.jsonl {n} loaded" for n in (1, 2)]


def test_rows_are_orders(served: Served, tmp_path: Path) -> None:
    """A Dataset of rows needs no text: fields are columns, decimals are exact, and a NaN is refused."""
    plain = {"orderedAt": "2024-01-01T16:17:16Z", "currencyCode": "EUR", "channel": None}
    rows = [{"referenceId": f"R-{n}", "price": Decimal("0.10"), **plain} for n in range(3)]
    done = load_dataset(
        ray.data.from_items([{**row} for row in rows]),
        journal=tmp_path / "j.sqlite",
        rate=None,
        url=served.base_url,
        workers=1,
        options=PATIENT,
    )
    assert [row["verdict"] for row in done.take_all()] == ["loaded"] * 3
    assert stored(served) == Counter({f"R-{n}": 1 for n in range(3)})


def test_two_killed_workers_lose_and_double_nothing(served: Served, tmp_path: Path) -> None:
    """Two processes are killed with -9 while they load; the store of the server has each order once."""
    count = 40
    path = write(tmp_path / "o.jsonl", orders(count))
    served.switches = Switches(upsert=False, latency=0.05)
    killed: list[int] = []
    ended = threading.Event()

    def kill() -> None:
        while len(killed) < 2 and not ended.is_set():  # on a busy machine, a cluster needs more than a minute to begin
            if sent(served) > 60 * (len(killed) + 1) and (left := [pid for pid in workers() if pid not in killed]):
                os.kill(left[0], signal.SIGKILL)
                killed.append(left[0])
            time.sleep(0.02)  # Ray tells nobody when a worker begins

    killer = threading.Thread(target=kill)
    killer.start()
    settings = ClientSettings(connections=2)
    try:
        done = load_dataset(
            read_lines([path]),
            journal=tmp_path / "j.sqlite",
            rate=None,
            url=served.base_url,
            workers=2,
            batch=10,
            lease=4.0,
            options=PartitionOptions(settle=0.0, patience=PATIENCE, settings=settings),
        )
    finally:
        ended.set()
        killer.join()
    assert len(killed) == 2
    assert Counter(row["verdict"] in {"loaded", "already"} for row in done.take_all()) == {True: count}
    assert stored(served) == once(count)
    found: Any = served.state()["orders"]
    items = [order["orderItems"] for order in found]
    assert {len(held) for held in items} == {1}


def test_the_driver_prints_one_sentence(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Wrong credentials end the load: the error is one sentence, it has the outcomes, and nothing else is printed."""
    path = write(tmp_path / "o.jsonl", orders(6))
    with in_thread(Emulator(api_token="another")) as served:  # noqa: S106 it guards an emulator
        with pytest.raises(LoadEnded, match="refused the credentials") as caught:
            load_dataset(
                read_lines([path]), journal=tmp_path / "j.sqlite", rate=None, url=served.base_url, workers=1, batch=2
            )
        assert "\n" not in str(caught.value)
        assert caught.value.outcomes is not None
        verdicts = Counter(row["verdict"] for row in caught.value.outcomes.take_all())
        assert verdicts.total() == 6
        assert set(verdicts) <= {"failed", "not_tried"}
        assert verdicts["not_tried"] >= 2
        (tmp_path / "cut.jsonl.gz").write_bytes(b"\x1f\x8b\x08")
        with pytest.raises(LoadEnded, match=r"cut\.jsonl\.gz cannot be read: it is cut off or damaged") as caught:
            load_dataset(
                read_lines([tmp_path / "cut.jsonl.gz"]),
                journal=tmp_path / "j.sqlite",
                rate=None,
                url=served.base_url,
                workers=1,
            )
        assert "\n" not in str(caught.value)
    _, told = capfd.readouterr()
    assert "Traceback" not in told


def test_a_journal_that_cannot_be_used_is_told(served: Served, tmp_path: Path) -> None:
    """The owner says which file it is, before anything is sent; what cannot be is refused with its name."""
    (tmp_path / "j.sqlite").write_text("no journal")
    given: dict[str, Any] = {"url": served.base_url, "journal": tmp_path / "j.sqlite", "rate": None}
    with pytest.raises(JournalError, match=r"j\.sqlite"):
        load_dataset(ray.data.range(1), **given)
    for wrong in ("workers", "batch", "cpus", "lease", "rate"):
        with pytest.raises(Invalid, match=wrong):
            load_dataset(ray.data.range(1), **cast("dict[str, Any]", {**given, wrong: 0}))
    assert sent(served) == 0


async def test_the_engine_writes_what_a_load_writes(served: Served, tmp_path: Path) -> None:
    """The outcomes, the record of the run and the journal are those of a load by requests; retry knows no engine."""
    path = write(tmp_path / "o.jsonl", [*orders(10), {"bad": 1}])
    engine = RayEngine(workers=2, batch=4)
    settings = Settings(rate=2000)
    async with CdpOrders(base_url=served.base_url, client_key="key", api_token="token", settings=settings) as cdp:  # noqa: S106

        async def load(name: str, engine: RayEngine | None) -> tuple[jobs.Report, dict[int, str]]:
            outcomes = tmp_path / name
            report = await jobs.load(
                cdp, GraphFiles([path]), journal=tmp_path / "j.sqlite", outcomes=outcomes, engine=engine, settle=0.0
            )
            return report, {line["number"]: line["verdict"] for line in lines_of(outcomes)}

        report, first = await load("ray.jsonl", engine)
        assert first == {**dict.fromkeys(range(1, 11), "loaded"), 11: "invalid"}
        assert (report.status, report.reason, report.requests) == (1, None, sent(served))
        assert orjson.loads((tmp_path / "ray.jsonl.run.json").read_bytes())["options"]["engine"] == "ray"
        _, second = await load("rest.jsonl", None)
        assert second == {**dict.fromkeys(range(1, 11), "already"), 11: "invalid"}
        again, third = await load("again.jsonl", RayEngine(workers=1))
        assert (again.reason, third) == (None, second)
    assert stored(served) == once(10)


async def test_one_journal_in_postgres_for_all(served: Served, postgres: str, tmp_path: Path) -> None:
    """Its outcomes are verified, tried again, reported and undone as those of any load; two loads do nothing twice."""
    path, out = write(tmp_path / "o.jsonl", orders(8)), tmp_path / "out"
    place, engine = jobs.journal_place(postgres), RayEngine(workers=2, batch=4)
    settings = Settings(rate=2000)
    async with CdpOrders(base_url=served.base_url, client_key="key", api_token="token", settings=settings) as cdp:  # noqa: S106

        async def load() -> dict[Any, int]:
            source = GraphFiles([path])
            report = await jobs.load(cdp, source, journal=place, outcomes=out, engine=engine, settle=0.0)
            assert report.reason is None
            return dict(report.counts)

        assert await load() == {"loaded": 8}
        assert await load() == {"already": 8}
        verified = await jobs.verify(cdp, out, settle=0)
        assert (verified.status, verified.same) == (0, verified.parts)
        tried = await jobs.retry(cdp, out, journal=place, settle=0)
        assert (tried.status, tried.counts.total()) == (0, 0)
        undone = await jobs.undo(cdp, place)
        assert (undone.status, undone.failed, undone.kept) == (0, 0, 0)
    assert stored(served) == {}


async def test_a_server_that_fails_is_named_by_the_driver(served: Served, tmp_path: Path) -> None:
    """After it did well, it fails for good: the load says that it pauses and why, and then gives up."""
    path = write(tmp_path / "o.jsonl", orders(40))
    seen: list[jobs.Progress] = []
    broken = Faults.of({"faults": [{"operation": "*", "action": "status", "status": 503}]})

    def hear(event: object) -> None:
        if isinstance(event, jobs.Progress):
            seen.append(event)
            if sent(served) > 10:
                served.faults = broken

    async with CdpOrders(
        base_url=served.base_url,
        client_key="key",
        api_token="token",  # noqa: S106
        settings=Settings(rate=20),
    ) as cdp:
        report = await jobs.load(
            cdp,
            GraphFiles([path]),
            journal=tmp_path / "j.sqlite",
            engine=RayEngine(workers=2, batch=20),
            give_up=6.0,
            settle=0.0,
            on_event=hear,
        )
    assert report.reason is not None
    assert "nothing has succeeded for 6 s, and the load gave up: " in report.reason
    assert "503" in report.reason
    assert any(event.paused is not None and "503" in event.paused for event in seen)


async def test_workers_without_room_hold_nothing_up(served: Served, tmp_path: Path) -> None:
    """The cluster has room for one of two workers: that one loads all."""
    path = write(tmp_path / "o.jsonl", orders(6))
    engine = RayEngine(workers=2, batch=1, cpus=2.0)
    settings = Settings(rate=2000)
    async with CdpOrders(base_url=served.base_url, client_key="key", api_token="token", settings=settings) as cdp:  # noqa: S106
        report = await jobs.load(cdp, GraphFiles([path]), journal=tmp_path / "j.sqlite", engine=engine, settle=0.0)
        assert (dict(report.counts), report.reason) == ({"loaded": 6}, None)
    assert stored(served) == once(6)


def test_workers_of_another_tenant_send_nothing(
    served: Served, postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver has another client key than the machines of the cluster, and the journal is for all tenants."""
    monkeypatch.setenv("CDP_CLIENT_KEY", "other")
    path = write(tmp_path / "o.jsonl", orders(1))
    with pytest.raises(LoadEnded, match="has the credentials of another tenant"):
        load_dataset(read_lines([path]), journal=postgres, rate=None, url=served.base_url, workers=1)
    assert sent(served) == 0


async def test_the_engine_needs_a_rate_for_all(served: Served, tmp_path: Path) -> None:
    """Each process would find another rate for auto; nothing is left behind."""
    path = write(tmp_path / "o.jsonl", orders(1))
    settings = Settings(rate="auto")
    async with CdpOrders(base_url=served.base_url, client_key="key", api_token="token", settings=settings) as cdp:  # noqa: S106
        with pytest.raises(Invalid, match="must be a number, or none, with engine=ray"):
            await jobs.load(cdp, GraphFiles([path]), journal=tmp_path / "j.sqlite", engine=RayEngine())
    assert not (tmp_path / "j.sqlite").exists()


async def test_the_owner_limits_how_often_is_tried() -> None:
    """It counts the deaths of workers by partition, not equal partitions; workers that only start end the load."""
    job = Job(url="http://x", rate=None, journal=None, identity={}, options=PATIENT, workers=1)
    owner = Owner(job)
    assert await owner.worker_starts("other") == job
    deaths = [await owner.begin("other", "a") for _ in range(ATTEMPTS)]
    for _ in range(STARTS - 1):
        assert await owner.worker_starts("one") == job
        deaths += [await owner.begin("one", "a"), await owner.begin("one", "a")]
    assert deaths == [0] * ATTEMPTS + [n // 2 for n in range(2 * STARTS - 2)]
    with pytest.raises(RuntimeError, match="none loaded a partition"):
        await owner.worker_starts("two")
    await owner.begin("one", "b")
    await owner.ended("one", "b", None)
    assert await owner.worker_starts("one") == job
    assert await owner.begin("one", "b") == 0
    await owner.ended("one", "b", JournalError("it is full"))
    assert (await owner.begin("one", "c"), str(await owner.error())) == (None, "it is full")


def test_an_error_of_ray_becomes_one_sentence() -> None:
    """The innermost cause is told, without its frames."""
    error = ray.exceptions.RayError("outer\n  File x")
    error.__cause__ = ValueError("first\nlast line")
    assert ray_sentence(error) == "Ray has ended the load (ValueError: last line); the same load again resumes"
    error.__cause__ = JournalError("the journal is full")
    assert ray_sentence(error) == "the journal is full"


class Heard(RayLoad):
    """A load whose workers are not started: it hears what becomes of one partition."""

    async def hear(self, answer: Awaitable[object], lines: list[InputLine]) -> None:
        """Hear the *answer* to a partition with these *lines*."""
        await self._hear(answer, lines, 0)


@pytest.mark.parametrize("stopped", [True, False])
async def test_the_end_of_the_cluster_is_no_error_of_a_load_that_was_stopped(
    served: Served,
    stopped: bool,  # noqa: FBT001 a parameter of the test
) -> None:
    """A signal to all processes ends both; the orders of the partition are unknown, and the same load resumes."""

    async def died() -> object:
        raise RayError("Owner's node has crashed.")

    async def nothing() -> AsyncGenerator[InputLine, None]:
        for line in list[InputLine]():
            yield line

    lines = [InputLine("orders.jsonl", 1, None)]
    async with CdpOrders(base_url=served.base_url, client_key="key", api_token="token") as cdp:  # noqa: S106 no secret
        job, path = make_job(cdp, 100.0, Path("j"), 1, 60.0, PATIENT)
        records: Any = None
        load = Heard(cdp, nothing(), records, job, path, RayEngine(), 0.0)
        if stopped:
            load.stop()
        await asyncio.create_task(load.hear(died(), lines))
        assert (load.error is None) is stopped
        assert load.counts == {Verdict.UNKNOWN: 1}

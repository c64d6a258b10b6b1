"""No instance of any class shows a secret or a personal value, whatever looks at it."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import gc
import importlib
import inspect
import os
import pkgutil
import subprocess
import sys
import typing
from collections import deque
from collections.abc import AsyncGenerator, Generator, Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any, cast
from uuid import UUID, uuid4

import attrs
import orjson
from opentelemetry.sdk.trace import TracerProvider

import cdp_orders_async
from cdp_orders_async import (
    V2_1,
    CdpOrders,
    CdpOrdersV2,
    Contact,
    Credentials,
    FlightSegment,
    GraphFile,
    GraphFiles,
    InputLine,
    MemoryJournal,
    Opaque,
    OrderGraph,
    Page,
    PauseBegan,
    PauseEnded,
    RateChanged,
    Request,
    Settings,
    Violation,
    jobs,
)
from cdp_orders_async.cli.display import Display, JsonDisplay, Screen
from cdp_orders_async.cli.loading import LoadFlags
from cdp_orders_async.cli.log import _Handler  # pyright: ignore[reportPrivateUsage] every class is looked at
from cdp_orders_async.cli.options import Connection
from cdp_orders_async.cli.plan import _Display  # pyright: ignore[reportPrivateUsage] every class is looked at
from cdp_orders_async.cli.single_io import Keeping
from cdp_orders_async.cli.verify import _Teller  # pyright: ignore[reportPrivateUsage] every class is looked at
from cdp_orders_async.emulator import Emulator, Faults, running
from cdp_orders_async.engines.batch import BatchEngine
from cdp_orders_async.engines.batch_api import BatchApi, BatchStatus, LogRow
from cdp_orders_async.engines.batch_cutting import BatchOptions, Cutting, Ready
from cdp_orders_async.engines.batch_delivery import Delivery, Patience, Result
from cdp_orders_async.engines.batch_load import BatchLoad
from cdp_orders_async.engines.batch_outcomes import Decision
from cdp_orders_async.engines.batch_packing import Packer
from cdp_orders_async.graph.exact import _Doubled, _Lost, read_json  # pyright: ignore[reportPrivateUsage] every class is looked at
from cdp_orders_async.graph.findings import Findings
from cdp_orders_async.graph.parsing import Reading, parse_graph, read_graph
from cdp_orders_async.ingest.before import Before
from cdp_orders_async.ingest.knowledge import Knowledge
from cdp_orders_async.ingest.outcomes import Leftover, Outcome, PartVerdict, Verdict
from cdp_orders_async.ingest.parts import CreatedExtension, CreatedRef, _Parts, parts_of  # pyright: ignore[reportPrivateUsage] every class is looked at
from cdp_orders_async.ingest.undoing import UndoneOrder, UndonePart
from cdp_orders_async.jobs.before_file import Changed
from cdp_orders_async.jobs.causes import Cause, Causes, Found
from cdp_orders_async.jobs.comparison import Difference, DifferenceKind, _Comparison  # pyright: ignore[reportPrivateUsage] every class is looked at
from cdp_orders_async.jobs.differences_file import DifferencesFile
from cdp_orders_async.jobs.engine_choice import BatchPlan, choose
from cdp_orders_async.jobs.estimate import _Mark  # pyright: ignore[reportPrivateUsage] every class is looked at
from cdp_orders_async.jobs.index import Index
from cdp_orders_async.jobs.inputs import InputOptions
from cdp_orders_async.jobs.outcomes_file import _OutcomesFile  # pyright: ignore[reportPrivateUsage] every class is looked at
from cdp_orders_async.jobs.plan import _Reader  # pyright: ignore[reportPrivateUsage] every class is looked at
from cdp_orders_async.jobs.recorded import Recorded, RecordedPart, RecordedRule, WholePart, WholeRecord
from cdp_orders_async.jobs.report_data import ReportData, RunData, Slow, Stray, Tally
from cdp_orders_async.jobs.run_file import RunFile, RunOptions, RunRecord
from cdp_orders_async.jobs.sample import Sample
from cdp_orders_async.jobs.series import Course, Moment, Pause, Series, _Stretch  # pyright: ignore[reportPrivateUsage] every class is looked at
from cdp_orders_async.jobs.snapshot import Snapshot
from cdp_orders_async.jobs.throttle import Wish
from cdp_orders_async.jobs.verification import Row
from cdp_orders_async.journal import PostgresAddress, PostgresJournal, SqliteJournal
from cdp_orders_async.journal.batches import BatchBook
from cdp_orders_async.journal.memory import _Graph  # pyright: ignore[reportPrivateUsage] every class is looked at
from cdp_orders_async.journal.postgres.operations import (
    Claim,
    End,
    Forget,
    Note,
    Owner,
    Place,
    Read,
    Rename,
    Renew,
)
from cdp_orders_async.journal.postgres.schema import Tenant
from cdp_orders_async.journal.postgres.tables import Batch, Tables
from cdp_orders_async.journal.postgres.tables import (
    _Graph as RowOfGraph,  # pyright: ignore[reportPrivateUsage] every class is looked at
)
from cdp_orders_async.journal.postgres.writer import Writer
from cdp_orders_async.journal.records import (
    Busy,
    Claimed,
    CreatedPart,
    GraphRecord,
    OrderId,
    RecordedOrder,
    SameReference,
)
from cdp_orders_async.pacing.health import Overload
from cdp_orders_async.redact import Secrets
from cdp_orders_async.reports.charts import Band, Chart, Line, _Axis  # pyright: ignore[reportPrivateUsage] every class is looked at
from cdp_orders_async.reports.commands import Command
from cdp_orders_async.session.autorate.governor import Climb, Trial
from cdp_orders_async.session.backends.aiohttp import _Attempt, _Body  # pyright: ignore[reportPrivateUsage] every class is looked at
from cdp_orders_async.session.signed import SignedUrls, _Connector  # pyright: ignore[reportPrivateUsage] the same
from cdp_orders_async.sources.jsonlines import _Expecting, _Watched  # pyright: ignore[reportPrivateUsage] every class is looked at
from cdp_orders_async.telemetry import RateState
from cdp_orders_async.telemetry.otel import OtelObserver
from cdp_orders_async.timings import Durations
from cdp_orders_async.wire import reads_nothing
from cdp_orders_async.wire.direct import Listed
from tests.cli.support import write
from tests.emulator.talking import Json
from tests.laws.made_engines import in_a_cluster, in_processes, of_a_stream, of_tables
from tests.security.canaries import TOKEN, WHOLE, WHOLE_V2, leaks
from tests.security.sinks import COPIES, TEXTS, by_sentry_now
from tests.values import NOW
from tests.ways import Way

ENOUGH = 2
RATE: dict[str, Any] = {"per_second": None, "slots": 1, "limit": None, "found_for": 0.0, "cut_for": None, "of": ""}
"""Instances of each class that are looked at."""
CARRIERS = {
    *("models", "graph"),
    *("wire.request.Page", "wire.direct.Listed", "cli.options.Connection"),
    "engines.partition.SourceLine",  # another process loads the order, so it is sent there
    "engines.ray_owner.Job",  # the workers need the address of the database, which may hold its password
}
"""What carries the values of people on purpose: a copy of it that you make yourself, holds them. Nothing shows them."""
RAY = "cdp_orders_async.engines.ray"
"""How the names of the modules begin that need Ray, which some versions of Python do not have."""


def classes() -> Iterator[type]:
    """Yield each class of the client and its commands that can have instances; the emulator is a server of its own."""
    for found in pkgutil.walk_packages(cdp_orders_async.__path__, "cdp_orders_async."):
        is_missing = found.name.startswith(RAY) and find_spec("ray") is None
        if not found.name.startswith("cdp_orders_async.emulator") and not is_missing:
            for cls in vars(importlib.import_module(found.name)).values():
                if inspect.isclass(cls) and cls.__module__ == found.name and has_instances(cls):
                    yield cls


def has_instances(cls: type) -> bool:
    """Tell whether a class has instances with values in them; those of errors have a law of their own."""
    protocol = getattr(cls, "_is_protocol", False)
    return not (protocol or typing.is_typeddict(cls) or issubclass(cls, (enum.Enum, BaseException)))


RAW = {_Doubled, _Lost}
"""The JSON data of a line while it is read, as dicts and numbers, which cannot hide it; no frame with it is seen."""
CLASSES = frozenset(classes())


def carries(cls: type) -> bool:
    """Tell whether *cls* carries values on purpose."""
    name = f"{cls.__module__}.{cls.__qualname__}".removeprefix("cdp_orders_async.")
    return any(name == one or name.startswith(f"{one}.") for one in CARRIERS)


class Looking:
    """A limiter that looks at every instance that is there while a request waits, and at the stack."""

    def __init__(self) -> None:
        self.seen: dict[type, int] = {}
        self.found: list[str] = []
        self._times = 0

    async def acquire(self) -> None:
        """Look now and then, and let the request leave."""
        self._times += 1
        if self._times % 3 == 1:
            self.found += [f"stack: {line}" for line in leaks(by_sentry_now())]
            self.look(gc.get_objects())

    def look(self, values: Iterable[object]) -> None:
        """Look at some instances of each class among *values*, and at what they hold."""
        for value in values:
            if type(value) in CLASSES and self.seen.get(type(value), 0) < ENOUGH:
                self.look_at(value)
                self.look(within(value))

    def look_at(self, value: object) -> None:
        """Look at one instance."""
        cls = type(value)
        self.seen[cls] = self.seen.get(cls, 0) + 1
        sinks = TEXTS if carries(cls) else {**TEXTS, **COPIES}
        for name, sink in sinks.items():
            self.found += [f"{cls.__name__} by {name}: {line}" for line in leaks(sink(value))]


def within(value: object, depth: int = 3) -> Iterator[object]:
    """Yield what *value* holds, itself or in its lists and dicts: not everything is known to the garbage collector."""
    for one in gc.get_referents(value):
        if isinstance(one, (dict, list, tuple, set, deque)) and depth:
            yield from within(cast("object", one), depth - 1)
        else:
            yield one


def made(folder: Path) -> list[object]:
    """Return instances of what lives too shortly to be seen, and of what holds a person only now and then."""
    lost = Findings()
    read = read_graph(read_json(orjson.dumps(WHOLE), lost), V2_1)
    reading = Reading(V2_1, None, lost)
    graph = reading.order(dict(WHOLE), "insert", assign_references=False)
    assert graph is not None
    parts = _Parts()
    parts.parts += parts_of(graph)
    order, ref = OrderId.of("A-1", NOW), UUID(int=1)
    contact = Contact(ref=ref, first_name="canary-first", emails=("canary@example.com",))
    (folder / "file").write_text("canary", encoding="utf-8")
    with _Watched(str(folder / "file")) as watched:
        return [
            *parts.parts,
            Request("contacts.create", "POST", "/x", reads_nothing, {"name": "canary"}, b"canary"),
            *(read, reading, lost, graph, parts, InputLine("file", 1, graph), watched),
            *(Listed((contact,)), Page((contact,), 0, 1, has_next=False), CreatedExtension()),
            Keeping(CdpOrders(base_url="http://127.0.0.1:9", client_key="key", api_token=TOKEN).transport),
            *(Credentials("key", TOKEN), Credentials(bearer_token=TOKEN), Connection(api_token=TOKEN), LoadFlags()),
            *(Settings(proxy=f"http://user:{TOKEN}@127.0.0.1"), Secrets(TOKEN), Opaque(TOKEN)),
            *(order, Busy(order.key, None), CreatedPart(order.key, "order", ref, b""), MemoryJournal(identity={})),
            *(_Graph(order, 0, b"", 0, b"", 1), SameReference(order.key, ref, b"", 1), Knowledge(None, [], [])),
            *(_Attempt(creates=True), Violation("$.price", "is required")),
            *(Claimed(GraphRecord(b"", complete=True, ended=True, parts={})), Leftover("items", ref)),
            *(
                Trial((1.0, None, 1, None), 1.0, 1.0, 1.0, 0.0),
                Climb(1.0, 2.0, 3.0),
                RateState(**RATE),
                Overload("429"),
            ),
            *(_Body(b"canary"), CreatedRef(ref=ref)),
            *(jobs.Message("no"), jobs.Problem(Outcome(file=None, number=1, key=None, verdict=Verdict.FAILED))),
            *planned(graph),
            *reported(folder),
            *(
                FlightSegment(id="1"),
                Recorded(number=1, verdict=Verdict.LOADED),
                RecordedPart("order", PartVerdict.CREATED),
                Difference("contact", ref, DifferenceKind.DIFFERENT, ("first_name",)),
                _Comparison(parts.parts, {}, Snapshot(ref, Opaque(contact)), ()),
                Row(1, 1, 0),
                InputOptions(V2_1),
                Snapshot(ref, Opaque(contact), parts={"contacts": Opaque({ref: contact})}),
                DifferencesFile(None, 0),
                jobs.VerifyReport(),
                _Teller(Screen.of_messages()),
            ),
            *(PauseBegan("it is not well", 5.0), PauseEnded("it is not well", 5.0)),
            RateChanged(cut=True, **RATE),
            *(
                Before(order.key, "contact", ref, Opaque({"firstName": "canary"})),
                Changed(order.key, "contact", ref, ()),
            ),
            *(UndonePart("order", ref), UndoneOrder(order.key, ()), jobs.Undoable(1, 1), jobs.UndoReport()),
            RecordedOrder(order.key, GraphRecord(b"", complete=True, ended=True, parts={}), frozenset()),
            jobs.JournalReport({}, 1),
            *(jobs.Progress(seconds=1, done=1, not_loaded=0, retries=0, speed=1, rate=None), _Mark(1, 1)),
            *(JsonDisplay(Screen()), _Handler(Display(Screen())), Wish(), jobs.new_run()),
            *(_OutcomesFile(folder / "outcomes", {}, None, None), _Expecting(1, packed=False), FlightSegment()),
        ]


def reported(folder: Path) -> list[object]:
    """Return instances of what a report is made with."""
    tally, record = Tally(), WholeRecord(number=1, verdict=Verdict.FAILED)
    tally.add(record)
    run = RunData(outcomes=folder / "outcomes", record=None, tally=tally)
    moment, line = Moment(1.0, 1, 1), Line("sent", [], [], 0.0, 0.0, "")
    return [
        *(
            tally,
            tally.causes,
            Causes(),
            *tally.causes,
            Cause(Verdict.FAILED, "no", "retry"),
            Found("no"),
            *tally.slowest,
            record,
        ),
        *(
            Slow(1.0, "file:1", None, Verdict.FAILED, None),
            Stray("file:1", None, "items", ()),
            WholePart("order", PartVerdict.FOUND),
        ),
        *(
            RecordedRule("$.price", "is required"),
            RunFile("file"),
            RunOptions(),
            RunRecord(),
            run,
            ReportData((run,), tally),
        ),
        *(
            moment,
            Pause(0.0, 1.0, "it is not well"),
            Course(),
            Series(),
            _Stretch(1.0, (0, 0, 0, 0), None, Durations(), 0.0),
        ),
        *(line, Band(0.0, 1.0), _Axis([moment], ()), Command(["cdp-orders"], "does it"), Durations()),
        Chart(id="a", title="A", desc="a", lines=[line], bands=[], ticks_x=[], ticks_y=[]),
    ]


def in_a_database() -> list[object]:
    """Return instances of a journal in a database, which is not there."""
    address = PostgresAddress.parse(f"postgresql://user:{TOKEN}@127.0.0.1/db?password={TOKEN}")
    order, token = OrderId.of("A-1", NOW), UUID(int=1)
    place, tables, connection = Place.of(order.key), Tables("s", 1, 60.0), cast("Any", None)
    writer = Writer(address, tables, connection, 0.0)
    return [
        *(address, tables, writer, PostgresJournal(address, writer, {}, 60.0), Batch([])),
        *(Claim(place, token, order, b"", b"", 1, sends=True), Note(place, None, b"order", b"", token, 0)),
        *(Forget(place, None, b"order"), Rename(place, None, {}), End(place, None, complete=True)),
        *(
            Renew([]),
            Owner(token),
            Read(asyncio.sleep),
            Tenant(1, {}),
            RowOfGraph(1, place, b"", 0, b"", 1, has_order=True, ref=None),
        ),
    ]


def planned(graph: OrderGraph) -> list[object]:
    """Return instances of what a plan is made with."""
    line, plan, sample = InputLine("file", 1, graph), jobs.Plan(), Sample(2, Random(1))  # noqa: S311 nothing secret
    plan.faults.add((Violation("$.price", "is required"),), "file:1")
    with Index.opened() as index:
        reader = _Reader(plan, index, lambda _: None, sample, NOW)
        reader.take(line)
        reader.take(line)
        (same,) = index.same()
    return [
        *(plan, plan.faults, *plan.faults, sample, index, reader, *same[:2]),
        *(jobs.Presence(1, 1, 0), jobs.Clash("A-1", [("file", 1, "A-1@", Verdict.LOADED)])),
        *(jobs.Reading(seconds=1, orders=1, invalid=0), _Display(Screen.of_messages(plain=True))),
    ]


async def filed(folder: Path, url: str) -> list[object]:
    """Return instances of what a load over the Batch API is made with."""
    graph = parse_graph(WHOLE)
    line, order = InputLine("file", 1, graph), OrderId.of("A-1", NOW)
    options = BatchOptions(
        most_bytes=1000,
        most_orders=1,
        open_files=1,
        first_poll=1.0,
        longest_poll=1.0,
        settle=1.0,
        tell=lambda _: None,
        new_ref=uuid4,
        clock=lambda: 0.0,
    )

    async def lines() -> AsyncGenerator[InputLine, None]:
        yield line

    async with (
        CdpOrders(base_url=url, client_key="key", api_token=TOKEN, settings=Settings(trust_env=False)) as cdp,
        await SqliteJournal.open(folder / "filed", identity=cdp.identity) as records,
    ):
        with BatchBook.opened(folder / "filed") as book:
            cutting, ready = Cutting(book, options), Ready("file", 1, Opaque(graph), order, b"")
            cutting.add(ready)
            patience, api = Patience(1.0, 1.0, 1.0, lambda: 0.0), BatchApi(cdp)
            plan = BatchPlan()
            plan.add(graph, "file:1")
            return [
                *(*await of_a_stream(cdp), *await in_a_cluster(cdp, records)),
                *(cutting, ready, cutting.finish(), *cutting.orders, options, book, Packer(1000, 1), patience, api),
                *(BatchStatus("uploading", Opaque("https://canary")), LogRow(None, 400, "no"), Result()),
                *(Delivery(api, book, patience, uuid4, lambda _: None), SignedUrls(Settings(), 1.0), BatchEngine()),
                _Connector(tls=True),
                *(BatchLoad(cdp, lines(), records, book, options, 0.0), Decision(Verdict.ALREADY)),
                *(plan, choose(1, None, plan)),
            ]


FAULTS: list[Json] = [
    {"operation": "contacts.create", "script": [{"action": "close", "phase": "written"}, "ok"]},
    {"operation": "consumers.create", "script": ["ok", {"action": "status", "status": 400}]},
    {"operation": "orders.list", "script": [{"action": "html", "status": 502}]},
]


def faults() -> Faults:
    """Return the faults that the loads meet."""
    plan: Json = {"faults": FAULTS}
    return Faults.of(plan)


async def loaded(looking: Looking, url: str, version: type[CdpOrders | CdpOrdersV2], http: Way, folder: Path) -> None:
    """Load some orders with *looking* in between, once more with changes, and look at what comes of it."""
    settings = attrs.evolve(Settings(rate="auto", trust_env=False, retries=1), http=http)
    tracers = TracerProvider(shutdown_on_exit=False)
    for n, journal in enumerate(("j.sqlite", "j.sqlite", "other.sqlite")):
        whole = WHOLE_V2 if version is CdpOrdersV2 else WHOLE
        source = write(folder / "o.jsonl", [{**whole, "referenceId": f"A-{n}", "price": 50 + n} for n in range(3)])
        client = version(
            base_url=url,
            client_key="key",
            api_token=TOKEN,
            settings=settings,
            shared_limiter=looking,
            observers=[lambda event: looking.look([event, *within(event)]), OtelObserver(tracer_provider=tracers)],
        )
        graphs = GraphFile(source, client.api)
        async with client:
            await jobs.load(
                client,
                graphs,
                journal=folder / journal,
                look_first=n > 0,
                on_existing="update",
                settle=0.0,
                drain=0.0,
                outcomes=folder / "out",
                control=write(folder / "control", []),
                on_event=Display(Screen.of_messages(plain=True), every_problem=True),
            )
            files = GraphFiles([source], client.api)
            report = await jobs.verify(client, folder / "out", files, differences=folder / "found", settle=0.0)
            assert report.parts > 0
            if isinstance(client, CdpOrders):
                await jobs.undo(client, folder / journal, on_event=Display(Screen.of_messages(plain=True)))
        looking.look([one async for one in graphs])


@contextlib.contextmanager
def only_new_objects() -> Generator[None, None, None]:
    """Leave older objects out of `gc.get_objects`: it then returns a tenth as many."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


async def test_no_instance_of_any_class_shows_a_value(tmp_path: Path) -> None:
    """Every class has an instance that was looked at, in the middle of loads too."""
    looking = Looking()
    looking.look(gc.get_objects())
    async with running(Emulator(api_token=TOKEN, faults=faults())) as url:
        pairs: list[tuple[type[CdpOrders | CdpOrdersV2], Way]] = [(CdpOrders, "aiohttp"), (CdpOrdersV2, "httptools")]
        for version, way in pairs:
            (tmp_path / way).mkdir()
            with only_new_objects():
                await loaded(looking, url, version, way, tmp_path / way)
        more = [*await filed(tmp_path, url), *await in_processes(url), *await of_tables(tmp_path)]
    for one in (*made(tmp_path), *more, *in_a_database()):
        looking.look_at(one)
        looking.look(within(one))
    assert looking.found == []
    missing = {cls for cls in CLASSES - RAW if not any(issubclass(one, cls) for one in looking.seen)}
    assert sorted(map(repr, missing)) == []


def test_no_documentation_shows_the_environment() -> None:
    """No signature, default or text of a public name, and no help, holds what the environment had at the import."""
    code = (
        "import pydoc, sys, cdp_orders_async as cdp\n"
        "for name in ('cdp_orders_async', *(f'cdp_orders_async.{one}' for one in cdp.__all__)):\n"
        "    print(pydoc.render_doc(name, renderer=pydoc.plaintext))\n"
        "from cdp_orders_async.cli import main\n"
        "commands = 'load', 'undo', 'journal show', 'emulator', 'demo', 'config', 'orders create', 'plan', ''\n"
        "for command in map(str.split, commands):\n"
        "    main([*command, '--help'])\n"
    )
    names = ("CDP_API_TOKEN", "CDP_BEARER_TOKEN", "CDP_PROXY", "CDP_API_TOKEN_FILE", "CDP_CA_FILE", "ANYTHING")
    env = {**os.environ, **dict.fromkeys(names, "canary-of-the-environment"), "COLUMNS": "200"}
    ran = subprocess.run([sys.executable, "-c", code], env=env, check=True, capture_output=True, text=True)
    assert "class CdpOrders in cdp_orders_async" in ran.stdout
    assert "--api-token" in ran.stdout
    assert leaks(ran.stdout, ran.stderr) == []

"""The tables, names and numbers of the manual are those of the code."""

from __future__ import annotations

import ast
import inspect
import re
import signal
from collections import Counter
from typing import get_args
from uuid import UUID

import attrs
import msgspec
import orjson
import pytest

import cdp_orders_async
from cdp_orders_async import (
    CdpError,
    CdpOrders,
    Failure,
    Leftover,
    MemoryJournal,
    NewOrderItem,
    NewOrderItemV2,
    NewOrderV2,
    Outcome,
    PartOutcome,
    PartVerdict,
    Resources,
    Settings,
    Timings,
    Verdict,
    Violation,
    emulator,
    errors,
    ingest,
    ingest_one,
    parse_graph,
    telemetry,
)
from cdp_orders_async.cli import app, main
from cdp_orders_async.cli.load import load
from cdp_orders_async.cli.loading import LoadFlags
from cdp_orders_async.cli.options import Connection
from cdp_orders_async.emulator import Emulator, Switches, limits
from cdp_orders_async.emulator.faults import ACTIONS, PHASES
from cdp_orders_async.ingest import SETTLE, claims
from cdp_orders_async.jobs import Report, probe
from cdp_orders_async.jobs.stopping import SAME_SIGNAL, STOPS
from cdp_orders_async.models import OrderItemTypeV2
from cdp_orders_async.models.constraints import RESERVED_TYPES
from cdp_orders_async.pacing import health
from cdp_orders_async.session.autorate import governor
from cdp_orders_async.sources.jsonlines import LONGEST_LINE
from cdp_orders_async.wire.request import BY_STATUS
from tests.backends.serving import PROGRAMS
from tests.cli.support import PARTS, Json
from tests.ingest.network import Network, loading
from tests.ingest.serving import BASE
from tests.laws.pages import COMMANDS_PAGE, MANUAL, PROSE, ROOT, SPANS, TEXT, code, table
from tests.laws.test_layers import FLOORS, MODULES, room
from tests.laws.test_readme import JOB, ORDER, WORKER
from tests.virtual import VirtualLoop, run

PLAIN = {"no limit": None, "none": None, "the system's": None, "yes": True, "no": False, "aiohttp": "aiohttp"}


def options(command: str, capsys: pytest.CaptureFixture[str]) -> set[str]:
    """Return the options that the help of *command* has."""
    assert main([command, "--help"]) == 0
    return set(re.findall(r"--[a-z][a-z-]+", capsys.readouterr().out))


def test_table_of_verbs() -> None:
    """Every verb of every resource is there, and no other."""
    cdp = CdpOrders(base_url="http://127.0.0.1:1", client_key="K", api_token="T")  # noqa: S106 never sent
    resources = {name: value for name, value in vars(cdp).items() if hasattr(value, "get")}
    verbs = {name for one in resources.values() for name in dir(one) if not name.startswith(("_", "to_"))}
    assert {name for verb, _ in table("verb", "what it does") for name in code(verb)} == verbs
    (first,) = re.findall(r"^`cdp\.orders`.*? cover all", PROSE, re.MULTILINE)
    assert [name.rpartition(".")[2] for name in code(first)] == list(resources)


def test_table_of_errors() -> None:
    """Every error that a call can end with is there, with its delivery and its statuses."""
    abstract = {"CdpError", "Refused", "InputError", "JournalError"}
    rows = table("error", "what happened", "delivery", "what to do")
    found = {name: row for row in rows for name in code(re.sub(r"\(.*?\)", "", row[0]))}
    classes = {name: kind for name in errors.__all__ if issubclass(kind := getattr(errors, name), CdpError)}
    assert found.keys() == classes.keys() - abstract
    wrong = {
        name for name, row in found.items() if code(row[2]) not in ([], [classes[name].delivery.name], ["delivery"])
    }
    assert wrong == set()
    statuses = {
        name: int(status)
        for names, what, _, _ in rows
        for name, status in zip(code(names), re.findall(r"\b4\d\d\b", what), strict=False)
    }
    assert statuses == {kind.__name__: status for status, kind in BY_STATUS.items()}
    bases = {re.findall(r"^`(\w+)` \(also an? `(\w+)`\)", names)[0] for names, *_ in rows if "(also" in names}
    assert bases == {("Invalid", "ValueError"), ("DeadlineExceeded", "TimeoutError")}
    assert issubclass(errors.Invalid, ValueError)
    assert issubclass(errors.DeadlineExceeded, TimeoutError)


def test_table_of_settings() -> None:
    """Every setting is there, with its variable and its default."""
    defaults: dict[str, object] = {}
    for names, variables, values, _ in table("setting", "variable", "default", ""):
        fields = code(names)
        given = [value.strip() for value in values.split(",")]
        assert set(code(variables)) <= {f"CDP_{name.upper()}" for name in fields}
        defaults |= dict(zip(fields, given * (1 if len(given) > 1 else len(fields)), strict=True))
    elsewhere = {"region", "base_url", "client_key", "api_token", "bearer_token"}
    assert {name for name, value in defaults.items() if value == ""} == elsewhere
    assert {name: plain(value) for name, value in defaults.items() if value != ""} == attrs.asdict(Settings())


def plain(default: object) -> object:
    """Return the value that a cell of the table names."""
    text = str(default)
    if text in PLAIN:
        return PLAIN[text]
    number, _, unit = text.partition(" ")
    return float(number) * {"": 1, "s": 1, "MiB": 2**20}[unit]


def test_table_of_commands(capsys: pytest.CaptureFixture[str]) -> None:
    """Every command is there except those that the page shows elsewhere, with the options that it cannot do without."""
    named: set[str] = set()
    command: list[str] = []
    for cell, _ in table("command", "what it does"):
        for words in map(str.split, code(cell)):
            if words[0] in app:
                named.add(words[0])
                command = words[: 2 if words[0] in {"journal", "orders"} else 1]
            else:
                command = [*command[:1], words[0]]  # of the same group
            assert main([*command, "--help"]) == 0
            usage = capsys.readouterr().out.partition("\n\n")[0].partition("[OPTIONS]")[0]
            assert set(re.findall(r"--[a-z-]+", usage)) <= set(re.findall(r"--[a-z-]+", cell)), command
    others = {name for name in app if not name.startswith("-")} - named
    assert {name for name in others if "extensions" not in name} == {
        "demo",
        "emulator",
        "items",
        "contacts",
        "consumers",
    }


def test_table_of_options(capsys: pytest.CaptureFixture[str]) -> None:
    """Every option of a load is there, with its default."""
    (shared,) = re.findall(r"`cdp-orders load FILE` takes (.*?), and these:", TEXT)
    rows = table("option", "default", "")
    named = [option for option, *_ in rows for option in code(option)]
    assert Counter([*code(re.sub(r"\(.*?\)", "", shared)), *named]) == Counter(options("load", capsys) - {"--help"})
    defaults = {name: parameter.default for name, parameter in inspect.signature(load).parameters.items()}
    for flags in (Connection, LoadFlags):
        defaults |= {name: field.default for name, field in attrs.fields_dict(flags).items()}
    for option, cell, _ in rows:
        default = defaults[option.strip("`-").replace("-", "_")]
        told = {"": None, "no": False, "`FILE.journal.sqlite`": None}
        assert (told[cell] if cell in told else cell.strip("`")) == (
            f"{default:g}" if isinstance(default, float) else default
        )
    assert re.findall(r"`--([a-z]+)` \(by default `?(\w+)`?\)", shared) == [
        (name, str(defaults[name])) for name in ("rate", "connections")
    ]


def test_keys_of_the_report() -> None:
    """The keys that --json prints are named, in their order."""
    (sentence,) = re.findall(r"`--json` prints one object:\s+(.*?)\.", PROSE, re.DOTALL)
    assert code(sentence) == list(Report().to_json())


def test_keys_of_outcomes() -> None:
    """The keys of a line of outcomes, and of a part in it, are named, in their order."""
    failure, ref = Failure("NotSent", "no"), UUID(int=1)
    part = PartOutcome("ext", PartVerdict.KEPT, ref, ("name",), failure, "why")
    times = Timings(server=1.0)
    outcome = Outcome(
        file="f",
        number=1,
        key="k",
        verdict=Verdict.KEPT,
        parts=(part,),
        violations=(Violation("$", "no"),),
        leftovers=(Leftover("items", ref),),
        times=times,
    )
    (named,) = re.findall(r"A line of the file of outcomes has (.*?), and no personal", TEXT)
    (of_part,) = re.findall(r"\((.*?)\)", named)
    assert code(named.replace(of_part, "")) == list(outcome.to_json())
    assert code(of_part) == list(part.to_json())


def test_table_of_times() -> None:
    """Everything that time goes to is there."""
    rows = table("time", "seconds", "if it is the most")
    assert [code(name) for name, *_ in rows] == [[name] for name in msgspec.structs.asdict(Timings())]


def test_exit_statuses() -> None:
    """The verdicts that give 0 are named, and the signals that stop a load with the statuses that they give."""
    rows = {status: meaning for status, meaning, _ in table("exit status", "meaning", "what to do")}
    report = {verdict: Report(counts=Counter([verdict])).status for verdict in Verdict}
    assert code(rows["0"]) == [str(one) for one, status in report.items() if status == 0]
    assert {*report.values(), Report(error=CdpError()).status} == {0, 1, 2}
    stops = {getattr(signal, name): name for name in STOPS}
    (stopped,) = (status for status, meaning in rows.items() if "stopped" in meaning)
    assert re.findall(r"SIG\w+", rows[stopped]) == [stops[number] for number in sorted(stops)]
    assert stopped.split(", ") == [str(Report(stopped_by=number).status) for number in sorted(stops)]
    assert list(rows) == ["0", "1", "2", stopped]


def test_table_of_events() -> None:
    """Every event is there, with its fields; the first one has those of the call, which the others have in common."""
    found = {code(event)[0]: code(fields) for event, fields in table("event", "fields")}
    events = {event.__name__: list(event.__struct_fields__) for event in get_args(telemetry.Event)}
    call = [*telemetry.CallStarted.__struct_fields__, *telemetry.Call.__struct_fields__]
    assert found == events | {"CallStarted": call}


def test_table_of_floors() -> None:
    """Every room of the package is there, on the floor that the law of floors gives it."""
    found: dict[str, int] = {}
    for floors, rooms, _ in table("floor", "rooms", ""):
        for floor, some in zip(floors.split(", "), rooms.split("; "), strict=True):
            found |= dict.fromkeys(code(some), int(floor))
    assert found == {room(module): FLOORS[room(module)] for module in MODULES}


def test_tables_of_faults() -> None:
    """The phases and actions are those of the emulator."""
    phases, actions = ([name for row in table(head, "") for name in code(row[0])] for head in ("phase", "action"))
    assert (phases, actions) == (list(PHASES), list(ACTIONS))


def test_table_of_limits() -> None:
    """The kinds of limits are those of the emulator, with their keys."""
    shared = list(attrs.fields_dict(limits.Limit))
    makers = {kind: list(inspect.signature(make).parameters) for kind, make in limits.KINDS.items()}
    own = {kind: [name for name in names if name not in shared] for kind, names in makers.items()}
    assert {code(kind)[0]: code(keys) for kind, keys in table("kind", "its own keys")} == own
    (sentence,) = re.findall(r"All take (.*?)\.", TEXT)
    assert set(code(sentence)) == {*shared, "reset", "lost", "[[30, 5]]"}


def test_switches() -> None:
    """What is said to the emulator's switches, they take, in Python and on the command line."""
    in_python = [span for span in SPANS if span.startswith("Switches(")]
    assert in_python
    for span in in_python:
        (name, value) = re.findall(r"^Switches\((\w+)=(.*)\)$", span)[0]
        assert getattr(Switches(**{name: orjson.loads(value)}), name) != getattr(Switches(), name)
    given = [quoted or word for span in SPANS for quoted, word in re.findall(r"--switch (?:'(.*?)'|(\S+))", span)]
    assert len(given) == 5
    assert Switches.read(given) != Switches()
    (sentence,) = re.findall(r"'slow_writes=.*?`\.\s+(.*?)\.\n", PROSE, re.DOTALL)
    assert {span.partition("=")[0] for span in code(sentence)} < attrs.fields_dict(Switches).keys()


def test_table_of_version_2() -> None:
    """What each version asks for, and the numbers of words, are those of the models."""
    rows = {what: (old, new) for what, old, new in table("", "v2, `CdpOrdersV2`", "v2.1, `CdpOrders`")}
    for model, cell in (
        (NewOrderV2, rows["order"][0]),
        (NewOrderItemV2, rows["item"][0]),
        (NewOrderItem, rows["item"][1]),
    ):
        fields = attrs.fields_dict(model)
        named = code(cell.partition(" required")[0])
        assert named
        assert [name for name in named if fields[name].default is not attrs.NOTHING] == []
    old, new = rows["item type"]
    assert f"one of {len(get_args(OrderItemTypeV2))} words" in old
    assert f"except {len(RESERVED_TYPES)} words" in new


def test_numbers() -> None:
    """The numbers that are named are those of the code."""
    text = TEXT + " ".join((ROOT / COMMANDS_PAGE).read_text(encoding="utf-8").split())
    for sentence in (
        f"also `--settle` seconds later ({SETTLE:g} by default)",
        f"`--drain` seconds ({attrs.fields_dict(LoadFlags)['drain'].default:g} by default)",
        f"an absent order waits {SETTLE:g} s (`settle`)",
        f"at the start or {health.MAX_IN_ROW} times in a row",
        f"never did anything for {health.UNPROVEN:g} s",
        f"lasts {health.LASTING / 60:g} minutes",
        f"if there are more than {probe.SMALL} lines",
        f"has one of the first {probe.FIRST} orders, or of {probe.SPREAD} more that are spread",
        f"over the first {probe.SMALL + 1} lines",
        f"up to {claims.MAX_REMEMBERED_PARTS:,} parts",
        f"starts at {governor.START_RATE:g} requests a second",
        f"lines by {LONGEST_LINE / 2**20:g} MiB",
    ):
        assert sentence in text
    assert SAME_SIGNAL == 1
    assert "more than a second later, stops at once" in TEXT


def cells(name: str) -> list[str]:
    """Return what the row *name* says of a web backend, a worker and a job."""
    (row,) = (rest for heading, *rest in table("", "web backend", "worker", "job") if heading == name)
    return row


def test_requests_of_an_order() -> None:
    """Each way to load takes as many requests as its cell says."""
    web, worker, job = (list(map(int, re.findall(r"\d+", cell))) for cell in cells("requests"))
    graph, journal = parse_graph(ORDER), MemoryJournal()

    async def main(loop: VirtualLoop) -> list[int]:
        counts: list[int] = []
        network = Network(Emulator())
        await ingest_one(Resources(network, BASE), graph)
        counts.append(len(network.requests))
        ways: list[Json] = [{"look_first": True, "settle": SETTLE}, {"journal": journal}, {"journal": journal}]
        for how in ways:
            network = Network(network.emulator if counts[2:] else Emulator())
            load = loading(loop, network, [graph], **how)
            await load.run()
            await load.aclose()
            counts.append(len(network.requests))
        return counts

    (one,), *with_journal = web, worker, job
    (more, seconds) = map(int, re.findall(r"costs (\d+) more requests for an absent order, and (\d+) s", TEXT)[0])
    sent = run(main)
    assert sent[:2] == [one * PARTS, one * PARTS + more]
    assert [sent[2:]] * 2 == [[new * PARTS, known] for new, known in with_journal]
    assert seconds == SETTLE


def test_drains() -> None:
    """What a cancelled call gets to drain is the default of its function."""
    drains = [inspect.signature(one).parameters["drain"].default for one in (ingest_one, ingest_one, ingest)]
    assert [float(re.findall(r"(\d+) s to drain", cell)[0]) for cell in cells("cancelled")] == drains


def test_calls_are_those_of_the_programs() -> None:
    """The calls of the table are in the programs, the deadline of the web backend too."""
    web, worker, job = (code(cell)[0] for cell in cells("call"))
    assert web.partition("(cdp, ")[2] in PROGRAMS["outbox"]
    assert worker == "ingest_one(cdp, graph, journal=journal)"
    assert worker.removesuffix(")") in WORKER
    assert "journal=journal)" in job
    assert "journal=journal) as load" in JOB


def test_calls_fit() -> None:
    """Every call of the package that is shown as code takes the arguments that are shown."""
    known = {name: getattr(of, name) for of in (emulator, cdp_orders_async) for name in of.__all__}
    found: set[str] = set()
    for span in SPANS:
        try:
            call = ast.parse(span, mode="eval").body
        except SyntaxError:
            continue
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in known:
            found.add(call.func.id)
            arguments = {keyword.arg or "": None for keyword in call.keywords}
            inspect.signature(known[call.func.id]).bind_partial(*call.args, **arguments)
    assert {"CdpOrders", "Resources", "Switches", "ingest", "ingest_one"} <= found


def test_arguments() -> None:
    """What is shown with an equals sign is an argument or a setting, or a switch of the emulator."""
    takers = (CdpOrders, Settings, Switches, ingest_one, ingest)
    known = {name for one in takers for name in inspect.signature(one).parameters}
    shown = [re.match(r"([a-z]\w*)=", span) for span in SPANS if span not in {"redelivered=True", "guest=ref"}]
    assert {found[1] for found in shown if found} - known == set()
    assert {"http_session", "shared_limiter", "trace_configs"} <= known & {span.rstrip("=") for span in SPANS}


def test_options_exist(capsys: pytest.CaptureFixture[str]) -> None:
    """Every option that is mentioned is in the help of its command."""
    helps = {command: options(command, capsys) for command in ("load", "emulator", "demo")}
    for command, words in re.findall(r"cdp-orders (\w+) ([^`\n]*)", MANUAL):
        if command in helps:
            assert set(re.findall(r"--[a-z][a-z-]+", words)) <= {"--help", *helps[command]}
    mentioned = {option for span in SPANS for option in re.findall(r"^--[a-z][a-z-]+", span)}
    assert mentioned - set().union(*helps.values()) == set()


HABITS = ("but for", "such a one", "no more", "by itself")


@pytest.mark.parametrize("habit", HABITS)
def test_plain_words(habit: str) -> None:
    """The manual has none of the phrases that a reader has to guess at."""
    assert habit not in TEXT.lower()

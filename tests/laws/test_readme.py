"""What the pages of the README say is so: their commands and programs run, their tables name what exists."""

from __future__ import annotations

import importlib.util
import inspect
import os
import re
import signal
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path
from types import ModuleType
from uuid import UUID

import attrs
import msgspec
import orjson
import pytest

from cdp_orders_async import (
    CdpError,
    CdpOrders,
    DeadlineExceeded,
    Failure,
    Leftover,
    Outcome,
    PartOutcome,
    PartVerdict,
    Settings,
    Times,
    Verdict,
    Violation,
    errors,
    ingest,
    ingest_one,
    parse_graph,
)
from cdp_orders_async.cli import main, running
from cdp_orders_async.cli.loading import Report, load
from cdp_orders_async.cli.signals import STOPS
from cdp_orders_async.emulator import Faults, Switches
from cdp_orders_async.emulator.faults import ACTIONS, PHASES
from cdp_orders_async.ingest import SETTLE, claims
from cdp_orders_async.pacing import health
from tests.cli_support import Ran, Watched, cdp_orders, ended, started, watched, write
from tests.laws.test_layers import FLOORS, MODULES, room

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "cdp_orders_async/emulator/README.md", "tests/README.md", "benchmarks/README.md")
README = "\n".join((ROOT / page).read_text(encoding="utf-8") for page in PAGES)
BLOCKS: list[tuple[str, str]] = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
DEMO, TESTS, *COMMANDS = [code for language, code in BLOCKS if language == "sh"]
LOADS, OTHERS = ([line for line in COMMANDS if ("cdp-orders load" in line) is loads] for loads in (True, False))
PROGRAMS = [code for language, code in BLOCKS if language == "python"]
ORDER, FAULTS = (orjson.loads(code) for language, code in BLOCKS if language == "json")
(WORKER,) = (program for program in PROGRAMS if "async def work(" in program)
PLAIN = {"no limit": None, "none": None, "the system's": None, "yes": True, "no": False, "aiohttp": "aiohttp"}


def table(*head: str) -> list[list[str]]:
    """Return the cells of the table whose head begins with the cells *head*."""
    (rest,) = README.split("| " + " | ".join(head))[1:]
    return [[cell.strip() for cell in row[1:-1].split("|")] for row in rest.split("\n\n")[0].splitlines()[2:]]


def code(text: str) -> list[str]:
    """Return what is marked as code in *text*."""
    return re.findall(r"`([^`]+)`", text)


async def shell(line: str, folder: Path, server: Watched) -> Ran:
    """Run a line of the README in *folder* against *server*: its address for a region, and its own credentials."""
    line = line.replace("--region eu", "").replace("http://127.0.0.1:8642", server.base_url)
    line = line.replace("--client-key K --api-token T", "")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = {**server.environment, "PATH": path, "TMPDIR": str(folder)}
    return await cdp_orders(cwd=folder, env=env, command=("sh", "-c", line))


def options(command: str, capsys: pytest.CaptureFixture[str]) -> set[str]:
    """Return the options that the help of *command* has."""
    assert main([command, "--help"]) == 0
    return set(re.findall(r"--[a-z][a-z-]+", capsys.readouterr().out))


def test_blocks_are_of_languages_that_are_checked() -> None:
    """No block escapes these tests."""
    assert {language for language, _ in BLOCKS} == {"sh", "python", "json"}
    assert all(
        re.match(r"cdp-orders (load|emulator) |\.venv/bin/python (-m tests\.|benchmarks/)", line) for line in COMMANDS
    )


def test_links_lead_to_pages() -> None:
    """The front page leads to every other page, and each link between them to a file and a heading that exist."""
    led: set[Path] = set()
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        for name, heading in re.findall(r"\]\(([^)#]+)#?([^)]*)\)", text):
            path = (ROOT / page).parent / name
            headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
            assert heading in {"", *(one.lower().replace(" ", "-") for one in headings)}
            led |= {path.resolve()} if page == "README.md" else set()
    assert led == {(ROOT / page).resolve() for page in PAGES[1:]}


def test_first_blocks_are_the_demo_and_the_tests() -> None:
    """The first two blocks are one line each; the second is what the checks run; their extras exist."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert [block.count("\n") for block in (DEMO, TESTS)] == [1, 1]
    assert DEMO.endswith(" && .venv/bin/cdp-orders demo\n")
    assert TESTS.endswith(" && .venv/bin/python -m pytest --quiet -n auto\n")
    assert {
        extra for names in re.findall(r"'\.\[(.*?)\]'", DEMO + TESTS) for extra in names.split(",")
    } <= extras.keys()
    found = re.search(r"^tests=\$\((.*)\)$", (ROOT / ".ci" / "run").read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None
    assert subprocess.run(["sh", "-c", found[1]], cwd=ROOT, check=True, capture_output=True, text=True).stdout == TESTS


async def test_demo_runs(tmp_path: Path) -> None:
    """The demo loads 50 orders."""
    async with watched() as server:
        ran = await shell(DEMO.rpartition("/")[2], tmp_path, server)
    assert ran.status == 0
    assert "│ loaded │ 50 │" in ran.out


@pytest.mark.parametrize("line", LOADS)
async def test_loads_run(tmp_path: Path, line: str) -> None:
    """Each command that loads does so, with the order of the README as its file."""
    write(tmp_path / "orders.jsonl", [ORDER])
    write(tmp_path / "orders.jsonl.gz", [ORDER])  # what a file is, is told by its first bytes
    async with watched() as server:
        ran = await shell(line, tmp_path, server)
        assert (ran.status, ran.told) == (0, "")
        assert server.holds([ORDER])


@pytest.mark.parametrize("line", OTHERS)
async def test_commands_run(tmp_path: Path, line: str) -> None:
    """The emulator starts as it is started there, on a free port; a campaign, which is long, has these options."""
    if "emulator" in line:
        words = line.replace("8642", "0").split()
        async with started(*words[1:], cwd=tmp_path) as process:
            assert process.stdout is not None
            assert b"The emulator listens on http://127.0.0.1:" in await process.stdout.readline()
            process.terminate()
            assert (await ended(process)).status == 0
    else:
        ran = await cdp_orders(*line.split()[1:], "--help", cwd=ROOT, command=(sys.executable,))
        assert ran.status == 0
        assert [option for option in re.findall(r"--\w+", line) if f" {option} " not in ran.out] == []


@pytest.mark.parametrize("program", PROGRAMS)
async def test_programs_run(tmp_path: Path, program: str) -> None:
    """Each program runs as it stands, with no warning, where the variables name a server and there are orders."""
    write(tmp_path / "orders.jsonl", [ORDER])
    (tmp_path / "program.py").write_text(program)
    async with watched() as server:
        command = (sys.executable, "-W", "error", "program.py")
        ran = await cdp_orders(cwd=tmp_path, env=server.environment, command=command)
        assert (ran.status, ran.err) == (0, "")
        assert server.received > 0 or "emulator.running()" in program


def test_examples_are_valid() -> None:
    """The order and the faults shown are such."""
    assert parse_graph(ORDER).order.reference_id == ORDER["referenceId"]
    Faults.of(FAULTS)


def test_table_of_verbs() -> None:
    """Every verb of every resource is there, and no other."""
    cdp = CdpOrders(base_url="http://127.0.0.1:1", client_key="K", api_token="T")  # noqa: S106 never sent
    resources = [value for value in vars(cdp).values() if hasattr(value, "get")]
    verbs = {name for one in resources for name in dir(one) if not name.startswith(("_", "to_"))}
    assert {name for verb, _ in table("verb", "what it does") for name in code(verb)} == verbs


def test_table_of_errors() -> None:
    """Every error that a call can end with is there, with its delivery."""
    abstract = {"CdpError", "Refused", "InputError", "JournalError"}
    rows = table("error", "delivery", "what it means")
    found = {name: delivery for names, delivery, _ in rows for name in code(re.sub(r"\(.*?\)", "", names))}
    classes = {name: kind for name in errors.__all__ if issubclass(kind := getattr(errors, name), CdpError)}
    assert found.keys() == classes.keys() - abstract
    wrong = {name for name, delivery in found.items() if code(delivery) not in ([], [classes[name].delivery.name])}
    assert wrong == set()


def test_table_of_settings() -> None:
    """Every setting is there, with its variable and its default."""
    defaults: dict[str, object] = {}
    for names, variables, values, _ in table("setting", "variable", "default"):
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


def test_tables_of_faults() -> None:
    """The phases and actions are those of the emulator."""
    phases, actions = ([name for row in table(head) for name in code(row[0])] for head in ("phase", "action"))
    assert (phases, actions) == (list(PHASES), list(ACTIONS))


def test_keys_of_the_report() -> None:
    """The keys that --json prints are named, in their order."""
    (sentence,) = re.findall(r"`--json` prints one object:\s+(.*?)\.", README, re.DOTALL)
    assert code(sentence) == list(Report().to_json())


def test_keys_of_outcomes() -> None:
    """The keys of a line of outcomes, and of a part in it, are named, in their order."""
    failure, ref = Failure("NotSent", "no"), UUID(int=1)
    part = PartOutcome("ext", PartVerdict.KEPT, ref, ("name",), failure, "why")
    times = Times(server=1.0)
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
    (named,) = re.findall(r"A line of the file of outcomes has (.*?), and no personal", " ".join(README.split()))
    (of_part,) = re.findall(r"\((.*?)\)", named, re.DOTALL)
    assert code(named.replace(of_part, "")) == list(outcome.to_json())
    assert code(of_part) == list(part.to_json())


def test_names_of_times() -> None:
    """Everything that time goes to is named."""
    (sentence,) = re.findall(r"`times` has seconds(.*?)\.", README, re.DOTALL)
    assert code(sentence) == list(msgspec.structs.asdict(Times()))


def test_exit_statuses() -> None:
    """The signals that stop a load give the statuses that are named, and the verdicts that give 0 are."""
    text = " ".join(README.split())
    ((good, stopped),) = re.findall(r"0 only if every order is (.*?); .*? ([\d, or]+) if stopped", text)
    report = {verdict: Report(counts=Counter([verdict])).status for verdict in Verdict}
    assert re.findall(r"\w+", good.replace(" or ", " ")) == [str(one) for one, status in report.items() if not status]
    signals = (getattr(signal, name) for name in STOPS)
    assert sorted(map(int, re.findall(r"\d+", stopped))) == sorted(Report(stopped_by=one).status for one in signals)


def worker(folder: Path) -> ModuleType:
    """Return the program of the worker as a module that does nothing yet."""
    path = folder / "worker.py"
    path.write_text(WORKER.replace("\nasyncio.run(main())\n", ""))
    spec = importlib.util.spec_from_file_location("worker", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def test_table_of_verdicts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every verdict is there, and the program of the worker does with each what the table says."""
    rows = {name: do for names, _, do in table("verdict", "meaning", "what to do") for name in code(names)}
    assert list(rows) == list(map(str, Verdict))
    words = {"ack": "ack", "retry": "retry", "a person": "dead letter", "mend": "dead letter"}
    told = {name: {answer for word, answer in words.items() if do.startswith(word)} for name, do in rows.items()}
    module = worker(tmp_path)

    async def work(verdict: Verdict, *, raised: bool) -> str:
        async def ingested(*_: object, **__: object) -> Outcome:
            outcome = Outcome(file=None, number=1, key="k", verdict=verdict)
            if not raised:
                return outcome
            error = DeadlineExceeded("too late")
            error.outcome = outcome
            raise error

        monkeypatch.setattr(module, "ingest_one", ingested)
        done: str = await module.work(None, orjson.dumps(ORDER), redelivered=True)
        return done

    for raised in (False, True):
        assert {str(verdict): {await work(verdict, raised=raised)} for verdict in Verdict} == told
    assert await module.work(None, b"{", redelivered=False) == "dead letter"
    assert await module.work(None, b"{}", redelivered=False) == "dead letter"


def test_table_of_floors() -> None:
    """Every room of the package is there, on the floor that the law of floors gives it."""
    found: dict[str, int] = {}
    for floors, rooms, _ in table("floor", "rooms"):
        for floor, some in zip(floors.split(", "), rooms.split("; "), strict=True):
            found |= dict.fromkeys(code(some), int(floor))
    assert found == {room(module): FLOORS[room(module)] for module in MODULES}


def test_switches() -> None:
    """What is said to the emulator's switches, they take, in Python and on the command line."""
    spans = code(re.sub(r"^```.*?^```$", "", README, flags=re.MULTILINE | re.DOTALL))
    in_python = [span for span in spans if span.startswith("Switches(")]
    assert in_python
    for span in in_python:
        (name, value) = re.findall(r"^Switches\((\w+)=(.*)\)$", span)[0]
        assert getattr(Switches(**{name: orjson.loads(value)}), name) != getattr(Switches(), name)
    given = [quoted or plain for span in spans for quoted, plain in re.findall(r"--switch (?:'(.*?)'|(\S+))", span)]
    assert len(given) == 5
    assert Switches.read(given) != Switches()
    (sentence,) = re.findall(r"'slow_writes=.*?`\.\s+(.*?)\.\n", README, re.DOTALL)
    assert {span.partition("=")[0] for span in code(sentence)} < attrs.fields_dict(Switches).keys()


def test_numbers() -> None:
    """The numbers that are named are those of the code."""
    text = " ".join(README.split())
    drain, of_load = (inspect.signature(one).parameters["drain"].default for one in (ingest_one, ingest))
    for sentence in (
        f"`--settle` seconds later ({SETTLE:g} by default",
        f"`--drain` seconds ({inspect.signature(load).parameters['drain'].default:g} by default)",
        f"gets `drain` seconds ({drain:g} here, {of_load:g} in `ingest`)",
        f"`ingest_one` {SETTLE:g} s for each order",
        f"at the start or {health.FEW} times in a row",
        f"never did anything for {health.UNPROVEN:g} s",
        f"lasts {health.LASTING / 60:g} minutes",
        f"more than {running.SMALL} lines, none of the first {running.PROBED} orders",
        f"up to {claims.MOST_PARTS:,} parts",
    ):
        assert sentence in text
    assert running.SAME_SIGNAL == 1
    assert "more than a second later, stops at once" in text


def test_arguments() -> None:
    """The arguments of the client that are named in sentences are its own."""
    assert {"http_session", "shared_limiter", "trace_configs"} <= inspect.signature(CdpOrders).parameters.keys()
    assert {"`CdpOrders(http_session=...)`", "`shared_limiter=`"} <= set(re.findall(r"`[^`\n]+`", README))


def test_options_exist(capsys: pytest.CaptureFixture[str]) -> None:
    """Every option that is mentioned is in the help of its command, and the default named is the one."""
    helps = {command: options(command, capsys) for command in ("load", "emulator", "demo")}
    for line in re.findall(r"cdp-orders (\w+) ([^`\n]*)", README):
        assert set(re.findall(r"--[a-z][a-z-]+", line[1])) <= helps[line[0]]
    text = re.sub(r"^```.*?^```$", "", README, flags=re.MULTILINE | re.DOTALL)
    mentioned = {option for span in code(text) for option in re.findall(r"^--[a-z][a-z-]+", span)}
    assert mentioned - set().union(*helps.values()) == set()

"""What the README says is so: its commands and programs run, its tables name what exists."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import attrs
import orjson
import pytest

from cdp_orders_async import CdpError, CdpOrders, Settings, errors, parse_graph
from cdp_orders_async.cli import main
from cdp_orders_async.cli.loading import Report
from cdp_orders_async.emulator import Faults
from cdp_orders_async.emulator.faults import ACTIONS, PHASES
from cdp_orders_async.ingest import SETTLE
from tests.cli_support import Ran, Watched, cdp_orders, ended, started, watched, write

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS: list[tuple[str, str]] = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
DEMO, TESTS, *COMMANDS = [code for language, code in BLOCKS if language == "sh"]
LOADS, OTHERS = ([line for line in COMMANDS if ("cdp-orders load" in line) is loads] for loads in (True, False))
PROGRAMS = [code for language, code in BLOCKS if language == "python"]
ORDER, FAULTS = (orjson.loads(code) for language, code in BLOCKS if language == "json")
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


def test_first_blocks_are_the_demo_and_the_tests() -> None:
    """The first two blocks are one line each; the second is what the checks run; their extras exist."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert [block.count("\n") for block in (DEMO, TESTS)] == [1, 1]
    assert DEMO.endswith(" && .venv/bin/cdp-orders demo\n")
    assert TESTS.endswith(" && .venv/bin/python -m pytest --quiet\n")
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
        assert (ran.status, ran.err) == (0, "")
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


def test_options_exist(capsys: pytest.CaptureFixture[str]) -> None:
    """Every option that is mentioned is in the help of its command, and the default named is the one."""
    helps = {command: options(command, capsys) for command in ("load", "emulator", "demo")}
    for line in re.findall(r"cdp-orders (\w+) ([^`\n]*)", README):
        assert set(re.findall(r"--[a-z][a-z-]+", line[1])) <= helps[line[0]]
    text = re.sub(r"^```.*?^```$", "", README, flags=re.MULTILINE | re.DOTALL)
    mentioned = {option for span in code(text) for option in re.findall(r"^--[a-z][a-z-]+", span)}
    assert mentioned - set().union(*helps.values()) == set()
    assert f"`--settle` seconds later ({SETTLE:g} by default" in README

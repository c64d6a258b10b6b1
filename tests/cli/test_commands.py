"""The commands as such: what they say of themselves, what they refuse, the demo and the emulator."""

from __future__ import annotations

import asyncio
import errno
import gzip
import os
import re
import signal
import socket
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import orjson
import pytest
from rich.console import Console

from cdp_orders_async import CdpOrders, cli
from cdp_orders_async.__main__ import main as entry
from cdp_orders_async.addresses import REGIONS
from cdp_orders_async.cli import main
from cdp_orders_async.cli.options import Connection
from cdp_orders_async.settings import Settings
from tests.cli.support import (
    TOKEN,
    Ran,
    broken_pipe,
    cdp_orders,
    ended,
    environment,
    full_disk,
    orders,
    started,
    watched,
    write,
)
from tests.ingest.orders import order

OPTIONS: dict[str, set[str]] = {
    "load": {
        *("--base-url", "--region", "--api", "--client-key", "--api-token", "--journal", "--outcomes", "--rate"),
        *("--api-token-file", "--api-token-command", "--profile"),
        *("--connections", "--http", "--timeout", "--deadline", "--look-first", "--on-existing", "--settle", "--drain"),
        *(
            "--timezone",
            "--assign-references",
            "--verbose",
            "--json",
            "--report",
            "--rejects",
            "--plan",
            "--keep-before",
            "--max-errors",
            "--give-up",
        ),
        *("--control", "--progress", "--progress-every", "--sql", "--engine", "--address", "--shared-rate"),
    },
    "emulator": {"--port", "--client-key", "--api-token", "--seed", "--faults", "--switch", "--storage", "--host"},
    "demo": {"--rate", "--no-serve"},
    "plan": {
        *("--base-url", "--region", "--api", "--client-key", "--api-token", "--api-token-file", "--rate"),
        *("--connections", "--http", "--timeout", "--deadline", "--timezone", "--assign-references"),
        *("--profile", "--api-token-command"),
        *("--check-server", "--sample", "--sql", "--rejects", "--json"),
    },
    "completion": set(),
    "report": {"--output"},
}
HERE = ("--base-url", "http://127.0.0.1:9", "--client-key", "K", "--api-token", "T")
"""Options for a `load` that is refused before it connects."""
REFUSED = [
    (("--rate", "0"), ("--rate must be",)),
    (("--rate", "-5"), ("--rate must be",)),
    (("--rate", "fast"), ("--rate", "fast")),
    (("--connections", "0"), ("--connections must be",)),
    (("--http", "httpx"), ("--http", "httpx", "aiohttp", "httptools")),
    (("--timeout", "nan"), ("--timeout must be",)),
    (("--deadline", "-1"), ("--deadline must be",)),
    (("--settle", "nan"), ("--settle must",)),
    (("--drain", "-1"), ("--drain must",)),
    (("--on-existing", "maybe"), ("--on-existing", "keep", "update", "fail")),
    (("--region", "eu"), ("--region, --base-url: exactly one",)),
    (("--nonsense",), ("Unknown option: --nonsense",)),
    (("second.jsonl",), ("second.jsonl cannot be read",)),
    (("--max-errors", "0"), ("--max-errors must be above 0",)),
    (("--give-up", "-1"), ("--give-up must be above 0",)),
    (("--give-up", "nan"), ("--give-up must be above 0",)),
    (("--progress-every", "0"), ("--progress-every must be above 0",)),
    (("--progress", "loud"), ("--progress", "auto", "lines", "json")),
    (("--plan", "0" * 32), ("nothing was sent", "cdp-orders plan")),
    (("--rejects", "o.jsonl"), ("the input and the rejects must be different files",)),
    (("--outcomes", "x", "--rejects", "x"), ("the outcomes and the rejects must be different files",)),
    (("--outcomes", "o.jsonl"), ("must be different files",)),
    (("--outcomes", "nowhere/o.jsonl"), ("nowhere/o.jsonl: No such file or directory",)),
    (("--journal", "o.jsonl"), ("must be different files",)),
    (("--journal", "nowhere/j.sqlite"), ("nowhere/j.sqlite", "No such file or directory")),
    (("--journal", "."), (". is a folder, not a journal",)),
    (("--report", "/"), ("the report cannot be written to /: it is not a regular file",)),
]


@pytest.fixture(name="folder")
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Be in a folder with a file of orders, and with no variable of the client's set."""
    for name in set(os.environ) - environment({}).keys():
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "o.jsonl", orders(2))
    return tmp_path


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> bool:
    """Whether one sentence came on standard error, with all *words* in it."""
    said = capsys.readouterr()
    sentence = said.err.removesuffix("\n")
    return (
        said.out == ""
        and sentence.startswith("cdp-orders: ")
        and "\n" not in sentence
        and all(word in sentence for word in words)
    )


@pytest.mark.parametrize("command", OPTIONS)
def test_help_documents_every_option(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The help of a command has an example, and says of each option what it does."""
    monkeypatch.setattr(cli.app, "console", Console(width=300))
    assert main([command, "--help"]) == 0
    text = capsys.readouterr().out
    rows: list[tuple[str, str]] = re.findall(
        r"^│\s+(?:\*\s+)?(--[\w-]+)(?: [A-Z]+)?\s{2,}(\S.*?)\s*│$", text, re.MULTILINE
    )
    assert f"Example: cdp-orders {command}" in text
    assert {name for name, _ in rows} == OPTIONS[command]
    assert [name for name, words in rows if not re.match(r"[A-Z].*\w\.", words)] == []


@pytest.mark.parametrize(("arguments", "words"), REFUSED, ids=" ".join)
def test_load_refuses_what_is_wrong(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    """A wrong option is one sentence that names it, and status 2; the input stays as it is."""
    before = (folder / "o.jsonl").read_bytes()
    assert main(["load", "o.jsonl", *HERE, *arguments]) == 2
    assert refused(capsys, *words)
    assert (folder / "o.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("load",), ("FILE", "cdp-orders load --help")),
        (("load", "none.jsonl", *HERE), ("none.jsonl cannot be read: No such file or directory",)),
        (("load", "empty", *HERE), ("the folder empty holds no file",)),
        (("load", "", *HERE), ("the name of a file is empty",)),
        (("verify", ".", *HERE), ("the outcomes cannot be read from .: Is a directory",)),
        (("report", ".", "--output", "r.html"), ("the outcomes cannot be read from .: Is a directory",)),
        (
            ("plan", "o.jsonl", "--rejects", "."),
            ("the rejected lines cannot be written to .: it is not a regular file",),
        ),
        (("load", ".", "--outcomes", "x.jsonl", *HERE), ("the outcomes must not be written to x.jsonl", "load of .")),
        (
            ("load", "**/*.jsonl", "--journal", "j", "--rejects", "empty/x.jsonl", *HERE),
            ("the rejects must not be written to empty/x.jsonl", "load of **/*.jsonl would read them as orders"),
        ),
        (
            ("load", ".", "--journal", "j", "--rejects", "bad", *HERE),
            ("the rejects must not be written to bad.reasons.jsonl", "load of . would read them as orders"),
        ),
        (
            ("load", "o.jsonl", "--outcomes", "x", "--keep-before", "x", *HERE),
            ("the outcomes and the values before the changes must be different files",),
        ),
        (
            ("load", ".", "--journal", "j", "--on-existing", "update", "--keep-before", "x.jsonl", *HERE),
            ("the values before the changes must not be written to x.jsonl", "load of . would read them as orders"),
        ),
        (
            ("plan", ".", "--rejects", "bad.jsonl"),
            ("the rejects must not be written to bad.jsonl", "load of . would read them as orders"),
        ),
        (
            ("verify", "outcomes", ".", "--differences", "d.jsonl", *HERE),
            ("the differences must not be written to d.jsonl", "load of . would read them as orders"),
        ),
        (("load", "*.none", *HERE), ("no file has a name like *.none",)),
        (("load", "o.jsonl", "f.json", *HERE), ("--journal must be given where there are several input files",)),
        (("load", "-", *HERE), ("--journal must be given",)),
        (("load", "--nonsense", *HERE), ("--nonsense",)),
        (("load", "o.jsonl"), ("--region, --base-url: exactly one",)),
        (("load", "o.jsonl", "--region", "xx", *HERE[2:]), ("--region must be one of ap, eu, jp, us",)),
        (("load", "o.jsonl", "--base-url", "http://example.com", *HERE[2:]), ("--base-url must be https",)),
        (("load", "o.jsonl", *HERE[:4]), ("--client-key, --api-token: must be given together",)),
        (
            ("laod", "o.jsonl"),
            ('there is no command "laod"; did you mean load?', " load, ", " undo, verify, ", "; see cdp-orders --help"),
        ),
        (("xyzzy",), ('there is no command "xyzzy". The commands are completion, ', "; see cdp-orders --help")),
        (
            ("journal", "forgt"),
            ("did you mean forget? The commands are show, export, forget; see cdp-orders journal --help",),
        ),
        (("emulator", "--port", "65536"), ("--port must be from 0 to 65535",)),
        (("emulator", "--port", "-1"), ("--port must be from 0 to 65535",)),
        (("emulator", "--port", "http"), ("--port", "http")),
        (("emulator", "--switch", "lag=2"), ("--switch lag=2: there is no switch lag", "list_lag")),
        (("emulator", "--switch", "upsert=perhaps"), ("--switch upsert=perhaps: 'perhaps' is not a value",)),
        (("emulator", "--faults", "none.json"), ("none.json: No such file or directory",)),
        (("emulator", "--faults", "."), (".: Is a directory",)),
        (("emulator", "--faults", "o.jsonl"), ("o.jsonl is not JSON",)),
        (("emulator", "--faults", "f.json"), ("faults[0]: operation",)),
        (("demo", "--rate", "0"), ("--rate must be",)),
    ],
    ids=" ".join,
)
def test_commands_refuse_what_is_wrong(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    """Bad usage and bad files are one sentence and status 2."""
    (folder / "empty").mkdir()
    (folder / "f.json").write_text('{"faults": [{"operation": "orders.creates", "action": "close"}]}')
    assert main(arguments) == 2
    assert refused(capsys, *words)


@pytest.mark.parametrize(
    ("name", "value"), [("CDP_RATE", "0"), ("CDP_BURST", "many"), ("CDP_RETRIES", "-1"), ("CDP_REGION", "xx")]
)
def test_load_names_a_wrong_variable(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """A setting from the environment is checked as an option is, and called by its variable."""
    monkeypatch.setenv(name, value)
    arguments = HERE[2:] if name == "CDP_REGION" else HERE
    assert main(["load", str(folder / "o.jsonl"), *arguments]) == 2
    assert refused(capsys, name)


@pytest.mark.parametrize(
    ("proxy", "http", "words"),
    [
        ("socks5://127.0.0.1:1", "aiohttp", "HTTP_PROXY must be like"),
        ("https://127.0.0.1:1", "httptools", "--http must be aiohttp where the proxy is spoken to over TLS"),
    ],
)
def test_load_refuses_a_proxy_that_it_cannot_use(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, proxy: str, http: str, words: str
) -> None:
    """A proxy of the environment is refused once, before anything is read."""
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, proxy)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert main(["load", str(folder / "o.jsonl"), *HERE, "--http", http]) == 2
    assert refused(capsys, words)


def test_options_become_settings(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each option of a connection reaches the client, and where the API is comes from an option before a variable."""
    assert folder == Path.cwd()
    monkeypatch.setenv("CDP_REGION", "eu")
    monkeypatch.setenv("CDP_KEEPALIVE", "2")
    where = Connection(base_url="http://127.0.0.1:9", client_key="K", api_token=TOKEN)
    given = attrs.evolve(where, rate=5, connections=2, http="httptools", timeout=3, deadline=4)
    cdp = given.client()
    assert cdp.base_url == "http://127.0.0.1:9"
    assert cdp.session.settings == Settings(rate=5, connections=2, http="httptools", timeout=3, deadline=4, keepalive=2)
    assert Connection(client_key="K", api_token=TOKEN).client().base_url == REGIONS["eu"]
    assert Connection(client_key="K", api_token=TOKEN).client().session.settings.rate == "auto"
    assert Connection(client_key="K", api_token=TOKEN, rate="none").client().session.settings.rate is None
    assert TOKEN not in repr(given)


async def test_demo_loads_the_sample(tmp_path: Path) -> None:
    """The demo loads 50 orders and names the files that have them."""
    ran = await cdp_orders("demo", "--rate", "5000", cwd=tmp_path, env={"TMPDIR": str(tmp_path)})
    assert (ran.status, re.findall(r"│ (\w+) +│ +(\d+) │", ran.out)) == (0, [("loaded", "50"), ("all", "50")])
    files = {Path(name).name: Path(name) for name in re.findall(r"^  (/\S+)", ran.out, re.MULTILINE)}
    assert files.keys() == {"report.html", "state.json", "outcomes.jsonl", "journal.sqlite"}
    assert "All 50 orders are on the server as the input says." in files["report.html"].read_text("utf-8")
    assert len(orjson.loads(files["state.json"].read_bytes())["orders"]) == 50
    assert len(files["outcomes.jsonl"].read_bytes().splitlines()) == 50
    assert files["journal.sqlite"].stat().st_size > 0


@asynccontextmanager
async def emulator(*arguments: object, cwd: Path) -> AsyncGenerator[tuple[Process, CdpOrders], None]:
    """Start ``cdp-orders emulator``, and give its process and a client of it."""
    credentials = ("--client-key", "K", "--api-token", TOKEN)
    async with started("emulator", "--port", "0", *credentials, *arguments, cwd=cwd) as process:
        assert process.stdout is not None
        told = (await process.stdout.readline()).decode()
        found = re.fullmatch(r"The emulator listens on (http://127\.0\.0\.1:\d+) \(Ctrl-C stops it\)\n", told)
        assert found is not None
        assert (await process.stdout.readline()).decode() == f"Its pages: {found[1]}/__pages\n"
        async with CdpOrders(base_url=found[1], client_key="K", api_token=TOKEN) as cdp:
            yield process, cdp


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_emulator_serves_until_it_is_stopped(tmp_path: Path, number: signal.Signals) -> None:
    """The emulator says where it listens, does the faults of a file, and a signal stops it with status 0."""
    plan = {"faults": [{"operation": "orders.create", "script": [{"action": "status", "status": 429}]}]}
    async with emulator("--faults", write(tmp_path / "f.json", [plan]), cwd=tmp_path) as (process, cdp):
        made = await cdp.orders.create(order("A"))
        assert (await cdp.orders.get(made.ref)).reference_id == "A"
        assert cdp.session.stats.retries == 1
        process.send_signal(number)
        assert await ended(process) == Ran(0, "", "")


async def test_emulator_keeps_its_state(tmp_path: Path) -> None:
    """With a storage, the emulator has what it stored when it is started again, even if it was killed."""
    async with emulator("--storage", "s.sqlite", cwd=tmp_path) as (_, cdp):
        made = await cdp.orders.create(order("A"))
    async with emulator("--storage", "s.sqlite", cwd=tmp_path) as (_, cdp):
        assert [one.ref async for one in cdp.orders.list(reference_id="A")] == [made.ref]
    wrong = await cdp_orders("emulator", "--storage", write(tmp_path / "o.jsonl", orders(2)), cwd=tmp_path)
    assert wrong.refused("o.jsonl: file is not a database")


async def test_emulator_refuses_a_port_in_use(tmp_path: Path) -> None:
    """A port that somebody else has is one sentence and status 2."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        ran = await cdp_orders("emulator", "--port", port, cwd=tmp_path)
    assert ran.refused(str(port), os.strerror(errno.EADDRINUSE))


async def test_help_that_nobody_reads_is_no_error(tmp_path: Path) -> None:
    """A reader who left, as head does, is no reason for a traceback."""
    with broken_pipe() as nobody:
        async with started("load", "--help", cwd=tmp_path, stdout=nobody) as process:
            ran = await ended(process)
    assert (ran.status, ran.err) == (0, "")


def test_what_is_wrong_before_a_request_says_that_nothing_was_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each command that writes says so once, whatever is wrong: its words, its files, its options."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "o.jsonl", orders(1))
    (tmp_path / "x").write_text("canary canary\ncanary\n", encoding="utf-8")
    place = ("--base-url", "http://127.0.0.1:9", "--client-key", "k", "--api-token", "t")
    for words in (
        ("load",),
        ("load", "o.jsonl", "--nope", *place),
        ("load", "nowhere", *place),
        ("load", "x", *place),
        ("load", "o.jsonl", "--rate=-1", *place),
        ("load", "o.jsonl", "--journal", "x", *place),
        ("load", "o.jsonl", "--outcomes", "x", *place),
        ("load", "o.jsonl", "--profile", "nowhere", *place),
        ("retry", "nowhere", "--journal", "j", *place),
        ("retry", "x", "--journal", "j", *place),
        ("undo", *place),
        ("undo", "--journal", "nowhere", *place),
        ("undo", "--journal", "x", *place),
        ("orders", "get", "x", *place),
        ("orders", "nope"),
    ):
        assert main(words) == 2
        told = capsys.readouterr()
        assert (told.out, told.err.count("othing was ")) == ("", 1), words
        assert main(("plan", "nowhere")) == 2
        assert "sent" not in capsys.readouterr().err


async def test_a_sample_that_nobody_reads_to_its_end_is_no_error(tmp_path: Path) -> None:
    """Its reader has enough, as under head: nothing is said, and the exit status is 0."""
    with broken_pipe() as nobody:
        async with started("sample", "--orders", "1", cwd=tmp_path, stdout=nobody) as process:
            ran = await ended(process)
    assert (ran.status, ran.err) == (0, "")


async def test_output_in_a_poor_encoding(tmp_path: Path) -> None:
    """Names that the output cannot show are escaped: JSON stays JSON, and a table a table."""
    folder = tmp_path / "Käse 山"
    folder.mkdir()
    env = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "TMPDIR": str(folder)}
    ran = await cdp_orders("demo", "--rate", "5000", cwd=folder, env=env)
    assert (ran.status, "K\\xe4se \\u5c71" in ran.out) == (0, True)
    source = folder / "o.jsonl.gz"
    source.write_bytes(gzip.compress(b"".join(orjson.dumps(one) + b"\n" for one in orders(1)))[:-4])
    async with watched() as server:
        ran = await cdp_orders("load", source, "--json", cwd=folder, env={**server.environment, **env})
    assert ran.status == 2
    assert orjson.loads(ran.out)["error"].startswith(f"{source} cannot be read")


async def test_output_on_a_full_disk_is_told(tmp_path: Path) -> None:
    """What cannot be written is one sentence and status 2."""
    with full_disk() as full:
        async with started("--help", cwd=tmp_path, stdout=full) as process:
            assert (await ended(process)).refused(os.strerror(errno.ENOSPC))


async def test_collector_looks_seldom_in_a_process_of_its_own() -> None:
    """The command sets the garbage collector; importing the package does not."""
    code = (
        "import gc, sys; before = gc.get_threshold(), gc.get_freeze_count(); "
        "from cdp_orders_async.__main__ import main; "
        "same = before == (gc.get_threshold(), gc.get_freeze_count()); sys.argv[1:] = ['--version']; main(); "
        "print(same, gc.get_threshold(), gc.get_freeze_count() > before[1])"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    printed, _ = await process.communicate()
    assert printed.decode().split("\n")[1] == "True (50000, 50, 100) True"


def test_command_needs_its_extra(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Without cyclopts and rich, the command says in one sentence what to install."""
    for name in [name for name in sys.modules if name.startswith("cdp_orders_async.cli")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cyclopts", None)
    assert entry() == 2
    assert refused(capsys, "pip install 'cdp-orders-async[cli]'")

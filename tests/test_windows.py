"""The package where what Windows lacks is missing: loads, journals and the emulator do there what they promise."""

from __future__ import annotations

import ast
import asyncio
import ctypes
import fcntl
import os
import select
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cdp_orders_async.emulator import Emulator
from cdp_orders_async.graph import parse_graph
from cdp_orders_async.session.attempt import describe, hearing
from tests.cli.support import TOKEN, cdp_orders, ended, names, orders, started, watched, write
from tests.ingest.expectations import stored, wanted
from tests.windows.lacking import LOOP, MODULES, lacks

ROOT = Path(__file__).parents[1]
WINDOWS = {
    "PYTHONPATH": os.pathsep.join((str(ROOT / "tests" / "windows"), str(ROOT))),
    "PYTHONWARNDEFAULTENCODING": "1",
    "PYTHONWARNINGS": "error",
    "PYTHONTZPATH": "",
}
"""The environment of a process that is one of Windows, where a text is not UTF-8 unless that is said."""


POOR = """
import asyncio, os, select, selectors, signal, socket

async def handle():
    try:
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, print)
    except NotImplementedError:
        print("no handlers")

print(selectors.DefaultSelector.__name__, *map(int, signal.Signals))
print(*(name for name in ("O_NOFOLLOW", "fchmod", "geteuid", "mkfifo") if hasattr(os, name)))
print(*(name for name in ("AF_UNIX", "TCP_INFO") if hasattr(socket, name)))
asyncio.run(handle())
"""


async def test_a_process_is_one_of_windows(tmp_path: Path) -> None:
    """What the tests below stand on: the process lacks what Windows lacks."""
    ran = await cdp_orders(cwd=tmp_path, env=WINDOWS, command=(sys.executable, "-c", POOR))
    assert (ran.out.split(), ran.err) == (["SelectSelector", "2", "4", "6", "8", "11", "15", "no", "handlers"], "")


async def test_load_goes_on_after_each_end(tmp_path: Path) -> None:
    """A load that was killed, and then stopped with Ctrl-C, goes on with its journal: each order is there once."""
    lines = orders(30)
    load = ("load", write(tmp_path / "o.jsonl", lines), "--journal", "j.sqlite", "--outcomes", "out.jsonl")
    async with watched() as server:
        env = {**WINDOWS, **server.environment}
        for http, number, status in (("aiohttp", signal.SIGKILL, -9), ("httptools", signal.SIGINT, 130)):
            async with started(*load, "--http", http, "--connections", "1", cwd=tmp_path, env=env) as process:
                await server.has_received(server.received + 20)
                process.send_signal(number)
                assert (await ended(process)).status == status
        ran = await cdp_orders(*load, cwd=tmp_path, env=env)
        assert ran.status == 0, ran.err
        assert server.holds(lines)
    outcomes = ("out.jsonl", "out.jsonl.1", "out.jsonl.2")
    assert names(tmp_path) == sorted(["j.sqlite", "o.jsonl", *outcomes, *(f"{name}.run.json" for name in outcomes)])


async def test_emulator_keeps_its_state(tmp_path: Path) -> None:
    """What the emulator stored is there after Ctrl-C, in a file that it opens again."""
    lines = orders(3)
    load = ("load", write(tmp_path / "o.jsonl", lines), "--client-key", "key", "--api-token", TOKEN)
    for journal in ("1.sqlite", "2.sqlite"):
        options = ("--port", "0", "--api-token", TOKEN, "--storage", "e.sqlite")
        async with started("emulator", *options, cwd=tmp_path, env=WINDOWS) as process:
            assert process.stdout is not None
            told = (await process.stdout.readline()).decode()
            address = told.removeprefix("The emulator listens on ").partition(" ")[0]
            given = ("--base-url", address, "--journal", journal, "--look-first")
            ran = await cdp_orders(*load, *given, cwd=tmp_path, env=WINDOWS)
            assert ran.status == 0, ran.err
            process.send_signal(signal.SIGINT)
            assert (await ended(process)).status == 0
    emulator = Emulator(storage=tmp_path / "e.sqlite")
    assert stored(emulator) == wanted(map(parse_graph, lines))
    emulator.close()


async def test_demo_is_told_in_the_letters_of_a_console(tmp_path: Path) -> None:
    """The demo runs where the letters are those of Western Europe."""
    env = {**WINDOWS, "PYTHONIOENCODING": "cp1252", "TMPDIR": str(tmp_path)}
    async with started("demo", cwd=tmp_path, env=env) as process:
        out, err = await process.communicate()
    assert (process.returncode, "| loaded | 50 |" in out.decode("cp1252")) == (0, True), err


def test_a_connection_is_asked_without_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no poll, it is told whether a connection spoke, also one of more than a thousand."""
    monkeypatch.delattr(select, "poll")
    here, there = socket.socketpair()
    high = socket.socket(fileno=fcntl.fcntl(here, fcntl.F_DUPFD, 1100))

    class Transport(asyncio.BaseTransport):
        def get_extra_info(self, name: str, default: object = None) -> object:
            return high if name == "socket" else default

    with here, there, high:
        has_spoken = hearing(Transport())
        assert not has_spoken()
        there.send(b"HTTP/1.1 408")
        assert has_spoken()


WORDS = {10061: "The target machine refused it. ", 1225: "The remote computer refused it."}


def of_windows(kind: type[OSError], number: int, winerror: int | None) -> OSError:
    """Return an error as Windows raises it."""
    error = kind(number, "the text, which may hold a password")
    vars(error)["winerror"] = winerror
    return error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (of_windows(OSError, 10061, None), "OSError: The target machine refused it"),  # from several addresses
        (of_windows(OSError, 10061, 10061), "OSError: The target machine refused it"),
        (of_windows(ConnectionRefusedError, 22, 1225), "ConnectionRefusedError: The remote computer refused it"),
        (of_windows(FileNotFoundError, 2, None), f"FileNotFoundError: {os.strerror(2)}"),
        (OSError("no number"), "OSError"),
    ],
)
def test_errors_have_the_words_of_the_system(monkeypatch: pytest.MonkeyPatch, error: OSError, words: str) -> None:
    """The numbers that Windows gives to errors are told in its words, not as unknown errors of the C library."""
    monkeypatch.setattr(ctypes, "FormatError", WORDS.__getitem__, raising=False)
    assert describe(error) == words


def unguarded(tree: ast.AST, *, asked: frozenset[str] = frozenset()) -> Iterator[str]:
    """Yield what a program takes from modules that Windows lacks, without having asked whether it is there.

    It asks by `hasattr`, whose module is in *asked* then, by `getattr`, or by expecting that an import fails.
    """
    match tree:
        case ast.If(test=test) | ast.IfExp(test=test) | ast.BoolOp(values=[test, *_]):
            calls = [one for one in ast.walk(test) if isinstance(one, ast.Call)]
            asked |= {ast.unparse(one.args[0]) for one in calls if ast.unparse(one.func) == "hasattr"}
        case ast.Try(handlers=handlers) if any("Import" in ast.unparse(one.type) for one in handlers if one.type):
            asked |= MODULES
        case ast.Import(names=found):
            yield from (one.name for one in found if one.name in MODULES - asked)
        case ast.ImportFrom(module=str(module), names=found):
            yield from (f"{module}.{one.name}" for one in found if lacks(module, one.name))
        case ast.Attribute(value=ast.Name(module), attr=name):
            if name in LOOP or (module not in asked | MODULES and lacks(module, name)):
                yield f"{module}.{name}"
        case ast.Attribute(attr=name) if name in LOOP:
            yield name
        case _:
            pass
    for child in ast.iter_child_nodes(tree):
        yield from unguarded(child, asked=asked)


def test_nothing_is_taken_for_granted() -> None:
    """The package uses nothing that Windows lacks unless it has asked whether it is there."""
    found = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in (ROOT / "cdp_orders_async").rglob("*.py")
        for name in unguarded(ast.parse(path.read_bytes()))
    }
    assert found == set()


@pytest.mark.parametrize(
    "program",
    [
        "import fcntl",
        "import os\nos.geteuid()",
        "import os\nif os.name == 'posix':\n    os.geteuid()",
        "from os import O_NOFOLLOW",
        "import signal\nsignal.SIGHUP",
        "import socket\nif hasattr(os, 'geteuid'):\n    socket.AF_UNIX",
        "self.loop.add_signal_handler(2, stop)",
    ],
)
def test_what_is_taken_for_granted_is_found(program: str) -> None:
    """Each way to use what Windows lacks is seen by the test above."""
    assert len(list(unguarded(ast.parse(program)))) == 1

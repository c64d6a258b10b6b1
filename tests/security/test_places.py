"""What is read from a place that somebody else may have laid out: files, variables, proxies, names of hosts."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import stat
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from cdp_orders_async import Invalid, JournalError, SqliteJournal
from cdp_orders_async.addresses import base_url_of
from cdp_orders_async.emulator import Emulator
from cdp_orders_async.errors import InputError, shown_key
from cdp_orders_async.jobs.outcomes_file import written
from tests.cli.support import Ran, cdp_orders, lines_of, orders, watched, write
from tests.security.canaries import TOKEN
from tests.security.test_files import load
from tests.servers import Proxy, serving
from tests.session.calling import ask, calling, failure


@asynccontextmanager
async def a_session(
    where: str, proxy: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncGenerator[aiohttp.ClientSession, None]:
    """Give an aiohttp session whose proxy is the given one."""
    if where == "environment":
        monkeypatch.setenv("HTTP_PROXY", proxy)
        monkeypatch.setenv("http_proxy", proxy)
    options = {"trust_env": True} if where == "environment" else {"proxy": proxy}
    async with aiohttp.ClientSession(**options) as http:  # pyright: ignore[reportArgumentType] either of them
        yield http


@pytest.mark.parametrize("where", ["environment", "session"])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_no_session_of_ones_own_shows_the_token_to_a_proxy(
    where: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session that has a proxy elsewhere is not used in the clear; one on this machine may be."""
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    async with serving() as server, serving(kind=Proxy) as proxy:
        here = proxy.url.replace("127.0.0.1", "proxy.localhost")
        async with a_session(where, here, monkeypatch) as http, calling(server.url, http=http) as session:
            error = await failure(session, ask(method))
        assert isinstance(error, Invalid)
        assert str(error).startswith("http_session: must have no proxy elsewhere")
        assert (proxy.connections, server.connections) == (0, 0)
        async with a_session(where, proxy.url, monkeypatch) as http, calling(server.url, http=http) as session:
            await session.send(ask(method))
        assert proxy.connections == 1


@pytest.mark.parametrize(
    "host",
    ["evil.test[::1]", "[::1]evil.test", "[::1].evil.test", "evil.test:80[::1]", "[::1]:80:80", "[[::1]]", "a@[::1]"],
)
def test_what_is_checked_is_what_is_asked(host: str) -> None:
    """A host that readers of URLs take for different ones is refused."""
    with pytest.raises(Invalid, match=r"^base_url: "):
        base_url_of(None, f"http://{host}")


def trigger(path: Path) -> None:
    """Make a storage of an emulator in which something else runs."""
    Emulator(storage=path).close()
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TRIGGER loot AFTER INSERT ON records BEGIN DELETE FROM effects; END")
        db.commit()


def view(path: Path) -> None:
    """Make one with a view more."""
    Emulator(storage=path).close()
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("CREATE VIEW more AS SELECT 1")
        db.commit()


def other_program(path: Path) -> None:
    """Make the database of another program."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE mine (id INTEGER)")
        db.commit()


def marked(path: Path) -> None:
    """Make an empty database that says whose it is."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA application_id = 77")


def other_columns(path: Path) -> None:
    """Make tables of the right names with other columns."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE effects (a)")
        db.execute("CREATE TABLE records (a)")
        db.commit()


def page(path: Path) -> None:
    """Make a file that is no database."""
    path.write_text("<html>" * 1000, encoding="utf-8")


@pytest.mark.parametrize("make", [trigger, view, other_program, marked, other_columns, page])
def test_storage_of_others_stays_as_it_is(make: Callable[[Path], None], tmp_path: Path) -> None:
    """What is no storage of an emulator, or holds more than one, is refused before anything of it is changed."""
    path = tmp_path / "e.sqlite"
    make(path)
    path.chmod(0o644)
    before = path.read_bytes()
    with pytest.raises((OSError, sqlite3.DatabaseError), match=r"another program|not a database"):
        Emulator(storage=path)
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (before, 0o644)
    assert [file.name for file in tmp_path.iterdir()] == ["e.sqlite"]


def test_storage_of_an_earlier_version_is_taken(tmp_path: Path) -> None:
    """A storage that does not say whose it is, with the very same tables, goes on, and says so from then on."""
    path = tmp_path / "e.sqlite"
    Emulator(storage=path).close()
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA application_id = 0")
    Emulator(storage=path).close()
    with contextlib.closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA application_id").fetchone() == (0x43445065,)


async def use_outcomes(path: Path) -> str:
    """Load into a file of outcomes; return what is said."""
    source = write(path.with_name("o.jsonl"), orders(1))
    async with watched() as server:
        ran = await load(path.parent, source, server.environment, "--outcomes", path)
    assert ran.status == 2
    return ran.err


async def use_journal(path: Path) -> str:
    """Open a journal; return what is said."""
    with pytest.raises(JournalError) as refused:
        await SqliteJournal.open(path, identity={})
    return str(refused.value)


async def use_storage(path: Path) -> str:
    """Open a storage; return what is said."""
    with pytest.raises(OSError, match="name") as refused:
        Emulator(storage=path)
    return str(refused.value)


async def write_outcomes(path: Path) -> str:
    """Begin to write outcomes in this process; return what is said."""
    with pytest.raises(InputError) as refused, written(path):
        pass
    return str(refused.value)


USES = (use_outcomes, use_journal, use_storage)


@pytest.mark.parametrize("use", USES)
async def test_a_file_with_several_names_is_refused(use: Callable[[Path], asyncio.Future[str]], tmp_path: Path) -> None:
    """A hard link is another name of somebody's file: it is neither written nor emptied."""
    (tmp_path / "precious").write_bytes(b"")
    os.link(tmp_path / "precious", tmp_path / "file")
    (tmp_path / "precious").chmod(0o666)
    assert "several names" in await use(tmp_path / "file")
    assert stat.S_IMODE((tmp_path / "precious").stat().st_mode) == 0o666


@pytest.mark.parametrize("use", [write_outcomes, use_journal, use_storage])
async def test_a_file_of_another_user_is_refused(
    use: Callable[[Path], asyncio.Future[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who may use every file still takes none that its owner can read along in."""
    (tmp_path / "file").write_bytes(b"")
    user = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: user + 1)
    assert "another user" in await use(tmp_path / "file")


async def test_a_log_without_end_is_not_read(tmp_path: Path) -> None:
    """A journal whose log is too large to be one is damaged, and the log is not read into memory."""
    path = tmp_path / "j.sqlite"
    await (await SqliteJournal.open(path, identity={})).aclose()
    with (tmp_path / "j.sqlite-wal").open("wb") as log:
        log.truncate(2**40)
    with pytest.raises(JournalError, match="is damaged"):
        await SqliteJournal.open(path, identity={})


def fifo(path: Path) -> None:
    """Put a pipe there that nobody writes to."""
    os.mkfifo(path)


def endless(path: Path) -> None:
    """Put a link to a device without end there."""
    path.symlink_to("/dev/zero")


def huge(path: Path) -> None:
    """Put a file there that is too large for what it is."""
    with path.open("wb") as file:
        file.truncate(2**40)


@pytest.mark.parametrize("place", [fifo, endless, huge])
async def test_token_and_faults_come_from_small_files(place: Callable[[Path], None], tmp_path: Path) -> None:
    """Neither waits for a writer, nor reads without end."""
    place(tmp_path / "file")
    source = write(tmp_path / "o.jsonl", orders(1))
    env = {"CDP_BASE_URL": "http://127.0.0.1:1", "CDP_CLIENT_KEY": "key"}

    async def ran(*command: object, **more: str) -> Ran:
        return await asyncio.wait_for(cdp_orders(*command, cwd=tmp_path, env={**env, **more}), 30)

    refused = await ran("load", source, "--api-token-file", "file")
    assert refused.refused("--api-token-file must be a readable file that holds nothing but the API token")
    refused = await ran("load", source, CDP_API_TOKEN_FILE="file")  # noqa: S106 the name of a file
    assert refused.refused("CDP_API_TOKEN_FILE must be a readable file")
    refused = await ran("emulator", "--port", "0", "--faults", "file")
    assert refused.refused("the emulator cannot use these faults: file ")


@pytest.mark.parametrize(
    ("options", "variables", "status"),
    [
        (("--api-token", TOKEN), {"CDP_API_TOKEN_FILE": "wrong"}, 0),
        (("--api-token", TOKEN), {"CDP_API_TOKEN": "wrong"}, 0),
        (("--api-token", TOKEN), {"CDP_API_TOKEN": "wrong", "CDP_API_TOKEN_FILE": "wrong"}, 0),
        (("--api-token-file", "right"), {"CDP_API_TOKEN": "wrong"}, 0),
        (("--api-token-file", "right"), {"CDP_API_TOKEN_FILE": "wrong"}, 0),
        ((), {"CDP_API_TOKEN_FILE": "right"}, 0),
        ((), {"CDP_API_TOKEN_FILE": "right", "CDP_API_TOKEN": ""}, 0),
        (("--api-token", TOKEN, "--api-token-file", "right"), {}, 2),
        ((), {"CDP_API_TOKEN_FILE": "right", "CDP_API_TOKEN": TOKEN}, 2),
    ],
)
async def test_an_option_comes_before_each_variable(
    options: tuple[str, ...], variables: dict[str, str], status: int, tmp_path: Path
) -> None:
    """A token that is given as told is the one that is used, and two ways of the same rank are refused."""
    (tmp_path / "wrong").write_text("wrong", encoding="utf-8")
    (tmp_path / "right").write_text(TOKEN, encoding="utf-8")
    source = write(tmp_path / "o.jsonl", orders(1))
    async with watched() as server:
        env = {**server.environment, "CDP_API_TOKEN": "", **variables}
        ran = await cdp_orders("load", source, "--journal", "j.sqlite", *options, cwd=tmp_path, env=env)
    assert (ran.status, "only one of them" in ran.err) == (status, status == 2)


@pytest.mark.parametrize(
    "mark", ["\u061c", "\u200e", "\u200f", "\ufeff", "\u00ad", "\U000e0041", "\u2066", "\x7f", "\x85"]
)
async def test_no_outcome_holds_a_mark(mark: str, tmp_path: Path) -> None:
    """What nobody sees and a terminal may obey is written as an escape, and read again as it was."""
    source = write(tmp_path / "o.jsonl", [{**orders(1)[0], "referenceId": f"B{mark}1"}])
    async with watched() as server:
        ran = await load(tmp_path, source, server.environment, "--outcomes", "out.jsonl")
    assert ran.status == 0
    written = (tmp_path / "out.jsonl").read_text(encoding="utf-8")
    assert mark not in written
    assert written.removesuffix("\n").isprintable()
    assert lines_of(tmp_path / "out.jsonl")[0]["key"].startswith(f"B{mark}1@")


@pytest.mark.parametrize(
    "key", ["john.doe@x.y", "+353871815018", "John Doe", "山田", "a" * 20 + "12345", "1815-01-01", "k\n"]
)
def test_a_key_that_may_be_a_value_is_not_told(key: str) -> None:
    """A key that is no name of a field may be the value of a person."""
    assert shown_key(key) == "***"


@pytest.mark.parametrize("key", ["store_id", "items", "loyaltyId2", "first-name", "_x", "referenceID"])
def test_a_key_that_is_a_name_is_told(key: str) -> None:
    """Which key is wrong, a person must be told."""
    assert shown_key(key) == key

"""Error logs of batches, in the forms that a server may give them: no refused order counts as loaded."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import attrs
import orjson
import pytest

from cdp_orders_async import CdpOrders, Settings
from cdp_orders_async.emulator import Switches
from cdp_orders_async.engines import batch_api
from cdp_orders_async.engines.batch_api import BatchApi
from cdp_orders_async.redact import Opaque
from tests.cli.support import lines_of, orders
from tests.emulator.talking import ABSENT
from tests.engines.support import ENGINE, Json, counted, importable, load, served
from tests.servers import Reply, serving
from tests.ways import over

SIX = [importable(order) for order in orders(6)]
ONE_FILE = attrs.evolve(ENGINE, most_orders=6)
REFUSED: Json = {"faults": [{"operation": "batches.process", "script": [{"action": "reject", "status": 403}]}]}
"""The third and the sixth record are refused."""


def changed(row: bytes, **fields: object) -> bytes:
    """Return a row with other *fields*."""
    return orjson.dumps({**orjson.loads(row), **fields})


LOGS: dict[str, tuple[Callable[[list[bytes]], bytes], dict[str, int]]] = {
    "it is not packed": (b"\n".join, {"loaded": 4, "failed": 2}),
    "it has empty lines and other line ends": (
        lambda rows: b"\r\n\r\n".join([*rows, b""]),
        {"loaded": 4, "failed": 2},
    ),
    "its codes are text": (
        lambda rows: b"\n".join(changed(row, code="403") for row in rows),
        {"loaded": 4, "failed": 2},
    ),
    "it is packed in several pieces": (
        lambda rows: b"".join(gzip.compress(row + b"\n") for row in rows),
        {"loaded": 4, "failed": 2},
    ),
    "its last piece is cut": (
        lambda rows: b"".join(gzip.compress(row + b"\n") for row in rows)[:-9],
        {"unknown": 6},
    ),
    "something follows its last piece": (
        lambda rows: gzip.compress(b"\n".join(rows)) + b"<html>",
        {"unknown": 6},
    ),
    "a row has no code of an error": (
        lambda rows: b"\n".join([changed(rows[0], code=200), rows[1]]),
        {"loaded": 4, "unknown": 1, "failed": 1},
    ),
    "a record came too late, and one came twice": (
        lambda rows: b"\n".join(changed(row, code=code) for row, code in zip(rows, (408, 409), strict=True)),
        {"loaded": 4, "unknown": 2},
    ),
    "one record has several rows": (
        lambda rows: b"\n".join([changed(rows[0], code=500), rows[0], rows[1], rows[1]]),
        {"loaded": 4, "unknown": 1, "failed": 1},
    ),
    "a row names another record": (
        lambda rows: b"\n".join([changed(rows[0], ref=str(UUID(int=7))), rows[1]]),
        {"failed": 1, "unknown": 5},
    ),
    "a row names no record": (
        lambda rows: b"\n".join([changed(rows[0], ref=None), rows[1]]),
        {"failed": 1, "unknown": 5},
    ),
    "it is a table": (lambda _: b"ref,code,message\n1,403,no\n", {"unknown": 6}),
    "it is a list": (lambda rows: b"[" + b",".join(rows) + b"]", {"unknown": 6}),
    "it is empty": (lambda _: b"", {"unknown": 6}),
    "its last row is cut": (lambda rows: b"\n".join(rows)[:-3], {"unknown": 6}),
    "a row is too long": (
        lambda rows: b"\n".join([*rows, changed(rows[0], message="m" * 2_000)]),
        {"unknown": 6},
    ),
    "it is too large": (lambda rows: gzip.compress(b"\n".join([*rows, b" " * 20_000])), {"unknown": 6}),
}


@pytest.mark.parametrize("name", LOGS)
async def test_no_refused_order_counts_as_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Each refused record is found; where the log is not certain, the others are unknown."""
    change, expected = LOGS[name]
    read = BatchApi.log

    async def log(api: BatchApi, url: Opaque[str]) -> bytes | None:
        packed = await read(api, url)
        assert packed is not None
        return change(gzip.decompress(packed).splitlines())

    monkeypatch.setattr(BatchApi, "log", log)
    monkeypatch.setattr(batch_api, "LARGEST_ROW", 1_000)
    monkeypatch.setattr(batch_api, "LARGEST_PLAIN_LOG", 10_000)
    async with served(Switches(), REFUSED) as (server, cdp):
        report = await load(cdp, tmp_path, SIX, ONE_FILE)
        assert counted(report) == expected
        assert len(list(server.store.all("orders"))) == 4


@pytest.mark.parametrize("code", [400, 403, 500])
@pytest.mark.parametrize("damaged", [False, True])
async def test_no_row_repeats_a_word_of_its_person(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    damaged: bool,  # noqa: FBT001 a parameter
) -> None:
    """Some people have names that servers use as words; where the file is lost, no word is certainly of no person."""
    read = BatchApi.log
    text = "status: Will May Max of Long Point will be refused"

    async def log(api: BatchApi, url: Opaque[str]) -> bytes | None:
        packed = await read(api, url)
        assert packed is not None
        for file in (tmp_path / "j.batches").glob("*.gz") if damaged else ():
            file.write_bytes(b"other")
        return b"\n".join(changed(row, code=code, message=text) for row in gzip.decompress(packed).splitlines())

    monkeypatch.setattr(BatchApi, "log", log)
    people: Json = {
        "contact": {"firstName": "Will", "lastName": "May", "identifiers": [{"provider": "CRM", "id": "1"}]},
        "consumers": [{"firstName": "Max", "orderItems": [{"referenceId": "A-2"}]}],
        "extensions": [{"name": "ext", "note": "Long"}],
        "orderItems": [{**SIX[2]["orderItems"][0], "extensions": [{"name": "ext", "note": "point"}]}],
    }
    async with served(Switches(), REFUSED) as (_, cdp):
        await load(cdp, tmp_path, [*SIX[:2], {**SIX[2], **people}, *SIX[3:]], ONE_FILE)
    told = {line["number"]: orjson.dumps(line).decode() for line in lines_of(tmp_path / "out")}
    masked, kept = "*** of *** be refused", text.partition(": ")[2]
    for number, words in ((3, masked), (6, kept)):
        assert ("without a message" if damaged else words) in told[number]
        assert not damaged or "refused" not in told[number].replace('"refused"', "")


async def test_no_code_of_a_batch_repeats_a_value() -> None:
    """The load shows the code while it waits: of one that is not documented, the words of servers stay."""
    codes = {"SUCCESS": "success", "Being processed": "being processed", "Ann 7 a2V5OnRva2Vu": "***"}
    replies = [Reply(200, orjson.dumps({"status": {"code": code}})) for code in codes]
    async with serving(*replies) as server:
        client = CdpOrders(base_url=server.url, client_key="key", api_token="token")  # noqa: S106 it guards nothing
        async with client as cdp:
            found = [await BatchApi(cdp).status(ABSENT) for _ in codes]
    assert [status and status.code for status in found] == [*codes.values()]


@pytest.mark.usefixtures("way")
async def test_log_of_the_api_is_asked_for_as_it_was_named() -> None:
    """A signature holds for the bytes of the query: nothing of it is decoded, encoded, sorted or left out."""
    target = "/v2/batches/x/log%2F1?sig=a%2Bb%2Fc%3D&n=2&n=1&plus=+&odd=%zz&bare"
    async with serving(Reply(body=b"rows")) as server:
        client = CdpOrders(base_url=server.url, client_key="key", api_token="token", settings=over(Settings(retries=0)))  # noqa: S106 it guards nothing
        async with client as cdp:
            for url in (target, server.url + target):
                assert await BatchApi(cdp).log(Opaque(url)) == b"rows"
    assert [asked.target for asked in server.requests] == [target, target]

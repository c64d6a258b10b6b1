"""What pytest takes from the package: the message of a failed assert on models, and the fixtures."""

from __future__ import annotations

import os
import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path

import attrs
import pytest

from cdp_orders_async import Identifier, NewConsumer, NewContact
from cdp_orders_async.testing import pytest_assertrepr_compare
from tests import values
from tests.databases import PostgresServer

ROOT = Path(__file__).parents[1]
CONTACT = NewContact(first_name="Ada", emails=("ada@example.com",), identifiers=(Identifier(provider="CRM", id="B75"),))
TESTS = """
import asyncio
import attrs
import pytest
from decimal import Decimal
from tests import values
from cdp_orders_async import *
from cdp_orders_async.emulator import Faults

ITEM = NewOrderItem(type="A", name="A", price=Decimal(1), currency_code="EUR", status="NEW", description="d" * 500)
ORDER = NewOrder(reference_id="B-1", ordered_at=values.NOW, price=Decimal(1), currency_code="EUR", status="NEW")
GRAPH = OrderGraph(order=ORDER, contact=values.CONTACT, items=(GraphItem(ITEM), GraphItem(ITEM)))
OTHER = OrderGraph(
    order=ORDER,
    contact=attrs.evolve(values.CONTACT, first_name=values.CONTACT.last_name),
    items=(GraphItem(ITEM), GraphItem(attrs.evolve(ITEM, status="OLD"))),
    consumers=(GraphConsumer(NewConsumer()),),
)
ONE = OrderGraph(order=attrs.evolve(ORDER, status=None), items=(GraphItem(attrs.evolve(ITEM, description=None)),))
REFUSED = {"action": "status", "status": 400}
CHANGED = attrs.evolve(ORDER, status="PURCHASED", channel="WEB")

def test_one():
    assert ORDER == CHANGED

def test_graph():
    assert GRAPH == OTHER

def test_served(cdp_served):
    assert cdp_served.state() == {"orders": []}

def test_url(cdp_emulator):
    async def main():
        async with CdpOrders(base_url=cdp_emulator, client_key="key", api_token="token") as cdp:
            await cdp.ping()
    asyncio.run(main())

@pytest.mark.parametrize("run", [1, 2])
def test_client(cdp_client, cdp_served, cdp_emulator, cdp_postgres, run):
    cdp_served.faults = Faults.of({"faults": [{"operation": "items.create", "script": [REFUSED]}]})
    async def main():
        async with (
            cdp_client(settings=Settings(retries=0)) as cdp,
            await PostgresJournal.open(cdp_postgres, identity=cdp.identity) as journal,
        ):
            assert (cdp.base_url, journal.new) == (cdp_emulator, True)
            verdicts = [(await ingest_one(cdp, ONE, journal=journal)).verdict for _ in range(2)]
        assert verdicts == ["partial", "loaded"]
    asyncio.run(main())
    assert len(cdp_served.state()["orders"]) == 1

async def test_of_pytest_asyncio(cdp_client, cdp_postgres):
    async with cdp_client() as cdp, await PostgresLimiter.open(cdp_postgres, name="a", rate=50) as limiter:
        await limiter.acquire()
        await cdp.ping()
"""
LINES = (
    "E*assert NewOrder(...) == NewOrder(...), but these fields differ:",
    "E*  channel: None != 'WEB'",
    "E*  status: 'NEW' != 'PURCHASED'",
    "E*assert OrderGraph(...) == OrderGraph(...), but these fields differ:",
    "E*  contact.first_name: <????> != <????>",
    "E*  items[[]1].item.status: 'NEW' != 'OLD'",
    "E*  consumers: () != (GraphConsumer(consumer=NewConsumer(), uses=()),)",
    "2 failed, 5 passed*",
)


def ran(tmp_path: Path, **variables: str) -> str:
    """Run the tests of somebody's own, and return what pytest said."""
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["cdp_orders_async.testing"]\n', encoding="utf-8")
    (tmp_path / "test_own.py").write_text(TESTS, encoding="utf-8")
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-c",
            os.devnull,
            "--rootdir",
            tmp_path,
            "-p",
            "no:cacheprovider",
            "-rs",
            "-o",
            "asyncio_mode=auto",
            tmp_path,
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return run.stdout


def test_tests_of_somebody(tmp_path: Path, postgres: str, postgres_server: PostgresServer) -> None:
    """What differs has its path, of a person only the field is told; the fixtures work, and leave no schema."""
    said = ran(tmp_path, CDP_TEST_POSTGRES=postgres)
    assert [line for line in LINES if not any(fnmatchcase(one, line) for one in said.splitlines())] == [], said
    assert [secret for secret in values.SECRETS if secret in said] == []
    assert "cdp_" not in postgres_server.run("SELECT nspname FROM pg_namespace", postgres.rpartition("/")[2])


def test_tests_without_a_database(tmp_path: Path) -> None:
    """The tests that need a database are skipped, and say how to name one."""
    said = ran(tmp_path, CDP_TEST_POSTGRES="")
    assert "set CDP_TEST_POSTGRES to the address of a database for tests" in said
    assert "2 failed, 2 passed, 3 skipped" in said


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (attrs.evolve(CONTACT, first_name="Bob"), ["first_name: <????> != <????>"]),
        (attrs.evolve(CONTACT, first_name=None), ["first_name: <????> != None"]),
        (attrs.evolve(CONTACT, identifiers=()), ["identifiers: <????> != <????>"]),
        (
            attrs.evolve(CONTACT, emails=("bob@example.com",), city="Cork"),
            ["emails: <????> != <????>", "city: None != <????>"],
        ),
    ],
)
def test_persons_are_marks(other: NewContact, told: list[str]) -> None:
    """What differs of a person is a mark on both sides, and no mark where there is no value."""
    _, *lines = pytest_assertrepr_compare("==", CONTACT, other) or []
    assert len(lines) == len(told)
    assert [
        line for line, wanted in zip(sorted(lines), sorted(told), strict=True) if not fnmatchcase(line, wanted)
    ] == []


@pytest.mark.parametrize(
    ("op", "left", "right"),
    [
        ("!=", CONTACT, CONTACT),
        ("==", CONTACT, "A"),
        ("==", "A", CONTACT),
        ("==", CONTACT, NewConsumer()),
        ("in", 1, [2]),
    ],
)
def test_what_pytest_tells_itself(op: str, left: object, right: object) -> None:
    """Of other comparisons, and of values of two classes, nothing is told."""
    assert pytest_assertrepr_compare(op, left, right) is None

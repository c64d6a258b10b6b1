"""Commands that run in this process, against an emulator in a thread."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import orjson
import pytest

from cdp_orders_async.cli import main
from cdp_orders_async.emulator import Emulator, Served, in_thread
from tests.cli.support import TOKEN, Json, environment, orders_v2

__all__ = ["BODIES", "ITEM", "ORDER", "PERSON", "Shell", "bodies_v2", "shell_fixture"]

ORDER = {"referenceId": "B-1", "orderedAt": "2024-01-01T16:17:16Z", "price": 50, "currencyCode": "EUR"}
ITEM = {"referenceId": "A-1", "type": "MOBILE", "name": "AZ", "price": 50, "currencyCode": "EUR", "status": "CONFIRMED"}
PERSON = {"firstName": "canary-Ada", "emails": ["canary@example.com"]}
BODIES: dict[str, Json] = {
    "orders": ORDER,
    "items": ITEM,
    "contacts": PERSON,
    "consumers": PERSON,
    "order_extensions": {"seatsLeft": 8, "note": "canary"},
    "item_extensions": {"seatsLeft": 8, "note": "canary"},
}


class Shell:
    """Runs commands in this process against an emulator in a thread."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, served: Served) -> None:
        self._capsys, self._monkeypatch, self.served = capsys, monkeypatch, served
        self.err = ""

    def __call__(self, *words: object, given: object = None, status: int = 0) -> list[Json]:
        """Run a command with JSON on its standard input; return the lines that it prints."""
        text = given if isinstance(given, bytes) else b"" if given is None else orjson.dumps(given)
        self._monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
        self._capsys.readouterr()
        ended = main(list(map(str, words)))
        told = self._capsys.readouterr()
        self.err = told.err
        assert ended == status, told.err
        assert told.out.isascii()
        return [orjson.loads(line) for line in told.out.splitlines()]

    def refused(self, *words: object, given: object = None, status: int = 2) -> str:
        """Run a command that prints nothing, and refuses in one sentence; return it."""
        assert self(*words, given=given, status=status) == []
        assert self.err.startswith("cdp-orders: ")
        assert self.err.count("\n") == 1
        assert "canary" not in self.err
        assert "Traceback" not in self.err
        return self.err

    def effects(self) -> int:
        """Return how many writes the server did."""
        counts: Any = self.served.ledger()
        return len(counts["effects"])

    def made(self, name: str, api: str = "v2.1") -> tuple[list[str], str]:
        """Make a resource with what it needs; return the reference of its owner, if it has one, and its own."""
        bodies = BODIES if api == "v2.1" else bodies_v2()
        version = ("--api", api)
        [order] = self("orders", "create", *version, given=bodies["orders"])
        owner = str(order["ref"])
        if name == "orders":
            return [], owner
        if name == "item_extensions":
            owner = str(self("items", "create", owner, *version, given=bodies["items"])[0]["ref"])
        [got] = self(name.replace("_", "-"), "create", owner, *version, given=bodies[name])
        return [owner], owner if name.endswith("extensions") else str(got["ref"])


def bodies_v2() -> dict[str, Json]:
    """Return what version 2 takes of each kind."""
    [order] = orders_v2(1)
    person = {key: value for key, value in order.pop("contact").items() if key != "identifiers"}
    [item] = order.pop("orderItems")
    item.pop("extensions", None)
    whole = {key: value for key, value in order.items() if key not in {"consumers", "extensions"}}
    return {"orders": whole, "items": item, "contacts": person, "consumers": person, "order_extensions": {"seats": 8}}


@pytest.fixture(name="shell")
def shell_fixture(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Generator[Shell, None, None]:
    """Give a shell whose variables name an emulator."""
    for name in set(os.environ) - environment({}).keys():
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    emulator = Emulator(api_token=TOKEN)
    with in_thread(emulator) as served:
        variables = {"CDP_BASE_URL": served.base_url, "CDP_CLIENT_KEY": "key", "CDP_API_TOKEN": TOKEN}
        for name, value in {**variables, "CDP_RATE": "none", "CDP_RETRIES": "0"}.items():
            monkeypatch.setenv(name, value)
        yield Shell(capsys, monkeypatch, served)
    emulator.close()

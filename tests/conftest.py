"""What all tests share."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests import ways
from tests.databases import postgres, postgres_server

__all__ = ["postgres", "postgres_server", "unprivileged", "way"]

NOBODY = 65534  # the user of that name

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup, each command would be born without it


LONGEST = ("tests/engines/test_ray", "tests/cli/test_story", "tests/ingest/test_model")
"""The tests that take longest: they begin first, so that no worker waits for them at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tests that take longest; all others keep their order."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONGEST))


@pytest.fixture(scope="module", params=ways.WAYS)
def way(request: pytest.FixtureRequest) -> Generator[ways.Way, None, None]:
    """Let requests go over one way after the other: both must do the same."""
    before, ways.chosen = ways.chosen, request.param
    yield ways.chosen
    ways.chosen = before


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """Give a folder, and run as a user to whom permissions apply."""
    with tempfile.TemporaryDirectory() as name:
        if os.geteuid() == 0:
            os.chown(name, NOBODY, NOBODY)
            os.seteuid(NOBODY)
        try:
            yield Path(name)
        finally:
            os.seteuid(os.getuid())
            Path(name).chmod(0o700)

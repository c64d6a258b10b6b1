"""What all tests share."""

from __future__ import annotations

import signal
from collections.abc import Generator

import pytest
from hypothesis import settings

from tests import ways
from tests.databases import postgres, postgres_server

__all__ = ["postgres", "postgres_server", "way"]

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup, each command would be born without it


@pytest.fixture(scope="module", params=ways.WAYS)
def way(request: pytest.FixtureRequest) -> Generator[ways.Way, None, None]:
    """Let requests go over one way after the other: both must do the same."""
    before, ways.chosen = ways.chosen, request.param
    yield ways.chosen
    ways.chosen = before

"""What the tests of the journals share."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Name a file that is not there."""
    return tmp_path / "J.sqlite"


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    """Check that every test ends with no thread of a journal."""
    yield
    assert [thread for thread in threading.enumerate() if thread.name.startswith("journal ")] == []

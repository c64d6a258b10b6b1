"""Both ways to send do the same."""

from __future__ import annotations

import pytest

from tests.session import calling


@pytest.fixture(autouse=True, params=["aiohttp", "httptools"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> calling.Way:
    """Set and return what the requests go over."""
    chosen: calling.Way = request.param
    monkeypatch.setattr(calling, "WAY", chosen)
    return chosen

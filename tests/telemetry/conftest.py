"""What holds for each test of telemetry."""

from __future__ import annotations

from collections.abc import Generator

import pytest


@pytest.fixture(autouse=True)
def no_leaks(caplog: pytest.LogCaptureFixture) -> Generator[None, None, None]:
    """See that OpenTelemetry finds nothing wrong, such as a context that is restored in another task."""
    yield
    assert [record for record in caplog.records if record.name.startswith("opentelemetry")] == []

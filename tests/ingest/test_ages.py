"""Whether the server had a resource before a load began."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdp_orders_async.ingest.ages import by_server_clock, is_older
from cdp_orders_async.ingest.parts import CreatedExtension, CreatedRef
from cdp_orders_async.wire import reads

START = datetime(2024, 1, 1, 12, tzinfo=UTC)
REF = "7c9e6679-7425-40de-944b-e07fc1f90ae7"


def shown(created: object, modified: object = None) -> CreatedExtension:
    """Return the answer to a create that shows these times."""
    return CreatedExtension(created_at=created, modified_at=modified)


@pytest.mark.parametrize(
    ("created", "modified", "older"),
    [
        ("2024-01-01T12:00:00Z", "2024-01-01T12:00:09Z", False),
        ("2024-01-01T11:59:59Z", "2024-01-01T11:59:59Z", False),  # the clocks may differ
        ("2024-01-01T11:59:59Z", "2024-01-01T12:00:00Z", True),
        ("2024-01-01T11:59:57.9Z", "2024-01-01T11:59:57.9Z", True),
        ("2024-01-01T11:59:57.9Z", None, True),
        ("2024-01-01T13:00:00+02:00", None, True),
        ("2024-01-01T10:00:00", None, True),
        (datetime(2023, 1, 1, tzinfo=UTC), datetime(2023, 1, 1, tzinfo=UTC), True),
        (None, "2024-01-01T12:00:00Z", False),
        ("yesterday", None, False),
        (1_577_836_800, [], False),
    ],
)
def test_what_the_times_of_an_answer_show(created: object, modified: object, *, older: bool) -> None:
    """A time that is absent or of another form shows nothing."""
    assert is_older(shown(created, modified), START) is older


@given(st.floats(-1e6, 1e6), st.floats(0, 1e6), st.floats(0, 0.9))
def test_what_is_made_after_the_start_is_not_older(skew: float, after: float, behind: float) -> None:
    """Whatever the skew is, and although it is only known to a second, and servers cut off times."""
    created = (START + timedelta(seconds=skew + after)).replace(microsecond=0)
    for known in (skew, skew - behind):
        assert not is_older(shown(created, created), by_server_clock(START, known))


@pytest.mark.parametrize(
    "times", ["", ', "createdAt": 7, "modifiedAt": [{}]', ', "createdAt": "x", "modifiedAt": null']
)
@pytest.mark.parametrize("model", [CreatedRef, CreatedExtension])
@pytest.mark.parametrize("ref", [REF, REF.upper()])
def test_any_times_leave_an_answer_readable(model: type[CreatedRef | CreatedExtension], ref: str, times: str) -> None:
    """Of an answer to a create, only the reference must be as documented."""
    read = reads(model)(f'{{"ref": "{ref}"{times}, "more": 1}}'.encode())
    assert (str(read.ref), is_older(read, START)) == (REF, False)

"""Fuzz targets of what the commands read: one resource as JSON, and a file of outcomes."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from hypothesis import strategies as st

from cdp_orders_async import InputError, Invalid, PartVerdict, Verdict
from cdp_orders_async.graph import read_part
from cdp_orders_async.jobs.recorded import Recorded, read, read_at, read_lines
from cdp_orders_async.kinds import V2, V2_1
from tests.fuzz.corpus import REF, Json, anything, dumped, leaves, mutated
from tests.fuzz.engine import Target, looped, pure
from tests.fuzz.reading import resources

# A resource that a person gives to a command.


def part(data: bytes) -> None:
    """Read one resource of each kind."""
    for api in (V2_1, V2):
        for kind in api.kinds:
            for changes in (False, True):
                refused: Invalid | None = None
                try:
                    assert read_part(data, kind, api, changes=changes) is not None
                except Invalid as error:
                    refused = error
                if refused is not None:
                    assert refused.violations
                    assert all(wrong.field.startswith("$") and wrong.rule for wrong in refused.violations)


# A file of outcomes.

parts = st.fixed_dictionaries(
    {"name": st.just("items/0") | leaves, "verdict": st.sampled_from([*map(str, PartVerdict), "odd"])},
    optional={"ref": st.just(REF) | leaves, "reason": leaves},
)
recorded: st.SearchStrategy[Json] = st.fixed_dictionaries(
    {"number": st.just(1) | leaves, "verdict": st.sampled_from([*map(str, Verdict), "odd"])},
    optional={"file": leaves, "key": leaves, "parts": st.lists(parts, max_size=2) | anything, "more": anything},
)
outcomes = mutated(st.lists((recorded | anything).map(dumped), max_size=4).map(b"\n".join)) | st.binary(max_size=100)


@asynccontextmanager
async def outcomes_file() -> AsyncGenerator[Callable[[bytes], Awaitable[None]], None]:
    """Read files of outcomes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "outcomes"

        async def check(data: bytes) -> None:
            path.write_bytes(data)
            told: list[object] = []
            refused, found = "", list[tuple[int, Recorded]]()
            try:
                found = list(read_lines(path, told.append))
            except InputError as error:
                refused = str(error)
            if refused:
                assert refused.startswith(f"the outcomes cannot be read from {path}, line ")
                return
            assert list(read(path)) == [one for _, one in found]
            assert len(data.splitlines()) >= len(found) + len(told)
            with path.open("rb") as file:
                assert all(read_at(file, offset) == one for offset, one in found)

        yield check


TARGETS = (
    Target("part", mutated(resources.map(dumped)) | st.binary(max_size=100), pure(part)),
    Target("outcomes-file", outcomes, looped(outcomes_file)),
)

"""Under every fault nothing is lost and nothing doubled; ``tests/campaigns/run.py`` shows the same at full size."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from signal import SIGKILL

import pytest

from tests.campaigns.commands import IN_FLIGHT, hurt
from tests.campaigns.loads import READINGS, load
from tests.campaigns.naive import naive
from tests.campaigns.verdicts import verdicts
from tests.session.endings import Loop
from tests.virtual import run_in

pytestmark = pytest.mark.usefixtures("way")
SEED = 1


def test_verdicts_are_true() -> None:
    """Each operation under each fault is sent once, and the error's delivery is what the ledger knows or unknown."""
    sent = run_in(Loop, lambda _: verdicts())  # in virtual time, no call is given up before it left
    assert [one for one in sent if not one.true] == []
    assert len({one.operation for one in sent}) == 39
    assert {one.said for one in sent} == {"done", "done_unreadable", "refused", "unknown"}


@pytest.mark.parametrize(("seed", "reading"), list(enumerate(READINGS, SEED)))
async def test_load_under_faults(seed: int, reading: str, tmp_path: Path) -> None:
    """Under faults of every kind everything is there once, however the API is read."""
    figures = await load(reading, 12, 0.2, seed, tmp_path)
    assert figures.exact, figures
    assert figures.faults > figures.parts / 10


async def test_naive_client_doubles(tmp_path: Path) -> None:
    """Under the same faults a client that sends again what failed doubles parts, and the loader does not."""
    ours, theirs = await load("no upsert", 12, 0.2, SEED, tmp_path), await naive("no upsert", 12, 0.2, SEED)
    assert (ours.exact, theirs.doubled > 0) == (True, True), (ours, theirs)


@pytest.mark.parametrize(("reading", "chance", "seed"), [("lists lag, no upsert", 0, SEED), ("3 to a page", 0.1, SEED)])
async def test_killed_and_resumed(reading: str, chance: float, seed: int, tmp_path: Path) -> None:
    """After ``kill -9`` at random moments and edits of the orders the same command resumes.

    What was in flight is adopted, not made again, and what was edited is updated, not added.
    """
    figures, ends = await hurt("killed", 3, reading, 12, chance, seed, tmp_path)
    assert figures.exact, (figures, ends)
    kills = Counter(status for status, _ in ends)[-SIGKILL]
    assert kills > 0
    assert figures.edits >= kills
    assert chance or figures.repeated <= kills * IN_FLIGHT


@pytest.mark.parametrize("how", ["disk full", "read-only"])
async def test_journal_that_cannot_be_written(how: str, tmp_path: Path) -> None:
    """A journal that fails in the middle ends the load with one sentence and status 2; then the load resumes."""
    figures, ends = await hurt(how, 1, "no upsert", 40, 0, SEED + 1, tmp_path)
    assert figures.exact, (figures, ends)
    assert [status for status, _ in ends] == [2, 0]
    sentences = [line for line in ends[0][1].splitlines() if line.startswith("cdp-orders: ")]
    journal = tmp_path / "journal.sqlite"
    assert sentences == [
        f"cdp-orders: the journal {journal} cannot be read or written (SQLITE_IOERR_WRITE): see to its disk and resume"
    ]

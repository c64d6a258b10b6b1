"""What the campaign of web backends measures of several workers, it measures of all of them at once."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from tests.campaigns.backends import borne
from tests.cli.support import PATIENCE

MEETING = """
import sys
folder, name = sys.argv[1:]
print("ready", flush=True)
begin, end = map(float, sys.stdin.readline().split())
open(f"{folder}/pipe", "w" if name == "w0" else "r").close()  # it opens once the other end is open too
print(round((end - begin) * 10))
"""


async def test_workers_work_at_the_same_time(tmp_path: Path) -> None:
    """Two workers that wait for each other both end, and the sum is of the seconds in which both worked."""
    os.mkfifo(tmp_path / "pipe")
    async with asyncio.timeout(PATIENCE):
        assert await borne(str(tmp_path), MEETING, 2) == 20

"""The folder of the batch files beside a journal, for those who do not open it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

__all__ = ["NAME", "batch_folder"]

ENDING: Final = ".batches"
NAME: Final = "batches.sqlite"
"""The file that says how far each batch file is."""


def batch_folder(journal: Path) -> Path:
    """Return the folder of the batch files of loads with this *journal*."""
    return Path(f"{journal}{ENDING}")

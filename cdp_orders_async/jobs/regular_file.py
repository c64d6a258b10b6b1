"""A file that a job reads."""

from __future__ import annotations

import errno
import stat
from pathlib import Path
from typing import BinaryIO

__all__ = ["open_regular"]


def open_regular(path: Path) -> BinaryIO:
    """Open the file at *path* to read it; raise OSError for one that cannot be read, and for no regular file."""
    kind = path.stat().st_mode
    if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):  # a pipe would wait for its writer, and a device never end
        raise OSError(errno.EINVAL, "it is not a regular file")
    return path.open("rb")

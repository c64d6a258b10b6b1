"""``python -m cdp_orders_async`` is ``cdp-orders``."""

from __future__ import annotations

import gc
import io
import os
import sys

__all__ = ["main", "relax_gc"]


def main() -> int:
    """Run the command line, or say what it needs."""
    try:
        return _run()
    except KeyboardInterrupt:  # before a command could say what it does then
        return 130


def _run() -> int:
    _fill_standard_streams()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Names that it cannot show are escaped, as on standard error.
        sys.stdout.reconfigure(errors="backslashreplace")  # pyright: ignore[reportUnknownMemberType] of its buffer
    try:
        from cdp_orders_async.cli import main as run  # noqa: PLC0415 an extra, which may be missing
    except ModuleNotFoundError as missing:
        if missing.name not in {"cyclopts", "rich"}:
            raise
        sys.stderr.write("cdp-orders: the command line needs an extra: pip install 'cdp-orders-async[cli]'\n")
        return 2
    relax_gc()
    return run()


def _fill_standard_streams() -> None:
    """Open nothing in place of a standard stream that is closed, or else the next file would be taken for it."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free, which is this one


def relax_gc() -> None:
    """Let the garbage collector look less often, and not at what is imported: a load makes no circles to be found.

    By its own settings it takes a sixth of the time of a load.
    """
    gc.freeze()
    gc.set_threshold(50_000, 50, 100)


if __name__ == "__main__":
    raise SystemExit(main())

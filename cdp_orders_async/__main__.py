"""``python -m cdp_orders_async`` is ``cdp-orders``."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> int:
    """Run the command line, or say what it needs."""
    try:
        return _run()
    except KeyboardInterrupt:  # before a command could say what it does then
        return 130


def _run() -> int:
    try:
        from cdp_orders_async.cli import main as run  # noqa: PLC0415 an extra, which may be missing
    except ModuleNotFoundError as missing:
        if missing.name not in {"cyclopts", "rich"}:
            raise
        sys.stderr.write("cdp-orders: the command line needs an extra: pip install 'cdp-orders-async[cli]'\n")
        return 2
    return run()


if __name__ == "__main__":
    raise SystemExit(main())

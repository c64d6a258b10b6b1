"""Options that are whole numbers: cyclopts rounds a fraction, and nobody would hear of it."""

from __future__ import annotations

import contextlib

from cyclopts import App, ArgumentCollection

from cdp_orders_async.errors import InputError

__all__ = ["check_whole_numbers"]

WHOLE = (int, int | None)
"""The types of such options."""


def check_whole_numbers(_: App, __: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Raise `InputError` for a fraction where a whole number must be; cyclopts calls this for each command."""
    for option in arguments:
        for token in option.tokens if option.hint in WHOLE else ():
            with contextlib.suppress(ValueError, OverflowError):  # cyclopts refuses what is no number
                if float(token.value) != int(float(token.value)):
                    where = f" in {token.source}" if token.source.startswith("profile ") else ""
                    raise InputError(f"{token.keyword or option.name}{where} must be a whole number")

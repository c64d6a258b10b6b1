"""The command line: a thin top floor; nothing below imports it."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError

from cdp_orders_async.cli.demo import demo
from cdp_orders_async.cli.display import hush
from cdp_orders_async.cli.emulator import emulator
from cdp_orders_async.cli.load import load
from cdp_orders_async.cli.options import refuse, unwritten
from cdp_orders_async.cli.retry import retry
from cdp_orders_async.cli.verify import verify
from cdp_orders_async.version import VERSION

__all__ = ["main"]

app = App(
    name="cdp-orders",
    help="Load orders into Sitecore CDP over its Order REST API, exactly once in effect.",
    version=VERSION,
    help_format="markdown",
)
app.command(demo)
app.command(emulator)
app.command(load)
app.command(retry)
app.command(verify)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that *arguments* (by default those of the process) ask for; return the exit status."""
    tokens = sys.argv[1:] if arguments is None else list(arguments)
    try:
        return _run(tokens)
    finally:
        try:
            if sys.stderr is not None:
                sys.stderr.flush()
        except OSError:  # nobody heard the messages, and the exit status is that of the command
            hush(sys.stderr)


def _run(tokens: Sequence[str]) -> int:
    try:
        status = app(tokens, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        command = f" {tokens[0]}" if tokens and tokens[0] in {"demo", "emulator", "load", "retry", "verify"} else ""
        return refuse(f"{' '.join(str(error).split()).rstrip('.')}; see cdp-orders{command} --help")
    except OSError as error:  # such as a full disk under standard output
        return unwritten(error)
    return status if isinstance(status, int) else 0

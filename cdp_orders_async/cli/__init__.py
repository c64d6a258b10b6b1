"""The command line: a thin top floor; nothing below imports it.

Each command is imported when it is called, so that one does not wait for what another needs.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError, Token, UnknownCommandError

from cdp_orders_async.cli.profiles import use_profile
from cdp_orders_async.cli.whole_numbers import check_whole_numbers
from cdp_orders_async.errors import CdpError
from cdp_orders_async.kinds import V2_1
from cdp_orders_async.version import VERSION

__all__ = ["main"]

app = App(
    name="cdp-orders",
    help="Load orders into Sitecore CDP over its Order REST API, exactly once in effect.",
    version=VERSION,
    help_format="markdown",
    config=(use_profile, check_whole_numbers),
)
app.command("cdp_orders_async.cli.completion:completion", name="completion")
app.command("cdp_orders_async.cli.config:config", name="config")
app.command("cdp_orders_async.cli.demo:demo", name="demo")
app.command("cdp_orders_async.cli.emulator:emulator", name="emulator")
app.command("cdp_orders_async.cli.journal:journal", name="journal")
app.command("cdp_orders_async.cli.load:load", name="load")
app.command("cdp_orders_async.cli.plan:plan", name="plan")
app.command("cdp_orders_async.cli.report:report", name="report")
app.command("cdp_orders_async.cli.retry:retry", name="retry")
app.command("cdp_orders_async.cli.sample:sample", name="sample")
app.command("cdp_orders_async.cli.undo:undo", name="undo")
app.command("cdp_orders_async.cli.verify:verify", name="verify")
SINGLE = {kind.name.replace("_", "-"): kind.name for kind in V2_1.kinds}
"""The commands of single operations, and their kinds."""
for command, name in SINGLE.items():
    app.command(f"cdp_orders_async.cli.single:{name}", name=command)
TYPED = "cli"
"""The source of a value that is on the command line."""
SENDING = {"load", "retry", "undo", *SINGLE}
"""The commands that may write to the server, and so say where they sent nothing."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that *arguments* name (by default those of the process); return the exit status."""
    tokens = sys.argv[1:] if arguments is None else list(arguments)
    try:
        return _run(tokens)
    finally:
        try:
            if sys.stderr is not None:
                sys.stderr.flush()
        except OSError:  # nobody reads the messages; the exit status stays that of the command
            from cdp_orders_async.cli.display import silence  # noqa: PLC0415 seldom needed

            silence(sys.stderr)


def _run(tokens: Sequence[str]) -> int:
    if not tokens or tokens[0] in app.help_flags:
        for name in app:
            _ = app[name]  # imports the command, for its line in the help
    try:
        status = app(tokens, exit_on_error=False, print_error=False, result_action="return_value")
    except SystemExit:  # rich raises it where nobody reads the help to its end, as under | head
        if tokens and {*app.help_flags, *app.version_flags}.isdisjoint(tokens):
            raise
        return 0
    except (CycloptsError, CdpError, OSError) as error:
        return _refused(error, tokens)
    return status if isinstance(status, int) else 0


def _refused(error: Exception, tokens: Sequence[str]) -> int:
    from cdp_orders_async.cli.options import refuse, unwritten  # noqa: PLC0415 seldom needed

    if isinstance(error, BrokenPipeError):  # its reader has enough, as under | head
        from cdp_orders_async.cli.display import silence  # noqa: PLC0415 seldom needed

        silence(sys.stdout)
        return 0
    if isinstance(error, OSError):  # such as a full disk under standard output
        return unwritten(error)
    command = app.parse_commands(tokens)[0]
    unsent = not SENDING.isdisjoint(command[:1])
    if not isinstance(error, CycloptsError):  # of a profile
        return refuse(error, unsent=unsent)
    advice = f"see {' '.join(['cdp-orders', *command])} --help"
    return refuse(f"{_describe(error)}; {advice}", unsent=unsent)


def _describe(error: CycloptsError) -> str:
    """Say what is wrong with a command line; of an unknown command, what may be meant."""
    if not isinstance(error, UnknownCommandError) or not error.unused_tokens or error.app is None:
        text, token = str(error), getattr(error, "token", None)
        if isinstance(token, Token) and token.source != TYPED:  # it may be the token of another setting
            text = text.replace(f'"{token.value}"', "***")
        return " ".join(text.split()).rstrip("., ")
    import difflib  # noqa: PLC0415 seldom needed

    token = error.unused_tokens[0]
    commands = [name for name in error.app if not name.startswith("-")]
    meant = difflib.get_close_matches(token, commands, n=1)
    question = f"; did you mean {meant[0]}?" if meant else "."
    return f'there is no command "{token}"{question} The commands are {", ".join(commands)}'

"""``cdp-orders completion``: a script with which a shell completes the commands and options."""

from __future__ import annotations

from typing import Literal

from cdp_orders_async.cli.display import Screen

__all__ = ["completion"]


def completion(shell: Literal["bash", "zsh", "fish"], /) -> int:
    """Print a script with which SHELL completes the commands and options of cdp-orders.

    For bash: cdp-orders completion bash > ~/.local/share/bash-completion/completions/cdp-orders

    For zsh, in a folder of $fpath: cdp-orders completion zsh > ~/.zfunc/_cdp-orders

    For fish: cdp-orders completion fish > ~/.config/fish/completions/cdp-orders.fish

    Example: cdp-orders completion bash

    Parameters
    ----------
    shell
        The shell that reads the script.

    """
    from cdp_orders_async.cli import app  # noqa: PLC0415 the app has this command

    Screen().file.write(app.generate_completion(prog_name="cdp-orders", shell=shell))
    return 0

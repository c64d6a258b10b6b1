"""``cdp-orders config``: each setting, and where it comes from."""

from __future__ import annotations

import os
from collections.abc import Iterator
from json import dumps
from operator import itemgetter
from typing import TypeAlias

import attrs

from cdp_orders_async.cli.display import Screen
from cdp_orders_async.cli.options import WITHOUT_OPTION, Connection, Flag, refuse
from cdp_orders_async.cli.origins import origins
from cdp_orders_async.cli.profiles import config_file
from cdp_orders_async.errors import Invalid
from cdp_orders_async.settings import Settings

__all__ = ["config"]

MASK = "***"
SECRET = {"api_token", "proxy"}


Row: TypeAlias = tuple[str, str | float | None, str]
"""The name of a setting, its value, and where that comes from."""


def config(*, connection: Connection | None = None, json: Flag = False) -> int:  # noqa: D417 the others document themselves
    """Show each setting of a connection, its value, and where it comes from. Nothing is sent.

    A setting comes from its option, else from its variable, else from the profile, else from the default. A profile
    is a table of the config file, whose path the first line shows; CDP_CONFIG names another file:

        [profiles.production]
        region = "eu"
        client_key = "..."
        api_token_command = "pass show cdp"
        rate = 50

    Its keys are the names of the options of cdp-orders load, with _ for -: base_url, region, api, client_key,
    api_token, api_token_file, api_token_command, rate, connections, http, timeout, deadline. Others must not be able to
    write the file, nor to read one that holds api_token. Secrets are masked. Exit status: 0, or 2 for a profile that
    is missing or wrong, and for a value that no command takes: a sentence says where it comes from.

    Example: cdp-orders config --profile production

    Parameters
    ----------
    json
        Print one JSON object: file, profile, and settings by name, each with value and source.

    """
    connection = connection or Connection()
    try:
        connection.check()
        rows = sorted(_rows(connection), key=itemgetter(0))
    except Invalid as error:
        return refuse(error)
    out, file = Screen(), str(config_file())
    if json:
        settings = {name: {"value": value, "source": source} for name, value, source in rows}
        out.say(dumps({"file": file, "profile": connection.profile, "settings": settings}))
        return 0
    out.say(f"config file: {file}")
    shown = [(name, "-" if value is None else str(value), source) for name, value, source in rows]
    widths = [max(map(len, column)) for column in list(zip(*shown, strict=True))[:2]]
    for name, value, source in shown:
        out.say(f"{name:{widths[0]}}  {value:{widths[1]}}  {source}")
    return 0


def _rows(connection: Connection) -> Iterator[Row]:
    for name in attrs.fields_dict(Connection):
        source, value = origins().get(name, "default"), getattr(connection, name)
        if source.startswith("CDP_"):
            value = os.environ[source] if value is None else value
        yield name, _shown(name, value), source
    if bearer := origins().get("bearer_token"):
        yield "bearer_token", MASK, bearer
    settings = Settings.from_env()
    for name in WITHOUT_OPTION - {"ssl_context"}:
        variable = f"CDP_{name.upper()}"
        value = getattr(settings, name)
        yield name, _shown(name, value), variable if os.environ.get(variable) else "default"


def _shown(name: str, value: object) -> str | float | None:
    """Return *value* without a secret; a command may have one among its arguments."""
    if value is None or isinstance(value, (int, float)):
        return value
    if name in SECRET:
        return MASK
    if name == "api_token_command":
        program, _, rest = str(value).strip().partition(" ")
        return f"{program} {MASK}" if rest else program
    return str(value)

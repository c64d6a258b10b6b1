"""Profiles: settings under a name, in one TOML file.

A setting comes from its option, else from its variable, else from the profile, else from the default.
"""

from __future__ import annotations

import difflib
import os
import stat
import tomllib
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from cyclopts import App, ArgumentCollection, Token

from cdp_orders_async.cli.origins import OPTION, note_origins
from cdp_orders_async.errors import InputError
from cdp_orders_async.redact import Opaque, printable
from cdp_orders_async.wire import is_object

__all__ = ["config_file", "use_profile"]

LARGEST_FILE = 2**20  # bytes
ALTERNATIVES = (("base_url", "region"), ("api_token", "api_token_file", "api_token_command"))
"""Settings of which one is enough: the source that gives any of them decides for all."""
UNDECLARED = tuple(name for names in ALTERNATIVES for name in names)
"""The settings whose variables the options do not declare, since an option comes before the variables of all."""
BEARER = "CDP_BEARER_TOKEN"
WHO = ("client_key", *ALTERNATIVES[1])
"""The settings that a bearer token of the environment replaces, unless the command line gives one of them."""


def config_file() -> Path:
    """Return the path of the config file: ``CDP_CONFIG``, or the place that this system has for such files."""
    if given := os.environ.get("CDP_CONFIG"):
        return Path(given)
    import platformdirs  # noqa: PLC0415 few commands need it

    return platformdirs.user_config_path("cdp-orders", appauthor=False) / "config.toml"


def use_profile(_: App, __: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Give the settings of the profile to the options that have no value yet; cyclopts calls this for each command.

    Note where each value comes from. Raise `InputError` for a profile that cannot be used.
    """
    options = {option.name.removeprefix("--").replace("-", "_"): option for option in arguments}
    if "profile" not in options:
        note_origins({})
        return
    given = {name: _origin(option.tokens[0]) for name, option in options.items() if option.tokens}
    variables = {name: f"CDP_{name.upper()}" for name in UNDECLARED}
    given |= {
        name: variable
        for names in ALTERNATIVES
        for name in names
        if not given.keys() & set(names) and os.environ.get(variable := variables[name])
    }
    has_bearer = bool(os.environ.get(BEARER)) and OPTION not in map(given.get, WHO)
    if has_bearer:
        for name in WHO:
            options[name].tokens.clear()
            given.pop(name, None)
        given["bearer_token"] = BEARER
    profile = options["profile"].tokens[0].value if options["profile"].tokens else ""
    if profile:
        file = config_file()
        settings = {
            name: value
            for name, value in _read(file, profile, options).items()
            if not given.keys() & set(next((names for names in ALTERNATIVES if name in names), (name,)))
        }
        if has_bearer:
            settings = {name: value for name, value in settings.items() if name not in WHO}
        origin = f"profile {profile} of {file}"
        for name, value in settings.items():
            options[name].append(Token(keyword=name, value=value, source=origin))
        given |= dict.fromkeys(settings, origin)
    note_origins(given)


def _origin(token: Token) -> str:
    return token.keyword or "" if token.source == "env" else OPTION


def _read(file: Path, profile: str, options: Collection[str]) -> dict[str, str]:
    """Return the settings of *profile* as texts."""
    table = _profiles(file)
    if profile not in table:
        has = f"it has {_listed(table)}" if table else "it has none"
        raise InputError(f"there is no profile {profile} in {file}; {has}")
    settings = table[profile]
    if not is_object(settings):
        raise InputError(f"profiles.{profile} in {file} must be a table")
    _check_keys(settings, set(options) & set(_settings()), f"profile {profile} of {file}")
    return {name: _text(name, value, file, profile) for name, value in settings.items()}


def _settings() -> Iterable[str]:
    import attrs  # noqa: PLC0415 only a profile needs them

    from cdp_orders_async.cli.options import Connection  # noqa: PLC0415 the same

    return attrs.fields_dict(Connection).keys() - {"profile"}


def _text(name: str, value: object, file: Path, profile: str) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise InputError(f"{name} in profile {profile} of {file} must be text or a number")
    if name != "api_token_file":
        return str(value)
    return str(file.absolute().parent / Path(str(value)).expanduser())  # beside the config file, unless it says else


def _profiles(file: Path) -> dict[str, Any]:
    """Return the tables of the profiles; raise `InputError` for a file that cannot be used, or must not be."""
    try:
        if file.exists() and not file.is_file():  # a pipe would wait for its writer
            raise InputError(f"the config file {file} is not a regular file")
        with file.open("rb") as opened:
            status = os.fstat(opened.fileno())
            content = Opaque(opened.read(LARGEST_FILE + 1))
    except FileNotFoundError:
        raise InputError(
            f"there is no config file {file}: write [profiles.NAME] into it, or set CDP_CONFIG to another"
        ) from None
    except OSError as error:
        raise InputError(f"the config file {file} cannot be read: {error.strerror}") from None
    _check_writers(file, status)
    table = _parsed(file, content)
    _check_keys(table, ("profiles",), str(file))
    profiles = table.get("profiles", {})
    if not is_object(profiles):
        raise InputError(f"profiles in {file} must be tables: [profiles.NAME]")
    if any(is_object(one) and "api_token" in one for one in profiles.values()):
        _check_readers(file, status)
    return profiles


def _parsed(file: Path, content: Opaque[bytes]) -> dict[str, Any]:
    if len(content.open()) > LARGEST_FILE:
        raise InputError(f"the config file {file} must be at most {LARGEST_FILE:,} bytes long")
    try:
        return tomllib.loads(content.open().decode())
    except RecursionError:
        reason = "it is nested too deep"
    except UnicodeDecodeError:
        reason = "it is not UTF-8"
    except tomllib.TOMLDecodeError as error:
        place = str(error).rpartition("(")[2].rstrip(")")  # the rest may repeat a value of the file
        reason = f"it breaks the rules of TOML {place}"
    except ValueError:
        reason = "it has a number of too many digits"
    raise InputError(f"the config file {file} cannot be read: {reason}")


def _check_writers(file: Path, status: os.stat_result) -> None:
    if hasattr(os, "geteuid") and status.st_uid not in {0, os.geteuid()}:  # Windows has no such number
        raise InputError(f"the config file {file} belongs to another user: who can write it can take the credentials")
    if hasattr(os, "geteuid") and status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise InputError(f"others can write the config file {file}: take that right away (chmod go-w)")


def _check_readers(file: Path, status: os.stat_result) -> None:
    if hasattr(os, "geteuid") and status.st_mode & (stat.S_IRGRP | stat.S_IROTH):
        raise InputError(
            f"others can read the config file {file}, which holds an API token: take that right away (chmod go-r), "
            "or use api_token_command"
        )


def _check_keys(table: Mapping[str, object], known: Collection[str], where: str) -> None:
    for key in table:
        if key not in known:
            raise InputError(f"{printable(key[:64])} is no key of {where}; {_advice(key, known)}")


def _advice(key: str, known: Collection[str]) -> str:
    """Return the advice for an unknown *key*: the one that it resembles, or all that there are."""
    close = difflib.get_close_matches(key.lower().replace("-", "_"), sorted(known), 1)
    return f"did you mean {close[0]}?" if close else f"it takes {_listed(known)}"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))

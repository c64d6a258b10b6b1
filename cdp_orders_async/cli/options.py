"""The options that several commands share, and the one way to say that something is wrong."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import attrs
from cyclopts import Parameter

from cdp_orders_async.cli.display import Display, Screen, hush
from cdp_orders_async.client import CdpOrders, CdpOrdersV2
from cdp_orders_async.errors import Invalid, Violation
from cdp_orders_async.settings import Settings

__all__ = ["Connection", "fitting", "refuse", "unwritten"]

LONGEST_TOKEN = 65_536  # characters
RESERVED = 30
"""Files that a process has open beside its connections: the journal, the outcomes, what asyncio needs, a module."""


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class Connection:
    """Where the API is, who calls it, and how fast."""

    # Where the API is has no env_var here: the client asks for CDP_BASE_URL and CDP_REGION when neither option is
    # given, so that an option always comes before them.
    base_url: str | None = None
    """Where the API is, for instance the emulator: http://127.0.0.1:8642. Or CDP_BASE_URL."""
    region: str | None = None
    """Or the region of the production server: ap, eu, jp or us. Or CDP_REGION."""
    api: Literal["v2", "v2.1"] = "v2.1"
    """The version of the API, for which the orders must be made too; v2 is the legacy one."""
    client_key: Annotated[str | None, Parameter(env_var="CDP_CLIENT_KEY")] = None
    """The client key, from Settings > API access in Sitecore CDP."""
    # Nor has the token: an option comes before both variables.
    api_token: str | None = attrs.field(default=None, repr=False)
    """The API token. As an option it shows in the list of processes; better set CDP_API_TOKEN."""
    api_token_file: Path | None = None
    """A file that holds the API token on its one line, in place of the token. Or CDP_API_TOKEN_FILE."""
    rate: Annotated[
        float | Literal["auto", "none"], Parameter(env_var="CDP_RATE", allow_leading_hyphen=True, metavar="N")
    ] = "auto"
    """Requests per second at most; auto: find what the server bears; none: only the connections limit."""
    connections: Annotated[int, Parameter(env_var="CDP_CONNECTIONS", allow_leading_hyphen=True)] = 64
    """Connections, and so requests in flight, at most."""
    http: Annotated[Literal["aiohttp", "httptools"], Parameter(env_var="CDP_HTTP")] = "aiohttp"
    """What the requests go over; httptools takes a third of the CPU, and needs its extra and no proxy."""
    timeout: Annotated[float, Parameter(env_var="CDP_TIMEOUT", allow_leading_hyphen=True)] = 30.0
    """Seconds that one attempt may take."""
    deadline: Annotated[float | None, Parameter(env_var="CDP_DEADLINE", allow_leading_hyphen=True)] = 120.0
    """Seconds that one call may take with its retries."""

    def _token(self) -> str | None:
        """Return the token as told: an option comes before the variables, and two ways at once are refused."""
        if self.api_token is not None and self.api_token_file is not None:
            raise Invalid((Violation("api_token, api_token_file", "only one of them can be given"),))
        if self.api_token is not None:
            return self.api_token
        if self.api_token_file is not None:
            return _token_in(self.api_token_file, "api_token_file")
        token, file = (os.environ.get(name) or None for name in ("CDP_API_TOKEN", "CDP_API_TOKEN_FILE"))
        if token is not None and file is not None:
            raise Invalid((Violation("CDP_API_TOKEN, CDP_API_TOKEN_FILE", "only one of them can be set"),))
        return token if file is None else _token_in(Path(file), "CDP_API_TOKEN_FILE")

    def client(self, console: Screen | None = None) -> CdpOrders | CdpOrdersV2:
        """Make the client, and say on *console* what it cannot do as told; raises `Invalid`."""
        settings = attrs.evolve(
            Settings.from_env(),
            rate=None if self.rate == "none" else self.rate,
            connections=self.connections,
            http=self.http,
            timeout=self.timeout,
            deadline=self.deadline,
        )
        version = CdpOrdersV2 if self.api == "v2" else CdpOrders
        return version(
            region=self.region,
            base_url=self.base_url,
            client_key=self.client_key,
            api_token=self._token(),
            settings=fitting(settings, console),
        )


def fitting(settings: Settings, console: Screen | None, files: int = 1) -> Settings:
    """Return *settings* with no more connections than this process may open, each with so many *files*."""
    try:
        import resource  # noqa: PLC0415 Windows has none
    except ImportError:
        return settings
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    connections = max(1, (most - RESERVED) // files)
    if most == resource.RLIM_INFINITY or settings.connections <= connections:
        return settings
    if console is not None:
        are = "is 1 connection" if connections == 1 else f"are {connections} connections"
        console.say(
            f"This shell allows {most} open files (ulimit -n), so there {are} in place of {settings.connections}."
        )
    return attrs.evolve(settings, connections=connections)


def _token_in(file: Path, name: str) -> str:
    with contextlib.suppress(OSError, ValueError):  # whatever it is, what is wrong with it is said below
        if file.is_file():  # a pipe would wait for its writer, and some devices never end
            with file.open(encoding="utf-8") as opened:
                token = opened.read(LONGEST_TOKEN + 1).strip()
            if token and token.isprintable() and len(token) <= LONGEST_TOKEN:
                return token
    raise Invalid((Violation(name, "must be a readable file that holds nothing but the API token"),))


WITHOUT_OPTION = attrs.fields_dict(Settings).keys() - attrs.fields_dict(Connection).keys()


def refuse(error: Exception | str, display: Display | None = None) -> int:
    """Say in one sentence on standard error, or on *display*, what is wrong; return the status of bad usage."""
    if isinstance(error, Invalid):
        error = "; ".join(f"{_named(field)} {rule}" for field, rule in error.violations)
    (display or Display(Screen.of_messages())).error(str(error))
    return 2


def unwritten(error: OSError) -> int:
    """Say that standard output, or what *error* names, cannot be written; return the exit status."""
    if error.errno in {errno.EMFILE, errno.ENFILE}:
        return refuse("too many files are open: allow more of them (ulimit -n)")
    hush(sys.stdout)
    return refuse(f"{error.filename or 'the output'} cannot be written: {error.strerror or error}")


def _named(field: str) -> str:
    """Return how a person sets *field*, or several of them: by an option, or else by a variable."""
    names = field.split(", ")
    if len(names) > 1:
        return f"{', '.join(map(_named, names))}:"
    if field.isupper():  # a variable
        return field
    return f"CDP_{field.upper()}" if field in WITHOUT_OPTION else f"--{field.replace('_', '-')}"

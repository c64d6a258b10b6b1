"""The options that several commands share, and the one way to say that something is wrong."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shlex
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import attrs
from cyclopts import Parameter

from cdp_orders_async.addresses import base_url_of
from cdp_orders_async.cli.display import Display, Screen, silence
from cdp_orders_async.cli.origins import OPTION, origins
from cdp_orders_async.client import CdpOrders, CdpOrdersV2
from cdp_orders_async.errors import Invalid, Violation, counted
from cdp_orders_async.settings import Credentials, Settings, check_tls

__all__ = [
    "WITHOUT_OPTION",
    "Connection",
    "Flag",
    "InputName",
    "as_options",
    "confirmed",
    "file_or_dash",
    "fitting",
    "refuse",
    "unwritten",
]

LONGEST_TOKEN = 65_536  # characters
COMMAND_PATIENCE = 60.0
"""Seconds that a command may take to print the token: a password store may ask a person for its passphrase."""
RESERVED_FILES = 30
"""Files that a process opens beside its connections: the journal, the outcomes, those of asyncio, a module."""
NAMES_THE_PLACE = ("profile", "base_url", "region", "api")
"""The options without which another command would talk to another server, tenant or version."""


def file_or_dash(_: object, value: str | None) -> None:
    """Refuse an option that is misspelt where a FILE, which may be ``-``, is expected."""
    if value is not None and value.startswith("--"):
        raise ValueError("It is not an option of this command")


Flag = Annotated[bool, Parameter(negative="", show_default=False)]


InputName: TypeAlias = Annotated[str, Parameter(allow_leading_hyphen=True, validator=file_or_dash)]
"""The name of an input; - is standard input."""


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class Connection:
    """The address of the API, the credentials, and the speed."""

    profile: Annotated[str | None, Parameter(env_var="CDP_PROFILE")] = None
    """The profile of the config file that gives the settings which no option and no variable gives."""
    # These two have no env_var: the client reads CDP_BASE_URL and CDP_REGION only where neither option is given, so
    # that an option comes before both variables.
    base_url: str | None = None
    """The URL of the API, for instance of the emulator: http://127.0.0.1:8642. Or CDP_BASE_URL."""
    region: str | None = None
    """In place of the URL, the region of the production server: ap, eu, jp or us. Or CDP_REGION."""
    api: Literal["v2", "v2.1"] = "v2.1"
    """The version of the API. The input must be made for it. v2 is the legacy version."""
    client_key: Annotated[str | None, Parameter(env_var="CDP_CLIENT_KEY")] = None
    """The client key, from Settings > API access in Sitecore CDP."""
    # Nor have these three: an option comes before the variables of all three.
    api_token: str | None = attrs.field(default=None, repr=False)
    """The API token. An option is visible in the list of processes: set CDP_API_TOKEN instead."""
    api_token_file: Path | None = None
    """In place of the token, a file that holds it on its only line. Or CDP_API_TOKEN_FILE."""
    api_token_command: str | None = attrs.field(default=None, repr=False)
    """In place of the token, a command that prints it, such as 'pass show cdp'. Or CDP_API_TOKEN_COMMAND."""
    rate: Annotated[
        float | Literal["auto", "none"], Parameter(env_var="CDP_RATE", allow_leading_hyphen=True, metavar="N")
    ] = "auto"
    """Requests per second at most. auto finds the rate that the server bears; none sets no limit."""
    connections: Annotated[int, Parameter(env_var="CDP_CONNECTIONS", allow_leading_hyphen=True)] = 64
    """Connections at most, and so requests in flight."""
    http: Annotated[Literal["aiohttp", "httptools"], Parameter(env_var="CDP_HTTP")] = "aiohttp"
    """The HTTP library. httptools takes a third of the CPU, needs its extra, and takes no https:// proxy."""
    timeout: Annotated[float, Parameter(env_var="CDP_TIMEOUT", allow_leading_hyphen=True)] = 30.0
    """Seconds that one attempt may take."""
    deadline: Annotated[float | None, Parameter(env_var="CDP_DEADLINE", allow_leading_hyphen=True)] = 120.0
    """Seconds that one call may take with its retries."""

    def _token(self) -> str | None:
        """Return the token, of the options (and the profile) or else of the variables; raise `Invalid` for two.

        Return None where the environment has a bearer token in its place.
        """
        if "bearer_token" in origins():
            return None
        given = {name: value for name in TOKENS if (value := getattr(self, name)) is not None}
        if given:
            return _token_of(given, list(given), "given")
        given = {name: value for name in TOKENS if (value := _variable(name))}
        return _token_of(given, [f"CDP_{name.upper()}" for name in given], "set") if given else None

    @property
    def has_token_on_the_command_line(self) -> bool:
        """Whether the API token is an option, which no command that is shown repeats."""
        return self.api_token is not None and origins().get("api_token", OPTION) == OPTION

    @property
    def words(self) -> list[str]:
        """The options of the command line without which another command would meet another server."""
        given = [name for name in NAMES_THE_PLACE if origins().get(name) == OPTION]
        return [word for name in given for word in (_option(name), shlex.quote(str(getattr(self, name))))]

    @property
    def variables(self) -> dict[str, str]:
        """The credentials as variables of the environment, for processes that this one starts; raises `Invalid`."""
        given = {"CDP_CLIENT_KEY": self.client_key, "CDP_API_TOKEN": self._token()}
        return {name: value for name, value in given.items() if value is not None}

    def _settings(self) -> Settings:
        return attrs.evolve(
            Settings.from_env(),
            rate=None if self.rate == "none" else self.rate,
            connections=self.connections,
            http=self.http,
            timeout=self.timeout,
            deadline=self.deadline,
        )

    def check(self) -> None:
        """Raise `Invalid`, which names each value that no client takes; values may be missing, and no command runs."""
        wrong = [*_broken(lambda: check_tls(self._settings()))]
        place = {name: getattr(self, name) or _variable(name) for name in ("region", "base_url") if name in origins()}
        if place:
            wrong += _broken(lambda: base_url_of(**{"region": None, "base_url": None, **place}))
        if self.client_key is not None:
            wrong += _broken(lambda: Credentials(self.client_key, "token"))
        if not (self.api_token_command or _variable("api_token_command")):
            wrong += _broken(self._token)
        if wrong:
            raise Invalid(tuple(wrong))

    def client(self, console: Screen | None = None) -> CdpOrders | CdpOrdersV2:
        """Make the client; say on *console* where it has fewer connections than told; raise `Invalid`."""
        version = CdpOrdersV2 if self.api == "v2" else CdpOrders
        return version(
            region=self.region,
            base_url=self.base_url,
            client_key=self.client_key,
            api_token=self._token(),
            settings=fitting(self._settings(), console),
        )


def _variable(name: str) -> str | None:
    return os.environ.get(f"CDP_{name.upper()}")


def _broken(do: Callable[[], object]) -> Sequence[Violation]:
    """Return the rules that *do* finds broken."""
    try:
        do()
    except Invalid as error:
        return error.violations
    return ()


def fitting(settings: Settings, console: Screen | None, files: int = 1) -> Settings:
    """Return *settings* with at most the connections that this process may open; each takes so many *files*."""
    try:
        import resource  # noqa: PLC0415 Windows has none
    except ImportError:
        return settings
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    connections = max(1, (most - RESERVED_FILES) // files)
    if most == resource.RLIM_INFINITY or settings.connections <= connections:
        return settings
    if console is not None:
        are = f"{'is' if connections == 1 else 'are'} {counted(connections, 'connection')}"
        console.say(
            f"This shell allows {most} open files (ulimit -n), so there {are} in place of {settings.connections}."
        )
    return attrs.evolve(settings, connections=connections)


def _token_of(given: Mapping[str, object], names: list[str], verb: str) -> str:
    if len(given) > 1:
        raise Invalid((Violation(", ".join(names), f"only one of them can be {verb}"),))
    [(way, value)], [name] = given.items(), names
    return TOKENS[way](str(value), name)


def _is_token(text: str) -> bool:
    return bool(text) and text.isprintable() and len(text) <= LONGEST_TOKEN


def _token_itself(token: str, _: str) -> str:
    return token


def _token_in(path: str, name: str) -> str:
    file = Path(path)
    with contextlib.suppress(OSError, ValueError):  # the sentence below is about each of them
        if file.is_file():  # a pipe would wait for its writer, and some devices never end
            with file.open(encoding="utf-8") as opened:
                token = opened.read(LONGEST_TOKEN + 1).strip()
            if _is_token(token):
                return token
    raise Invalid((Violation(name, "must be a readable file that holds nothing but the API token"),))


def _token_by(command: str, name: str) -> str:
    """Run *command* without a shell, and return the one line that it prints; its output is never shown."""

    def refused(rule: str) -> Invalid:
        return Invalid((Violation(name, rule),))

    try:
        words = shlex.split(command)
    except ValueError:
        raise refused("must be a command whose quotes are closed") from None
    if not words:
        raise refused("must be a command")
    try:
        process = subprocess.Popen(  # noqa: S603 it is the person's own command, and no shell reads it
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise refused(f"cannot be started: {reason or 'it is no command'}") from None
    output, status = _output(process)
    if status is None:
        raise refused(f"took longer than {COMMAND_PATIENCE:g} seconds, and was ended")
    if status:
        ended = f"with exit status {status}" if status > 0 else f"by signal {-status}"
        raise refused(f"ended {ended}: it must print the API token and end with 0")
    with contextlib.suppress(UnicodeDecodeError):
        token = output.decode().strip()
        if _is_token(token):
            return token
    raise refused("must print the API token on one line, and nothing else")


def _output(process: subprocess.Popen[bytes]) -> tuple[bytes, int | None]:
    """Return the start of what *process* prints, and its exit status; None where it had to be ended."""
    pieces: list[bytes] = []

    def read() -> None:
        if process.stdout is not None:
            with process.stdout as stream:
                pieces.append(stream.read(LONGEST_TOKEN + 1))

    # A thread reads, since something that the command left behind may hold the pipe open for ever.
    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    reader.join(COMMAND_PATIENCE)
    output = b"".join(pieces)
    if pieces and len(output) <= LONGEST_TOKEN:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return output, process.wait(COMMAND_PATIENCE)
    process.kill()
    process.wait()
    return output, 0 if len(output) > LONGEST_TOKEN else None


TOKENS: Mapping[str, Callable[[str, str], str]] = {
    "api_token": _token_itself,
    "api_token_file": _token_in,
    "api_token_command": _token_by,
}
"""The ways to give the API token, and what makes the token of each."""
WITHOUT_OPTION = attrs.fields_dict(Settings).keys() - attrs.fields_dict(Connection).keys()
"""The settings that only a variable sets."""


ARGUMENTS = (
    (re.compile(r"\blook_first=True\b"), "--look-first"),
    (re.compile(r"\bmax_errors=(\d+)"), r"--max-errors \1"),
    (re.compile(r"\bengine=(\w+)"), r"--engine \1"),
)
"""Arguments of jobs in their sentences, and what they are on the command line."""


def refuse(error: Exception | str, display: Display | None = None, *, unsent: bool = False) -> int:
    """Say in one sentence on standard error, or on *display*, what is wrong; return the status of bad usage.

    The sentence says also that nothing was sent if the caller knows it: *unsent*.
    """
    if not isinstance(error, Invalid):
        error = as_options(str(error))
    else:
        error = "; ".join(f"{_named(field)} {rule}" for field, rule in error.violations)
    if unsent and "othing was " not in error:
        error += "; nothing was sent"
    (display or Display(Screen.of_messages())).error(error)
    return 2


def as_options(sentence: str) -> str:
    """Return a *sentence* of a job with options of the command line in place of its arguments."""
    for argument, option in ARGUMENTS:
        sentence = argument.sub(option, sentence)
    return sentence


def confirmed(console: Screen, question: str) -> bool:
    """Ask the person at the terminal, on *console*; where the answer is not yes, say that nothing was done."""
    if sys.stdin is None or not sys.stdin.isatty():
        refuse("nobody is at a terminal to be asked, and nothing was done: add --yes")
        return False
    console.say(f"{question} Type yes:")
    if sys.stdin.readline().strip() == "yes":
        return True
    refuse("the answer was not yes: nothing was done")
    return False


def unwritten(error: OSError) -> int:
    """Say that standard output, or what *error* names, cannot be written; return the exit status."""
    if error.errno in {errno.EMFILE, errno.ENFILE}:
        return refuse("too many files are open: allow more of them (ulimit -n)")
    silence(sys.stdout)
    return refuse(f"{error.filename or 'the output'} cannot be written: {error.strerror or error}")


def _named(field: str) -> str:
    """Return how a person sets *field*, or several of them: by an option, a profile or a variable."""
    names = field.split(", ")
    if len(names) > 1:
        return f"{', '.join(map(_named, names))}:"
    if field.isupper() or field.startswith("$"):  # a variable, or a place in the input
        return field
    if field in WITHOUT_OPTION:
        return f"CDP_{field.upper()}"
    origin = origins().get(field, OPTION)
    if origin.startswith("profile "):
        return f"{field} in {origin}"
    return _option(field) if origin == OPTION else origin


def _option(field: str) -> str:
    return f"--{field.replace('_', '-')}"

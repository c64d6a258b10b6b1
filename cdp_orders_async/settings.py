"""The settings and the credentials of a client: values that are checked when they are made.

Each has an environment variable ``CDP_...``; a value from Python comes before the environment.
"""

from __future__ import annotations

import base64
import hashlib
import math
import os
import re
import ssl
import urllib.request
from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path
from types import NoneType
from typing import Any, Literal
from urllib.parse import urlsplit

import attrs
from msgspec import Struct, structs

from cdp_orders_async.addresses import PROXY_FORM, is_loopback, proxy_url
from cdp_orders_async.arguments import need
from cdp_orders_async.errors import Invalid, Violation
from cdp_orders_async.models.common import Value
from cdp_orders_async.redact import Opaque, Secrets, sealed
from cdp_orders_async.threads import in_thread

__all__ = ["Credentials", "Settings", "check_tls", "fingerprint", "proxy_of", "tls_of"]

BACKENDS = ("aiohttp", "httptools")
CERTIFICATE = re.compile(rb"-----BEGIN [A-Z0-9 ]*CERTIFICATE-----.*?-----END [A-Z0-9 ]*CERTIFICATE-----", re.DOTALL)
LARGEST_CA_FILE = 2**24  # bytes that are read: the first certificate must be among them


class _Rule(Struct, frozen=True):
    """The rule of a setting, in Python and as the text of its variable."""

    words: str
    """The rule in words, after ``must be``."""
    kinds: tuple[type, ...]
    is_kept: Callable[[Any], bool]
    parse: Callable[[str], object] = str
    """Makes the value from a text; raises KeyError or ValueError for a text of the wrong form."""

    def __call__(self, _: object, field: attrs.Attribute[Any], value: object) -> None:
        """Check a field of the settings."""
        self.check(field.name, value)

    def check(self, name: str, value: object) -> None:
        """Raise TypeError for a value of another type, `Invalid` for one that breaks the rule."""
        need(value, self.kinds, name, self.words + (", or None" if NoneType in self.kinds else ""))
        if value is not None and not self.is_kept(value):
            raise self._broken(name)

    def read(self, variable: str, text: str) -> object:
        """Return the value for the *text* of an environment variable; raises `Invalid`."""
        need(text, str, variable)
        try:
            value = self.parse(text)
        except (KeyError, ValueError):
            raise self._broken(variable) from None
        self.check(variable, value)
        return value

    def _broken(self, name: str) -> Invalid:
        return Invalid((Violation(name, f"must be {self.words}"),))


def _is_above_zero(value: float) -> bool:
    return 0 < value < math.inf


def _is_rate(value: float | str) -> bool:
    return value == "auto" if isinstance(value, str) else _is_above_zero(value)


def _is_proxy(value: Opaque[Any]) -> bool:
    text = value.open()
    try:
        return isinstance(text, str) and bool(proxy_url("proxy", text))
    except Invalid:
        return False


def _is_anything(_: object) -> bool:
    return True


def _switch(text: str) -> bool:
    return {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}[text.lower()]


def _rate(text: str) -> object:
    return text if text == "auto" else None if text == "none" else float(text)


def _opaque(value: str | Opaque[str] | None) -> Opaque[str] | None:
    return Opaque(value) if isinstance(value, str) else value


POSITIVE_NUMBER = _Rule("a finite number above 0", (float,), _is_above_zero, float)
OPTIONAL_NUMBER = structs.replace(POSITIVE_NUMBER, kinds=(float, NoneType))
RATE = _Rule("a finite number above 0, or auto", (float, str, NoneType), _is_rate, _rate)
POSITIVE_INTEGER = _Rule("a whole number above 0", (int,), lambda number: number > 0, int)
NATURAL_NUMBER = _Rule("a whole number of at least 0", (int,), lambda number: number >= 0, int)
SHARE = _Rule("a number from 0 to 1", (float,), lambda share: 0 <= share <= 1, float)
BACKEND = _Rule(f"one of {', '.join(BACKENDS)}", (str,), BACKENDS.__contains__)
SWITCH = _Rule("true or false", (bool,), _is_anything, _switch)
FILE = _Rule("the path of a file", (str, PathLike, NoneType), _is_anything)
PROXY = _Rule(PROXY_FORM, (Opaque, NoneType), _is_proxy, Opaque)
TLS = _Rule("an ssl.SSLContext", (ssl.SSLContext, NoneType), _is_anything)


@sealed
@attrs.frozen(kw_only=True, repr=False)
class Settings(Value):
    """Say how the client calls: rate, connections, times, retries, proxy and TLS.

    Each field is an argument, given by name, and has an environment variable, which `from_env` reads; `CdpOrders` calls
    it if it gets no settings. All times are in seconds. Settings are immutable values, equal if their fields are equal;
    ``attrs.evolve(settings, rate=50)`` makes a changed copy.

    Its arguments, which are its fields:

    - *rate*, requests per second; None is no limit, and *auto* finds the rate that the server accepts. ``CDP_RATE``.
    - *burst*, requests that may leave at once after a pause. ``CDP_BURST``.
    - *bulk_share*, the share of the rate and the connections, from 0 to 1, that a load keeps while other calls of the
      same client wait. ``CDP_BULK_SHARE``.
    - *connections*, the most connections, and so the most requests in flight. ``CDP_CONNECTIONS``.
    - *timeout*, seconds for one attempt, from the connection to the last byte of the answer. ``CDP_TIMEOUT``.
    - *connect_timeout*, seconds for opening a connection. ``CDP_CONNECT_TIMEOUT``.
    - *read_timeout*, the longest silence within an answer in seconds; None leaves it to *timeout*.
      ``CDP_READ_TIMEOUT``.
    - *pool_timeout*, seconds of waiting for a free connection; None leaves it to *deadline*. ``CDP_POOL_TIMEOUT``.
    - *deadline*, seconds for one call with all its waits and retries; None is no limit. ``CDP_DEADLINE``.
    - *retries*, how many times a request is sent again if that is safe. ``CDP_RETRIES``.
    - *keepalive*, seconds that an idle connection is kept. Common servers keep it longer, so a create is not written
      to a connection that the server is just closing. ``CDP_KEEPALIVE``.
    - *max_answer*, the largest answer in bytes, decompressed. ``CDP_MAX_ANSWER``.
    - *http*, the HTTP backend. *httptools* takes a third of the CPU; it needs the extra of that name, and does not
      support proxies, your own aiohttp session or aiohttp's tracing. ``CDP_HTTP``.
    - *proxy*, the URL of a proxy, as text. It may hold a user and a password, so nothing shows it:
      ``settings.proxy.open()`` returns it, and such settings cannot be pickled. ``CDP_PROXY``.
    - *trust_env*, whether ``HTTPS_PROXY``, ``HTTP_PROXY`` and ``NO_PROXY`` are used if *proxy* is None; netrc is never
      used. ``CDP_TRUST_ENV``.
    - *ca_file*, the path of a file of certificates to trust instead of the system's. ``CDP_CA_FILE``.
    - *ssl_context*, your own TLS context, for instance with a client certificate; it comes before *ca_file*.

    Raises TypeError for a value of another type (a number is an int or a float, not a bool), and `Invalid` for a value
    that breaks the rule of its field.

        CdpOrders(region="eu", settings=Settings(rate=50, deadline=10, proxy="http://proxy.example.com:3128"))
    """

    rate: float | Literal["auto"] | None = attrs.field(default=None, validator=RATE)
    burst: int = attrs.field(default=1, validator=POSITIVE_INTEGER)
    bulk_share: float = attrs.field(default=0.1, validator=SHARE)
    connections: int = attrs.field(default=100, validator=POSITIVE_INTEGER)
    timeout: float = attrs.field(default=30.0, validator=POSITIVE_NUMBER)
    connect_timeout: float = attrs.field(default=10.0, validator=POSITIVE_NUMBER)
    read_timeout: float | None = attrs.field(default=None, validator=OPTIONAL_NUMBER)
    pool_timeout: float | None = attrs.field(default=None, validator=OPTIONAL_NUMBER)
    deadline: float | None = attrs.field(default=120.0, validator=OPTIONAL_NUMBER)
    retries: int = attrs.field(default=3, validator=NATURAL_NUMBER)
    keepalive: float = attrs.field(default=4.0, validator=POSITIVE_NUMBER)
    max_answer: int = attrs.field(default=64 * 2**20, validator=POSITIVE_INTEGER)
    http: Literal["aiohttp", "httptools"] = attrs.field(default="aiohttp", validator=BACKEND)
    proxy: Opaque[str] | None = attrs.field(default=None, converter=_opaque, validator=PROXY, repr=False)
    trust_env: bool = attrs.field(default=True, validator=SWITCH)
    ca_file: str | PathLike[str] | None = attrs.field(default=None, validator=FILE)
    ssl_context: ssl.SSLContext | None = attrs.field(default=None, validator=TLS)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Make settings from the ``CDP_...`` variables of *environ*; an empty variable counts as absent.

        None is the environment of the process. Raises `Invalid`, which names the variable and its rule, and TypeError
        if *environ* does not map names to texts.

            Settings.from_env({"CDP_RATE": "auto", "CDP_DEADLINE": "10"})
        """
        need(environ, (Mapping, NoneType), "environ")
        environ = os.environ if environ is None else environ
        rules = {field.name: field.validator for field in attrs.fields(cls) if field.name != "ssl_context"}
        texts = {name: text for name in rules if (text := environ.get(f"CDP_{name.upper()}"))}
        del environ  # a traceback that shows locals would show all of it
        return cls(**{name: rules[name].read(f"CDP_{name.upper()}", text) for name, text in texts.items()})


@sealed
class Credentials:
    """Say who calls: a client key with its API token, or a bearer token. Its repr shows none of them.

    Raises `Invalid` unless exactly one way to authenticate is given, and for text that cannot be part of a header;
    TypeError for a value that is not text.

        Credentials(client_key="...", api_token="...")
    """

    __slots__ = ("api_token", "bearer_token", "client_key")

    def __init__(
        self, client_key: str | None = None, api_token: str | None = None, bearer_token: str | None = None
    ) -> None:
        for name, part in (("client_key", client_key), ("api_token", api_token), ("bearer_token", bearer_token)):
            need(part, (str, NoneType), name)
        basic = bool(client_key) and bool(api_token)
        if basic == bool(bearer_token):
            rule = "must be given together (CDP_CLIENT_KEY, CDP_API_TOKEN), or else a bearer_token (CDP_BEARER_TOKEN)"
            raise Invalid((Violation("client_key, api_token", rule),))
        if not all(part.isprintable() for part in (client_key, api_token, bearer_token) if part):
            raise Invalid((Violation("client_key, api_token", "must be on one line, without control characters"),))
        if ":" in (client_key or ""):
            raise Invalid((Violation("client_key", "must have no colon: the API token would begin there"),))
        self.client_key = client_key
        self.api_token = Opaque(api_token)
        self.bearer_token = Opaque(bearer_token)

    def __repr__(self) -> str:
        return "Credentials(...)"

    def header(self) -> Opaque[str]:
        """Return the value of the ``Authorization`` header."""
        if (bearer := self.bearer_token.open()) is not None:
            return Opaque(f"Bearer {bearer}")
        return Opaque(f"Basic {base64.b64encode(self._pair().encode()).decode()}")

    def secrets(self) -> Secrets:
        """Return the texts that nobody may see: the token, the pair with its client key, and the whole header."""
        token = self.bearer_token.open() or self.api_token.open() or ""
        return Secrets(token, *([] if self.bearer_token.open() else [self._pair()]), self.header().open())

    def _pair(self) -> str:
        return f"{self.client_key}:{self.api_token.open()}"

    def __reduce__(self) -> str:
        """Refuse to be pickled: a token must not lie in a file or a queue."""
        raise TypeError("credentials cannot be pickled; hand them over as CDP_CLIENT_KEY and CDP_API_TOKEN")


def fingerprint(client_key: str | None) -> str:
    """Return a hash of *client_key*, which identifies its tenant."""
    return hashlib.blake2b((client_key or "").encode(), digest_size=6).hexdigest()


def proxy_of(settings: Settings, base_url: str) -> str | None:
    """Return the URL of the proxy for *base_url*, None for no proxy; raises `Invalid`.

    For an http URL, which is on this machine, a remote proxy from the environment is ignored: the API token would
    travel unencrypted. aiohttp does not read the environment, because it would read netrc too.
    """
    url = urlsplit(base_url)
    if settings.proxy is not None:
        given = proxy_url("proxy", settings.proxy.open())
        if url.scheme == "http" and not is_loopback(urlsplit(given).hostname):
            rule = "must be on this machine for an http base_url: the API token would travel in the clear"
            raise Invalid((Violation("proxy", rule),))
        return given
    if not settings.trust_env or urllib.request.proxy_bypass(url.netloc):
        return None
    found = urllib.request.getproxies().get(url.scheme)
    proxy = proxy_url(f"{url.scheme.upper()}_PROXY", found) if found else None
    return None if proxy and url.scheme == "http" and not is_loopback(urlsplit(proxy).hostname) else proxy


def check_tls(settings: Settings) -> None:
    """Raise `Invalid` if *ca_file* is not a file of certificates; only the first certificate is loaded."""
    if settings.ca_file is None or settings.ssl_context is not None:
        return
    try:
        if not Path(settings.ca_file).is_file():  # reading a pipe would block
            raise FileNotFoundError
        with Path(settings.ca_file).open("rb") as file:
            first = CERTIFICATE.search(file.read(LARGEST_CA_FILE))
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=first[0].decode() if first else "")
    except (OSError, ValueError):
        raise _no_certificates() from None


async def tls_of(settings: Settings) -> ssl.SSLContext:
    """Return the TLS context for *settings*; raises `Invalid` if *ca_file* is not a file of certificates."""
    if settings.ssl_context is not None:
        return settings.ssl_context
    try:
        # Reading the certificates takes tens of milliseconds: too long for the event loop.
        context = await in_thread(lambda: ssl.create_default_context(cafile=settings.ca_file))
    except OSError:
        raise _no_certificates() from None
    context.minimum_version = max(context.minimum_version, ssl.TLSVersion.TLSv1_2)  # some builds allow older versions
    return context


def _no_certificates() -> Invalid:
    return Invalid((Violation("ca_file", "must be a readable file of certificates in PEM form"),))

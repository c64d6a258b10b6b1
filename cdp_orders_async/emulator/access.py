"""Who may use the server: programs and pages of this machine, or with a token other machines too."""

from __future__ import annotations

import functools
import hmac
import ipaddress

import attrs
from aiohttp import web

__all__ = ["HOST", "Access", "address", "in_url", "is_this_machine"]

HOST = "127.0.0.1"
NAMES = (HOST, "localhost", "[::1]")
"""The names of this machine that a client may use."""
HTTP = 80  # an origin leaves this port out
OWN_SITES = frozenset({"none", "same-origin"})


@attrs.frozen
class Access:
    """The checks of a server that listens on *host*.

    token: the pages need it, in a cookie or as a bearer token; None: they need no token. It is required where other
    machines reach the server. Raises ValueError without it.
    """

    host: str = HOST
    token: str | None = attrs.field(default=None, repr=False)

    def __attrs_post_init__(self) -> None:
        if not (self.token or is_this_machine(self.host)):
            raise ValueError(f"other machines reach {self.host}: the pages need a token")

    def foreign(self, request: web.BaseRequest) -> str | None:
        """Say why a request may come from a foreign web page in a browser; None if it does not.

        Such a page either uses its own host name with the address of this machine (DNS rebinding), which the Host
        header shows, or a right host name: then the browser sends the origin of the page. A server that other machines
        reach has many names; there the token and the credentials of the API stop the first kind of page.
        """
        port = request.get_extra_info("sockname")[1]
        host = request.headers.get("Host", "").lower()
        if is_this_machine(self.host):
            if host and host not in places(self.host, port):
                return "Host: must be this machine, 127.0.0.1, localhost or [::1], with this port or none."
            own = origins(self.host, port)
        else:
            own = frozenset({f"http://{host}"})
        origin = request.headers.get("Origin")
        if origin is not None and origin.lower() not in own:
            return "Origin: must be this server."
        if request.headers.get("Sec-Fetch-Site", "none").lower() not in OWN_SITES:  # an image has no origin
            return "Sec-Fetch-Site: must be same-origin or none."
        return None

    def admits(self, given: str) -> bool:
        """Tell whether *given* is the token, if one is needed."""
        return self.token is None or hmac.compare_digest(given.encode(errors="surrogateescape"), self.token.encode())


def is_this_machine(host: str) -> bool:
    """Tell whether only programs on this machine reach *host*."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def address(request: web.BaseRequest) -> str:
    """Return the address that the request came to: a client of HTTP/1.0 need not send a host."""
    return in_url(*request.get_extra_info("sockname")[:2])


def in_url(host: str, port: int) -> str:
    """Return host and port as in a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def names(host: str) -> frozenset[str]:
    """Return the names of this machine, with the *host* that the server listens on."""
    return frozenset((*NAMES, f"[{host}]" if ":" in host else host.lower()))


@functools.cache
def places(host: str, port: int) -> frozenset[str]:
    """Return the hosts that clients may use."""
    return frozenset(f"{name}{end}" for name in names(host) for end in ("", f":{port}"))


@functools.cache
def origins(host: str, port: int) -> frozenset[str]:
    """Return the origins of the pages of this server; without a port, the port is 80."""
    ends = (f":{port}", *([""] if port == HTTP else []))
    return frozenset(f"http://{name}{end}" for name in names(host) for end in ends)

"""The options that several commands share, and the one way to say that something is wrong."""

from __future__ import annotations

import sys
from typing import Annotated

import attrs
from cyclopts import Parameter

from cdp_orders_async.client import CdpOrders
from cdp_orders_async.errors import Invalid
from cdp_orders_async.settings import Settings

__all__ = ["Connection", "refuse"]


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class Connection:
    """Where the API is, who calls it, and how fast."""

    base_url: Annotated[str | None, Parameter(env_var="CDP_BASE_URL")] = None
    """Where the API is, for instance the emulator: http://127.0.0.1:8642."""
    region: Annotated[str | None, Parameter(env_var="CDP_REGION")] = None
    """Or the region of the production server: ap, eu, jp or us."""
    client_key: Annotated[str | None, Parameter(env_var="CDP_CLIENT_KEY")] = None
    """The client key, from Settings > API access in Sitecore CDP."""
    api_token: Annotated[str | None, Parameter(env_var="CDP_API_TOKEN")] = None
    """The API token. As an option it shows in the list of processes; better set CDP_API_TOKEN."""
    rate: Annotated[float | None, Parameter(env_var="CDP_RATE", allow_leading_hyphen=True)] = None
    """Requests per second at most; without it there is no limit but the connections."""
    connections: Annotated[int, Parameter(env_var="CDP_CONNECTIONS", allow_leading_hyphen=True)] = 64
    """Connections, and so requests in flight, at most."""
    timeout: Annotated[float, Parameter(env_var="CDP_TIMEOUT", allow_leading_hyphen=True)] = 30.0
    """Seconds that one attempt may take."""
    deadline: Annotated[float | None, Parameter(env_var="CDP_DEADLINE", allow_leading_hyphen=True)] = 120.0
    """Seconds that one call may take with its retries."""

    def client(self) -> CdpOrders:
        """Make the client; raises `Invalid`."""
        settings = attrs.evolve(
            Settings.from_env(),
            rate=self.rate,
            connections=self.connections,
            timeout=self.timeout,
            deadline=self.deadline,
        )
        return CdpOrders(
            # A base URL that is given as an option comes before a region that the environment names.
            region=None if self.base_url else self.region,
            base_url=self.base_url,
            client_key=self.client_key,
            api_token=self.api_token,
            settings=settings,
        )


def refuse(error: Exception | str) -> int:
    """Say in one sentence on standard error what is wrong; return the exit status of bad usage or input."""
    if isinstance(error, Invalid):
        error = "; ".join(
            f"--{field.replace('_', '-').replace(', ', ', --')} {rule}" for field, rule in error.violations
        )
    print(f"cdp-orders: {error}", file=sys.stderr)  # noqa: T201 this is a command
    return 2

"""What jobs that may send each call again wait out, beyond what the session does for every caller."""

from __future__ import annotations

from cdp_orders_async.errors import CdpError
from cdp_orders_async.pacing.health import Sign, sign_of
from cdp_orders_async.pacing.retry import may_resend

__all__ = ["WAITS", "is_on_the_way"]

WAITS = (1.0, 2.0, 4.0)
"""Seconds before each further try."""


def is_on_the_way(error: CdpError, operation: str) -> bool:
    """Tell whether something on the way to the API gave the answer, such as a page or a redirect of a gateway.

    The session does not send such a call again, since a caller may have a wrong base URL, and should know at once.
    """
    return not may_resend(error, creates=False) and sign_of(error, operation) is Sign.UNWELL

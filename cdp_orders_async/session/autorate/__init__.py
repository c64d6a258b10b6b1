"""Finds the rate that a server accepts: the API documents neither a limit nor how it refuses."""

from cdp_orders_async.session.autorate.autorate import Autorate
from cdp_orders_async.session.autorate.governor import Governor

__all__ = ["Autorate", "Governor"]

"""Web pages of what the emulator has, for people: guests, orders, requests, switches and faults.

They see the store, the traffic, the switches and the plan of faults, and nothing of the API. jinja2, an extra, is
imported when the first page is opened.
"""

from cdp_orders_async.emulator.pages.serving import PAGES, Pages

__all__ = ["PAGES", "Pages"]

"""Work on files of orders from start to end: it tells an observer what happens, returns values and prints nothing.

report = await jobs.load(client, GraphFile("orders.jsonl"), journal=Path("orders.sqlite"))
"""

from __future__ import annotations

from cdp_orders_async.jobs.events import Event, Message, OnEvent, Problem, Progress
from cdp_orders_async.jobs.inputs import options_of
from cdp_orders_async.jobs.journal import journal_path
from cdp_orders_async.jobs.load import load
from cdp_orders_async.jobs.outcomes_file import written
from cdp_orders_async.jobs.report import NOT_AS_WANTED, Report, is_damaged, place
from cdp_orders_async.jobs.retry import RETRIED, retry
from cdp_orders_async.jobs.stopping import on_stop
from cdp_orders_async.jobs.verifier import VerifyReport
from cdp_orders_async.jobs.verify import verify

__all__ = [
    "NOT_AS_WANTED",
    "RETRIED",
    "Event",
    "Message",
    "OnEvent",
    "Problem",
    "Progress",
    "Report",
    "VerifyReport",
    "is_damaged",
    "journal_path",
    "load",
    "on_stop",
    "options_of",
    "place",
    "retry",
    "verify",
    "written",
]

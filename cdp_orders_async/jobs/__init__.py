"""Work on files of orders from start to end: it tells an observer what happens, returns values and prints nothing.

report = await jobs.load(client, GraphFiles(["orders.jsonl"]), journal=Path("orders.sqlite"))
"""

from __future__ import annotations

from cdp_orders_async.jobs.events import Event, Message, OnEvent, Problem, Progress
from cdp_orders_async.jobs.journal import journal_path
from cdp_orders_async.jobs.load import load
from cdp_orders_async.jobs.outcomes_file import written
from cdp_orders_async.jobs.report import NOT_AS_WANTED, Report, Run, is_damaged, new_run, place
from cdp_orders_async.jobs.stopping import on_stop

__all__ = [
    "NOT_AS_WANTED",
    "Event",
    "Message",
    "OnEvent",
    "Problem",
    "Progress",
    "Report",
    "Run",
    "is_damaged",
    "journal_path",
    "load",
    "new_run",
    "on_stop",
    "place",
    "written",
]

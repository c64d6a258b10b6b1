"""Work on files of orders from start to end: it tells an observer what happens, returns values and prints nothing.

report = await jobs.load(client, GraphFiles(["orders.jsonl"]), journal=Path("orders.sqlite"))
"""

from __future__ import annotations

from cdp_orders_async.jobs.before_file import Changed
from cdp_orders_async.jobs.engine_choice import BatchPlan, Choice
from cdp_orders_async.jobs.events import Event, Message, OnEvent, Problem, Progress, Reading
from cdp_orders_async.jobs.groups import Group, Groups
from cdp_orders_async.jobs.inputs import options_of
from cdp_orders_async.jobs.invented import SampleFormat, invented_orders, write_invented
from cdp_orders_async.jobs.journal import JournalPlace, check_outputs, journal_path, journal_place
from cdp_orders_async.jobs.load import LoadOptions, load
from cdp_orders_async.jobs.loading import Engine, Loading
from cdp_orders_async.jobs.outcomes_file import written
from cdp_orders_async.jobs.plan import Clash, Plan, plan
from cdp_orders_async.jobs.records import JournalReport, forget_order, journal_orders, journal_report
from cdp_orders_async.jobs.rejects import rejected
from cdp_orders_async.jobs.report import NOT_AS_WANTED, Report, Run, is_damaged, new_run, place
from cdp_orders_async.jobs.report_data import ReportData, RunData, report_data, report_of
from cdp_orders_async.jobs.retry import RETRIED, retry
from cdp_orders_async.jobs.sample import Presence
from cdp_orders_async.jobs.stopping import on_stop
from cdp_orders_async.jobs.undo import Undoable, UndoReport, undo, undoable
from cdp_orders_async.jobs.verifier import VerifyReport
from cdp_orders_async.jobs.verify import verify
from cdp_orders_async.jobs.whole import whole_order

__all__ = [
    "NOT_AS_WANTED",
    "RETRIED",
    "BatchPlan",
    "Changed",
    "Choice",
    "Clash",
    "Engine",
    "Event",
    "Group",
    "Groups",
    "JournalPlace",
    "JournalReport",
    "LoadOptions",
    "Loading",
    "Message",
    "OnEvent",
    "Plan",
    "Presence",
    "Problem",
    "Progress",
    "Reading",
    "Report",
    "ReportData",
    "Run",
    "RunData",
    "SampleFormat",
    "UndoReport",
    "Undoable",
    "VerifyReport",
    "check_outputs",
    "forget_order",
    "invented_orders",
    "is_damaged",
    "journal_orders",
    "journal_path",
    "journal_place",
    "journal_report",
    "load",
    "new_run",
    "on_stop",
    "options_of",
    "place",
    "plan",
    "rejected",
    "report_data",
    "report_of",
    "retry",
    "undo",
    "undoable",
    "verify",
    "whole_order",
    "write_invented",
    "written",
]

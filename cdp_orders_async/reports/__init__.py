"""Reports of loads, as files for a browser.

data = await jobs.report_data(["outcomes.jsonl"])
reports.write_html(data, Path("report.html"))
"""

from __future__ import annotations

from cdp_orders_async.reports.html import check_report, to_html, write_html

__all__ = ["check_report", "to_html", "write_html"]

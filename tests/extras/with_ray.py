"""The extra ray: a load on a cluster of this machine."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from pathlib import Path

os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_AUTH_MODE="disabled", CDP_CLIENT_KEY="key", CDP_API_TOKEN="token")  # noqa: S106 no secret

from cdp_orders_async.emulator import in_thread
from cdp_orders_async.engines.ray import load_dataset, read_lines
from cdp_orders_async.engines.ray_api import ray

LINE = '{"referenceId": "A-1", "orderedAt": "2024-01-01T00:00:00Z", "price": 50, "currencyCode": "EUR"}\n'

with tempfile.TemporaryDirectory() as folder, in_thread() as served:
    orders = Path(folder) / "orders.jsonl"
    orders.write_text(LINE, encoding="utf-8")
    # The workers import what this program imports, wherever that is.
    runtime = {"env_vars": {"PYTHONPATH": os.pathsep.join(sys.path)}}
    ray.init(address="local", num_cpus=2, include_dashboard=False, logging_level=logging.ERROR, runtime_env=runtime)
    journal = Path(folder) / "journal.sqlite"
    done = load_dataset(read_lines([orders]), journal=journal, rate=None, url=served.base_url, workers=1)
    assert [row["verdict"] for row in done.take_all()] == ["loaded"]
    ray.shutdown()

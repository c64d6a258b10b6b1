"""``cdp-orders sample``: invented orders of any number, to try what this program does."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from cdp_orders_async import jobs
from cdp_orders_async.cli.options import refuse
from cdp_orders_async.errors import CdpError

__all__ = ["sample"]


def sample(
    *,
    orders: Annotated[int, Parameter(allow_leading_hyphen=True)] = 1_000,
    seed: Annotated[int, Parameter(allow_leading_hyphen=True)] = 0,
    form: Annotated[jobs.SampleFormat, Parameter(name="--format")] = "jsonl",
    output: Path | None = None,
) -> int:
    """Write invented orders of about ten items each: real products and prices, and people that do not exist.

    The same seed gives the same orders, in each format; more orders begin with the fewer. All addresses are of
    example.com. The memory does not grow with their number.

    Example: cdp-orders sample --orders 100000 --seed 7 --format parquet --output orders.parquet

    Parameters
    ----------
    orders
        How many orders.
    seed
        Draw the orders by this number.
    form
        jsonl has an order a line; parquet an order a row, with nested columns, and needs the extra tables; csv an item
        a row. A load reads each of them as it is.
    output
        The file to write, for its owner only; without it, standard output, which takes no parquet. An earlier file is
        put aside first, as OUTPUT.1, OUTPUT.2 and so on.

    """
    try:
        jobs.write_invented(orders, seed, form, output, None if output is not None else sys.stdout.buffer)
    except CdpError as error:
        return refuse(error)
    return 0

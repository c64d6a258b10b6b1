"""Ray as an engine: a Dataset of orders is loaded by actors in a cluster, with one rate and one journal for all."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cdp_orders_async.client import CdpOrders, CdpOrdersV2
from cdp_orders_async.engines.leases import LEASE
from cdp_orders_async.engines.partition import PartitionOptions, make_client
from cdp_orders_async.engines.ray_actors import Worker, ray_sentence
from cdp_orders_async.engines.ray_api import RayError, pa, ray
from cdp_orders_async.engines.ray_owner import Job, end_owner, started_owner
from cdp_orders_async.errors import CdpError, InputError, Invalid, Violation
from cdp_orders_async.jobs.report import describe
from cdp_orders_async.journal import PostgresAddress
from cdp_orders_async.pacing.shared import check_rate
from cdp_orders_async.sources import GraphFile, GraphFiles

if TYPE_CHECKING:
    from ray.data import Dataset

__all__ = ["LoadEnded", "load_dataset", "make_job", "read_lines"]


class LoadEnded(CdpError):
    """The load of a Dataset ended before all its orders were tried; the same call again resumes."""

    outcomes: Dataset | None = None
    """The outcomes so far, as `load_dataset` returns them; None if Ray has lost them."""


def read_lines(files: Iterable[str | os.PathLike[str]]) -> Dataset:
    """Return a Dataset of the lines of *files*, each with its ``file`` and ``number``, and its ``text`` byte for byte.

    *files* are names, globs and folders, as in `GraphFiles`; plain, gzip or zstd. One task of the cluster reads each
    file, so all nodes must see it. Unlike ``ray.data.read_text``, each line keeps its number, so that outcomes name it.

    Raises `InputError` for a file that does not exist. A file that cannot be read ends the load with `LoadEnded`.
    """
    names = [{"file": name, "at": str(Path(name).absolute())} for name in GraphFiles(files).names]
    found = ray.data.from_items(names, override_num_blocks=len(names))
    read: Dataset = found.map_batches(_lines_of, batch_size=1, batch_format="pyarrow")
    return read


def _lines_of(files: Any) -> Iterator[Any]:  # noqa: ANN401 tables of Arrow
    """Yield the lines of *files*; a file that cannot be read ends with a problem: Ray prints a page for an error."""
    for row in files.to_pylist():
        number, name = 0, row["file"]
        try:
            for raws in GraphFile(row["at"]).batches():
                yield _numbered(name, number, raws, None)
                number += len(raws)
        except InputError as error:
            yield _numbered(name, number, [b""], str(error))


def _numbered(name: str, before: int, texts: Sequence[bytes], problem: str | None) -> Any:  # noqa: ANN401 a table of Arrow
    columns = {
        "file": pa.array([name] * len(texts), pa.string()),
        "number": pa.array(range(before + 1, before + 1 + len(texts)), pa.int64()),
        "text": pa.array(texts, pa.large_binary()),
        "problem": pa.array([problem] * len(texts), pa.string()),
    }
    return pa.table(columns)


def load_dataset(
    dataset: Dataset,
    *,
    journal: Path | str,
    rate: float | None,
    url: str | None = None,
    workers: int = 4,
    batch: int = 50,
    cpus: float = 0.5,
    lease: float = LEASE,
    options: PartitionOptions | None = None,
) -> Dataset:
    """Load the orders of *dataset* by *workers* actors, and return a Dataset with one row for each order.

    The rows of *dataset* are lines, in the column ``text``, perhaps with the columns ``file`` (or ``path``) and
    ``number``; or else orders, whose fields are the columns. The rows of the result have the columns ``file``,
    ``number``, ``key``, ``verdict`` and ``outcome``, the last as one line of a file of outcomes. The result is
    materialised: whatever reads it sends nothing again.

    Parameters: *journal*, a file on the node of the driver, which one actor owns; or ``postgresql://…``. *rate*,
    requests a second of all workers together; None sets no limit. In Postgres it is the rate of all processes with this
    database. *url*, the base URL, by default that of the environment. *batch*, how many orders are one partition: so
    many may have to be looked up when a worker dies. *cpus* of each worker. *lease*, seconds after which the claims of
    a worker that died end. *options*, the rest. The workers find the credentials in their own environment, as
    CDP_CLIENT_KEY and CDP_API_TOKEN: they are never sent to them.

    A partition whose worker dies is tried again; after three deaths its orders are ``unknown``. Raises `LoadEnded` with
    one sentence if the load cannot go on, `Invalid` for an impossible argument, and `JournalError` for a journal that
    cannot be used.

        done = load_dataset(read_lines(["2024/"]), journal="2024.sqlite", rate=20)
        done.groupby("verdict").count().show()
    """
    options = options or PartitionOptions()
    job, path = make_job(make_client(url, options), rate, journal, workers, lease, options)
    found: list[Violation] = []
    if batch < 1:
        found.append(Violation("batch", "must be above 0"))
    if not cpus > 0:
        found.append(Violation("cpus", "must be above 0"))
    if found:
        raise Invalid(tuple(found))
    name, owner = started_owner(job, path)
    try:
        return _loaded(dataset, name, owner, job, batch, cpus)
    finally:
        end_owner(name, owner)


def _loaded(dataset: Dataset, name: str, owner: Any, job: Job, batch: int, cpus: float) -> Dataset:  # noqa: ANN401 a handle
    parts: Any = dataset.repartition(target_num_rows_per_block=batch)
    loads = parts.map_batches(
        Worker,
        batch_size=batch,
        batch_format="pyarrow",
        # Ray warns of workers that a small input does not need, unless there may be fewer.
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=job.workers, initial_size=job.workers),
        num_cpus=cpus,
        fn_constructor_args=(name,),
    )
    done: Dataset | None = None
    try:
        loaded: Dataset = loads.materialize()
        done = loaded
        error: CdpError | None = ray.get(owner.error.remote())
    except RayError as failure:
        sentence = ray_sentence(failure)
    else:
        if error is None:
            return loaded
        sentence = describe(error, job.url)
    ended = LoadEnded(sentence)
    ended.outcomes = done
    raise ended


def make_job(
    client: CdpOrders | CdpOrdersV2,
    rate: float | None,
    journal: Path | str,
    workers: int,
    lease: float,
    options: PartitionOptions,
) -> tuple[Job, Path | None]:
    """Return what all workers share, and the file of the journal; None for a database.

    Raises `Invalid`, and `JournalError` for an address that cannot be read.
    """
    if rate is not None:
        check_rate(rate)
    found: list[Violation] = []
    if workers < 1:
        found.append(Violation("workers", "must be above 0"))
    if not 0 < lease < float("inf"):
        found.append(Violation("lease", "must be a finite number above 0"))
    if found:
        raise Invalid(tuple(found))
    place = os.fspath(journal)
    database = PostgresAddress.parse(place).given.open() if PostgresAddress.matches(place) else None
    job = Job(
        url=client.base_url,
        rate=rate,
        journal=database,
        identity=dict(client.identity),
        options=options,
        workers=workers,
        lease=lease,
    )
    return job, Path(place).absolute() if database is None else None

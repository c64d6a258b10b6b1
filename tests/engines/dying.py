"""A process that runs loads over the Batch API, each in a fork that dies at one of its steps.

It reads lines ``FOLDER STEP`` and answers each with the exit status of the load, and the number of steps that it began.
At step 0 no load dies. A step is a call that writes to disk or sends something; a load dies right before it, and so
right after the step before.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import attrs

from cdp_orders_async import CdpOrders, GraphFiles, Settings, jobs
from cdp_orders_async.engines.batch_api import BatchApi
from cdp_orders_async.journal import SqliteJournal
from cdp_orders_async.journal.batches import BatchBook
from tests.cli.support import TOKEN
from tests.engines.support import ENGINE

STEPS = {
    SqliteJournal: ("claim", "end"),
    BatchBook: ("next_id", "add", "set", "finish", "tidy"),
    BatchApi: ("announce", "upload", "status"),
}
DEAD = 9
ROOT = Path(__file__).parents[2]


def counted(last: int, writer: int) -> None:
    """Tell each step to *writer*, and end the process, as a kill does, before the step number *last*."""
    numbers = itertools.count(1)
    alone = threading.Lock()  # steps begin in several threads: none after the one that ends the process

    def dying(step: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:  # noqa: ANN401 those of the step
            with alone:
                os.write(writer, b".")
                if next(numbers) == last:
                    os._exit(DEAD)
            return step(*args, **options)

        return call

    for owner, names in STEPS.items():
        for name in names:
            setattr(owner, name, dying(getattr(owner, name)))


async def load(base_url: str, folder: Path) -> int:
    """Load the orders of the *folder*."""
    settings = Settings(retries=0, connections=4)
    async with CdpOrders(base_url=base_url, client_key="key", api_token=TOKEN, settings=settings) as cdp:
        source = GraphFiles([folder / "o.jsonl"])
        report = await jobs.load(cdp, source, journal=folder / "j", engine=attrs.evolve(ENGINE, most_orders=2))
        return report.status


@contextmanager
def dying(base_url: str) -> Generator[subprocess.Popen[str], None, None]:
    """Run this module as a process with loads from the server at *base_url*."""
    command = (sys.executable, "-m", "tests.engines.dying", base_url)
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


def ask(process: subprocess.Popen[str], folder: Path, step: int) -> tuple[int, int]:
    """Run a load that dies at a *step*; return its status, and how many steps it began."""
    commands: IO[str] | None = process.stdin
    answers: IO[str] | None = process.stdout
    assert commands is not None
    assert answers is not None
    commands.write(f"{folder} {step}\n")
    commands.flush()
    status, began = answers.readline().split()
    return int(status), int(began)


def main(base_url: str) -> None:
    """Run each load that standard input asks for."""
    for line in sys.stdin:
        folder, step = line.split()
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            counted(int(step), writer)
            os._exit(asyncio.run(load(base_url, Path(folder))))
        os.close(writer)
        with os.fdopen(reader, "rb") as steps:
            began = len(steps.read())
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)} {began}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1])

"""Orders from a file of JSON lines."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import io
import itertools
import os
import stat
import threading
import zlib
from collections.abc import AsyncGenerator, Iterator
from datetime import tzinfo
from typing import Any

import orjson
from msgspec import Struct

from cdp_orders_async.errors import InputError, Violation
from cdp_orders_async.graph import Findings, InputLine, Timezone, need, read_graph, read_json, zone_of
from cdp_orders_async.kinds import V2_1, Api
from cdp_orders_async.redact import sealed
from cdp_orders_async.sources.formats import bare, what_else

__all__ = ["CHUNK", "LONGEST_LINE", "GraphFile", "lines"]

GZIP = b"\x1f"  # its first byte, with which no JSON begins
PAGE = 1 << 12  # what is read first; then it is chunks
CHUNK = 1 << 16
MOST_HELD = 1000
LONGEST_LINE = 16 * 2**20  # bytes; an order of 100 items with full extensions has about 0.5 MB


async def _in_thread(batches: Iterator[list[InputLine]]) -> list[InputLine] | None:
    """Return the next batch, read in a thread that does not hold up the end of the process while it waits."""
    loop = asyncio.get_running_loop()
    came: asyncio.Future[list[InputLine] | None] = loop.create_future()

    def deliver(batch: list[InputLine] | None, error: Exception | None) -> None:
        if came.cancelled():
            return
        if error is None:
            came.set_result(batch)
        else:
            came.set_exception(error)

    def work() -> None:
        batch, error = None, None
        try:
            batch = next(batches, None)
        except Exception as caught:  # noqa: BLE001 it is raised where the batch is awaited
            error = caught
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(deliver, batch, error)

    threading.Thread(target=work, daemon=True).start()
    return await came


def lines(stream: io.BufferedIOBase, longest: int = LONGEST_LINE) -> Iterator[list[bytes]]:
    """Yield the lines that arrive together; one of more than *longest* bytes may come cut, but not so short."""
    rest = bytearray()
    skipping = False
    while chunk := stream.read1(CHUNK):
        *whole, tail = chunk.split(b"\n")
        if whole and skipping:  # the rest of a line that was refused
            whole.pop(0)
            skipping = False
        elif whole:
            whole[0] = bytes(rest) + whole[0]
            rest.clear()
        if not skipping:
            rest += tail
        if len(rest) > longest:
            whole.append(bytes(rest[: longest + 1]))
            skipping = True
            rest.clear()
        if whole:
            yield whole
    if rest:
        yield [bytes(rest)]


class _Parser(Struct):
    """Parses the lines of one file."""

    file: str
    api: Api
    zone: tzinfo | None
    assign_references: bool

    def line(self, number: int, raw: bytes) -> InputLine | None:
        """Parse one line; an empty one is None."""
        if len(raw) > LONGEST_LINE:  # before anything else, since what was cut off may not have been empty
            return self.refused(number, Violation("$", f"must be at most {LONGEST_LINE:,} bytes long"))
        text = bare(raw)  # files that were put one after the other have the mark of each
        if not text:
            return None
        lost = Findings()
        try:
            value = read_json(text, lost)
        except orjson.JSONDecodeError as error:
            return self.refused(number, Violation("$", f"must be JSON: {error.msg} at column {error.colno}"))
        if value is None and lost.count:
            return self.refused(number, *lost.told)
        read = read_graph(value, self.api, self.zone, assign_references=self.assign_references, lost=lost)
        return InputLine(self.file, number, read.graph, tuple(read.violations), read.key)

    def refused(self, number: int, *violations: Violation) -> InputLine:
        return InputLine(self.file, number, None, violations)


class _Watched(io.FileIO):
    """A file that may grow while it is read, but must not become smaller: then its end is not where it seems to be."""

    def __init__(self, file: str | int) -> None:
        super().__init__(file, closefd=not isinstance(file, int))
        status = os.fstat(self.fileno())
        self.size = status.st_size if stat.S_ISREG(status.st_mode) else 0
        """The largest that it was; 0 for a pipe, which has no size."""

    def readinto(self, buffer: Any, /) -> int | None:  # noqa: ANN401 whatever can be written to
        """Read some of it."""
        count = super().readinto(buffer)
        if self.size:
            now = os.fstat(self.fileno()).st_size
            if now < self.size:
                raise OSError(errno.EIO, "it became smaller while it was read")
            self.size = now
        return count


@sealed
class GraphFile:
    """The orders of a JSON lines file, plain or gzip, told by its first bytes; ``-`` is standard input.

    ``async for line in GraphFile(path)`` yields a `InputLine` for each line that is not empty. Reading and parsing
    happen in a thread, so a slow source does not hold up the event loop. A bad line is a `InputLine` with its
    *violations*: also one in which a key of an object is given twice, or a number would not arrive digit for digit.

    Raises `InputError` for a file that cannot be read, or not any further: also one that is no JSON lines, and one
    that becomes smaller while it is read. Lines that are appended meanwhile are read too.

    Parameters: *path*; *api*, the version that the orders are for; *timezone*, the zone of times that do not say
    theirs, as in `parse_graph`; *assign_references*, whether each item without a reference id gets one, as by the
    function of that name. Raises `Invalid` for a time zone that this system does not know, and TypeError for an
    argument of the wrong type.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        api: Api = V2_1,
        *,
        timezone: Timezone = None,
        assign_references: bool = False,
    ) -> None:
        need(path, (str, os.PathLike), "path")
        need(api, Api, "api")
        need(assign_references, bool, "assign_references", "True or False")
        self._path = os.fspath(path)
        self.name = "standard input" if self._path == "-" else self._path
        """What messages call it."""
        self.fraction: float | None = None
        """How much of it was read, from 0 to 1; None where its size is not known."""
        self._parser = _Parser(self.name, api, zone_of(timezone), assign_references)

    async def __aiter__(self) -> AsyncGenerator[InputLine, None]:
        batches = self._batches()
        while (batch := await _in_thread(batches)) is not None:
            for line in batch:
                yield line

    def _batches(self) -> Iterator[list[InputLine]]:
        """Yield the lines in the batches in which they arrive."""
        import gzip  # noqa: PLC0415 only those who read files need it

        number = 0
        try:
            with contextlib.ExitStack() as stack:
                # Not sys.stdin, whose lock a waiting thread would hold at the exit.
                file = stack.enter_context(_Watched(0 if self._path == "-" else self._path))
                raw = stack.enter_context(io.BufferedReader(file, PAGE))
                packed = raw.peek(1)[:1] == GZIP
                stream = stack.enter_context(gzip.GzipFile(fileobj=raw)) if packed else raw
                for raws in self._recognised(lines(stream)):
                    numbered = zip(itertools.count(number + 1), raws, strict=False)
                    yield [line for n, text in numbered if (line := self._parser.line(n, text))]
                    number += len(raws)
                    self.fraction = min(1.0, raw.tell() / file.size) if file.size else None
        except (OSError, EOFError, zlib.error) as error:
            reason = error.strerror if isinstance(error, OSError) else None
            where = f" after line {number}" if number else ""
            raise InputError(f"{self.name} cannot be read{where}: {reason or 'it is no whole gzip file'}") from error

    def _recognised(self, batches: Iterator[list[bytes]]) -> Iterator[list[bytes]]:
        """Yield the batches of lines; raise `InputError` if the first lines that are not blank are no JSON lines.

        A first line that does not begin as an order waits for the second, which tells a bad line from a bad file.
        """
        held: list[bytes] = []
        texts: list[bytes] = []
        for raws in batches:
            held += raws
            texts = list(itertools.islice(filter(None, map(bare, held)), 2))
            if not texts:
                yield held
                held = []
            elif len(texts) > 1 or texts[0].startswith(b"{") or len(held) > MOST_HELD:
                break
        if texts and (what := what_else(next(filter(bare, held)), texts)):
            raise InputError(f"{self.name} cannot be read: {what}")
        yield held
        yield from batches

"""The orders of one file of JSON lines."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import importlib
import io
import itertools
import os
import stat
import sys
import zlib
from collections.abc import AsyncGenerator, Callable, Container, Iterator
from types import NoneType
from typing import Any

from cdp_orders_async.errors import InputError
from cdp_orders_async.graph import InputLine, Timezone, need, zone_of
from cdp_orders_async.kinds import V2_1, Api
from cdp_orders_async.redact import sealed
from cdp_orders_async.sources.formats import GZIP, bare, is_zstd, what_else
from cdp_orders_async.sources.parser import LONGEST_LINE, LineParser
from cdp_orders_async.threads import in_thread

__all__ = ["CHUNK", "LONGEST_LINE", "GraphFile", "lines", "reading_errors", "start_hash", "unpacker"]

PAGE = 1 << 12  # what is read first; then it is chunks
CHUNK = 1 << 16
COMPARED = 1 << 20  # bytes that are compared at once
MOST_HELD = 1000
TOO_WIDE = "too much memory"
"""What zstd says of a file that it unpacks only if more memory than usual is allowed."""


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


def _zstd() -> Any:  # noqa: ANN401 a module
    """Return the module that unpacks zstd, or None."""
    try:
        if sys.version_info >= (3, 14):
            return importlib.import_module("compression.zstd")
        return importlib.import_module("backports.zstd")
    except ModuleNotFoundError:
        return None


def unpacker(first: bytes, name: str) -> Callable[[Any], Any] | None:
    """Return the opener of a packed file that has these *first* bytes; None for a file that is not packed.

    Raises `InputError` with the *name* of the file if it is packed by zstd and nothing here unpacks that.
    """
    if first.startswith(GZIP):
        import gzip  # noqa: PLC0415 only those who read packed files need it

        return lambda raw: gzip.GzipFile(fileobj=raw)
    if not is_zstd(first):
        return None
    zstd = _zstd()
    if zstd is None:
        needs = "an extra: pip install 'cdp-orders-async[cli]'"
        if sys.version_info >= (3, 14):  # the extra has none for it
            needs = "a Python that was built with it: unpack it first (zstd -d)"
        raise InputError(f"{name} cannot be read: it is packed by zstd, which needs {needs}")
    unpack: Callable[[Any], Any] = zstd.ZstdFile
    return unpack


def reading_errors() -> tuple[type[Exception], ...]:
    """Return the errors of a file that cannot be read or unpacked."""
    zstd = _zstd()
    return (OSError, EOFError, zlib.error, *(() if zstd is None else (zstd.ZstdError,)))


class _Watched(io.FileIO):
    """A file that may grow while it is read, but must not change otherwise: then only a part of each state is read."""

    def __init__(self, file: str | int) -> None:
        super().__init__(file, closefd=not isinstance(file, int))
        status = os.fstat(self.fileno())
        self.size = status.st_size if stat.S_ISREG(status.st_mode) else 0
        """The largest that it was; 0 for a pipe, which has no size."""
        self._before: tuple[int, int] = status.st_size, status.st_mtime_ns
        self._start = self.tell() if self.size else 0
        self._hash = hashlib.blake2b()

    def readinto(self, buffer: Any, /) -> int | None:  # noqa: ANN401 whatever can be written to
        """Read some of it."""
        count = super().readinto(buffer)
        if self.size:
            self._hash.update(memoryview(buffer)[:count])
            status = os.fstat(self.fileno())
            now = status.st_size, status.st_mtime_ns
            if now[0] < self.size:
                raise OSError(errno.EIO, "it became smaller while it was read")
            if not count and now != self._before:
                self._compare()
                self._before = now
            self.size = now[0]
        return count

    def _compare(self) -> None:
        """Raise OSError unless all that was read still stands in the file."""
        end, again = self.tell(), hashlib.blake2b()
        self.seek(self._start)
        while left := end - self.tell():
            chunk = self.read(min(left, COMPARED))
            if not chunk:
                break
            again.update(chunk)
        self.seek(end)
        if again.digest() != self._hash.digest():
            raise OSError(errno.EIO, "it changed while it was read: read it again")


class _Expecting:
    """Estimates how many lines a file of *size* bytes has, 0 where it is not known."""

    def __init__(self, size: int, *, packed: bool) -> None:
        self._size = size
        self._packed = packed
        self.count = self._length = 0  # of the lines so far
        self._at = 0  # in the file, packed as it is
        self._known: tuple[int, int] | None = None  # so many lines are in so many bytes of it

    def note(self, count: int, length: int, at: int) -> None:
        """Note *count* more lines, of *length* bytes; the file was read up to the byte *at*."""
        if at != self._at:  # the bytes before were not enough for these lines, so they hold the ones before
            if self._packed and self._at:
                self._known = self.count, self._at
            self._at = at
        self.count += count
        self._length += length
        if not self._packed:
            self._known = self.count, self._length

    @property
    def lines(self) -> float | None:
        """The estimate; None where nothing tells it."""
        if self._known is None or not self._size or not self._known[0]:
            return None
        count, length = self._known
        return max(self.count, count * self._size / length)


def start_hash(options: str = "") -> hashlib.blake2b:
    """Return a hash of the *options* of an input, to which its lines are added."""
    return hashlib.blake2b(options.encode(), digest_size=16)


@sealed
class GraphFile:
    """The orders of one file of JSON lines: plain, gzip or zstd, told by its first bytes; ``-`` is standard input.

    ``async for line in GraphFile(path)`` yields an `InputLine` for each line that is not empty. A thread reads and
    parses, so a slow source does not hold up the event loop. A bad line is an `InputLine` with its *violations*: also
    one in which a key of an object is given twice, or a number would not arrive digit for digit.

    Raises `InputError` for a file that cannot be read to its end, also for one that is not JSON lines, and for one
    that becomes smaller, or no longer begins with the lines that were read, while it is read. Lines that are appended
    meanwhile are read too.

    Parameters: *path*; *api*, the version that the orders are for; *timezone*, the zone of times that do not say
    theirs, as in `parse_graph`; *assign_references*, whether each item without a reference id gets one, as by the
    function of that name; *only*, the numbers of the lines that are read, None for all. Raises `Invalid` for a time
    zone that this system does not know, and TypeError for an argument of the wrong type.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        api: Api = V2_1,
        *,
        timezone: Timezone = None,
        assign_references: bool = False,
        only: Container[int] | None = None,
    ) -> None:
        need(path, (str, os.PathLike), "path")
        need(api, Api, "api")
        need(assign_references, bool, "assign_references", "True or False")
        need(only, (Container, NoneType), "only")
        self._path = os.fspath(path)
        self.name = "standard input" if self._path == "-" else self._path
        """The name of the file in messages."""
        self.fraction: float | None = None
        """The share of it that was read, from 0 to 1; None while its size is not known."""
        self.expected_lines: float | None = None
        """The number of its lines that are not empty, estimated from those that were read; None where nothing tells."""
        self.lines_hash = start_hash()
        """The hash of the lines that were read, without empty ones."""
        self._parser = LineParser(self.name, api, zone_of(timezone), assign_references, only)

    @property
    def options(self) -> dict[str, object]:
        """How the lines are read, as JSON data: ``api``, ``timezone`` and ``assign_references``."""
        return self._parser.options

    async def __aiter__(self) -> AsyncGenerator[InputLine, None]:
        batches = self._parsed()
        while (batch := await in_thread(lambda: next(batches, None))) is not None:
            for line in batch:
                yield line

    async def read_through(self) -> None:
        """Read all lines without a look at them, for the hash."""

        def read() -> None:
            for _ in self.batches():
                pass

        await in_thread(read)

    def _parsed(self) -> Iterator[list[InputLine]]:
        """Yield the lines in the batches in which they arrive."""
        number = 0
        for raws in self.batches():
            numbered = enumerate(raws, number + 1)
            yield [line for n, raw in numbered if (line := self._parser.line(n, raw))]
            number += len(raws)

    def batches(self) -> Iterator[list[bytes]]:
        """Yield the lines as they stand, in the batches in which they arrive, and keep the *fraction* up to date."""
        number = 0
        try:
            with contextlib.ExitStack() as stack:
                # Not sys.stdin, whose lock a waiting thread would hold at the exit.
                file = stack.enter_context(_Watched(0 if self._path == "-" else self._path))
                raw = stack.enter_context(io.BufferedReader(file, PAGE))
                unpack = unpacker(raw.peek(4)[:4], self.name)
                stream = raw if unpack is None else stack.enter_context(unpack(raw))
                expecting = _Expecting(file.size, packed=unpack is not None)
                for raws in self._recognised(lines(stream)):
                    texts = [text for text in map(bare, raws) if text]
                    self.lines_hash.update(b"".join(text + b"\n" for text in texts))
                    expecting.note(len(texts), sum(map(len, raws)) + len(raws), raw.tell() if file.size else 0)
                    self.expected_lines = expecting.lines
                    yield raws
                    number += len(raws)
                    self.fraction = min(1.0, raw.tell() / file.size) if file.size else None
                self.expected_lines = expecting.count if file.size else None
        except reading_errors() as error:
            reason = error.strerror if isinstance(error, OSError) else None
            if TOO_WIDE in str(error):
                reason = "it was packed by zstd with a window above 128 MiB: unpack it first (zstd -d --long=31)"
            where = f" after line {number}" if number else ""
            raise InputError(f"{self.name} cannot be read{where}: {reason or 'it is cut off or damaged'}") from error

    def _recognised(self, batches: Iterator[list[bytes]]) -> Iterator[list[bytes]]:
        """Yield the batches of lines; raise `InputError` if the first lines that are not blank are no JSON lines.

        A first line that does not begin as an order, or ends in a comma, waits for the second, which tells a bad line
        from a bad file.
        """
        held: list[bytes] = []
        texts: list[bytes] = []
        for raws in batches:
            held += raws
            texts = list(itertools.islice(filter(None, map(bare, held)), 2))
            if not texts:
                yield held
                held = []
                continue
            decided = len(texts) > 1 or (texts[0].startswith(b"{") and not texts[0].endswith(b","))
            if decided or len(held) > MOST_HELD:
                break
        if texts and (what := what_else(next(filter(bare, held)), texts)):
            raise InputError(f"{self.name} cannot be read: {what}")
        yield held
        yield from batches

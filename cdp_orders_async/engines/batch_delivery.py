"""Bring one batch file to its result: announce, upload, ask, and read the log; each step is noted before it is made.

A file counts at most once. It goes to a second batch only if the first certainly has none of its records: no upload to
it began, or the API says that it arrived damaged. A file whose upload has an unknown end stays with its batch: the
status of the batch says whether it arrived. So it is if the upload was accepted: a gateway may have answered.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TypeVar
from uuid import UUID

import attrs
from msgspec import Struct

from cdp_orders_async.engines.batch_api import BatchApi, BatchStatus, LogRow
from cdp_orders_async.engines.batch_packing import place_of
from cdp_orders_async.errors import (
    CdpError,
    DeadlineExceeded,
    InputError,
    Invalid,
    NotSent,
    OutcomeUnknown,
    RateLimited,
    Refused,
    ServerError,
    Unreadable,
    counted,
)
from cdp_orders_async.journal.batches import BatchBook, BatchFile, State
from cdp_orders_async.redact import Opaque

__all__ = ["Delivery", "Patience", "Result", "is_whole"]

T = TypeVar("T")

UPLOADING, SUCCESS, CORRUPTED, ERROR = "uploading", "success", "corrupted", "error"
FINAL = (SUCCESS, CORRUPTED, ERROR)
MOST_CORRUPTED = 3
"""Batches of one file that arrived damaged, after which the load ends."""
MOST_REFUSED = 5
"""Uploads of one file that were refused, after which the load ends."""
MOST_UNSENT = 8
"""Uploads of one file in a row that did not reach the file storage, after which the load ends."""
MOST_LOST = 5
"""Uploads of one file that were accepted and did not arrive, after which the load ends."""
LOOKS_AT_LOG = 5
TRIES = 3
"""Failed calls after which the load ends if none has ever succeeded."""
LONGEST = 60.0
"""The longest pause in seconds while the server is not well."""
TRANSIENT = (NotSent, OutcomeUnknown, ServerError, RateLimited, DeadlineExceeded, Unreadable)


class Result(Struct, frozen=True):
    """The result of a file: the refused records by their places, and why the others are unknown, if they are."""

    failures: Mapping[int, LogRow] = {}
    unknown: str | None = None


@attrs.define
class Patience:
    """Repeats calls while the server is not well.

    Parameters: *first*, the seconds of the first pause between two looks, and *longest*, those of the longest one;
    *settle*, the seconds after an upload with a lost answer in which the status of its batch may lag; *clock*, in
    seconds.
    """

    first: float
    longest: float
    settle: float
    clock: Callable[[], float]
    succeeded: int = 0
    """Calls that succeeded."""
    why: str | None = None
    """Why a call waits to be sent again; None: none does."""
    until: float = 0.0
    """When it is sent again."""

    async def __call__(self, call: Callable[[], Awaitable[T]]) -> T:
        """Return the result of *call*, which may be repeated; raise its error if the cause will not go away."""
        tries = 0
        while True:
            try:
                result = await call()
            except CdpError as error:
                tries += 1
                if not _is_transient(error) or (not self.succeeded and tries >= TRIES):
                    raise
                await self.pause(str(error), min(self.first * 2.0**tries, max(LONGEST, self.first)))
            else:
                self.succeeded += 1
                return result

    async def pause(self, why: str, seconds: float) -> None:
        """Wait, and let everybody know why."""
        self.why, self.until = why, self.clock() + seconds
        try:
            await asyncio.sleep(seconds)
        finally:
            self.why = None


def _is_transient(error: CdpError) -> bool:
    return isinstance(error, TRANSIENT) or (isinstance(error, Refused) and not error.from_api)


class Delivery:
    """Delivers the files of *book* over *api*; *new_ref* makes the UUID of a batch, *tell* gets sentences."""

    def __init__(
        self,
        api: BatchApi,
        book: BatchBook,
        patience: Patience,
        new_ref: Callable[[], UUID],
        tell: Callable[[str], None],
    ) -> None:
        self._api = api
        self._book = book
        self._patiently = patience
        self._new_ref = new_ref
        self._tell = tell
        self.steps = 0
        """How often a file came nearer to its end: it arrived, or it got its result."""
        self.waiting: dict[int, str] = {}
        """What the server says of the batches that are looked at again and again, by the ids of their files."""

    async def deliver(self, file: BatchFile) -> Result:
        """Bring *file* to its result; raises the error that ends the load."""
        try:
            return await self._deliver(file)
        finally:
            self.steps += 1
            self.waiting.pop(file.id, None)

    async def _deliver(self, file: BatchFile) -> Result:
        corrupted = 0
        while True:
            if file.state == "uploading":  # by an earlier run, which did not see its end
                status = await self._settled(file)
                if status is None or status.code != UPLOADING:
                    file = await self._note(file, state="uploaded")
            if file.state != "uploaded":
                sent = await self._send(file)
                if sent is None:
                    return Result(
                        unknown="the answer to the upload of its batch file was lost, and it can neither be"
                        " sent again nor be found"
                    )
                file = sent
            self.steps += 1
            file, status = await self._ended(file)
            if status is None or status.code == UPLOADING:
                missing = "the server does not know the batch of its file, which was uploaded"
                lost = "its batch file was uploaded and did not arrive, and it cannot be sent again"
                return Result(unknown=missing if status is None else lost)
            if status.code == SUCCESS:
                return Result()
            if status.code == ERROR:
                return await self._failures(file, status)
            corrupted += 1
            if corrupted >= MOST_CORRUPTED:
                raise OutcomeUnknown(f"batch {file.ref}: the server says {corrupted} times that the file is damaged")
            self._tell(f"Batch {file.ref}: the file arrived damaged, so nothing of it counts; it is uploaded again.")
            file = await self._note(file, state="cut", ref=str(self._new_ref()))

    async def _ended(self, file: BatchFile) -> tuple[BatchFile, BatchStatus | None]:
        """Wait for the end of an uploaded *file*, and upload it again while its batch still waits for it.

        Return it with the last status of its batch: that is `UPLOADING` if it cannot be sent again, None if the server
        does not know the batch.
        """
        lost = 0
        sent: BatchFile | None = file
        while True:
            status = await self._final(file, lost)
            if status is None or status.code != UPLOADING:
                return file, status
            lost += 1
            if lost >= MOST_LOST and sent is None:
                return file, status
            if lost >= MOST_LOST:
                raise OutcomeUnknown(f"batch {file.ref}: the file storage accepted its file {lost} times, and lost it")
            self._tell(f"Batch {file.ref}: the file was uploaded and did not arrive; it is uploaded again.")
            sent = await self._send(file)
            file = sent or file

    async def _send(self, file: BatchFile) -> BatchFile | None:
        """Upload *file* until it has arrived; None if that cannot be found out."""
        refused = unsent = 0
        unsure = file.state != "cut"  # whether an upload may have arrived
        while True:
            file, status = await self._announced(file)
            if status.code != UPLOADING:
                return await self._note(file, state="uploaded")
            path = self._book.path(file)
            if status.location is None or not await asyncio.to_thread(is_whole, path, file):
                if file.state != "cut":
                    return None
                raise InputError(f"batch {file.ref}: its file {path} was changed, or it got no location")
            file = await self._note(file, state="uploading")
            try:
                arrived = await self._uploaded(file, status.location, path)
            except (Invalid, NotSent) as error:
                unsent += 1
                file = file if unsure else await self._note(file, state="cut")
                if unsent >= MOST_UNSENT or isinstance(error, Invalid):  # a location that no upload can go to
                    raise
                await self._patiently.pause(str(error), min(self._patiently.first * 2.0**unsent, LONGEST))
                continue
            if arrived:
                return await self._note(file, state="uploaded")
            unsure = unsure or arrived is None
            file = file if unsure else await self._note(file, state="cut")
            unsent, refused = 0, refused + (arrived is False)
            if refused >= MOST_REFUSED:
                raise NotSent(f"batch {file.ref}: the file storage refused the file {refused} times")

    async def _uploaded(self, file: BatchFile, location: Opaque[str], path: Path) -> bool | None:
        """Upload once; tell whether it arrived. None: it did not; False: it was refused.

        Raises `NotSent`, and `Invalid` for a location that must not be used: nothing was sent.
        """
        try:
            status = await self._api.upload(location, path, file.checksum)
        except OSError as error:
            raise NotSent(f"batch {file.ref}: its file {path} cannot be read: {error.strerror}") from error
        except OutcomeUnknown as error:
            why = str(error)
        else:
            if 200 <= status < 300:  # noqa: PLR2004 HTTP
                self._patiently.succeeded += 1
                return True
            if status < 500:  # noqa: PLR2004 the location expired, or the bytes were damaged on their way
                return False
            why = f"the file storage answered {status}"
        self._tell(f"Batch {file.ref}: {why}; its status will say whether the file arrived.")
        found = await self._settled(file)
        return True if found is None or found.code != UPLOADING else None

    async def _announced(self, file: BatchFile) -> tuple[BatchFile, BatchStatus]:
        """Announce the batch of *file*, perhaps as another batch; return it with its status."""
        while True:
            try:
                return file, await self._patiently(lambda: self._api.announce(file))  # noqa: B023 it is awaited here
            except Refused as error:
                if not error.from_api or error.status in {401, 403}:
                    raise
                found = await self._patiently(lambda: self._api.status(file.ref))  # noqa: B023 the same
                if found is None:  # it is refused for another reason
                    raise
                if found.code != UPLOADING or found.location is not None or file.state != "cut":
                    return file, found
                # Nothing was uploaded to this batch, and nothing can be: its location was never told.
                file = await self._note(file, ref=str(self._new_ref()))

    async def _settled(self, file: BatchFile) -> BatchStatus | None:
        """Return the status of a batch once it shows that a file came, or once it would show it."""
        until = self._patiently.clock() + self._patiently.settle
        wait = self._patiently.first
        while True:
            status = await self._patiently(lambda: self._api.status(file.ref))
            if (status is not None and status.code != UPLOADING) or self._patiently.clock() >= until:
                return status
            wait = await self._look_again(file, status, wait)

    async def _final(self, file: BatchFile, lost: int) -> BatchStatus | None:
        """Wait until the batch of *file* has its result, and return it; None if the server does not know the batch.

        A batch that waits for its file too long has no result: its status is returned. The time doubles with each
        of the *lost* uploads, because the server may only be slow.
        """
        wait = self._patiently.first
        until = self._patiently.clock() + max(self._patiently.settle, wait) * 2.0**lost
        while True:
            status = await self._patiently(lambda: self._api.status(file.ref))
            if status is None:
                status = await self._settled(file)
            if status is None or status.code in FINAL:
                return status
            if status.code == UPLOADING and self._patiently.clock() >= until:
                return status
            wait = await self._look_again(file, status, wait)

    async def _look_again(self, file: BatchFile, status: BatchStatus | None, wait: float) -> float:
        """Wait for the next look at a batch without a result; return the seconds of the wait after that."""
        code = "unknown" if status is None else status.code
        self.waiting[file.id] = f"the status of batch {file.ref} stays {code}"
        await asyncio.sleep(wait)
        return min(1.5 * wait, self._patiently.longest)

    async def _failures(self, file: BatchFile, status: BatchStatus | None) -> Result:
        """Read the error log of a batch."""
        failures: dict[int, LogRow] = {}
        strangers: int | None = None
        for look in range(LOOKS_AT_LOG):
            if look:  # for a URL that is valid again
                await asyncio.sleep(min(self._patiently.first * 2.0**look, self._patiently.longest))
                status = await self._patiently(lambda: self._api.status(file.ref))
            if status is None or status.log is None:
                continue
            log = await self._log_of(status.log)
            strangers = None if log is None else await asyncio.to_thread(self._read, log, file, failures)
            if strangers or failures:
                break
        if strangers is None or not (strangers or failures):
            return Result(unknown="some record of its batch failed, and the error log cannot be read")
        rows = counted(strangers, "row of the error log of its batch names", "rows of the error log of its batch name")
        return Result(failures, f"{rows} no record of it" if strangers else None)

    async def _log_of(self, url: Opaque[str]) -> bytes | None:
        try:
            return await self._api.log(url)
        except (Invalid, NotSent, OutcomeUnknown, Refused, Unreadable, DeadlineExceeded):
            return None

    def _read(self, log: bytes, file: BatchFile, failures: dict[int, LogRow]) -> int | None:
        """Note the rows of the *log* of a *file* as *failures*, the worst of each record.

        Return how many rows name no record of the file; None if the log cannot be read to its end.
        """
        strangers = 0
        failures.clear()
        try:
            for row in self._api.rows(log):
                n = None if row.ref is None else place_of(row.ref, self._book.id, file.id)
                if n is None or n >= file.orders:
                    strangers += 1
                elif n not in failures or row.code > failures[n].code:
                    failures[n] = row
        except ValueError:
            failures.clear()
            return None
        return strangers

    async def _note(self, file: BatchFile, *, state: State | None = None, ref: str | None = None) -> BatchFile:
        """Write down what comes next, before it happens."""
        return await asyncio.to_thread(lambda: self._book.set(file, state=state, ref=ref))


def is_whole(path: Path, file: BatchFile) -> bool:
    """Tell whether *path* holds the bytes that were cut."""
    try:
        with path.open("rb") as data:
            found = hashlib.file_digest(data, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    except OSError:
        return False
    return found == file.checksum

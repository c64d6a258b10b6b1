"""The calls of the Batch API: announce a batch, upload its file, ask for its status, and read its error log.

The API gets the credentials; the file storage gets none. Source: the vendor's pages
walkthrough--uploading-a-batch-file, retrieve-batch-file-upload-status and retrieve-batch-upload-error-log, under
https://doc.sitecore.com/cdp/en/developers/api/.
"""

from __future__ import annotations

import base64
import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import orjson
from msgspec import Struct

from cdp_orders_async.addresses import is_encoded, normalised
from cdp_orders_async.client import CdpOrders, CdpOrdersV2
from cdp_orders_async.errors import NotFound
from cdp_orders_async.journal.batches import BatchFile
from cdp_orders_async.redact import NO_SECRETS, Opaque
from cdp_orders_async.routes import BATCHES
from cdp_orders_async.session import SignedUrls
from cdp_orders_async.wire import Request, encode, is_object, masked_message

__all__ = ["NO_MESSAGE", "BatchApi", "BatchStatus", "LogRow"]

TRANSFER = 1800.0
"""The most seconds of one upload, or of reading a log."""
LARGEST_LOG = 64 * 2**20
LARGEST_PLAIN_LOG = 2**30
LARGEST_ROW = 2**20
GZIP = b"\x1f\x8b"
LEAST_REFUSAL = 400
ENCRYPTION = {"x-amz-server-side-encryption": "AES256"}
NO_MESSAGE = "without a message"
CODES = frozenset({"uploading", "processing", "success", "corrupted", "error"})
"""The documented codes of a batch."""


class BatchStatus(Struct, frozen=True):
    """What the API says of a batch."""

    code: str
    """``uploading``, ``processing``, ``success``, ``corrupted`` or ``error``; of any other, only words of servers."""
    location: Opaque[str] | None = None
    """Where its file goes: the signature in this URL is a secret."""
    log: Opaque[str] | None = None
    """Where its error log is."""


class LogRow(Struct, frozen=True):
    """One row of an error log: a record that was refused."""

    ref: str | None
    code: int
    """A status as in HTTP; 500 where the row has none, or one that is not an error."""
    message: str
    """The words of servers in it; a person may have such a name too, see `entries` in batch_outcomes."""


class BatchApi:
    """Calls the Batch API over *client*."""

    def __init__(self, client: CdpOrders | CdpOrdersV2) -> None:
        self._session = client.session
        self._origin = normalised(client.base_url)
        self._signed = SignedUrls(client.session.settings, TRANSFER)

    async def announce(self, file: BatchFile) -> BatchStatus:
        """Make the batch of *file*, or ask for a new location for it; raises what a call of the client raises."""
        return await self._call("create", file.ref, encode({"checksum": file.checksum, "size": file.size}))

    async def status(self, ref: str) -> BatchStatus | None:
        """Return what the API says of the batch *ref*; None if it does not know it."""
        try:
            return await self._call("get", ref)
        except NotFound as error:
            if not error.from_api:
                raise
            return None

    async def upload(self, location: Opaque[str], path: Path, checksum: str) -> int:
        """Send the file at *path*, whose MD5 is *checksum*, to *location*; return the status of the answer.

        Raises `NotSent`, `OutcomeUnknown` if the answer was lost, and `Invalid` for a location that must not be used.
        """
        digest = base64.b64encode(bytes.fromhex(checksum)).decode()
        return await self._signed.put(location, path, {**ENCRYPTION, "Content-Md5": digest})

    async def log(self, url: Opaque[str]) -> bytes | None:
        """Return the error log as it comes; None where this URL gives none. Raises what reading raises."""
        text = url.open()
        if not is_encoded(text):
            return None
        is_path = text.startswith("/") and not text.startswith("//")  # two slashes name another host
        if is_path or (self._is_of_api(text) and urlsplit(text).path.startswith("/v2/")):
            parts = urlsplit(text)
            # The query is signed as it is: encoded in another way it would be another one.
            return await self._session.send(Request("batches.log", "GET", parts.path, bytes, raw_query=parts.query))
        status, body = await self._signed.get(url, LARGEST_LOG)
        return body if 200 <= status < 300 else None  # noqa: PLR2004 HTTP

    def rows(self, log: bytes) -> Iterator[LogRow]:
        """Yield the rows of an error *log*, which may be packed with gzip; raise ValueError where it is not one."""
        left = LARGEST_PLAIN_LOG
        try:
            with gzip.open(io.BytesIO(log)) if log.startswith(GZIP) else io.BytesIO(log) as lines:
                while line := lines.readline(LARGEST_ROW):
                    left -= len(line)
                    if left < 0:
                        raise ValueError("the log is too large")
                    if not line.isspace():
                        yield self._row(orjson.loads(line))
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError("the log is damaged") from error

    def _row(self, row: object) -> LogRow:
        ref, code, message = _member(row, "ref"), _member(row, "code"), _member(row, "message")
        if not is_object(row):
            raise ValueError("a row must be an object")
        if isinstance(code, str) and code.isascii() and code.isdigit():
            code = int(code[:4])
        # What is no refusal is a failure of which nothing is known.
        known = isinstance(code, int) and code >= LEAST_REFUSAL
        told = masked_message(message, self._session.secrets) if isinstance(message, str) and message else NO_MESSAGE
        return LogRow(ref if isinstance(ref, str) else None, code if known and isinstance(code, int) else 500, told)

    def _is_of_api(self, url: str) -> bool:
        return normalised(url).startswith(f"{self._origin}/")

    async def _call(self, verb: str, ref: str, body: bytes | None = None) -> BatchStatus:
        route = BATCHES[verb]
        request = Request(route.operation, route.method, route.path.replace("{ref}", ref), _read, body=body)
        return await self._session.send(request)


def _read(body: bytes) -> BatchStatus:
    """Read the answer about a batch; raise ValueError if it does not fit."""
    data: object = orjson.loads(body)
    status = _member(data, "status")
    code = _member(status, "code")
    if not isinstance(code, str):
        raise ValueError("must have a status with a code")  # noqa: TRY004 the text of the answer is wrong
    href, log = _member(_member(data, "location"), "href"), _member(status, "log")
    return BatchStatus(
        masked_message(code.lower(), NO_SECRETS, CODES),
        Opaque(href) if isinstance(href, str) and href else None,
        Opaque(log) if isinstance(log, str) and log else None,
    )


def _member(value: object, name: str) -> object:
    """Return a member of JSON data; None if the data is not an object that has it."""
    return value.get(name) if is_object(value) else None

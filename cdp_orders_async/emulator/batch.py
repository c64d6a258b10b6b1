"""The Batch API: a batch, the location of its file on this server, its status, its error log, and the list.

The files and results are in memory, also with a storage. Source: the vendor's pages on the Batch API.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import hmac
import io
import re
import zlib
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

import attrs
import orjson

from cdp_orders_async.emulator.batch_records import row, take
from cdp_orders_async.emulator.faults import Fault
from cdp_orders_async.emulator.naming import BATCH_LOG, BATCH_PROCESSING, BATCH_UPLOAD
from cdp_orders_async.emulator.operations import Reply
from cdp_orders_async.emulator.records import Cause, Invalid, Json, Missing, moment
from cdp_orders_async.emulator.representation import LIMIT, whole_number
from cdp_orders_async.emulator.requests import Answer, Asked, read_object, refusal
from cdp_orders_async.emulator.store import Store
from cdp_orders_async.emulator.waiting import Waiting
from cdp_orders_async.routes import BATCHES

__all__ = ["LARGEST_FILE", "SIGNED", "Batches"]

LARGEST_FILE = 50 * 2**20
"""The bytes of the largest batch file."""
SIGNED = frozenset({BATCH_UPLOAD, BATCH_LOG})
"""The operations whose URLs hold a signature in place of credentials."""
UPLOADS = "/__batches/{ref}/file"
LOGS = "/__batches/{ref}/log"
STATUSES = ("uploading", "processing", "success", "corrupted", "error")
MD5 = re.compile("[0-9a-f]{32}")
KEPT = timedelta(days=30)
"""How long the list shows a batch."""
ENCRYPTION = "AES256"
REJECTED = 3
"""The fault ``reject`` refuses each third record."""


@attrs.define
class Batch:
    """One batch."""

    ref: str
    checksum: str
    """The MD5 that was announced, in hexadecimal digits."""
    size: int
    created: datetime
    modified: datetime
    status: str = "uploading"
    uploaded: bool = False
    """Whether a file came."""
    log: bytes | None = None
    """The error log, packed with gzip; None: there is none."""
    uploads: int = 0
    """How many files came."""


class Batches:
    """The batches of a *store*; *draw* returns the next fault of the processing; *waiting* does what is slow."""

    def __init__(self, store: Store, draw: Callable[[], Fault | None], waiting: Waiting) -> None:
        self._store = store
        self._draw = draw
        self._waiting = waiting
        self._secret = b"emulator"
        self._batches: dict[str, Batch] = {}

    def endpoints(self) -> Iterator[tuple[str, str, str, Answer]]:
        """Yield each operation with its method, its path and its answer."""
        answers: dict[str, Answer] = {
            "create": self._create,
            "get": self._get,
            "inspect": self._inspect,
            "list": self._list,
        }
        for verb, route in BATCHES.items():
            yield route.operation, route.method, route.path, answers[verb]
        yield BATCH_UPLOAD, "PUT", UPLOADS, self._upload
        yield BATCH_LOG, "GET", LOGS, self._log

    def all(self) -> list[Batch]:
        """Return all batches, the oldest first."""
        return list(self._batches.values())

    def reset(self) -> None:
        """Forget all batches."""
        self._batches.clear()

    def _create(self, asked: Asked, open_segments: list[str]) -> Reply:
        ref = ref_of(open_segments)
        checksum, size = read_announcement(asked.body)
        batch = self._batches.get(ref)
        now = self._store.clock()
        if batch is None:
            batch = self._batches[ref] = Batch(ref, checksum, size, now, now)
            return Reply(201, self._shown(batch, asked.base))
        if self._store.switches.batch_again == "refuse" or batch.status not in {"uploading", "corrupted"}:
            return refusal(409, "ref: the batch exists already.")
        batch.checksum, batch.size, batch.modified = checksum, size, now
        batch.status, batch.uploaded = "uploading", False
        return Reply(200, self._shown(batch, asked.base))

    def _get(self, asked: Asked, open_segments: list[str]) -> Reply:
        return Reply(200, self._shown(self._found(open_segments), asked.base))

    def _inspect(self, asked: Asked, open_segments: list[str]) -> Reply:
        batch = self._found(open_segments)
        return Reply(200, {**self._shown(batch, asked.base), "file_uploaded": batch.uploaded})

    def _list(self, asked: Asked, _: list[str]) -> Reply:
        query, now = asked.query, self._store.clock()
        status, before = query.get("status"), query.get("createdBefore")
        if status is not None and status not in STATUSES:
            raise Invalid(f"status: must be one of {', '.join(STATUSES)}.")
        try:
            latest = now if before is None else moment(before)
        except ValueError:
            raise Invalid("createdBefore: must be an ISO 8601 date-time with a time zone.") from None
        offset = whole_number(query, "offset", 0, least=0)
        limit = whole_number(query, "limit", LIMIT, least=1)
        found = [
            batch
            for batch in reversed(self.all())
            if now - batch.created <= KEPT and batch.created <= latest and status in {None, batch.status}
        ]
        items: list[Json] = [
            {key: value for key, value in self._shown(batch, asked.base).items() if key in LISTED}
            for batch in found[offset : offset + limit]
        ]
        return Reply(200, {"totalCount": len(found), "offset": offset, "limit": limit, "items": items})

    def _found(self, open_segments: list[str]) -> Batch:
        batch = self._batches.get(ref_of(open_segments))
        if batch is None:
            raise Missing("ref: no such batch.")
        return batch

    def _shown(self, batch: Batch, base: str) -> dict[str, Json]:
        """Return the JSON of a batch; each answer has a location that is valid from now on."""
        status: dict[str, Json] = {"code": batch.status}
        if batch.log is not None:
            status["log"], _ = self._signed(LOGS, batch.ref, base)
        shown: dict[str, Json] = {
            "href": f"{base}{BATCHES['get'].path.replace('{ref}', batch.ref)}",
            "ref": batch.ref,
            "checksum": batch.checksum,
            "size": batch.size,
            "status": status,
            "createdAt": batch.created.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "modifiedAt": batch.modified.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        }
        if batch.status == "uploading":
            href, expiry = self._signed(UPLOADS, batch.ref, base)
            shown["location"] = {"href": href, "expiry": expiry.isoformat().replace("+00:00", "Z")}
        return shown

    def _signed(self, path: str, ref: str, base: str) -> tuple[str, datetime]:
        expiry = self._store.clock() + timedelta(seconds=self._store.switches.batch_location_seconds)
        seconds = str(expiry.timestamp())
        where = path.replace("{ref}", ref)
        return f"{base}{where}?Expires={seconds}&Signature={self._signature(where, seconds)}", expiry

    def _signature(self, path: str, seconds: str) -> str:
        return hmac.new(self._secret, f"{path} {seconds}".encode(), hashlib.sha256).hexdigest()

    def _check_signature(self, asked: Asked) -> Reply | None:
        """Return the refusal of a request to a signed URL, None if it may go on."""
        seconds, given = asked.query.get("Expires", ""), asked.query.get("Signature", "")
        if asked.authorization:
            return storage_error(400, "InvalidArgument", "Only one auth mechanism allowed")
        wanted = self._signature(asked.path, seconds)
        if not hmac.compare_digest(given.encode(errors="surrogateescape"), wanted.encode()):
            return storage_error(403, "SignatureDoesNotMatch", "The signature does not match")
        if float(seconds) <= self._store.clock().timestamp():
            return storage_error(403, "AccessDenied", "Request has expired")
        return None

    def _upload(self, asked: Asked, open_segments: list[str]) -> Reply:
        batch = self._batches.get(ref_of(open_segments))
        digest = hashlib.md5(asked.body, usedforsecurity=False).digest()
        refused = self._check_signature(asked)
        if refused is None and batch is not None:
            refused = check_headers(asked, digest)
        if refused is not None or batch is None:
            return refused or storage_error(404, "NoSuchKey", "There is no such batch")
        batch.uploads += 1
        if not batch.uploaded or self._store.switches.batch_second_upload == "process":
            self._arrived(batch, asked.body, digest.hex())
        return Reply(200)

    def _arrived(self, batch: Batch, data: bytes, checksum: str) -> None:
        """Process a file, if it is the one that was announced."""
        batch.uploaded, batch.modified = True, self._store.clock()
        fault = self._draw()
        damaged = checksum != batch.checksum or len(data) != batch.size
        if damaged or (fault is not None and fault.action == "corrupt"):
            batch.status = "corrupted"
            return
        batch.status = "processing"
        process = partial(self._process, batch, data, fault)
        if self._store.switches.batch_seconds:
            self._waiting.later(self._store.switches.batch_seconds, process)
        else:
            process()

    def _process(self, batch: Batch, data: bytes, fault: Fault | None) -> None:
        """Take each record of a file."""
        failures: list[dict[str, Json]] = []
        cause = partial(Cause, BATCH_PROCESSING, "PUT", BATCHES["create"].path.replace("{ref}", batch.ref))
        batch.modified = self._store.clock()
        if fault is not None and fault.action == "fail":
            batch.status = "error"
            return
        reject = fault.status if fault is not None and fault.action == "reject" else None
        try:
            with gzip.open(io.BytesIO(data)) as lines:
                for n, line in enumerate(lines, 1):
                    failed = take(self._store, line, cause, refuse=None if n % REJECTED else reject)
                    failures += [] if failed is None else [failed]
        except (OSError, EOFError, zlib.error):
            failures.append(row(None, 400, "The file is not gzip."))
        batch.status = "error" if failures else "success"
        if failures:
            batch.log = gzip.compress(b"".join(orjson.dumps(failed) + b"\n" for failed in failures), mtime=0)

    def _log(self, asked: Asked, open_segments: list[str]) -> Reply:
        if (refused := self._check_signature(asked)) is not None:
            return refused
        batch = self._batches.get(ref_of(open_segments))
        if batch is None or batch.log is None:
            return storage_error(404, "NoSuchKey", "There is no such log")
        return Reply(200, data=batch.log, content_type="application/gzip")


LISTED = frozenset({"href", "ref", "status", "createdAt", "modifiedAt"})
"""The keys of a batch in the list."""


def ref_of(open_segments: list[str]) -> str:
    """Return the ref of a batch in a path; raise Invalid for what is no UUID."""
    try:
        return str(UUID(open_segments[0]))
    except ValueError:
        raise Invalid("ref: must be a UUID.") from None


def read_announcement(body: bytes) -> tuple[str, int]:
    """Return the checksum and the size of a file that will come; the size may be text."""
    given = read_object(body)
    checksum, size = given.get("checksum"), given.get("size")
    if isinstance(size, str) and size.isascii() and size.isdigit():
        size = int(size[:20])
    if not isinstance(checksum, str) or not MD5.fullmatch(checksum.lower()):
        raise Invalid("checksum: must be an MD5 in hexadecimal digits.")
    if isinstance(size, bool) or not isinstance(size, int) or not 0 < size <= LARGEST_FILE:
        raise Invalid(f"size: must be a whole number from 1 to {LARGEST_FILE}.")
    return checksum.lower(), size


def check_headers(asked: Asked, digest: bytes) -> Reply | None:
    """Return the refusal of an upload without the right headers."""
    if asked.headers.get("Content-Md5") != base64.b64encode(digest).decode():
        return storage_error(400, "BadDigest", "The Content-MD5 does not fit")
    if asked.headers.get("x-amz-server-side-encryption") != ENCRYPTION:
        return storage_error(403, "AccessDenied", "The encryption is missing")
    return None


def storage_error(status: int, code: str, message: str) -> Reply:
    """Return the error of a file storage, which is XML."""
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>'
    return Reply(status, data=text.encode(), content_type="application/xml")

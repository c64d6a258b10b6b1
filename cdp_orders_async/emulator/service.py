"""The emulator without its sockets: it finds the operation of a request, checks it, and answers."""

from __future__ import annotations

import base64
import hmac
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime
from functools import partial
from pathlib import Path

import attrs

from cdp_orders_async.emulator.batch import LARGEST_FILE, SIGNED, Batches
from cdp_orders_async.emulator.faults import Faults
from cdp_orders_async.emulator.limits import PASS, Bucket, Fate, Gate, Leave
from cdp_orders_async.emulator.naming import BATCH_PROCESSING, BATCH_UPLOAD
from cdp_orders_async.emulator.operations import V2, V2_1, Call, Operation, Reply, Version
from cdp_orders_async.emulator.records import Cause, Invalid, Missing, NoExtension, utc_now
from cdp_orders_async.emulator.representation import nested, whole_number
from cdp_orders_async.emulator.requests import LARGEST, SUPPORT, Asked, Endpoint, read_object, refusal
from cdp_orders_async.emulator.routing import Node
from cdp_orders_async.emulator.storage import Storage
from cdp_orders_async.emulator.store import Store
from cdp_orders_async.emulator.switches import Switches, seconds
from cdp_orders_async.emulator.traffic import Traffic
from cdp_orders_async.emulator.waiting import Waiting

__all__ = ["Asked", "Emulator", "Endpoint", "refusal"]

UNAUTHORIZED = Reply(
    401,
    {
        "status": "UNAUTHORIZED",
        "code": 401,
        "message": "Authentication credentials are required to access the resource. "
        "All requests must be authenticated.",
        "moreInfoUrl": SUPPORT,
    },
    challenge='Basic realm="Order REST API", charset="UTF-8"',
)
BAD_REQUEST = 400
WITH_BODY = frozenset({"POST", "PUT", "PATCH"})


class Emulator:
    """The server: its state, its switches, its faults and its credentials.

    client_key, api_token: the Basic credentials that it requires; bearer: a token that it accepts too.
    switches: its choices where the documents are silent; faults: the plan of faults.
    seed: of the refs; storage: an SQLite file to continue and to write; clock: gives the time with a time zone.
    Delays use the time of the running loop; if the clock follows a virtual loop, all time is virtual.
    """

    def __init__(
        self,
        *,
        client_key: str = "key",
        api_token: str = "token",  # noqa: S107 (a default for tests, which guards nothing)
        bearer: str | None = None,
        switches: Switches | None = None,
        faults: Faults | None = None,
        seed: int = 0,
        storage: Path | str | None = None,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self.store = Store(switches, clock=clock, seed=seed, storage=None if storage is None else Storage(storage))
        self.faults = faults or Faults()
        self.requests: Counter[str] = Counter()
        """Requests received, by operation."""
        self.dropped: Counter[str] = Counter()
        """Requests that a fault dropped before they had an effect, by operation; *requests* does not count them."""
        self.traffic = Traffic()
        """The latest requests with their answers."""
        self.waiting = Waiting()
        """The work that latency and slow writes delay: ``len()`` counts it, ``finish()`` does it at once."""
        self._gets = 0
        self._gate: tuple[object, Gate] | None = None
        self._credentials = {"basic": base64.b64encode(f"{client_key}:{api_token}".encode())}
        if bearer is not None:
            self._credentials["bearer"] = bearer.encode()
        self._root = Node[Endpoint]()
        self._mount(V2_1)
        self._mount(V2)
        self.batches = Batches(self.store, lambda: self.faults.draw(BATCH_PROCESSING), self.waiting)
        """The batch files that were uploaded, and their results."""
        for operation, method, path, answer in self.batches.endpoints():
            signed = operation in SIGNED
            largest = LARGEST_FILE if operation == BATCH_UPLOAD else LARGEST
            self._root.add(method, path, Endpoint(operation, answer, signed, largest))
        self._root.add("GET", "/__ledger", Endpoint("", self._ledger))
        self._root.add("GET", "/__state", Endpoint("", lambda asked, _: Reply(200, self.state(asked.base))))
        self._root.add("POST", "/__reset", Endpoint("", self._reset))

    def close(self) -> None:
        """Do all delayed work at once, and close the storage."""
        self.waiting.finish()
        self.store.close()

    def find(self, method: str, path: str) -> tuple[Endpoint, list[str]]:
        """Return the endpoint of a request, and the open segments of its path."""
        here, open_segments = self._root.find(path)
        endpoint = here.get(method) or (wrong_method(here) if here else UNKNOWN)
        return endpoint, open_segments

    def answer(self, endpoint: Endpoint, open_segments: list[str], asked: Asked) -> Reply:
        """Do the request in one indivisible step, and return the answer."""
        return self.envelope(self._answer(endpoint, open_segments, asked), asked)

    @staticmethod
    def envelope(reply: Reply, asked: Asked) -> Reply:
        """Return *reply* in the form of the version of the request."""
        if reply.body is not None and reply.status >= BAD_REQUEST and asked.path.startswith("/v2/"):
            body = {("moreInfo" if key == "moreInfoUrl" else key): value for key, value in reply.body.items()}
            return attrs.evolve(reply, body=body)
        return reply

    def enter(self, operation: str, method: str) -> tuple[Fate, Leave]:
        """Return the fate of a request that comes now, and a function to call when its answer leaves.

        After a change of the limits, their counters start again. A request outside of the API, with an empty
        *operation*, has no limits.
        """
        switches, now = self.store.switches, self.store.clock().timestamp()
        limits = switches.limits
        if switches.rate is not None:
            limits += (Bucket(rate=switches.rate, burst=switches.burst, retry_after=switches.retry_after),)
        if not operation or not limits:
            return PASS, lambda: None
        if self._gate is None or self._gate[0] != limits:
            self._gate = (limits, Gate(limits, now))
        return self._gate[1].enter(method, now)

    async def answer_slowly(
        self, endpoint: Endpoint, open_segments: list[str], asked: Asked, queued: float = 0.0
    ) -> Reply:
        """Answer as `answer` does, after *queued* seconds plus those of *latency* and *slow_writes*.

        The request takes effect only then. If a client goes away, this call is cancelled: a request that slow_writes or
        a queue delays still takes effect; any other is dropped.
        """
        slow = seconds(self.store.switches.slow_writes, endpoint.operation) if asked.method != "GET" else 0
        wait = queued + seconds(self.store.switches.latency, endpoint.operation) + slow
        surely = queued + slow > 0
        return await self.waiting.after(wait, partial(self.answer, endpoint, open_segments, asked), surely=surely)

    def answer_later(self, endpoint: Endpoint, open_segments: list[str], asked: Asked, queued: float) -> None:
        """Do the request in *queued* seconds, without an answer."""
        self.waiting.later(queued, partial(self.answer, endpoint, open_segments, asked))

    async def delay(self, operation: str) -> None:
        """Wait for the latency of *operation*."""
        await self.waiting.after(seconds(self.store.switches.latency, operation), lambda: None)

    def _answer(self, endpoint: Endpoint, open_segments: list[str], asked: Asked) -> Reply:
        if endpoint.is_signed:
            return endpoint.answer(asked, open_segments)
        if not self.knows(asked.authorization):
            return UNAUTHORIZED
        if endpoint.operation and asked.method in WITH_BODY and asked.content_type != "application/json":
            return refusal(415, "Content-Type: must be application/json.")
        try:
            return endpoint.answer(asked, open_segments)
        except Invalid as wrong:
            return refusal(400, str(wrong))
        except Missing as missing:
            absent = isinstance(missing, NoExtension)
            return refusal(404 if absent else self.store.switches.unknown_ref_status, str(missing))

    def ledger(self, since: int = 0) -> dict[str, object]:
        """Return the effects after number *since*, and the counts of everything so far."""
        return {
            "effects": self.store.effects[since:],
            "counts": {**self.store.counts},
            "requests": {**self.requests},
            "dropped": {**self.dropped},
            "faults": {" ".join(fault): count for fault, count in self.faults.done.items()},
        }

    def state(self, base: str = "") -> dict[str, object]:
        """Return all orders with their nested parts; links begin with *base*."""
        links = V2_1.links(base)
        return {"orders": [nested(order, self.store, links) for order in self.store.all("orders")]}

    def reset(self) -> None:
        """Do all delayed work, then delete everything; begin the faults and the refs again."""
        self.waiting.finish()
        self._gets = 0
        self.store.reset()
        self.batches.reset()
        self.faults.reset()
        self.requests.clear()
        self.dropped.clear()
        self.traffic.clear()
        self._gate = None

    def _mount(self, version: Version) -> None:
        for route, run in version.operations.items():
            # The name of an extension is part of the path: any other name than ext gives 400, not 404.
            path = route.path.replace("/extensions/ext", "/extensions/{name}")
            endpoint = Endpoint(route.operation, partial(self._perform, version, route.operation, run))
            # Existing clients of version 2 end a path with a slash, or write orderitems.
            for form in (path, f"{path}/", path.lower()) if version.legacy else (path,):
                self._root.add(route.method, form, endpoint)

    def _perform(
        self, version: Version, operation: str, run: Operation, asked: Asked, open_segments: list[str]
    ) -> Reply:
        if asked.method == "GET" and self._comes_empty():
            return Reply(200)
        ref, ext = [*open_segments, "", ""][:2]
        if not version.legacy and ext not in {"", "ext"}:
            raise Invalid("dataExtensionName: must be ext.")
        call = Call(
            store=self.store,
            links=version.links(asked.base),
            rules=version.rules,
            kind=operation.partition(".")[0],
            ref=ref,
            ext=ext,
            query=asked.query,
            body=read_object(asked.body) if asked.method in WITH_BODY else {},
            cause=Cause(operation, asked.method, asked.path, asked.request_id),
        )
        return run(call)

    def knows(self, authorization: str) -> bool:
        """Tell whether these credentials are right."""
        scheme, _, given = authorization.partition(" ")
        wanted = self._credentials.get(scheme.lower())
        return wanted is not None and hmac.compare_digest(given.encode(errors="surrogateescape"), wanted)

    def _comes_empty(self) -> bool:
        self._gets += 1
        every = self.store.switches.empty_gets
        return every > 0 and self._gets % every == 0

    def _ledger(self, asked: Asked, _: list[str]) -> Reply:
        return Reply(200, self.ledger(whole_number(asked.query, "since", 0, least=0)))

    def _reset(self, _asked: Asked, _: list[str]) -> Reply:
        self.reset()
        return Reply(204)


UNKNOWN = Endpoint("", lambda asked, _: refusal(404, f"No such path: {asked.path}."))


def wrong_method(right: Iterable[str]) -> Endpoint:
    """Return the endpoint that refuses a method: its path has only the *right* methods."""

    def answer(asked: Asked, _: list[str]) -> Reply:
        reply = refusal(405, f"{asked.method} is not allowed on {asked.path}.")
        return attrs.evolve(reply, allow=", ".join(sorted(right)))

    return Endpoint("", answer)

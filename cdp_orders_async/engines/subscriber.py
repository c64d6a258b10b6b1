"""A subscriber of FastStream that reads a Redis stream in its own way, and runs each message through FastStream.

FastStream's own reading ends for good when the broker loses the group, takes more messages than it can begin, and
leaves to its users what becomes of a message that failed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import orjson
from faststream import AckPolicy
from faststream.redis import RedisBroker, StreamSub
from faststream.redis.broker.logging import make_redis_logger_state
from faststream.redis.broker.registrator import RedisRegistrator
from faststream.redis.message import DATA_KEY
from faststream.redis.subscriber.factory import create_subscriber
from faststream.redis.subscriber.usecases import StreamSubscriber
from redis.exceptions import RedisError, ResponseError

from cdp_orders_async.engines.delivery import Action, Decision, Fault
from cdp_orders_async.engines.streams import Consumer, Entry

__all__ = ["Deliver", "add_subscriber"]

logger = logging.getLogger("cdp_orders_async.engines.faststream")

BLOCK = 0.2
"""The seconds that one read waits for a new message; a stop waits as long."""
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
"""The seconds between two tries to reach a broker that is away."""
SHORTEST_ROUND, LONGEST_ROUND = 0.1, 5.0
"""The seconds between two looks for messages that can be taken over."""
DATA = b"data"
"""The field in which producers other than FastStream put the order."""
NO_BODY = "$: the entry must have the order in its field data, or be published by FastStream"


class Deliver(Protocol):
    """Loads the order of one message."""

    def __call__(self, body: bytes, /, *, times: int) -> Awaitable[Decision]:
        """Load the order in *body*, which was delivered *times* times."""
        ...


def add_subscriber(
    broker: RedisBroker,
    consumer: Consumer,
    deliver: Deliver,
    warm_up: Callable[[], Awaitable[None]],
    *,
    workers: int,
    retry_after: float,
    most: int,
) -> None:
    """Let *broker* *warm_up*, read as *consumer* and *deliver* each message; the options are those of `subscribe`."""
    config: Any = _QuietConfig(broker.config)
    made: Any = create_subscriber(
        channel=None,
        list=None,
        stream=StreamSub(consumer.stream, group=consumer.group, consumer=consumer.name),
        ack_policy=AckPolicy.MANUAL,
        config=config,
        no_reply=True,
        message_format=None,
    )
    subscriber = _Subscriber(made.config, made.specification, made.calls)
    subscriber.consumer, subscriber.warm_up = consumer, warm_up
    subscriber.workers, subscriber.retry_after, subscriber.most = workers, retry_after, most
    super(RedisRegistrator, broker).subscriber(subscriber)
    subscriber.add_call(parser_=_parse, decoder_=_leave_encoded, dependencies_=())

    async def load_order(message: Any) -> Any:  # noqa: ANN401 FastStream would convert a type that it knows
        """Load the order of one message."""
        raw = message.raw_message
        if message.body is None:
            decision = Decision(action=Action.DEAD_LETTER, reason=NO_BODY, fault=Fault.ORDER)
        else:
            try:
                decision = await deliver(message.body, times=raw.get("times", 1))
            except asyncio.CancelledError:
                if not subscriber.was_cancelled():
                    raise
                decision = Decision(action=Action.RETRY, reason="the worker was stopped")
        raw["decision"] = decision
        return str(decision.action)

    subscriber(load_order)


class _QuietConfig:
    """The configuration of a broker, whose subscriber writes its access log to *logger* at level DEBUG."""

    def __init__(self, config: Any) -> None:  # noqa: ANN401 FastStream composes it of several types
        self._config = config
        self.logger = make_redis_logger_state(logger=logger, log_level=logging.DEBUG)
        self.logger._setup(config.context)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] a broker does this for its own

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 whatever the configuration has
        return getattr(self._config, name)


async def _parse(raw: Any, original: Callable[[Any], Awaitable[Any]]) -> Any:  # noqa: ANN401 FastStream's messages
    """Return the message of an entry with the bytes that the producer sent; None for an entry without an order."""
    fields = raw["data"]
    if DATA_KEY.encode() in fields:
        message = await original(raw)
    else:  # FastStream would make JSON of all fields, and look into it for a message
        message = await original({**raw, "data": {DATA_KEY.encode(): b"-"}})
        message.raw_message, message.body = raw, fields.get(DATA)
    if raw["message_ids"]:
        message.message_id = raw["message_ids"][0].decode()
    return message


async def _leave_encoded(message: Any) -> Any:  # noqa: ANN401 FastStream's messages
    """Hand the message to the handler as it is: FastStream would read its JSON in its own way."""
    return message


class _Subscriber(StreamSubscriber):
    """Reads only what it can begin, and settles each message by its decision."""

    consumer: Consumer
    warm_up: Callable[[], Awaitable[None]]
    workers: int
    retry_after: float
    most: int

    def __init__(self, *args: Any) -> None:  # noqa: ANN401 FastStream's own
        super().__init__(*args)
        self._under_way: dict[bytes, asyncio.Task[None]] = {}
        self._reader: asyncio.Task[None] | None = None
        self._is_server_well = False
        """Whether this process has loaded an order since a failure of the server."""
        self._claimed_last = False
        self._next_claim = self._next_look = 0.0

    async def start(self) -> None:
        """Make the group, then start to read."""
        self._stopping = asyncio.Event()
        self._room = asyncio.Event()
        await self.consumer.open(self._client)
        await self.warm_up()
        await super().start()

    async def stop(self) -> None:
        """End the reading, let the messages under way end, and hand back all that is not done."""
        if self._reader is not None:
            self._stopping.set()
            self._room.set()
            await _end([self._reader], 2 * BLOCK)  # not cancelled at once: the messages of its answer would wait
            self._reader = None
            await _end(self._under_way.values(), self._outer_config.graceful_timeout or 0)
            await self._try(self.consumer.leave())
        await super().stop()

    def was_cancelled(self) -> bool:
        """Tell whether the stop has cancelled the current task, and take the cancellation back."""
        task = asyncio.current_task()
        if task is None or not self._stopping.is_set():
            return False
        task.uncancel()
        return True

    async def _consume(self, *_: Any, start_signal: Any) -> None:  # noqa: ANN401 FastStream's own
        """Read until the stop, also over failures of the broker."""
        self._reader = asyncio.current_task()
        start_signal.set()
        pause = FIRST_PAUSE
        while await self._has_room():
            failure = await self._try(self._read_once())
            if failure is None:
                pause = FIRST_PAUSE
                continue
            if is_lost_group(failure) and await self._try(self.consumer.restore()) is None:
                self._next_claim = 0.0
                continue
            await self._sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _has_room(self) -> bool:
        """Wait until another message can begin; return False once the stop has begun."""
        while len(self._under_way) >= self.workers and not self._stopping.is_set():
            self._room.clear()
            await self._room.wait()
        return not self._stopping.is_set()

    async def _sleep(self, seconds: float) -> None:
        """Sleep until the stop at the latest."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    async def _read_once(self) -> None:
        """Read, and begin what came."""
        for entry in await self._entries(self.workers - len(self._under_way)):
            if self._stopping.is_set():
                await self.consumer.hand_back(entry, 0, entry.times - 1)
            elif entry.id not in self._under_way:  # it is, if this process was suspended for so long
                self._under_way[entry.id] = asyncio.create_task(self._handle(entry))

    async def _entries(self, count: int) -> Sequence[Entry]:
        """Return at most *count* entries: by turns those that can be taken over, and new ones."""
        now = asyncio.get_running_loop().time()
        if now >= self._next_look:
            await self.consumer.look_around()
            self._next_look = now + self.consumer.claim_after
        if now >= self._next_claim and not self._claimed_last:
            entries = await self.consumer.claim(count)
            if not entries and not self.consumer.claims_more:
                self._next_claim = now + min(max(self.consumer.claim_after / 10, SHORTEST_ROUND), LONGEST_ROUND)
            if entries:
                self._claimed_last = True
                return entries
        self._claimed_last = False
        wait = min(BLOCK, max(0.0, self._next_claim - now))
        return await self.consumer.read(count, int(wait * 1000) or None)  # 0 would be for ever

    async def _handle(self, entry: Entry) -> None:
        """Load the order of *entry* in FastStream's way, with its middlewares, and settle it."""
        raw: Any = {
            "type": "stream",
            "channel": self.consumer.stream,
            "message_ids": [entry.id],
            "data": entry.fields.open(),
            "times": entry.times,
        }
        try:
            await self.consume(raw)
            failed = Decision(action=Action.RETRY, reason="the handler failed", fault=Fault.ORDER)  # the log has why
            decision: Decision = raw.get("decision", failed)
            pause = FIRST_PAUSE
            step = self._step(entry, decision)
            while is_away(await self._try(step())):  # each step may be done twice
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
        finally:
            del self._under_way[entry.id]
            self._room.set()

    def _step(self, entry: Entry, decision: Decision) -> Callable[[], Awaitable[None]]:
        """Return what has to be done with *entry* after a *decision*."""
        counts = decision.fault is Fault.ORDER or (decision.fault is Fault.SERVER and self._is_server_well)
        if decision.fault is Fault.SERVER:
            self._is_server_well = False
        if decision.action is Action.ACK:
            self._is_server_well = True
            return partial(self.consumer.ack, entry)
        if decision.action is Action.DEAD_LETTER or (counts and entry.times >= self.most):
            logger.warning("message %s is a dead letter: %s", entry.id.decode(), decision.reason)
            return partial(self.consumer.bury, entry, self._notes(entry, decision))
        logger.info("message %s is tried again: %s", entry.id.decode(), decision.reason)
        delay = 0 if self._stopping.is_set() else self.retry_after
        self._next_claim = min(self._next_claim, asyncio.get_running_loop().time() + delay)
        # Not below 1: without a journal, the next delivery has to know that this one was begun.
        return partial(self.consumer.hand_back, entry, delay, entry.times if counts else max(1, entry.times - 1))

    def _notes(self, entry: Entry, decision: Decision) -> Mapping[str, str]:
        """Return the fields that a dead letter has beside those of its entry."""
        outcome = decision.outcome
        notes: dict[str, str | None] = {
            "reason": decision.reason,
            "verdict": None if outcome is None else str(outcome.verdict),
            "key": decision.key,
            "outcome": None if outcome is None else orjson.dumps(outcome.to_json()).decode(),
            "stream": self.consumer.stream,
            "entry": entry.id.decode(),
            "deliveries": str(entry.times),
        }
        return {f"cdp_{name}": note for name, note in notes.items() if note is not None}

    async def _try(self, step: Awaitable[object]) -> Exception | None:
        """Do a *step* with the broker; return why it failed."""
        try:
            await step
        except (RedisError, OSError) as error:
            logger.warning("the broker failed, and is tried again: %s", error)
            return error
        return None


async def _end(tasks: Iterable[asyncio.Task[None]], seconds: float) -> None:
    """Wait *seconds* for the end of *tasks*, then cancel them and wait for their end."""
    running = {*tasks}
    if running:
        _, running = await asyncio.wait(running, timeout=seconds)
    for task in running:
        task.cancel()
    if running:
        await asyncio.wait(running)


def is_away(error: Exception | None) -> bool:
    """Tell whether a command failed because the broker is away for now."""
    return error is not None and not isinstance(error, ResponseError)


def is_lost_group(error: Exception) -> bool:
    """Tell whether a command failed because the broker has lost the group, or the whole stream."""
    return isinstance(error, ResponseError) and any(
        word in str(error) for word in ("NOGROUP", "UNBLOCKED", "no such key")
    )

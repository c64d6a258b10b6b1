"""One consumer of one group of a Redis stream: its commands, each safe to send twice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from msgspec import Struct
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError, ResponseError

from cdp_orders_async.errors import CdpError
from cdp_orders_async.redact import Opaque

__all__ = ["BrokerError", "Consumer", "Entry", "Fields"]

Fields: TypeAlias = Mapping[bytes, bytes]

ACK = """
redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
if ARGV[3] == '1' then redis.call('XDEL', KEYS[1], ARGV[2]) end
"""
"""Acknowledge an entry; delete it if it is told to."""

HAND_BACK = """
local found = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[2], ARGV[2], 1)
if #found == 0 or found[1][2] ~= ARGV[3] then return 0 end
redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[3], 0, ARGV[2], 'IDLE', ARGV[4], 'RETRYCOUNT', ARGV[5], 'JUSTID')
return 1
"""
"""Set how long an entry of this consumer has been idle, and how often it was delivered."""

BURY = """
local found = redis.pcall('XPENDING', KEYS[1], ARGV[1], ARGV[2], ARGV[2], 1)
if not found.err and #found == 0 then return 0 end
redis.call('XADD', KEYS[2], '*', unpack(ARGV, 4))
if found.err then return 1 end
redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
if ARGV[3] == '1' then redis.call('XDEL', KEYS[1], ARGV[2]) end
return 1
"""
"""Write a dead letter and then acknowledge its entry, once. An entry whose group is lost is written too."""

MOST_ARGUMENTS = 7_000
"""Names and values of an entry above which no script can write it."""

TIDY = """
local removed = 0
for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
    local has = {}
    for n = 1, #consumer, 2 do has[consumer[n]] = consumer[n + 1] end
    local meant = has.name == ARGV[3] or (ARGV[3] == '' and has.idle > tonumber(ARGV[2]))
    if meant and has.pending == 0 then
        redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], has.name)
        removed = removed + 1
    end
end
return removed
"""
"""Remove consumers with nothing pending. A consumer with pending entries must stay: its entries would be lost."""

RESTORE = """
local made = redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[1], '$', 'MKSTREAM')
if made.err then return string.find(made.err, 'BUSYGROUP') and 0 or made end
local start = '-'
repeat
    local found = redis.call('XRANGE', KEYS[1], start, '+', 'COUNT', 500)
    local ids = {}
    for n, entry in ipairs(found) do ids[n] = entry[1] end
    if #ids > 0 then
        start = '(' .. ids[#ids]
        for _, option in ipairs({'IDLE', ARGV[3], 'RETRYCOUNT', 1, 'FORCE', 'JUSTID'}) do ids[#ids + 1] = option end
        redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, unpack(ids))
    end
until #found == 0
return 1
"""
"""Make a lost group again. All entries of the stream count as delivered once, because they may have been; whoever takes
them over looks them up. Only one process does it, and the others need not know."""

NEVER = 2**53
"""More milliseconds than any entry has been idle."""


class BrokerError(CdpError):
    """The broker cannot serve the subscription; the text says why."""


class Entry(Struct, frozen=True):
    """An entry of a stream as it was delivered."""

    id: bytes
    fields: Opaque[Fields]
    times: int
    """How often it was delivered, this time included; at least 2 if it may have been delivered before."""


class Consumer:
    """The consumer *name* of the *group* of a *stream*. Entries that are put aside go to the stream *dead_letters*.

    *claim_after*: seconds without an end after which an entry of any consumer is taken over. *delete*: whether an entry
    is deleted when it is acknowledged, unless another group reads the stream.
    """

    def __init__(
        self, stream: str, group: str, name: str, *, dead_letters: str, claim_after: float, delete: bool
    ) -> None:
        self.stream, self.group, self.name, self.dead_letters = stream, group, name, dead_letters
        self.claim_after = claim_after
        self._delete = delete
        self._alone = True
        """Whether no other group reads the stream."""
        self._cursor: Any = b"0-0"
        self._client: Redis | None = None

    @property
    def client(self) -> Redis:
        """The connection, once it is opened."""
        if self._client is None:
            raise BrokerError("the broker is not connected")
        return self._client

    async def open(self, client: Redis) -> None:
        """Make the group, for entries that came before it too; raise `BrokerError` if the broker cannot serve it."""
        self._client = client
        try:
            await self._make_group()
            await self._claimed(NEVER, 1)
            await self.look_around()
        except AuthenticationError as error:
            raise BrokerError(f"the broker refuses the credentials: {error}") from None
        except NoPermissionError as error:
            raise BrokerError(f"the broker's user may not use the stream {self.stream}: {error}") from None
        except ResponseError as error:
            raise BrokerError(_refusal(self.stream, str(error))) from None
        except (RedisError, OSError) as error:
            raise BrokerError(f"the broker cannot be reached: {error}") from None

    async def _make_group(self) -> None:
        try:
            await self.client.xgroup_create(self.stream, self.group, id="0", mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise

    async def restore(self) -> None:
        """Make the group again after the broker has lost it; what it delivered is not known any longer."""
        idle = int(self.claim_after * 1000) + 1
        await self.client.eval(RESTORE, 1, self.stream, self.group, self.name, idle)
        self._cursor = b"0-0"

    async def read(self, count: int, block: int | None) -> list[Entry]:
        """Return at most *count* entries that nobody was given; wait *block* milliseconds for the first, None: not."""
        answer: Any = await self.client.xreadgroup(self.group, self.name, {self.stream: ">"}, count=count, block=block)
        return [Entry(id_, Opaque(fields), 1) for _, entries in answer or () for id_, fields in entries]

    async def claim(self, count: int) -> list[Entry]:
        """Take over at most *count* entries that have had no end for too long, and return them."""
        claimed = await self._claimed(int(self.claim_after * 1000), count)
        return [Entry(id_, Opaque(fields), await self._times(id_)) for id_, fields in claimed if fields]

    async def _claimed(self, idle: int, count: int) -> list[tuple[bytes, Fields]]:
        answer: Any = await self.client.xautoclaim(
            self.stream, self.group, self.name, idle, start_id=self._cursor, count=count
        )
        self._cursor = answer[0]
        entries: list[tuple[bytes, Fields]] = answer[1]
        return entries

    @property
    def claims_more(self) -> bool:
        """Whether the last claim did not come to the end of the pending entries."""
        return _order(self._cursor) != (0, 0)

    async def _times(self, entry: bytes) -> int:
        answer: Any = await self.client.xpending_range(self.stream, self.group, min=entry, max=entry, count=1)
        return int(answer[0]["times_delivered"]) if answer else 2

    async def ack(self, entry: Entry) -> None:
        """Acknowledge *entry*."""
        await self.client.eval(ACK, 1, self.stream, self.group, entry.id, self._deletes)

    async def hand_back(self, entry: Entry, delay: float, times: int) -> None:
        """Let any consumer take *entry* over in *delay* seconds, as if it was delivered *times* times so far."""
        idle = max(0, int((self.claim_after - delay) * 1000) + 1)
        await self.client.eval(HAND_BACK, 1, self.stream, self.group, entry.id, self.name, idle, times)

    async def bury(self, entry: Entry, notes: Mapping[str, str]) -> None:
        """Write *entry* with *notes* to the stream of dead letters, and acknowledge it."""
        row: list[Any] = [item for pair in [*entry.fields.open().items(), *notes.items()] for item in pair]
        if len(row) > MOST_ARGUMENTS:  # in two steps: a worker that dies in between leaves two dead letters
            if await self._is_pending(entry.id):
                client: Any = self.client  # redis has no types of commands with their arguments
                await client.execute_command("XADD", self.dead_letters, "*", *row)
                await self.ack(entry)
            return
        keys = (self.stream, self.dead_letters)
        await self.client.eval(BURY, 2, *keys, self.group, entry.id, self._deletes, *row)

    async def _is_pending(self, entry: bytes) -> bool:
        """Tell whether *entry* is not settled; of a group that is lost, nothing is."""
        try:
            answer: Any = await self.client.xpending_range(self.stream, self.group, min=entry, max=entry, count=1)
        except ResponseError:
            return True
        return bool(answer)

    @property
    def _deletes(self) -> int:
        return int(self._delete and self._alone)

    async def look_around(self) -> None:
        """Remove dead consumers with nothing pending, and see whether other groups read the stream."""
        groups: list[Any] = await self.client.xinfo_groups(self.stream)
        self._alone = len(groups) <= 1
        await self._tidy("")

    async def leave(self) -> None:
        """Remove this consumer if it has nothing pending."""
        await self._tidy(self.name)

    async def _tidy(self, name: str) -> None:
        await self.client.eval(TIDY, 1, self.stream, self.group, int(self.claim_after * 1000), name)


def _order(id_: bytes | str) -> tuple[int, int]:
    """Return the id of an entry as numbers, which can be compared."""
    time, _, number = (id_.decode() if isinstance(id_, bytes) else id_).partition("-")
    return int(time), int(number or 0)


def _refusal(stream: str, error: str) -> str:
    """Return in words why the broker refuses a command on a *stream*."""
    if "unknown command" in error.lower():
        return f"the broker has no streams, or not all of their commands: use Redis 6.2 or newer ({error})"
    if error.startswith("WRONGTYPE"):
        return f"the key {stream} of the broker is not a stream: give the name of another stream"
    return f"the broker refuses the stream {stream}: {error}"

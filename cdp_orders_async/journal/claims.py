"""The claims of one process."""

from __future__ import annotations

from cdp_orders_async.journal.records import Busy, OrderId

__all__ = ["Claims"]


class Claims:
    """The claimed orders, if only this process can claim any."""

    def __init__(self) -> None:
        """Start with none."""
        self._keys: dict[str, str] = {}
        """The keys of the claimed orders, by reference id."""
        self._references: dict[str, str] = {}
        """The reference ids of the claimed orders, by key."""

    def __contains__(self, key: object) -> bool:
        return key in self._references

    def take(self, order: OrderId) -> Busy | None:
        """Claim *order*, or return the claimed order with its reference id."""
        if (held := self._keys.get(order.reference_id)) is not None:
            return Busy(held, None)
        self._keys[order.reference_id] = order.key
        self._references[order.key] = order.reference_id
        return None

    def give_up(self, key: str) -> bool:
        """Give up the claim of an order; return whether it was claimed."""
        reference_id = self._references.pop(key, None)
        if reference_id is None:
            return False
        del self._keys[reference_id]
        return True

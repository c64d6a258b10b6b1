"""What keeps every rule in an order, and is seldom meant so."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import get_args

from cdp_orders_async.errors import Violation
from cdp_orders_async.graph import OrderGraph
from cdp_orders_async.models import NewOrderItem, NewOrderItemV2
from cdp_orders_async.models.common import AnyPerson, Channel, OrderStatus

__all__ = ["warnings_of"]

EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
CLOCKS_DIFFER = timedelta(minutes=5)
"""What a clock that is fast may be ahead."""
BLANK = "is blank"
UNKNOWN_WORD = "is none of the words that the vendor names"
# The vendor names these words for fields that may hold any text; for other fields they are a rule.
STATUSES = frozenset(get_args(OrderStatus))
CHANNELS = frozenset(get_args(Channel))
PAYMENTS = frozenset({"Card", "Paypal", "Voucher", "ATM", "Cash", "Other"})
CARDS = frozenset({"Mastercard", "Visa", "Diners", "American Express"})


def warnings_of(graph: OrderGraph, now: datetime) -> list[Violation]:
    """Return what is doubtful in an order that keeps every rule; *now* tells what is in the future.

    The paths have no indexes: one finding stands for all items, or people, of the order.
    """
    found: list[Violation] = []
    order = graph.order
    _judge_time(order.ordered_at, "$", now, found)
    if not order.reference_id.strip():
        found.append(Violation("$.referenceId", BLANK))
    if order.payment_type is not None and order.payment_type not in PAYMENTS:
        found.append(Violation("$.paymentType", UNKNOWN_WORD))
    if order.card_type is not None and order.card_type not in CARDS:
        found.append(Violation("$.cardType", UNKNOWN_WORD))
    if graph.items:
        items = [entry.item for entry in graph.items]
        _judge_items(items, now, found)
        if {item.currency_code for item in items} != {order.currency_code}:
            found.append(Violation("$.orderItems", "have another currency than their order"))
        elif not _adds_up(items, order.price):
            rule = "is not the sum of the prices of the items, with or without their quantities"
            found.append(Violation("$.price", rule))
    if graph.contact is not None:
        _judge_person(graph.contact, "$.contact", found)
    for user in graph.consumers:
        _judge_person(user.consumer, "$.consumers[]", found)
    return found


def _adds_up(items: Sequence[NewOrderItem | NewOrderItemV2], price: Decimal) -> bool:
    """Tell whether the items cost *price*. The vendor does not say whether an item has the price of one piece."""
    if sum([item.price for item in items]) == price:
        return True
    return sum([item.price * (1 if item.quantity is None else item.quantity) for item in items]) == price


def _judge_time(moment: datetime, at: str, now: datetime, found: list[Violation]) -> None:
    if moment < EARLIEST:
        found.append(Violation(f"{at}.orderedAt", "is before 2000"))
    elif moment > now and moment > now + CLOCKS_DIFFER:
        found.append(Violation(f"{at}.orderedAt", "is in the future"))


def _judge_items(items: Sequence[NewOrderItem | NewOrderItemV2], now: datetime, found: list[Violation]) -> None:
    for item in items:
        if item.status not in STATUSES:
            found.append(Violation("$.orderItems[].status", UNKNOWN_WORD))
        if item.channel is not None and item.channel not in CHANNELS:
            found.append(Violation("$.orderItems[].channel", UNKNOWN_WORD))
        if item.reference_id is not None and not item.reference_id.strip():
            found.append(Violation("$.orderItems[].referenceId", BLANK))
        if item.product_id is not None and not item.product_id.strip():
            found.append(Violation("$.orderItems[].productId", BLANK))
        if isinstance(item, NewOrderItemV2) and item.ordered_at is not None:
            _judge_time(item.ordered_at, "$.orderItems[]", now, found)


def _judge_person(person: AnyPerson, at: str, found: list[Violation]) -> None:
    for identifier in person.identifiers or ():
        if not identifier.provider.strip():
            found.append(Violation(f"{at}.identifiers[].provider", BLANK))
        if not identifier.id.strip():
            found.append(Violation(f"{at}.identifiers[].id", BLANK))

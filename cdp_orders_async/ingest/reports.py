"""What the observers are told of a load as a whole, and of the beginning and the end of its orders."""

from __future__ import annotations

from cdp_orders_async.ingest.context import LoadContext
from cdp_orders_async.ingest.outcomes import Outcome
from cdp_orders_async.telemetry import LoadEnded, LoadStarted, OrderEnded, OrderStarted

__all__ = ["LoadReport"]


class LoadReport:
    """Tells the observers of the load of *context*; without observers it does nothing."""

    def __init__(self, context: LoadContext) -> None:
        self._context = context
        self._started = False

    def start(self) -> None:
        """Tell that the load began. A load of a single order is not told, only its order."""
        self._started = True
        if self._context.is_watched:
            self._context.tell(LoadStarted(self._context.id))

    def end(self, error: Exception | None) -> None:
        """Tell that the load ended, because of *error* if it is not None."""
        context = self._context
        if self._started and context.is_watched:
            name = None if error is None else type(error).__name__
            context.tell(LoadEnded(load=context.id, seconds=context.clock() - context.began, error=name))

    def order_started(self, key: str | None, file: str | None, number: int) -> None:
        """Tell that an order was taken: *key*, and its place in the input, *file* and *number*."""
        context = self._context
        if context.is_watched:
            context.tell(OrderStarted(order=key, file=file, line=number, load=context.id))

    def order_ended(self, outcome: Outcome) -> None:
        """Tell the *outcome* of an order."""
        context = self._context
        if context.is_watched:
            ended = OrderEnded(
                order=outcome.key,
                file=outcome.file,
                line=outcome.number,
                verdict=str(outcome.verdict),
                seconds=outcome.seconds,
                load=context.id,
            )
            context.tell(ended)

"""What is ordered and not carried out, as a relay that runs has read it from the disk."""

from __future__ import annotations

from mailproto.relay.disk import Disk
from mailproto.relay.orders import Order, Orders


class OrderBook:
    """The orders for entries that a relay knows of, one for each."""

    def __init__(self, orders: Orders, disk: Disk) -> None:
        self._orders = orders
        self._disk = disk
        self._known: dict[str, Order] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._known

    def get(self, name: str) -> Order | None:
        """Return what is ordered for an entry, None if nothing is."""
        return self._known.get(name)

    def clear(self) -> None:
        """Know of none. Those that are on disk are read again."""
        self._known.clear()

    async def read(self) -> dict[str, Order]:
        """Read what is ordered, and return what of it is new.

        Raises:
            OSError: it cannot be read now.
        """
        given = await self._disk.do(self._orders.given)
        new = {name: order for name, order in given.items() if self._known.get(name) is not order}
        self._known.update(new)
        return new

    async def strike(self, name: str, order: Order | None) -> None:
        """Strike out an order that was carried out, if there was one: first on disk, so that it is not read again.
        Another one for the same entry, given meanwhile, stands."""
        if order is not None:
            await self._disk.do(self._orders.forget, name, order)
            if self._known.get(name) is order:
                del self._known[name]

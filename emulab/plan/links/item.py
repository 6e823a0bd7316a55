"""What every item of a network knows of itself, whatever its kind.

Whoever compares networks, carries a difference out or prints a plan asks the items, and so knows no kind of them. An
item's undo is the removal of the same item. Each kind is a frozen value in a module of its own here, beside
`kernel/links/` with what the kernel is told of it.
"""

from __future__ import annotations

from collections.abc import Callable

End = tuple[str, str]
"""Namespace and name of a link, or of one end of it."""


class Item:
    """Something that rtnetlink makes and removes. `word` is what a plan calls its kind."""

    __slots__ = ()

    namespace: str
    word = ""

    def ends(self) -> tuple[End, ...]:
        """The link ends that exist as long as the item does."""
        return ()

    def on(self) -> tuple[End, ...]:
        """The links that the item is on: the kernel removes it with them."""
        return ()

    def joins(self) -> tuple[End, ...]:
        """Links that the item names and outlives: it must name them again when they are made anew."""
        return ()

    def first(self) -> bool:
        """Whether the item is a link that is there before a node has anything of its own: the kernel takes an address
        of a node's first link where it takes any (inet_select_addr), and on real nodes that is the uplink."""
        return False

    def slots(self) -> tuple[tuple[object, ...], ...]:
        """What the kernel lets exist once: two items with a slot in common can't be there together."""
        raise NotImplementedError

    def order(self) -> tuple[object, ...]:
        """Where the item is added among items of its kind."""
        return (self.namespace, *self.reading_order())

    def reading_order(self) -> tuple[object, ...]:
        """Where the item stands among items of its kind in a plan."""
        raise NotImplementedError

    def title(self) -> str:
        """What errors call the item: its kind and what tells it from others."""
        raise NotImplementedError

    def line(self, name: Callable[[str], str]) -> str:
        """The item as a plan writes it, where possible in iproute2's words; `name` calls namespaces by their places."""
        raise NotImplementedError


class Link(Item):
    """A network device."""

    __slots__ = ()

    name: str

    def ends(self) -> tuple[End, ...]:
        return ((self.namespace, self.name),)

    def slots(self) -> tuple[tuple[object, ...], ...]:
        return tuple([("link", *end) for end in self.ends()])

    def reading_order(self) -> tuple[object, ...]:
        return (self.name,)

    def title(self) -> str:
        return f"{self.word} {self.name}"

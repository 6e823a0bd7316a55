"""The Corefiles by which servers went last, of which a change may be none that CoreDNS would take."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import NamedTuple

from emulab.plan.coredns.corefile import Corefile, Texts

_EMPTY = "it has no server block"


class FollowedCorefile(NamedTuple):
    """The Corefile that a server goes by, None for the stock one; and why it isn't the one that is written."""

    corefile: Corefile | None
    refused: str = ""


class LastGood:
    """Remembers for each server of CoreDNS the last texts that it took: with others, which it can't start with, it goes
    on by these (plugin/reload). One that never had any is left with what there is without."""

    def __init__(self) -> None:
        self._texts: dict[Hashable, Texts] = {}

    def followed(
        self, who: Hashable, texts: Texts | None, read: Callable[[Texts], Corefile]
    ) -> FollowedCorefile:
        """What becomes of the texts that `who` is given."""
        if texts is None:
            self._texts.pop(who, None)
            return FollowedCorefile(None)
        made = read(texts)
        if made.blocks and not made.error:
            self._texts[who] = texts
            return FollowedCorefile(made)
        last = read(self._texts[who]) if who in self._texts else None
        return FollowedCorefile(last if last and last.blocks else None, made.error or _EMPTY)

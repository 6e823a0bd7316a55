"""The Corefiles by which servers go, each since it began: what is written meanwhile may be none that CoreDNS takes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from emulab.plan.coredns.corefile import Corefile, Texts

_EMPTY = "it has no server block"


class Life(NamedTuple):
    """One run of a container: a restarted one reads its Corefile anew."""

    pod: str
    container: str
    restarts: int


class FollowedCorefile(NamedTuple):
    """The texts that a server goes by, None for the stock ones, and what becomes of those that are written: `refused`
    is why they aren't taken, and with `unread` nobody looks. One that doesn't `begin` ends at once."""

    texts: Texts | None
    refused: str = ""
    unread: bool = False
    begins: bool = True


STOCK_ONE = FollowedCorefile(None)
Lives = Mapping[Life, Texts | None]


class LastGood:
    """Remembers for each life of a server the last texts that it took.

    With others, which it can't start with, a running one goes on by these, and one that begins ends (plugin/reload).
    Where they have no `reload`, it goes by them for as long as it lives.
    """

    def __init__(self) -> None:
        self._texts: dict[Life, Texts | None] = {}

    @property
    def lives(self) -> Lives:
        """What is remembered, for who may have to go back to it."""
        return dict(self._texts)

    def go_back(self, lives: Lives) -> None:
        """What has been planned since then was undone, so no server has taken it."""
        self._texts = dict(lives)

    def keep(self, lives: Collection[Life]) -> None:
        """Forgets all others, which have ended."""
        for life in self._texts.keys() - lives:
            del self._texts[life]

    def followed(
        self, life: Life, texts: Texts | None, read: Callable[[Texts], Corefile]
    ) -> FollowedCorefile:
        """What becomes of the texts that a server is given."""
        begins = life not in self._texts
        last = self._texts.get(life)
        if not begins and last == texts:
            return FollowedCorefile(last)
        if last is not None and not read(last).reloads:
            return FollowedCorefile(last, unread=True)
        if (why := _wrong(texts, read)) and not begins:
            return FollowedCorefile(last, why)
        if why:
            return FollowedCorefile(None, why, begins=False)
        self._texts[life] = texts
        return FollowedCorefile(texts)


def _wrong(texts: Texts | None, read: Callable[[Texts], Corefile]) -> str:
    """Why CoreDNS doesn't start with these texts."""
    if texts is None:
        return ""
    made = read(texts)
    return made.error or ("" if made.told else _EMPTY)

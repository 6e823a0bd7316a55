"""The server that a key of the request hashes to (`upstream-hash-by`): the same for every try, as in ingress-nginx
(rootfs/etc/nginx/lua/balancer/chash.lua), or any of a subset that the key hashes to (chashsubset.lua)."""

from __future__ import annotations

from emulab.servers.l7.config import HashBy
from emulab.servers.l7.engine.balance.ring import HashRing
from emulab.servers.l7.engine.balance.turn import Balancer, Turn
from emulab.servers.l7.engine.variables import compiled


class HashBalancer(Balancer):
    """By a key."""

    def __init__(self, wanted: HashBy, name: str, servers: tuple[str, ...]) -> None:
        super().__init__(name, servers)
        self._key = compiled(wanted.key)
        self._size = wanted.subset
        self._build()

    def _build(self) -> None:
        self._subsets = subsets(self.servers, self._size) if self._size else {}
        self._ring = HashRing(tuple(self._subsets) if self._size else self.servers)

    def pick(self, turn: Turn) -> str:
        found = self._ring.find(self._key(turn.asked).decode("latin-1"))
        if not self._size:
            return found
        among = self._subsets[found]
        return among[turn.draw(len(among))]

    def follow(self, servers: tuple[str, ...], now: float) -> None:
        self.servers = servers
        self._build()


def subsets(servers: tuple[str, ...], size: int) -> dict[str, tuple[str, ...]]:
    """Servers in sets of this size, by name; the last set is filled up with the first servers again."""
    number = -(-len(servers) // size)
    filled = (servers * (size + 1))[: number * size]
    return {f"set{one + 1}": filled[one * size : (one + 1) * size] for one in range(number)}

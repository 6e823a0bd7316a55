"""Finished answers as bytes, for questions that are asked again and again.

A stub resolver asks the same question with the same bytes but for the id. So an answer is kept by the view
of the client, the transport, and the whole query behind its id; sending it again is one look-up and one
copy. There is nothing to patch but TTLs that count down: RD and EDNS are in the key. An answer that one cached answer
is all of has its TTLs lessened second by second; another one with such TTLs is kept until the second in which they
would change. The rotations of an address record set are kept one by one as they come up, so that giving them in turn
costs nothing more.

How often an answer was given is counted in it, and added up when somebody wants to know.

Threads give them while the loop puts others (`udpport`). What changes an answer holds a lock; giving one changes
numbers alone, which takes no step in which another thread has its turn. Between two steps it may, so nothing is
concluded from such a number.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from struct import Struct

from emulab.servers.dns.metrics import CountedQuery
from emulab.servers.dns.wire import Query, ttl_places

MAX_TURNS = 64  # a record set with more addresses is packed for each answer
MAX_OCTETS = 32 << 20
_OVERHEAD = 500  # octets that an entry takes besides its query and answer, roughly
_TTL = Struct("!I")
_changing = threading.Lock()


class Hot:
    """The answers to one query, one a rotation, each without its id; and what is counted and told of them.

    They are right before `until`; with TTLs lessened by the seconds since then, before `expires`.
    """

    __slots__ = (
        "cache",
        "expires",
        "given",
        "inet6",
        "noted",
        "places",
        "query",
        "rcode",
        "served",
        "size",
        "turn",
        "until",
        "wires",
    )

    def __init__(
        self,
        query: Query,
        rcode: int,
        cache: str,
        until: float,
        turns: int,
        served: CountedQuery | None = None,
        expires: float = 0.0,
    ) -> None:
        self.query = query
        self.served = served
        self.rcode, self.cache = rcode, cache
        self.until, self.expires = until, expires
        self.wires: list[bytes | None] = [None] * turns
        self.places: list[tuple[int, ...]] = []  # of the TTLs in each of them, once these age
        self.turn = 0
        self.given = 0  # since that was added up last
        self.noted = False  # among those to be added up
        self.size = 0
        self.inet6 = False

    def take(self, now: float) -> bytes | None:
        """The answer whose turn it is; None when it isn't known yet or not right any more."""
        if now >= self.until:
            if now >= self.expires:
                return None
            with _changing:
                if now >= self.until:  # and no other thread was sooner
                    self._age(now)
        wires = self.wires
        wire = wires[self.turn]
        if wire is not None:
            self.given += 1
            if len(wires) > 1:
                self.turn = (self.turn + 1) % len(wires)
        return wire

    def put(self, turn: int, wire: bytes) -> None:
        """Keeps the answer of one rotation; the next one's turn is after it. The caller holds the lock."""
        self.wires[turn] = wire
        self.places = []
        self.size = len(wire) + 2
        self.turn = (turn + 1) % len(self.wires)

    def _age(self, now: float) -> None:
        """Lessens all TTLs by the seconds that have passed."""
        seconds = int(now - self.until) + 1
        places = self.places
        if not places:  # where they stand is looked up once: a name that is asked for often ages each second
            places = self.places = [() if wire is None else tuple(ttl_places(wire)) for wire in self.wires]
        for turn, wire in enumerate(self.wires):
            if wire is not None:
                aged = bytearray(wire)
                for place in places[turn]:
                    (ttl,) = _TTL.unpack_from(aged, place)
                    _TTL.pack_into(aged, place, ttl - seconds if ttl > seconds else 0)
                self.wires[turn] = bytes(aged)
        self.until = min(self.until + seconds, self.expires)


class HotAnswers:
    """All kept answers of one configuration, emptied when they take too much memory.

    They know who sees what, so that no thread looks for a client's view of one configuration among another's answers.
    """

    def __init__(self, view: Callable[[str], int], restricted: bool) -> None:
        """`view` is that of a client's address; clients have different ones where they are `restricted`."""
        self.view, self.restricted = view, restricted
        self._tables: dict[tuple[int, bool, bool], dict[bytes, Hot]] = {}
        self._octets = 0

    def __len__(self) -> int:
        return sum(map(len, self._tables.values()))

    def table(self, view: int, stream: bool, inet6: bool) -> dict[bytes, Hot]:
        """The answers for clients of one view over one transport, by query without id."""
        return self._tables.setdefault((view, stream, inet6), {})

    def datagrams(self, client: str, inet6: bool) -> dict[bytes, Hot]:
        """Those for a client over UDP; "" for one where all see the same."""
        return self.table(self.view(client), False, inet6)

    def put(self, table: dict[bytes, Hot], key: bytes, hot: Hot, turn: int, wire: bytes) -> None:
        """Keeps `wire` for the query `key`; an entry of the same age and shape gets it as one more turn."""
        size = len(wire) + len(key) + _OVERHEAD
        self._octets += size
        if self._octets > MAX_OCTETS:
            # Counts what was ever put, so that it also empties what has become old.
            for each in list(self._tables.values()):
                each.clear()
            self._octets = size
        with _changing:
            same = table.get(key)
            if same is None or same.until != hot.until or len(same.wires) != len(hot.wires):
                same = hot
            same.put(turn, wire)
            table[key] = same

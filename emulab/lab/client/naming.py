"""Whose the addresses of packets and sockets are, as the lab says it: asked once for many, and kept for as long as it
holds. Blocking."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from emulab.lab.client.client import LabClient

_KEPT = 4096  # answers, so that whoever looks on for long takes no more memory
_HOLDS = 1.0  # seconds after which it is asked whether something has changed
_ROUNDS = 4  # addresses, their ports, and both again when something has changed meanwhile
_EPHEMERAL = 32768  # the first port that a kernel gives to clients; node ports end below it

_Question = tuple[str, str, int]
Peer = tuple[str, str, int]
"""Protocol, address and port. The port is 0 where there is none."""


class ObjectNames:
    """The names of objects by address and port."""

    def __init__(self, client: LabClient) -> None:
        self._client = client
        self._known: dict[_Question, str] = {}
        self._kinds: dict[str, str] = {}  # of the object that an address is, by address
        self._before: dict[_Question, str] = {}  # what has gone keeps its name
        self.version = -1
        self._asked_at = 0.0

    def learn(self, peers: Iterable[Peer]) -> None:
        """Asks the lab for those that aren't known. Raises EmulabError when it has ended."""
        wanted = set(peers)
        if time.monotonic() - self._asked_at >= _HOLDS:
            self._ask([])
        for _ in range(_ROUNDS):
            asked: set[_Question] = {("", address, 0) for _, address, _ in wanted}
            missing = asked - self._known.keys() or {
                peer for peer in wanted if self._may_be_service(*peer) and peer not in self._known
            }
            if not missing:
                return
            self._ask(sorted(missing))

    def _may_be_service(self, protocol: str, address: str, port: int) -> bool:
        """Whether a port may be one of a Service. A client has thousands, and nobody is to be asked about each."""
        if protocol not in ("tcp", "udp") or not port:
            return False
        kind = self._kinds.get(address, "")
        return kind in ("", "LoadBalancer", "Service") or (kind == "Node" and port < _EPHEMERAL)

    def _ask(self, questions: list[_Question]) -> None:
        answer = self._client.request("owners", questions=questions)
        self._asked_at = time.monotonic()
        if answer["version"] != self.version or len(self._known) > _KEPT:
            self.version = answer["version"]
            self._before, self._known, self._kinds = {**self._known}, {}, {}
        told = {(p, a, int(n)): owner for p, a, n, owner in answer["owners"]}
        for question in questions:
            owner = told.get(question)
            self._known[question] = name_of(owner) if owner else self._before.get(question, "")
            if owner and not question[0]:
                self._kinds[question[1]] = owner["kind"]

    def name(self, protocol: str, address: str, port: int = 0) -> str:
        """The object's name, "" for none. What wasn't learnt isn't known."""
        return self._known.get((protocol, address, port)) or self._known.get(("", address, 0), "")

    def names(self, peers: Iterable[Peer]) -> dict[Peer, str]:
        """The names of all of these."""
        wanted = list(dict.fromkeys(peers))
        self.learn(wanted)
        return {peer: self.name(*peer) for peer in wanted}


_WORDS = {"Pod": "pod ", "Service": "svc "}


def name_of(owner: dict[str, Any]) -> str:
    """An owner in short: `pod default/web-0`, `svc default/web`, `node1`, `public-lb`."""
    inside = f"{owner['namespace']}/" if owner["namespace"] else ""
    return f"{_WORDS.get(owner['kind'], '')}{inside}{owner['name']}"

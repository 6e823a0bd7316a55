"""All requests of one lab: each a few times at first, then those that are answered until chance can't matter.

Blocking, for a thread; nothing of it changes the lab.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from threading import Event
from typing import Any

from emulab.dataclass import dataclass, field
from emulab.errors import PeerError, UserError
from emulab.lab.client.client import LabClient
from emulab.lab.folders import rundir
from emulab.model.addresses import parse_socket_name
from emulab.servers.stub import ResolverConfig, resolve_all
from emulab.servers.stubquestions import socket_family
from emulab.twins import asking
from emulab.twins.asking import BELATED, TryResult
from emulab.twins.asks import Ask
from emulab.twins.owners import Owners

FIRST_TRIES, MORE_TRIES = 2, 4  # more, where all refusals were late: a busy machine has late ones too
CONTESTED_TRIES = 14  # that fail, where it is answered in another lab: half of the endpoints may be dead ones
PER_ENDPOINT = 10  # connections for each endpoint at least, so that none is missed by chance
MOST = 2000  # connections of one request
AT_ONCE = 8  # first tries: those that nobody answers wait for nothing


@dataclass(slots=True)
class Sample:
    """What came of one request in one lab."""

    address: str = ""  # what the name resolved to
    outcomes: Counter[str] = field(default_factory=Counter)
    answered: int = 0
    answers: Counter[str] = field(default_factory=Counter)  # what was said, apart from who said it
    endpoints: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)  # whose address the endpoint saw
    proxied: bool = False  # by an ingress, whose connections to endpoints are its own
    latencies: list[float] = field(default_factory=list)
    hairpins: Counter[str] = field(default_factory=Counter)  # of `sources`, what the asker itself saw

    @property
    def tries(self) -> int:
        return sum(self.outcomes.values())

    @property
    def all_late(self) -> bool:
        """Whether every try was refused, and none at once."""
        return all(word.endswith(BELATED) for word in self.outcomes)

    def fold(self) -> None:
        """Counts late refusals among those of the same kind that came at once, if there are any."""
        for late in [word for word in self.outcomes if word.endswith(BELATED)]:
            prompt = late.removesuffix(BELATED)
            if prompt in self.outcomes:
                self.outcomes[prompt] += self.outcomes.pop(late)

    def add(self, reply: TryResult, owners: Owners) -> None:
        """Counts one try."""
        self.outcomes[reply.category] += 1
        if not reply.answered:
            return
        self.answered += 1
        self.latencies.append(reply.seconds)
        if not reply.body:
            return
        told = _stand_in(reply.body)
        if told is None:
            self.answers[f"body {sha256(reply.body).hexdigest()[:8]}"] += 1
            return
        self.proxied = self.proxied or "X-Forwarded-For" in told["headers"]
        self.answers[f"{told['namespace']}/{told['service']} {told['path']}"] += 1
        endpoint = f"{told['namespace']}/{told['pod']}"
        self.endpoints[endpoint] += 1
        client = parse_socket_name(str(told["client"]))
        source = owners.whose(client[0] if client else "", reply.local)
        self.sources[source] += 1
        if owners.whose(reply.local) == f"pod/{endpoint}":
            self.hairpins[source] += 1


def _stand_in(body: bytes) -> dict[str, Any] | None:
    """What emulab's stand-in says of itself; None for any other answer."""
    try:
        told = json.loads(body)
        return told if told["pod"] and told["client"] and isinstance(told["headers"], dict) else None
    except (ValueError, KeyError, TypeError):
        return None


class Sampler:
    """Asks one lab."""

    def __init__(
        self, lab: str, owners: Owners, timeout: float, stop: Event, done: Callable[[], None]
    ) -> None:
        """`done` is called after each request, from any thread; `stop` ends it all early."""
        self._folder = rundir.folder(lab)
        self._owners = owners
        self._timeout = timeout
        self._stop = stop
        self._done = done

    def first(self, asks: Sequence[Ask]) -> dict[Ask, Sample]:
        """A few tries of each. Raises UserError for a source that isn't there."""
        found = {ask: Sample() for ask in asks}

        def one(ask: Ask) -> None:
            if self._stop.is_set():
                return
            with LabClient(self._folder) as client:
                for number in range(MORE_TRIES):
                    if number < FIRST_TRIES or found[ask].all_late:
                        self._try(client, ask, found[ask])
            found[ask].fold()
            self._done()

        with ThreadPoolExecutor(AT_ONCE) as pool:
            for result in [pool.submit(one, ask) for ask in asks]:
                result.result()
        return found

    def more(self, observed: Mapping[Ask, Sample], connections: int, contested: Collection[Ask] = ()) -> None:
        """Asks the requests that were answered again, until there are enough connections.

        `contested`: those that were answered in some lab, whether or not in this one.
        """
        with LabClient(self._folder) as client:
            for ask, observation in observed.items():
                while ask in contested and not observation.answered and observation.tries < CONTESTED_TRIES:
                    if self._stop.is_set():
                        return
                    self._try(client, ask, observation)
                    observation.fold()
                if observation.answered:
                    while observation.tries < min(
                        max(connections, PER_ENDPOINT * len(observation.endpoints)), MOST
                    ):
                        if self._stop.is_set():
                            return
                        self._try(client, ask, observation)
                self._done()

    def _try(self, client: LabClient, ask: Ask, observation: Sample) -> None:
        if not observation.address:
            observation.address, failure = self._resolve(client, ask)
            if failure:
                observation.outcomes[failure] += 1
                return
        kind = socket.SOCK_DGRAM if ask.target.protocol == "udp" else socket.SOCK_STREAM
        sock = _socket(client, ask, socket_family(observation.address), kind)
        reply = asking.try_once(sock, observation.address, ask.target, self._timeout)
        observation.add(reply, self._owners)

    def _resolve(self, client: LabClient, ask: Ask) -> tuple[str, str]:
        """The address of the host as the source resolves it, or why there is none."""
        files = client.request("resolver-files", target=ask.source, namespace=ask.namespace)

        async def open_socket(family: int, kind: int) -> socket.socket:
            sock = _socket(client, ask, family, kind)
            sock.setblocking(False)
            return sock

        try:
            found = asyncio.run(resolve_all(ask.target.host, ResolverConfig.parse(*files), open_socket))
        except PeerError:
            return "", asking.NO_DNS
        except UserError:
            return "", asking.NO_NAME
        return found[0], ""


def _socket(client: LabClient, ask: Ask, family: int, kind: int) -> socket.socket:
    where = {"target": ask.source, "namespace": ask.namespace}
    return client.request_socket(**where, family=int(family), type=int(kind))

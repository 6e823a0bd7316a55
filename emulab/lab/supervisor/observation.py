"""What the supervisor does for one trace: opens the kernel's windows, and closes them again whatever happens.

The sockets are handed to whoever asked and are read there; what is switched on meanwhile (rules that mark the
request's packets, the servers' records) is switched off when his connection ends, however it ends. Until then an
observation keeps the namespaces that it looks at, though their pods may go meanwhile.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from emulab.errors import EmulabError, KernelError, UserError
from emulab.kernel import netns, sockets
from emulab.kernel.rules import iptables
from emulab.kernel.rules.nft import Nft
from emulab.kinds.emulab.clusterview import cluster_of
from emulab.lab.hosts.recordings import RecordListener
from emulab.lab.supervisor.arguments import (
    CHAINS,
    FLAG,
    FLOWS,
    NAME,
    OWNERS,
    PLACED,
    PORT,
    PROTOCOL,
    SOCKET,
    check,
    listed,
    optional,
)
from emulab.lab.supervisor.surroundings import Surroundings
from emulab.lab.supervisor.tapping import TappedNamespace, let_go, watch
from emulab.lab.supervisor.targets import find_place
from emulab.model.addresses import parse_address, parse_socket_name
from emulab.model.families import FAMILIES, Families
from emulab.observe.capture import drops, filters, netfilter, present, rings
from emulab.plan.links import Address
from emulab.plan.owners import owners
from emulab.plan.rules import meaning
from emulab.plan.rules.iptables_script import BUILT_IN
from emulab.plan.rules.meaning import TRACE_TABLE
from emulab.plan.rules.rulesets import ruleset_script
from emulab.plan.rules.tracing import (
    TRACED_KINDS,
    namespace_places,
    proxy_addresses,
    trace_rules,
)
from emulab.plan.state import Iptables, Place, Ruleset, World

SNAP = 2048  # bytes of a frame: headers, and the beginning of what it carries

_numbers = itertools.count(1)


class Observation:
    """One trace, from `begin` to `close`."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._number = next(_numbers)
        self._recording: RecordListener | None = None
        self._watched: dict[str, TappedNamespace] = {}  # by namespace
        self._marked: dict[str, Nft] = {}  # by namespace
        self._world: World | None = None

    async def begin(self, arguments: Mapping[str, Any]) -> tuple[dict[str, Any], list[int]]:
        """`target`, `namespace`, `protocol` (tcp | udp), `ports` (the sender's own), `whole` (frames uncut).

        Result: what was opened, and the descriptors in this order: a tap for each of `taps`, a socket with nft
        traces for each of `marked`, then those of `drops`. They are the caller's. Raises EmulabError.
        """
        check(arguments, **PLACED, protocol=PROTOCOL, ports=listed(PORT), whole=optional(FLAG))
        place, _ = find_place(self._around, arguments["target"], arguments.get("namespace") or "default")
        world = self._world = self._around.world
        assert world is not None  # else there is no place
        self._watched = {w.namespace: w for w in watch(self._around, world)}
        watched = list(self._watched.values())
        asked = self._watched.get(place.namespace)
        if asked is None:
            raise UserError(f"{arguments['target']}: its network is being taken away")
        source = asked.place
        ports = [int(p) for p in arguments["ports"]]
        snap, families = 1 << 18 if arguments.get("whole") else SNAP, self._families()
        wanted = [
            (w.fd, filters.filter_program(_ports(w.place, source, ports), snap, families), w.ring)
            for w in watched
        ]
        marked = await asyncio.to_thread(self._ruled, watched)
        protocol = str(arguments["protocol"])
        opened: list[socket.socket] = []
        watching: list[int] = []
        try:
            taps, traces, dropped, _ = results = await asyncio.gather(
                asyncio.to_thread(rings.open_taps, wanted),
                asyncio.to_thread(self._mark, marked, protocol, ports, place),
                asyncio.to_thread(drops.open_drops, families),
                self._record(),
                return_exceptions=True,
            )
            for found in (taps, traces):
                if isinstance(found, list):
                    opened += found
            watching, reasons = dropped if isinstance(dropped, tuple) else ([], {})
            failed = next((r for r in results if isinstance(r, BaseException)), None)
            if failed is not None:
                raise failed
            described = self._described(place, source, watched, marked)
            if cluster_of(self._around.store.objects()).chain:
                seen = await asyncio.to_thread(present.look, [w.fd for w in watched])
                for tap, there in zip(described["taps"], seen, strict=True):
                    tap |= there._asdict()
        except BaseException:
            for fd in watching:
                os.close(fd)
            await asyncio.to_thread(rings.close_sockets, opened)
            raise
        return {**described, "drops": reasons}, [*(s.detach() for s in opened), *watching]

    def _described(
        self,
        place: Place,
        source: Place,
        watched: Sequence[TappedNamespace],
        marked: Sequence[TappedNamespace],
    ) -> dict[str, Any]:
        assert self._world is not None
        rules: dict[str, list[str]] = {}
        for namespace, kind in self._world.network.rulesets:
            rules.setdefault(namespace, []).append(kind)
        addresses: dict[str, list[str]] = {}
        for item in self._world.network.items:
            if isinstance(item, Address):
                addresses.setdefault(item.namespace, []).append(str(item.address.ip))
        return {
            "source": source.name,
            "addresses": list(map(str, place.addresses)),
            "taps": [
                {
                    "place": w.place.name,
                    "kind": w.place.kind,
                    "addresses": addresses.get(w.namespace, []),
                    "interfaces": w.interfaces,
                    "ring": w.ring,
                    "hosts": w.hosts,
                    "rules": rules.get(w.namespace, []),
                }
                for w in watched
            ],
            "marked": [w.place.name for w in marked],
        }

    def open_socket(self, arguments: Mapping[str, Any]) -> socket.socket:
        """`place`, `family`, `type`, `protocol`: a fresh socket of a place that is watched. Raises EmulabError."""
        check(arguments, place=NAME, **SOCKET)
        found = next((w for w in self._watched.values() if w.place.name == arguments["place"]), None)
        if found is None:
            raise UserError(f"{arguments['place']} is not being watched")
        return sockets.open_socket(
            found.fd, arguments["family"], arguments["type"], arguments.get("protocol") or 0
        )

    def _ruled(self, watched: Sequence[TappedNamespace]) -> list[TappedNamespace]:
        """Where there are rules to look at: emulab's own, and whatever somebody put elsewhere. Blocks."""
        others = [w for w in watched if w.place.kind not in TRACED_KINDS]
        jobs = [(w.fd, _has_tables) for w in others]
        found = {w.namespace for w, ruled in zip(others, netns.inside_each(jobs), strict=True) if ruled}
        return [w for w in watched if w.place.kind in TRACED_KINDS or w.namespace in found]

    async def _record(self) -> None:
        self._recording = await self._around.servers.recordings.record()

    def _mark(
        self, marked: Iterable[TappedNamespace], protocol: str, ports: Iterable[int], source: Place
    ) -> list[socket.socket]:
        """Marks the request's packets where there are rules, and listens to what these do with them. Blocks."""
        assert self._world is not None
        proxies = proxy_addresses(self._world)
        script = "".join(
            ruleset_script(None, trace_rules(self._number, protocol, ports, source, proxies, family))
            for family in self._families()
        )
        listening: list[socket.socket] = []
        try:
            for w in marked:
                listening.append(netns.inside(w.fd, netfilter.open_trace_socket))
                nft = Nft(w.namespace, w.fd)
                self._marked[w.namespace] = nft
                nft.run(script)
        except BaseException:
            for sock in listening:
                sock.close()
            raise
        return listening

    async def records(self) -> dict[str, Any]:
        """What the servers told since the beginning.

        Result: `records`, each with `server` and its `place`; `silent`: servers that didn't answer;
        `lost`: server → how many of its records found no room; `began`: server → when it began to keep them (ns).
        """
        if self._recording is None or self._world is None:
            return {"records": [], "silent": [], "lost": {}, "began": {}}
        places = namespace_places(self._world)
        namespaces = {name: s.namespace for name, s in self._world.servers.items()}
        addresses = {str(a): places[p.namespace] for p in self._world.places.values() for a in p.addresses}
        found = await self._around.servers.recordings.records(self._recording)
        for record in found:
            # The stand-ins are in many places, and say where by the address that was asked.
            local = parse_socket_name(str(record.get("local", "")))
            own = namespaces.get(record["server"], "")
            record["place"] = places.get(own) or addresses.get(local[0] if local else "", "")
        silent, lost, began = sorted(self._recording.silent), self._recording.lost, self._recording.began
        return {"records": found, "silent": silent, "lost": lost, "began": began}

    async def explain(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """`chains`: [[place, family, table, chain], …]; `owners`: [[protocol, address, port], …].

        Result: for each chain its rules as text and what they are for, in order (`texts`, `meanings`), where emulab
        planned them, by handle (`handles`) where somebody else wrote them; for each owner that is known, who it is.
        """
        world = self._world
        if world is None:
            raise UserError("nothing is being traced")
        check(arguments, chains=optional(CHAINS), owners=optional(OWNERS))
        namespaces = {p.name: p.namespace for p in world.places.values() if p.namespace in self._watched}
        chains: list[dict[str, Any]] = []
        for place, family, table, chain in arguments.get("chains") or ():
            if place not in namespaces:
                raise UserError(f"{place} is not being watched")
            chains.append(await asyncio.to_thread(self._rules, namespaces[place], family, table, chain))
        questions = [(str(p), str(a), int(n)) for p, a, n in arguments.get("owners") or ()]
        found = owners(self._around.store.objects(), world, questions)
        return {"chains": chains, "owners": [[*q, o.to_json()] for q, o in found.items()]}

    async def translated(self, arguments: Mapping[str, Any]) -> list[Any]:
        """`translated`: [[place, protocol, source, port, destination, port], …], flows as they come to a node.

        Result: for each what the node's BPF programs make of it (`source`, `endpoint`: address and port; `number`: the
        endpoint's), or null.
        """
        check(arguments, translated=FLOWS)
        found: list[Any] = []
        for place, protocol, *ends in arguments["translated"]:
            namespace = next((w.namespace for w in self._watched.values() if w.place.name == place), "")
            translator = getattr(self._around.handles.get(namespace), "translator", None)
            source, to = ((parse_address(ends[i]), int(ends[i + 1])) for i in (0, 2))
            flow = None
            if translator is not None:
                flow = await asyncio.to_thread(translator.flow, protocol, source, to)
            found.append(
                flow
                and {
                    "source": [str(flow.new_source[0]), flow.new_source[1]],
                    "endpoint": [str(flow.endpoint[0]), flow.endpoint[1]],
                    "number": flow.backend,
                }
            )
        return found

    def _rules(self, namespace: str, family: str, table: str, chain: str) -> dict[str, Any]:
        """The rules of a chain as whoever wrote them would list them. Blocks."""
        assert self._world is not None
        planned = self._world.network.rulesets
        ours = planned.get((namespace, f"{family} {table}"))
        if isinstance(ours, Ruleset) and chain in ours.chains:
            rules = ours.chains[chain][1:]
            return {"texts": list(rules), "meanings": list(map(meaning.to_json, rules))}
        tool = next((f.iptables for f in FAMILIES if f.nft == family), "")
        chains = planned.get((namespace, tool))
        wanted = chains.tables.get(table, {}).get(chain, ()) if isinstance(chains, Iptables) else ()
        if wanted and chain not in BUILT_IN:
            with suppress(KernelError):
                texts = iptables.listed(namespace, self._watched[namespace].fd, table, chain, tool)
                if len(texts) == len(wanted):  # else somebody has put in his own, with nft maybe
                    return {"texts": texts, "meanings": list(map(meaning.to_json, wanted))}
        with suppress(KernelError, KeyError):  # it is gone, or in a form that this nft can't read
            return {"handles": self._marked[namespace].rules(family, table, chain)}
        return {"handles": {}}

    async def close(self) -> None:
        """Switches off what `begin` switched on."""
        try:
            if self._recording is not None:
                await self._around.servers.recordings.stop_recording(self._recording)
            await asyncio.to_thread(self._unmark)
        finally:
            held, self._watched = self._watched, {}
            let_go(list(held.values()))

    def _families(self) -> Families:
        return cluster_of(self._around.store.objects()).families

    def _unmark(self) -> None:
        marked, self._marked = self._marked, {}
        script = "".join(f"delete table {f.nft} {TRACE_TABLE}{self._number}\n" for f in self._families())
        for nft in marked.values():
            with suppress(EmulabError):  # the table was never made, or its namespace has gone
                nft.run(script)


def _has_tables() -> bool:
    """Whether the calling thread's namespace has nftables rules that no trace made."""
    try:
        with netfilter.open_socket() as sock:
            return any(not name.startswith(TRACE_TABLE) for name in netfilter.table_names(sock))
    except KernelError:
        return False


def _ports(place: Place, source: Place, ports: list[int]) -> list[int] | None:
    """The ports that are looked at in a place; None: all.

    A client's own port is its packets' mark at home. Elsewhere they may have another one, and so have those that
    proxies send for it, which may come astray anywhere. Name servers speak of names alone.
    """
    if place.kind in ("dns", "resolver"):
        return []
    if source.kind == "client" and place.name == source.name:
        return ports
    return None

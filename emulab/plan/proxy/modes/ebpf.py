"""Services by BPF programs at tc, without a kube-proxy, as Cilium has them. Pure.

What programs at a node's links need is in maps: which endpoints each address and port has, for pods and the node itself
and for what comes from outside. `emulab.kernel.ebpf` has the programs, and says where a packet meets them. In nftables
there is the rest, which needs no look-up of a Service for packets that have one:

    prerouting, output            firewall-check: loadBalancerSourceRanges, of sources that the programs let pass as
                                  they came
    input, forward, output        no-endpoint-check: what nobody serves is refused, or dropped by a Local policy
    postrouting                   masquerades what the programs have marked

A Service is two frontends at each address where its policy is Local: one for outside, of the node's own endpoints, and
one with all of them for pods and the node, whose way is cut short as in kube-proxy.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from itertools import groupby

from emulab.kinds.emulab.clusterview import Cluster
from emulab.model.addresses import IPAddress, IPNetwork
from emulab.model.families import IPV4, IPV6, Family, of_family
from emulab.plan.draft import Draft
from emulab.plan.links import Neighbour, Route, Translated
from emulab.plan.links.translated import LOOPBACK, STAND_INS, UPLINK
from emulab.plan.persistent import Persistent
from emulab.plan.proxy import filters
from emulab.plan.proxy.filters import PORT, TABLE, ChainTexts, Elements, RuleWords
from emulab.plan.proxy.intents import Intent, ProxiedEndpoint
from emulab.plan.proxy.meanings import masquerades
from emulab.plan.proxy.modes.mode import Mode, Pieces, Site
from emulab.plan.proxy.modes.nftables import MARK
from emulab.plan.proxy.tables import Part, Table
from emulab.plan.state import BpfFrontend, Choice, Collection, Ruleset, Translations

NAME, UPLINK_DEVICE = "ebpf", "eth0"
_SAME_PORT = frozenset({"sctp"})
"""They keep their ports, as with Cilium: programs can't mend SCTP's checksum, which counts all but addresses."""
_NOBODY = "02:00:00:00:00:00"
"""The neighbour that the node's stand-in is: nothing is ever sent there, the programs take it before."""
_SYSCTLS = (("net/ipv4/conf/lo/accept_local", "1"),)
"""Answers to the node itself come in by the loopback, from an address that may be its own."""

Choices = dict[BpfFrontend, Choice]


class FrontendSum:
    """The frontends of a family, and the table `kube-proxy` beside them."""

    def __init__(self, cluster: Cluster, family: Family) -> None:
        self._family, self._words = family, RuleWords(cluster, family)
        collections = filters.FilterCollections(self._words).collections()
        for name, key in _shortcuts(self._words).items():
            collections[name] = Collection("set", f"typeof {key} ;", {})
        self._table = Table(family.nft, TABLE, _chains(self._words), collections, frozenset(), {})
        self._pieces = Pieces(self._piece)
        self._made: tuple[Persistent[BpfFrontend, Choice], int] = Persistent({}), -1

    def exchange(self, gone: Sequence[Intent], come: Sequence[Intent]) -> bool:
        """See `Sum.exchange`."""
        if not self._table.exchange([self._part(one) for one in gone], [self._part(one) for one in come]):
            return False
        self._pieces.exchange(gone, come)
        return True

    def copy(self) -> FrontendSum:
        """See `Sum.copy`."""
        other = copy(self)
        other._table, other._pieces = self._table.copy(), self._pieces.copy()
        other._pieces.make = other._piece
        return other

    def ruleset(self) -> Ruleset:
        """The table as it is now."""
        return self._table.ruleset()

    def choices(self) -> Mapping[BpfFrontend, Choice]:
        """The frontends as they are now."""
        (known, turn), pieces = self._made, self._pieces
        changed = pieces.changed_since(turn) if turn >= 0 else None
        if changed is None:
            known = Persistent(_together(pieces))
        elif changed:
            old = _together(piece for own in changed.values() for piece in own)
            new = _together(piece for name in changed for piece in pieces.of(name))
            added = {frontend: choice for frontend, choice in new.items() if old.get(frontend) != choice}
            if any(frontend in known and frontend not in old for frontend in added):
                known = Persistent(_together(pieces))  # several Services have it: the last one gets it
            else:
                known = known.changed([f for f in old if f not in new and f in known], added)
        self._made = known, pieces.turn
        return known

    def _part(self, intent: Intent) -> Part:
        checks = filters.FilterCollections(self._words)
        checks.add(intent)
        found = {name: dict(c.elements) for name, c in checks.collections().items() if c.elements}
        if intent.external_local and intent.external_verdict == "drop" and intent.cluster:
            service = f"{intent.protocol} . {intent.port.port}"
            shortcuts: Elements = {f"{a} . {service}": "" for a in intent.outside_ips}
            node_ports: Elements = {f"{intent.protocol} . {intent.node_port}": ""} if intent.node_port else {}
            found |= {"shortcuts": shortcuts, "shortcut-nodeports": node_ports}
        return Part({}, {name: elements for name, elements in found.items() if elements}, {}, {})

    def _piece(self, intent: Intent) -> Choices:
        return dict(frontends(intent, self._family))


def frontends(intent: Intent, family: Family) -> Iterator[tuple[BpfFrontend, Choice]]:
    """Where a Service port is reached, and who serves there."""

    def choice(endpoints: Iterable[ProxiedEndpoint], masquerade: bool) -> Choice:
        # A client keeps its endpoint at all frontends that have it, as with kube-proxy.
        service = f"{intent.title}/{intent.protocol}/{family.name}"
        return Choice(service, tuple(e.target for e in endpoints), intent.affinity, masquerade)

    def at(address: IPAddress | None, port: int, inside: bool) -> BpfFrontend:
        return BpfFrontend(intent.protocol, address, port, inside, family is IPV6)

    def reached(given: Sequence[ProxiedEndpoint], port: int) -> Sequence[ProxiedEndpoint]:
        """The endpoints to which a port can lead."""
        if intent.protocol not in _SAME_PORT:
            return given
        return [endpoint for endpoint in given if endpoint.target[1] == port]

    if internal := reached(intent.internal, intent.port.port):
        for address in intent.cluster_ips:
            yield at(address, intent.port.port, True), choice(internal, False)
            yield at(address, intent.port.port, False), choice(internal, True)
    outside: list[tuple[IPAddress | None, int, tuple[IPNetwork, ...]]] = [
        *((address, intent.port.port, ()) for address in intent.external_ips),
        *((address, intent.port.port, intent.source_ranges) for address in intent.balancer_ips),
    ]
    if intent.node_port:
        outside.append((None, intent.node_port, ()))
    everywhere = not intent.external_local
    near = intent.cluster if intent.external_local else intent.external  # of whose way is cut short
    for where, port, sources in outside:
        if own := reached(near, port):
            yield at(where, port, True), choice(own, everywhere)._replace(sources=sources)
        if external := reached(intent.external, port):
            served = choice(external, everywhere)
            yield at(where, port, False), served._replace(sources=sources)


def frontend_sum(intents: Sequence[Intent], cluster: Cluster, family: Family) -> FrontendSum:
    """What proxies need for these intents."""
    made = FrontendSum(cluster, family)
    for _, own in groupby(intents, key=lambda i: (i.namespace, i.name)):
        made.exchange((), list(own))
    return made


def _together(pieces: Iterable[Choices]) -> Choices:
    found: Choices = {}
    for piece in pieces:
        found |= piece
    return found


def _shortcuts(words: RuleWords) -> Mapping[str, str]:
    return {"shortcuts": words.service, "shortcut-nodeports": PORT}


def _chains(words: RuleWords) -> ChainTexts:
    found = filters.filter_chains(words)
    declaration, *verdicts = found["no-endpoint-check"]
    # What the node itself sends is not translated yet in `output`.
    own = [
        f"fib saddr type local {words.service} @shortcuts return",
        f"fib saddr type local {words.local_destination} {PORT} @shortcut-nodeports return",
    ]
    return {
        **found,
        "no-endpoint-check": (declaration, *own, *verdicts),
        "nat-postrouting": (
            "{ type nat hook postrouting priority 100 ; policy accept ; }",
            f"meta mark & {MARK} != {MARK} return",
            "meta mark set meta mark & 0xffffbfff",
            masquerades("masquerade fully-random"),
        ),
    }


def _plan(draft: Draft, site: Site, cluster: Cluster, sums: Mapping[Family, FrontendSum]) -> None:
    draft.add(
        Translated(site.name, UPLINK_DEVICE, UPLINK),
        Translated(site.name, "lo", LOOPBACK),
    )
    for family, made in sums.items():
        stand_in = STAND_INS[family.version]
        draft.add(
            Route(site.name, family.host(stand_in), UPLINK_DEVICE),
            Neighbour(site.name, UPLINK_DEVICE, stand_in, _NOBODY),
        )
        draft.rules(site.name, made.ruleset())
    pods = tuple(network for family in sums for network in cluster.pods_of(family))
    local = tuple(address for family in sums for address in of_family(site.local, family))
    known = [made.choices() for made in sums.values()]
    services = known[0] if len(known) == 1 else {f: c for own in known for f, c in own.items()}
    draft.rules(site.name, Translations(services, pods, local, _SYSCTLS if IPV4 in sums else ()))


MODE = Mode(
    name=NAME,
    sum=FrontendSum,
    plan=_plan,
    shows="emulab lb NODE",
    needs=("nftables", "ebpf"),
    differences=frozenset(),
    pods=True,
)

"""Routes."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from emulab.dataclass import dataclass
from emulab.model.addresses import IPAddress, IPNetwork
from emulab.plan.links.item import End, Item

MAIN, LOCAL = 254, 255
"""The table that everything is looked up in which no rule sends elsewhere (RT_TABLE_MAIN), and that of the namespace's
own addresses (RT_TABLE_LOCAL)."""

_METRICS = {4: 0, 6: 1024}
"""What the kernel takes for a metric of 0, by the address's version (IP6_RT_PRIO_USER)."""


@dataclass(frozen=True, slots=True)
class NextHop:
    """A next hop of a route that has several. `weight`: its share of the flows, 1 to 256."""

    link: str
    gateway: IPAddress | None = None
    onlink: bool = False
    weight: int = 1


class RouteTunnel(NamedTuple):
    """Whereto a route's packets go over a device without ends of its own: the other end, and the tunnel's number."""

    end: IPAddress
    number: int


@dataclass(frozen=True, slots=True)
class Route(Item):
    """A route. `onlink`: the gateway is on the link though no address says so.

    One with several ways has `hops`, and no link and gateway of its own; one that lets nothing through (`type`
    blackhole, unreachable or prohibit) has neither. Of several to one destination in a table, that of the lowest
    metric is taken. One that `replaces` takes the place of what a routing daemon has put there, or, to an address of
    the namespace's own, the kernel.
    """

    namespace: str
    destination: IPNetwork
    link: str = ""
    gateway: IPAddress | None = None
    source: IPAddress | None = None
    onlink: bool = False
    table: int = MAIN
    metric: int = 0
    type: str = "unicast"  # unicast | local | blackhole | unreachable | prohibit
    hops: tuple[NextHop, ...] = ()
    tunnel: RouteTunnel | None = None
    replaces: bool = False

    word = "route"

    @property
    def ways(self) -> tuple[NextHop, ...]:
        """The next hops, be it one or several."""
        return self.hops or ((NextHop(self.link, self.gateway, self.onlink),) if self.link else ())

    @property
    def priority(self) -> int:
        """The metric that the kernel gives the route."""
        return self.metric or _METRICS[self.destination.version]

    def on(self) -> tuple[End, ...]:
        if not self.hops:
            return ((self.namespace, self.link),) if self.link else ()
        return tuple(dict.fromkeys((self.namespace, hop.link) for hop in self.hops))

    def slots(self) -> tuple[tuple[object, ...], ...]:
        return (("route", self.namespace, self.table, self.destination, self.priority),)

    def order(self) -> tuple[object, ...]:
        # On-link ones before those with a gateway, which must be reachable when they are added.
        is_near = self.gateway is None and not any(hop.gateway for hop in self.hops)
        return (not is_near, self.namespace, *self.reading_order())

    def reading_order(self) -> tuple[object, ...]:
        net = self.destination
        where = (net.version, int(net.network_address), net.prefixlen)
        return (
            self.table != MAIN,
            self.table,
            *where,
            self.metric,
            self.link,
            str(self.gateway),
            repr(self.hops),
        )

    def title(self) -> str:
        via = f" via {self.gateway}" if self.gateway else ""
        links = " and ".join(dict.fromkeys(way.link for way in self.ways))
        return f"route {self.destination}{via}{f' on {links}' if links else ''}"

    def line(self, name: Callable[[str], str]) -> str:
        return f"route {self.words()}"

    def words(self) -> str:
        """The route as `ip route` takes it."""
        words = [] if self.type == "unicast" else [self.type]
        words.append(str(self.destination))
        if not self.hops:
            words += [word for hop in self.ways for word in _way(hop)]
        if self.source:
            words += ["src", str(self.source)]
        if self.onlink:
            words.append("onlink")
        if self.table != MAIN or self.type == "local":  # for which iproute2's own is the table `local`
            words += ["table", str(self.table)]
        if self.metric:
            words += ["metric", str(self.metric)]
        if self.tunnel:
            family = "ip6" if self.tunnel.end.version == 6 else "ip"
            checked = ["csum"] if family == "ip6" else []
            words[1:1] = [
                "encap",
                family,
                "id",
                str(self.tunnel.number),
                "dst",
                str(self.tunnel.end),
                *checked,
            ]
        for hop in self.hops:
            words += ["nexthop", *_way(hop), "weight", str(hop.weight), *(["onlink"] if hop.onlink else [])]
        return " ".join(words)


def _way(hop: NextHop) -> list[str]:
    via = ["via", str(hop.gateway)] if hop.gateway else []
    return [*via, "dev", hop.link]

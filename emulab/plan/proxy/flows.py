"""Who may go on to have UDP flows behind each address and port, as the sum of what each Service says. Pure.

It is whoever serves, whatever policies say, as in kube-proxy (pkg/proxy/conntrack), so that a change of policy doesn't
break flows that go on; one to another port of the same endpoint is another.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from emulab.model.addresses import socket_name
from emulab.plan.persistent import Persistent
from emulab.plan.proxy.intents import Candidates
from emulab.plan.proxy.ports import Changed
from emulab.plan.state import UdpBackends

UdpFrontend = tuple[str, int]
"""An address and port, with address "" for a node port."""
Flows = dict[UdpFrontend, frozenset[str]]


class FlowSum:
    """The flows of all Services."""

    def __init__(self) -> None:
        self._claimed = Counter[UdpFrontend]()  # by how many Services
        self._made = UdpBackends(Persistent({}))

    @property
    def made(self) -> UdpBackends:
        """The flows of all Services as they are now."""
        return self._made

    def exchange(self, changes: Iterable[Changed]) -> bool:
        """Puts what Services say now in the place of what they said. False where several of them have a frontend: the
        sum has to be made anew then."""
        gone, come = Flows(), Flows()
        contested = False
        for change in changes:
            if not any(c.port.protocol == "UDP" for ports in change for c in ports):
                continue
            was, will = flows_of(change.was), flows_of(change.will)
            self._claimed.subtract(was.keys())
            self._claimed.update(will.keys())
            contested = contested or any(self._claimed[f] > (f in will) for f in (*was, *will))
            gone |= was
            come |= will
        if contested:
            return False
        if gone != come:
            known = self._made.frontends
            flows = known if isinstance(known, Persistent) else Persistent(known)
            removed = [f for f in gone if f not in come]
            self._made = UdpBackends(
                flows.changed(removed, {f: w for f, w in come.items() if gone.get(f) != w})
            )
        return True

    def anew(self, everything: Iterable[Candidates]) -> None:
        """Makes the sum of all Service ports. Of Services that have the same address and port, the last one counts."""
        self._claimed.clear()
        made = Flows()
        for ports in _by_service(everything):
            own = flows_of(ports)
            self._claimed.update(own.keys())
            made |= own
        if made != self._made.frontends:
            self._made = UdpBackends(Persistent(made))


def udp_frontends(c: Candidates) -> list[UdpFrontend]:
    """Where a Service port is reached if it is one of UDP: address and port, with address "" for a node port."""
    if c.port.protocol != "UDP":
        return []
    addresses = (*c.cluster_ips, *c.external_ips, *c.balancer_ips)
    node_ports = [("", c.port.node_port)] if c.port.node_port else []
    return [*((str(address), c.port.port) for address in addresses), *node_ports]


def flows_of(ports: Iterable[Candidates]) -> Flows:
    """What the ports of one Service say."""
    found = Flows()
    for c in ports:
        if reached := udp_frontends(c):
            serving = frozenset(socket_name(b.address, b.port) for b in c.backends if b.serving)
            for frontend in reached:  # a node port is one for all families
                found[frontend] = found.get(frontend, frozenset()) | serving
    return found


def _by_service(everything: Iterable[Candidates]) -> Iterable[list[Candidates]]:
    found: dict[tuple[str, str], list[Candidates]] = {}
    for c in everything:
        if c.port.protocol == "UDP":
            found.setdefault((c.service.namespace, c.service.name), []).append(c)
    return found.values()


def merged_flows(parts: Iterable[Mapping[UdpFrontend, frozenset[str]]]) -> UdpBackends:
    """Flows of several families together: a node port is one for all of them."""
    found = Flows()
    for part in parts:
        for frontend, ends in part.items():
            found[frontend] = found.get(frontend, frozenset()) | ends
    return UdpBackends(found)

"""The known differences of what is compared, proxy modes say: what is expected, and why.

Each says what is seen in some that the others haven't; the record of a mode (`emulab.plan.proxy.modes`), or the line of
another axis (`axes`), names those that are its own. A difference that isn't in this list, or shows something else, is
news. All are differences of the real modes, unless it is said.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from emulab.twins import asking
from emulab.twins.axes import BY_VALUE
from emulab.twins.owners import ITSELF, OUTSIDE, UNUSED_ADDRESS, UNUSED_PORT, Situation

Seen = frozenset[str]

STATUS, ANSWER, ENDPOINTS, SOURCE, FAIRNESS = "status", "answer", "endpoints", "source", "fairness"
ASPECTS = (STATUS, ANSWER, ENDPOINTS, SOURCE, FAIRNESS)
"""What is compared, in the order in which it is told."""

EVENLY, AT_RANDOM, UNEVENLY = "evenly", "at random", "unevenly"

PORT_UNREACHABLE = "ICMP port unreachable"
_REFUSED = frozenset({asking.RESET, PORT_UNREACHABLE, asking.FORBIDDEN})
_GIVEN_UP = frozenset({asking.CLOSED, asking.BROKEN, "connected"})
_ANSWERED = re.compile(r"HTTP \d+|DNS \w+|connected|echo|datagram")


class Known(NamedTuple):
    """One known difference. `shows` gets what is seen in a mode that has it, and in another mode."""

    name: str  # as the records of the modes say it
    aspect: str
    applies: Callable[[Situation], bool]
    shows: Callable[[Seen, Seen], bool]
    reason: str
    source: str


def _always(_: Situation) -> bool:
    return True


def _nodes_only(own: Seen, _: Seen) -> bool:
    return all(whose == ITSELF or whose.startswith("node/") for whose in own)


def _seen_behind(own: Seen, other: Seen) -> bool:
    return _nodes_only(other, own) and (not _nodes_only(own, other) or ITSELF in own - other)


def _retried(own: Seen, other: Seen) -> bool:
    answers = {word for word in other if _ANSWERED.fullmatch(word)}
    return own == answers and own < other  # the same answers, where others fail at times


def _accepted(own: Seen, other: Seen) -> bool:
    tcp = own <= _GIVEN_UP and other <= {asking.RESET}
    return tcp or (own == {asking.SILENCE} and other == {PORT_UNREACHABLE})


KNOWN = (
    Known(
        "a process in between",
        SOURCE,
        _always,
        _nodes_only,
        "a process of the node makes the connection to the pod, so the pod sees the node, with the policy Local too",
        "Kubernetes documentation, Service, shortcomings (until v1.25)",
    ),
    Known(
        "takes turns",
        FAIRNESS,
        _always,
        lambda own, other: own == {EVENLY} and other == {AT_RANDOM},
        "ipvs (scheduler rr) and userspace deal connections out in turn; iptables and nftables draw lots",
        "Kubernetes documentation, Virtual IPs and Service Proxies",
    ),
    Known(
        "ports that no Service has",
        STATUS,
        lambda s: s.reaches == UNUSED_PORT,
        lambda own, _: own <= _REFUSED,
        "nftables refuses them; in iptables and userspace mode no rule matches, and the network beyond the node"
        " answers or doesn't",
        "KEP-3866; kubernetes/kubernetes#122692",
    ),
    Known(
        "addresses that no Service has",
        STATUS,
        lambda s: s.reaches == UNUSED_ADDRESS,
        lambda own, _: own == {asking.SILENCE},
        "nftables drops what is sent to them; in the other modes it leaves the node by the default route",
        "KEP-3866; kubernetes/kubernetes#122692",
    ),
    Known(
        "cluster IPs are the node's own",
        STATUS,
        lambda s: s.reaches == UNUSED_PORT,
        lambda own, _: own <= _REFUSED,
        "kube-ipvs0 has every cluster IP, so their other ports are the node's; KUBE-IPVS-FILTER refuses them",
        "kubernetes/kubernetes#72236, #108460",
    ),
    Known(
        "Local is for everybody",
        ENDPOINTS,
        lambda s: s.local,
        lambda own, other: own < other,
        "a virtual server asks nobody where he is: with an endpoint on the node, its pods and the node itself stay"
        " there, too; in the other modes they reach all endpoints",
        "kubernetes/kubernetes, pkg/proxy/ipvs, syncEndpoint; #97081",
    ),
    Known(
        "nobody is on this node",
        STATUS,
        lambda s: s.inside,
        lambda own, other: own <= _REFUSED and other == {asking.SILENCE},
        "the internal policy Local without an endpoint on the node leaves the virtual server empty, and that refuses;"
        " in the other modes the packet is dropped",
        "kubernetes/kubernetes, pkg/proxy/ipvs, syncEndpoint; #97081",
    ),
    Known(
        "what a node sends outside",
        STATUS,
        lambda s: s.reaches == OUTSIDE and s.of_node,
        lambda own, other: other <= _REFUSED and not own <= _REFUSED,
        "KUBE-EXTERNAL-SERVICES, which refuses what nobody serves at an external address, is asked about what comes"
        " to a node or passes it, not about what the node itself sends: that goes on to whoever has the address",
        "kubernetes/kubernetes, pkg/proxy/iptables, iptablesJumpChains",
    ),
    Known(
        "how TCP is refused",
        STATUS,
        _always,
        lambda own, other: own == {PORT_UNREACHABLE} and other == {asking.RESET},
        "iptables' REJECT sends an ICMP message unless told otherwise, emulab's nftables rules reset;"
        " connect() says ECONNREFUSED to both",
        "iptables-extensions(8), REJECT; kube-proxy's nftables and ipvs modes send ICMP, too",
    ),
    Known(
        "who asks is seen on the node",
        SOURCE,
        _always,
        _seen_behind,
        "kube-router masquerades nothing that goes to a pod of the node at which it came in, as the answer comes back"
        " there by itself",
        "cloudnativelabs/kube-router, pkg/controllers/proxy, ensureMasqueradeIptablesRule",
    ),
    Known(
        "nobody reaches itself",
        STATUS,
        _always,
        lambda own, other: own == other | {asking.SILENCE} and asking.SILENCE not in other,
        "a pod that meets itself by a Service gets its own answer back as if it came from nobody, unless the annotation"
        " kube-router.io/service.hairpin has it masqueraded",
        "cloudnativelabs/kube-router, docs/user-guide.md, Hairpin Mode",
    ),
    Known(
        "another endpoint is tried",
        STATUS,
        _always,
        _retried,
        "the process goes on to the next endpoint when one doesn't take the connection; no rule of the kernel does",
        "Kubernetes documentation, Virtual IPs and Service Proxies, iptables proxy mode",
    ),
    Known(
        "accepted before anybody serves",
        STATUS,
        _always,
        _accepted,
        "the process accepts a connection, and takes a datagram, before it knows whether an endpoint will",
        "kubernetes/kubernetes, pkg/proxy/userspace (until v1.25)",
    ),
    Known(
        "no connection has one status",
        STATUS,
        _always,
        lambda own, other: own == {"HTTP 502"} and other == {"HTTP 504"},
        "HAProxy tells what refuses a connection and what doesn't answer by one status, nginx by two",
        "HAProxy configuration manual, session state at disconnection",
    ),
    Known(
        "no datagrams",
        STATUS,
        _always,
        lambda own, other: own <= {PORT_UNREACHABLE, asking.SILENCE} and asking.RESET not in other,
        "HAProxy takes no UDP but for logs and QUIC, so nobody is at a balancer's UDP ports",
        "HAProxy configuration manual, bind",
    ),
)


def known(aspect: str, situation: Situation, seen: dict[str, Seen], one: str, other: str) -> Known | None:
    """The entry that explains that `one` and `other`, two values of an axis, differ in what was seen."""
    for entry in KNOWN:
        has, other_has = (entry.name in BY_VALUE.get(value, ()) for value in (one, other))
        if entry.aspect != aspect or has == other_has:
            continue
        own, rest = (one, other) if has else (other, one)
        if entry.applies(situation) and entry.shows(seen[own], seen[rest]):
            return entry
    return None

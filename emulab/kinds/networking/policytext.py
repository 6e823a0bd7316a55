"""A NetworkPolicy in words, as `kubectl describe` has it (networkPolicyDescriber); a ClusterNetworkPolicy alike."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from emulab.kinds import cells
from emulab.kinds.networking.clusterpolicyview import ClusterNetworkPolicy
from emulab.kinds.networking.policyview import (
    DIRECTIONS,
    INGRESS,
    AddressBlock,
    NetworkPolicy,
    NodeSelection,
    PolicyPeer,
    PolicyPort,
    PolicyRule,
)

if TYPE_CHECKING:
    from emulab.kinds.fields import Fields
    from emulab.model.objects import Object

_BETWEEN = "----------"


def described(o: Object) -> Fields:
    """The fields of a description."""
    policy = NetworkPolicy.of(o)
    selector = cells.selector_text(policy.pods.pods)
    if not policy.pods.pods:
        selector = "<none> (Allowing the specific traffic to all pods in this namespace)"
    found: Fields = [("PodSelector", selector)]
    for direction in DIRECTIONS:
        rules = policy.rules.get(direction)
        if rules is None:
            found.append((f"Not affecting {direction} traffic", ""))
        else:
            found.append((f"Allowing {direction} traffic", list(_rules(direction, rules))))
    return [*found, ("Policy Types", ", ".join(one.capitalize() for one in policy.rules))]


def _rules(direction: str, rules: tuple[PolicyRule, ...]) -> Iterator[str]:
    if not rules:
        yield f"<none> (Selected pods are isolated for {direction} connectivity)"
    for number, rule in enumerate(rules):
        if number:
            yield _BETWEEN
        if rule.ports is None:
            yield "To Port: <any> (traffic allowed to all ports)"
        yield from _matched(direction, rule)


def _matched(direction: str, rule: PolicyRule) -> Iterator[str]:
    for port in rule.ports or ():
        yield f"To Port: {_port(port)}"
    word, end = ("From", "source") if direction == INGRESS else ("To", "destination")
    if rule.peers is None:
        yield f"{word}: <any> (traffic not restricted by {end})"
    for peer in rule.peers or ():
        yield f"{word}: {peer_text(peer)}"


def cluster_policy_described(o: Object) -> Fields:
    """The fields of a ClusterNetworkPolicy's description."""
    policy = ClusterNetworkPolicy.of(o)
    found: Fields = [("Tier", policy.tier), ("Priority", str(policy.priority))]
    found.append(("Subject", peer_text(policy.subject)))
    for direction in DIRECTIONS:
        rules = policy.rules[direction]
        if not rules:
            found.append((f"Not affecting {direction} traffic", ""))
            continue
        lines = list[str]()
        for rule in rules:
            lines += [*([_BETWEEN] if lines else ()), " ".join(filter(None, (rule.action, rule.name)))]
            lines += ["To Port: <any>"] if rule.matches.ports is None else []
            lines += _matched(direction, rule.matches)
        found.append((f"{direction.capitalize()} rules", lines))
    return found


def _port(port: PolicyPort) -> str:
    number = port.name or (
        f"{port.first}-{port.last}" if port.last != port.first else str(port.first or "<any>")
    )
    return f"{number}/{port.protocol.upper()}"


def peer_text(peer: PolicyPeer) -> str:
    """Who is meant."""
    if isinstance(peer, AddressBlock):
        exceptions = f", except {', '.join(map(str, peer.exceptions))}" if peer.exceptions else ""
        return f"IPBlock {peer.network}{exceptions}"
    if isinstance(peer, NodeSelection):
        return f"NodeSelector {cells.selector_text(peer.nodes) if peer.nodes else '<any>'}"
    pods = cells.selector_text(peer.pods) if peer.pods else ""
    if peer.namespaces is None:
        return f"PodSelector {pods or '<any>'}"
    namespaces = f"NamespaceSelector {cells.selector_text(peer.namespaces) if peer.namespaces else '<any>'}"
    return f"{namespaces}, PodSelector {pods}" if pods else namespaces

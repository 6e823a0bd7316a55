"""What a policy says and nobody will notice: warnings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from emulab.kinds.apps.givenlabels import GIVEN_LABELS
from emulab.kinds.emulab.proxymodes import USERSPACE
from emulab.kinds.lookup import Lookup, Pods
from emulab.kinds.networking.policyview import INGRESS, NetworkPolicy, network
from emulab.model.checks import show
from emulab.model.families import family_of
from emulab.model.findings import Finding
from emulab.model.objects import Object
from emulab.model.selectors import matches_selector

_PEERS = {"ingress": "from", "egress": "to"}


def oddities(o: Object, world: Lookup) -> Iterator[Finding]:
    """Those of a NetworkPolicy that is enforced."""
    counting = NetworkPolicy.of(o).rules
    for direction, peers in _PEERS.items():
        rules = o.spec.get(direction) or ()
        if rules and direction not in counting:
            why = f"counts for nothing, as spec.policyTypes has no {direction.capitalize()}"
            yield Finding(o, ("spec", direction), why)
            continue
        for number, rule in enumerate(rules):
            for index, peer in enumerate(rule.get(peers) or ()):
                if "ipBlock" in peer and (why := why_nobody(peer["ipBlock"]["cidr"], world)):
                    yield Finding(o, ("spec", direction, number, peers, index, "ipBlock", "cidr"), why)
    yield from _selection(o, world)


def why_nobody(cidr: str, world: Lookup) -> str:
    """Why there is nobody in a block of addresses for policies; "" where there may be."""
    block = network(cidr)
    family = family_of(block.network_address)
    everybody = not block.prefixlen  # of each family, in a policy for any cluster
    if family not in world.cluster.families and not everybody:
        return f"means nobody: the lab has no {family.name}"
    services = world.cluster.services_of(family)
    if any(block.subnet_of(net) for net in services):  # type: ignore[arg-type]  # of one family
        if world.cluster.proxy_mode == USERSPACE:
            return "means nobody: what is sent to Services a node's proxy gets, whatever policies say"
        return (
            "means nobody: addresses of Services are translated to those of pods before policies are asked, so say "
            "which pods"
        )
    return ""


def _selection(o: Object, world: Lookup) -> Iterator[Finding]:
    """Of a selector that means no pod, or names of ports that no pod has."""
    selector = o.spec.get("podSelector") or {}
    labels = selector.get("matchLabels")
    if not labels:
        return
    # What is said of labels that controllers give, nobody knows of a template.
    known = [one for one in selector.get("matchExpressions") or () if one["key"] not in GIVEN_LABELS]
    more = {"matchExpressions": known}
    pods = [one for one in world.selected(o.namespace, labels) if matches_selector(more, one.labels)]
    if not pods:
        yield Finding(o, ("spec", "podSelector"), "matches no Pod and no workload's template")
    elif all(one.spec.get("hostNetwork") for one in pods):
        why = "matches nobody but Pods with hostNetwork, which policies take for their nodes: it isolates none of them"
        yield Finding(o, ("spec", "podSelector"), why)
    else:
        yield from _names(o, pods)


def _names(o: Object, pods: Sequence[Pods]) -> Iterator[Finding]:
    there = {
        (port.get("name"), port.get("protocol") or "TCP")
        for one in pods
        for container in (*(one.spec.get("containers") or ()), *(one.spec.get("initContainers") or ()))
        for port in container.get("ports") or ()
    }
    for number, rule in enumerate(o.spec.get(INGRESS) or ()):
        for index, port in enumerate(rule.get("ports") or ()):
            name, protocol = port.get("port"), port.get("protocol") or "TCP"
            if isinstance(name, str) and (name, protocol) not in there:
                why = f"no Pod that the policy is about has a {protocol} port named {show(name)}"
                yield Finding(o, ("spec", INGRESS, number, "ports", index, "port"), why)

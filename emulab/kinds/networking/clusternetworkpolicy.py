"""ClusterNetworkPolicies (policy.networking.k8s.io/v1alpha2), as their CustomResourceDefinition checks them.

How they are read is in `clusterpolicyview`, what they do in `emulab.plan.policies`. A peer by `domainNames`, which are
experimental, means nobody here, as the API has it of an implementation that doesn't know a field.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from emulab.kinds import cells
from emulab.kinds.cells import Cells, Columns, Raw
from emulab.kinds.checks import label_selector, whole
from emulab.kinds.definition import Definition
from emulab.kinds.fields import Fields, Slices
from emulab.kinds.following import kind_table, table
from emulab.kinds.networking.clusterpolicyview import ACCEPT, ADMIN, BASELINE, DENY, PASS
from emulab.kinds.networking.networkpolicy import policy_cidr
from emulab.kinds.registry import CLUSTER_NETWORK_POLICY
from emulab.model.checks import (
    Check,
    Problems,
    distinct,
    dns_subdomain,
    exactly_one,
    integer,
    mapping,
    one_of,
    pattern,
    port,
    sequence,
    string,
    wrong,
)
from emulab.model.findings import Finding

if TYPE_CHECKING:
    from emulab.kinds.lookup import Lookup
    from emulab.model.objects import Object

_MOST = 25
"""Rules, peers, protocols and networks that a list may have."""
_PROTOCOLS = ("tcp", "udp", "sctp")


def _few(items: list[Any]) -> Problems:
    return () if len(items) <= _MOST else wrong(f"must have at most {_MOST} items")


def _some(item: Check) -> Check:
    return sequence(item, rules=(_few,), least=1)


def _set(item: Check) -> Check:
    return sequence(item, rules=(_few, distinct), least=1)


def _range(span: dict[str, Any]) -> Problems:
    return () if span["start"] < span["end"] else wrong("must be greater than start", "end")


_selection = mapping(
    {"namespaceSelector": label_selector, "podSelector": label_selector},
    required=("podSelector",),
    closed=True,
)
_pods = {"namespaces": label_selector, "pods": _selection}
_subject = mapping(_pods, rules=(exactly_one(*_pods),), closed=True)
_port = mapping(
    {
        "number": port,
        "range": mapping(
            {"start": port, "end": port}, required=("start", "end"), rules=(_range,), closed=True
        ),
    },
    rules=(exactly_one("number", "range"),),
    closed=True,
)
_of_protocol = mapping({"destinationPort": _port}, required=("destinationPort",), closed=True)
_protocol = mapping(
    {**dict.fromkeys(_PROTOCOLS, _of_protocol), "destinationNamedPort": string},
    rules=(exactly_one(*_PROTOCOLS, "destinationNamedPort"),),
    closed=True,
)
_domain = pattern(
    r"(\*\.)?([a-zA-Z0-9]([-a-zA-Z0-9_]*[a-zA-Z0-9])?\.)+[a-zA-Z0-9]([-a-zA-Z0-9_]*[a-zA-Z0-9])?\.?",
    "a domain name such as kubernetes.io or *.kubernetes.io",
)
_outside = {"nodes": label_selector, "networks": _set(policy_cidr), "domainNames": _set(_domain)}
_incoming = mapping(_pods, rules=(exactly_one(*_pods),), closed=True)
_outgoing = mapping({**_pods, **_outside}, rules=(exactly_one(*_pods, *_outside),), closed=True)


def _named(rule: dict[str, Any]) -> Problems:
    """The CustomResourceDefinition's own rule."""
    outside = any(not _outside.keys().isdisjoint(peer) for peer in rule["to"])
    for index, one in enumerate(rule.get("protocols") or ()):
        if outside and "destinationNamedPort" in one:
            text = "may not be given with networks, nodes or domainNames, which name no ports"
            return wrong(text, "protocols", index, "destinationNamedPort")
    return ()


def _accepting(rule: dict[str, Any]) -> Problems:
    for index, peer in enumerate(rule["to"]):
        if "domainNames" in peer and rule["action"] != ACCEPT:
            return wrong(f"is for rules with action {ACCEPT} alone", "to", index, "domainNames")
    return ()


def _rules(peers: str, peer: Check, rules: Sequence[Any] = ()) -> Check:
    fields = {
        "name": pattern(r"[^\n]*", "a name of at most 100 characters", 100),
        "action": one_of(ACCEPT, DENY, PASS),
        peers: _some(peer),
        "protocols": _some(_protocol),
    }
    return sequence(mapping(fields, ("action", peers), rules, closed=True), rules=(_few,))


_spec = mapping(
    {
        "tier": one_of(ADMIN, BASELINE),
        "priority": integer(0, 1000),
        "subject": _subject,
        "ingress": _rules("from", _incoming),
        "egress": _rules("to", _outgoing, (_named, _accepting)),
    },
    required=("tier", "priority", "subject"),
    closed=True,
)

_FIELDS = table(
    "tier priority subject ingress egress.name egress.action egress.protocols",
    egress__to=table(
        "namespaces pods nodes networks",
        ignored={"domainNames": "what a name leads to isn't watched, so this peer means nobody"},
    ),
)


def _warnings(o: Object, world: Lookup) -> Iterable[Finding]:
    if world.cluster.chain:
        why = "isn't enforced: the plug-ins of network.cni would have to do it, and these don't"
        yield Finding(o, (), why)
        return
    from emulab.kinds.networking.policyoddities import why_nobody  # of who has a policy

    for number, rule in enumerate(o.spec.get("egress") or ()):
        for index, peer in enumerate(rule["to"]):
            for place, cidr in enumerate(peer.get("networks") or ()):
                if why := why_nobody(cidr, world):
                    yield Finding(o, ("spec", "egress", number, "to", index, "networks", place), why)
    rank = o.spec["tier"], o.spec["priority"]
    same = [
        one.name
        for one in world.kind(CLUSTER_NETWORK_POLICY)
        if one.name != o.name and (one.spec["tier"], one.spec["priority"]) == rank
    ]
    if same:
        why = f"is that of {', '.join(sorted(same))}, too: either may go first, here it is by name"
        yield Finding(o, ("spec", "priority"), why)


def _cells(o: Raw, now: float) -> Cells:
    spec = cells.spec(o)
    return [cells.name(o), str(spec.get("tier")), str(spec.get("priority")), cells.age(o, now)], []


def _describe(o: Raw, _: Slices) -> Fields:
    from emulab.kinds.networking.policytext import cluster_policy_described  # of who looks at one
    from emulab.model.objects import Object

    return cluster_policy_described(Object(o))


DEFINITION = Definition(
    check=whole(CLUSTER_NETWORK_POLICY, dns_subdomain, _spec),
    warnings=_warnings,
    fields=kind_table(_FIELDS),
    columns=Columns(("NAME", "TIER", "PRIORITY", "AGE"), (), _cells),
    describe=_describe,
)

"""NetworkPolicies (networking.k8s.io/v1), as ValidateNetworkPolicySpec of pkg/apis/networking/validation looks at them.

How they are read is in `policyview`, what they do in `emulab.plan.policies`.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

from emulab.kinds import cells
from emulab.kinds.cells import Cells, Columns, Raw
from emulab.kinds.checks import label_selector, port_or_name, protocol, whole
from emulab.kinds.definition import Definition
from emulab.kinds.fields import Fields, Slices
from emulab.kinds.following import kind_table, table
from emulab.kinds.openapi.typed import typed
from emulab.kinds.registry import NETWORK_POLICY
from emulab.model.checks import Problems, dns_subdomain, one_of, port, sequence, show, string, wrong
from emulab.model.findings import Finding

if TYPE_CHECKING:
    from emulab.kinds.lookup import Lookup
    from emulab.model.objects import Object


def policy_cidr(value: Any) -> Problems:
    """A network as the API server takes it (net.ParseCIDR): its prefix is a number."""
    if type(value) is not str:
        return string(value)
    if value.strip() != value or ("/" in value and not value.partition("/")[2].isdigit()):
        return wrong(f"{show(value)} is not a network such as 10.9.8.0/24 or 2001:db8::/64")
    try:
        ip_network(value, strict=False)
    except ValueError:
        return wrong(f"{show(value)} is not a network such as 10.9.8.0/24 or 2001:db8::/64")
    return () if "/" in value else wrong(f"{show(value)} has no prefix length, such as {value}/32")


def _exceptions(block: dict[str, Any]) -> Problems:
    network, found = ip_network(block["cidr"], strict=False), []
    for index, text in enumerate(block.get("except") or ()):
        one = ip_network(text, strict=False)
        inside = one.version == network.version and one.subnet_of(network)  # type: ignore[arg-type]
        if not inside or one == network:
            found.append((("except", index), f"{show(text)} must be a strict subset of cidr {block['cidr']}"))
    return found


def _peer(peer: dict[str, Any]) -> Problems:
    if not peer:
        return wrong("must specify a peer: podSelector, namespaceSelector or ipBlock")
    if "ipBlock" in peer and len(peer) > 1:
        return wrong("may not specify both ipBlock and another peer", "ipBlock")
    return ()


def _range(entry: dict[str, Any]) -> Problems:
    first, last = entry.get("port"), entry.get("endPort")
    if last is None:
        return ()
    if first is None:
        return wrong("may not be specified when port is not specified", "endPort")
    if isinstance(first, str):
        return wrong("may not be specified when port is a name", "endPort")
    return () if last >= first else wrong("must be greater than or equal to port", "endPort")


_block = typed(
    "networking.v1.IPBlock",
    {"cidr": policy_cidr, "except": sequence(policy_cidr)},
    ("cidr",),
    rules=(_exceptions,),
)
_peers = sequence(
    typed(
        "networking.v1.NetworkPolicyPeer",
        {"podSelector": label_selector, "namespaceSelector": label_selector, "ipBlock": _block},
        rules=(_peer,),
    )
)
_ports = sequence(
    typed(
        "networking.v1.NetworkPolicyPort",
        {"port": port_or_name, "protocol": protocol, "endPort": port},
        rules=(_range,),
    )
)
_spec_check = typed(
    "networking.v1.NetworkPolicySpec",
    {
        "podSelector": label_selector,
        "policyTypes": sequence(one_of("Ingress", "Egress")),
        "ingress": sequence(
            typed("networking.v1.NetworkPolicyIngressRule", {"from": _peers, "ports": _ports})
        ),
        "egress": sequence(typed("networking.v1.NetworkPolicyEgressRule", {"to": _peers, "ports": _ports})),
    },
)


def _cells(o: Raw, now: float) -> Cells:
    return [cells.name(o), cells.selector_text(cells.spec(o).get("podSelector")), cells.age(o, now)], []


def _describe(o: Raw, _: Slices) -> Fields:
    from emulab.kinds.networking.policytext import described  # of who looks at one
    from emulab.model.objects import Object

    return described(Object(o))


def _warnings(o: Object, world: Lookup) -> Iterable[Finding]:
    if world.cluster.chain:
        why = "isn't enforced: the plug-ins of network.cni would have to do it, and these don't"
        yield Finding(o, (), why)
        return
    from emulab.kinds.networking.policyoddities import oddities  # of who has a policy

    yield from oddities(o, world)


DEFINITION = Definition(
    check=whole(NETWORK_POLICY, dns_subdomain, _spec_check, optional_spec=True),
    warnings=_warnings,
    fields=kind_table(table("podSelector policyTypes ingress egress")),
    columns=Columns(("NAME", "POD-SELECTOR", "AGE"), (), _cells),
    describe=_describe,
)

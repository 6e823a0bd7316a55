"""The table of each node that has pods which are isolated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from emulab.kinds.core.serviceview import Service, ingress_ips
from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.networking.policyview import DIRECTIONS, EGRESS, INGRESS, NetworkPolicy
from emulab.kinds.registry import NETWORK_POLICY, SERVICE
from emulab.model.addresses import IPAddress, parse_address
from emulab.model.families import Family, of_family
from emulab.model.objects import Object
from emulab.plan.cni.plugin import Node
from emulab.plan.draft import Draft
from emulab.plan.kept import PlanSource
from emulab.plan.policies.compiled import PORT, CompiledPolicies, compiled
from emulab.plan.policies.facts import PolicyScene, is_any
from emulab.plan.state import Collection, Ruleset

TABLE = "network-policies"
_HOOK = "{{ type filter hook {} priority 0 ; policy accept ; }}"
_KNOWN = "ct state established,related accept"
_FIELD = {INGRESS: "daddr", EGRESS: "saddr"}
_SERVICES = "services"


def plan_policies(draft: Draft, source: PlanSource, cluster: Cluster, nodes: Sequence[Node]) -> None:
    """The tables of all nodes. Without policies there are none, and nothing of Pods is looked at."""
    if cluster.chain or not is_any(source):
        return
    policies = [NetworkPolicy.of(o) for o in source.members(NETWORK_POLICY).values()]
    scene = PolicyScene.of(source)
    services = source.facts(SERVICE, _virtual) if cluster.proxy_mode == "ipvs" else {}
    virtual = [address for found in services.values() for address in found]
    for family in cluster.families:
        made = compiled(policies, scene, family)
        known = [str(a) for a in of_family(virtual, family)] if services else None
        for node in nodes:
            if table := node_table(made, node.name, family, known):
                draft.rules(node.name, table)


def _virtual(service: Object) -> tuple[IPAddress, ...]:
    """The addresses of a Service that a node has for IPVS."""
    view = Service.of(service)
    return (*view.cluster_ips, *view.external_ips, *map(parse_address, ingress_ips(service, proxied=False)))


def node_table(
    made: CompiledPolicies, node: str, family: Family, services: Sequence[str] | None
) -> Ruleset | None:
    """A node's table; None where it has no pod that is isolated. `services`: where IPVS is what they are served by."""
    leads = {direction: _leads(made, direction, node, family) for direction in DIRECTIONS}
    if not any(leads.values()):
        return None
    ip = family.nft
    judge = {direction: f"{ip} {_FIELD[direction]} vmap @{direction}" for direction in DIRECTIONS}
    both = (_KNOWN, f"{ip} saddr . {ip} daddr @self accept", judge[EGRESS], judge[INGRESS])
    used = {verdict.removeprefix("jump ") for lead in leads.values() for verdict in lead.values()}
    chains: dict[str, tuple[str, ...]] = {name: made.chains[name] for name in sorted(used)}
    collections = {
        direction: Collection("map", f"typeof {ip} {_FIELD[direction]} : verdict ;", leads[direction])
        for direction in DIRECTIONS
    }
    own = {address for lead in leads.values() for address in lead}
    collections["self"] = Collection(
        "set", f"typeof {ip} saddr . {ip} daddr ;", {f"{a} . {a}": "" for a in sorted(own)}
    )
    said = " ".join(rule for chain in chains.values() for rule in chain)
    for name, addresses in made.peers.items():
        if f"@{name} " in said:
            collections[name] = Collection(
                "set", f"typeof {ip} saddr ;", dict.fromkeys(sorted(addresses), "")
            )
    for name, ports in made.ports.items():
        if f"@{name} " in said:
            declaration = f"typeof {ip} daddr . {PORT} ;"
            collections[name] = Collection("set", declaration, dict.fromkeys(sorted(ports), ""))
    passing: tuple[str, ...] = ()
    if services is not None:  # IPVS has yet to find an endpoint, and sends it on by way of `output`
        collections[_SERVICES] = Collection("set", f"typeof {ip} daddr ;", dict.fromkeys(services, ""))
        passing = (f"{ip} daddr @{_SERVICES} accept",)
    chains |= {
        "forward": (_HOOK.format("forward"), *both),
        "input": (_HOOK.format("input"), _KNOWN, *passing, judge[EGRESS]),
        "output": (_HOOK.format("output"), "fib saddr type local accept", *both),
    }
    return Ruleset(ip, TABLE, chains, collections)


def _leads(made: CompiledPolicies, direction: str, node: str, family: Family) -> Mapping[str, str]:
    return {
        str(address): f"jump {chain}"
        for pod, chain in made.leads[direction]
        if pod.node == node
        for address in of_family(pod.addresses, family)
    }

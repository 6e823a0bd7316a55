"""Services."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from emulab.errors import UserError
from emulab.kinds.checks import whole
from emulab.kinds.core import servicedefaults, servicefamilies, servicetext
from emulab.kinds.core.serviceschema import needs_health_check, service_spec, source_ranges_fit
from emulab.kinds.core.serviceupdate import updated
from emulab.kinds.definition import Definition
from emulab.kinds.following import kind_table, table
from emulab.kinds.registry import SERVICE
from emulab.kinds.selectable import field
from emulab.model.checks import dns_1035_label

if TYPE_CHECKING:
    from emulab.kinds.lookup import Lookup
    from emulab.model.findings import Finding
    from emulab.model.objects import Object
    from emulab.model.quantity import Quantity


def _created(new: Object) -> Object:
    """Raises UserError where the policy isn't that of what else is asked for."""
    if why := servicefamilies.policy_fits(new.spec):
        raise UserError(f"{new.position}: {new.key} spec.ipFamilyPolicy: {why}")
    return new


def _merge(old: Object, new: Object, spec: dict[str, Any]) -> dict[str, Any]:
    kept = old.spec.get("clusterIP")
    asked = spec.get("clusterIP") or next(iter(spec.get("clusterIPs") or ()), "")
    if spec.get("type") != "ExternalName" and kept:
        if asked and asked != kept:
            raise UserError(
                f"{new.position}: {new.key} spec.clusterIP: can't be changed; it is {kept};"
                " delete the Service first"
            )
        if kept == "None" and spec.get("type") in ("NodePort", "LoadBalancer"):
            raise UserError(
                f"{new.position}: {new.key} spec.type: a headless Service stays headless and can't become a"
                f" {spec['type']}; delete the Service first"
            )
        if not asked:
            spec["clusterIP"] = kept
    field, why = servicefamilies.changed(old.spec, spec)
    if why:
        raise UserError(f"{new.position}: {new.key} spec.{field}: {why}")
    known = old.spec.get("loadBalancerClass")
    if old.spec.get("type") == spec.get("type") == "LoadBalancer" and known != spec.get("loadBalancerClass"):
        is_now = f"it is {known}" if known else "it has none"
        raise UserError(
            f"{new.position}: {new.key} spec.loadBalancerClass: may not change once set; {is_now}:"
            " change the type, or delete the Service first"
        )
    if spec.get("type") in ("NodePort", "LoadBalancer"):
        spec["ports"] = _node_ports(old.spec.get("ports") or (), spec.get("ports") or ())
    if needs_health_check(old.spec) and needs_health_check(spec):
        kept = old.spec.get("healthCheckNodePort")
        if spec.get("healthCheckNodePort") not in (None, 0, kept):
            raise UserError(f"{new.position}: {new.key} spec.healthCheckNodePort: is immutable; it is {kept}")
        spec["healthCheckNodePort"] = kept
    return spec


def _node_ports(old: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The new ports, those without a node port with the old one.

    kubectl finds it by number and protocol, and the API server what that doesn't find by the port's name
    (`patchAllocatedValues` in pkg/registry/core/service).
    """
    ports = [dict(port) for port in new]
    ways: tuple[Callable[[Mapping[str, Any]], object], ...] = (
        lambda p: (p["port"], p.get("protocol", "TCP")),
        lambda p: p.get("name", ""),
    )
    for same in ways:
        taken = {p.get("nodePort") for p in ports}
        known = {same(p): p["nodePort"] for p in old if p.get("nodePort") and p["nodePort"] not in taken}
        for port in ports:
            if not port.get("nodePort") and same(port) in known:
                port["nodePort"] = known[same(port)]
    return ports


def _outdated(old: Object, new: Object) -> tuple[str, ...]:
    kept = new.spec.get("type") == "LoadBalancer" and all(
        old.spec.get(field) == new.spec.get(field) for field in ("loadBalancerIP", "loadBalancerClass")
    )
    return () if kept else ("address", "addresses", "loadBalancer", "unhealthyBackends")


def _warnings(o: Object, world: Lookup) -> Iterable[Finding]:
    from emulab.kinds.core.serviceoddities import (
        oddities,  # here: who lists Services needs no typed view of them
    )

    return oddities(o, world)


def _uses(o: Object) -> Mapping[str, Quantity]:
    from emulab.kinds.core.resources import used_by_service  # exact arithmetic, which few need

    return used_by_service(o)


DEFINITION = Definition(
    check=whole(SERVICE, dns_1035_label, service_spec, rules=(source_ranges_fit,)),
    updated=updated,
    written=servicedefaults.written,
    created=_created,
    merge=_merge,
    outdated=_outdated,
    warnings=_warnings,
    fields=kind_table(
        spec=table(
            "allocateLoadBalancerNodePorts clusterIP clusterIPs externalIPs externalName externalTrafficPolicy"
            " healthCheckNodePort internalTrafficPolicy ipFamilies ipFamilyPolicy loadBalancerClass loadBalancerIP"
            " loadBalancerSourceRanges ports publishNotReadyAddresses selector sessionAffinity sessionAffinityConfig"
            " trafficDistribution type",
        )
    ),
    columns=servicetext.COLUMNS,
    uses=_uses,
    describe=servicetext.describe,
    selectable={"spec.clusterIP": field("spec.clusterIP"), "spec.type": field("spec.type", "ClusterIP")},
)

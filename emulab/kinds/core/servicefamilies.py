"""Which families of addresses a Service has: what it may say of them, what follows, and what may become of them.

The rules and the words are the API server's (`initIPFamilyFields` in pkg/registry/core/service/storage/alloc.go,
`ValidateServiceClusterIPsRelatedFields` in pkg/apis/core/validation; KEP-563).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from emulab.model.checks import Problems, show, wrong

SINGLE, PREFER, REQUIRE = "SingleStack", "PreferDualStack", "RequireDualStack"
POLICIES = (SINGLE, PREFER, REQUIRE)
_BOTH = ("IPv4", "IPv6")
_FIELDS = ("clusterIPs", "ipFamilies", "ipFamilyPolicy")


def family_name(address: str) -> str:
    """The family of an address that is one."""
    return "IPv6" if ":" in address else "IPv4"


def is_headless(spec: Mapping[str, Any]) -> bool:
    """Whether a Service asks for no address."""
    return "None" in (spec.get("clusterIP"), *(spec.get("clusterIPs") or ())[:1])


def asked_addresses(spec: Mapping[str, Any]) -> Sequence[str]:
    """The cluster IPs that a Service has or asks for, and not "None"."""
    given = spec.get("clusterIPs") or [spec.get("clusterIP") or ""]
    return [address for address in given if address and address != "None"]


def families_agree(spec: Mapping[str, Any]) -> Problems:
    """What a Service's fields can't say together, whatever the cluster."""
    if spec.get("type") == "ExternalName":
        return [
            problem
            for field in _FIELDS
            if spec.get(field)
            for problem in wrong("may not be set for ExternalName services", field)
        ]
    names, many = list(spec.get("ipFamilies") or ()), list(spec.get("clusterIPs") or ())
    found: list[Any] = []
    if len(set(names)) < len(names):
        found += wrong(f"{names[0]} is there twice", "ipFamilies", 1)
    if len(many) > 1 and "None" in many:
        found += wrong("'None' must be the first and only value", "clusterIPs")
    for index, (address, name) in enumerate(zip(asked_addresses(spec), names, strict=False)):
        if family_name(address) != name:
            path = ("clusterIPs", index) if many else ("clusterIP",)
            found += wrong(
                f"{show(address)}: expected an {name} value as indicated by `ipFamilies[{index}]`", *path
            )
    return found


def policy_fits(spec: Mapping[str, Any]) -> str:
    """Why the policy of a new Service isn't that of its addresses and families; "" where it is."""
    if spec.get("type") == "ExternalName" or policy_of(spec) != SINGLE:
        return ""
    for field, what in (("clusterIPs", "cluster IPs"), ("ipFamilies", "IP families")):
        if len(spec.get(field) or ()) == 2:
            return f"must be '{REQUIRE}' or '{PREFER}' when multiple {what} are specified"
    return ""


def policy_of(spec: Mapping[str, Any]) -> str:
    """The `ipFamilyPolicy`, given or by default."""
    if given := spec.get("ipFamilyPolicy"):
        return str(given)
    return REQUIRE if is_headless(spec) and not spec.get("selector") else SINGLE


def families_for(spec: Mapping[str, Any], cluster: Sequence[str]) -> list[str]:
    """The families of a Service: those asked for by name or address, else the cluster's first; a second one by policy.

    A headless one without a selector has what its endpoints have, whatever the cluster.
    """
    alone = is_headless(spec) and not spec.get("selector")
    names = list(spec.get("ipFamilies") or ())
    names += map(family_name, list(asked_addresses(spec))[len(names) :])
    if not alone:
        names = [name for name in names if name in cluster]
    names = names or [cluster[0]]
    if len(names) == 1 and policy_of(spec) != SINGLE:
        names += [name for name in (_BOTH if alone else cluster) if name not in names]
    return names


def changed(old: Mapping[str, Any], spec: dict[str, Any]) -> tuple[str, str]:
    """Brings the families of a changed Service's spec in line with what it had. The field that can't be so and why, or
    nothing.

    What isn't said stays. A policy of one family lets go of the second, one of both takes it on; neither touches
    the first, but in a headless Service.
    """
    if "ExternalName" in (spec.get("type"), old.get("type")) or is_headless(spec) != is_headless(old):
        return "", ""
    before, names = list(old.get("ipFamilies") or ()), list(spec.get("ipFamilies") or ())
    had, asked = list(old.get("clusterIPs") or ()), list(spec.get("clusterIPs") or ())
    if before and names and names[0] != before[0] and not is_headless(spec):
        return "ipFamilies[0]", f"{show(names[0])} may not change once set; it is {before[0]}"
    policy = spec.get("ipFamilyPolicy") or old.get("ipFamilyPolicy") or SINGLE
    if policy != SINGLE:
        for field, one, other, what in (
            ("clusterIPs", had, asked, "cluster IP"),
            ("ipFamilies", before, names, "IP family"),
        ):
            if len(one) == 2 and len(other) == 1:
                return (
                    "ipFamilyPolicy",
                    f"must be '{SINGLE}' to release the secondary {what} ({field} has one)",
                )
    else:
        if len(asked) == 2 and asked != had:
            return "ipFamilyPolicy", policy_fits({**spec, "ipFamilyPolicy": policy})
        if len(names) == 2 and names != before:
            return "ipFamilyPolicy", policy_fits({**spec, "clusterIPs": [], "ipFamilyPolicy": policy})
    if before or old.get("ipFamilyPolicy"):
        spec["ipFamilyPolicy"] = policy
    kept = names or before
    if policy != SINGLE and old.get("ipFamilyPolicy") != policy and len(kept) == 1:
        kept = []  # the policy's second one is added where addresses are given
    if policy == SINGLE:
        kept, had = kept[:1], had[:1]
    elif len(asked) == 2:
        had = asked
    spec.update({name: value for name, value in (("ipFamilies", kept), ("clusterIPs", had)) if value})
    if not kept:
        spec.pop("ipFamilies", None)
    if had:
        spec["clusterIP"] = had[0]
    return "", ""

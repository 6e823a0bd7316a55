"""A Service's families: what the API server takes, what it adds and what it lets become of them (KEP-563)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from emulab.cluster.admission.loader import load
from emulab.cluster.admission.merge import merge
from emulab.cluster.allocation import allocate
from emulab.cluster.store import Store
from emulab.errors import ManifestError, UserError
from emulab.kinds.emulab.clusterview import Cluster, cluster_of
from emulab.kinds.registry import SERVICE
from emulab.lab.offline import offline_world
from emulab.model.objects import Object
from emulab.model.sources import Source

PORTS: dict[str, Any] = {"ports": [{"port": 80}], "selector": {"app": "web"}}
FOUR, SIX, BOTH, SIX_FIRST = ("IPv4",), ("IPv6",), ("IPv4", "IPv6"), ("IPv6", "IPv4")
SINGLE, PREFER, REQUIRE = "SingleStack", "PreferDualStack", "RequireDualStack"


def manifest(spec: dict[str, Any], families: tuple[str, ...], **metadata: Any) -> list[Source]:
    cluster = {"network": {"families": list(families)}}
    given = [
        {"apiVersion": "emulab.dev/v1", "kind": "Cluster", "metadata": {"name": "c"}, "spec": cluster},
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", **metadata}, "spec": spec},
    ]
    return [Source(f"{number}.yaml", json.dumps(o)) for number, o in enumerate(given)]


def made(spec: dict[str, Any], families: tuple[str, ...], **metadata: Any) -> dict[str, Any]:
    """The spec of a Service that has come into a lab of these families."""
    objects, _ = offline_world(manifest({**PORTS, **spec}, families, **metadata))
    assert tuple(f.name for f in cluster_of(objects).families) == families
    return dict(next(o for o in objects.kind(SERVICE) if o.name == "web").spec)


def shape(spec: dict[str, Any]) -> tuple[str, list[str], list[str]]:
    """Policy, families, and the families of addresses."""
    of = ["None" if a == "None" else "IPv6" if ":" in a else "IPv4" for a in spec["clusterIPs"]]
    assert spec["clusterIP"] == spec["clusterIPs"][0]
    return spec["ipFamilyPolicy"], spec["ipFamilies"], of


@pytest.mark.parametrize(
    ("families", "given", "policy", "had"),
    [
        (FOUR, {}, SINGLE, FOUR),
        (SIX, {}, SINGLE, SIX),
        (BOTH, {}, SINGLE, FOUR),
        (SIX_FIRST, {}, SINGLE, SIX),
        (FOUR, {"ipFamilyPolicy": PREFER}, PREFER, FOUR),
        (BOTH, {"ipFamilyPolicy": PREFER}, PREFER, BOTH),
        (SIX_FIRST, {"ipFamilyPolicy": PREFER}, PREFER, SIX_FIRST),
        (BOTH, {"ipFamilyPolicy": REQUIRE, "ipFamilies": ["IPv6"]}, REQUIRE, SIX_FIRST),
        (BOTH, {"ipFamilyPolicy": PREFER, "ipFamilies": ["IPv6", "IPv4"]}, PREFER, SIX_FIRST),
        (BOTH, {"ipFamilies": ["IPv6"]}, SINGLE, SIX),
        (BOTH, {"clusterIP": "fd00:96::77"}, SINGLE, SIX),
        (BOTH, {"clusterIP": "fd00:96::77", "ipFamilyPolicy": PREFER}, PREFER, SIX_FIRST),
        (BOTH, {"clusterIPs": ["10.96.0.77", "fd00:96::77"], "ipFamilyPolicy": REQUIRE}, REQUIRE, BOTH),
    ],
)
def test_what_a_new_service_has(
    families: tuple[str, ...], given: dict[str, Any], policy: str, had: tuple[str, ...]
) -> None:
    assert shape(made(given, families)) == (policy, list(had), list(had))


@pytest.mark.parametrize(
    ("families", "given", "policy", "had"),
    [
        (FOUR, PORTS, SINGLE, FOUR),
        (BOTH, {**PORTS, "ipFamilyPolicy": PREFER}, PREFER, BOTH),
        (SIX, {"selector": None}, REQUIRE, SIX_FIRST),  # whatever the cluster: endpoints are written by hand
        (FOUR, {"selector": None, "ipFamilyPolicy": SINGLE}, SINGLE, FOUR),
        (FOUR, {"selector": None, "ipFamilies": ["IPv6"]}, REQUIRE, SIX_FIRST),
    ],
)
def test_what_a_new_headless_service_has(
    families: tuple[str, ...], given: dict[str, Any], policy: str, had: tuple[str, ...]
) -> None:
    assert shape(made({"clusterIP": "None", **given}, families)) == (policy, list(had), ["None"])


def test_an_external_name_has_none() -> None:
    spec = made({"type": "ExternalName", "externalName": "db.example.com"}, BOTH)
    assert not spec.keys() & {"ipFamilies", "ipFamilyPolicy", "clusterIP", "clusterIPs"}


@pytest.mark.parametrize(
    ("families", "given", "problem"),
    [
        (FOUR, {"ipFamilies": ["IPv6"]}, "spec.ipFamilies[0]: IPv6 is not configured on this cluster"),
        (
            SIX,
            {"ipFamilyPolicy": REQUIRE},
            "spec.ipFamilyPolicy: this cluster is not configured for dual-stack services",
        ),
        (
            BOTH,
            {"clusterIP": "10.96.0.77", "ipFamilies": ["IPv6"]},
            'spec.clusterIP: "10.96.0.77": expected an IPv6 value as indicated by `ipFamilies[0]`',
        ),
        (
            BOTH,
            {"clusterIPs": ["10.96.0.77", "fd00:96::77"], "ipFamilies": ["IPv6", "IPv4"]},
            'spec.clusterIPs[0]: "10.96.0.77": expected an IPv6 value as indicated by `ipFamilies[0]`',
        ),
        (
            BOTH,
            {"clusterIP": "fd00:95::7"},
            "spec.clusterIP: fd00:95::7 is not an address in serviceCIDR 10.96.0.0/12,fd00:96::/112",
        ),
        (BOTH, {"ipFamilies": ["IPv6", "IPv6"]}, "spec.ipFamilies[1]: IPv6 is there twice"),
        (
            BOTH,
            {"clusterIPs": ["None", "fd00:96::77"]},
            "spec.clusterIPs: 'None' must be the first and only value",
        ),
        (
            BOTH,
            {"type": "ExternalName", "externalName": "a.test", "ipFamilies": ["IPv4"]},
            "spec.ipFamilies: may not be set for ExternalName services",
        ),
    ],
)
def test_what_no_service_has(families: tuple[str, ...], given: dict[str, Any], problem: str) -> None:
    with pytest.raises(ManifestError) as refused:
        load(manifest({**PORTS, **given}, families), Cluster())
    assert problem in str(refused.value)


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"ipFamilies": ["IPv4", "IPv6"]}, "IP families"),
        ({"clusterIPs": ["10.96.0.77", "fd00:96::77"]}, "cluster IPs"),
    ],
)
def test_two_of_a_policy_of_one(given: dict[str, Any], what: str) -> None:
    words = rf"spec\.ipFamilyPolicy: must be 'RequireDualStack' or 'PreferDualStack' when multiple {what} are"
    with pytest.raises(UserError, match=words):
        made(given, BOTH)


CLUSTER = {"network": {"families": list(BOTH)}}
DUAL = Cluster.of(Object({"kind": "Cluster", "metadata": {"name": "c"}, "spec": CLUSTER}))


def changed(*specs: dict[str, Any]) -> list[dict[str, Any]]:
    """A Service of a lab of both families, after each of the manifests that it is written with."""
    store, found = Store(), []
    for spec in specs:
        (_, source) = manifest({**PORTS, **spec}, BOTH)
        (new,) = load([source], DUAL).objects
        store.put(merge(store.get(new.key), new))
        store.apply(allocate(store.objects(), DUAL))
        o = store.get(new.key)
        assert o is not None
        found.append(dict(o.spec))
    return found


PREFERRED, REQUIRED = {"ipFamilyPolicy": PREFER}, {"ipFamilyPolicy": REQUIRE}


@pytest.mark.parametrize("after", [PREFERRED, REQUIRED, {**REQUIRED, "ipFamilies": ["IPv4", "IPv6"]}])
def test_a_service_takes_on_a_second_family_and_lets_it_go(after: dict[str, Any]) -> None:
    one, two, same, again = changed({}, after, {}, {"ipFamilyPolicy": SINGLE})
    assert shape(two) == (after["ipFamilyPolicy"], list(BOTH), list(BOTH))
    assert two["clusterIPs"][0] == one["clusterIP"], "the first one stays"
    assert same == two, "a manifest that doesn't say it leaves it"
    assert again == one


def test_a_second_address_may_be_asked_for_later() -> None:
    one, _ = changed({}, {})
    asked = {**PREFERRED, "clusterIPs": [one["clusterIP"], "fd00:96::77"]}
    assert changed({}, asked)[-1]["clusterIPs"] == [one["clusterIP"], "fd00:96::77"]


def test_what_was_given_may_be_said_again() -> None:
    first, second = changed(PREFERRED, PREFERRED)
    assert changed(PREFERRED, {**first, "ports": PORTS["ports"]})[-1] == second == first
    single = {**first, "ipFamilyPolicy": SINGLE}
    assert shape(changed(PREFERRED, single)[-1]) == (SINGLE, ["IPv4"], ["IPv4"])


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        ({}, {"ipFamilies": ["IPv6"]}, r'ipFamilies\[0\]: "IPv6" may not change once set; it is IPv4'),
        (PREFERRED, {**PREFERRED, "ipFamilies": ["IPv6", "IPv4"]}, "may not change once set; it is IPv4"),
        (
            PREFERRED,
            {**PREFERRED, "ipFamilies": ["IPv4"]},
            "ipFamilyPolicy: must be 'SingleStack' to release the secondary IP family",
        ),
        (
            REQUIRED,
            {"ipFamilies": ["IPv4"]},
            "ipFamilyPolicy: must be 'SingleStack' to release the secondary IP family",
        ),
        ({}, {"ipFamilies": ["IPv4", "IPv6"]}, "when multiple IP families are specified"),
    ],
)
def test_what_can_not_become_of_a_service(
    before: dict[str, Any], after: dict[str, Any], problem: str
) -> None:
    with pytest.raises(UserError, match=problem):
        changed(before, after)


def test_a_headless_service_may_change_its_families() -> None:
    none = {"clusterIP": "None"}
    single = {"ipFamilyPolicy": SINGLE, "ipFamilies": ["IPv6"]}
    specs = changed({**none, **PREFERRED}, {**none, **single}, {**none, "ipFamilies": ["IPv4"]})
    assert [spec["ipFamilies"] for spec in specs] == [["IPv4", "IPv6"], ["IPv6"], ["IPv4"]]


def test_a_saved_service_of_another_clusters_families_gets_those_of_this_one() -> None:
    saved = {
        **PORTS,
        "clusterIP": "10.43.0.7",
        "clusterIPs": ["10.43.0.7"],
        "ipFamilies": ["IPv4"],
        "ipFamilyPolicy": SINGLE,
    }
    assert shape(made(saved, SIX, uid="1", resourceVersion="2")) == (SINGLE, ["IPv6"], ["IPv6"])


def balanced(*specs: dict[str, Any]) -> list[list[str]]:
    """The public addresses of a Service of type LoadBalancer after each manifest."""
    store, found = Store(), []
    for spec in specs:
        (_, source) = manifest({**PORTS, "type": "LoadBalancer", **spec}, BOTH)
        (new,) = load([source], DUAL).objects
        old = store.get(new.key)
        merged = merge(old, new)
        store.put(merged)
        store.put_status(new.key, merged.status)
        for _ in range(2):  # its balancer is told of families in the pass after theirs
            store.apply(allocate(store.objects(), DUAL))
        o = store.get(new.key)
        assert o is not None
        found.append([entry["ip"] for entry in o.status["loadBalancer"]["ingress"]])
    return found


def test_a_balancer_follows_its_services_families() -> None:
    one, two, again = balanced({}, PREFERRED, {"ipFamilyPolicy": SINGLE})
    assert one == again == ["203.0.113.20"] and two == ["203.0.113.20", "2001:db8:2::14"]
    assert balanced({"ipFamilies": ["IPv6"]}) == [["2001:db8:2::14"]]
    assert balanced({**PREFERRED, "ipFamilies": ["IPv6"]}) == [["2001:db8:2::14", "203.0.113.20"]]

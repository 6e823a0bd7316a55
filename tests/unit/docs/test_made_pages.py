"""What is made of docs/ is current, and says of emulab's own kinds what their schemas say."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

from emulab.cli import VERBS
from emulab.cli.document import documented, with_faults, with_options, with_tables
from emulab.kinds.emulab.client import Client, client_spec
from emulab.kinds.emulab.cluster import cluster_spec
from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.emulab.conntrack import TIMEOUTS, seconds
from emulab.kinds.emulab.described import FIELDS
from emulab.kinds.emulab.document import own_kinds
from emulab.kinds.emulab.fault import fault_spec
from emulab.kinds.emulab.loadbalancer import load_balancer_spec
from emulab.kinds.emulab.loadbalancerview import LoadBalancer
from emulab.kinds.emulab.resolver import resolver_spec
from emulab.kinds.emulab.zone import Record, Zone, zone_spec
from emulab.kinds.faults.table import FAULTS
from emulab.kinds.registry import KINDS
from emulab.model.checks import Check
from emulab.model.objects import Object

DOCS = Path(__file__).resolve().parents[3] / "docs"
SPECS = {
    "Cluster": cluster_spec,
    "LoadBalancer": load_balancer_spec,
    "Client": client_spec,
    "Resolver": resolver_spec,
    "Zone": zone_spec,
    "Fault": fault_spec,
}


def test_the_reference_of_emulabs_kinds_is_current() -> None:
    assert (DOCS / "kinds.md").read_text() == own_kinds(), "run scripts/document"


def test_the_tables_of_the_ingress_are_current() -> None:
    page = (DOCS / "ingress.md").read_text()
    assert page == with_tables(page), "run scripts/document"
    assert page.count("| `whitelist-source-range`") == 2, "an annotation, and a key"
    assert "| `rewrite-target` |" in page


def test_the_library_of_faults_is_current() -> None:
    page = (DOCS / "faults.md").read_text()
    assert page == with_faults(page), "run scripts/document"
    assert all(f"| `{name}` |" in page for name in FAULTS)


def test_the_options_are_current() -> None:
    page = (DOCS / "cli.md").read_text()
    assert page == with_options(page), "run scripts/document"
    assert documented(page) == list(VERBS), "docs/cli.md has the verbs in the order of --help"


def test_every_kind_of_emulabs_own_is_described() -> None:
    own = {kind.kind for kind in KINDS if kind.group == "emulab.dev"}
    assert own == SPECS.keys()
    assert own <= {name.removeprefix("emulab.v1.") for name in FIELDS}


def schema(check: Check, above: str = "") -> Iterator[str]:
    """The paths of all fields of a schema, from what `mapping`, `sequence` and checks of both hold."""
    if not inspect.isfunction(check):
        return
    variables = inspect.getclosurevars(check)
    held = variables.nonlocals
    if isinstance(held.get("fields"), dict):
        for name, inner in held["fields"].items():
            yield f"{above}.{name}"
            yield from schema(inner, f"{above}.{name}")
    elif "item" in held:
        yield from schema(held["item"], f"{above}[]")
    else:
        named = [
            value
            for value in variables.globals.values()
            if hasattr(value, "__closure__") and value.__closure__
        ]
        for other in (*held.values(), *named):
            yield from schema(other, above)


def described(definition: str, above: str = "") -> Iterator[str]:
    for name, own in FIELDS[definition].items():
        yield f"{above}.{name}"
        inner = own.type.strip("[]")
        if inner in FIELDS:
            yield from described(inner, f"{above}.{name}{'[]' if own.type.startswith('[') else ''}")


@pytest.mark.parametrize("kind", SPECS)
def test_the_descriptions_have_the_fields_of_the_schema(kind: str) -> None:
    assert sorted(described(f"emulab.v1.{kind}Spec")) == sorted(set(schema(SPECS[kind])))


def default(path: str) -> str:
    definition, _, name = path.partition(":")
    return FIELDS[f"emulab.v1.{definition}"][name].default


def test_the_defaults_are_those_that_hold() -> None:
    cluster = Cluster()
    held = {
        "ClusterSpec:nodes": len(cluster.nodes),
        "ClusterSpec:podCIDR": cluster.pod_cidrs[0],
        "ClusterSpec:serviceCIDR": cluster.service_cidrs[0],
        "ClusterSpec:clusterDomain": cluster.cluster_domain,
        "ClusterNetwork:mode": cluster.network_mode,
        "ClusterNetwork:mtu": cluster.mtu,
        "ClusterNetwork:underlay": cluster.vpcs[0],
        "ClusterProxy:mode": cluster.proxy_mode,
        "ClusterProxy:scheduler": cluster.scheduler,
        "ClusterProxy:strictARP": str(cluster.strict_arp).lower(),
        "ClusterContainers:program": cluster.programs,
        "ClusterIngress:replicas": cluster.ingress_replicas,
        "ClusterIngress:upstream": cluster.ingress_upstream,
    }
    assert {path: default(path) for path in held} == {path: str(value) for path, value in held.items()}
    for name, timeout in TIMEOUTS.items():
        assert seconds(default(f"ClusterConntrack:{name}").split(",")[0]) == timeout.seconds
    empty = Object({"apiVersion": "emulab.dev/v1", "kind": "LoadBalancer", "metadata": {"name": "x"}})
    balancer = LoadBalancer.of(empty)
    assert (default("LoadBalancerSpec:network"), balancer.target.ingress) == (balancer.network, True)
    assert default("LoadBalancerSpec:ports") == str(list(balancer.ports))
    assert default("ClientSpec:network") == Client.of(empty).network
    assert default("ZoneSpec:visibility") == Zone.of(empty).visibility
    record = Record.of({"type": "A", "value": "203.0.113.9"})
    assert (default("ZoneRecord:name"), default("ZoneRecord:ttl")) == (record.name, str(record.ttl))

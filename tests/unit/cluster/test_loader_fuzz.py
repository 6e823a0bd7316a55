"""Whatever comes in, what comes out is objects whose views work, or an EmulabError of short lines."""

from __future__ import annotations

import json
from typing import Any

from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from manifest_texts import BACKEND, POD, SERVICE, WORKLOAD, described, patched

from emulab.cluster.admission.loader import load
from emulab.errors import EmulabError
from emulab.kinds.apps.workloadview import Workload
from emulab.kinds.core.podspec import PodSpec
from emulab.kinds.core.secret import tls_pair
from emulab.kinds.core.serviceview import Service
from emulab.kinds.discovery.endpointsliceview import EndpointSlice
from emulab.kinds.emulab.client import Client
from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.emulab.loadbalancerview import LoadBalancer
from emulab.kinds.emulab.zone import Zone
from emulab.kinds.networking.ingressview import Ingress
from emulab.model.sources import Source
from emulab.model.yaml_nodes import MalformedYaml, PythonParser, documents

VIEWS: dict[str, Any] = {
    "Service": Service.of,
    "EndpointSlice": EndpointSlice.of,
    "Ingress": Ingress.of,
    "Secret": tls_pair,
    "Cluster": Cluster.of,
    "LoadBalancer": LoadBalancer.of,
    "Client": Client.of,
    "Zone": Zone.of,
    "Pod": lambda o: PodSpec.of(o.spec),
    **dict.fromkeys(("Deployment", "ReplicaSet", "StatefulSet", "DaemonSet"), Workload.of),
}

RECORD = {"name": "a", "type": "A", "value": "10.0.0.1", "ttl": 5}
ENDPOINTS = [{"addresses": ["10.0.0.1"], "conditions": {"ready": True}, "targetRef": {"kind": "Pod"}}]
PROBE = {"httpGet": {"path": "/", "port": 80}, "periodSeconds": 1}
BUSY = {
    "name": "web",
    "command": ["a"],
    "env": [{"name": "A", "value": "b"}],
    "ports": [{"containerPort": 80}],
}
RULES = [{"host": "a.b", "http": {"paths": [{"path": "/", "pathType": "Exact", "backend": BACKEND}]}}]
SOUND: list[dict[str, Any]] = [
    described("Service", {**SERVICE, "clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"]}),
    described("EndpointSlice", addressType="IPv4", endpoints=ENDPOINTS, ports=[{"name": "a", "port": 1}]),
    described("Ingress", {"rules": RULES, "tls": [{"hosts": ["a.b"], "secretName": "s"}]}),
    described("Secret", data={"tls.crt": "YQ==", "tls.key": "YQ=="}, type="kubernetes.io/tls"),
    described("Cluster", {"nodes": [{"name": "a"}], "podCIDR": "10.2.0.0/16", "network": {"mtu": 1500}}),
    described("LoadBalancer", {"address": "10.0.0.9", "ports": [80], "target": {"ingress": True}}),
    described("Client", {"network": "vpc"}),
    described("Zone", {"records": [RECORD]}),
    described("Pod", patched(POD, "containers.0", {**BUSY, "readinessProbe": PROBE})),
    described("Deployment", {**WORKLOAD, "strategy": {"rollingUpdate": {"maxSurge": 1}}}),
    described("StatefulSet", {**WORKLOAD, "replicas": 1}),
]

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["None", "80", "10.0.0.1", "10.0.0.0/8", "fd00::1", "fe80::1%eth0", "*.a", ""]),
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def attempt(text: str) -> None:
    """Load the text; where it is refused, only as it should be."""
    try:
        loaded = load([Source("f.yaml", text)])
    except EmulabError as error:
        for line in str(error).split("\n"):
            assert line.startswith(("f.yaml:", "… and "))
            assert line.isprintable()
    else:
        for o in loaded.objects:
            VIEWS.get(o.kind, str)(o)
            json.dumps(o.raw, allow_nan=False)


def paths(value: Any, prefix: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every path inside a value."""
    items: Any = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    return [path for key, inner in items for path in ((*prefix, key), *paths(inner, (*prefix, key)))]


def test_the_sound_ones_are_sound() -> None:
    for raw in SOUND:
        assert load([Source("f.yaml", json.dumps(raw))]).objects


@given(st.text(st.characters(codec="utf-8")))
def test_any_text(text: str) -> None:
    attempt(text)


@given(st.text(st.sampled_from(list("ab:-[]{},&*!|>'\"%#? \n\t<~1"))))
def test_any_text_that_looks_like_yaml(text: str) -> None:
    attempt(text)


@given(st.text(st.sampled_from(list("ab:-[]{},&*!|>'\"%#? \n\t<~1"))))
def test_any_text_without_libyaml(text: str) -> None:
    try:
        list(documents(text, PythonParser))
    except MalformedYaml as error:
        assert 1 <= error.line <= text.count("\n") + 1


@given(st.binary())
def test_any_bytes(data: bytes) -> None:
    try:
        source = Source.of_bytes("f.yaml", data)
    except EmulabError as error:
        assert str(error).startswith("f.yaml:")
    else:
        attempt(source.text)


@given(values)
def test_any_data(value: Any) -> None:
    attempt(json.dumps(value))


@examples(300)
@given(st.data())
def test_sound_objects_with_one_thing_changed(data: st.DataObject) -> None:
    raw = json.loads(json.dumps(data.draw(st.sampled_from(SOUND))))
    path = data.draw(st.sampled_from(paths(raw)))
    inner = raw
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = data.draw(values)
    attempt(json.dumps(raw))

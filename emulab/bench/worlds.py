"""The labs that are measured: two nodes, what asks and what answers on them, and every way from one to the other. Pure.

Names begin with `bench-`. A manifest of the user's may change each of these objects: it is merged over the one of its
kind and name (RFC 7396), and what has another name is added.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from emulab.bench.agents import answerer
from emulab.errors import UserError
from emulab.model.mergepatch import merge_patched

RawManifest = Mapping[str, Any]

PORT, NODE_PORT = 8080, 30080
HOST = "bench.test"
FROM, NEAR, FAR = "bench-from", "bench-near", "bench-far"
SPREAD = "bench-spread"  # a Service of both endpoints
PROXY_LB, NAT_LB = "bench-proxy", "bench-nat"
EXCLUDED = "node.kubernetes.io/exclude-from-external-load-balancers"
CLUSTER = ("emulab.dev/v1", "Cluster")


def nodes(given: Any) -> list[dict[str, Any]]:
    """A Cluster's `nodes` as a list. Raises UserError when there are less than two."""
    listed = [{"name": f"node{i + 1}"} for i in range(given)] if isinstance(given, int) else list(given)
    if len(listed) < 2:
        raise UserError(
            "spec.nodes: a benchmark needs two nodes at least, as it measures the way between them"
        )
    return listed


def world(
    given: Iterable[RawManifest] = (),
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    one_way: bool = False,
    slow: int = 0,
) -> str:
    """A lab's manifests, as one text.

    `given`: the user's. `settings`: sections of the Cluster's spec that are to be so whatever is given. `one_way`:
    whether balancers send to the first node alone, so that each connection goes the same way. `slow`: µs that the
    answerer on the second node takes longer.
    """
    own = list(given)
    cluster: dict[str, Any] = {
        "apiVersion": CLUSTER[0],
        "kind": CLUSTER[1],
        "metadata": {"name": "bench"},
        "spec": {},
    }
    for one in own:
        if (one.get("apiVersion"), one.get("kind")) == CLUSTER:
            cluster = merge_patched(cluster, one)
    spec = dict(cluster.get("spec") or {})
    listed = nodes(spec.get("nodes", 2))
    if one_way:
        apart = {"labels": {EXCLUDED: "true"}}
        listed = [listed[0], *(merge_patched(node, apart) for node in listed[1:])]
    spec = merge_patched({**spec, "nodes": listed}, settings or {})
    items = [{**cluster, "spec": spec}, *_objects([node["name"] for node in listed], slow)]
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": _merged(items, own)})


def _merged(items: Sequence[dict[str, Any]], given: Iterable[RawManifest]) -> list[dict[str, Any]]:
    found = {_key(one): one for one in items}
    for one in given:
        if (one.get("apiVersion"), one.get("kind")) != CLUSTER:
            found[_key(one)] = merge_patched(found.get(_key(one)), one)
    return list(found.values())


def _key(one: RawManifest) -> tuple[str, str, str]:
    about = one.get("metadata") or {}
    return str(one.get("kind")), str(about.get("namespace") or "default"), str(about.get("name"))


def _objects(names: Sequence[str], slow: int) -> list[dict[str, Any]]:
    first, second = names[:2]
    return [
        _pod(FROM, first, ["sleep", "infinity"], False),
        _pod(NEAR, first, answerer(PORT), True),
        _pod(FAR, second, answerer(PORT, slow), True),
        _service(NEAR, {"app": NEAR}),
        _service(FAR, {"app": FAR}, NODE_PORT),
        _service(SPREAD, {"answers": "true"}),
        _balancer(PROXY_LB, "proxy"),
        _balancer(NAT_LB, "nat"),
        _ingress(),
    ]


def _pod(name: str, node: str, command: Sequence[str], answers: bool) -> dict[str, Any]:
    container: dict[str, Any] = {"name": "main", "image": "bench/program:1", "command": list(command)}
    labels = {"app": name}
    if answers:
        container["ports"] = [{"containerPort": PORT}]
        container["readinessProbe"] = {"tcpSocket": {"port": PORT}, "periodSeconds": 1}
        labels["answers"] = "true"
    spec = {"nodeName": node, "terminationGracePeriodSeconds": 0, "containers": [container]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}, "spec": spec}


def _service(name: str, selector: Mapping[str, str], node_port: int = 0) -> dict[str, Any]:
    port: dict[str, Any] = {"port": 80, "targetPort": PORT}
    spec: dict[str, Any] = {"selector": dict(selector), "ports": [port]}
    if node_port:
        port["nodePort"], spec["type"] = node_port, "NodePort"
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


def _balancer(name: str, mode: str) -> dict[str, Any]:
    target = {"service": {"namespace": "default", "name": FAR, "port": 80}}
    # Where health checks are late on a busy machine, all backends are used: nothing is lost by that here.
    spec = {"network": "internet", "ports": [80], "mode": mode, "target": target, "failOpen": True}
    return {"apiVersion": CLUSTER[0], "kind": "LoadBalancer", "metadata": {"name": name}, "spec": spec}


def _ingress() -> dict[str, Any]:
    backend = {"service": {"name": FAR, "port": {"number": 80}}}
    rule = {"host": HOST, "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}
    spec = {"rules": [rule]}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": "bench"},
        "spec": spec,
    }

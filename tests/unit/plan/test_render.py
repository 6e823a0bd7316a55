"""`emulab plan`: the same manifests give the same text, in which everything stands at its place."""

from __future__ import annotations

import json
import re

import pytest

from emulab.errors import ManifestError
from emulab.lab.offline import offline_world
from emulab.model.sources import Source
from emulab.plan.render import data, render
from emulab.plan.state import Collection, Network, Ruleset, World

SHOP = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: web, ports: [{containerPort: 8080}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, clusterIP: 10.96.7.7, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web}
spec:
  rules:
    - host: web.example.com
      http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}
---
apiVersion: v1
kind: Pod
metadata: {name: alone}
spec: {containers: [{name: c, image: c}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  replicas: 3
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec: {containers: [{name: db, image: db}]}
"""


def plan(text: str = SHOP) -> World:
    return offline_world([Source("shop.yaml", text)])[1]


def test_the_same_manifests_give_the_same_text() -> None:
    assert render(plan()) == render(plan())
    assert json.dumps(data(plan())) == json.dumps(data(plan()))


def test_nothing_in_it_tells_of_a_uid() -> None:
    assert "~" not in render(plan())
    assert "~" not in json.dumps(data(plan()))


def test_every_paragraph_stands_in_order() -> None:
    paragraphs = [p.splitlines()[0].split()[:2] for p in render(plan()).split("\n\n")]
    for kind in ("namespace", "server"):
        names = [name for what, name in paragraphs if what == kind]
        assert names == sorted(names)
    assert {"client", "dns", "node1", "router", "default.alone"} <= {name for _, name in paragraphs}


def test_all_pods_have_become_ready() -> None:
    names = {p.name for p in plan().places.values() if p.kind == "pod"}
    assert {"default.db-0", "default.db-1", "default.db-2", "default.alone"} <= names


def test_the_service_has_its_endpoints() -> None:
    text = render(plan())
    assert re.search(
        r"set cluster-tcp-2 typeof ip daddr . tcp dport ;\n(      .*\n)*      10.96.7.7 . 80\n", text
    )
    assert text.count("10.96.7.7 . 80 . 0 : 10.244.") == 1  # the second node's table is a reference
    assert "table ip kube-proxy: the same as in node1" in text


def test_the_ingress_is_in_public_dns() -> None:
    assert "web.example.com.  A  203.0.113.10" in render(plan())


def test_what_is_there_without_being_asked_for() -> None:
    _, world = offline_world([])
    assert {"client", "resolver", "dns", "router", "public-lb", "node1", "node2"} <= set(world.places)
    assert data(world)["servers"]["public-lb"]["kind"] == "l4"


def test_wrong_manifests_are_refused() -> None:
    with pytest.raises(ManifestError):
        plan("kind: Nonsense")


def test_a_ruleset_in_full() -> None:
    rules = Ruleset(
        "ip",
        "t",
        {"a": ("{ type filter hook input priority 0 ; }", "jump b"), "b": ("", "drop")},
        {"m": Collection("map", "typeof ip daddr : verdict ;", {"10.0.0.2": "drop", "10.0.0.1": "accept"})},
    )
    network = Network(
        {name: plan().network.namespaces["client"] for name in ("x",)}, rulesets={("x", "ip t"): rules}
    )
    assert render(World(network, {}, {})).splitlines()[-9:] == [
        "  table ip t {",
        "    map m typeof ip daddr : verdict ;",
        "      10.0.0.1 : accept",
        "      10.0.0.2 : drop",
        "    chain a { type filter hook input priority 0 ; }",
        "      jump b",
        "    chain b",
        "      drop",
        "  }",
    ]

"""Requests to twins: as users write them, and as manifests suggest them."""

from __future__ import annotations

import pytest

from emulab.errors import UserError
from emulab.lab.offline import offline_world
from emulab.model.collection import Objects
from emulab.model.sources import Source
from emulab.observe.target import RequestTarget
from emulab.twins.asks import Ask, ask, missing_source
from emulab.twins.deriving import derive


@pytest.mark.parametrize(
    ("text", "source", "target"),
    [
        ("http://shop.example.com/", "client", RequestTarget("http", "shop.example.com", 80, "/")),
        ("client=http://shop.example.com/", "client", RequestTarget("http", "shop.example.com", 80, "/")),
        ("pod/asker=http://web/", "pod/asker", RequestTarget("http", "web", 80, "/")),
        ("deploy/web=10.96.0.10:80", "deploy/web", RequestTarget("tcp", "10.96.0.10", 80, "")),
        ("node1=10.96.0.10:53/udp", "node1", RequestTarget("udp", "10.96.0.10", 53, "")),
        ("app.web-0=https://x:8443/a=b", "app.web-0", RequestTarget("https", "x", 8443, "/a=b")),
        ("http://x/?a=b", "client", RequestTarget("http", "x", 80, "/?a=b")),
        ("x/y=z", "client", RequestTarget("http", "x", 80, "/y=z")),
    ],
)
def test_a_request_is_a_source_and_a_target(text: str, source: str, target: RequestTarget) -> None:
    found = ask(text, "app")
    assert (found.source, found.namespace, found.target) == (source, "app", target)


@pytest.mark.parametrize("text", ["", "=http://x/", "client=", "client=x:99999", "client=ftp://x/"])
def test_what_is_no_request(text: str) -> None:
    with pytest.raises(UserError):
        ask(text)


WORLD = """
apiVersion: emulab.dev/v1
kind: Cluster
metadata: {name: c}
spec: {nodes: 3}
---
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec: {nodeName: node1, containers: [{name: c, ports: [{containerPort: 8080}]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: asker}
spec: {nodeName: node2, containers: [{name: c}]}
---
apiVersion: v1
kind: Pod
metadata: {name: real, labels: {app: real}}
spec: {nodeName: node2, containers: [{name: c, command: [sleep, infinity]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: LoadBalancer
  clusterIP: 10.96.1.1
  loadBalancerIP: 203.0.113.50
  externalIPs: [192.0.2.1]
  selector: {app: web}
  ports:
    - {name: http, port: 80, targetPort: 8080, nodePort: 30080}
    - {name: echo, port: 81, protocol: UDP, nodePort: 30081}
---
apiVersion: v1
kind: Service
metadata: {name: real}
spec: {clusterIP: 10.96.1.2, selector: {app: real}, ports: [{port: 4444}]}
---
apiVersion: v1
kind: Service
metadata: {name: direct}
spec: {clusterIP: None, selector: {app: web}, ports: [{port: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: away}
spec: {type: ExternalName, externalName: example.com}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: i}
spec:
  tls: [{hosts: [safe.example.com]}]
  rules:
    - host: "*.example.com"
      http: {paths: [{path: /a, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}
    - host: safe.example.com
      http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}
    - http: {paths: [{path: /b, pathType: Exact, backend: {service: {name: web, port: {number: 80}}}}]}
"""


REGULAR = """
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: r, annotations: {nginx.ingress.kubernetes.io/use-regex: "true"}}
spec:
  rules:
    - host: r.test
      http: {paths: [{path: "/v[0-9]+(/|$)(.*)", pathType: ImplementationSpecific, backend: BACKEND}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: beside}
spec:
  rules:
    - host: r.test
      http: {paths: [{path: "/x+$", pathType: ImplementationSpecific, backend: BACKEND}]}
    - host: plain.test
      http: {paths: [{path: "/x+$", pathType: ImplementationSpecific, backend: BACKEND}]}
""".replace("BACKEND", "{service: {name: web, port: {number: 80}}}")


def test_expressions_are_asked_by_what_they_take() -> None:
    objects = offline_world([Source("world", f"{WORLD}---{REGULAR}")])[0]
    assert [one for one in asked(objects, "ingress") if "/x" in one or "/v" in one] == [
        "client=http://r.test/v0/a",
        "client=http://r.test/x",
        "client=http://plain.test/x+$",
    ]


@pytest.fixture(scope="module")
def objects() -> Objects:
    return offline_world([Source("world", WORLD)])[0]


def asked(objects: Objects, what: str) -> list[str]:
    return [str(a) for a in derive(objects) if a.what == what and "kube-dns" not in a.text]


def test_every_way_to_a_service_is_asked(objects: Objects) -> None:
    asks = {what: asked(objects, what) for what in {a.what for a in derive(objects)}}
    assert asks["cluster IP from a pod"] == [
        "pod/asker=http://web.default/",
        "pod/asker=web.default:81/udp",
        "pod/web=real.default:4444",
    ]
    assert asks["cluster IP from its endpoint"] == [
        "pod/web=http://web.default/",
        "pod/web=web.default:81/udp",
        "pod/real=real.default:4444",
    ]
    assert "node1=http://10.96.1.1/" in asks["cluster IP from a node"]
    assert asks["node port"] == [
        "client=http://10.0.0.11:30080/",
        "client=http://10.0.0.12:30080/",
        "client=10.0.0.11:30081/udp",
        "client=10.0.0.12:30081/udp",
    ]
    assert asks["balancer"] == ["client=http://203.0.113.50/", "client=203.0.113.50:81/udp"]
    assert asks["balancer from a pod"] == ["pod/asker=http://203.0.113.50/", "pod/asker=203.0.113.50:81/udp"]
    assert asks["external IP"] == ["pod/asker=http://192.0.2.1/", "pod/asker=192.0.2.1:81/udp"]
    assert asks["headless"] == ["pod/asker=http://direct.default:8080/"]


def test_every_path_of_an_ingress_is_asked(objects: Objects) -> None:
    assert asked(objects, "ingress") == [
        "client=https://www.example.com/a",
        "client=https://safe.example.com/",
        "client=http://203.0.113.10/b",
    ]


def test_what_nobody_serves_is_asked_too(objects: Objects) -> None:
    assert asked(objects, "unused port") == ["pod/asker=10.96.1.1:4444", "node1=10.96.1.1:4444"]
    assert asked(objects, "unused address") == ["pod/asker=10.111.255.254:80"]


def test_nothing_is_asked_twice_and_all_can_be(objects: Objects) -> None:
    asks = derive(objects)
    assert len({str(a) for a in asks}) == len(asks)
    assert not any(missing_source(a, objects) for a in asks)
    assert all(ask(str(a)) == a._replace(what="") for a in asks), "they can be given as they are shown"


@pytest.mark.parametrize(
    "source", ["client", "node3", "router", "public-lb", "pod/web", "default.web", "web"]
)
def test_sources_that_are_there(objects: Objects, source: str) -> None:
    assert missing_source(ask(f"{source}=x:80"), objects) == ""


@pytest.mark.parametrize("source", ["node4", "pod/nobody", "nobody", "default.nobody"])
def test_sources_that_are_not(objects: Objects, source: str) -> None:
    assert "there is no" in missing_source(ask(f"{source}=x:80"), objects)


def test_a_lab_without_services_is_asked_about_its_dns() -> None:
    objects, _ = offline_world([])
    asks: list[Ask] = derive(objects)
    assert {a.target.host for a in asks} == {"kube-dns.kube-system", "10.96.0.10", "10.111.255.254"}

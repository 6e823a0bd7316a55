"""A user's ingress-nginx in the place of the one that every lab has: who serves what, and where clients get in."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from tlspairs import pair, tls_secret
from worlds import plan

from emulab.cluster import brought
from emulab.cluster.admission.loader import load
from emulab.cluster.admission.merge import admit
from emulab.cluster.store import Store
from emulab.cluster.system import system_objects
from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.installed import KEPT_SETTINGS
from emulab.kinds.registry import CONFIG_MAP, DEPLOYMENT, INGRESS, INGRESS_CLASS, NAMESPACE, POD, SERVICE
from emulab.lab.offline import oddities, thought_of
from emulab.model.collection import Objects
from emulab.model.objects import Object, Position
from emulab.model.sources import Source
from emulab.plan.kept import PlanSource
from emulab.plan.l7.unstreamed import unstreamed
from emulab.plan.publishing import published_names
from emulab.plan.state import World
from emulab.servers.l4.config import L4Config
from emulab.servers.l7.config import L7Config

CLASS = """
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: NAME, annotations: {ingressclass.kubernetes.io/is-default-class: "DEFAULT"}}
spec: {controller: CONTROLLER}
---"""
APP = """
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec: {containers: [{name: web, image: web, ports: [{containerPort: 8080}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---"""


def ingress_class(name: str, controller: str = "k8s.io/ingress-nginx", default: bool = False) -> str:
    text = CLASS.replace("NAME", name).replace("CONTROLLER", controller)
    return text.replace("DEFAULT", str(default).lower())


def ingress(name: str, namespace: str = "default", annotations: Any = (), **spec: Any) -> str:
    backend = {"service": {"name": "web", "port": {"number": 80}}}
    rules = [
        {"host": f"{name}.test", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}
    ]
    metadata = {"name": name, "namespace": namespace, "annotations": dict(annotations)}
    spec = {"rules": rules, **spec}
    return document(apiVersion="networking.k8s.io/v1", kind="Ingress", metadata=metadata, spec=spec)


def document(**fields: Any) -> str:
    return "\n" + json.dumps(fields) + "\n---"


def controller(
    *flags: str,
    name: str = "own",
    namespace: str = "default",
    kind: str = "Deployment",
    ports: Any = (("http", 80), ("https", 443)),
    **spec: Any,
) -> str:
    """A workload in the shape of ingress-nginx' static deploys."""
    own = {"fieldRef": {"fieldPath": "metadata.namespace"}}
    container = {
        "name": "controller",
        "image": "registry.k8s.io/ingress-nginx/controller:v1.15.1@sha256:594ceea7",
        "args": ["/nginx-ingress-controller", *flags],
        "env": [{"name": "POD_NAMESPACE", "valueFrom": own}],
        "ports": [{"name": n, "containerPort": p, **dict(*more)} for n, p, *more in ports],
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": 10254}},
    }
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container], **spec}}
    body = {"selector": {"matchLabels": {"app": name}}, "template": template}
    metadata = {"name": name, "namespace": namespace}
    return document(apiVersion="apps/v1", kind=kind, metadata=metadata, spec=body)


def front(type: str = "LoadBalancer", name: str = "own", namespace: str = "default", **spec: Any) -> str:
    ports = [{"name": n, "port": p, "targetPort": n} for n, p in (("http", 80), ("https", 443))]
    body = {"type": type, "selector": {"app": name}, "ports": ports, **spec}
    metadata = {"name": name, "namespace": namespace}
    return document(apiVersion="v1", kind="Service", metadata=metadata, spec=body)


def configs(world: World) -> dict[str, L7Config]:
    """The configuration of each ingress by the name of its workload, without the pages of its own."""
    found = {
        name: replace(s.config, routes=tuple(route for route in s.config.routes if route.origin))
        for name, s in world.servers.items()
        if isinstance(s.config, L7Config)
    }
    return {name.partition(".")[2].partition("-")[0]: config for name, config in found.items()}


def hosts(config: L7Config) -> list[str]:
    return [route.match.host for route in config.routes]


def shown(objects: Objects) -> dict[str, list[str]]:
    """The addresses that Ingresses show."""
    return {
        o.name: [
            e.get("ip") or e["hostname"] for e in (o.status.get("loadBalancer") or {}).get("ingress") or ()
        ]
        for o in objects.kind(INGRESS)
    }


def names(objects: Objects) -> dict[str, set[str]]:
    """The addresses that the hosts of Ingresses have."""
    found: dict[str, set[str]] = {}
    for name, address in published_names(PlanSource.of(objects), Cluster()):
        if not name.endswith("lb.test."):
            found.setdefault(name.partition(".")[0], set()).add(address)
    return found


def behind_public_lb(world: World) -> dict[str, set[int]]:
    config = world.servers["public-lb"].config
    assert isinstance(config, L4Config)
    return {key.rpartition("/")[2]: {t.port for t in f.targets} for key, f in config.frontends.items()}


def test_the_one_that_every_lab_has_goes_the_same_way() -> None:
    objects, world = plan(APP, ingress("a", ingressClassName="nginx"), ingress("b"))
    assert [*configs(world)] == ["ingress"] and hosts(configs(world)["ingress"]) == ["a.test", "b.test"]
    assert shown(objects) == {"a": ["203.0.113.10"], "b": ["203.0.113.10"]}
    assert names(objects) == {"a": {"203.0.113.10"}, "b": {"203.0.113.10"}}


def test_a_users_controller_is_run_and_the_labs_own_stands_aside() -> None:
    objects, world = plan(
        controller("--publish-service=$(POD_NAMESPACE)/own", namespace="edge"),
        document(apiVersion="v1", kind="Namespace", metadata={"name": "edge"}),
        front(namespace="edge"),
        ingress_class("nginx") + APP,
        ingress("a", ingressClassName="nginx") + ingress("b"),
    )
    assert not [o for o in objects if o.key in brought.OWN_INGRESS - {INGRESS_CLASS.key("", "nginx")}]
    assert objects.get(NAMESPACE.key("", "ingress-nginx")) is not None
    own = configs(world)["own"]
    assert [*configs(world)] == ["own"] and hosts(own) == ["a.test"], "it doesn't watch those without a class"
    assert {key.rpartition("/")[2] for key in own.listen} == {"80", "443", "10254"}
    service = objects.get(SERVICE.key("edge", "own"))
    assert service is not None
    (address,) = (e["ip"] for e in service.status["loadBalancer"]["ingress"])
    assert shown(objects) == {"a": [address], "b": []} and names(objects)["a"] == {address}
    node_ports = {str(p["port"]): {p["nodePort"]} for p in service.spec["ports"]}
    assert behind_public_lb(world) == node_ports, "the balancer that every lab has leads there too"


def test_one_of_the_same_names_wins_entirely() -> None:
    given = controller(
        "--watch-ingress-without-class", name="ingress-nginx-controller", namespace="ingress-nginx"
    )
    objects, world = plan(given, APP, ingress("a"))
    deployment = objects.get(DEPLOYMENT.key("ingress-nginx", "ingress-nginx-controller"))
    assert deployment is not None and deployment.spec["selector"]["matchLabels"] == {
        "app": "ingress-nginx-controller"
    }
    assert objects.get(SERVICE.key("ingress-nginx", "ingress-nginx-controller")) is None
    assert objects.kind(INGRESS_CLASS) == [] and hosts(configs(world)["ingress"]) == ["a.test"]


def test_one_of_another_class_stands_beside() -> None:
    flags = ("--controller-class=example.com/edge", "--ingress-class=edge")
    objects, world = plan(
        controller(*flags, "--report-node-internal-ip-address", hostNetwork=True, nodeName="node2"),
        ingress_class("edge", "example.com/edge") + APP,
        ingress("a", ingressClassName="nginx") + ingress("b", ingressClassName="edge") + ingress("c"),
        ingress("d", annotations={"kubernetes.io/ingress.class": "edge"}),
    )
    found = configs(world)
    assert hosts(found["own"]) == ["b.test", "d.test"] and hosts(found["ingress"]) == ["a.test", "c.test"]
    assert shown(objects) == {
        "a": ["203.0.113.10"],
        "b": ["10.0.0.12"],
        "c": ["203.0.113.10"],
        "d": ["10.0.0.12"],
    }
    assert names(objects)["b"] == {"10.0.0.12"} and names(objects)["a"] == {"203.0.113.10"}


def test_the_default_class_is_that_of_ingresses_without_one() -> None:
    given = [controller(), ingress_class("nginx", default=True), APP, ingress("a")]
    assert hosts(configs(plan(*given)[1])["own"]) == ["a.test"]
    given[1] = ingress_class("nginx")
    assert hosts(configs(plan(*given)[1])["own"]) == []


@pytest.mark.parametrize(
    ("flags", "served"),
    [
        ((), ["a", "b"]),
        (("--watch-namespace=other",), ["b"]),
        (("--watch-namespace-selector=team=blue",), ["b"]),
        (("--watch-namespace-selector=team!=blue",), ["a"]),
        (("--controller-class=example.com/edge",), []),
        (("--controller-class=example.com/edge", "--ingress-class-by-name"), ["a", "b"]),
    ],
)
def test_which_ingresses_a_controller_watches(flags: tuple[str, ...], served: list[str]) -> None:
    other = {"name": "other", "labels": {"team": "blue"}}
    _, world = plan(
        document(apiVersion="v1", kind="Namespace", metadata=other),
        controller(*flags),
        ingress_class("nginx") + APP,
        ingress("a", ingressClassName="nginx") + ingress("b", "other", ingressClassName="nginx"),
    )
    assert hosts(configs(world)["own"]) == [f"{name}.test" for name in served]


@pytest.mark.parametrize(
    ("flags", "service", "expected", "named"),
    [
        (("--publish-status-address=localhost",), front(), ["localhost"], "203.0.113.20"),
        (
            ("--publish-status-address=203.0.113.99,a.test",),
            front(),
            ["203.0.113.99", "a.test"],
            "203.0.113.99",
        ),
        ((), front("NodePort"), ["10.0.0.11"], "203.0.113.10"),
        (("--publish-service=$(POD_NAMESPACE)/own",), front("NodePort"), ["10.99."], "203.0.113.10"),
        (
            ("--publish-service=default/own",),
            front("NodePort", externalIPs=["192.0.2.7"]),
            ["192.0.2.7"],
            "203.0.113.10",
        ),
        (("--publish-service=default/own", "--update-status=false"), front(), [], "203.0.113.20"),
        (("--publish-service=default/missing",), front(), [], "203.0.113.20"),
    ],
)
def test_what_ingresses_show(flags: tuple[str, ...], service: str, expected: list[str], named: str) -> None:
    objects, _ = plan(
        controller(*flags, nodeName="node1"),
        service,
        ingress_class("nginx") + APP,
        ingress("a", ingressClassName="nginx"),
    )
    found = shown(objects)["a"]
    if expected == ["10.99."]:  # the Service's cluster IP
        given = objects.get(SERVICE.key("default", "own"))
        assert given is not None
        expected = [given.spec["clusterIP"]]
    assert found == expected
    assert names(objects) == {"a": {named}}


def test_ports_of_nodes_lead_clients_and_the_public_balancer_there() -> None:
    ports = (("http", 8080, {"hostPort": 80}), ("https", 8443, {"hostPort": 443}))
    objects, world = plan(
        controller("--http-port=8080", "--https-port=8443", ports=ports, nodeName="node2"),
        ingress_class("nginx") + APP,
        ingress("a", ingressClassName="nginx"),
    )
    assert names(objects) == {"a": {"10.0.0.12"}} and shown(objects) == {"a": ["10.0.0.12"]}
    assert behind_public_lb(world) == {"80": {80}, "443": {443}}
    assert {key.rpartition("/")[2] for key in configs(world)["own"].tls_listen} == {"8443"}


def test_defaults_of_hosts_that_nobody_has() -> None:
    secret = tls_secret("pair", pair("any.test")).raw["data"]
    _, world = plan(
        controller("--default-backend-service=default/web", "--default-ssl-certificate=default/pair"),
        document(apiVersion="v1", kind="Secret", metadata={"name": "pair"}, data=secret),
        ingress_class("nginx") + APP,
    )
    own = configs(world)["own"]
    assert own.default_upstream == "default/web/80" and [c.hosts for c in own.certificates] == [("_",)]


def test_the_config_map_says_what_routes_do() -> None:
    data = {
        "proxy-body-size": "8m",
        "proxy-read-timeout": "5",
        "hsts": "false",
        "keep-alive": "10",
        "ssl-redirect": "no",
    }
    _, world = plan(
        controller("--configmap=$(POD_NAMESPACE)/conf", "--annotations-prefix=edge.test"),
        document(apiVersion="v1", kind="ConfigMap", metadata={"name": "conf"}, data=data),
        ingress_class("nginx") + APP,
        ingress("a", ingressClassName="nginx", tls=[{"hosts": ["a.test"], "secretName": "s"}]),
        ingress(
            "b",
            annotations={"edge.test/ssl-redirect": "false"},
            ingressClassName="nginx",
            tls=[{"hosts": ["b.test"], "secretName": "s"}],
        ),
    )
    own = configs(world)["own"]
    first, second = own.routes
    assert (first.policy.body_max, first.policy.read_timeout) == (8 << 20, 5.0)
    assert first.policy.ssl_redirect, "what can't be read is left"
    assert not second.policy.ssl_redirect, "its annotations have another prefix"
    assert (own.options.hsts, own.options.keepalive_timeout) == ("", 10.0)


def test_the_webhook_answers_at_its_port() -> None:
    _, world = plan(
        controller("--validating-webhook=:8443", "--healthz-port=9000", "--health-check-path=/ok")
    )
    own = configs(world)["own"]
    pages = {key.rpartition("/")[2]: dict(texts) for key, texts in own.pages.items()}
    assert pages == {"9000": {"/ok": "ok"}, "8443": {}}
    assert {key.rpartition("/")[2] for key in own.tls_listen} == {"443", "8443"}


def test_ports_lead_past_ingresses_to_services() -> None:
    data = (
        *(
            ("9000", "default/web:80"),
            ("9001", "default/none:80"),
            ("80", "default/web:80"),
            ("x", "default/web:80"),
        ),
        *(("9002", "default/web:81"), ("9003", "default/web")),
    )
    given = (
        document(apiVersion="v1", kind="ConfigMap", metadata={"name": "tcp"}, data=dict(data)),
        document(
            apiVersion="v1",
            kind="ConfigMap",
            metadata={"name": "udp"},
            data={"53": "kube-system/kube-dns:dns"},
        ),
        controller("--tcp-services-configmap=default/tcp", "--udp-services-configmap=default/udp"),
        APP,
    )
    objects, world = plan(*given)
    (server,) = (s for s in world.servers.values() if s.name.endswith("/controller-streams"))
    assert isinstance(server.config, L4Config) and server.namespace.startswith("default.own-")
    found = {key.partition("/")[0] + key.rpartition("/")[2]: f for key, f in server.config.frontends.items()}
    (web,) = (o for o in objects.kind(POD) if o.name == "web")
    assert [t.name for t in found["tcp9000"].targets] == [f"{web.status['podIP']}:8080"]
    assert found.keys() == {"tcp9000", "udp53"} and len(found["udp53"].targets) == 2
    assert not any(s.name.endswith("-streams") for s in plan(controller(), APP)[1].servers.values())


def test_a_proxy_header_that_nobody_sends_is_told() -> None:
    def told(value: str, *more: str) -> list[str]:
        data = {"use-proxy-protocol": value}
        conf = document(apiVersion="v1", kind="ConfigMap", metadata={"name": "conf"}, data=data)
        flags = ("--configmap=default/conf", "--publish-service=default/own")
        return [one for one in said(conf, controller(*flags), *more, APP) if "PROXY" in one]

    assert told("false", front()) == [] and told("true") == [], "before the lab's own balancers"
    says = '"annotations": {"balancer.emulab.dev/proxyProtocol": "v2"}'
    annotated = front().replace('"name": "own"', f'"name": "own", {says}', 1)
    assert told("true", annotated) == []
    (line,) = told("true", front())
    assert "ConfigMap default/conf: use-proxy-protocol closes every connection without a PROXY header" in line


def test_ports_that_are_not_opened_as_they_are_meant_are_named() -> None:
    data = {"9000": "default/web:80", "9001": "default/web:80:PROXY", "x": "default/web:80"}
    found = said(
        document(apiVersion="v1", kind="ConfigMap", metadata={"name": "tcp"}, data=data),
        controller("--tcp-services-configmap=default/tcp", "--udp-services-configmap=default/udp"),
        APP,
    )
    own = "Deployment/own spec.template.spec.containers[0].args"
    assert found[:2] == [
        f"{own}: --tcp-services-configmap: what ConfigMap default/tcp says of 9001, x isn't followed",
        f"{own}: --udp-services-configmap: there is no ConfigMap default/udp",
    ]


def test_ports_that_lead_nowhere_are_named() -> None:
    data = {"9000": "default/web:80", "9001": "default/none:80", "9002": "default/web:81", "9003": "x"}
    tcp, other = (
        document(apiVersion="v1", kind="ConfigMap", metadata={"name": name}, data=data_of)
        for name, data_of in (("tcp", data), ("other", {"9000": "default/web:80"}))
    )
    manifest = load(
        [Source("own.yaml", tcp + other + controller("--tcp-services-configmap=default/tcp") + APP)]
    )
    objects, _ = thought_of(manifest.objects)
    lines = [finding.line() for finding in unstreamed(manifest.objects, objects)]
    assert [line.partition("ConfigMap/")[2].split(":", 1) for line in lines] == [
        ["tcp data.9001", " the port isn't opened: there is no Service default/none"],
        ["tcp data.9002", " the port isn't opened: Service default/web has no TCP port 81"],
        [
            "other data",
            " no port is opened: no ingress controller has --tcp-services-configmap or --udp-services-configmap for "
            "this ConfigMap; the lab's own one, which has neither, stands aside for one of yours",
        ],
    ]


def said(*texts: str) -> list[str]:
    manifest = load([Source("own.yaml", "".join(texts))])
    objects, _ = thought_of(manifest.objects)
    return [line.split(": ", 1)[1] for line in [*oddities(objects), *brought.notes(manifest.objects)]]


def test_what_is_said_of_it() -> None:
    aside = "the one that every lab has stands aside, and doesn't come back when it is deleted"
    assert said(controller(), ingress_class("nginx")) == [aside]
    assert said(controller("--controller-class=example.com/edge")) == []
    conf = {"body-size": "1", "hsts": "false"}
    cluster = {"apiVersion": "emulab.dev/v1", "kind": "Cluster", "metadata": {"name": "c"}}
    found = said(
        document(**cluster, spec={"ingress": {"replicas": 2}}),
        document(apiVersion="v1", kind="ConfigMap", metadata={"name": "conf"}, data=conf),
        controller("--configmap=default/conf", "--publish-service=default/none", "--maxmind-mirror=a"),
        APP,
        ingress("a"),
    )
    own = "Deployment/own spec.template.spec.containers[0].args"
    assert sorted(found) == [
        "Cluster/c spec.ingress.replicas: isn't followed: it is that of the lab's own ingress controller, which stands"
        " aside for another one",
        f"{own}: --configmap: what ConfigMap default/conf says of body-size isn't followed",
        f"{own}: --publish-service: there is no Service default/none",
        f"{own}[3]: --maxmind-mirror is not followed: there is no GeoIP",
        "Ingress/a spec.ingressClassName: no ingress controller watches Ingresses without a class"
        " (--watch-ingress-without-class), so nothing serves the Ingress; classes that are served: none",
        aside,
    ]


def test_names_of_objects_have_to_be_whole() -> None:
    own = "Deployment/own spec.template.spec.containers[0].args"
    aside = "the one that every lab has stands aside, and doesn't come back when it is deleted"
    found = said(controller("--configmap=conf"), ingress_class("nginx"))
    assert found == [f"{own}: --configmap: conf names no namespace: write NAMESPACE/conf", aside]


SETTINGS = CONFIG_MAP.key("ingress-nginx", "ingress-nginx-controller")


def settings(data: dict[str, str], **annotations: str) -> Object:
    metadata = {"name": SETTINGS.name, "namespace": SETTINGS.namespace, "annotations": annotations}
    raw = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
    return Object(raw, Position("settings.yaml", 1))


def kept_map(objects: Objects) -> Object:
    found = objects.get(SETTINGS)
    assert found is not None
    return found


@pytest.mark.parametrize(("said", "kept"), [({}, "true"), ({"use-proxy-protocol": "false"}, "false")])
def test_a_config_map_keeps_what_the_labs_own_says_and_it_does_not(said: dict[str, str], kept: str) -> None:
    store, given = Store(), settings({"proxy-body-size": "8m", **said})
    for o in system_objects(Cluster()):
        admit(store, o)
    assert [admit(store, given) for _ in range(2)] == ["configured", "unchanged"]
    there = {"proxy-body-size": "8m", "use-proxy-protocol": kept}
    for objects in (store.objects(), thought_of([given])[0]):
        assert kept_map(objects).raw["data"] == there
    brought.stand_aside(store)
    left = kept_map(store.objects())
    assert left.raw["data"] == given.raw["data"] and not left.annotations, "it is as its user has it"
    admit(store, given)
    assert kept_map(store.objects()).raw["data"] == given.raw["data"], "another controller reads it now"
    for o in system_objects(Cluster()):
        if o.key != SETTINGS:
            admit(store, o)
    brought.keep_settings(store)
    assert kept_map(store.objects()).raw["data"] == there, "the lab's own is back"


@pytest.mark.parametrize("data", [{}, {"use-proxy-protocol": "false"}], ids=["taken out", "changed"])
def test_what_is_done_to_a_kept_setting_is_followed(data: dict[str, str]) -> None:
    """By whoever reads the map, changes it, and gives it back."""
    store = Store()
    for o in system_objects(Cluster()):
        admit(store, o)
    admit(store, settings({"proxy-body-size": "8m"}))
    read = kept_map(store.objects())
    assert admit(store, read) == "unchanged", "given back as it is"
    kept = read.annotations[KEPT_SETTINGS]
    given = settings(data, **{KEPT_SETTINGS: kept})
    admit(store, given)
    for _ in range(2):
        found = kept_map(store.objects())
        assert (found.raw["data"], found.annotations[KEPT_SETTINGS]) == (data, "")
        admit(store, found)


def test_a_deployment_of_the_name_that_is_none_is_named() -> None:
    metadata = {"name": "ingress-nginx-controller", "namespace": "ingress-nginx"}
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "web"}]}}
    spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
    found = said(
        document(apiVersion="apps/v1", kind="Deployment", metadata=metadata, spec=spec),
        APP,
        ingress("a", ingressClassName="nginx"),
    )
    assert len(found) == 2 and "takes the place of the lab's own ingress controller and isn't one" in found[0]
    assert "there is no ingress controller, so nothing serves the Ingress" in found[1]

"""The ingress controller's configuration from Ingresses, Services and Secrets."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import fields
from ipaddress import ip_address
from typing import Any

import pytest
from worlds import raw_service, raw_slice

from emulab.cluster.system import system_objects
from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.networking.controllerflags import ControllerFlags
from emulab.kinds.networking.ingressclasses import IngressClasses
from emulab.model.collection import Objects
from emulab.model.objects import Object
from emulab.plan.kept import PlanSource
from emulab.plan.l7.annotations import DEFAULTS, PREFIX, THEMES
from emulab.plan.l7.annotations.serving import SERVING
from emulab.plan.l7.annotations.table import Annotation, Theme
from emulab.plan.l7.annotations.unheeded import unheeded
from emulab.plan.l7.ingress import ingress_config, ingress_server
from emulab.plan.state import Place
from emulab.servers.configuration import from_json, to_json
from emulab.servers.l7.config import Certificate, L7Config, Match, Policy, RequestRoute, WeightedUpstream
from emulab.servers.l7.engine.snapshot import take

FLAGS = ControllerFlags(without_class=True)
"""Those of the controller that every lab has."""
NGINX = Object(
    {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "IngressClass",
        "metadata": {"name": "nginx"},
        "spec": {"controller": "k8s.io/ingress-nginx"},
    }
)
WEB = (raw_service("web", clusterIP="10.96.0.5"), raw_slice("web", "10.244.1.2", "10.244.2.2"))


def backend(service: str = "web", port: int | str = 80) -> dict[str, Any]:
    kind = "number" if isinstance(port, int) else "name"
    return {"service": {"name": service, "port": {kind: port}}}


def rule(host: str = "", *paths: str, kind: str = "Prefix", **to: Any) -> dict[str, Any]:
    found = [{"path": p, "pathType": kind, "backend": backend(**to)} for p in paths or ("/",)]
    return {**({"host": host} if host else {}), "http": {"paths": found}}


def ingress(name: str = "shop", *rules: dict[str, Any], annotations: Any = (), **spec: Any) -> Object:
    metadata = {"name": name, "namespace": "default", "annotations": dict(annotations)}
    return Object(
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "Ingress",
            "metadata": metadata,
            "spec": {"rules": list(rules), **spec},
        }
    )


def planned(*objects: Object, upstream: str = "service") -> L7Config:
    return ingress_config(
        PlanSource.of(Objects([NGINX, *objects])), Cluster(ingress_upstream=upstream), FLAGS
    )


def config(*objects: Object, upstream: str = "service") -> L7Config:
    found = planned(*objects, upstream=upstream)
    used = {backend.upstream for route in found.routes for backend in route.backends}
    used |= {found.default_upstream} - {None}
    assert used == found.upstreams.keys(), "every upstream is used, and every used one is there"
    assert from_json(L7Config, to_json(found)) == found
    take(found, {})  # the server takes it
    return found


def servers(found: L7Config, name: str = "default/web/80") -> list[str]:
    return list(found.upstreams[name].servers)


def test_a_rule() -> None:
    found = config(*WEB, ingress("shop", rule("a.test", "/x", "/y", kind="Exact")))
    assert found.routes == tuple(
        RequestRoute(
            Match(host="a.test", path=path, path_type="Exact"),
            (WeightedUpstream("default/web/80"),),
            origin="Ingress default/shop",
            policy=Policy(ssl_redirect=False),
        )
        for path in ("/x", "/y")
    )
    assert servers(found) == ["10.96.0.5:80"] and found.default_upstream is None


def test_upstreams_are_the_service_or_its_endpoints() -> None:
    shop = ingress("shop", rule("a.test"))
    assert servers(config(*WEB, shop, upstream="endpoints")) == ["10.244.1.2:8080", "10.244.2.2:8080"]
    headless = (raw_service("web", clusterIP="None"), raw_slice("web", "10.244.1.2"))
    assert servers(config(*headless, shop)) == ["10.244.1.2:8080"]
    elsewhere = raw_service("web", type="ExternalName", externalName="x.test")
    assert servers(config(elsewhere, shop)) == ["x.test:80"]


@pytest.mark.parametrize("upstream", ["service", "endpoints"])
def test_a_service_of_both_families_has_all_its_endpoints(upstream: str) -> None:
    six = raw_slice("web", "fd00::2", addressType="IPv6")
    found = config(*WEB, six, ingress("shop", rule("a.test")), upstream=upstream)
    expected = ["10.244.1.2:8080", "10.244.2.2:8080", "[fd00::2]:8080"]
    assert servers(found) == (expected if upstream == "endpoints" else ["10.96.0.5:80"])


@pytest.mark.parametrize(
    "objects",
    [
        (),
        (raw_service("web", clusterIP="10.96.0.5"),),
        (raw_service("web", clusterIP="10.96.0.5"), raw_slice("web", endpoints=[])),
        (raw_service("web", clusterIP="10.96.0.5", ports=[{"port": 81}]), WEB[1]),
        (raw_service("web", "other", clusterIP="10.96.0.5"), WEB[1]),
    ],
)
def test_a_backend_that_nobody_serves_is_an_upstream_without_servers(objects: tuple[Object, ...]) -> None:
    assert servers(config(*objects, ingress("shop", rule("a.test")))) == []


def test_ports_by_name() -> None:
    found = config(*WEB, ingress("shop", rule("a.test", port="p"), rule("b.test", port="q")))
    assert servers(found, "default/web/p") == ["10.96.0.5:80"] and servers(found, "default/web/q") == []


def test_default_backends() -> None:
    bare = ingress("bare", defaultBackend=backend())
    second = ingress("second", defaultBackend=backend("other"))
    found = config(*WEB, bare)
    assert found.default_upstream == "default/web/80" and found.routes == ()
    both = planned(*WEB, bare, second)
    assert both.default_upstream == "default/web/80", "the first one"
    with_rules = config(
        *WEB, ingress("shop", rule("a.test", "/x"), rule("b.test"), defaultBackend=backend("other"))
    )
    catch_all = [
        (r.match.host, r.match.path)
        for r in with_rules.routes
        if r.backends[0].upstream == "default/other/80"
    ]
    assert catch_all == [("a.test", "/"), ("b.test", "/")] and with_rules.default_upstream is None


IN_CLASS = {"kubernetes.io/ingress.class": "nginx"}


@pytest.mark.parametrize(
    ("fields", "served"),
    [
        ({}, True),
        ({"ingressClassName": "nginx"}, True),
        ({"annotations": IN_CLASS}, True),
        ({"ingressClassName": "other"}, False),
        ({"annotations": {"kubernetes.io/ingress.class": "other"}}, False),
    ],
)
def test_classes(fields: dict[str, Any], served: bool) -> None:
    assert bool(config(*WEB, ingress("shop", rule("a.test"), **fields)).routes) is served


def test_an_ingress_class_of_this_controller_by_another_name() -> None:
    """What a class's `controller` names decides, not what the class is called."""
    mine, other = (
        Object(
            {
                "apiVersion": "networking.k8s.io/v1",
                "kind": "IngressClass",
                "metadata": {"name": name},
                "spec": {"controller": controller},
            }
        )
        for name, controller in (("edge", "k8s.io/ingress-nginx"), ("gateway", "example.com/gateway"))
    )
    shop = ingress("a", rule("a.test"), ingressClassName="edge")
    gate = ingress("b", rule("b.test"), ingressClassName="gateway")
    assert [r.match.host for r in config(*WEB, mine, other, shop, gate).routes] == ["a.test"]


@pytest.mark.parametrize(
    ("classes", "hosts"), [((), []), (("alb",), ["a.test"]), (("*",), ["a.test", "b.test"])]
)
def test_classes_that_the_cluster_has_it_take_over(classes: tuple[str, ...], hosts: list[str]) -> None:
    objects = [
        ingress(f"i-{c}", rule(f"{h}.test"), ingressClassName=c) for h, c in (("a", "alb"), ("b", "traefik"))
    ]
    source = PlanSource.of(Objects([*WEB, *objects]))
    found = ingress_config(source, Cluster(ingress_classes=classes), FLAGS)
    assert [r.match.host for r in found.routes] == hosts


def secret(name: str, **texts: str) -> Object:
    data = {k.replace("_", "."): b64encode(v.encode()).decode() for k, v in texts.items()}
    metadata = {"name": name, "namespace": "default"}
    return Object({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data})


def test_certificates_and_redirects() -> None:
    tls = [{"hosts": ["a.test"], "secretName": "pair"}, {"secretName": "missing", "hosts": ["c.test"]}]
    one = ingress("one", rule("a.test"), rule("b.test"), rule("c.test"), tls=tls)
    two = ingress("two", rule("d.test"), tls=[{"secretName": "pair"}])
    found = config(
        *WEB, secret("pair", tls_crt="CRT", tls_key="KEY"), secret("half", tls_crt="CRT"), one, two
    )
    assert found.certificates == (Certificate(("a.test", "d.test"), "CRT", "KEY"),)
    assert {r.match.host: r.policy.ssl_redirect for r in found.routes} == {
        "a.test": True,
        "b.test": False,
        "c.test": True,
        "d.test": False,
    }


def test_no_redirect_where_it_is_not_wanted() -> None:
    off = {"nginx.ingress.kubernetes.io/ssl-redirect": "false"}
    tls = [{"hosts": ["a.test"], "secretName": "pair"}]
    found = config(*WEB, ingress("one", rule("a.test"), tls=tls, annotations=off))
    assert [r.policy.ssl_redirect for r in found.routes] == [False]


def test_the_server_of_a_pod() -> None:
    pod = Place(
        "p", "ns", "p", "nameserver 10.96.0.10\n", "127.0.0.1 x\n", (ip_address("10.244.1.9"),), "pod"
    )
    server = ingress_server("s", pod, config(*WEB, ingress("shop", rule("a.test"))), FLAGS)
    assert server.listen == dict.fromkeys([f"tcp/10.244.1.9/{port}" for port in (80, 443, 10254)], "ns")
    told = server.config
    assert isinstance(told, L7Config)
    assert told.listen == tuple(server.listen) and told.tls_listen == ("tcp/10.244.1.9/443",)
    assert told.upstreams.keys() == {"default/web/80"}
    assert told.pages == {"tcp/10.244.1.9/10254": {"/healthz": "ok"}}
    assert (told.resolv_conf, told.hosts) == (pod.resolv_conf, pod.hosts)


def test_an_annotation_is_one_line_of_the_table() -> None:
    """Its name, its parser, the field and its meaning; a text that says nothing leaves the default."""

    def policy(**annotations: str) -> Policy:
        given = {PREFIX + name.replace("_", "-"): text for name, text in annotations.items()}
        (route,) = config(
            *WEB, ingress("shop", rule("a.test"), annotations=given, tls=[{"hosts": ["a.test"]}])
        ).routes
        return route.policy

    assert policy(proxy_read_timeout="7").read_timeout == 7.0
    assert policy(proxy_read_timeout="soon") == DEFAULTS
    assert policy(ssl_redirect="false").ssl_redirect is False
    assert policy() == DEFAULTS == Policy(ssl_redirect=True)


def test_annotations_have_one_line_each() -> None:
    lines = [one for theme in THEMES for one in theme.annotations]
    assert len({one.name for one in lines}) == len(lines) and all(one.doc for one in lines)
    for theme in THEMES:
        assert len({one.field for one in theme.annotations}) == len(theme.annotations)
    assert {one.field for one in SERVING.annotations} <= {one.name for one in fields(Policy)}


def test_annotations_that_ask_for_more_are_told_once() -> None:
    wished = {
        f"{PREFIX}of-tomorrow": "http://a",
        f"{PREFIX}ssl-redirect": "true",
        "alb.ingress.kubernetes.io/x": "y",
    }
    classes = IngressClasses.among(Objects(system_objects(Cluster())), Cluster())
    asking = [ingress(name, annotations=wished) for name in ("one", "two")]
    asking.append(ingress("theirs", annotations=wished, ingressClassName="alb"))
    assert unheeded(asking, classes) == [
        f"(generated): Ingress/one metadata.annotations[{PREFIX}of-tomorrow]: isn't followed: requests are served as"
        " without it (nor in 1 more Ingress)"
    ]
    tomorrow = Theme((Annotation("of-tomorrow", str, "x", "x"),), lambda _values, _draft: None)
    assert unheeded(asking, classes, (*THEMES, tomorrow)) == []


def test_annotations_that_say_nothing_are_told_with_the_reason() -> None:
    classes = IngressClasses.among(Objects(system_objects(Cluster())), Cluster())
    wished = {f"{PREFIX}proxy-body-size": "large"}
    assert unheeded([ingress("one", annotations=wished)], classes) == [
        f"(generated): Ingress/one metadata.annotations[{PREFIX}proxy-body-size]: 'large' is no size, such as 8m;"
        " requests are served as without it"
    ]

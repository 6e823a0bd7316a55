"""The ingress controller's configuration from Ingresses, Services and Secrets."""

from __future__ import annotations

from dataclasses import fields
from ipaddress import ip_address
from typing import Any

import pytest
from tlspairs import DAY, NOW, pair, tls_secret
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
from emulab.servers.l7.config import (
    Certificate,
    ErrorPages,
    L7Config,
    Match,
    Policy,
    RequestRoute,
    WeightedUpstream,
)
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
    assert both.default_upstream == "default/other/80", "of one second the last by name"
    with_rules = config(
        *WEB, ingress("shop", rule("a.test", "/x"), rule("b.test"), defaultBackend=backend("other"))
    )
    catch_all = [
        (r.match.host, r.match.path)
        for r in with_rules.routes
        if r.backends[0].upstream == "default/other/80"
    ]
    assert catch_all == [("a.test", "/")], "of b.test nothing is left to it"
    assert with_rules.default_upstream is None


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


def test_certificates_and_redirects_are_decided_of_hosts_over_all_ingresses() -> None:
    """Chains are told once; a host whose own can't be shown has the default one, not that of a wildcard above it."""
    chain = pair("a.test", "d.test")
    one = ingress(
        "one",
        rule("a.test", "/x"),
        rule("b.test"),
        rule("c.test"),
        tls=[{"hosts": ["a.test"], "secretName": "pair"}, {"secretName": "missing", "hosts": ["c.test"]}],
    )
    two = ingress("two", rule("d.test"), rule("a.test"), tls=[{"secretName": "pair"}])
    three = ingress("three", rule("a.test", "/y"), rule("plain.test"))
    found = config(*WEB, tls_secret("pair", chain), one, two, three)
    assert found.certificates == (
        Certificate(("a.test", "d.test"), *chain, "default/pair", NOW + 365 * DAY),
        Certificate(("b.test", "c.test"), "", ""),
    )
    redirected = {(r.match.host, r.match.path): r.policy.ssl_redirect for r in found.routes}
    assert redirected == {
        ("a.test", "/"): True,
        ("a.test", "/x"): True,
        ("a.test", "/y"): True,
        ("b.test", "/"): True,
        ("c.test", "/"): True,
        ("d.test", "/"): True,
        ("plain.test", "/"): False,
    }
    wrong = [one.text for one in found.notices if not one.since and not one.until]
    assert len(wrong) == 1 and "default/missing was not found" in wrong[0]


def test_what_no_path_of_a_secured_host_takes_goes_over_tls_too() -> None:
    tls = [{"secretName": "none"}]
    shop, off = (
        ingress("shop", rule("a.test", "/x"), tls=tls),
        {"nginx.ingress.kubernetes.io/ssl-redirect": "false"},
    )

    def rest(*objects: Object) -> list[tuple[str, bool, list[str]]]:
        found = config(*WEB, *objects)
        routes = [r for r in found.routes if r.match.path == "/" and r.match.host]
        assert {r.origin for r in routes} <= {"Ingress default/shop"}, "whose location it is in ingress-nginx"
        return [(r.policy.ssl_redirect, [b.upstream for b in r.backends]) for r in routes]

    assert rest(shop) == [(True, [])], "a 404 over TLS"
    bare = ingress("bare", defaultBackend=backend())
    assert rest(shop, bare) == [(True, [])], "which has hosts alone that no rule has"
    assert rest(ingress("shop", rule("a.test", "/x"))) == []
    assert rest(ingress("shop", rule("a.test", "/x")), bare) == [(False, [])]
    assert rest(ingress("shop", rule("a.test", "/x"), tls=tls, annotations=off)) == []


def test_what_no_path_of_a_host_takes_has_the_annotations_of_its_first_ingress() -> None:
    prefix = "nginx.ingress.kubernetes.io/"
    wishes = {f"{prefix}whitelist-source-range": "10.0.0.0/8", f"{prefix}backend-protocol": "HTTPS"}
    first = ingress("z", rule("a.test", "/x"), annotations=wishes)
    plain = ingress("a", rule("a.test", "/y"), rule("b.test", "/y"))
    routes = {(r.match.host, r.match.path): r for r in config(*WEB, first, plain).routes}
    assert ("b.test", "/") not in routes
    rest, own = routes["a.test", "/"], routes["a.test", "/x"]
    assert rest.filters == own.filters != () and rest.backends == ()
    assert (rest.policy.reach.protocol, own.policy.reach.protocol) == ("HTTP", "HTTPS")


def test_what_catches_all_has_its_annotations_but_those_that_send_elsewhere() -> None:
    prefix = "nginx.ingress.kubernetes.io/"
    wishes = {f"{prefix}denylist-source-range": "10.0.0.0/8", f"{prefix}permanent-redirect": "http://b.test"}
    (route,) = config(*WEB, ingress("all", annotations=wishes, defaultBackend=backend())).routes
    assert (route.match.host, route.match.path) == ("", "/")
    assert [type(one).__name__ for one in route.filters] == ["AccessControl"]


def test_what_catches_all_has_it_before_a_path_without_a_host_and_gives_errors_to_none() -> None:
    """And a rule without a host has no default backend (`createServers`)."""
    loose = ingress("z", rule("", "/", "/x"), defaultBackend=backend("new"))
    there = (*WEB, raw_service("new"), loose)
    assert [(r.match.host, r.match.path) for r in config(*there).routes] == [("", "/"), ("", "/x")]
    errors = {"nginx.ingress.kubernetes.io/custom-http-errors": "404"}
    found = config(
        *WEB, ingress("z", rule("", "/x"), annotations=errors), ingress("a", defaultBackend=backend())
    )
    assert [one.upstream for r in found.routes for one in r.filters if isinstance(one, ErrorPages)] == [""]
    found = config(*there, ingress("a", defaultBackend=backend()))
    assert ([r.match.path for r in found.routes], found.default_upstream) == (["/x"], "default/web/80")
    loose = ingress("z", rule("", "/x"), defaultBackend=backend("new"))
    assert [r.match.path for r in planned(*WEB, loose).routes] == ["/x"]


def test_what_no_path_takes_is_of_other_names_of_the_host_too() -> None:
    alias = {"nginx.ingress.kubernetes.io/server-alias": "o.test"}
    shop = ingress("shop", rule("a.test", "/x"), annotations=alias)
    routes = config(*WEB, shop, ingress("bare", defaultBackend=backend())).routes
    assert [r.match.host for r in routes if not r.backends] == ["a.test", "o.test"]


def test_dates_of_certificates_are_told_when_their_time_has_come() -> None:
    chain = pair("a.test")
    found = config(
        *WEB, tls_secret("pair", chain), ingress("one", rule("a.test"), tls=[{"secretName": "pair"}])
    )
    assert [(one.since, one.until) for one in found.notices] == [
        (NOW + 365 * DAY, 0.0),
        (0.0, NOW - DAY),
        (NOW + 355 * DAY, NOW + 365 * DAY),
    ]


def test_the_default_backend_of_the_first_ingress_gives_way_to_who_takes_all_of_the_host() -> None:
    """I1, whoever comes first."""
    for names in (("a", "b"), ("b", "a")):
        own = ingress(names[0], rule("h.test", "/a"), defaultBackend=backend("other"))
        taking = ingress(names[1], rule("h.test", "/"))
        found = planned(*WEB, own, taking)
        got = {(r.match.path, r.backends[0].upstream) for r in found.routes}
        assert got == {("/a", "default/web/80"), ("/", "default/web/80")}, names


@pytest.mark.parametrize(
    ("ports", "wanted", "server"),
    [
        ([{"port": 80, "targetPort": 8080}], 80, "x.test:8080"),
        ([{"port": 80}], 80, "x.test:80"),
        ([{"port": 80, "targetPort": "web"}], 80, "x.test:80"),
        ([{"name": "p", "port": 80, "targetPort": 8080}], "p", "x.test:8080"),
        ([{"port": 80, "targetPort": 8080}], 90, "x.test:90"),
        ([], 80, "x.test:80"),
        ([], "p", None),
    ],
)
def test_the_port_of_an_external_name(
    ports: list[dict[str, Any]], wanted: int | str, server: str | None
) -> None:
    """I3, I4: targetPort, else the port, else the Ingress' number."""
    external = raw_service("web", type="ExternalName", externalName="x.test.", ports=ports)
    found = config(external, ingress("shop", rule("a.test", port=wanted)))
    assert servers(found, f"default/web/{wanted}") == ([server] if server else [])


@pytest.mark.parametrize(
    ("name", "server"),
    [
        ("192.0.2.7", "192.0.2.7:80"),
        ("2001:db8::7", "[2001:db8::7]:80"),
        ("127.0.0.1", ""),
        ("localhost", ""),
    ],
)
def test_an_external_name_that_is_an_address_or_leads_back(name: str, server: str) -> None:
    external = raw_service("web", type="ExternalName", externalName=name)
    assert servers(config(external, ingress("shop", rule("a.test")))) == ([server] if server else [])


@pytest.mark.parametrize(("upstream", "expected"), [("endpoints", []), ("service", ["10.96.0.5:80"])])
def test_who_is_going_is_no_endpoint(upstream: str, expected: list[str]) -> None:
    """I5: 503 at once; a cluster IP leads to who serves on while he ends (KEP-1669)."""
    going = {"ready": False, "serving": True, "terminating": True}
    slices = raw_slice("web", endpoints=[{"addresses": ["10.244.1.2"], "conditions": going}])
    shop = ingress("shop", rule("a.test"))
    found = config(raw_service("web", clusterIP="10.96.0.5"), slices, shop, upstream=upstream)
    assert servers(found) == expected


def test_a_backend_may_mean_a_target_port_and_slices_may_call_ports_as_they_like() -> None:
    """As `serviceEndpoints` and `getEndpointsFromSlices` of ingress-nginx find them."""
    web = raw_service("web", clusterIP="10.96.0.5", ports=[{"name": "p", "port": 80, "targetPort": 8080}])
    shop = ingress("shop", rule("a.test", port=8080))
    found = config(web, WEB[1], shop, upstream="endpoints")
    assert servers(found, "default/web/8080") == ["10.244.1.2:8080", "10.244.2.2:8080"]
    assert servers(config(web, WEB[1], shop), "default/web/8080") == ["10.96.0.5:80"]
    other = raw_slice("web", "10.244.1.2", ports=[{"name": "else", "port": 9090}])
    found = config(web, other, ingress("shop", rule("a.test")), upstream="endpoints")
    assert servers(found) == ["10.244.1.2:8080"]


TWO_PORTS = raw_service(
    "web",
    clusterIP="10.96.0.5",
    ports=[
        {"name": "http", "port": 80, "targetPort": 8080},
        {"name": "admin", "port": 8080, "targetPort": 9090},
    ],
)
BOTH = [{"name": "http", "port": 8080}, {"name": "admin", "port": 9090}]
BY_SERVICE = {"nginx.ingress.kubernetes.io/service-upstream": "true"}


@pytest.mark.parametrize(
    ("wanted", "endpoints", "service", "said"),
    [
        (80, 8080, 80, 80),
        (8080, 8080, 80, 8080),
        (9090, 9090, 8080, 9090),
        ("http", 8080, 80, 80),
        ("admin", 9090, 8080, 8080),
    ],
)
def test_the_first_port_with_a_number_a_name_or_a_target_port_is_meant(
    wanted: int | str, endpoints: int, service: int, said: int
) -> None:
    """`serviceEndpoints`; who says that the Service is asked gets its address at the number itself."""
    there = (TWO_PORTS, raw_slice("web", "10.244.1.2", ports=BOTH))
    name, shop = f"default/web/{wanted}", rule("a.test", port=wanted)
    found = config(*there, ingress("shop", shop), upstream="endpoints")
    assert servers(found, name) == [f"10.244.1.2:{endpoints}"]
    assert servers(config(*there, ingress("shop", shop)), name) == [f"10.96.0.5:{service}"]
    found = config(*there, ingress("shop", shop, annotations=BY_SERVICE))
    assert servers(found, name) == [f"10.96.0.5:{said}"]


def test_the_address_of_a_service_is_asked_though_nobody_is_behind_it_where_that_is_said() -> None:
    """`getServiceClusterEndpoint`; where there is no address, or no port of the name, the endpoints are asked."""
    said = ingress("shop", rule("a.test"), annotations=BY_SERVICE)
    assert servers(config(WEB[0], said)) == ["10.96.0.5:80"]
    headless = raw_service("web", clusterIP="None")
    assert servers(config(headless, said)) == []
    assert servers(config(headless, WEB[1], said)) == ["10.244.1.2:8080", "10.244.2.2:8080"]
    named = ingress("shop", rule("a.test", port="8081"), annotations=BY_SERVICE)
    assert (
        servers(config(TWO_PORTS, raw_slice("web", "10.244.1.2", ports=BOTH), named), "default/web/8081")
        == []
    )


@pytest.mark.parametrize(
    ("said", "caught", "is_logged"),
    [({}, False, False), ({"enable-access-log-for-default-backend": "true"}, False, True), ({}, True, True)],
)
def test_whether_hosts_that_nobody_has_are_logged(
    said: dict[str, str], caught: bool, is_logged: bool
) -> None:
    """Not by default, unless an Ingress has them, whose own annotations say it."""
    made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "conf", "namespace": "default"}}
    shops = [ingress("shop", rule("a.test")), *([ingress("all", defaultBackend=backend())] if caught else [])]
    flags = ControllerFlags(without_class=True, config_map="default/conf")
    source = PlanSource.of(Objects([NGINX, *WEB, Object({**made, "data": said}), *shops]))
    assert ingress_config(source, Cluster(), flags).options.log_default is is_logged


@pytest.mark.parametrize("by", ["annotation", "key"])
def test_redirects_with_a_port_say_the_port_of_the_flags(by: str) -> None:
    flags = ControllerFlags(without_class=True, https_port=8443, config_map="default/conf")
    told = {"force-ssl-redirect": "true", "use-port-in-redirects": "true"}
    made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "conf", "namespace": "default"}}
    settings = Object({**made, "data": told if by == "key" else {}})
    annotations = {PREFIX + key: text for key, text in told.items()} if by == "annotation" else {}
    shop = ingress("shop", rule("a.test"), annotations=annotations)
    found = ingress_config(PlanSource.of(Objects([NGINX, *WEB, settings, shop])), Cluster(), flags)
    assert [route.policy.redirect_port for route in found.routes] == [8443]


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


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("rewrite-targt", "; did you mean rewrite-target?"),
        ("canary-wieght", "; did you mean canary-weight?"),
        ("session-cookie-hash", ""),  # which there was
        ("of-tomorrow", ""),
    ],
)
def test_annotations_that_are_mistyped_are_told_with_what_was_meant(name: str, meant: str) -> None:
    classes = IngressClasses.among(Objects(system_objects(Cluster())), Cluster())
    (line,) = unheeded([ingress("one", annotations={f"{PREFIX}{name}": "x"})], classes)
    assert line.endswith(f"isn't followed: requests are served as without it{meant}")


def test_annotations_that_say_nothing_are_told_with_the_reason() -> None:
    classes = IngressClasses.among(Objects(system_objects(Cluster())), Cluster())
    wished = {f"{PREFIX}proxy-body-size": "large"}
    assert unheeded([ingress("one", annotations=wished)], classes) == [
        f"(generated): Ingress/one metadata.annotations[{PREFIX}proxy-body-size]: 'large' is no size, such as 8m;"
        " requests are served as without it"
    ]


@pytest.mark.parametrize(("said", "number"), [(None, 4), ("auto", 4), ("2", 2), ("0", 4), ("many", 4)])
def test_processes_are_the_clusters_unless_the_controller_has_a_number(said: str | None, number: int) -> None:
    data = {"worker-processes": said} if said is not None else {}
    metadata = {"namespace": "ingress-nginx", "name": "conf"}
    settings = Object({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})
    flags = ControllerFlags(without_class=True, config_map="ingress-nginx/conf")
    source = PlanSource.of(Objects([NGINX, settings]))
    assert ingress_config(source, Cluster(ingress_workers=4), flags).workers == number

"""Whose turn it is by annotations, ConfigMap and DestinationRules; canaries; and what is said of it all."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from test_ingress_plan import NGINX, backend, ingress, rule
from worlds import raw_service, raw_slice

from emulab.cluster.system import system_objects
from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.networking.controllerflags import ControllerFlags
from emulab.kinds.networking.ingressclasses import IngressClasses
from emulab.model.collection import Objects
from emulab.model.objects import Object
from emulab.plan.kept import PlanSource
from emulab.plan.l7.annotations import PREFIX
from emulab.plan.l7.annotations.unheeded import unheeded
from emulab.plan.l7.ingress import ingress_config
from emulab.plan.l7.oddities import oddities
from emulab.servers.configuration import from_json, to_json
from emulab.servers.l7.config import (
    Canary,
    ConnectionLimits,
    CookieAffinity,
    DrawnServer,
    HashBy,
    InTurn,
    L7Config,
    LeastRequest,
    OutlierDetection,
    PeakEwma,
    Upstream,
)
from emulab.servers.l7.engine.snapshot import take

FLAGS = ControllerFlags(without_class=True, config_map="ingress-nginx/settings")
ADDRESS, ENDPOINTS = ("10.96.0.5:80",), ("10.244.1.2:8080", "10.244.2.2:8080")
NEW = (raw_service("new", clusterIP="10.96.0.6"), raw_slice("new", "10.244.1.3"))


def web(**spec: Any) -> tuple[Object, Object]:
    return raw_service("web", clusterIP="10.96.0.5", **spec), raw_slice("web", "10.244.1.2", "10.244.2.2")


def asking(name: str = "shop", *rules: Any, **annotations: str) -> Object:
    """An Ingress with these annotations, written with underscores."""
    wished = {PREFIX + key.replace("_", "-"): text for key, text in annotations.items()}
    return ingress(name, *(rules or (rule("a.test"),)), annotations=wished)


def caught(name: str, to: str, *rules: Any, **annotations: str) -> Object:
    """An Ingress with a default backend."""
    wished = {PREFIX + key.replace("_", "-"): text for key, text in annotations.items()}
    return ingress(name, *rules, annotations=wished, defaultBackend=backend(to))


def settings(**data: str) -> Object:
    metadata = {"name": "settings", "namespace": "ingress-nginx"}
    given = {key.replace("_", "-"): text for key, text in data.items()}
    return Object({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": given})


def destination(host: str = "web", name: str = "r", namespace: str = "default", **policy: Any) -> Object:
    return Object(
        {
            "apiVersion": "networking.istio.io/v1beta1",
            "kind": "DestinationRule",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"host": host, "trafficPolicy": policy},
        }
    )


def config(*objects: Object, cluster: str = "service") -> L7Config:
    source = PlanSource.of(Objects([NGINX, *objects]))
    found = ingress_config(source, Cluster(ingress_upstream=cluster), FLAGS)
    assert from_json(L7Config, to_json(found)) == found
    take(found, {})
    return found


def upstream(*objects: Object, name: str = "default/web/80", cluster: str = "service") -> Upstream:
    return config(*objects, cluster=cluster).upstreams[name]


def test_the_proxy_is_told_how_many_endpoints_an_address_has() -> None:
    assert upstream(*web(), asking()) == Upstream(ADDRESS, endpoints=2)
    assert upstream(*web(sessionAffinity="ClientIP"), asking()) == Upstream(ADDRESS)
    assert upstream(web()[0], raw_slice("web", "10.244.1.2"), asking()) == Upstream(ADDRESS)
    six = raw_slice("web", "fd00::2", addressType="IPv6")
    assert upstream(*web(), six, asking()).endpoints == 2
    assert upstream(*web(), asking(), cluster="endpoints") == Upstream(ENDPOINTS)


@pytest.mark.parametrize("cluster", ["service", "endpoints"])
def test_an_ingress_says_whether_the_address_is_asked(cluster: str) -> None:
    by_address, by_endpoints = Upstream(ADDRESS, endpoints=2), Upstream(ENDPOINTS)
    assert upstream(*web(), asking(service_upstream="true"), cluster=cluster) == by_address
    assert upstream(*web(), asking(service_upstream="false"), cluster=cluster) == by_endpoints
    everywhere = settings(service_upstream="true")
    assert upstream(*web(), everywhere, asking(), cluster=cluster) == by_address
    assert upstream(*web(), everywhere, asking(service_upstream="false"), cluster=cluster) == by_endpoints


@pytest.mark.parametrize(
    ("wished", "balance"),
    [
        ({"load_balance": "ewma"}, PeakEwma()),
        ({"upstream_hash_by": "$request_uri"}, HashBy("$request_uri")),
        ({"upstream_hash_by": "$host", "upstream_hash_by_subset": "true"}, HashBy("$host", 3)),
        (
            {
                "upstream_hash_by": "$host",
                "upstream_hash_by_subset": "true",
                "upstream_hash_by_subset_size": "5",
            },
            HashBy("$host", 5),
        ),
        ({"affinity": "cookie", "upstream_hash_by": "$host"}, CookieAffinity()),
        ({"affinity": "cookie", "affinity_mode": "persistent"}, CookieAffinity(persistent=True)),
        (
            {
                "affinity": "cookie",
                "session_cookie_name": "route",
                "session_cookie_path": "/p",
                "session_cookie_domain": "a.test",
                "session_cookie_samesite": "Lax",
                "session_cookie_conditional_samesite_none": "true",
                "session_cookie_secure": "true",
                "session_cookie_expires": "172800",
                "session_cookie_max_age": "0",
                "session_cookie_change_on_failure": "true",
            },
            CookieAffinity(
                *("route", False, True, "/p", "a.test", "Lax", True, True),
                expires=172800,
                max_age=0,
            ),
        ),
    ],
)
def test_who_wishes_for_an_algorithm_has_the_endpoints_asked(wished: Any, balance: Any) -> None:
    assert upstream(*web(), asking(**wished)) == Upstream(ENDPOINTS, balance)
    both = upstream(*web(), asking(**wished, service_upstream="true"))
    assert (both.servers, both.balance) == (ADDRESS, balance)
    policies = {route.policy.affinity_cookie for route in config(*web(), asking(**wished)).routes}
    assert policies == {"affinity" in wished}


def test_round_robin_is_what_there_is_anyway() -> None:
    assert upstream(*web(), asking(load_balance="round_robin")) == Upstream(ADDRESS, endpoints=2)
    fast = settings(load_balance="ewma")
    assert upstream(*web(), fast, asking()) == Upstream(ENDPOINTS, PeakEwma())
    assert upstream(*web(), fast, asking(load_balance="round_robin")) == Upstream(ADDRESS, endpoints=2)


def test_the_oldest_ingress_decides_about_an_upstream() -> None:
    """Of those of one second it is the last by name."""
    first, second = (
        asking("zz", load_balance="ewma"),
        asking("yy", rule("b.test"), upstream_hash_by="$host"),
    )
    assert upstream(*web(), first, second).balance == PeakEwma()
    sticky = asking("xx", rule("c.test"), affinity="cookie")
    found = config(*web(), first, second, sticky)
    assert found.upstreams["default/web/80"].balance == CookieAffinity()
    assert {r.match.host: r.policy.affinity_cookie for r in found.routes} == {
        "a.test": False,
        "b.test": False,
        "c.test": True,
    }


def test_the_configmap_says_after_which_failures_another_is_asked() -> None:
    said = settings(
        proxy_next_upstream="error http_502", proxy_next_upstream_timeout="7", retry_non_idempotent="true"
    )
    (route,) = config(*web(), said, asking()).routes
    policy = route.policy
    assert (policy.next_upstream, policy.next_upstream_timeout) == (("error", "http_502"), 7.0)
    assert policy.retry_non_idempotent
    own = asking(
        proxy_next_upstream="timeout non_idempotent",
        proxy_next_upstream_tries="0",
        proxy_next_upstream_timeout="2",
    )
    (route,) = config(*web(), said, own).routes
    policy = route.policy
    assert (policy.next_upstream, policy.tries, policy.next_upstream_timeout) == (
        ("timeout", "non_idempotent"),
        0,
        2.0,
    )


# --- DestinationRules


@pytest.mark.parametrize(
    "host", ["web", "web.default", "web.default.svc", "web.default.svc.cluster.local", "*.svc.cluster.local"]
)
def test_a_rule_is_found_by_each_name_of_a_service(host: str) -> None:
    limited = destination(host, connectionPool={"tcp": {"maxConnections": 3}})
    found = upstream(*web(), asking(), limited)
    assert found == Upstream(ADDRESS, endpoints=2, limits=ConnectionLimits(connections=3))
    assert upstream(*web(), asking(), destination("other")).limits is None
    assert upstream(*web(), asking(), destination(namespace="prod", connectionPool={})).limits is None


def test_everything_a_rule_says() -> None:
    pool = {
        "tcp": {"maxConnections": 100, "connectTimeout": "1m0.25s"},
        "http": {
            "http1MaxPendingRequests": 1,
            "http2MaxRequests": 1000,
            "maxRequestsPerConnection": 10,
            "maxRetries": 3,
        },
    }
    outliers = {
        "consecutive5xxErrors": 7,
        "consecutiveGatewayErrors": 3,
        "interval": "5m",
        "baseEjectionTime": "15m",
        "maxEjectionPercent": 80,
        "minHealthPercent": 20,
        "splitExternalLocalOriginErrors": True,
        "consecutiveLocalOriginFailures": 4,
        "outlierDetectionHttpErrorCodes": [429, 500],
    }
    found = upstream(*web(), asking(), destination(connectionPool=pool, outlierDetection=outliers))
    assert found.limits == ConnectionLimits(100, 1, 1000, 10, 3, 60.25)
    assert found.outliers == OutlierDetection(7, 3, 300.0, 900.0, 300.0, 80, 20, 4, (429, 500))
    split = {"splitExternalLocalOriginErrors": True}
    by_default = upstream(*web(), asking(), destination(outlierDetection=split)).outliers
    assert by_default == OutlierDetection(consecutive_local_failures=5)
    assert found.servers == ENDPOINTS, "it is endpoints that are left out"
    nothing = destination(
        connectionPool={"tcp": {"maxConnections": 0}, "http": {"maxRetries": 0}}, outlierDetection={}
    )
    found = upstream(*web(), asking(), nothing)
    assert (found.limits, found.outliers) == (None, OutlierDetection())
    off = upstream(*web(), asking(), destination(outlierDetection={"consecutive5xxErrors": 0})).outliers
    assert off is not None and off.consecutive_5xx == 0


def test_what_is_said_of_a_port_is_all_that_holds_there() -> None:
    own = {"port": {"number": 80}, "connectionPool": {"tcp": {"maxConnections": 3}}}
    for number, limits in ((80, ConnectionLimits(connections=3)), (81, ConnectionLimits(retries=7))):
        own["port"] = {"number": number}
        said = destination(connectionPool={"http": {"maxRetries": 7}}, portLevelSettings=[own])
        assert upstream(*web(), asking(), said).limits == limits


@pytest.mark.parametrize(
    ("simple", "balance", "servers"),
    [
        ("ROUND_ROBIN", InTurn(), ENDPOINTS),
        ("RANDOM", DrawnServer(), ENDPOINTS),
        ("LEAST_CONN", LeastRequest(), ENDPOINTS),
        ("LEAST_REQUEST", LeastRequest(), ENDPOINTS),
        ("PASSTHROUGH", InTurn(), ADDRESS),
        ("UNSPECIFIED", InTurn(), ADDRESS),
    ],
)
def test_an_algorithm_of_a_rule(simple: str, balance: Any, servers: tuple[str, ...]) -> None:
    asks = destination(loadBalancer={"simple": simple})
    found = upstream(*web(), asking(), asks)
    assert (found.balance, found.servers) == (balance, servers)
    assert upstream(*web(), asking(upstream_hash_by="$uri"), asks).balance == HashBy("$uri")


# --- canaries


def canary(name: str = "canary", *rules: Any, **annotations: str) -> Object:
    return asking(name, *(rules or (rule("a.test", service="new"),)), canary="true", **annotations)


def test_a_canary_shares_what_the_service_of_its_host_and_path_gets() -> None:
    """By whatever route, as in ingress-nginx, to which an alternative is an upstream's."""
    found = config(
        *web(),
        *NEW,
        canary(canary_weight="30", canary_weight_total="300"),
        asking("shop", rule("a.test"), rule("a.test", "/x", service="other"), rule("b.test")),
    )
    told = {r.match.host + r.match.path: r.canary for r in found.routes}
    expected = Canary("default/new/80", weight=30, weight_total=300)
    assert told == {"a.test/": expected, "a.test/x": None, "b.test/": expected}
    assert found.upstreams["default/new/80"].servers == ("10.96.0.6:80",)


def test_the_oldest_ingress_of_a_canary_says_how_much_it_gets() -> None:
    early, late = (
        canary("z", canary_weight="1"),
        canary("a", rule("b.test", service="new"), canary_weight="50"),
    )
    there = (*web(), *NEW, asking("shop", rule("a.test"), rule("b.test", service="other")), early, late)
    found = config(*there)
    assert [route.canary for route in found.routes] == [Canary("default/new/80", weight=1)] * 2
    assert said(*there) == [
        f"Ingress/a metadata.annotations[{PREFIX}canary]: shares what b.test/ gets as Ingress default/z says, whose"
        " canary this Service is, too"
    ]


def test_whose_service_a_canary_has_is_what_the_oldest_ingress_says() -> None:
    late, early = canary("a", canary_weight="9"), canary("z", canary_weight="9")
    own = asking("own", rule("b.test", service="new"))
    there = (*web(), *NEW, asking("shop", rule("a.test")), own)
    assert [route.canary for route in config(*there, late).routes] == [None, None]
    place = f"Ingress/a metadata.annotations[{PREFIX}canary]: nothing of a.test/ goes to this canary: "
    assert said(*there, late) == [
        place + "Ingress default/own, which is older, leads to Service new and is no canary"
    ]
    (route,) = config(*there, early).routes
    assert (route.match.host, route.canary) == ("a.test", Canary("default/new/80", 9))
    assert said(*there, early) == [
        "Ingress/own spec.rules: b.test/ isn't served: Ingress default/z, which is older, has its Service as a canary"
    ]


def test_a_path_that_a_canarys_service_has_leaves_its_place_to_a_younger_ingress() -> None:
    early, own = canary("z", canary_weight="9"), asking("y", rule("b.test", service="new"))
    found = config(*web(), *NEW, early, own, asking("shop", rule("a.test"), rule("b.test")))
    assert {r.match.host: r.backends[0].upstream for r in found.routes} == dict.fromkeys(
        ("a.test", "b.test"), "default/web/80"
    )


def test_a_canary_of_which_a_path_is_nobody_elses_is_dropped() -> None:
    there = (*web(), *NEW, asking(), canary("a", rule("a.test", "/", "/y", service="new"), canary_weight="9"))
    (route,) = config(*there).routes
    assert route.canary is None
    place = f"Ingress/a metadata.annotations[{PREFIX}canary]: nothing of"
    assert said(*there) == [
        f"{place} a.test/y goes to this canary: no Ingress that is no canary has this host and path",
        f"{place} a.test/ goes to this canary: a.test/y of Ingress default/a is no canary of anything, for which"
        " ingress-nginx drops Service new as a canary",
    ]
    elsewhere = rule("b.test", service="new")
    two = canary("a", rule("a.test", service="new"), elsewhere, canary_weight="9")
    (route,) = config(*web(), *NEW, asking(), two).routes
    assert route.canary == Canary("default/new/80", 9), "a host that nobody has drops nothing"


def test_a_default_backend_is_who_decides_and_gives_no_cookie() -> None:
    late = caught("a", "web", upstream_hash_by="$uri", affinity="cookie")
    there = (*web(), asking("z", load_balance="ewma"), late)
    assert config(*there).upstreams["default/web/80"].balance == HashBy("$uri")
    told = "has no effect: ingress-nginx gives its cookie at paths of rules alone"
    assert said(*there) == [f"Ingress/a metadata.annotations[{PREFIX}affinity]: {told}"]


@pytest.mark.parametrize(
    ("own", "other", "why"),
    [
        ((), ("z",), "Ingress default/z, which is older, has the hosts that no rule has"),
        (
            ("a.test", "/x"),
            ("z", "a.test"),
            "Ingress default/z, which is older, says what no path of the host takes",
        ),
        (
            ("", "/x"),
            (),
            "rules without a host have none in ingress-nginx; an Ingress without any rules has one",
        ),
        (("a.test",), (), "a path / takes all of the host"),
        (("a.test", "/x"), (), ""),
    ],
)
def test_a_default_backend_of_nothing_is_told(own: Any, other: Any, why: str) -> None:
    others = [caught(other[0], "new", *([rule(other[1], "/y")] if other[1:] else []))] if other else []
    told = said(*web(), *NEW, *others, caught("a", "web", *([rule(*own)] if own else [])))
    assert len(told) == bool(why) and all(
        f"Ingress/a spec.defaultBackend: nothing goes there: {why}" in one for one in told
    )


def test_a_pattern_that_is_no_expression_takes_no_value() -> None:
    wrong = canary(canary_by_header="X-New", canary_by_header_pattern="(")
    (route,) = config(*web(), *NEW, asking(), wrong).routes
    assert route.canary == Canary("default/new/80", header="X-New", header_pattern="(?!)")


def test_the_newest_ingress_says_what_a_cookie_is_and_the_oldest_how_it_binds() -> None:
    plain = asking("z", affinity_mode="persistent")
    early, late = (asking(name, affinity="cookie", session_cookie_name=name) for name in ("y", "x"))
    there = config(*web(), plain, early, late).upstreams
    assert there["default/web/80"].balance == CookieAffinity("x", persistent=True)


def test_everything_a_canary_says() -> None:
    said = canary(
        canary_weight="1",
        canary_by_header="X-New",
        canary_by_header_value="beta",
        canary_by_header_pattern="^b",
        canary_by_cookie="new",
    )
    (route,) = config(*web(), *NEW, asking(), said).routes
    assert route.canary == Canary("default/new/80", 1, 100, "X-New", "beta", "^b", "new")


def test_a_canary_shares_the_cookie_of_affinity_unless_it_is_of_the_old_school() -> None:
    sticky = asking(affinity="cookie", session_cookie_name="route")
    for behaviour, balance in (
        ({}, CookieAffinity("route")),
        ({"affinity_canary_behavior": "legacy"}, InTurn()),
    ):
        there = config(*web(), *NEW, sticky, canary(canary_weight="5", **behaviour)).upstreams
        assert there["default/web/80"].balance == CookieAffinity("route")
        assert there["default/new/80"].balance == balance


def test_a_default_backend_has_a_canary_too() -> None:
    whole, part = (
        ingress(
            name, annotations=annotations, defaultBackend={"service": {"name": to, "port": {"number": 80}}}
        )
        for name, to, annotations in (
            ("all", "web", {}),
            ("part", "new", {f"{PREFIX}canary": "true", f"{PREFIX}canary-weight": "9"}),
        )
    )
    found = config(*web(), *NEW, whole, part)
    assert found.default_upstream == "default/web/80"
    assert [route.canary for route in found.routes] == [Canary("default/new/80", 9)]


# --- what is said of it


def said(*objects: Object, cluster: str = "service") -> list[str]:
    spec = {"ingress": {"upstream": cluster}}
    asked = Object(
        {"apiVersion": "emulab.dev/v1", "kind": "Cluster", "metadata": {"name": "c"}, "spec": spec}
    )
    there = Cluster.of(asked)
    everything = Objects([*system_objects(there), *objects])
    classes = IngressClasses.among(everything, there)
    found = oddities({o.key for o in objects}, everything, classes, there)
    return [finding.line().removeprefix("(generated): ") for finding in found]


def test_what_binds_an_ingress_pod_to_some_endpoints_is_told() -> None:
    bound = web(sessionAffinity="ClientIP")
    assert said(*bound, asking()) == [
        "Service/web spec.sessionAffinity: ClientIP binds each ingress pod, which asks the backend of Ingress"
        " default/shop by the cluster IP, to one endpoint, whoever its clients are; the Ingress' annotation"
        f' {PREFIX}service-upstream: "false" has it ask the endpoints'
    ]
    local = web(internalTrafficPolicy="Local")
    assert "to endpoints on its own node, and to none where there is none" in said(*local, asking())[0]
    for fine in (
        said(*bound, asking(service_upstream="false")),
        said(*bound, asking(load_balance="ewma")),
        said(*bound, asking(), cluster="endpoints"),
        said(*bound),
        said(*web(), asking()),
    ):
        assert fine == []
    assert said(*bound, asking(service_upstream="true"), cluster="endpoints") != []


@pytest.mark.parametrize(
    ("others", "why"),
    [
        ((), "no Ingress that is no canary has this host and path"),
        ((asking("shop", rule("b.test")),), "no Ingress that is no canary has this host and path"),
        ((asking("shop", rule("a.test", service="new")),), "Service new gets these requests already"),
        (
            (asking(), canary("first", rule("a.test", service="other"), canary_weight="1")),
            "another canary takes a part of these requests, and one is all there may be",
        ),
    ],
)
def test_a_canary_of_nothing_is_told(others: tuple[Object, ...], why: str) -> None:
    found = said(*web(), *NEW, *others, canary(canary_weight="50"))
    assert found == [
        f"Ingress/canary metadata.annotations[{PREFIX}canary]: nothing of a.test/ goes to this canary: {why}"
    ]
    assert all(
        route.canary is None or route.origin != "canary"
        for route in config(*web(), *NEW, *others, canary(canary_weight="50")).routes
    )


def test_what_has_no_effect_is_told() -> None:
    assert said(*web(), asking(canary_weight="5")) == [
        f'Ingress/shop metadata.annotations[{PREFIX}canary-weight]: has no effect without canary: "true"'
    ]
    assert said(*web(), asking(affinity="cookie", service_upstream="true")) == [
        f"Ingress/shop metadata.annotations[{PREFIX}affinity]: has no effect: with service-upstream the cluster IP is"
        " the only server"
    ]


def test_a_port_that_is_taken_for_another_is_told() -> None:
    ports = [
        {"name": "http", "port": 80, "targetPort": 8080},
        {"name": "admin", "port": 8080, "targetPort": 9090},
    ]
    there = web(ports=ports)
    [line] = said(*there, asking("shop", rule("a.test", port=8080)))
    assert line.startswith("Ingress/shop spec.rules[0].http.paths[0].backend.service.port: ")
    assert "is taken for port 80" in line and "at 8080, not at 9090" in line
    for fine in (rule("a.test", port="admin"), rule("a.test"), rule("a.test", port=9090)):
        assert said(*there, asking("shop", fine)) == []
    assert said(*there, asking("shop", rule("a.test", port=8080), service_upstream="true")) == []
    both = [
        {"name": "u", "port": 80, "targetPort": 5353, "protocol": "UDP"},
        {"name": "t", "port": 80, "targetPort": 5354},
    ]
    assert said(*web(ports=both), asking("shop", rule("a.test", port=80))) == []  # no request comes by UDP
    default = ingress("shop", defaultBackend={"service": {"name": "web", "port": {"number": 8080}}})
    assert said(*there, default)[0].startswith("Ingress/shop spec.defaultBackend.service.port: ")


def test_a_rule_that_nobody_heeds_is_told() -> None:
    assert said(*web(), destination()) == [
        "DestinationRule/r spec.host: nothing heeds it: no Ingress leads to Service default/web"
    ]
    assert said(*web(), asking(), destination()) == []
    policy: dict[str, Any] = {"loadBalancer": {}}
    assert said(*web(), asking(), destination(**policy), destination("web.default", "s", **policy)) == [
        "DestinationRule/s spec.host: DestinationRule default/r, which is older, is heeded for this Service"
    ]
    assert said(*web(), asking(), destination(), destination("web.default", "s", **policy)) == [
        "DestinationRule/r spec.host: DestinationRule default/s, which has a trafficPolicy, is heeded for this Service"
    ]


def test_a_text_with_a_lines_end_is_refused_but_where_spaces_are_no_matter() -> None:
    text = {"affinity": "cookie\n", "session_cookie_name": "route\n", "service_upstream": "true\n"}
    told = unheeded([asking(**text)], IngressClasses.among(Objects(system_objects(Cluster())), Cluster()))
    names = [line.partition(f"[{PREFIX}")[2].partition("]")[0] for line in told]
    assert names == ["session-cookie-name", "service-upstream"] and all(
        "write |- or >-" in line for line in told
    )
    assert config(*web(), asking(**text)).upstreams["default/web/80"].balance == CookieAffinity()


@pytest.mark.parametrize(
    ("annotation", "text", "why"),
    [
        ("load_balance", "least_conn", "is not one of round_robin, ewma"),
        ("load_balance", "chash", "has no effect by itself; write upstream-hash-by"),
        ("upstream_hash_by", "$what", "has $what, which isn't known here"),
        ("upstream_hash_by", "a b", "is no key"),
        ("affinity", "ip", "is not one of cookie"),
        ("affinity_mode", "sticky", "is not one of balanced, persistent"),
        ("session_cookie_samesite", "lax", "is no attribute that the controller sets; write Lax"),
        ("session_cookie_max_age", "1h", "is no number of seconds"),
        ("session_cookie_name", "a;b", "is no name: letters, digits and -._~/: are"),
        ("canary_by_header_pattern", "a b", "is no expression of letters"),
        ("canary_weight", "-1", "is no number"),
        ("proxy_next_upstream", "error http_501", "has 'http_501', which is not one of error, timeout"),
        ("proxy_next_upstream_timeout", "5s", "is no number"),
    ],
)
def test_a_wrong_text_is_told_and_the_default_holds(annotation: str, text: str, why: str) -> None:
    wrong = asking(**{annotation: text})
    classes = IngressClasses.among(Objects(system_objects(Cluster())), Cluster())
    (line,) = unheeded([wrong], classes)
    assert why in line and "requests are served as without it" in line
    made = config(*web(), wrong)
    (notice,) = made.notices
    assert why in notice.text and notice.about == f"Ingress {wrong.namespace}/{wrong.name}"
    assert replace(made, notices=()) == config(*web(), asking())

"""What is said on `apply` of what the engine that serves can't do: what the lines of its tables say."""

from __future__ import annotations

from typing import Any

import pytest

from emulab.cluster.system import system_objects
from emulab.kinds.emulab.clusterview import cluster_of
from emulab.lab.engines import unfollowed, what_lacks
from emulab.model.collection import Objects
from emulab.model.objects import Object

PREFIX = "nginx.ingress.kubernetes.io/"


def cluster(engine: str) -> Object:
    spec = {"ingress": {"engine": engine}}
    return Object(
        {"apiVersion": "emulab.dev/v1", "kind": "Cluster", "metadata": {"name": "lab"}, "spec": spec}
    )


def ingress(name: str, **annotations: str) -> Object:
    backend = {"service": {"name": "web", "port": {"number": 80}}}
    rule = {"host": "a.test", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}
    named = {PREFIX + key.replace("_", "-"): text for key, text in annotations.items()}
    metadata = {"name": name, "namespace": "default", "annotations": named}
    spec = {"ingressClassName": "nginx", "rules": [rule]}
    version = "networking.k8s.io/v1"
    return Object({"apiVersion": version, "kind": "Ingress", "metadata": metadata, "spec": spec})


def settings(**data: str) -> Object:
    metadata = {"name": "ingress-nginx-controller", "namespace": "ingress-nginx"}
    named = {key.replace("_", "-"): text for key, text in data.items()}
    return Object({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": named})


def rule(**policy: Any) -> Object:
    spec = {"host": "web", "trafficPolicy": policy}
    version, metadata = "networking.istio.io/v1", {"name": "web", "namespace": "default"}
    return Object({"apiVersion": version, "kind": "DestinationRule", "metadata": metadata, "spec": spec})


def said(engine: str, given: Object, *others: Object) -> list[str]:
    beside: list[Any] = [cluster(engine), *others]
    system = system_objects(cluster_of(Objects(beside)))
    own = [o for o in system if o.key not in {one.key for one in (given, *others)}]
    objects = Objects([*own, *beside, given])
    return [finding.line() for finding in unfollowed([given], objects)]


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ("HAProxy version 2.6.12-1+deb12u4 2026/10/17\nFeature list : +LUA +MEMORY", ""),
        ("HAProxy version 3.0.5 2024\nFeature list : +LUA", ""),
        ("HA-Proxy version 2.4.24-0ubuntu0.22.04 2024\n+LUA", "is 2.4, and 2.6 is the oldest"),
        ("HAProxy version 2.8.1\nFeature list : -LUA", "is built without Lua"),
        ("what?", "is something else"),
    ],
)
def test_an_old_haproxy_is_refused(told: str, why: str) -> None:
    assert what_lacks(told).startswith(why) and bool(what_lacks(told)) is bool(why)


ODD = {"proxy_buffer_size": "8k", "load_balance": "ewma", "rewrite_target": "/x", "limit_rps": "5"}


def test_an_annotation_that_the_engine_does_not_follow_is_named_with_the_reason() -> None:
    assert said("builtin", ingress("shop", **ODD)) == []
    (line,) = said("nginx", ingress("shop", **ODD))
    assert f"metadata.annotations.{PREFIX}load-balance" in line or "load-balance" in line
    assert line.endswith(
        "is followed in part by the engine nginx: the endpoints are asked in turn: it measures nobody"
    )
    lines = said("haproxy", ingress("shop", **ODD))
    assert len(lines) == 3 and "isn't followed by the engine haproxy: its buffers are of one size" in lines[0]


def test_a_value_that_it_follows_and_one_that_says_nothing_are_no_matter() -> None:
    assert said("haproxy", ingress("shop", load_balance="round_robin", proxy_buffering="off")) == []
    assert said("haproxy", ingress("shop", proxy_buffer_size="much")) == []


def test_a_key_of_the_config_map_is_told_when_that_is_given_and_all_with_a_new_cluster() -> None:
    config_map = settings(gzip_level="5", proxy_send_timeout="3", use_gzip="true")
    lines = said("haproxy", config_map, ingress("shop", **ODD))
    assert ["data.gzip-level" in line for line in lines] == [True, False]
    assert "data.proxy-send-timeout" in lines[1] and "one time for both ways" in lines[1]
    assert len(said("haproxy", cluster("haproxy"), config_map, ingress("shop", **ODD))) == 5


@pytest.mark.parametrize("engine", ["nginx", "haproxy"])
def test_what_a_destination_rule_asks_for_is_told_of_that(engine: str) -> None:
    at_port = {"port": {"number": 80}, "connectionPool": {"tcp": {"maxConnections": 1}}}
    strict = rule(outlierDetection={"interval": "1s"}, portLevelSettings=[at_port])
    lines = said(engine, strict, ingress("shop"))
    assert [line.split(": ")[1] for line in lines] == [
        "DestinationRule/web spec.trafficPolicy.outlierDetection",
        "DestinationRule/web spec.trafficPolicy.portLevelSettings[0].connectionPool",
    ]
    assert said(engine, cluster(engine), strict, ingress("shop")) == lines
    assert said(engine, ingress("shop"), strict) == [] and said("builtin", strict) == []
    assert said(engine, rule(loadBalancer={"simple": "RANDOM"})) == []

"""What balancers may be told, in a LoadBalancer and by annotations of Services and Ingresses."""

from __future__ import annotations

import re
from typing import Any

import pytest
from controllers_store import make
from manifest_texts import accepted, described, refused

from emulab.kinds.core import balanceroddities
from emulab.kinds.core.serviceview import Service
from emulab.kinds.emulab.balancingview import Balancing, annotated, annotation_problems, health_annotated
from emulab.kinds.emulab.loadbalancerview import LoadBalancer
from emulab.kinds.emulab.servicebalancing import (
    asked_virtual_addresses,
    checked_by_http,
    ip_mode,
    is_of_known_class,
    may_share,
    service_balancing,
)
from emulab.model.objects import Object

ALB, NLB = "alb.ingress.kubernetes.io/", "service.beta.kubernetes.io/aws-load-balancer-"


def test_all_that_a_balancer_may_be_told() -> None:
    spec = {
        "mode": "proxy",
        "ports": [443, "53/UDP"],
        "algorithm": "leastconn",
        "weights": {"node1": 3, "node2": 0},
        "stickiness": 60,
        "healthCheck": {"protocol": "HTTPS", "path": "/x", "codes": 204, "interval": 0.5, "rise": 3},
        "failOpen": True,
        "draining": 0,
        "deny": "drop",
        "proxyProtocol": "v2",
        "limits": {"connections": 10, "connectionsPerSource": 2, "rate": 5},
        "idleTimeout": 350,
    }
    accepted(described("LoadBalancer", spec, "lb"))
    balancer = LoadBalancer.of(make("LoadBalancer", "lb", "", spec=spec))
    assert (balancer.ports, balancer.udp_ports) == ((443,), (53,))
    told = balancer.balancing
    assert (told.algorithm, told.weights, told.stickiness, told.draining) == (
        "leastconn",
        spec["weights"],
        60,
        0,
    )
    assert (told.proxy_protocol, told.connections, told.rate, told.idle_timeout) == (2, 10, 5, 350)
    assert (told.health.codes, told.health.interval, told.health.fall) == ("204", 0.5, None)
    assert Balancing.of({"mode": "nat"}).preserve_client_ip
    assert not Balancing.of({"mode": "nat", "preserveClientIP": False}).preserve_client_ip


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ({"mode": "dsr"}, 'spec.mode: "dsr" is not one of proxy, nat'),
        ({"mode": "nat", "algorithm": "leastconn"}, "spec.algorithm: .*needs mode: proxy"),
        ({"mode": "nat", "draining": 0}, "spec.draining: 0 needs mode: proxy: what is forwarded goes on"),
        ({"mode": "nat", "workers": 2}, "spec.workers: 2 needs mode: proxy: the kernel forwards on all CPUs"),
        ({"workers": 17}, "spec.workers: .*number of processes"),
        ({"mode": "nat", "proxyProtocol": "v1"}, "spec.proxyProtocol: .*needs mode: proxy"),
        (
            {"mode": "nat", "limits": {"connectionsPerSource": 1}},
            "spec.limits.connectionsPerSource: .*needs mode",
        ),
        ({"preserveClientIP": True}, "spec.preserveClientIP: needs mode: nat"),
        ({"ports": ["53/SCTP"]}, r"spec.ports\[0\]: .*is not a port"),
        ({"weights": {"node1": 300}}, "spec.weights.node1: 300 is not a weight"),
        ({"healthCheck": {"protocol": "TCP", "path": "/"}}, "spec.healthCheck.path: needs protocol"),
        ({"healthCheck": {"codes": "abc"}}, "spec.healthCheck.codes: .*is not a status"),
        ({"healthCheck": {"codes": "200,302-301"}}, "spec.healthCheck.codes: 302-301 ends before it begins"),
        ({"ports": [80, "80/TCP"]}, r'spec.ports\[1\]: "80/TCP" is given twice'),
        ({"healthCheck": {"interval": 0}}, "spec.healthCheck.interval: 0 is not a number of seconds"),
        ({"healthCheck": {"intervall": 1}}, "spec.healthCheck.intervall.*did you mean interval"),
        ({"algoritm": "source"}, "algoritm"),
    ],
)
def test_what_is_wrong_is_said_with_its_path(spec: dict[str, Any], problem: str) -> None:
    (found,) = refused(described("LoadBalancer", spec, "lb"))
    assert re.search(problem, found), found


def service(annotations: dict[str, str] | None = None, **spec: Any) -> Object:
    metadata = {"annotations": annotations or {}}
    given = {"type": "LoadBalancer", "ports": [{"port": 80}], **spec}
    return make("Service", "s", metadata=metadata, spec=given)


def test_annotations_of_a_service() -> None:
    told = service_balancing(
        service(
            {
                "balancer.emulab.dev/algorithm": "source",
                "balancer.emulab.dev/weights": "node1=3,node2=1",
                "balancer.emulab.dev/limits": '{"rate": 5}',
                "balancer.emulab.dev/failOpen": "true",
                f"{NLB}proxy-protocol": "*",
                f"{NLB}healthcheck-path": "/ready",
                f"{NLB}healthcheck-port": "traffic-port",
                f"{NLB}healthcheck-protocol": "http",
                f"{ALB}healthy-threshold-count": "5",
            }
        )
    )
    assert (told.algorithm, told.weights, told.rate) == ("source", {"node1": 3, "node2": 1}, 5)
    assert told.fail_open and told.proxy_protocol == 2
    assert (told.health.path, told.health.protocol, told.health.port, told.health.rise) == (
        "/ready",
        "HTTP",
        None,
        5,
    )


def test_a_wrong_annotation_says_nothing_and_is_told_of() -> None:
    given = {
        "balancer.emulab.dev/algorithm": "magic",
        "balancer.emulab.dev/magic": "x",
        f"{ALB}healthcheck-interval-seconds": "soon",
        f"{NLB}type": "clb",
    }
    assert annotated(given) == {}
    said = dict(annotation_problems(given))
    assert sorted(said) == sorted([*given][:3])
    assert "is not one of roundrobin, leastconn, source" in said["balancer.emulab.dev/algorithm"]
    both = {"balancer.emulab.dev/mode": "nat", f"{NLB}proxy-protocol": "*"}
    assert "needs mode: proxy" in dict(annotation_problems(both))[f"{NLB}proxy-protocol"]
    assert annotated(both) == {"mode": "nat"}


@pytest.mark.parametrize(
    ("given", "check"),
    [
        ({"path": "/x", "success-codes": "200", "interval": "5"}, {"interval": 5}),
        ({"path": "/x", "protocol": "tcp", "port": "99"}, {"protocol": "TCP", "port": 99}),
        ({"path": "/x", "protocol": "HTTP"}, {"path": "/x", "protocol": "HTTP"}),
    ],
)
def test_a_path_is_asked_for_where_aws_is_told_of_http(given: dict[str, str], check: dict[str, Any]) -> None:
    """Its controller checks a Service's balancer by TCP otherwise, whatever path there is."""
    annotations = {f"{NLB}healthcheck-{name}": text for name, text in given.items()}
    assert annotated(annotations) == {"healthCheck": check}
    dropped = {f"{NLB}healthcheck-{name}" for name in ("path", "success-codes") if name in given}
    said = dict(annotation_problems(annotations))
    assert {*said} == (set() if "path" in check else dropped)
    assert all("changes nothing without" in text for text in said.values())
    own = {**annotations, "balancer.emulab.dev/healthCheck": '{"protocol": "HTTP", "path": "/own"}'}
    assert annotated(own)["healthCheck"]["path"] == "/own"


@pytest.mark.parametrize(
    ("annotations", "policy", "path"),
    [
        ({}, "Local", "/x"),
        ({f"{NLB}nlb-target-type": "instance"}, "Local", "/x"),
        ({f"{NLB}nlb-target-type": "ip"}, "Local", ""),
        ({f"{NLB}type": "nlb-ip"}, "Local", ""),
        ({f"{NLB}healthcheck-protocol": "TCP"}, "Local", ""),
        ({}, "Cluster", ""),
    ],
)
def test_nodes_of_a_local_service_are_asked_for_a_path(
    annotations: dict[str, str], policy: str, path: str
) -> None:
    """With the policy Local, AWS' controller has the healthCheckNodePort asked by HTTP of its own accord."""
    told = service({f"{NLB}healthcheck-path": "/x", **annotations})
    told.raw["spec"]["externalTrafficPolicy"] = policy
    assert service_balancing(told).health.path == path
    problems = dict(annotation_problems(told.annotations, by_http=checked_by_http(told)))
    assert (f"{NLB}healthcheck-path" in problems) is (not path)


@pytest.mark.parametrize(
    ("annotations", "spec", "codes"),
    [
        ({f"{NLB}type": "external"}, {}, "200-399"),
        ({}, {"loadBalancerClass": "service.k8s.aws/nlb"}, "200-399"),
        ({f"{NLB}type": "nlb", f"{NLB}healthcheck-success-codes": "201"}, {}, "201"),
        ({}, {}, ""),
    ],
)
def test_which_statuses_please_an_nlb(annotations: dict[str, str], spec: dict[str, Any], codes: str) -> None:
    told = service({f"{NLB}healthcheck-protocol": "HTTP", **annotations})
    told.raw["spec"].update(spec)
    assert service_balancing(told).health.codes == codes


def test_an_ingress_speaks_of_checks_alone() -> None:
    given = {
        f"{ALB}healthcheck-path": "/x",
        f"{ALB}success-codes": "200,302",
        "balancer.emulab.dev/mode": "nat",
    }
    assert health_annotated(given) == {"path": "/x", "codes": "200,302"}


DO, AZURE = "service.beta.kubernetes.io/do-loadbalancer-", "service.beta.kubernetes.io/azure-load-balancer-"
HETZNER = "load-balancer.hetzner.cloud/"


@pytest.mark.parametrize(
    ("given", "spec"),
    [
        ({f"{NLB}type": "nlb"}, {"mode": "nat"}),
        ({f"{NLB}type": "external", f"{NLB}proxy-protocol": "*"}, {"proxyProtocol": "v2"}),
        ({f"{NLB}target-group-attributes": "proxy_protocol_v2.enabled=true"}, {"proxyProtocol": "v2"}),
        (
            {f"{NLB}type": "nlb", f"{NLB}target-group-attributes": "preserve_client_ip.enabled=false"},
            {"mode": "nat", "preserveClientIP": False},
        ),
        (
            {f"{NLB}target-group-attributes": "stickiness.enabled=true,stickiness.type=source_ip"},
            {"algorithm": "source"},
        ),
        ({f"{NLB}target-group-attributes": "deregistration_delay.timeout_seconds=30"}, {"draining": 30}),
        ({f"{NLB}connection-idle-timeout": "60"}, {"idleTimeout": 60}),
        ({f"{AZURE}tcp-idle-timeout": "4"}, {"idleTimeout": 240}),
        (
            {f"{AZURE}health-probe-request-path": "/x", f"{AZURE}health-probe-num-of-probe": "3"},
            {"healthCheck": {"path": "/x", "fall": 3}},
        ),
        (
            {f"{DO}algorithm": "least_connections", f"{DO}healthcheck-check-interval-seconds": "3"},
            {"algorithm": "leastconn", "healthCheck": {"interval": 3}},
        ),
        (
            {f"{HETZNER}health-check-interval": "15s", f"{HETZNER}uses-proxyprotocol": "true"},
            {"healthCheck": {"interval": 15}, "proxyProtocol": "v1"},
        ),
    ],
)
def test_what_annotations_of_clouds_say(given: dict[str, str], spec: dict[str, Any]) -> None:
    assert annotated(given) == spec
    assert list(annotation_problems(given)) == []


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({f"{NLB}ssl-cert": "arn:aws:acm:x"}, "isn't followed here"),
        ({f"{NLB}nlb-target-type": "ip"}, "isn't followed here"),
        (
            {f"{NLB}attributes": "dns_record.client_routing_policy=any"},
            "client_routing_policy isn't followed",
        ),
        ({f"{NLB}attributes": "what"}, '"what" is not a pair'),
        ({f"{NLB}target-group-attributes.443": "stickiness.enabled=true"}, "isn't followed for one port"),
        ({f"{NLB}type": "nlb", f"{NLB}connection-draining-timeout": "5"}, "5 needs mode: proxy"),
        ({f"{NLB}connection-idle-timeout": "soon"}, '"soon" is not a number of seconds'),
        ({f"{DO}algorithm": "magic"}, '"magic" is not one of round_robin'),
        ({"metallb.universe.tf/address-pool": "x"}, "isn't followed here"),
        ({"cloud.google.com/neg": '{"ingress": true}'}, "isn't followed here"),
        ({f"{NLB}cross-zone-load-balancing-enabled": "true"}, ""),
        (
            {f"{NLB}cross-zone-load-balancing-enabled": "nope"},
            '"nope" isn\'t followed here, where it is always true',
        ),
        ({f"{NLB}backend-protocol": "tcp"}, ""),
        ({f"{NLB}backend-protocol": "http"}, '"http" isn\'t followed here, where it is always tcp'),
        ({f"{NLB}type": "nbl"}, '"nbl" is not one of nlb, nlb-ip, external, so the balancer is a proxy'),
        ({f"{NLB}type": "n\nlb"}, '"n\\nlb" is not one of nlb, nlb-ip, external, so the balancer is a proxy'),
        ({f"{NLB}type": "clb"}, ""),
        ({"balancer.emulab.dev/weights": "node1:3"}, '"node1:3" is not a mapping'),
        ({f"{NLB}type": "nlb", f"{NLB}nlb-target-type": "instance"}, ""),
        ({f"{NLB}proxy-protocol": "true"}, '"true" is not one of *, false'),
        ({f"{DO}enable-proxy-protocol": "yes"}, '"yes" is not one of true, false'),
        ({f"{DO}enable-proxy-protocol": "False"}, ""),
        (
            {f"{NLB}target-group-attributes": "stickiness.type=lb_cookie"},
            '"lb_cookie" is not one of source_ip',
        ),
        ({"metallb.io/loadBalancerIPs": "203.0.113.9"}, ""),
        ({"metallb.io/loadBalancerIPs": "2001:db8::9, 203.0.113.9"}, ""),
        ({"metallb.io/loadBalancerIPs": "203.0.113.8, 203.0.113.9"}, "203.0.113.9 isn't followed"),
        ({"metallb.io/loadBalancerIPs": "public"}, '"public" is no address'),
        ({"kube-vip.io/loadbalancerIPs": "0.0.0.0"}, '"0.0.0.0" is no address to ask for'),
        ({"kubernetes.io/elb.class": "union"}, "isn't followed here"),
        ({"service.cilium.io/forwarding-mode": "dsr"}, "isn't followed here"),
        ({"projectcalico.org/loadBalancerIPs": '["203.0.113.9"]'}, "isn't followed here"),
        ({"prometheus.io/scrape": "true"}, ""),
    ],
)
def test_what_clouds_have_beyond_that_is_told(given: dict[str, str], problem: str) -> None:
    found = list(annotation_problems(given))
    assert len(found) == bool(problem) and all(problem in text for _, text in found), found


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        (f"{NLB}scheme", "internal", "isn't followed: the balancer is on the internet"),
        (f"{NLB}scheme", "internet-faceing", '"internet-faceing" is not one of internal, internet-facing;'),
        (f"{NLB}scheme", "internet-facing", ""),
        (f"{NLB}internal", "yes", "isn't followed: the balancer is on the internet"),
        (f"{NLB}internal", "false", ""),
        (f"{AZURE}internal", "ture", '"ture" is not one of true, false;'),
        (f"{DO}network", "EXTERNAL", ""),
        ("networking.gke.io/load-balancer-type", "Internl", '"Internl" is not one of internal, external;'),
        ("metallb.io/loadBalancerIPs", "203.0.113.9", ""),
        (
            "metallb.io/loadBalancerIPs",
            "203.0.113.8",
            "isn't followed: spec.loadBalancerIP asks for 203.0.113.9",
        ),
    ],
)
def test_where_a_balancer_is_asked_to_be(name: str, text: str, told: str) -> None:
    o = service({name: text}, loadBalancerIP="203.0.113.9")
    found = [finding.line() for finding in balanceroddities.oddities(o, ["IPv4"])]
    assert len(found) == bool(told) and all(told in line for line in found), found


@pytest.mark.parametrize(
    ("text", "families", "told"),
    [
        ("ipv4", ["IPv4"], ""),
        ("dualstack", ["IPv4", "IPv6"], ""),
        ("dualstack", ["IPv4"], "ipFamilyPolicy: PreferDualStack, in a Cluster of both, gives it both"),
        ("ipv4", ["IPv6", "IPv4"], "ipFamilyPolicy: SingleStack gives it one"),
        ("dual-stack", ["IPv4"], '"dual-stack" is not one of ipv4, dualstack'),
    ],
)
def test_of_which_families_a_balancer_is_asked_to_be(text: str, families: list[str], told: str) -> None:
    o = service({f"{NLB}ip-address-type": text})
    found = [finding.line() for finding in balanceroddities.oddities(o, families)]
    assert len(found) == bool(told) and all(told in line for line in found), found


def test_a_service_without_a_balancer_is_told_of_what_is_about_one() -> None:
    given = {
        f"{NLB}type": "nlb",
        "balancer.emulab.dev/algorithm": "source",
        f"{NLB}scheme": "internal",
        f"{NLB}ip-address-type": "dualstack",
        "a/b": "c",
    }
    found = [f.line() for f in balanceroddities.oddities(service(given, type="ClusterIP"), ["IPv4"])]
    assert len(found) == 4, found
    assert all(line.endswith("isn't followed: a Service of type ClusterIP has no balancer") for line in found)


def test_an_ingress_of_another_controller_is_told_of_its_annotations() -> None:
    given = {f"{ALB}listen-ports": "[]", f"{ALB}healthcheck-path": "/x", f"{ALB}scheme": "internet-facing"}
    given |= {f"{ALB}load-balancer-attributes": "idle_timeout.timeout_seconds=9", f"{NLB}ssl-ports": "443"}
    given |= {"nginx.org/client-max-body-size": "4m", "cert-manager.io/cluster-issuer": "x"}
    assert [name for name, _ in annotation_problems(given, own=False)] == [
        f"{ALB}load-balancer-attributes",
        f"{ALB}listen-ports",
        "nginx.org/client-max-body-size",
    ]


RANGES = "service.beta.kubernetes.io/load-balancer-source-ranges"


def test_who_may_come_in_by_the_annotation_of_old() -> None:
    """As `ValidateService` has it: a wrong one is refused, so that nobody is let in by mistake."""
    networks = Service.of(service({RANGES: "10.0.0.0/8, 192.0.2.0/24"})).load_balancer_source_ranges
    assert [str(network) for network in networks] == ["10.0.0.0/8", "192.0.2.0/24"]
    for text, kind, said in (
        ("10.0.0.0", "LoadBalancer", "is not a CIDR"),
        ("10.0.0.0/8", "NodePort", "may not be set when type is NodePort"),
    ):
        raw = described("Service", {"type": kind, "ports": [{"port": 80}]}, "s")
        raw["metadata"]["annotations"] = {RANGES: text}
        (found,) = refused(raw)
        assert said in found


def test_an_address_may_be_asked_for_by_annotations_of_others() -> None:
    asked = {"metallb.universe.tf/loadBalancerIPs": "203.0.113.9,2001:db8::9"}
    assert [*map(str, asked_virtual_addresses(service(asked)))] == ["203.0.113.9", "2001:db8::9"]
    (alone,) = asked_virtual_addresses(service(asked, loadBalancerIP="203.0.113.8"))
    assert str(alone) == "203.0.113.8"
    assert not asked_virtual_addresses(service(asked, type="NodePort"))
    assert not asked_virtual_addresses(service({"kube-vip.io/loadbalancerIPs": "0.0.0.0"}))


def test_classes() -> None:
    assert is_of_known_class(service()) and is_of_known_class(service(loadBalancerClass="emulab.dev/nat"))
    assert not is_of_known_class(service(loadBalancerClass="acme.io/x"))
    assert service_balancing(service(loadBalancerClass="service.k8s.aws/nlb")).preserve_client_ip
    assert service_balancing(service(loadBalancerClass="emulab.dev/proxy")).mode == "proxy"


def test_ip_mode() -> None:
    assert ip_mode(service()) == "VIP"
    assert ip_mode(service({f"{NLB}proxy-protocol": "*"})) == "Proxy"
    assert ip_mode(service({f"{NLB}proxy-protocol": "*", "balancer.emulab.dev/ip-mode": "VIP"})) == "VIP"
    assert ip_mode(service({"balancer.emulab.dev/ip-mode": "Proxy"})) == "Proxy"


def test_who_may_share_an_address() -> None:
    key = {"metallb.io/allow-shared-ip": "k"}
    http, https = service(key), service(key, ports=[{"port": 443}])
    assert may_share(http, https)
    assert may_share(
        http, service({"emulab.dev/allow-shared-ip": "k"}, ports=[{"port": 80, "protocol": "UDP"}])
    )
    assert not may_share(http, service(key)), "one port"
    assert not may_share(service(), https) and not may_share(https, service())
    assert not may_share(http, service({"metallb.io/allow-shared-ip": "other"}, ports=[{"port": 443}]))
    local = {"externalTrafficPolicy": "Local", "ports": [{"port": 443}]}
    assert not may_share(http, service(key, **local, selector={"app": "x"}))
    near = {"externalTrafficPolicy": "Local", "selector": {"app": "x"}}
    assert may_share(service(key, **near), service(key, **local, selector={"app": "x"}))
    assert not may_share(service(key, **near), service(key, **local, selector={"app": "y"}))
    assert not may_share(service(key, selector={"app": "x"}), service(key, **local, selector={"app": "x"}))
    unsaid = {"metallb.io/allow-shared-ip": ""}
    assert not may_share(service(unsaid), service(unsaid, ports=[{"port": 443}]))

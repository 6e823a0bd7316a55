"""Objects taken together: conflicts, which are errors, and names that lead nowhere, which are warnings."""

from __future__ import annotations

from typing import Any

import pytest
from manifest_texts import (
    BACKEND,
    POD,
    SERVICE,
    WORKLOAD,
    accepted,
    described,
    manifest,
    patched,
    problems,
    refused,
    stream,
    warned,
)

from emulab.cluster.admission.crosscheck import warnings
from emulab.model.objects import Object

WEB = described(
    "Deployment",
    patched(WORKLOAD, "template.spec.containers.0.ports", [{"name": "http", "containerPort": 80}]),
)


def service(name: str, **spec: Any) -> dict[str, Any]:
    return described("Service", {**SERVICE, **spec}, name)


# Conflicts


def test_one_cluster_a_lab() -> None:
    assert problems(stream(described("Cluster", name="a"), described("Cluster", name="b"))) == [
        "shop.yaml:3: Cluster/b: a lab has one Cluster, which is at shop.yaml:1"
    ]


def test_families_that_the_cluster_has_not() -> None:
    dual = {"ipFamilies": ["IPv4", "IPv6"], "ipFamilyPolicy": "RequireDualStack"}
    assert refused(service("a", **dual)) == [
        "spec.ipFamilies[1]: IPv6 is not configured on this cluster",
        "spec.ipFamilyPolicy: this cluster is not configured for dual-stack services",
    ]
    assert warned(service("a", selector=None, ipFamilies=["IPv4"], ipFamilyPolicy="PreferDualStack")) == []
    assert warned(service("a", clusterIP="None", selector=None, **dual)) == []
    assert len(refused(service("a", clusterIP="None", **dual))) == 2


def test_beside_a_cluster_that_is_wrong_nothing_is_judged_by_the_default_one() -> None:
    """What fits the one that was meant would be refused, too, and lead away from the fault."""
    wrong = described("Cluster", {"proxy": "nftables", "network": {"families": ["IPv4", "IPv6"]}}, "a")
    dual = service("b", ipFamilies=["IPv4", "IPv6"], clusterIP="10.200.0.7")
    [problem] = problems(stream(wrong, dual))
    assert "Cluster/a spec.proxy" in problem


def test_cluster_ips_are_given_once_and_lie_in_the_cidr() -> None:
    assert refused(service("a", clusterIP="10.96.0.20"), service("b", clusterIP="10.96.0.20")) == [
        "spec.clusterIP: 10.96.0.20 is already that of Service/default/a at shop.yaml:1"
    ]
    outside = "is not an address in serviceCIDR"
    assert refused(service("a", clusterIP="10.0.0.5")) == [f"spec.clusterIP: 10.0.0.5 {outside} 10.96.0.0/12"]
    cluster = described("Cluster", {"serviceCIDR": "10.50.0.0/16"}, "c")
    assert refused(service("a", clusterIP="10.96.0.20"), cluster) == [
        f"spec.clusterIP: 10.96.0.20 {outside} 10.50.0.0/16"
    ]
    assert refused(service("a", clusterIPs=["10.50.0.0"]), cluster) == [
        f"spec.clusterIPs[0]: 10.50.0.0 {outside} 10.50.0.0/16"
    ]
    assert accepted(service("a", clusterIP="10.50.0.20"), cluster)


def test_addresses_of_the_cluster_itself_are_reserved() -> None:
    assert refused(service("a", clusterIP="10.96.0.10")) == [
        "spec.clusterIP: 10.96.0.10 is reserved for Service/kube-system/kube-dns"
    ]
    assert refused(service("a", clusterIP="10.96.0.1")) == [
        "spec.clusterIP: 10.96.0.1 is reserved for Service/default/kubernetes"
    ]
    dns = service("kube-dns", clusterIP="10.96.0.10")
    assert accepted({**dns, "metadata": {"name": "kube-dns", "namespace": "kube-system"}})


def test_node_ports_are_given_once_whatever_their_protocol() -> None:
    tcp = service("a", type="NodePort", ports=[{"port": 80, "nodePort": 30080}])
    udp = service("b", type="NodePort", ports=[{"port": 80, "nodePort": 30080, "protocol": "UDP"}])
    assert refused(tcp, udp) == [
        "spec.ports[0].nodePort: 30080 is already that of Service/default/a at shop.yaml:1"
    ]


def test_health_check_node_ports_are_node_ports() -> None:
    spec: dict[str, Any] = {"type": "LoadBalancer", "externalTrafficPolicy": "Local"}
    a = service("a", **spec, healthCheckNodePort=30080)
    b = service("b", type="NodePort", ports=[{"port": 80, "nodePort": 30080}])
    c = service("c", **spec, healthCheckNodePort=30081, ports=[{"port": 80, "nodePort": 30081}])
    assert refused(a, b) == [
        "spec.ports[0].nodePort: 30080 is already that of Service/default/a at shop.yaml:1"
    ]
    assert refused(c) == ["spec.healthCheckNodePort: 30081 is already a node port of this Service"]


def test_addresses_of_balancers_are_given_once() -> None:
    a, b = (described("LoadBalancer", {"address": "10.0.0.100"}, name) for name in "ab")
    assert refused(a, b) == ["spec.address: 10.0.0.100 is already that of LoadBalancer/a at shop.yaml:1"]


@pytest.mark.parametrize(
    ("objects", "problem"),
    [
        (
            [described("Client", name="dns")],
            'metadata.name: "dns" is already the name of another place of the lab',
        ),
        (
            [described("Client", name="public-lb")],
            'metadata.name: "public-lb" is already the name of another place of the lab',
        ),
        (
            [described("LoadBalancer", name="client")],
            'metadata.name: "client" is already the name of another place of the lab',
        ),
        ([described("Client", name="node2")], 'metadata.name: "node2" is already the name of a node'),
        (
            [described("LoadBalancer", name="edge"), described("Client", name="edge")],
            'metadata.name: "edge" is already the name of LoadBalancer',
        ),
    ],
)
def test_places_share_their_names(objects: list[dict[str, Any]], problem: str) -> None:
    assert refused(*objects) == [problem]


def test_places_may_have_names_that_are_free() -> None:
    one_node = described("Cluster", {"nodes": 1}, "c")
    assert accepted(one_node, described("Client", name="node2"), described("LoadBalancer", name="public-lb"))


# Warnings


def test_a_sound_set_has_no_warnings() -> None:
    ingress = described(
        "Ingress",
        {"defaultBackend": BACKEND, "tls": [{"secretName": "cert"}]},
        metadata={"name": "web", "annotations": {"emulab.dev/load-balancer": "private-lb"}},
    )
    balancer = described("LoadBalancer", {"target": {"service": {"name": "web", "port": 80}}}, "private-lb")
    secret = described("Secret", name="cert")
    web = service("web", ports=[{"port": 80, "targetPort": "http"}])
    assert warned(WEB, web, ingress, balancer, secret) == []


def test_selectors_that_match_nothing() -> None:
    nothing = "Service/web spec.selector: matches no Pod and no workload's template"
    assert warned(service("web")) == [nothing]
    assert warned(service("web", selector={"app": "web", "v": "2"}), WEB) == [nothing]
    elsewhere = {**WEB, "metadata": {"name": "web", "namespace": "other"}}
    assert warned(service("web"), elsewhere, described("Namespace", name="other")) == [nothing]
    assert warned(service("web"), WEB) == []
    pod = described("Pod", POD, metadata={"name": "p", "labels": {"app": "web", "v": "2"}})
    assert warned(service("web", selector={"v": "2", "app": "web"}), WEB, pod) == []
    assert warned(described("Service", {"ports": [{"port": 80}]})) == [], "no selector: endpoints by hand"


def test_a_namespace_that_is_not_there_is_told_of_once() -> None:
    there = [
        {**described("ConfigMap", name=name), "metadata": {"name": name, "namespace": "a"}} for name in "xy"
    ]
    assert warned(*there) == [
        "ConfigMap/x metadata.namespace: there is no Namespace a: a cluster refuses what is in it until it has one"
    ]
    assert warned(*there, described("Namespace", name="a")) == []
    for namespace in ("kube-system", "kube-node-lease"):
        assert warned({**WEB, "metadata": {"name": "web", "namespace": namespace}}) == []


def test_namespaces_that_are_not_there_are_told_of_in_the_order_of_what_is_in_them() -> None:
    there = [
        {**described("ConfigMap"), "metadata": {"name": f"x{number}", "namespace": name}}
        for number, name in enumerate("baba")
    ]
    assert [line.partition("Namespace ")[2][0] for line in warnings(accepted(*there))] == ["b", "a"]


def test_levels_of_pod_security_hold_nobody_back() -> None:
    label = "pod-security.kubernetes.io/enforce"
    asked = [
        described("Namespace", metadata={"name": level, "labels": {label: level}})
        for level in ("privileged", "baseline")
    ]
    assert warned(*asked) == [
        f"Namespace/baseline metadata.labels[{label}]: isn't followed: Pods come up that baseline forbids"
    ]


def test_target_ports_that_no_container_has() -> None:
    assert warned(service("web", ports=[{"port": 80, "targetPort": "https"}]), WEB) == [
        'Service/web spec.ports[0].targetPort: no selected container has a TCP port named "https"'
    ]
    assert warned(service("web", ports=[{"port": 80, "targetPort": "http", "protocol": "UDP"}]), WEB) == [
        'Service/web spec.ports[0].targetPort: no selected container has a UDP port named "http"'
    ]
    assert warned(service("web", ports=[{"port": 80, "targetPort": 9999}]), WEB) == [
        "Service/web spec.ports[0].targetPort: 9999/TCP is no port of Deployment/default/web, whose stand-ins listen on"
        " 80/TCP alone"
    ]


def test_target_ports_on_which_an_images_program_does_not_listen() -> None:
    """http-echo listens where it is told to, whatever ports it declares."""
    container = {"name": "c", "image": "hashicorp/http-echo", "args": ["-text=x", "-listen=:8080"]}
    spec = patched(WORKLOAD, "template.spec.containers.0", {**container, "ports": [{"containerPort": 80}]})
    workload = described("Deployment", spec)
    assert warned(service("web", ports=[{"port": 80, "targetPort": 8080}]), workload) == [
        "Deployment/web spec.template.spec.containers[0].ports[0].containerPort: hashicorp/http-echo, as it is asked,"
        " listens on 8080/TCP"
    ]
    assert warned(service("web", ports=[{"port": 80, "targetPort": 80}]), workload)[0] == (
        "Service/web spec.ports[0].targetPort: 80/TCP is no port of Deployment/default/web, whose stand-ins listen on"
        " 8080/TCP alone"
    )


@pytest.mark.parametrize(
    "container",
    [
        {"ports": []},
        {"ports": [{"containerPort": 9999, "protocol": "UDP"}]},
        {"args": ["--listen", ":9999"]},
        {"env": [{"name": "PORT", "value": "9999"}]},
        {"command": ["sleep", "1"]},
        {"readinessProbe": {"tcpSocket": {"port": 9999}}},
    ],
)
def test_target_ports_that_somebody_may_listen_on(container: dict[str, Any]) -> None:
    spec = patched(
        WORKLOAD, "template.spec.containers.0", {"name": "c", "ports": [{"containerPort": 80}], **container}
    )
    assert (
        warned(service("web", ports=[{"port": 80, "targetPort": 9999}]), described("Deployment", spec)) == []
    )


def test_ingresses_that_lead_nowhere() -> None:
    backend = {"service": {"name": "api", "port": {"name": "grpc"}}}
    paths = [{"path": "/", "pathType": "Prefix", "backend": b} for b in (BACKEND, backend)]
    spec = {"rules": [{"http": {"paths": paths}}], "tls": [{"secretName": "cert"}], "defaultBackend": BACKEND}
    metadata = {"name": "web", "annotations": {"emulab.dev/load-balancer": "privat-lb"}}
    assert warned(described("Ingress", spec, metadata=metadata), service("api"), WEB) == [
        "Ingress/web spec.rules[0].http.paths[0].backend.service.name: there is no Service default/web",
        "Ingress/web spec.rules[0].http.paths[1].backend.service.port: "
        'Service default/api has no port "grpc"',
        "Ingress/web spec.defaultBackend.service.name: there is no Service default/web",
        "Ingress/web spec.tls[0].secretName: there is no Secret default/cert",
        "Ingress/web metadata.annotations[emulab.dev/load-balancer]: there is no LoadBalancer privat-lb",
    ]


def test_balancers_that_lead_nowhere() -> None:
    target = {"service": {"namespace": "app", "name": "web", "port": 81}}
    balancer = described("LoadBalancer", {"target": target}, "lb")
    assert warned(balancer) == ["LoadBalancer/lb spec.target.service.name: there is no Service app/web"]
    metadata = {"name": "web", "namespace": "app"}
    namespace = described("Namespace", name="app")
    external = {"type": "ExternalName", "externalName": "x.example.com"}
    assert warned(balancer, namespace, described("Service", external, metadata=metadata)) == []
    plain = described("Service", {"ports": [{"port": 80}]}, metadata=metadata)
    assert warned(balancer, namespace, plain) == [
        "LoadBalancer/lb spec.target.service.port: Service app/web has no port 81"
    ]


def test_balancers_of_ports_at_which_nobody_answers() -> None:
    target = {"service": {"name": "web", "port": 53}}
    balancer = described("LoadBalancer", {"target": target, "ports": [53, "53/UDP"]}, "lb")
    tcp, udp = {"name": "t", "port": 53}, {"name": "u", "port": 53, "protocol": "UDP"}
    assert warned(balancer, described("Service", {"ports": [tcp, udp]}, "web")) == []
    assert warned(balancer, described("Service", {"ports": [tcp]}, "web")) == [
        "LoadBalancer/lb spec.ports[1]: nobody answers at 53/UDP: port 53 of Service default/web is of TCP"
    ]
    balancer = described("LoadBalancer", {"target": target}, "lb")  # of 80 and 443
    assert warned(balancer, described("Service", {"ports": [tcp]}, "web")) == []
    assert warned(balancer, described("Service", {"ports": [udp]}, "web")) == [
        f"LoadBalancer/lb spec.target.service.port: nobody answers at {port}/TCP: "
        "port 53 of Service default/web is of UDP"
        for port in (80, 443)
    ]


def test_nodes_that_are_not_there() -> None:
    pod = described("Pod", {**POD, "nodeName": "node3"}, "p")
    assert warned(pod) == ["Pod/p spec.nodeName: there is no node node3"]
    assert warned(pod, described("Cluster", {"nodes": 3}, "c")) == []
    deployment = described("Deployment", patched(WORKLOAD, "template.spec.nodeName", "x"))
    assert warned(deployment) == ["Deployment/web spec.template.spec.nodeName: there is no node x"]


def test_an_external_address_that_another_service_has() -> None:
    both = [{"name": "a", "port": 80}, {"name": "b", "port": 443}]
    first = service("first", selector=None, externalIPs=["192.0.2.7", "192.0.2.8"], ports=[{"port": 80}])
    second = service("second", selector=None, externalIPs=["192.0.2.9", "192.0.2.7"], ports=both)
    assert warned(first, second) == [
        "Service/second spec.externalIPs[1]: port 80/TCP of 192.0.2.7 is Service default/first's"
    ]
    other = service(
        "other", selector=None, externalIPs=["192.0.2.7"], ports=[{"port": 80, "protocol": "UDP"}]
    )
    assert warned(first, other) == []


def test_an_external_address_of_a_service_that_nobody_proxies() -> None:
    second = service("second", selector=None, externalIPs=["192.0.2.7"])
    headless = service("first", selector=None, externalIPs=["192.0.2.7"], clusterIP="None")
    name = {"type": "ExternalName", "externalName": "there.example"}
    elsewhere = service("first", selector=None, externalIPs=["192.0.2.7"], **name)
    labels = {"labels": {"service.kubernetes.io/service-proxy-name": "another"}}
    spec = {**SERVICE, "selector": None, "externalIPs": ["192.0.2.7"]}
    foreign = described("Service", spec, "first", metadata={"name": "first", **labels})
    for first in (headless, elsewhere):
        assert warned(first, second) == warned(second, first) == []
    for both in ((foreign, second), (second, foreign)):
        assert not any("externalIPs" in warning for warning in warned(*both))


@pytest.mark.parametrize(
    "label", ["service.kubernetes.io/service-proxy-name", "service.kubernetes.io/headless"]
)
def test_a_service_that_nobody_proxies(label: str) -> None:
    spec = {**SERVICE, "selector": None}
    labelled = described("Service", spec, "first", metadata={"name": "first", "labels": {label: ""}})
    assert warned(labelled) == [
        f"Service/first metadata.labels[{label}]: kube-proxy leaves the Service alone, and nobody else serves it"
    ]


def test_a_balancers_address_of_a_family_that_the_service_has_not() -> None:
    assert warned(service("first", selector=None, type="LoadBalancer", loadBalancerIP="2001:db8::9")) == [
        "Service/first spec.loadBalancerIP: 2001:db8::9 is of IPv6, which the Service hasn't: the balancer gets another"
        " address, of IPv4"
    ]


def test_the_families_that_a_balancer_gets_by_its_services_policy() -> None:
    """A manifest that no lab has seen yet says nothing of ipFamilies."""
    name = "service.beta.kubernetes.io/aws-load-balancer-ip-address-type"
    both = described("Cluster", {"network": {"families": ["IPv4", "IPv6"]}}, "c")
    for cluster, asked, is_told in (
        ([both], "dualstack", False),
        ([both], "ipv4", True),
        ([], "dualstack", True),
    ):
        given = service("first", selector=None, type="LoadBalancer", ipFamilyPolicy="PreferDualStack")
        given["metadata"]["annotations"] = {name: asked}
        assert any(name in line for line in warned(given, *cluster)) == is_told


@pytest.mark.parametrize(("mode", "is_told"), [("Auto", True), ("Disabled", False)])
def test_an_older_word_for_traffic_that_stays_in_a_zone(mode: str, is_told: bool) -> None:
    given = service("first", selector=None)
    name = "service.kubernetes.io/topology-mode"
    given["metadata"]["annotations"] = {name: mode}
    told = [line for line in warned(given) if name in line]
    assert bool(told) == is_told and all("trafficDistribution: PreferSameZone" in line for line in told)


def test_an_external_name_that_is_an_address() -> None:
    assert warned(service("first", selector=None, type="ExternalName", externalName="192.0.2.1")) == [
        "Service/first spec.externalName: is an address, to which no name can be an alias: the cluster's DNS has"
        " no answer"
    ]


def test_a_balancers_address_that_the_lab_has_itself() -> None:
    for address, network in (
        ("10.244.1.7", "10.244.0.0/16"),
        ("10.96.0.7", "10.96.0.0/12"),
        ("10.0.0.20", "10.0.0.0/24"),
    ):
        assert warned(service("first", selector=None, type="LoadBalancer", loadBalancerIP=address)) == [
            f"Service/first spec.loadBalancerIP: {address} is in {network}, which the lab has itself: the balancer gets"
            " another address"
        ]
    assert warned(service("first", selector=None, type="LoadBalancer", loadBalancerIP="10.20.30.40")) == []


def test_a_balancers_address_that_another_asks_for() -> None:
    first, second = (
        service(name, selector=None, type="LoadBalancer", loadBalancerIP="203.0.113.77")
        for name in ("first", "second")
    )
    assert warned(first, second) == [
        "Service/second spec.loadBalancerIP: 203.0.113.77 is that of Service/default/first: it waits for the address,"
        " or both say emulab.dev/allow-shared-ip"
    ]
    balancer = described(
        "LoadBalancer", {"network": "internet", "address": "203.0.113.77", "target": {"ingress": True}}
    )
    assert [line.partition(": ")[2] for line in warned(first, balancer)] == [
        "203.0.113.77 is that of LoadBalancer/web: it waits for the address, or both say emulab.dev/allow-shared-ip"
    ]


@pytest.mark.parametrize(
    ("mode", "port", "spec", "says"),
    [
        ("ebpf", {"targetPort": 81}, {}, "nobody serves the port; let targetPort be 80"),
        ("ebpf", {"targetPort": "web"}, {}, "unless web is that; let targetPort be 80"),
        ("ebpf", {}, {"type": "NodePort"}, "its node port leads nowhere"),
        ("ebpf", {}, {"type": "LoadBalancer"}, "its node port leads nowhere"),
        (
            "ebpf",
            {},
            {"type": "LoadBalancer", "allocateLoadBalancerNodePorts": False},
            "SCTP is translated by nodes, but no stand-in",
        ),
        ("ebpf", {"targetPort": 80}, {}, "SCTP is translated by nodes, but no stand-in"),
        ("userspace", {}, {}, "proxy mode userspace translates no SCTP"),
    ],
)
def test_modes_that_do_not_do_all_of_sctp(
    mode: str, port: dict[str, Any], spec: dict[str, Any], says: str
) -> None:
    cluster = described("Cluster", {"proxy": {"mode": mode}})
    ports = [{"port": 80, "protocol": "SCTP", **port}]
    found = warned(cluster, service("first", selector=None, ports=ports, **spec))
    (warning,) = (w for w in found if "SCTP" in w)
    assert warning.startswith("Service/first spec.ports[0].protocol: ") and says in warning


@pytest.mark.parametrize(
    ("mode", "addresses", "unreached"),
    [
        ("ebpf", ["10.0.0.222", "192.0.2.7", "10.0.0.40"], [0]),
        ("ebpf", ["10.0.0.40", "10.0.0.41"], [1]),
        ("nftables", ["10.0.0.222"], []),
    ],
)
def test_nodes_have_no_neighbour_for_an_external_address(
    mode: str, addresses: list[str], unreached: list[int]
) -> None:
    holder = described("Client", {"network": "vpc"}) | {"status": {"address": "10.0.0.40"}}
    cluster = Object(described("Cluster", {"proxy": {"mode": mode}}))
    given = [cluster, Object(holder), Object(service("first", selector=None, externalIPs=addresses))]
    found = [line for line in warnings(given) if "nodes don't" in line]
    assert [line.partition("externalIPs[")[2][0] for line in found] == [str(index) for index in unreached]


def test_nobody_but_programs_speaks_sctp() -> None:
    (warning,) = warned(service("first", selector=None, ports=[{"port": 80, "protocol": "SCTP"}]))
    assert warning.startswith(
        "Service/first spec.ports[0].protocol: SCTP is translated by nodes, but no stand-in"
    )


RULES = {"rules": [{"http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": {
    "service": {"name": "web", "port": {"number": 80}}}}]}}]}  # fmt: skip


def test_an_ingress_of_a_class_that_nobody_serves() -> None:
    base = [service("web", selector=None, ports=[{"port": 80}])]
    take_over = "; Cluster spec.ingress.classes: [alb] has the lab's ingress take it over"
    nobody = "so nothing serves the Ingress; classes that are served: nginx"
    alb = described("Ingress", {**RULES, "ingressClassName": "alb"})
    assert warned(*base, alb) == [
        f"Ingress/web spec.ingressClassName: there is no IngressClass alb, {nobody}{take_over}"
    ]
    other = described("IngressClass", {"controller": "ingress.k8s.aws/alb"}, "alb")
    assert warned(*base, alb, other) == [
        "Ingress/web spec.ingressClassName: nobody here is the controller of IngressClass alb, ingress.k8s.aws/alb,"
        f" {nobody}{take_over}"
    ]
    annotated = described(
        "Ingress", RULES, metadata={"name": "web", "annotations": {"kubernetes.io/ingress.class": "alb"}}
    )
    (warning,) = warned(*base, annotated)
    assert warning.startswith("Ingress/web metadata.annotations[kubernetes.io/ingress.class]: there is no")
    mine = described("IngressClass", {"controller": "k8s.io/ingress-nginx"}, "alb")
    assert warned(*base, alb, mine) == []
    for classes in (["alb"], ["*"]):
        cluster = described("Cluster", {"ingress": {"classes": classes}})
        assert warned(*base, alb, cluster) == []


@pytest.mark.parametrize(
    ("path", "said"),
    [
        (
            "/v2/*",
            '"/v2/*" is taken as it stands: a path is no pattern here; pathType Prefix with "/v2" takes all below',
        ),
        (
            "/*",
            '"/*" is taken as it stands: a path is no pattern here; pathType Prefix with "/" takes all below',
        ),
        ("/api/(.*)", '"/api/(.*)" is taken as it stands: a path is no pattern here'),
        ("/a.b/c-d_e", ""),
    ],
)
def test_a_path_that_looks_like_a_pattern(path: str, said: str) -> None:
    base = service("web", selector=None, ports=[{"port": 80}])
    rules = patched(RULES, "rules.0.http.paths.0.path", path)
    place = "Ingress/web spec.rules[0].http.paths[0].path: "
    assert warned(
        base, described("Ingress", patched(rules, "rules.0.http.paths.0.pathType", "ImplementationSpecific"))
    ) == ([place + said] if said else [])


def test_what_has_no_effect_is_said() -> None:
    assert warned(described("NetworkPolicy", {"podSelector": {}})) == []
    pod = described("Pod", patched(POD, "containers.0.livenessProbe", {"grpc": {"port": 9000}}), "p")
    assert warned(pod) == []  # it is run as what it is: test_health


def test_warnings_of_objects_without_their_text() -> None:
    (o,) = manifest(stream(service("web"))).objects
    nothing = "Service/web spec.selector: matches no Pod and no workload's template"
    assert warnings([o]) == [f"shop.yaml:1: {nothing}"]
    assert warnings([Object(o.raw)]) == [f"(generated): {nothing}"]


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("networking.gke.io/load-balancer-type", "Internal", "the balancer is on the internet"),
        ("service.beta.kubernetes.io/aws-load-balancer-proxy-protocol", "*", ""),
        ("service.beta.kubernetes.io/azure-load-balancer-internal", "false", ""),
        ("service.beta.kubernetes.io/aws-load-balancer-type", "nlb", ""),
    ],
)
def test_what_a_clouds_balancer_would_do_is_warned_of(name: str, value: str, why: str) -> None:
    raw = described("Service", {"type": "LoadBalancer", "ports": [{"port": 80}]})
    raw["metadata"]["annotations"] = {name: value}
    found = [line.partition("annotations")[2] for line in warnings(accepted(raw))]
    assert [line.partition(";")[0] for line in found] == ([f"[{name}]: isn't followed: {why}"] if why else [])
    raw["spec"]["type"] = "NodePort"
    (line,) = warnings(accepted(raw))
    assert line.endswith(f"[{name}]: isn't followed: a Service of type NodePort has no balancer")


def test_a_delegation_whose_server_nobody_finds_is_told() -> None:
    def told(*records: tuple[str, str, str]) -> list[str]:
        given = [dict(zip(("name", "type", "value"), record, strict=True)) for record in records]
        return warned(described("Zone", {"records": given}, "x.test"))

    delegation = ("a", "NS", "ns.a.x.test")
    assert told(delegation, ("ns.a", "AAAA", "2001:db8::1")) == told(("a", "NS", "ns.b.x.test")) == []
    (found,) = told(delegation, ("a", "NS", "ns.y.test"))
    assert found.endswith("delegated to it: add a record ns.a with its address")


def test_targets_of_one_label_are_told_to_stand_at_the_root() -> None:
    def told(value: str, kind: str = "CNAME") -> list[str]:
        return warned(described("Zone", {"records": [{"name": "a", "type": kind, "value": value}]}, "x.test"))

    assert told("b.x.test") == told("b.x.test.") == told("0 .", "MX") == []
    (found,) = told("10 mail", "MX")
    assert found.endswith('spec.records[0].value: "mail" stands for mail. at the root, not for mail.x.test.')


def test_flags_of_external_dns_are_told_of() -> None:
    args = ["--source=service", "--domain-filter=x.test", "--source=ingress"]
    container = {"name": "c", "image": "registry.k8s.io/external-dns/external-dns:v0.15.0", "args": args}
    (found,) = warned(described("Pod", {"containers": [container]}, "d"))
    assert found.startswith(
        "Pod/d spec.containers[0].image: the lab publishes Ingresses and Services by itself"
    )
    assert found.endswith("of its flags none is followed: --source, --domain-filter")


def test_a_coredns_without_a_corefile_is_told() -> None:
    pod = described("Pod", {"containers": [{"name": "c", "image": "coredns/coredns:1.9.4"}]}, "d")
    assert warned(pod) == [
        "Pod/d spec.containers[0].volumeMounts: no ConfigMap is mounted at /etc/coredns: it answers by the Corefile"
        " of ConfigMap default/coredns, or by the stock one"
    ]

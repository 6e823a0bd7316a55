"""What the cluster's DNS is told, and what it answers then."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from itertools import pairwise
from typing import Any

from controllers_store import make
from dnsanswers import answers
from hypothesis import given
from hypothesis import strategies as st
from worlds import raw_service, raw_slice

from emulab.kinds.emulab.clusterview import Cluster
from emulab.model.collection import Objects
from emulab.model.members import changed_keys
from emulab.model.objects import Object
from emulab.plan.clusterdns import ClusterDns, cluster_dns_server
from emulab.plan.coredns.caching import bounds
from emulab.plan.coredns.corefile import Texts, read
from emulab.plan.coredns.lastgood import FollowedCorefile, LastGood, Life
from emulab.plan.kept import PlanSource
from emulab.plan.state import Place
from emulab.plan.world import _life
from emulab.servers.configuration import from_json, to_json
from emulab.servers.dns.config import BlockConfig, DnsConfig
from emulab.servers.dns.plugins.reloading import Reload, reload
from emulab.servers.dns.settings import DnsSettings
from emulab.servers.patches import patch_between

WEB, DB = "web.default.svc.cluster.local.", "db.default.svc.cluster.local."


def planned(*objects: Object, cluster: Cluster | None = None) -> DnsConfig:
    spaces = [make("Namespace", name) for name in ("default", "app")]
    return ClusterDns(cluster or Cluster())(PlanSource.of(Objects([*objects, *spaces])))


def told(*objects: Object, cluster: Cluster | None = None) -> DnsSettings:
    """The settings of the server, by what its process gets."""
    return DnsSettings().changed(from_json(DnsConfig, to_json(planned(*objects, cluster=cluster))))


def test_a_service_has_an_address_srv_and_ptr() -> None:
    ports = [{"name": "http", "port": 80}, {"port": 81}, {"name": "dns", "port": 53, "protocol": "UDP"}]
    dns = told(raw_service("web", "app", clusterIP="10.96.0.5", ports=ports))
    name = "web.app.svc.cluster.local."
    assert answers(dns, name) == [[name, "A", "10.96.0.5", 5]]
    assert answers(dns, f"_http._tcp.{name}", "SRV") == [[f"_http._tcp.{name}", "SRV", f"0 100 80 {name}", 5]]
    assert answers(dns, f"_dns._udp.{name}", "SRV") == [[f"_dns._udp.{name}", "SRV", f"0 100 53 {name}", 5]]
    ptr = "5.0.96.10.in-addr.arpa."
    assert answers(dns, ptr, "PTR") == [[ptr, "PTR", name, 5]]
    config = to_json(planned())
    assert config["forward"] == ["10.0.0.2:53"] and config["cache"] == to_json(bounds(30, 30))


def test_an_external_name_is_an_alias() -> None:
    dns = told(raw_service("x", type="ExternalName", externalName="example.com", ports=[]))
    name = "x.default.svc.cluster.local."
    assert answers(dns, name, "CNAME") == [[name, "CNAME", "example.com.", 5]]


def test_a_headless_service_is_its_endpoints() -> None:
    endpoints = [
        {"addresses": ["10.244.1.2"], "hostname": "db-0", "conditions": {"ready": True}},
        {"addresses": ["10.244.1.3"], "conditions": {"ready": True}},
        {"addresses": ["10.244.1.4"], "conditions": {"ready": False}},
    ]
    dns = told(
        raw_service("db", clusterIP="None"),
        raw_slice("db", endpoints=endpoints, ports=[{"name": "p", "protocol": "TCP", "port": 5432}]),
    )
    assert answers(dns, DB) == [[DB, "A", "10.244.1.2", 5], [DB, "A", "10.244.1.3", 5]]
    assert answers(dns, f"db-0.{DB}") == [[f"db-0.{DB}", "A", "10.244.1.2", 5]]
    assert answers(dns, f"10-244-1-3.{DB}") == [[f"10-244-1-3.{DB}", "A", "10.244.1.3", 5]]
    assert answers(dns, f"_p._tcp.{DB}", "SRV") == [
        [f"_p._tcp.{DB}", "SRV", f"0 50 5432 db-0.{DB}", 5],
        [f"_p._tcp.{DB}", "SRV", f"0 50 5432 10-244-1-3.{DB}", 5],
    ]
    ptr = "2.1.244.10.in-addr.arpa."
    assert answers(dns, ptr, "PTR") == [[ptr, "PTR", f"db-0.{DB}", 5]]


def test_endpoints_that_are_not_ready_where_they_are_asked_for() -> None:
    endpoints = [{"addresses": ["10.244.1.4"], "conditions": {"ready": False}}]
    dns = told(
        raw_service("db", clusterIP="None", publishNotReadyAddresses=True, ports=[]),
        raw_slice("db", endpoints=endpoints),
    )
    assert [r[2] for r in answers(dns, DB)] == ["10.244.1.4"]
    assert [r[2] for r in answers(dns, f"10-244-1-4.{DB}")] == ["10.244.1.4"]


def test_pods_have_names_of_the_family_of_each_address() -> None:
    dns = told()
    for label, record, address in (
        ("10-244-1-2", "A", "10.244.1.2"),
        ("fd00-1--2", "AAAA", "fd00:1::2"),
    ):
        name = f"{label}.app.pod.cluster.local."
        assert answers(dns, name, record) == [[name, record, address, 5]]


def test_the_domain_is_the_clusters() -> None:
    dns = told(raw_service("web", clusterIP="10.96.0.5", ports=[]), cluster=Cluster(cluster_domain="k.test"))
    assert [".".join(map(bytes.decode, z.origin)) for z in dns.zones.zones] == [
        "k.test",
        "in-addr.arpa",
        "ip6.arpa",
    ]
    name = "web.default.svc.k.test."
    assert answers(dns, name) == [[name, "A", "10.96.0.5", 5]]
    version = "dns-version.k.test."
    assert answers(dns, version, "TXT") == [[version, "TXT", '"1.1.0"', 28800]]


def test_the_cluster_dns_understands_its_configuration() -> None:
    dual = raw_service("web", clusterIPs=["10.96.0.5", "fd00::5"])
    pod = Place("p", "n", "p", "", "", (ip_address("10.244.1.2"),), "pod")
    config = planned(dual, raw_service("h", clusterIP="None"), raw_slice("h", "10.244.1.3"))
    server = cluster_dns_server("s", pod, config)
    dns = {"udp/10.244.1.2/53": "n", "tcp/10.244.1.2/53": "n"}
    assert server.listen == dns | {f"tcp/10.244.1.2/{port}": "n" for port in (9153, 8080, 8181)}
    settings = DnsSettings().changed(from_json(DnsConfig, to_json(server.config)))
    assert settings.recursion is True
    assert answers(settings, WEB, "AAAA") == [[WEB, "AAAA", "fd00::5", 5]]


def test_names_that_the_dns_can_not_hold_are_left_out_and_the_others_stay() -> None:
    endpoints = [
        {"addresses": ["10.244.1.2"], "hostname": "s" * 64, "conditions": {"ready": True}},
        {"addresses": ["10.244.1.3"], "conditions": {"ready": True}},
    ]
    dns = told(
        raw_service("web", clusterIP="10.96.0.5", ports=[{"name": "p" * n, "port": n} for n in (62, 63)]),
        raw_service("db", clusterIP="None"),
        raw_slice("db", endpoints=endpoints),
    )
    long = f"_{'p' * 62}._tcp.{WEB}"
    assert answers(dns, long, "SRV") == [[long, "SRV", f"0 100 62 {WEB}", 5]]
    assert [r[2] for r in answers(dns, DB)] == ["10.244.1.2", "10.244.1.3"]
    assert [r[2] for r in answers(dns, f"_p._tcp.{DB}", "SRV")] == [f"0 50 8080 10-244-1-3.{DB}"]
    assert answers(dns, "2.1.244.10.in-addr.arpa.", "PTR") == "ELSEWHERE"


def test_what_changes_nothing_of_a_name_is_no_other_configuration() -> None:
    """A Pod's being there, an endpoint that ends, and who sends to it."""
    service = raw_service("web", clusterIP="10.96.0.5")

    def ended(terminating: bool, **more: Any) -> Object:
        conditions = {"ready": False, "serving": True, "terminating": terminating}
        return raw_slice("web", endpoints=[{"addresses": ["10.244.1.2"], "conditions": conditions, **more}])

    pod = make("Pod", "p", "app", status={"podIPs": [{"ip": "10.244.1.2"}]})
    first = planned(service, ended(False))
    assert planned(service, ended(True, hints={"forZones": [{"name": "a"}]}), pod) == first


def test_a_running_server_keeps_the_last_good_corefile_and_one_that_begins_does_not() -> None:
    """plugin/reload; coremain ends with what it can't start with."""
    corefiles = LastGood()

    def of(text: str | None, restarts: int = 0, pod: str = "a") -> FollowedCorefile:
        texts = None if text is None else Texts((("Corefile", text),))
        return corefiles.followed(Life(pod, "coredns", restarts), texts, lambda one: read(one, "10.0.0.2:53"))

    def took(text: str | None) -> FollowedCorefile:
        return FollowedCorefile(None if text is None else Texts((("Corefile", text),)))

    bad, why = "b.test {\n kubernets\n}", "line 2: unknown directive 'kubernets'; did you mean kubernetes?"
    one, other, still = (f"{zone}.test {{\n errors\n reload\n}}" for zone in "abc")
    crashed = FollowedCorefile(None, why, begins=False)
    assert of(bad) == of(bad) == crashed  # it never had another one
    assert of(one) == took(one)
    assert of(bad) == took(one)._replace(refused=why)
    assert of("") == took(one)._replace(refused="it has no server block")
    assert of(bad, pod="b") == crashed  # a replica that begins
    assert of(bad, restarts=1) == crashed and of(other, restarts=1) == took(other)
    assert of(None, restarts=1) == took(None) and of(bad, restarts=1) == took(None)._replace(refused=why)

    before = corefiles.lives
    assert of(still) == took(still)
    corefiles.go_back(before)  # as that change was taken back
    assert of(bad) == took(one)._replace(refused=why)

    alone = "d.test {\n errors\n}"
    assert of(alone) == of(alone) == took(alone)
    assert of(one) == of(bad) == of(None) == took(alone)._replace(unread=True)  # as nobody looks any more
    corefiles.keep({Life("b", "coredns", 0)})
    assert of(one) == took(one)


def test_a_sidecar_that_is_restarted_reads_its_corefile_anew_too() -> None:
    told = {
        "initContainerStatuses": [{"name": "dns", "restartCount": 2}],
        "containerStatuses": [{"name": "c"}],
    }
    pod = make("Pod", "p", "app", status=told)
    assert [_life(pod, name).restarts for name in ("dns", "c", "other")] == [2, 0, 0]


def test_a_server_listens_where_its_corefile_says() -> None:
    addresses = (ip_address("10.244.1.2"), ip_address("fd00::2"))
    place = Place("kube-system.coredns", "ns", "coredns", "", "", addresses, "pod")

    def ports(text: str | None) -> set[str]:
        texts = None if text is None else Texts((("Corefile", text),))
        config = ClusterDns(Cluster(), None, FollowedCorefile(texts))(PlanSource.of(Objects([])))
        return {key for key in cluster_dns_server("dns", place, config).listen if "10.244.1.2" in key}

    def at(*ports: str) -> set[str]:
        return {f"{one.partition('/')[0]}/10.244.1.2/{one.partition('/')[2]}" for one in ports}

    assert ports(None) == at("udp/53", "tcp/53", "tcp/9153", "tcp/8080", "tcp/8181")
    assert ports(". {\n errors\n}") == at("udp/53", "tcp/53")
    assert ports(". {\n health :9090\n ready\n}") == at("udp/53", "tcp/53", "tcp/9090", "tcp/8181")
    # DNS over TLS isn't followed, but it is a server block all the same.
    assert ports("tls://. {\n health\n}") == at("tcp/8080")
    crashed = ClusterDns(Cluster(), None, FollowedCorefile(None, "bad", begins=False))(
        PlanSource.of(Objects([]))
    )
    server = cluster_dns_server("dns", place, crashed)
    assert server.fails and not server.listen


def test_what_a_server_says_of_a_changed_corefile() -> None:
    none, one, other = (
        DnsSettings().changed(DnsConfig(listen=(), blocks=tuple(BlockConfig((zone,)) for zone in zones)))
        for zones in ((), ("a.test.",), ("b.test.",))
    )
    bad, worse = (replace(one, refused=why) for why in ("line 1: bad", "line 2: worse"))
    assert reload(None, one) is reload(one, one) is reload(bad, bad) is reload(none, none) is None
    assert (
        reload(one, other) == reload(none, one) == Reload(("[INFO] Reloading", "[INFO] Reloading complete"))
    )
    [line] = (reload(one, bad) or Reload()).lines
    assert line == "[ERROR] plugin/reload: Corefile changed but reload failed: line 1: bad"
    assert (reload(bad, worse) or Reload()).refused == "line 2: worse"
    unread = replace(one, unread=True)
    assert reload(one, unread) == Reload(unread=True) and reload(unread, unread) is None


NAMES = st.dictionaries(st.sampled_from("abcd"), st.sampled_from(("10.96.0.1", "10.96.0.2")))


@given(st.lists(NAMES, min_size=2, max_size=5))
def test_what_changes_is_known_of_each_version_and_of_older_ones(worlds: list[dict[str, str]]) -> None:
    cluster_dns = ClusterDns(Cluster())
    made = [
        cluster_dns(PlanSource.of(Objects(raw_service(name, clusterIP=ip) for name, ip in world.items())))
        for world in worlds
    ]
    for world, config in zip(worlds, made, strict=True):
        assert config.kubernetes is not None
        assert {n: s.addresses for n, s in config.kubernetes.services.items()} == {
            f"default/{name}": (ip,) for name, ip in world.items()
        }
    for old, new in pairwise(made):
        assert patch_between(old, new, changed_keys) == patch_between(old, new)
    assert patch_between(made[0], made[-1], changed_keys) == patch_between(made[0], made[-1])
    assert patch_between(made[-1], made[0], changed_keys) == patch_between(made[-1], made[0])


def chosen(*options: str) -> DnsSettings:
    """What is answered of some objects with these options of kubernetes."""
    inside = "\n".join(options)
    texts = Texts((("Corefile", f". {{\nkubernetes cluster.local in-addr.arpa {{\n{inside}\n}}\n}}\n"),))
    endpoints = [{"addresses": ["10.244.1.2"], "hostname": "db-0", "conditions": {"ready": True}}]
    shown = {"labels": {"tier": "front"}}
    objects = [
        make("Namespace", "default", metadata={"labels": {"team": "a"}}),
        make("Namespace", "app", metadata={"labels": {"team": "b"}}),
        raw_service("web", clusterIP="10.96.0.5"),
        raw_service("web", "app", clusterIP="10.96.0.6"),
        raw_service("db", clusterIP="None"),
        raw_slice("db", endpoints=endpoints, ports=[{"name": "p", "protocol": "TCP", "port": 5432}]),
        make("Pod", "p", metadata=shown, spec={"containers": []}, status={"podIPs": [{"ip": "10.244.1.2"}]}),
    ]
    objects[2] = objects[2].replace(metadata={**objects[2].metadata, **shown})
    made = ClusterDns(Cluster(), None, FollowedCorefile(texts))(PlanSource.of(Objects(objects)))
    return DnsSettings().changed(from_json(DnsConfig, to_json(made)))


def test_a_corefile_may_choose_of_what_there_are_names() -> None:
    """`labels`, `namespace_labels` and `noendpoints`: what isn't chosen isn't there."""

    def there(*options: str) -> list[bool]:
        dns = chosen(*options)
        return [
            isinstance(answers(dns, name), list) for name in (WEB, f"web.app{WEB[11:]}", DB, f"db-0.{DB}")
        ]

    assert there() == [True, True, True, True]
    assert there("labels tier in (front, back)") == [True, False, False, False]
    assert there("namespace_labels team=b") == [False, True, False, False]
    assert there("namespace_labels team notin (b)") == [True, False, True, True]
    assert there("noendpoints") == [True, True, False, False]


def test_labels_of_a_corefile_choose_pods_too() -> None:
    pod = "10-244-1-2.default.pod.cluster.local."
    for option, found in (("labels tier=front", True), ("labels tier=back", False)):
        assert isinstance(answers(chosen("pods verified", option), pod), list) is found


def test_reverse_names_heed_namespaces_but_not_their_labels() -> None:
    """`serviceRecordForIP` of plugin/kubernetes/reverse.go."""
    pointer = "5.0.96.10.in-addr.arpa."
    assert answers(chosen("namespaces app"), pointer, "PTR") == "NXDOMAIN"
    assert [r[2] for r in answers(chosen("namespace_labels team=b"), pointer, "PTR")] == [WEB]

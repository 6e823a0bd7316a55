"""A cluster's names, as CoreDNS' kubernetes plugin has them."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from typing import Any, TypeVar

import pytest
from dnsanswers import answers
from hypothesis import given
from hypothesis import strategies as st

from emulab.servers.configuration import BadConfiguration, from_json
from emulab.servers.dns import names, rdata, wire
from emulab.servers.dns.cache import Cache
from emulab.servers.dns.config import (
    DnsConfig,
    Kubernetes,
    NamedEndpoint,
    NamedPort,
    ServiceNames,
    SliceNames,
)
from emulab.servers.dns.directory import ClusterChanges
from emulab.servers.dns.engine import Engine, Solved
from emulab.servers.dns.settings import DnsSettings
from emulab.servers.dns.wire import Query
from emulab.servers.late import held
from emulab.servers.told import read_told, told_bytes

T = TypeVar("T")
HTTP, METRICS = NamedPort("http", "TCP", 80), NamedPort("metrics", "TCP", 9090)


def service(name: str, *addresses: str, ports: tuple[NamedPort, ...] = (HTTP,), **more: Any) -> ServiceNames:
    return ServiceNames("app", name, addresses, headless=not addresses, ports=ports, **more)


def endpoints(*given: tuple[str, str], ports: tuple[NamedPort, ...] = (HTTP,)) -> SliceNames:
    return SliceNames(tuple(NamedEndpoint(h, a, True) for h, a in given), ports)


def by_name(*told: ServiceNames) -> dict[str, ServiceNames]:
    return {f"{one.namespace}/{one.name}": one for one in told}


WORLD = Kubernetes(
    "c.test.",
    ("app", "empty"),
    by_name(
        service("web", "10.96.0.5", ports=(HTTP, METRICS)),
        service("db"),
        service("bare", ports=()),
        service("nobody"),
        service("out", alias="example.com."),
        service("number", alias="192.0.2.1."),
        service("six", "fd00::5", "10.96.0.6"),
    ),
    {
        "app/web/1": endpoints(("web-1", "10.244.1.2"), ("", "10.244.1.3"), ports=(HTTP, METRICS)),
        "app/db/1": endpoints(("same", "10.244.1.4"), ("same", "10.244.1.5"), ("other", "10.244.1.6")),
        "app/bare/1": endpoints(("", "10.244.1.4"), ports=()),
        "app/six/1": endpoints(("", "fd00:1::")),
        "app/gone/1": endpoints(("", "10.244.1.9")),
    },
)
SETTINGS = DnsSettings().changed(DnsConfig(listen=(), kubernetes=WORLD))


def data(name: str, rtype: str = "A") -> list[str] | str:
    found = answers(SETTINGS, name, rtype)
    return found if isinstance(found, str) else [r[2] for r in found]


def test_endpoints_of_one_hostname_are_all_told() -> None:
    """DNS specification 2.4.1; kubernetes/dns#116."""
    everyone = ["10.244.1.4", "10.244.1.5", "10.244.1.6"]
    assert data("db.app.svc.c.test.") == everyone
    assert data("same.db.app.svc.c.test.") == everyone[:2]
    assert data("SAME.db.app.svc.c.test.") == everyone[:2]
    # One SRV record for the name that two have; a third of the weight for each endpoint.
    assert data("_http._tcp.db.app.svc.c.test.", "SRV") == [
        "0 33 80 same.db.app.svc.c.test.",
        "0 33 80 other.db.app.svc.c.test.",
    ]


def test_endpoints_of_every_service_have_names() -> None:
    """kubernetes/kubernetes#68352."""
    assert data("web-1.web.app.svc.c.test.") == ["10.244.1.2"]
    assert data("10-244-1-3.web.app.svc.c.test.") == ["10.244.1.3"]
    assert data("web-2.web.app.svc.c.test.") == "NXDOMAIN"
    assert data("fd00-1--0.six.app.svc.c.test.", "AAAA") == ["fd00:1::"]
    assert data("10-244-1-9.gone.app.svc.c.test.") == "NXDOMAIN"  # no such Service


def test_addresses_lead_back_to_the_names() -> None:
    """DNS specification 2.4.3; coredns#7177."""
    assert data("5.0.96.10.in-addr.arpa.", "PTR") == ["web.app.svc.c.test."]
    assert data("3.1.244.10.in-addr.arpa.", "PTR") == ["10-244-1-3.web.app.svc.c.test."]
    assert data("4.1.244.10.in-addr.arpa.", "PTR") == [
        "10-244-1-4.bare.app.svc.c.test.",
        "same.db.app.svc.c.test.",
    ]
    nibbles = ".".join(reversed("fd000000000000000000000000000005"))
    assert data(f"{nibbles}.ip6.arpa.", "PTR") == ["six.app.svc.c.test."]


@pytest.mark.parametrize(
    ("name", "rtype"),
    [
        ("9.9.244.10.in-addr.arpa.", "PTR"),
        ("244.10.in-addr.arpa.", "PTR"),
        ("5.0.96.10.in-addr.arpa.", "A"),
        ("x.5.0.96.10.in-addr.arpa.", "PTR"),
        ("1.ip6.arpa.", "PTR"),
    ],
)
def test_other_reverse_names_are_asked_for_elsewhere(name: str, rtype: str) -> None:
    assert data(name, rtype) == "ELSEWHERE"


def test_a_service_without_endpoints_that_is_headless_does_not_exist() -> None:
    assert data("nobody.app.svc.c.test.") == "NXDOMAIN"


def test_srv_records_of_all_ports_where_none_is_named() -> None:
    """What peer finders ask for."""
    assert data("web.app.svc.c.test.", "SRV") == [
        "0 50 80 web.app.svc.c.test.",
        "0 50 9090 web.app.svc.c.test.",
    ]
    assert data("_metrics._tcp.web.app.svc.c.test.", "SRV") == ["0 100 9090 web.app.svc.c.test."]
    assert data("bare.app.svc.c.test.", "SRV") == "NODATA"
    assert data("bare.app.svc.c.test.") == ["10.244.1.4"]


def test_a_ports_name_has_addresses_too() -> None:
    assert data("_http._tcp.web.app.svc.c.test.") == ["10.96.0.5"]
    assert data("_http._udp.web.app.svc.c.test.", "SRV") == "NXDOMAIN"
    assert data("_ftp._tcp.web.app.svc.c.test.", "SRV") == "NXDOMAIN"


@pytest.mark.parametrize(
    "name",
    ["c.test.", "svc.c.test.", "pod.c.test.", "app.svc.c.test.", "empty.svc.c.test.", "empty.pod.c.test."],
)
def test_names_that_lead_to_others_exist(name: str) -> None:
    assert data(name) == "NODATA"


@pytest.mark.parametrize(
    "name",
    [
        "x.c.test.",
        "none.svc.c.test.",
        "web.none.svc.c.test.",
        "web.empty.svc.c.test.",
        "a.b.c.web.app.svc.c.test.",
        "10-0-0-1.none.pod.c.test.",
        "web-1.app.pod.c.test.",
        "10-0-0-256.app.pod.c.test.",
    ],
)
def test_names_that_do_not_exist(name: str) -> None:
    assert data(name) == "NXDOMAIN"
    assert data(name, "SRV") == "NXDOMAIN"


def test_other_types_of_a_name_that_exists() -> None:
    for rtype in ("AAAA", "TXT", "MX", "CNAME", "HTTPS", "PTR", "NS"):
        assert data("web.app.svc.c.test.", rtype) == "NODATA"
    assert data("six.app.svc.c.test.", "AAAA") == ["fd00::5"]
    assert data("web.app.svc.c.test.", "ANY") == data("c.test.", "ANY") == "NODATA"


@pytest.mark.parametrize(
    ("name", "rtype", "kind"),
    [
        ("none.app.svc.c.test.", "SOA", "NODATA"),
        ("dns-version.c.test.", "A", "NXDOMAIN"),
        ("none.app.svc.c.test.", "ANY", "NXDOMAIN"),
        ("out.app.svc.c.test.", "TXT", "NODATA"),
        ("out.app.svc.c.test.", "ANY", "NODATA"),
        ("out.app.svc.c.test.", "SRV", "NODATA"),
        ("c.test.", "TXT", "NXDOMAIN"),
        ("app.svc.c.test.", "TXT", "NXDOMAIN"),
        ("app.svc.c.test.", "MX", "NODATA"),
        ("1.2.3.4.in-addr.arpa.", "SOA", "NODATA"),
        ("in-addr.arpa.", "A", "NODATA"),
        ("5.0.96.10.in-addr.arpa.", "ANY", "ELSEWHERE"),
    ],
)
def test_types_of_which_coredns_has_its_own_mind(name: str, rtype: str, kind: str) -> None:
    """plugin/kubernetes/handler.go, and `Services` of kubernetes.go."""
    assert data(name, rtype) == kind


@pytest.mark.parametrize(
    ("alias", "found"),
    [
        ("web.app.svc.c.test.", ["web.app.svc.c.test."]),
        ("more.app.svc.c.test.", ["more.app.svc.c.test."]),
        ("elsewhere.test.", ["elsewhere.test."]),
        ("none.app.svc.c.test.", "NODATA"),
        ("nobody.app.svc.c.test.", "NODATA"),
        ("six-alone.app.svc.c.test.", "NODATA"),
        ("app.svc.c.test.", "NODATA"),
        ("lead.app.svc.c.test.", "NODATA"),
        ("x.lead.app.svc.c.test.", "NODATA"),
        ("back.app.svc.c.test.", "NODATA"),
        ("dns-version.c.test.", "NODATA"),
    ],
)
def test_an_alias_within_the_cluster_that_leads_nowhere_is_not_told(
    alias: str, found: list[str] | str
) -> None:
    """`A` of plugin/backend_lookup.go."""
    more = by_name(
        service("lead", alias=alias),
        service("more", alias="web.app.svc.c.test."),
        service("back", alias="lead.app.svc.c.test."),
        service("six-alone", "fd00::7"),
    )
    world = replace(WORLD, services={**WORLD.services, **more})
    settings = DnsSettings().changed(DnsConfig(listen=(), kubernetes=world))
    told = answers(settings, "lead.app.svc.c.test.")
    assert told == found if isinstance(told, str) else [r[2] for r in told] == found
    assert answers(settings, "lead.app.svc.c.test.", "CNAME") == [["lead.app.svc.c.test.", "CNAME", alias, 5]]


@pytest.mark.parametrize("aliases", [11, 12])
def test_aliases_one_after_the_other_come_to_an_end(aliases: int) -> None:
    """`maxCnameChainLength` of plugin/backend_lookup.go; there are no addresses at the end of more."""
    leading = [service(f"lead{i}", alias=f"lead{i + 1}.app.svc.c.test.") for i in range(1, aliases)]
    last = service(f"lead{aliases}", alias="web.app.svc.c.test.")
    world = replace(WORLD, services={**WORLD.services, **by_name(*leading, last)})
    settings = DnsSettings().changed(DnsConfig(listen=(), kubernetes=world))
    name = names.from_text("lead1.app.svc.c.test.")
    query = Query(1, wire.RD, name, name, rdata.A, wire.CLASS_IN)
    solved = Engine(settings.zones, Cache(), forwards=False).resolve(query, 0, 0.0)
    assert isinstance(solved, Solved)
    assert solved.reply.rcode == wire.NOERROR
    assert len(solved.reply.answer) == (12 if aliases == 11 else 0)


@pytest.mark.parametrize(("ttl", "said", "own"), [(5, 5, 5), (30, 30, 30), (3600, 3600, 300)])
def test_what_is_not_there_is_kept_as_long_as_what_is(ttl: int, said: int, own: int) -> None:
    settings = DnsSettings().changed(DnsConfig(listen=(), kubernetes=replace(WORLD, ttl=ttl)))
    ((_, _, soa, soa_ttl),) = answers(settings, "c.test.", "SOA")
    assert soa.split()[-1] == str(said) and soa_ttl == own


def test_pods_are_their_addresses_whether_they_are_there_or_not() -> None:
    """`pods insecure`."""
    assert data("192-0-2-77.empty.pod.c.test.") == ["192.0.2.77"]
    assert data("fd00--7.app.pod.c.test.", "AAAA") == ["fd00::7"]
    assert data("192-0-2-77.empty.pod.c.test.", "SRV") == "NODATA"


def test_aliases() -> None:
    assert data("out.app.svc.c.test.") == ["example.com."]
    assert data("_http._tcp.out.app.svc.c.test.") == "NXDOMAIN"
    # An address is no name to lead to: CoreDNS answers as if the Service weren't there.
    assert data("number.app.svc.c.test.") == "NXDOMAIN"


def test_the_zone_has_its_own_records() -> None:
    soa = answers(SETTINGS, "c.test.", "SOA")
    assert isinstance(soa, list) and soa[0][2].startswith("ns.dns.c.test. hostmaster.c.test. ")
    assert answers(SETTINGS, "dns-version.c.test.", "TXT") == [
        ["dns-version.c.test.", "TXT", '"1.1.0"', 28800]
    ]
    assert data("c.test.", "NS") == "NODATA"
    assert data("ns.dns.c.test.") == "NXDOMAIN"


def test_the_zones_name_server_is_the_clusters_dns() -> None:
    """plugin/kubernetes/ns.go."""
    own = replace(service("kube-dns", "10.96.0.10", "fd00::a"), namespace="kube-system")
    world = replace(WORLD, services={**WORLD.services, "kube-system/kube-dns": own})
    settings = DnsSettings().changed(DnsConfig(listen=(), kubernetes=world))
    host = "kube-dns.kube-system.svc.c.test."
    assert answers(settings, "c.test.", "NS") == [["c.test.", "NS", host, 5]]
    assert answers(settings, "ns.dns.c.test.") == [["ns.dns.c.test.", "A", "10.96.0.10", 5]]
    assert answers(settings, "ns.dns.c.test.", "AAAA") == [["ns.dns.c.test.", "AAAA", "fd00::a", 5]]
    assert answers(settings, "ns.dns.c.test.", "TXT") == "NXDOMAIN"
    assert answers(settings, "ns.dns.c.test.", "MX") == "NODATA"
    assert answers(settings, "dns.c.test.") == "NXDOMAIN"

    # Whose namespace has no names it is as well, with its addresses beside it.
    hidden = DnsSettings().changed(DnsConfig(listen=(), kubernetes=replace(world, exposed=("app",))))
    assert answers(hidden, "c.test.", "NS") == [["c.test.", "NS", host, 5]]
    assert answers(hidden, host) == "NXDOMAIN"
    target = names.from_text(host)
    zone = hidden.zones.find(target, 0)
    assert zone is not None
    assert [rdata.to_text(r.data) for r in zone.addresses(target)] == ["10.96.0.10", "fd00::a"]


def test_a_cluster_that_is_the_same_is_not_read_again() -> None:
    more = DnsConfig(listen=(), kubernetes=WORLD, forward=("10.0.0.2:53",))
    assert [*map(id, SETTINGS.changed(more).zones.zones)] == [*map(id, SETTINGS.zones.zones)]
    other = replace(WORLD, namespaces=("app",))
    changed = SETTINGS.changed(replace(more, kubernetes=other))
    assert answers(changed, "empty.svc.c.test.") == "NXDOMAIN"
    assert answers(changed, "web.app.svc.c.test.") == answers(SETTINGS, "web.app.svc.c.test.")


SERVICES = {
    "app/web": [
        service("web", "10.96.0.5"),
        service("web"),
        service("web", "10.96.0.7", ports=(METRICS,)),
        service("web", "fd00:0::5", "10.96.0.5"),
    ],
    "app/db": [service("db"), service("db", alias="example.com."), service("db", tolerant=True)],
    "other/web": [replace(service("web"), namespace="other")],
}
SLICES = [
    endpoints(("a", "10.244.1.2"), ("", "10.244.1.3")),
    endpoints(("b", "10.244.1.4"), ports=(METRICS,)),
    endpoints(("", "10.244.2.2"), ("", "FD00:1::0:2")),
    SliceNames((NamedEndpoint("late", "10.244.1.2", False),), ()),
]
SOME_SERVICES = st.fixed_dictionaries(
    {}, optional={key: st.none() | st.sampled_from(values) for key, values in SERVICES.items()}
)
SOME_SLICES = st.fixed_dictionaries(
    {},
    optional={
        f"{service}/{name}": st.none() | st.sampled_from(SLICES) for service in SERVICES for name in "ab"
    },
)
NAMES = [
    f"{name}.svc.c.test."
    for namespace in ("app", "other", "empty")
    for name in (
        *(
            f"{one}.{namespace}"
            for one in ("web", "db", "a.web", "b.web", "10-244-1-3.web", "_http._tcp.web")
        ),
        namespace,
    )
]
ADDRESSES = [
    "10.96.0.5",
    "10.96.0.7",
    "10.244.1.2",
    "10.244.1.3",
    "10.244.1.4",
    "10.244.2.2",
    "fd00::5",
    "fd00:1::2",
]


def all_names(settings: DnsSettings) -> dict[tuple[str, str], Any]:
    """What is answered of all names and addresses."""
    reverse = [ip_address(address).reverse_pointer + "." for address in ADDRESSES]
    asked = [(name, rtype) for name in NAMES for rtype in ("A", "AAAA", "SRV", "CNAME")]
    asked += [(name, "PTR") for name in reverse]
    return {one: answers(settings, *one) for one in asked}


@given(
    st.tuples(SOME_SERVICES, SOME_SLICES),
    st.lists(st.tuples(SOME_SERVICES, SOME_SLICES), max_size=3),
    st.booleans(),
)
def test_who_is_told_of_changes_answers_as_if_all_had_been_told(
    first: tuple[dict[str, ServiceNames | None], dict[str, SliceNames | None]],
    changes: list[tuple[dict[str, ServiceNames | None], dict[str, SliceNames | None]]],
    asked: bool,
) -> None:
    """Whether of what came first anything has been read by then, or not."""
    services, slices = (there({}, one) for one in first)
    config = DnsConfig(listen=(), kubernetes=replace(EMPTY, services=services, slices=slices))
    told = DnsSettings().changed(from_json(DnsConfig, read_told(told_bytes(config))))
    for some, others in changes:
        if asked:
            all_names(told)
        told = told.patched(ClusterChanges(some, others))
        services, slices = there(services, some), there(slices, others)
    config = DnsConfig(listen=(), kubernetes=replace(EMPTY, services=services, slices=slices))
    whole = DnsSettings().changed(config)
    assert all_names(told) == all_names(whole)
    assert told.changed(config).zones.zones == told.zones.zones


def there(before: dict[str, T], changes: dict[str, T | None]) -> dict[str, T]:
    return {key: value for key, value in {**before, **changes}.items() if value is not None}


def test_of_many_services_those_are_read_that_are_asked_for() -> None:
    config = DnsConfig(listen=(), kubernetes=WORLD)
    settings = DnsSettings().changed(from_json(DnsConfig, read_told(told_bytes(config))))
    kubernetes = settings.sources[0][0]
    assert isinstance(kubernetes, Kubernetes)

    def read() -> set[str]:
        all_of = (*held(kubernetes.services), *held(kubernetes.slices))
        return {key for key, value in all_of if not isinstance(value, str)}

    assert read() == set()
    assert answers(settings, "web.app.svc.c.test.") == [["web.app.svc.c.test.", "A", "10.96.0.5", 5]]
    assert answers(settings, "missing.app.svc.c.test.") == "NXDOMAIN"
    assert read() == {"app/web"}
    assert [r[2] for r in answers(settings, "6.1.244.10.in-addr.arpa.", "PTR")] == [
        "other.db.app.svc.c.test."
    ]
    assert read() == {"app/web", "app/db", "app/db/1"}
    again = from_json(DnsConfig, read_told(told_bytes(config)))
    assert settings.changed(again).zones.zones == settings.zones.zones
    assert read() == {"app/web", "app/db", "app/db/1"}


def test_whoever_has_no_cluster_is_told_of_none() -> None:
    with pytest.raises(BadConfiguration, match="no cluster"):
        DnsSettings().patched(ClusterChanges({}, {}))


EMPTY = Kubernetes("c.test.", ("app", "empty"), {}, {})

"""What unbound and dnsmasq are told, and what they can't do; that they do what they are told is for a lab to show."""

from __future__ import annotations

import pytest

from emulab.servers.dns.config import Asking, CacheLimits, DnsConfig, RoutedRecords, ZoneConfig, ZoneRecord
from emulab.servers.engines.dnsmasq import unable as dnsmasq
from emulab.servers.engines.dnsmasq.conf import CONF as DNSMASQ_CONF
from emulab.servers.engines.dnsmasq.conf import common_ttl, dnsmasq_files
from emulab.servers.engines.names.zonefiles import plain_zones, presented, zone_file
from emulab.servers.engines.unbound import unable as unbound
from emulab.servers.engines.unbound.conf import CONF as UNBOUND_CONF
from emulab.servers.engines.unbound.conf import unbound_files
from emulab.servers.engines.unbound.control import entries

LISTEN = ("udp/10.0.0.2/53", "tcp/10.0.0.2/53", "udp/fd00::2/53")
SHOP = ZoneConfig(
    "shop.test.",
    (
        ZoneRecord("www.shop.test.", "A", "203.0.113.81", 60),
        ZoneRecord("alias.shop.test.", "CNAME", "www.shop.test", 20),
        ZoneRecord("out.shop.test.", "CNAME", "www.other.test.", 20),
        ZoneRecord("*.wild.shop.test.", "A", "203.0.113.83", 30),
        ZoneRecord("*.wild.shop.test.", "TXT", "wild", 30),
        ZoneRecord("txt.shop.test.", "TXT", 'say "so"\n', 9),
        ZoneRecord("shop.test.", "CAA", '0 issue "ca.test"', 9),
        ZoneRecord("sub.shop.test.", "NS", "ns.sub.shop.test.", 9),
    ),
    routed=(
        RoutedRecords("w.shop.test.", "A", ("10.0.0.1",), 5, 1),
        RoutedRecords("w.shop.test.", "A", ("10.0.0.2",), 5, 9),
        RoutedRecords("c.shop.test.", "CNAME", ("a.test.",), 5, 1),
        RoutedRecords("c.shop.test.", "CNAME", ("b.test.",), 5, 1),
    ),
)
CORP = ZoneConfig(
    "corp.test.",
    (
        ZoneRecord("db.corp.test.", "A", "10.0.0.5", 60),
        ZoneRecord("alias.corp.test.", "CNAME", "second.corp.test", 20),
        ZoneRecord("second.corp.test.", "CNAME", "db.corp.test.", 90),
        ZoneRecord("away.corp.test.", "CNAME", "www.other.test.", 20),
        ZoneRecord("*.corp.test.", "A", "10.0.0.6", 20),
    ),
    clients=("10.0.0.0/24",),
)
RESOLVES = DnsConfig(
    LISTEN,
    (CORP,),
    forward=("198.51.100.54:53", "[fd00::54]:5353"),
    cache=CacheLimits(600, 7, 11, 500, stale=3600),
    upstream=Asking(mixed_case=True),
)


def test_a_zone_is_a_file_with_all_that_is_drawn_elsewhere() -> None:
    (zone,) = plain_zones(DnsConfig(LISTEN, (SHOP,)))
    text = zone_file(zone, DnsConfig(()).soa)
    assert text.splitlines()[:3] == [
        "shop.test. 5 IN SOA ns.dns.shop.test. hostmaster.shop.test. 1 7200 1800 86400 5",
        "shop.test. 5 IN NS ns.dns.shop.test.",
        "www.shop.test. 60 IN A 203.0.113.81",
    ]
    assert 'txt.shop.test. 9 IN TXT "say \\034so\\034\\010"' in text
    assert 'shop.test. 9 IN CAA 0 issue "ca.test"' in text
    assert [line.split()[-1] for line in text.splitlines() if line.startswith("w.")] == [
        "10.0.0.1",
        "10.0.0.2",
    ]
    assert [line.split()[-1] for line in text.splitlines() if line.startswith("c.")] == ["a.test."]


@pytest.mark.parametrize("text", ['one "two" \\ three', "x" * 300, '"a" "b c"', "\x00\xff"])
def test_texts_are_quoted_for_zone_files(text: str) -> None:
    shown = presented(ZoneRecord("a.", "TXT", text, 5))
    assert shown.isascii() and shown.isprintable() and shown[0] == shown[-1] == '"'


def test_unbound_is_authoritative_by_files() -> None:
    files = unbound_files(DnsConfig(LISTEN, (SHOP, ZoneConfig(".", ()))), 3)
    conf = files[UNBOUND_CONF]
    assert next(iter(files)) == UNBOUND_CONF
    assert set(files) == {UNBOUND_CONF, "/etc/unbound/zone-shop.test", "/etc/unbound/zone-root"}
    assert (
        "interface: 10.0.0.2@53" in conf
        and "interface: fd00::2@53" in conf
        and conf.count("interface: 10") == 1
    )
    assert "local-data: 'generation.engine.invalid. 0 IN TXT \"3\"'" in conf
    assert "forward-zone" not in conf and "view:" not in conf


def test_unbound_resolves_with_a_view_of_private_zones() -> None:
    conf = unbound_files(RESOLVES, 1)[UNBOUND_CONF]
    for line in (
        *("cache-max-ttl: 600", "cache-min-ttl: 7", "cache-max-negative-ttl: 11", "serve-expired-ttl: 3600"),
        *("use-caps-for-id: yes", "forward-addr: 198.51.100.54@53", "forward-addr: fd00::54@5353"),
        *("access-control-view: 10.0.0.0/24 own", 'local-zone: "corp.test." static'),
        "local-data: 'alias.corp.test. 20 IN A 10.0.0.5'",
        "local-data: 'second.corp.test. 60 IN A 10.0.0.5'",
        "local-data: 'away.corp.test. 20 IN CNAME www.other.test.'",
    ):
        assert f"  {line}\n" in conf, line
    assert "*.corp.test" not in conf


def test_dnsmasq_is_told_line_by_line() -> None:
    lines = dnsmasq_files(DnsConfig(LISTEN, (SHOP, ZoneConfig(".", ()))), 3)[DNSMASQ_CONF].splitlines()
    for line in (
        *("port=53", "listen-address=10.0.0.2", "listen-address=fd00::2", "local-ttl=9", "local=/shop.test/"),
        *(
            "address=/#/",
            'txt-record=generation.engine.invalid,"3"',
            "host-record=www.shop.test,203.0.113.81,60",
        ),
        *("cname=alias.shop.test,www.shop.test,20", "address=/wild.shop.test/203.0.113.83"),
        *(
            "dns-rr=sub.shop.test,2,026e73037375620473686f70047465737400",
            "host-record=w.shop.test,10.0.0.2,5",
        ),
    ):
        assert line in lines, line
    assert not any(line.startswith(("server=", "max-cache-ttl")) for line in lines)
    lines = dnsmasq_files(RESOLVES, 1)[DNSMASQ_CONF].splitlines()
    for line in (
        "server=198.51.100.54#53",
        "server=fd00::54#5353",
        "max-cache-ttl=600",
        "use-stale-cache=3600",
    ):
        assert line in lines, line


def test_what_unbound_can_not_do_is_said() -> None:
    assert [what.partition(" aren't")[0] for what in unbound.unable(SHOP)] == [
        "records by weight, failover and health"
    ]
    assert list(unbound.unable(CORP)) == [
        "away.corp.test. leads out of its zone, where unbound follows no alias of a private one",
        "*.corp.test. isn't answered by unbound: its views know no wildcards",
    ]


def test_what_dnsmasq_can_not_do_is_said() -> None:
    known = {record.name for record in SHOP.records}
    assert [what.split(":")[0] for what in dnsmasq.unable(SHOP, known, common_ttl(SHOP.records))] == [
        "records by weight, failover and health aren't drawn by dnsmasq",
        "out.shop.test. leads out of what dnsmasq knows itself, where it follows no alias",
        "*.wild.shop.test. is wild.shop.test. itself, too",
        "*.wild.shop.test. TXT has a TTL of 9",
        "*.wild.shop.test. TXT isn't answered by dnsmasq",
        "sub.shop.test. isn't delegated",
    ]
    assert any("to everybody" in what for what in dnsmasq.unable(CORP, set(), 60))
    assert (
        len(list(dnsmasq.settings(CacheLimits(min_ttl=4000, negative_ttl=5), Asking(mixed_case=True)))) == 3
    )
    assert list(dnsmasq.settings(CacheLimits(), Asking())) == []


DUMP = """START_RRSET_CACHE
;rrset 5 1 0 7 0
shop.test.\t5\tIN\tSOA\tns.dns.shop.test. hostmaster.shop.test. 1 7200 1800 86400 5
;rrset 59 1 0 8 0
www.shop.test.\t59\tIN\tA\t203.0.113.81
;rrset 59 1 0 8 0
www.shop.test.\t59\tIN\tAAAA\t2001:db8::81
;rrset 59 1 0 8 0
alias.shop.test.\t59\tIN\tCNAME\twww.shop.test.
END_RRSET_CACHE
START_MSG_CACHE
msg nope.shop.test. IN A 33155 1 5 0 0 1 0
shop.test. IN SOA 4
msg alias.shop.test. IN A 33152 1 59 0 2 0 0
alias.shop.test. IN CNAME 0
www.shop.test. IN A 0
msg www.shop.test. IN AAAA 33152 1 58 0 1 0 0
www.shop.test. IN AAAA 0
msg cut.test. IN A 33152 1 58 0 3 0 0
END_MSG_CACHE
EOF
"""


def test_what_unbound_keeps_is_told_as_our_own_cache_tells_it() -> None:
    found = [(e["name"], e["type"], e["rcode"], e["ttl"], e["answers"]) for e in entries(DUMP)]
    assert found == [
        ("nope.shop.test.", "A", "NXDOMAIN", 5, []),
        ("alias.shop.test.", "A", "NOERROR", 59, ["CNAME www.shop.test.", "A 203.0.113.81"]),
        ("www.shop.test.", "AAAA", "NOERROR", 58, ["AAAA 2001:db8::81"]),
        ("cut.test.", "A", "NOERROR", 58, []),
    ]
    assert [e["name"] for e in entries(DUMP, "WWW.shop.test")] == ["www.shop.test."]
    assert len(list(entries(DUMP, "shop.test."))) == 3 and not list(entries("error not a dump"))

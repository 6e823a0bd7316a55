"""Lookups in zones and the choice between them."""

from __future__ import annotations

import pytest

from emulab.errors import UserError
from emulab.servers.dns import names, rdata
from emulab.servers.dns.config import Soa
from emulab.servers.dns.zone import LookupKind, ServedZone, Zones

RECORDS = [
    ["example.com.", "NS", "ns.example.com.", 300],
    ["ns.example.com.", "A", "198.51.100.53", 300],
    ["shop.example.com.", "A", "203.0.113.10", 30],
    ["shop.example.com.", "A", "203.0.113.11", 30],
    ["www.example.com.", "CNAME", "shop.example.com.", 30],
    ["a.deep.name.example.com.", "TXT", "hello", 30],
    ["*.wild.example.com.", "A", "203.0.113.20", 30],
    ["there.wild.example.com.", "TXT", "no address", 30],
    ["sub.example.com.", "NS", "ns.sub.example.com.", 300],
    ["ns.sub.example.com.", "A", "198.51.100.99", 300],
]


@pytest.fixture(name="zone", scope="module")
def _zone() -> ServedZone:
    return ServedZone("example.com.", RECORDS)


def look(zone: ServedZone, name: str, rtype: str = "A") -> tuple[LookupKind, list[str]]:
    kind, rrset, *_ = zone.lookup(names.lower(names.from_text(name)), rdata.type_number(rtype))
    return kind, [r.data.toZone() for r in rrset.records]


@pytest.mark.parametrize(
    ("name", "rtype", "kind", "texts"),
    [
        ("shop.example.com.", "A", LookupKind.ANSWER, ["203.0.113.10", "203.0.113.11"]),
        ("SHOP.Example.com.", "A", LookupKind.ANSWER, ["203.0.113.10", "203.0.113.11"]),
        ("shop.example.com.", "AAAA", LookupKind.NODATA, []),
        ("nothing.example.com.", "A", LookupKind.NXDOMAIN, []),
        ("below.shop.example.com.", "A", LookupKind.NXDOMAIN, []),
        ("www.example.com.", "A", LookupKind.ALIAS, ["shop.example.com."]),
        ("www.example.com.", "CNAME", LookupKind.ANSWER, ["shop.example.com."]),
        ("example.com.", "A", LookupKind.NODATA, []),
        ("example.com.", "NS", LookupKind.ANSWER, ["ns.example.com."]),
        # empty non-terminals exist (RFC 8020, RFC 4592 section 2.2.2)
        ("deep.name.example.com.", "TXT", LookupKind.NODATA, []),
        ("name.example.com.", "A", LookupKind.NODATA, []),
        ("wild.example.com.", "A", LookupKind.NODATA, []),
        # wildcards: any depth below, but not names that exist nor what is below these
        ("x.wild.example.com.", "A", LookupKind.ANSWER, ["203.0.113.20"]),
        ("x.y.wild.example.com.", "A", LookupKind.ANSWER, ["203.0.113.20"]),
        ("x.wild.example.com.", "TXT", LookupKind.NODATA, []),
        ("there.wild.example.com.", "A", LookupKind.NODATA, []),
        ("x.there.wild.example.com.", "A", LookupKind.NXDOMAIN, []),
        # a delegation
        ("sub.example.com.", "A", LookupKind.REFERRAL, ["ns.sub.example.com."]),
        ("x.ns.sub.example.com.", "A", LookupKind.REFERRAL, ["ns.sub.example.com."]),
        ("sub.example.com.", "DS", LookupKind.NODATA, []),
    ],
)
def test_lookup(zone, name, rtype, kind, texts):
    assert look(zone, name, rtype) == (kind, texts)


def test_any_gets_one_record_set(zone):
    kind, texts = look(zone, "shop.example.com.", "ANY")
    assert kind is LookupKind.ANSWER and texts == ["203.0.113.10", "203.0.113.11"]
    assert look(zone, "name.example.com.", "ANY") == (LookupKind.NODATA, [])


def test_soa_is_made_up_and_its_ttl_is_the_lesser_of_two():
    zone = ServedZone("example.com.", [], soa=Soa(minimum=7, ttl=60))
    assert look(zone, "example.com.", "SOA")[0] is LookupKind.ANSWER
    assert zone.soa.ttl == 7
    own = ServedZone("a.", [["a.", "SOA", "ns.a. root.a. 9 1 2 3 120", 60]])
    assert own.soa.ttl == 60 and own.soa.data.toZone().split()[2] == "9"


@pytest.mark.parametrize(
    "fields",
    [
        ["shop.example.org.", "A", "203.0.113.10", 30],
        ["notexample.com.", "A", "203.0.113.10", 30],
        ["shop.example.com.", "A", "nonsense", 30],
        ["shop.example.com.", "LOC", "x", 30],
        ["shop.example.com.", "A", "203.0.113.10", -1],
        ["shop.example.com.", "A", "203.0.113.10"],
    ],
)
def test_a_wrong_record_is_named(fields):
    with pytest.raises(UserError, match=r"example\.com.*" + fields[0].replace(".", r"\.")):
        ServedZone("example.com.", [fields])


def test_root_zone_answers_for_everything():
    zone = ServedZone(".", [["com.", "TXT", "x", 1]])
    assert look(zone, "no.such.name.")[0] is LookupKind.NXDOMAIN
    assert look(zone, "com.")[0] is LookupKind.NODATA
    assert look(zone, ".")[0] is LookupKind.NODATA
    assert zone.soa.owner == ()


def test_the_longest_zone_wins():
    outer, inner, root = (
        ServedZone("example.com.", []),
        ServedZone("sub.example.com.", []),
        ServedZone(".", []),
    )
    zones = Zones([root, outer, inner])
    for name, zone in [("a.sub.example.com.", inner), ("sub.example.com.", inner), ("example.com.", outer)]:
        assert zones.find(names.from_text(name), 0) is zone
    assert zones.find(names.from_text("subexample.com."), 0) is root
    assert Zones([inner]).find(names.from_text("example.com."), 0) is None


def test_split_view():
    public = ServedZone("abc.com.", [["app.abc.com.", "A", "203.0.113.10", 30]])
    private = ServedZone("abc.com.", [["app.abc.com.", "A", "10.0.0.100", 30]], clients=["10.0.0.0/24"])
    hidden = ServedZone("secret.com.", [], clients=["10.0.0.0/24", "10.244.0.0/16"])
    zones = Zones([public, private, hidden])
    app, secret = names.from_text("app.abc.com."), names.from_text("secret.com.")
    inside, pod, outside = (zones.view(a) for a in ("10.0.0.7", "10.244.1.2", "198.51.100.2"))
    assert zones.find(app, inside) is private and zones.find(secret, inside) is hidden
    assert zones.find(app, pod) is public and zones.find(secret, pod) is hidden
    assert zones.find(app, outside) is public and zones.find(secret, outside) is None
    assert zones.view("::ffff:10.0.0.7") == inside
    assert outside == 0


def test_a_wrong_client_network_is_a_user_error():
    with pytest.raises(UserError, match=r"abc\.com"):
        ServedZone("abc.com.", [], clients=["10.0.0.0/33"])


def test_caa_records_are_read_and_written() -> None:
    """RFC 8659: the value is a text of its own, with quotes or without."""
    for text in ('0 issue "ca.example; account=1"', "128 iodef mailto:a@example.com"):
        data = rdata.from_text(rdata.CAA, text)
        assert rdata.to_text(data).replace('"', "") == text.replace('"', "")
    for text in ("0 issue", "256 issue x", "0 is-sue x", "x issue y"):
        with pytest.raises(ValueError, match=r"."):
            rdata.from_text(rdata.CAA, text)

"""Records of a Zone that nobody will find, or finds otherwise than was meant."""

from __future__ import annotations

import pytest

from emulab.kinds.emulab.zone import Record
from emulab.kinds.emulab.zoneoddities import odd_records


def told(*texts: str) -> list[tuple[int, str, str]]:
    """What is odd of records such as `www 60 A 192.0.2.1`."""
    fields = [text.split(None, 3) for text in texts]
    records = [Record(name, rtype, value, int(ttl)) for name, ttl, rtype, value in fields]
    return [tuple(odd) for odd in odd_records(records, "T.test")]


@pytest.mark.parametrize(
    ("records", "index", "field", "why"),
    [
        (["m 60 MX 10 192.0.2.1"], 0, "value", "192.0.2.1 is an address, where a name belongs"),
        (["a 60 CNAME 192.0.2.1."], 0, "value", "192.0.2.1 is an address"),
        (["m 60 MX 10 Al.t.test.", "al 60 CNAME x.test"], 0, "value", "al.t.test is an alias, which MX must"),
        (["a 60 CNAME A.t.test"], 0, "value", "the alias leads back to itself"),
        (["sub 60 NS ns.x.test", "b.SUB 60 TXT x"], 1, "name", "is never answered: sub is delegated"),
        (["sub 60 NS ns.x.test", "sub 60 A 192.0.2.1"], 1, "name", "is never answered"),
        (["a 60 A 192.0.2.1", "A 30 A 192.0.2.2"], 1, "ttl", '30 is not 60, as of the first of "A" A'),
    ],
)
def test_what_is_odd(records: list[str], index: int, field: str, why: str) -> None:
    ((at, where, said),) = told(*records)
    assert (at, where) == (index, field) and said.startswith(why), said


def test_an_alias_that_comes_round_is_told_of_each() -> None:
    assert [
        index for index, *_ in told("a 60 CNAME b.t.test", "b 60 CNAME a.t.test", "c 60 CNAME a.t.test")
    ] == [0, 1]


def test_what_is_as_it_should_be_is_not_told() -> None:
    assert not told(
        "@ 60 NS ns.t.test.",
        "ns 60 A 192.0.2.53",
        "sub 60 NS ns.sub.t.test",
        "ns.sub 60 A 192.0.2.54",
        "ns.sub 60 AAAA fd00::54",
        "in 60 NS in.t.test",
        "in 60 A 192.0.2.55",
        "m 60 MX 10 ns.t.test.",
        "a 60 CNAME ns.t.test",
        "*.w 30 A 192.0.2.1",
        "w 60 A 192.0.2.1",
        "a.test 60 TXT 192.0.2.1",
    )

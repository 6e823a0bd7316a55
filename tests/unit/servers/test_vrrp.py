"""VRRP: what is on the wire, and who has the addresses when; no test waits."""

from __future__ import annotations

import ipaddress
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulab.servers.vrrp.announce import announcement
from emulab.servers.vrrp.config import VrrpConfig
from emulab.servers.vrrp.flows import packed, unpacked
from emulab.servers.vrrp.machine import ACTIVE, FAULT, STANDBY, EnterState, SendAdvertisement, VirtualRouter
from emulab.servers.vrrp.packet import Advertisement, decoded, encoded, internet_checksum

MAC = bytes.fromhex("02aabbccddee")
SAID = Advertisement(3, 51, 150, 0.25, ("10.0.0.10", "203.0.113.10"))


def test_an_advertisement_of_each_version() -> None:
    three = encoded(SAID, "10.0.0.11")
    assert three[:6].hex() == "313396020019" and three[8:].hex() == "0a00000acb00710a"
    two = encoded(replace(SAID, version=2, interval=1.0), "10.0.0.11")
    assert (
        two[:6].hex() == "213396020001" and len(two) == len(three) + 8
    )  # and 8 octets that once were a password
    assert internet_checksum(two) == 0
    pseudo = bytes.fromhex("0a00000be0000012") + bytes([0, 112, 0, len(three)])
    assert internet_checksum(pseudo + three) == 0


@given(
    st.sampled_from([2, 3]),
    st.integers(1, 255),
    st.integers(0, 255),
    st.integers(1, 255),
    st.lists(st.ip_addresses(v=4).map(str), min_size=1, max_size=20),
)
def test_what_is_said_is_heard(
    version: int, vrid: int, priority: int, time: int, addresses: list[str]
) -> None:
    interval = float(time) if version == 2 else time / 100
    one = Advertisement(version, vrid, priority, interval, tuple(addresses))
    assert decoded(encoded(one, "10.0.0.11"), 4, "10.0.0.11") == one


def test_six_as_well() -> None:
    one = replace(SAID, addresses=("fe80::1", "2001:db8:2::10"))
    assert decoded(encoded(one), 6) == one


@given(st.binary(max_size=80), st.sampled_from([4, 6]))
def test_whatever_comes_is_heard_or_refused(data: bytes, family: int) -> None:
    with suppress(ValueError):
        assert decoded(data, family).identifier > 0


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"1", "too few"),
        (encoded(SAID, "10.0.0.11")[:-1], "fewer addresses"),
        (b"\x41" + encoded(SAID, "10.0.0.11")[1:], "version 4"),
        (encoded(SAID, "10.0.0.11")[:-1] + b"\0", "checksum"),
        (encoded(SAID, "10.0.0.12"), "checksum"),
    ],
)
def test_what_is_no_advertisement(data: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        decoded(data, 4, "10.0.0.11")


def test_the_other_reading_of_the_checksum_is_taken_too() -> None:
    """RFC 9568, 5.2.8: a router may have left out the pseudo header."""
    plain = bytearray(encoded(SAID))
    plain[6:8] = internet_checksum(bytes(plain)).to_bytes(2, "big")
    assert decoded(bytes(plain), 4, "10.0.0.11") == SAID


def test_neighbours_are_told_of_an_address() -> None:
    arp = announcement("203.0.113.10", MAC)
    assert arp[:14].hex() == "ffffffffffff02aabbccddee0806" and arp[20:22] == b"\0\1"
    assert (
        arp[28:32] == arp[38:42] == ipaddress.ip_address("203.0.113.10").packed
    )  # sender and target are one
    na = announcement("2001:db8:2::10", MAC)
    assert na[:14].hex() == "33330000000102aabbccddee86dd" and na[21] == 255  # the hop limit
    assert na[54] == 136 and na[58] == 0x20 and na[-6:] == MAC  # override, with the MAC
    body = na[54:]
    pseudo = na[22:54] + len(body).to_bytes(4, "big") + (58).to_bytes(4, "big")
    assert internet_checksum(pseudo + body) == 0


CONFIG = VrrpConfig(
    (), name="lb", identifier=51, priority=100, interval=0.25, own="10.0.0.12", addresses=("10.0.0.10",)
)
SKEW = 156 / 256 * 0.25


def begun(config: VrrpConfig = CONFIG) -> VirtualRouter:
    router = VirtualRouter(config)
    assert list(router.start(True, 0.0)) == [EnterState(STANDBY, "it begins")]
    return router


def test_who_hears_nothing_for_three_intervals_takes_over() -> None:
    router = begun()
    assert router.due == pytest.approx(0.75 + SKEW) and not list(router.tick(0.75))
    taken, said = router.tick(0.75 + SKEW)
    assert isinstance(taken, EnterState) and taken.state == ACTIVE and said == SendAdvertisement(100)
    assert router.due == pytest.approx(1.0 + SKEW)
    assert list(router.tick(1.0 + SKEW)) == [SendAdvertisement(100)]


def test_of_version_2_seconds_are_whole_and_the_skew_is_of_one() -> None:
    router = begun(replace(CONFIG, version=2, interval=1.0))
    assert router.due == pytest.approx(3 + 156 / 256)


def test_who_is_heard_is_waited_for_by_its_own_interval() -> None:
    router = begun()
    assert not list(router.heard(replace(SAID, interval=1.0), "10.0.0.11", 0.5))
    assert router.due == pytest.approx(0.5 + 3 + 156 / 256) and router.active_at == "10.0.0.11"


def test_who_gives_up_is_not_waited_for() -> None:
    router = begun()
    assert not list(router.heard(replace(SAID, priority=0), "10.0.0.11", 0.5))
    assert router.due == pytest.approx(0.5 + SKEW)


def test_a_lower_priority_is_pre_empted_unless_nobody_may_be() -> None:
    low = replace(SAID, priority=50)
    router, patient = begun(), begun(replace(CONFIG, preempt=False))
    assert not list(router.heard(low, "10.0.0.11", 0.5)) and router.due == pytest.approx(0.75 + SKEW)
    assert not list(patient.heard(low, "10.0.0.11", 0.5)) and patient.due == pytest.approx(1.25 + SKEW)


def taken() -> VirtualRouter:
    router = begun()
    list(router.tick(1.0))
    assert router.state == ACTIVE
    return router


def test_the_active_one_yields_to_a_higher_priority_or_address() -> None:
    [change] = taken().heard(SAID, "10.0.0.11", 2.0)
    assert change == EnterState(STANDBY, "10.0.0.11 has priority 150")
    equal = replace(SAID, priority=100)
    [change] = taken().heard(equal, "10.0.0.13", 2.0)
    assert isinstance(change, EnterState) and change.state == STANDBY
    assert list(taken().heard(equal, "10.0.0.11", 2.0)) == [SendAdvertisement(100)]
    assert list(taken().heard(replace(SAID, priority=0), "10.0.0.11", 2.0)) == [SendAdvertisement(100)]


def test_a_link_that_goes_takes_the_addresses_along() -> None:
    router = taken()
    assert list(router.link(False, 2.0)) == [EnterState(FAULT, "its link is down")]
    assert (
        router.due is None and not list(router.heard(SAID, "10.0.0.11", 2.5)) and not list(router.tick(9.0))
    )
    [back] = router.link(True, 3.0)
    assert isinstance(back, EnterState) and back.state == STANDBY
    assert router.due == pytest.approx(3.75 + SKEW) and not list(router.link(True, 3.1))


def test_who_ends_says_so() -> None:
    assert list(taken().stop()) == [SendAdvertisement(0), EnterState(STANDBY, "it ends")]
    assert not list(begun().stop())
    assert [type(e) for e in VirtualRouter(CONFIG).start(False, 0.0)] == [EnterState]
    [owner, said] = VirtualRouter(replace(CONFIG, priority=255)).start(True, 0.0)
    assert isinstance(owner, EnterState) and owner.state == ACTIVE and said == SendAdvertisement(255)


def test_copies_of_flows_go_in_datagrams_and_come_out_again() -> None:
    copies = [b"N" + bytes([n]) * size for n, size in enumerate((10, 700, 700, 2000, 1))]
    datagrams = list(packed(copies))
    assert len(datagrams) == 4 and [one for data in datagrams for one in unpacked(data)] == copies


@given(st.binary(max_size=60))
def test_whatever_comes_is_copies_or_nothing(data: bytes) -> None:
    assert sum(2 + len(copy) for copy in unpacked(data)) <= len(data)

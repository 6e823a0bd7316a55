"""What is one way in IPv4 and another in IPv6, as text."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from emulab.model.addresses import is_address, parse_socket_name, socket_name
from emulab.model.families import FAMILIES, IPV4, IPV6, Family, by_families, family_of


@pytest.mark.parametrize(
    ("host", "port", "text"),
    [("10.0.0.1", 80, "10.0.0.1:80"), ("fd00::1", 80, "[fd00::1]:80"), ("web.test", 1, "web.test:1")],
)
def test_names_of_sockets_are_read_as_they_are_written(host: str, port: int, text: str) -> None:
    assert socket_name(host, port) == text
    assert parse_socket_name(text) == (host, port)


@pytest.mark.parametrize("text", ["", "80", ":80", "web", "web:", "web:http", "fd00::1", "::", "[]:80"])
def test_what_is_no_name_of_a_socket(text: str) -> None:
    assert parse_socket_name(text) is None


def test_addresses_and_names() -> None:
    assert is_address("10.0.0.1") and is_address("fd00::1")
    assert not is_address("1.example.com") and not is_address("") and not is_address("[fd00::1]")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_familys_own_addresses_are_of_it(family: Family) -> None:
    for given in (family.loopback, family.loopback_network, family.any, family.everything):
        assert family_of(given) is family
    assert family.loopback in family.loopback_network
    assert str(family.host(ip_address(family.loopback))) == f"{family.loopback}/{family.bits}"


def test_the_primary_familys_addresses_come_first() -> None:
    four, six = ip_address("10.0.0.1"), ip_address("fd00::1")
    assert by_families([four, six], (IPV6, IPV4)) == [six, four]
    assert by_families([six, four], (IPV4,)) == [four, six]
    assert by_families([four, six], (IPV4, IPV6)) == [four, six]

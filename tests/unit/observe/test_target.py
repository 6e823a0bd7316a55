"""What a trace sends to: every form that users write, and what is wrong with the others."""

from __future__ import annotations

import pytest

from emulab.errors import UserError
from emulab.observe.target import RequestTarget, parse


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("http://shop.example.com/products/42", ("http", "shop.example.com", 80, "/products/42")),
        ("http://shop.example.com", ("http", "shop.example.com", 80, "/")),
        ("HTTPS://Shop.example.com:8443/a?b=c#d", ("https", "shop.example.com", 8443, "/a?b=c")),
        ("https://203.0.113.10", ("https", "203.0.113.10", 443, "/")),
        ("http://shop?x=1", ("http", "shop", 80, "/?x=1")),
        ("http://shop/tcp", ("http", "shop", 80, "/tcp")),
        ("http://shop:/x", ("http", "shop", 80, "/x")),
        ("http://shop/é%20b", ("http", "shop", 80, "/%C3%A9%20b")),
        ("shop.example.com", ("http", "shop.example.com", 80, "/")),
        ("shop.example.com.", ("http", "shop.example.com.", 80, "/")),
        ("shop/products", ("http", "shop", 80, "/products")),
        ("shop:8080/products", ("http", "shop", 8080, "/products")),
        ("shop:8080/", ("http", "shop", 8080, "/")),
        ("shop:8080", ("tcp", "shop", 8080, "")),
        ("shop:8080/tcp", ("tcp", "shop", 8080, "")),
        ("10.96.0.10:53/udp", ("udp", "10.96.0.10", 53, "")),
        ("shop:53/UDP", ("udp", "shop", 53, "")),
        ("tcp://shop:1", ("tcp", "shop", 1, "")),
        ("udp://shop:65535", ("udp", "shop", 65535, "")),
        ("udp://shop:65535/", ("udp", "shop", 65535, "")),
        ("my_service.my-ns:80", ("tcp", "my_service.my-ns", 80, "")),
        ("http://[2001:DB8::1]/x", ("http", "2001:db8::1", 80, "/x")),
        ("[fd00::1]", ("http", "fd00::1", 80, "/")),
        ("[fd00::1]/x", ("http", "fd00::1", 80, "/x")),
        ("[fd00::1]:8080/x", ("http", "fd00::1", 8080, "/x")),
        ("[fd00:0::1]:53/udp", ("udp", "fd00::1", 53, "")),
        ("tcp://[fd00::1]:1", ("tcp", "fd00::1", 1, "")),
    ],
)
def test_what_a_target_means(text: str, target: tuple[str, str, int, str]) -> None:
    assert parse(text) == RequestTarget(*target)


def test_what_a_host_field_says_of_a_target() -> None:
    given = ("http://[fd00::1]/", "http://[fd00::1]:8080/", "http://shop:8080/")
    assert [parse(text).authority for text in given] == ["[fd00::1]", "[fd00::1]:8080", "shop:8080"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "a host is missing"),
        ("/products", "a host is missing"),
        ("http://", "a host is missing"),
        ("http:///x", "a host is missing"),
        (":80", "a host is missing"),
        ("ftp://shop", "the scheme 'ftp' is unknown"),
        ("shop:", "a port is missing"),
        ("shop:/udp", "a port is missing"),
        ("shop/udp", "a port is missing: shop:PORT/udp"),
        ("shop:80/sctp", "SCTP can't be sent, only tcp and udp"),
        ("tcp://shop", "a port is missing"),
        ("udp://shop:", "a port is missing"),
        ("tcp://shop:80/x", "tcp has no path"),
        ("shop:0", "out of range"),
        ("shop:65536", "out of range"),
        ("shop:" + "9" * 5000, "out of range"),
        ("shop:http", "is no port number"),
        ("shop:²", "is no port number"),
        ("shop:-1", "is no port number"),
        ("fe80::1", r"an address of IPv6 stands in brackets, such as \[fe80::1\]"),
        ("[fe80::1%eth0]:80", "is no IPv6 address in brackets"),
        ("[::1", "is no IPv6 address in brackets"),
        ("[::1]80", "is no IPv6 address in brackets"),
        ("[10.0.0.1]:80", "is no IPv6 address in brackets"),
        ("[shop]:80", "is no IPv6 address in brackets"),
        ("[fd00::1]/udp", r"a port is missing: \[fd00::1\]:PORT/udp"),
        ("tcp://[fd00::1]", r"write \[fd00::1\]:PORT"),
        ("[fd00::1]:http", "is no port number"),
        ("10.0.0:80", "is no IPv4 address"),
        ("10.0.0.256:80", "is no IPv4 address"),
        ("10.0.0.01:80", "is no IPv4 address"),
        ("me@shop:80", "a user name"),
        ("http://a b/", "a blank"),
        ("http://shop/\x1b[2J", "a blank"),
        ("bücher.example:80", "isn't ASCII"),
        ("-shop:80", "is no host name"),
        ("shop..example:80", "is no host name"),
        ("x" * 64 + ":80", "is no host name"),
    ],
)
def test_what_is_no_target(text: str, why: str) -> None:
    with pytest.raises(UserError, match=why) as error:
        parse(text)
    assert "\n" not in str(error.value) and "\x1b" not in str(error.value)

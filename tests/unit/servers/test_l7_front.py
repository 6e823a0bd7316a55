"""Who asks, where somebody in front says so: nginx's realip module, and what upstreams are told."""

from __future__ import annotations

from typing import Any

import pytest
from scripted import Script, has, page

from emulab.servers.l7.config import (
    AccessControl,
    Filter,
    L7Config,
    Match,
    Options,
    RequestRoute,
    SourceRanges,
    Upstream,
    WeightedUpstream,
)
from emulab.servers.l7.engine.addresses import Networks
from emulab.servers.l7.engine.snapshot import take
from emulab.servers.l7.personalities.ingress_nginx.front import real_address
from emulab.servers.wire.proxyprotocol import Proxied

A = "10.0.0.1:80"


def script(options: Options, *filters: Filter, **more: Any) -> Script:
    route = RequestRoute(Match("", "/", "Prefix"), (WeightedUpstream("up"),), "Ingress d/r", filters)
    config = L7Config((), routes=(route,), upstreams={"up": Upstream((A,))}, options=options)
    play = Script(take(config, {}), **more)
    play.skip()
    return play


def told(play: Script, *fields: str) -> dict[str, str]:
    """The fields that the upstream gets."""
    play.client("\r\n".join(["GET / HTTP/1.1", "Host: h", *fields, "", ""]).encode())
    play.connected()
    (data,) = (argument for word, argument in play.taken() if word == "forward")
    return dict(line.split(": ", 1) for line in data.decode().removesuffix("\r\n\r\n").split("\r\n")[1:])


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        (b"", "192.0.2.7"),
        (b"203.0.113.9", "203.0.113.9"),
        (b"198.51.100.1, 203.0.113.9, 192.0.2.8", "203.0.113.9"),  # the last that isn't believed itself
        (b"192.0.2.9 , 192.0.2.8", "192.0.2.9"),
        (b"203.0.113.9,192.0.2.8, ", "203.0.113.9"),
        (b"203.0.113.9:4711", "203.0.113.9"),
        (b"[2001:db8::9]:4711", "2001:db8::9"),
        (b"2001:db8::9", "2001:db8::9"),
        (b"203.0.113.9, unknown", "192.0.2.7"),
        (b"unknown, 192.0.2.8", "192.0.2.8"),  # as far as there are addresses
    ],
)
def test_a_list_is_read_from_its_end(field: bytes, expected: str) -> None:
    assert real_address("192.0.2.7", field, Networks(["192.0.2.0/24"])) == expected


def test_nobody_else_is_believed() -> None:
    assert real_address("203.0.113.1", b"198.51.100.1", Networks(["192.0.2.0/24"])) == "203.0.113.1"


class TestFields:
    FORWARDED = Options(trust_forwarded=True)

    def test_are_not_believed_by_default(self) -> None:
        fields = told(script(Options()), "X-Forwarded-For: 198.51.100.1", "X-Forwarded-Proto: https")
        assert (fields["X-Real-IP"], fields["X-Forwarded-Proto"]) == ("192.0.2.7", "http")
        assert fields["X-Original-Forwarded-For"] == "198.51.100.1"

    def test_are_believed(self) -> None:
        said = "X-Forwarded-For: 198.51.100.1", "X-Forwarded-Proto: https", "X-Forwarded-Port: 8443"
        fields = told(script(self.FORWARDED), *said, "X-Forwarded-Host: shop.example, other")
        assert fields["X-Real-IP"] == fields["X-Forwarded-For"] == "198.51.100.1"
        assert (fields["X-Forwarded-Proto"], fields["X-Scheme"], fields["X-Forwarded-Port"]) == (
            "https",
            "https",
            "8443",
        )
        assert fields["Host"] == fields["X-Forwarded-Host"] == "shop.example"

    def test_that_are_there_twice_are_one(self) -> None:
        said = (
            "X-Forwarded-Host: a.example",
            "X-Forwarded-Host: b.example",
            "X-Request-ID: 1",
            "X-Request-ID: 2",
        )
        fields = told(script(self.FORWARDED), *said)
        assert fields["Host"] == "a.example" and fields["X-Request-ID"] == "1, 2"
        assert fields["X-Original-Forwarded-Host"] == "a.example, b.example"

    def test_addresses_are_believed_of_some_alone(self) -> None:
        options = Options(trust_forwarded=True, trusted=("10.0.0.0/8", "fd00::/8"))
        said = "X-Forwarded-For: 198.51.100.1", "X-Forwarded-Proto: https"
        fields = told(script(options), *said)
        assert (fields["X-Real-IP"], fields["X-Forwarded-Proto"]) == ("192.0.2.7", "https")
        assert told(script(options, client="10.1.2.3"), *said)["X-Real-IP"] == "198.51.100.1"
        assert told(script(options, client="fd00::9"), *said)["X-Real-IP"] == "198.51.100.1"

    def test_are_by_default_believed_of_no_address_of_ipv6(self) -> None:
        """ingress-nginx' `proxy-real-ip-cidr` is 0.0.0.0/0."""
        fields = told(script(self.FORWARDED, client="2001:db8::1"), "X-Forwarded-For: 198.51.100.1")
        assert fields["X-Real-IP"] == "2001:db8::1"

    def test_the_address_alone(self) -> None:
        said = "X-Forwarded-For: 198.51.100.1", "X-Forwarded-Proto: https"
        fields = told(script(Options(real_ip=True)), *said)
        assert (fields["X-Real-IP"], fields["X-Forwarded-Proto"]) == ("198.51.100.1", "http")

    @pytest.mark.parametrize("name", ["CF-Connecting-IP", "X-Real-IP"])
    def test_another_field(self, name: str) -> None:
        options = Options(trust_forwarded=True, forwarded_for_header=name)
        fields = told(script(options), f"{name}: 198.51.100.1", "X-Forwarded-For: 203.0.113.1")
        assert fields["X-Real-IP"] == fields["X-Forwarded-For"] == "198.51.100.1"
        assert fields["X-Original-Forwarded-For"] == "198.51.100.1"

    def test_all_who_were_in_front(self) -> None:
        options = Options(trust_forwarded=True, full_forwarded_for=True)
        fields = told(script(options), "X-Forwarded-For: 198.51.100.1, 203.0.113.1")
        assert fields["X-Forwarded-For"] == "198.51.100.1, 203.0.113.1, 192.0.2.7"
        assert fields["X-Real-IP"] == "198.51.100.1"
        assert told(script(options))["X-Forwarded-For"] == "192.0.2.7"


class TestProxyProtocol:
    PROXIED = Proxied("198.51.100.9", 4711, "203.0.113.10", 443)

    def test_tells_who_asks(self) -> None:
        fields = told(script(Options(proxy_protocol=True), proxied=self.PROXIED), "X-Forwarded-For: 1.2.3.4")
        assert fields["X-Real-IP"] == fields["X-Forwarded-For"] == "198.51.100.9"
        assert (fields["X-Forwarded-Port"], fields["X-Forwarded-Proto"]) == ("443", "https")

    def test_tells_nothing_where_the_one_in_front_speaks_for_itself(self) -> None:
        fields = told(script(Options(proxy_protocol=True)))
        assert (fields["X-Real-IP"], fields["X-Forwarded-Port"]) == ("192.0.2.7", "80")

    def test_is_believed_of_some_alone(self) -> None:
        options = Options(proxy_protocol=True, trusted=("10.0.0.0/8",))
        assert told(script(options, proxied=self.PROXIED))["X-Real-IP"] == "192.0.2.7"

    @pytest.mark.parametrize(
        ("source", "expected"), [("192.0.2.99", "203.0.113.77"), ("198.51.100.9", "198.51.100.9")]
    )
    def test_with_fields_the_one_that_is_believed_says_more(self, source: str, expected: str) -> None:
        options = Options(proxy_protocol=True, trust_forwarded=True, trusted=("192.0.2.0/24",))
        proxied = Proxied(source, 1, "203.0.113.10", 80)
        assert (
            told(script(options, proxied=proxied), "X-Forwarded-For: 203.0.113.77")["X-Real-IP"] == expected
        )

    def test_tells_all_who_were_in_front(self) -> None:
        options = Options(proxy_protocol=True, trust_forwarded=True, full_forwarded_for=True)
        fields = told(script(options, proxied=self.PROXIED), "X-Forwarded-For: 203.0.113.1")
        assert fields["X-Forwarded-For"] == "203.0.113.1, 198.51.100.9"


def test_who_may_in_and_what_is_logged_go_by_it() -> None:
    allow = AccessControl(allow=SourceRanges(("198.51.100.0/24",), "whitelist-source-range"))
    play = script(Options(trust_forwarded=True), allow, told=True, lines=2)
    play.client(b"GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 203.0.113.1\r\n\r\n")
    (sent, error, access, record) = play.taken()
    assert sent == ("send", page(403))
    assert ", client: 203.0.113.1, " in error[1] and access[1].startswith("203.0.113.1 - - ")
    assert record == ("tell", has(client="192.0.2.7:4000", address="203.0.113.1", status=403))
    play.client(b"GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 198.51.100.1\r\n\r\n")
    assert ("select", A) in play.taken()

"""Who may in, as other engines are told: all of it, or nobody may."""

from __future__ import annotations

import pytest
from test_engine_nginx import ENGINE, HTTP, HTTPS, config, route

from emulab.servers.engines.haproxy import filters as haproxy
from emulab.servers.engines.haproxy.conf import HaproxyPlace, haproxy_cfg
from emulab.servers.engines.haproxy.maps import route_maps
from emulab.servers.engines.haproxy.unable import certificates
from emulab.servers.engines.haproxy.unable import unable as haproxy_unable
from emulab.servers.engines.nginx import access
from emulab.servers.engines.nginx.conf import nginx_conf
from emulab.servers.engines.nginx.unable import unable
from emulab.servers.l7.config import (
    AccessControl,
    BasicAuthentication,
    ClientLimits,
    ClientVerification,
    ConnectionLimit,
    ExternalAuthentication,
    Filter,
    Match,
    Options,
    Refusal,
    RequestLimit,
    SourceRanges,
)

MATCH = Match("a.test", "/", "Prefix")
RANGES = AccessControl(SourceRanges(("10.1.0.0/16",)), SourceRanges(("10.0.0.0/8", "fd00::/8")), any=True)
BASIC = AccessControl(basic=BasicAuthentication("Who", "ann:x\n"))
EXTERNAL = AccessControl(
    external=ExternalAuthentication(
        "http://auth.test/$host",
        signin="https://in.test/?a=1",
        response_headers=("X-User",),
        cache_key="$host",
    )
)
LIMITS = ClientLimits(
    (RequestLimit("d_s_rps", 5000, 25), RequestLimit("d_s_rpm", 1666, 500)),
    ConnectionLimit("d_s_conn", 3),
    ("10.0.0.0/8",),
)


def conf(*filters: Filter, **more: object) -> str:
    return nginx_conf(config(route(filters=filters), **more), ENGINE)


class TestNginx:
    @pytest.mark.parametrize(
        ("one", "lines"),
        [
            (RANGES, ("deny 10.1.0.0/16;", "allow fd00::/8;", "deny all;", "satisfy any;")),
            (BASIC, ("auth_basic Who;", 'proxy_set_header Authorization "";', "satisfy all;")),
            (Refusal("why"), ("return 503;",)),
            (
                LIMITS,
                ("limit_req_zone $counted_d_s_rps zone=d_s_rps:5m rate=5r/s;", "limit_conn d_s_conn 3;"),
            ),
            (LIMITS, ("limit_req_zone $counted_d_s_rps zone=d_s_rpm:5m rate=100r/m;", "10.0.0.0/8 1;")),
            (LIMITS, ("limit_req zone=d_s_rps burst=25 nodelay;", "limit_req_status 503;")),
            (EXTERNAL, ("auth_request /_external-auth-Lw-Prefix;", "location = /_external-auth-Lw-Prefix {")),
            (EXTERNAL, ('set $target "http://auth.test/$host";', "proxy_set_header X-User $auth_header_0;")),
        ],
    )
    def test_is_told(self, one: Filter, lines: tuple[str, ...]) -> None:
        text = conf(one)
        for line in lines:
            assert line in text

    def test_has_files(self) -> None:
        wish = ClientVerification(("a.test",), "PEM", "CRL", depth=2, match="CN=(a|b)")
        told = config(route(filters=(BASIC,)), verifications=(wish,))
        text = nginx_conf(told, ENGINE)
        there = access.files(told)
        assert sorted(there.values()) == ["CRL", "PEM", "ann:x\n"]
        assert all(path in text for path in there)
        assert "ssl_verify_client on;" in text and "ssl_verify_depth 2;" in text
        assert 'if ($ssl_client_s_dn !~ "CN=(a|b)") {' in text
        assert "set $told_ssl_client_verify $ssl_client_verify;" in text

    def test_options(self) -> None:
        options = Options(proxy_protocol=True, trusted=("fd00::/8",), block_agents=("~*bot",))
        text = conf(options=options)
        assert "real_ip_header proxy_protocol;" in text and "set_real_ip_from fd00::/8;" in text
        assert '"~*bot" 1;' in text and "if ($block_ua) {" in text
        assert "proxy_protocol;" in text.partition("listen 10.244.1.3:80")[2].partition("\n")[0]

    def test_what_it_cannot_do_is_told(self) -> None:
        assert list(unable(route(filters=(RANGES, BASIC, LIMITS)))) == []
        assert list(unable(route(filters=(EXTERNAL,)))) == [
            "auth-cache-key isn't followed by nginx: a service is asked about each request",
            "the way back from auth-signin isn't escaped by nginx: it is as the client wrote it",
        ]


class TestHAProxy:
    def test_looks_at_addresses(self) -> None:
        assert haproxy.CFG_DIRECTIVES[AccessControl](RANGES, MATCH) == [
            "http-request deny deny_status 403 if { src 10.1.0.0/16 }",
            "http-request deny deny_status 403 unless { src 10.0.0.0/8 fd00::/8 }",
        ]
        assert list(haproxy_unable(route(filters=(RANGES,)))) == []

    @pytest.mark.parametrize("one", [BASIC, EXTERNAL])
    def test_lets_nobody_in_where_more_is_asked_for(self, one: AccessControl) -> None:
        locked = ["http-request deny deny_status 503"]
        assert haproxy.CFG_DIRECTIVES[AccessControl](one, MATCH) == locked
        assert haproxy.CFG_DIRECTIVES[Refusal](Refusal("why"), MATCH) == locked
        assert list(haproxy_unable(route(filters=(one,)))) == [
            "passwords and other services aren't asked by haproxy: everybody is answered 503"
        ]

    def test_lets_nobody_in_where_certificates_are_looked_at(self) -> None:
        wish = ClientVerification(("a.test",), "PEM")
        told = config(
            route(), route(host="b.test"), verifications=(wish,), options=Options(proxy_protocol=True)
        )
        place = HaproxyPlace({HTTP: 3, HTTPS: 4}, 7, {})
        text = haproxy_cfg(told, place, route_maps(told.routes))
        first, second = text.partition("backend route-0")[2].split("backend route-1")
        assert list(certificates(told, told.routes[0])) == [
            "certificates of clients aren't looked at by haproxy: everybody is answered 403"
        ]
        assert list(certificates(told, told.routes[1])) == []
        assert "http-request deny deny_status 403" in first
        assert "http-request deny deny_status 403" not in second
        assert "bind fd@3 accept-proxy" in text and "bind fd@4 accept-proxy ssl" in text

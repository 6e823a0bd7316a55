"""Who may in, as other engines are told: all of it, or nobody may."""

from __future__ import annotations

import pytest
from test_engine_nginx import ENGINE, HTTP, HTTPS, config, route

from emulab.servers.engines.haproxy import filters as haproxy
from emulab.servers.engines.haproxy import places
from emulab.servers.engines.haproxy.conf import HaproxyPlace, haproxy_cfg, haproxy_files
from emulab.servers.engines.haproxy.maps import route_maps
from emulab.servers.engines.nginx import access
from emulab.servers.engines.nginx.conf import nginx_conf
from emulab.servers.l7.config import (
    AccessControl,
    BasicAuthentication,
    Certificate,
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
            (
                EXTERNAL,
                ('set $question "http://auth.test/$host";', "proxy_set_header X-User $auth_header_0;"),
            ),
            (EXTERNAL, ("proxy_set_header X-Forwarded-For $told_forwarded_for;",)),
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

    @pytest.mark.parametrize("proxied", [True, False])
    def test_the_port_that_backends_are_told(self, proxied: bool) -> None:
        """The balancer's, of whose header it is; without one 443 is what TLS comes to, whatever is listened at."""
        told = (
            conf(options=Options(proxy_protocol=proxied))
            .partition("map $scheme $own_port {")[2]
            .split("}")[0]
        )
        assert ("$proxy_protocol_server_port;" in told) is proxied
        assert ("https 443;" in told) is not proxied


def cfg(*filters: Filter, **more: object) -> str:
    told = config(route(filters=filters), **more)
    place = HaproxyPlace({HTTP: 3, HTTPS: 4}, 7, {})
    return haproxy_cfg(told, place, route_maps(told.routes))


class TestHAProxy:
    @pytest.mark.parametrize("proxied", [True, False])
    def test_the_port_that_backends_are_told(self, proxied: bool) -> None:
        lines = [
            line for line in cfg(options=Options(proxy_protocol=proxied)).splitlines() if "(txn.port)" in line
        ]
        assert lines[0].endswith("set-var(txn.port) dst_port")
        assert any("str(443) if { ssl_fc }" in line for line in lines) is not proxied

    @pytest.mark.parametrize(
        ("one", "lines"),
        [
            (
                RANGES.__class__(RANGES.deny, RANGES.allow),
                ("403.html if { src -f ", "403.html unless { src -f "),
            ),
            (Refusal("why"), ("http-request return status 503 content-type text/html file",)),
            (BASIC, ("http_auth_user,map_str(/etc/haproxy/maps/users-", "lua.password if { var(txn.hash)")),
            (BASIC, ('hdr WWW-Authenticate "Basic realm=\\"Who\\""', "del-header Authorization")),
            (
                LIMITS,
                ("stick-table type ipv6 size 80k expire 1h store http_req_rate(5200ms)", "store conn_cur"),
            ),
            (LIMITS, ("if { src,table_http_req_rate(zone-d_s_rps) ge 26 } !{ var(txn.exempt) -m bool }",)),
            (LIMITS, ("http-request track-sc2 src table zone-d_s_conn if !{ var(txn.exempt) -m bool }",)),
            (EXTERNAL, ('http-request set-var-fmt(txn.ask_url) "http://auth.test/%[var(txn.nginx_host)]"',)),
            (EXTERNAL, ('lua.ask - "a.test /_external-auth-Lw-Prefix" "200=300 202=300 401=300" - X-User',)),
            (
                EXTERNAL,
                ("if !{ var(txn.ask_status) -m int 200:299 } !{ var(txn.ask_status) -m int 401 403 }",),
            ),
            (EXTERNAL, ('hdr Location "https://in.test/?a=1&rd=%[var(txn.nginx_pass_access_scheme)]://',)),
        ],
    )
    def test_is_told(self, one: Filter, lines: tuple[str, ...]) -> None:
        text = cfg(one)
        for line in lines:
            assert line in text, text

    def test_any_check_that_lets_in_is_enough(self) -> None:
        both = AccessControl(RANGES.deny, RANGES.allow, BASIC.basic, EXTERNAL.external, any=True)
        lines = haproxy.CFG_DIRECTIVES[AccessControl](both, MATCH)
        outside = " !{ var(txn.in) -m bool }"
        refusing = [line for line in lines if " return status " in line]
        assert refusing and all(line.endswith(outside) for line in refusing)
        assert next(line for line in lines if "lua.ask" in line).endswith(f" if{outside}")

    def test_looks_at_certificates_of_clients(self) -> None:
        wish = ClientVerification(("a.test",), "PEM", "CRL", match="CN=ann")
        told = config(
            route(), route(host="b.test"), verifications=(wish,), options=Options(proxy_protocol=True),
            certificates=(Certificate(("a.test", "b.test"), "CERT", "KEY", "shop/tls"),), tls_listen=(HTTPS,),
        )  # fmt: skip
        place = HaproxyPlace({HTTP: 3, HTTPS: 4}, 7, {})
        files = haproxy_files(told, place, "FAKE")
        first, second = files[places.CFG].partition("backend route-0")[2].split("backend route-1")
        assert "400.html" not in first and "496.html if { ssl_fc } !{ ssl_c_used }" in first
        assert "ssl-client-verify SUCCESS" in first and "ssl-client" not in second
        assert "bind fd@3 accept-proxy\n" in files[places.CFG] and "ca-ignore-err all" in files[places.CFG]
        listed = files["/etc/haproxy/ssl/list.txt"].splitlines()
        authorities = [path for path, text in files.items() if text == "PEM"]
        revoked = [path for path, text in files.items() if text == "CRL"]
        asked = f"[ca-file {authorities[0]} verify optional crl-file {revoked[0]}]"
        assert f"/etc/haproxy/ssl/shop-tls.pem {asked} a.test" in listed
        assert "/etc/haproxy/ssl/shop-tls.pem b.test" in listed
        locked = config(route(), verifications=(ClientVerification(("a.test",), error="no Secret"),))
        assert (
            "return status 403"
            in haproxy_cfg(locked, place, route_maps(locked.routes)).partition("route-0")[2]
        )

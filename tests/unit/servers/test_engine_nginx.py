"""What nginx is told, and what its access log tells."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from every_filter import EVERY_FILTER
from hypothesis import given
from hypothesis import strategies as st

from emulab.servers.engines.backendfiles import backend_files
from emulab.servers.engines.logged import records
from emulab.servers.engines.nginx import access
from emulab.servers.engines.nginx.conf import NginxPlace, nginx_conf
from emulab.servers.engines.nginx.logged import _VARIABLES, FORMAT, entry, told
from emulab.servers.engines.nginx.text import quoted
from emulab.servers.engines.nginx.unable import balance, unable
from emulab.servers.engines.shared import server_mark
from emulab.servers.l7.config import (
    CORS,
    AnswerFields,
    Balance,
    Canary,
    Certificate,
    CookieAffinity,
    CookieDomain,
    CookiePath,
    DirectResponse,
    DrawnServer,
    ErrorPages,
    Field,
    FieldMatch,
    Filter,
    Gzip,
    HashBy,
    HiddenFields,
    HostRedirect,
    L7Config,
    LeastRequest,
    LocationChange,
    Match,
    Mirror,
    Options,
    Policy,
    Reach,
    RegexRewrite,
    ReplacePrefixMatch,
    RequestHeaderModifier,
    RequestRoute,
    ResponseHeaderModifier,
    RootRedirect,
    Upstream,
    UpstreamFields,
    UpstreamTLS,
    URLRewrite,
    WeightedUpstream,
)
from emulab.servers.l7.engine.snapshot import take

HTTP, HTTPS = "tcp/10.244.1.3/80", "tcp/10.244.1.3/443"
ENGINE = NginxPlace({HTTP: "10.244.1.3:80", HTTPS: "10.244.1.3:443"}, 1, 7, "nobody nogroup", {})


def route(host: str = "a.test", path: str = "/", kind: str = "Prefix", **more: object) -> RequestRoute:
    plain = RequestRoute(Match(host, path, kind), (WeightedUpstream("shop/web/80"),), "Ingress shop/front")
    return replace(plain, **more)  # type: ignore[arg-type]


def config(*routes: RequestRoute, **more: object) -> L7Config:
    upstreams = {"shop/web/80": Upstream(("10.96.0.7:80",)), "shop/none/80": Upstream()}
    plain = L7Config((HTTP, HTTPS), (HTTPS,), routes=routes, upstreams=upstreams)
    return replace(plain, **more)  # type: ignore[arg-type]


def server(text: str, name: str) -> str:
    """The server of one host, as an operator finds it."""
    found = re.search(
        rf"## start server {re.escape(name)}\n(.*?)## end server {re.escape(name)}", text, re.DOTALL
    )
    assert found is not None, text
    return found[1]


def location(text: str, place: str) -> str:
    found = re.search(rf"location {re.escape(place)} \{{\n(.*?)\n        \}}", text, re.DOTALL)
    assert found is not None, f"no {place} in {text}"
    return found[1]


def test_a_host_is_a_server_between_its_marks() -> None:
    text = nginx_conf(config(route("app1.qas.abc.com")), ENGINE)
    own = server(text, "app1.qas.abc.com")
    assert "server_name app1.qas.abc.com;" in own
    assert "listen 10.244.1.3:80;" in own and "listen 10.244.1.3:443 ssl http2;" in own
    assert "proxy_pass http://shop-web-80;" in location(own, "/")
    assert "set $ingress_name front;" in own and "return 200 7;" in text
    assert "listen 10.244.1.3:80 default_server;" in server(text, "_")


def test_backends_are_reached_as_the_policy_says() -> None:
    def of(**policy: object) -> str:
        text = nginx_conf(config(route(policy=Policy(**policy))), ENGINE)  # type: ignore[arg-type]
        return location(server(text, "a.test"), "/")

    assert "proxy_ssl" not in of() and "grpc" not in of()
    rpc = of(reach=Reach("GRPC"), read_timeout=7.0)
    assert "grpc_pass grpc://shop-web-80-grpc;" in rpc and "grpc_read_timeout 7s;" in rpc
    assert "grpc_set_header Host $best_http_host;" in rpc and "proxy_set_header" not in rpc
    assert "proxy_pass $scheme://shop-web-80-auto-$scheme;" in of(reach=Reach("AUTO_HTTP"))
    many = [route(policy=Policy(reach=Reach(one))) for one in ("GRPC", "AUTO_HTTP")]
    whole = nginx_conf(config(*many, default_upstream="shop/web/80"), ENGINE)
    groups = re.findall(r"upstream shop-web-80(\S*) {", whole)
    assert groups == ["", "-grpc", "-auto-http", "-auto-https"]
    assert "proxy_http_version 1.0;" in of(http_version="1.0")
    tls = UpstreamTLS(verify=True, authorities="CA", depth=3, name="web.test", certificate="CRT", key="KEY")
    policy = Policy(reach=Reach("HTTPS", tls))
    secure = of(reach=policy.reach)
    files = backend_files([route(policy=policy)])
    assert sorted(files.values()) == ["CA", "CRT\nKEY"]
    (authorities,) = (name for name, text in files.items() if text == "CA")
    assert f"proxy_ssl_trusted_certificate /etc/nginx/ssl/{authorities};" in secure
    assert "proxy_ssl_verify on;" in secure and "proxy_ssl_verify_depth 3;" in secure
    assert "proxy_ssl_name web.test;" in secure and "proxy_ssl_server_name off;" in secure
    assert "proxy_pass https://shop-web-80-https;" in secure


def test_http_2_may_be_off() -> None:
    text = nginx_conf(config(route(), options=Options(http2=False, http2_streams=5)), ENGINE)
    assert "http2;" not in text and "http2_max_concurrent_streams 5;" in text


@pytest.mark.parametrize(("size", "written"), [(300, 512), (512, 512), (8192, 8192)])
def test_buffers_for_heads_are_as_large_as_it_needs_to_begin(size: int, written: int) -> None:
    text = nginx_conf(config(route(), options=Options(header_buffer_max=size)), ENGINE)
    assert f"large_client_header_buffers 4 {written};" in text


def test_a_wildcard_is_one_label() -> None:
    own = server(nginx_conf(config(route("*.a.test")), ENGINE), "*.a.test")
    (name,) = re.findall(r'server_name "~(.*)";', own)
    expression = re.compile(name.replace("\\\\", "\\"))
    assert (
        expression.match("b.a.test") and not expression.match("c.b.a.test") and not expression.match("a.test")
    )


@pytest.mark.parametrize(
    ("path", "kind", "places"),
    [
        ("/a", "Exact", ["= /a"]),
        ("/a", "Prefix", ["= /a", "/a/"]),
        ("/a/", "Prefix", ["= /a", "/a/"]),
        ("/", "Prefix", ["/"]),
        ("/a", "ImplementationSpecific", ["/a"]),
        ("/a/(b|c)$", "RegularExpression", ['~* "^/a/(b|c)$"']),
    ],
)
def test_path_types_are_locations(path: str, kind: str, places: list[str]) -> None:
    own = server(nginx_conf(config(route(path=path, kind=kind)), ENGINE), "a.test")
    found = [place for place in re.findall(r"location (.*) \{", own) if "proxy_pass" in location(own, place)]
    assert found == places


def test_the_longest_expression_is_asked_first_and_the_first_of_two_routes_stays() -> None:
    two = replace(route(path="/a"), backends=(WeightedUpstream("shop/none/80"),))
    text = nginx_conf(
        config(
            route(path="/a.", kind="RegularExpression"),
            route(path="/abc.", kind="RegularExpression"),
            route(path="/a"),
            two,
        ),
        ENGINE,
    )
    own = server(text, "a.test")
    assert own.index("^/abc.") < own.index('"^/a."') < own.index("location = /a ")
    assert "return 503" not in own  # of the second Ingress that has the path


@given(st.text(min_size=1, max_size=30))
def test_nothing_that_is_written_ends_a_directive(text: str) -> None:
    """Whatever a manifest says is one parameter, in which no variable is named but our own for a dollar sign."""
    written = quoted(text)
    if written.startswith('"'):
        inner = written[1:-1]
        assert not re.search(r'(?<!\\)(?:\\\\)*"', inner)
        assert "$" not in inner.replace("${literal_dollar}", "")
    else:
        assert not re.search(r"[\s;{}\"'$\\#]", written)


def test_what_is_decided_for_a_route_is_in_its_location() -> None:
    policy = Policy(
        body_max=8 << 20,
        read_timeout=7.5,
        connect_timeout=2.0,
        tries=1,
        ssl_redirect=True,
        request_buffer=1 << 20,
    )
    own = location(server(nginx_conf(config(route(policy=policy)), ENGINE), "a.test"), "/")
    for line in (
        "client_max_body_size 8388608;", "proxy_read_timeout 7500ms;", "proxy_connect_timeout 2s;",
        "proxy_next_upstream_tries 1;", "proxy_request_buffering on;", "return 308 https://$redirect_host$bare_uri;",
    ):  # fmt: skip
        assert line in own


def test_filters_add_to_what_upstreams_and_clients_are_told() -> None:
    filters = (
        RequestHeaderModifier(remove=("X-Gone",), set=(Field("x-real-ip", "of$us"),)),
        ResponseHeaderModifier(set=(Field("Server", "s"),)),
        URLRewrite("other.test", ReplacePrefixMatch("/new")),
    )
    own = location(server(nginx_conf(config(route(path="/old", filters=filters)), ENGINE), "a.test"), "/old/")
    assert (
        'proxy_set_header x-real-ip "of${literal_dollar}us";' in own and "X-Real-IP $remote_addr" not in own
    )
    assert 'proxy_set_header X-Gone "";' in own and "proxy_set_header Host other.test;" in own
    assert (
        "proxy_set_header Host $best_http_host" not in own and "proxy_set_header X-Request-ID $req_id;" in own
    )
    assert "proxy_hide_header Server;" in own and "add_header Server s always;" in own
    assert "add_header Strict-Transport-Security $strict_transport always;" in own
    assert 'rewrite "^/old/?(.*)$" /new/$1 break;' in own


def test_backends_share_by_weight_and_one_without_servers_is_503() -> None:
    shared = route(backends=(WeightedUpstream("shop/web/80", 3), WeightedUpstream("shop/none/80", 1)))
    text = nginx_conf(config(shared, route(path="/n", backends=(WeightedUpstream("shop/none/80"),))), ENGINE)
    assert "75.00% shop-web-80;" in text and "* shop-none-80;" in text
    assert "return 503;" in location(server(text, "a.test"), "/n/")


def test_connections_to_several_endpoints_are_not_kept() -> None:
    for endpoints, kept in ((0, True), (1, True), (2, False)):
        upstreams = {"shop/web/80": Upstream(("10.96.0.7:80",), endpoints=endpoints)}
        text = nginx_conf(config(route(), upstreams=upstreams), ENGINE)
        assert ("    keepalive 320;" in text) == kept


def test_names_are_resolved_when_they_are_asked_for() -> None:
    named = config(
        route(), upstreams={"shop/web/80": Upstream(("db:5432",))}, resolv_conf="nameserver 10.96.0.10\n"
    )
    text = nginx_conf(named, replace(ENGINE, names={"db": "db.shop.svc.cluster.local"}))
    assert "set $target db.shop.svc.cluster.local:5432;" in text and "proxy_pass http://$target;" in text
    assert "resolver 10.96.0.10 valid=1s;" in text and "upstream shop-web-80" not in text


def test_a_host_has_the_certificate_that_is_for_it() -> None:
    pair = Certificate(("a.test",), "C", "K", "shop/tls")
    text = nginx_conf(config(route(), route("b.test"), certificates=(pair,)), ENGINE)
    assert "ssl_certificate /etc/nginx/ssl/shop-tls.pem;" in server(text, "a.test")
    assert "ssl_certificate /etc/nginx/ssl/fake.pem;" in server(text, "b.test")


def test_who_is_believed() -> None:
    text = nginx_conf(config(route(), options=Options(trust_forwarded=True)), ENGINE)
    assert "real_ip_header X-Forwarded-For;" in text and "default $http_x_forwarded_proto;" in text
    assert "real_ip_header" not in nginx_conf(config(route()), ENGINE)
    other = Options(trust_forwarded=True, forwarded_for_header="CF-Connecting-IP")
    text = nginx_conf(config(route(), options=other), ENGINE)
    assert "real_ip_header CF-Connecting-IP;" in text
    assert "default $http_cf_connecting_ip;" in text
    both = Options(trust_forwarded=True, full_forwarded_for=True, proxy_protocol=True)
    text = nginx_conf(config(route(), options=both), ENGINE)
    assert "real_ip_header X-Forwarded-For;" in text and "$http_x_forwarded_for, $proxy_protocol_addr" in text
    for trusted, header in (("10.0.0.0/8", "proxy_protocol"), ("::/0", "X-Forwarded-For")):
        some = replace(both, trusted=(trusted,))
        assert f"real_ip_header {header};" in nginx_conf(config(route(), options=some), ENGINE)


def test_what_it_cannot_do_is_told() -> None:
    asked = route(match=Match("a.test", headers=(FieldMatch("x", "y"),)))
    assert list(unable(asked, config(asked))) == [
        "nginx's locations ask for the path alone: requests are served as without it"
    ]
    assert list(unable(route(), config(route()))) == [] == list(balance(Upstream()))


STUCK = {
    "shop/web/80": Upstream(
        ("10.0.0.1:80", "[fd00::1]:80"),
        CookieAffinity(
            "my-cookie", path='/$"', same_site="None", unless_incompatible=True, change_on_failure=True
        ),
    ),
    "shop/new/80": Upstream(("10.0.0.3:80",), CookieAffinity("my-cookie")),
    "hashed": Upstream(("10.0.0.1:80",), HashBy("$the_real_ip-$escaped_request_uri")),
}


def test_nginx_takes_what_is_written(tmp_path: Path) -> None:
    """The program itself looks at a configuration that has some of everything."""
    assert shutil.which("nginx"), "scripts/setup test installs it"
    canary = Canary("shop/new/80", 30, 200, "X_Try", "", '^a.*"$', "my-try")
    policy = Policy(affinity_cookie=True, response_buffer=1 << 20, reach=Reach("AUTO_HTTP"))
    given = config(
        *(
            route(f"f{number}.test", filters=(one,))
            for number, one in enumerate(EVERY_FILTER)
            if not isinstance(one, Mirror)
        ),
        route("stuck.test", policy=Policy(affinity_cookie=True)),
        route("canary.test", policy=policy, canary=canary),
        route("weight.test", canary=Canary("shop/new/80", 30)),
        route("hashed.test", backends=(WeightedUpstream("hashed"),)),
        upstreams=STUCK,
        options=Options(trust_forwarded=True, full_forwarded_for=True),
        listen=(HTTP,),
        tls_listen=(),
    )
    text = nginx_conf(given, ENGINE)
    for path, content in access.files(given).items():
        here = tmp_path / path.removeprefix("/")
        here.parent.mkdir(parents=True, exist_ok=True)
        here.write_text(content)
    text = text.replace("/etc/nginx", f"{tmp_path}/etc/nginx").replace(
        "user nobody nogroup;", "user root root;"
    )
    text = re.sub(r"listen (unix:)?[^ ;]+", "listen 127.0.0.1:8", text).replace("unix:", "unix:/tmp/x", 1)
    text = re.sub(r"access_log syslog:\S+ lab;", "access_log off;", text)
    conf = tmp_path / "nginx.conf"
    (tmp_path / "etc/nginx/run").mkdir(parents=True)
    conf.write_text(text)
    done = subprocess.run(
        ["nginx", "-t", "-q", "-c", str(conf), "-e", "stderr"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_cookies_and_canaries_are_steps_of_maps() -> None:
    text = nginx_conf(
        config(
            route("a.test", policy=Policy(affinity_cookie=True)),
            route("b.test", canary=Canary("shop/new/80", 30, header="X-Try", cookie="try")),
            upstreams=STUCK,
        ),
        ENGINE,
    )
    mark = server_mark("10.0.0.1:80")
    for line in (
        f'"shop-web-80|{mark}" shop-web-80-{mark};',
        f"upstream shop-web-80-{mark} {{",
        "server [fd00::1]:80 max_fails=0 backup;",
        "add_header Set-Cookie $new_mark_0 always;",
        'map "${canary_1}|$mark_1" $stuck_1 {',
        "map $http_x_try $canary_1_2 {",
        'split_clients "$request_id" $canary_1_weight {',
        "30.00% shop-new-80;",
        "proxy_pass http://${stuck_0};",
        "proxy_pass http://${stuck_1};",
    ):
        assert line in text, text


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (HashBy('$host"x'), 'hash "$host\\"x" consistent;'),
        (DrawnServer(), "random;"),
        (LeastRequest(), "random two least_conn;"),
    ],
)
def test_algorithms_are_nginx_own(how: Balance, said: str) -> None:
    told = config(route(), upstreams={"shop/web/80": Upstream(("10.0.0.1:80", "10.0.0.2:80"), balance=how)})
    upstream = re.search(r"upstream shop-web-80 \{\n(.*?)\}", nginx_conf(told, ENGINE), re.DOTALL)
    assert upstream is not None and upstream[1].split("\n")[0].strip() == said
    assert list(balance(told.upstreams["shop/web/80"])) == []


SAID = {
    **dict.fromkeys(_VARIABLES, ""),
    "client": "198.51.100.2", "peer": "10.0.0.11", "port": "4711",
    "local": "10.244.1.3:80", "scheme": "http", "version": "HTTP/1.1",
    "method": "GET", "target": "/x", "host": "a.test", "agent": "curl/8", "status": "200", "sent": "300", "body": "100",
    "size": "90", "seconds": "0.012", "id": "f" * 32, "route": "0",
    "servers": "10.1.0.1:80, 10.1.0.2:80", "statuses": "502, 200", "connects": "-, 0.001", "headers": "-, 0.010",
    "times": "0.001, 0.011", "lengths": "0, 100",
}  # fmt: skip


def test_the_log_tells_what_our_own_server_knows() -> None:
    assert FORMAT.count('":"$') == len(_VARIABLES)
    (ready,) = take(config(route()), {}).ready
    odd = entry({**SAID, "method": "", "target": "", "line": "\x16\xff"}, {0: ready})
    assert (odd.head.method, odd.head.line) == (b"", b"\x16\xff")
    message = b"<190>Nov 29 10:00:00 nginx: " + json.dumps(SAID).encode()
    said = told(message)
    assert said == SAID and told(message[:-5]) is None
    raw = told(message.replace(b"curl/8", b"\xc3\xa4\xff"))
    assert raw is not None and b"\xc3\xa4\xff" in entry(raw, {0: ready}).head.lines[0]
    done = entry(SAID, {0: ready})
    assert [(one.server, one.status, one.connect) for one in done.tries] == [
        ("10.1.0.1:80", 502, -1.0), ("10.1.0.2:80", 200, 0.001),
    ]  # fmt: skip
    assert (done.status, done.sent, done.body_sent, done.seconds) == (200, 300, 100, 0.012)
    assert done.head.field(b"user-agent") == "curl/8" and done.client == ("198.51.100.2", "10.0.0.11:4711")
    first, second, request = records(done, SAID, "nginx")
    assert first["event"] == second["event"] == "proxy-connect" and second["attempt"] == 2
    assert "upstream_source" not in second and second["rule"] == "Ingress shop/front"
    assert (request["answered_by"], request["reason"]) == ("upstream", "")


def test_an_answer_of_nginx_own_has_its_reason() -> None:
    own = {
        **SAID,
        **dict.fromkeys(("servers", "statuses", "connects", "headers", "times", "lengths"), ""),
        "status": "404",
    }
    (request,) = records(entry(own, {}), own, "nginx")
    assert (request["answered_by"], request["reason"], request["upstream"]) == (
        "ingress",
        "no rule matches",
        "",
    )


@pytest.mark.parametrize(
    ("one", "lines"),
    [
        (RegexRewrite("/a/(.*)", "/$1", "/a"), ['rewrite "(?i)/a/(.*)" "/$1" break;', 'X-Forwarded-Prefix "/a";']),
        (RegexRewrite("/a", "/$x/${host}"), ['"/${x}/${host}" break;']),
        (DirectResponse(301, "https://b.test"), ["return 301 https://b.test;"]),
        (DirectResponse(503), ["return 503;"]),
        (RootRedirect("/app"), ["return 302 $scheme://$http_host/app;"]),
        (HostRedirect("b.test", 308), ["return 308 $forwarded_scheme://b.test:$pass_port$bare_uri;"]),
        (UpstreamFields((Field("X-A", "$scheme $$"),)), ['X-A "${scheme} ${literal_dollar}${literal_dollar}";']),
        (AnswerFields((Field("X-A", "1 2"),)), ["proxy_hide_header X-A;", 'add_header X-A "1 2" always;']),
        (HiddenFields(("X-A",)), ["proxy_hide_header X-A;"]),
        (CookieDomain("a.test", "b.test"), ['proxy_cookie_domain a.test "b.test";']),
        (CookiePath("~/a", "/b"), ['proxy_cookie_path "~/a" "/b";']),
        (LocationChange("http://a/", "/", relative=True), ['proxy_redirect http://a/ "/";', "absolute_redirect off;"]),
        (Gzip(("text/css",), 5, 9), ["gzip on;", "gzip_comp_level 5;", "gzip_min_length 9;", "gzip_types text/css;"]),
        (CORS(("https://*.a.test",), "GET", "X-A"), ["if ($cors_", "return 204;", "Max-Age $cors_"]),
        (Mirror("http://m.test", "m.test", "/m", body=False), ["mirror /_mirror_0;", "mirror_request_body off;"]),
        (ErrorPages((404,), "shop/web/80"), ["error_page 404 = @errors_0_404;", "proxy_intercept_errors on;"]),
    ],
)  # fmt: skip
def test_filters_of_annotations_are_directives(one: Filter, lines: list[str]) -> None:
    own = location(server(nginx_conf(config(route(filters=(one,))), ENGINE), "a.test"), "/")
    assert [line for line in lines if line not in own] == []
    assert [*unable(route(filters=(one,)), config())] == []


def test_that_places_stay_relative_is_said_once() -> None:
    """nginx ends at a directive that it has had."""
    both = (DirectResponse(301, "/new", relative=True), LocationChange("http://a/", "/", relative=True))
    own = location(server(nginx_conf(config(route(filters=both)), ENGINE), "a.test"), "/")
    assert own.count("absolute_redirect off;") == 1


def test_whose_origin_is_allowed_is_known_before_a_location() -> None:
    """An `if` of a location has no `try_files`."""
    text = nginx_conf(config(route(filters=(CORS(("https://*.a.test",), "GET", "X-A"),))), ENGINE)
    assert "map $http_origin $cors_" in text and r'"~*(https://[A-Za-z0-9\\-]+\\.a\\.test)$" true;' in text


def test_who_answers_for_errors_and_mirrors_has_a_location() -> None:
    pages = ErrorPages((404,), "shop/web/80", (Field("X-Format", "$http_accept"),))
    filters = (pages, Mirror("http://m.test", "n.test", "/m"))
    own = server(nginx_conf(config(route(filters=filters)), ENGINE), "a.test")
    errors, mirror = location(own, "@errors_0_404"), location(own, "= /_mirror_0")
    assert "proxy_set_header X-Code 404;" in errors and 'X-Format "${http_accept}";' in errors
    assert "rewrite (.*) / break;" in errors and "proxy_pass http://shop-web-80;" in errors
    assert 'set $mirror_target "http://m.test/m$is_args$args";' in mirror
    assert "proxy_set_header Host n.test;" in mirror and "internal;" in mirror


def test_redirects_to_tls_come_after_what_nginx_rewrites() -> None:
    policy = Policy(force_ssl_redirect=True, redirect_status=301, keep_slash=True, redirect_port=443)
    filters = (RegexRewrite("/a", "/b"),)
    own = location(server(nginx_conf(config(route(policy=policy, filters=filters)), ENGINE), "a.test"), "/")
    to_https = "return 301 https://$redirect_host:443$request_uri;"
    assert own.index("rewrite ") < own.index(to_https)


def test_workers_are_as_many_as_are_asked_for() -> None:
    assert "worker_processes 3;" in nginx_conf(config(route()), replace(ENGINE, workers=3))


def test_who_is_not_allowed_gets_what_the_upstream_says_of_origins() -> None:
    one = CORS(("https://a.test",), "GET", "X-A")
    text = nginx_conf(config(route(filters=(one,))), ENGINE)
    assert re.search(r'true "?GET"?;\s+default \$upstream_http_access_control_allow_methods;', text)

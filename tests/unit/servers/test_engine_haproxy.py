"""What HAProxy is told, and what its log tells."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

from every_filter import EVERY_FILTER
from hypothesis import given
from hypothesis import strategies as st

from emulab.servers.engines.haproxy import places
from emulab.servers.engines.haproxy.conf import HaproxyPlace, haproxy_files
from emulab.servers.engines.haproxy.filters import CFG_DIRECTIVES
from emulab.servers.engines.haproxy.logged import _TEXTS, _VALUES, FORMAT, entry, told
from emulab.servers.engines.haproxy.maps import route_maps
from emulab.servers.engines.haproxy.pages import whole
from emulab.servers.engines.haproxy.text import in_format, quoted
from emulab.servers.engines.haproxy.unable import balance, unable
from emulab.servers.engines.logged import records
from emulab.servers.engines.shared import KnownName
from emulab.servers.l7.config import (
    Canary,
    Certificate,
    ClientVerification,
    CookieAffinity,
    Field,
    FieldMatch,
    HashBy,
    L7Config,
    Match,
    Options,
    Policy,
    Reach,
    ReplacePrefixMatch,
    RequestHeaderModifier,
    RequestRedirect,
    RequestRoute,
    ResponseHeaderModifier,
    Upstream,
    UpstreamTLS,
    URLRewrite,
    WeightedUpstream,
)
from emulab.servers.l7.engine.snapshot import take
from emulab.servers.selfsigned import self_signed

KEPT = " pool-max-conn 320 pool-purge-delay 60000ms max-reuse 10000"
HTTP, HTTPS = "tcp/10.244.1.3/80", "tcp/10.244.1.3/443"
PLACE = HaproxyPlace({}, 7, {})


def route(host: str = "a.test", path: str = "/", kind: str = "Prefix", **more: object) -> RequestRoute:
    plain = RequestRoute(Match(host, path, kind), (WeightedUpstream("shop/web/80"),), "Ingress shop/front")
    return replace(plain, **more)  # type: ignore[arg-type]


def config(*routes: RequestRoute, **more: object) -> L7Config:
    upstreams = {"shop/web/80": Upstream(("10.96.0.7:80", "[fd00::7]:80")), "shop/none/80": Upstream()}
    plain = L7Config((HTTP, HTTPS), (), routes=routes, upstreams=upstreams)
    return replace(plain, **more)  # type: ignore[arg-type]


def section(config: L7Config, head: str, place: HaproxyPlace = PLACE) -> list[str]:
    text = haproxy_files(config, place, "")[places.CFG]
    return [
        line.strip()
        for line in re.split(rf"^{head}\n", text, flags=re.MULTILINE)[1].split("\n\n")[0].splitlines()
    ]


def test_a_look_up_finds_the_route_of_a_host_and_a_path() -> None:
    maps = route_maps(
        [
            route(path="/a"),
            route(path="/a", kind="Exact"),
            route("*.b.test", "/raw", "ImplementationSpecific"),
            route(path="/long.*", kind="RegularExpression"),
            route(path="/lo.", kind="RegularExpression"),
            route("", "/"),
        ]
    )
    assert maps.hosts == "a.test 1\n*.b.test 2\n"
    assert maps.exact == "1/a 1\n"  # Exact wins over the Prefix of one path
    assert maps.prefixes == "1/a/ 0\n2/raw 2\n0/ 5\n"
    assert maps.expressions == ((1, "/long.*", 3), (1, "/lo.", 4))


@given(st.text(min_size=1, max_size=30))
def test_nothing_that_is_written_ends_a_word(text: str) -> None:
    for written in (quoted(text), in_format(text)):
        if written.startswith('"'):
            assert not re.search(r'(?<!\\)(?:\\\\)*["$]', written[1:-1])
        else:
            assert not re.search(r"[\s\"'$\\#%{}]", written)


def test_what_is_decided_for_a_route_is_in_its_backend() -> None:
    policy = Policy(
        body_max=8 << 20, read_timeout=7.5, connect_timeout=2.0, tries=1, ssl_redirect=True, request_buffer=1
    )
    filters = (
        RequestHeaderModifier(remove=("X-Gone",), set=(Field("X-A", "50% of it"),)),
        ResponseHeaderModifier(add=(Field("X-B", "b"),)),
        URLRewrite("other.test", ReplacePrefixMatch("/new")),
    )
    own = section(config(route(path="/old", policy=policy, filters=filters)), "backend route-0")
    for line in (
        "# Ingress shop/front: a.test /old Prefix",
        "timeout connect 2000ms", "timeout server 7500ms", "retries 0", "http-request wait-for-body time 60000ms",
        "http-request return status 413 content-type text/html file /etc/haproxy/pages/413.html "
        "if { req.hdr_val(content-length) gt 8388608 }",
        "http-request return status 308 content-type text/html file /etc/haproxy/pages/308.html "
        'hdr Location "https://%[var(txn.bare_host)]%[var(txn.bare)]" if { var(txn.scheme) -m str http }',
        "http-request del-header X-Gone", 'http-request set-header X-A "50%% of it"',
        "http-response add-header X-B b", "http-request set-header Host other.test",
        r'http-request replace-path "^/old/?(.*)\$" /new/\1',
        f"server s0-0 10.96.0.7:80 weight 1{KEPT}", f"server s0-1 fd00::7:80 weight 1{KEPT}",
    ):  # fmt: skip
        assert line in own, own


def test_what_nobody_reads_is_not_noted() -> None:
    for noted, read in (
        ("txn.located", Options()),
        ("txn.chain", Options(trust_forwarded=True, full_forwarded_for=True)),
        ("txn.pass_server", Options(pass_server=True)),
    ):
        bare = Options(hsts="", trust_forwarded=True)
        for options, wanted in ((read, True), (bare, False)):
            text = haproxy_files(config(route(), options=options), PLACE, "")[places.CFG]
            assert (f"set-var({noted})" in text or f"set-var-fmt({noted})" in text) == wanted, noted


def test_of_grpc_no_body_is_waited_for() -> None:
    for protocol, waits in (("HTTP", True), ("HTTPS", True), ("GRPC", False), ("GRPCS", False)):
        own = section(
            config(route(policy=Policy(request_buffer=1, reach=Reach(protocol)))), "backend route-0"
        )
        assert ("http-request wait-for-body time 60000ms" in own) == waits
        assert ("http-request del-header TE" in own) == waits


def test_shares_names_and_nobody() -> None:
    upstreams = {"a": Upstream(("10.0.0.1:80", "10.0.0.2:80")), "b": Upstream(("db:80",)), "none": Upstream()}
    shared = route(backends=(WeightedUpstream("a", 1), WeightedUpstream("b", 1)))
    given = config(shared, route(path="/n", backends=(WeightedUpstream("none"),)), upstreams=upstreams)
    own = section(given, "backend route-0", HaproxyPlace({}, 1, {"db": KnownName("db.x.svc")}))
    assert (
        f"server s0-0 10.0.0.1:80 weight 50{KEPT}" in own
        and f"server s0-1 10.0.0.2:80 weight 50{KEPT}" in own
    )
    assert f"server s1-0 db.x.svc:80 resolvers cluster init-addr none weight 100{KEPT}" in own
    seen = HaproxyPlace({}, 1, {"db": KnownName("db.x.svc", "fd00::9")})
    named = f"server s1-0 db.x.svc:80 resolvers cluster init-addr fd00::9 weight 100{KEPT}"
    assert named in section(given, "backend route-0", seen)
    assert any(
        line.startswith("http-request return status 503") for line in section(given, "backend route-1")
    )
    assert any(
        line.startswith("http-request return status 404") for line in section(given, "backend default")
    )
    assert f"server s0-0 10.0.0.1:80 weight 1{KEPT}" in section(
        replace(given, default_upstream="a"), "backend default"
    )


def test_connections_to_several_endpoints_are_not_kept() -> None:
    many, one = Upstream(("10.96.0.7:80",), endpoints=2), Upstream(("10.96.0.7:80",), endpoints=1)
    for upstream, kept in ((many, False), (one, True)):
        own = section(config(route(), upstreams={"shop/web/80": upstream}), "backend route-0")
        (line,) = (line for line in own if line.startswith("server "))
        assert ("pool-max-conn 0" in line, "pool-max-conn 320" in line) == (not kept, kept)


def test_the_places_of_servers_on_a_ring_are_those_of_their_addresses() -> None:
    def numbers(*servers: str, twice: bool = False) -> list[str]:
        hashed = Upstream(servers, HashBy("$arg_x"))
        shares = tuple(WeightedUpstream(name) for name in ("a", "b")[: 1 + twice])
        own = section(config(route(backends=shares), upstreams={"a": hashed, "b": hashed}), "backend route-0")
        return [line.split()[line.split().index("id") + 1] for line in own if line.startswith("server ")]

    first, last = numbers("10.0.0.1:80", "10.0.0.3:80")
    assert numbers("10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80")[::2] == [first, last]
    assert len({*numbers("10.0.0.1:80", "10.0.0.3:80", twice=True)}) == 4  # HAProxy takes none twice


def test_haproxy_takes_what_is_written(tmp_path: Path, monkeypatch: object) -> None:
    """The program itself looks at a configuration that has some of everything."""
    assert shutil.which("haproxy"), "scripts/setup test installs it"
    pair = self_signed("x", "a.test", ["a.test"])
    tls = UpstreamTLS(
        verify=True,
        authorities=pair[0],
        name="web.test",
        server_name=True,
        ciphers="HIGH:!aNULL",
        certificate=pair[0],
        key=pair[1],
    )
    routes = (
        route(policy=Policy(ssl_redirect=True)),
        route("*.a.test", "/x y\"$'", "Exact"),
        route(path="/a(b|c)\\.d$", kind="RegularExpression"),
        route("b.test", filters=(RequestRedirect("https", "c.test", 8443, ReplacePrefixMatch("/q%"), 301),)),
        route("c.test", backends=(WeightedUpstream("shop/named/80"),)),
        *(
            route(f"{one.lower()}.test", policy=Policy(reach=Reach(one)))
            for one in ("HTTPS", "GRPC", "GRPCS")
        ),
        route("secure.test", policy=Policy(reach=Reach("HTTPS", tls))),
        *(route(f"f{number}.test", filters=(one,)) for number, one in enumerate(EVERY_FILTER)),
        route("*.odd.test", filters=EVERY_FILTER),
        route(
            r"~^(?<one>\w+)\.odd$",
            policy=Policy(limit_rate=1024, limit_rate_after=10, next_upstream=("off",)),
        ),
        route("stuck.test", backends=(WeightedUpstream("stuck"),), policy=Policy(affinity_cookie=True)),
        route(
            "canary.test",
            policy=Policy(reach=Reach("AUTO_HTTP"), affinity_cookie=True),
            canary=Canary("stuck", 30, 200, "X_Try", "", "^a.*$", "try"),
        ),
        route("hashed.test", backends=(WeightedUpstream("hashed"),)),
    )
    assert {type(one) for one in EVERY_FILTER} >= set(CFG_DIRECTIVES) - {RequestRedirect}
    given = config(
        *routes,
        upstreams={
            "shop/web/80": Upstream(("10.96.0.7:80",)),
            "shop/named/80": Upstream(("db.shop:80",)),
            "stuck": Upstream(
                ("10.0.0.1:80", "[fd00::1]:80"),
                CookieAffinity("c", True, False, '/$%"', "a.test", "None", True, False, 60, -1),
            ),
            "hashed": Upstream(("10.0.0.1:80", "[fd00::1]:80"), HashBy("$request_uri-$arg_x%$http_x_y")),
        },
        verifications=(
            ClientVerification(("a.test", "f1.test"), pair[0], pass_certificate=True, match="CN=a", depth=1),
            ClientVerification(("b.test",), pair[0], verify="optional_no_ca", error_page="https://e.test/$1"),
        ),
        tls_listen=(HTTPS,),
        certificates=(
            Certificate(("a.test",), *pair, "shop/tls"),
            Certificate(("_",), *pair, "shop/default"),
        ),
        options=Options(
            trust_forwarded=True,
            trusted=("10.0.0.0/8", "fd00::/8"),
            full_forwarded_for=True,
            block_agents=("~*bot", "plain"),
            block_referers=("~x y",),
            reject_handshake=True,
            fields=(Field("X-By", "50%"),),
            ssl_protocols=("TLSv1", "TLSv1.3"),
        ),
        resolv_conf="nameserver 10.96.0.10\nnameserver fd00::10\n",
    )
    with open("/dev/null") as null:
        place = HaproxyPlace({HTTP: null.fileno()}, 1, {})
        files = haproxy_files(given, place, "\n".join(reversed(pair)))
    for path, text in files.items():
        here = tmp_path / path.removeprefix("/")
        here.parent.mkdir(parents=True, exist_ok=True)
        here.write_text(
            text.replace("/etc/haproxy", f"{tmp_path}/etc/haproxy").replace(
                f"fd@{null.fileno() if not null.closed else ''}", "fd@"
            )
        )
    (tmp_path / places.PLACES.state.removeprefix("/")).mkdir()
    cfg = tmp_path / places.CFG.removeprefix("/")
    # A socket's path has 97 characters at most, which a test's folder may have by itself.
    text = re.sub(r"bind (fd@\d*|unix@\S+)", "bind 127.0.0.1:1", cfg.read_text())
    cfg.write_text(re.sub(r"log \S+/log\.sock ", "log 127.0.0.1:514 ", text))
    done = subprocess.run(["haproxy", "-c", "-f", str(cfg)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_what_it_cannot_do_is_told() -> None:
    assert list(unable(route(match=Match("a.test", query=(FieldMatch("x", "y"),))), config())) == [
        "haproxy's maps are asked for host and path alone: requests are served as without it"
    ]
    assert list(unable(route(), config(route()))) == [] == list(balance(Upstream()))


def test_an_answer_of_its_own_is_whole() -> None:
    head, _, body = whole(502).partition("\r\n\r\n")
    assert head.startswith("HTTP/1.1 502 Bad Gateway\r\n") and f"Content-Length: {len(body)}\r\n" in head


SAID = {
    **dict.fromkeys(_TEXTS, ""), **dict.fromkeys(_VALUES, "-"),
    "method": "GET", "target": "/x", "host": "a.test", "id": "f" * 32, "route": "0", "scheme": "http",
    "client": "198.51.100.2", "peer": "10.0.0.11:4711", "local": "10.244.1.3:80", "version": "HTTP/1.1",
    "status": "200", "sent": "300", "size": "90", "source": "10.244.1.3:5000", "server": "10.96.0.7:80",
    "queued": "0", "connect": "1",
    "answer": "10", "active": "12", "why": "----",
}  # fmt: skip


def test_the_log_tells_what_our_own_server_knows() -> None:
    assert FORMAT.count('":"%') == len(_TEXTS) + len(_VALUES)
    dashes = {name: "-" for name in _TEXTS if not SAID[name]}
    said = told(json.dumps({**SAID, **dashes}).encode() + b"\n")
    assert said == SAID and told(b"Proxy ingress stopped") is None
    (ready,) = take(config(route()), {}).ready
    done = entry(SAID, {0: ready})
    (one,) = done.tries
    assert (one.server, one.status, one.connect, one.header, one.seconds) == (
        "10.96.0.7:80",
        200,
        0.001,
        0.011,
        0.012,
    )
    assert done.client == ("198.51.100.2", "10.0.0.11:4711") and done.upstream_name == "shop/web/80"
    connect, request = records(done, SAID, "haproxy")
    assert connect["upstream_source"] == "10.244.1.3:5000" and connect["rule"] == "Ingress shop/front"
    assert request["answered_by"] == "upstream"
    raw = told(json.dumps({**SAID, "user-agent": "\xc3\xa4\xff"}).encode())  # as it writes bytes beyond ASCII
    assert raw is not None and b"\xc3\xa4\xff" in entry(raw, {0: ready}).head.lines[0]
    nothing = dict.fromkeys(_TEXTS, "-")
    bad = told(json.dumps({**SAID, **nothing, "version": "<BADREQ>", "status": "400"}).encode())
    assert bad is not None
    odd = entry(bad, {0: ready})
    assert (odd.head.method, odd.head.line, odd.client) == (
        b"",
        b"<BADREQ>",
        ("10.0.0.11", "10.0.0.11:4711"),
    )
    late = entry({**SAID, "connect": "-1", "answer": "-1", "status": "502", "why": "sC--"}, {0: ready})
    assert late.tries[0].status == 504 and late.tries[0].header == -1.0


def test_threads_are_as_many_as_are_asked_for() -> None:
    assert "nbthread 3" in section(config(route()), "global", HaproxyPlace({}, 7, {}, 3))
    assert "nbthread 1" in section(config(route()), "global")

"""haproxy.cfg, and the files beside it. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from emulab.dataclass import dataclass
from emulab.servers.engines.backendfiles import backend_files
from emulab.servers.engines.haproxy.filters import CFG_DIRECTIVES, locked
from emulab.servers.engines.haproxy.logged import FORMAT, captures
from emulab.servers.engines.haproxy.maps import RouteMaps, route_maps
from emulab.servers.engines.haproxy.pages import STATUSES, page, page_file, whole
from emulab.servers.engines.haproxy.reaching import parameters
from emulab.servers.engines.haproxy.text import CfgLines, in_format, milliseconds, quoted
from emulab.servers.engines.haproxy.unable import BALANCES
from emulab.servers.engines.shared import is_named, places
from emulab.servers.l7.config import ANY_HOST, Certificate, L7Config, Options, Policy, RequestRoute, Upstream

FOLDER = "/etc/haproxy"
PLACES = places(FOLDER)
CFG = f"{FOLDER}/haproxy.cfg"
CERTIFICATES, MAPS, PAGES = f"{FOLDER}/ssl", f"{FOLDER}/maps", f"{FOLDER}/pages"
UNREACHABLE = f"{PAGES}/unreachable.http"
DEFAULT = "default"
"""The backend of what no route takes."""


@dataclass(frozen=True, slots=True)
class HaproxyPlace:
    """What isn't in the configuration: the descriptors of the sockets that are handed over, a number that tells which
    configuration is in use, and what names of servers are in full."""

    descriptors: Mapping[str, int]  # by the key in `listen`
    generation: int
    names: Mapping[str, str]
    threads: int = 1


def haproxy_files(config: L7Config, place: HaproxyPlace, fake: str) -> Mapping[str, str]:
    """The texts of all files by their paths, haproxy.cfg first. `fake`: certificate and key of hosts without one."""
    maps = route_maps(config.routes)
    files = {
        CFG: haproxy_cfg(config, place, maps),
        f"{MAPS}/hosts.map": maps.hosts,
        f"{MAPS}/exact.map": maps.exact,
        f"{MAPS}/prefixes.map": maps.prefixes,
        **{page_file(status, PAGES): page(status) for status in STATUSES},
        UNREACHABLE: whole(502),
    }
    files |= {f"{CERTIFICATES}/{name}": text for name, text in backend_files(config.routes).items()}
    if config.tls_listen:
        files |= _certificates(config, fake)
    return files


def _certificates(config: L7Config, fake: str) -> Mapping[str, str]:
    """The certificates, and which host has which: HAProxy shows the first one to who names no host that it knows."""
    files, lines, seen = {f"{CERTIFICATES}/fake.pem": fake}, CfgLines(), set[str]()
    paths = [_certificate_path(number, one) for number, one in enumerate(config.certificates)]
    named = list(zip(paths, config.certificates, strict=True))
    of_any = (path for path, one in named if ANY_HOST in one.hosts and one.certificate)
    default = next(of_any, f"{CERTIFICATES}/fake.pem")
    for path, one in named:
        if one.certificate:
            files[path] = one.certificate.rstrip() + "\n" + one.key
        hosts = [host for host in map(str.lower, one.hosts) if host not in seen and host != ANY_HOST]
        seen.update(hosts)
        if hosts:
            lines.append(f"{path if one.certificate else default} {' '.join(hosts)}")
    files[f"{CERTIFICATES}/list.txt"] = "\n".join([f"{default} !*", *lines]) + "\n"
    return files


def _certificate_path(number: int, one: Certificate) -> str:
    return f"{CERTIFICATES}/{one.secret.replace('/', '-') or f'certificate-{number}'}.pem"


def haproxy_cfg(config: L7Config, place: HaproxyPlace, maps: RouteMaps) -> str:
    """The text of haproxy.cfg."""
    sections: list[CfgLines] = [
        [f"# Configuration {place.generation}, of the Ingresses of the lab"],
        [
            "global",
            f"log {PLACES.log} len 16384 format raw local0",
            f"nbthread {place.threads}",
            "tune.bufsize 32768",
            "tune.maxrewrite 8192",
            f"tune.h2.max-concurrent-streams {config.options.http2_streams}",
            "ssl-default-bind-options ssl-min-ver TLSv1.2 no-tls-tickets",
        ],
        _defaults(config.options),
        *_resolvers(config.resolv_conf),
        _frontend(config, place, maps),
        *[
            section
            for number, route in enumerate(config.routes)
            for section in _backends(number, route, config.upstreams, place, locked(config))
        ],
        _default_backend(config, place),
        [
            "frontend generation",
            f"bind unix@{PLACES.status}",
            "no log",
            f"http-request return status 200 content-type text/plain string {place.generation}",
        ],
    ]
    return (
        "\n\n".join("\n".join([head, *(f"    {line}" for line in lines)]) for head, *lines in sections) + "\n"
    )


def _defaults(options: Options) -> CfgLines:
    return [
        "defaults",
        "mode http",
        "log global",
        f"log-format {FORMAT}",
        "option http-keep-alive",
        "option dontlognull",
        "http-reuse always",
        f"timeout client {milliseconds(60)}",
        f"timeout http-request {milliseconds(options.header_timeout)}",
        f"timeout http-keep-alive {milliseconds(options.keepalive_timeout)}",
        "timeout connect 5s",
        "timeout server 60s",
        "timeout tunnel 1h",
        *(
            f"http-error status {status} content-type text/html file {page_file(status, PAGES)}"
            for status in STATUSES
        ),
    ]


def _resolvers(resolv_conf: str) -> list[CfgLines]:
    servers = [line.split()[1] for line in resolv_conf.splitlines() if line.startswith("nameserver ")]
    if not servers:
        return []
    named = [f"nameserver dns{n} {one}:53" for n, one in enumerate(servers)]
    return [
        [
            "resolvers cluster",
            *named,
            "hold valid 1s",
            "hold obsolete 0s",
            "resolve_retries 3",
            "timeout retry 1s",
        ]
    ]


def _frontend(config: L7Config, place: HaproxyPlace, maps: RouteMaps) -> CfgLines:
    options, lines = config.options, ["frontend ingress"]
    for key in config.listen:
        if key in place.descriptors and key not in config.pages:
            alpn = "h2,http/1.1" if options.http2 else "http/1.1"
            tls = f" ssl crt-list {CERTIFICATES}/list.txt alpn {alpn}" if key in config.tls_listen else ""
            proxied = " accept-proxy" if options.proxy_protocol else ""
            lines.append(f"bind fd@{place.descriptors[key]}{proxied}{tls}")
    trusted = options.trust_forwarded
    forwarded = "{ req.hdr(x-forwarded-%s) -m found }"
    believed = "" if options.trusted is None else f" {{ src {' '.join(options.trusted) or '0.0.0.0/32'} }}"
    lines += [
        *captures(),
        "http-request set-var(txn.scheme) str(https) if { ssl_fc }",
        "http-request set-var(txn.scheme) str(http) if !{ ssl_fc }",
        "http-request set-var(txn.client) src",
        "http-request set-var(txn.port) str(443) if { ssl_fc }",
        "http-request set-var(txn.port) dst_port if !{ ssl_fc }",
        "http-request set-var(txn.host) req.hdr(host)",
    ]
    if trusted:
        lines += [
            f"http-request set-var(txn.scheme) req.hdr(x-forwarded-proto) if {forwarded % 'proto'}",
            f"http-request set-var(txn.port) req.hdr(x-forwarded-port) if {forwarded % 'port'}",
            f"http-request set-var(txn.host) req.hdr(x-forwarded-host,1) if {forwarded % 'host'}",
            f"http-request set-src req.hdr(x-forwarded-for,1) if {forwarded % 'for'}{believed}",
            "http-request set-var(txn.client) src",
        ]
    lines += [
        "http-request set-var(txn.name) var(txn.host),regsub(:[0-9]+$,),lower",
        "http-request deny deny_status 405 if METH_TRACE or METH_CONNECT",
        f"http-request set-var(txn.number) var(txn.name),map_str({MAPS}/hosts.map)",
        "http-request set-var(txn.wild) var(txn.name),regsub(^[^.]+,*)",
        f"http-request set-var(txn.number) var(txn.wild),map_str({MAPS}/hosts.map) if !{{ var(txn.number) -m found }}",
        "http-request set-var(txn.number) str(0) if !{ var(txn.number) -m found }",
        "http-request set-var(txn.path) path,url_dec",
        "http-request set-var(txn.key) var(txn.number),concat(,txn.path,)",
        f"http-request set-var(txn.route) var(txn.key),map_str({MAPS}/exact.map)",
    ]
    for host, expression, number in maps.expressions:
        lines.append(
            f"http-request set-var(txn.route) str({number}) if !{{ var(txn.route) -m found }} "
            f"{{ var(txn.number) -m str {host} }} {{ var(txn.path) -m reg -i {quoted('^' + expression)} }}"
        )
    lines += [
        f"http-request set-var(txn.route) var(txn.key),map_beg({MAPS}/prefixes.map) if !{{ var(txn.route) -m found }}",
        *_forwarding(),
    ]
    if options.hsts:
        lines.append(
            f"http-after-response set-header Strict-Transport-Security {in_format(options.hsts)} if {{ ssl_fc }}"
        )
    return [
        *lines,
        "use_backend route-%[var(txn.route)] if { var(txn.route) -m found }",
        f"default_backend {DEFAULT}",
    ]


def _forwarding() -> CfgLines:
    """What upstreams are told of the client and its request."""
    return [
        "acl forwarded req.hdr(x-forwarded-for) -m found",
        "http-request set-header X-Original-Forwarded-For %[req.hdr(x-forwarded-for)] if forwarded",
        "http-request set-header X-Request-ID %[uuid(),regsub(-,,g)] if !{ req.hdr(x-request-id) -m found }",
        "http-request set-var(txn.id) req.hdr(x-request-id)",
        "http-request set-header Host %[var(txn.host)]",
        "http-request set-header X-Real-IP %[var(txn.client)]",
        "http-request set-header X-Forwarded-For %[var(txn.client)]",
        "http-request set-header X-Forwarded-Host %[var(txn.host)]",
        "http-request set-header X-Forwarded-Port %[var(txn.port)]",
        "http-request set-header X-Forwarded-Proto %[var(txn.scheme)]",
        "http-request set-header X-Forwarded-Scheme %[var(txn.scheme)]",
        "http-request set-header X-Scheme %[var(txn.scheme)]",
        "http-request del-header Proxy",
    ]


def _backends(
    number: int,
    route: RequestRoute,
    upstreams: Mapping[str, Upstream],
    place: HaproxyPlace,
    locked: Collection[str] = (),
) -> list[CfgLines]:
    lines = [f"backend route-{number}"]
    if route.match.host.lower() in locked:
        lines.append("http-request deny deny_status 403")
    if route.origin:
        lines.append(f"# {_comment(route)}")
    if route.policy.ssl_redirect or route.policy.force_ssl_redirect:
        how = route.policy
        port = f":{how.redirect_port}" if how.redirect_port else ""
        target = "%[pathq]" if how.keep_slash else "%[pathq,regsub(/$,)]"
        lines.append(
            f"http-request redirect location https://%[var(txn.name)]{port}{target} code {how.redirect_status} "
            "if { var(txn.scheme) -m str http }"
        )
    for one in route.filters:
        if type(one) in CFG_DIRECTIVES:
            lines += CFG_DIRECTIVES[type(one)](one, route.match)
    used = [one for one in route.backends if one.weight > 0]
    shares = [(upstreams.get(one.upstream, Upstream()), one.weight) for one in used]
    return [[*lines, *_served(route.policy, shares, place)]]


def _comment(route: RequestRoute) -> str:
    match = route.match
    return "".join(
        c if c.isprintable() else "?" for c in f"{route.origin}: {match.host} {match.path} {match.path_type}"
    )


def _served(policy: Policy, shares: list[tuple[Upstream, int]], place: HaproxyPlace) -> CfgLines:
    lines = [
        f"timeout connect {milliseconds(policy.connect_timeout)}",
        f"timeout server {milliseconds(policy.read_timeout)}",
        f"retries {max(0, policy.tries - 1)}",
        "retry-on conn-failure empty-response",
        "option redispatch 1",
    ]
    if policy.body_max:
        lines.append(
            f"http-request deny deny_status 413 if {{ req.hdr_val(content-length) gt {policy.body_max} }}"
        )
    if policy.request_buffer:
        lines.append("option http-buffer-request")
    if not any(upstream.servers for upstream, _ in shares):
        return [*lines, _answer(503 if shares else 404)]
    # It says 503 whatever kept it from a server, which nginx says of having none alone.
    lines.append(f"errorfile 503 {UNREACHABLE}")
    lines.append(f"balance {BALANCES.get(type(shares[0][0].balance), 'roundrobin')}")
    for number, (upstream, weight) in enumerate(shares):
        each = max(1, round(weight * 100 / max(1, len(upstream.servers)))) if len(shares) > 1 else 1
        for index, server in enumerate(upstream.servers):
            said = f"weight {min(256, each)}{parameters(policy, CERTIFICATES)}"
            lines.append(f"server s{number}-{index} {_address(server, place)} {said}")
    return lines


def _address(server: str, place: HaproxyPlace) -> str:
    if not is_named(server):
        return server.replace("[", "").replace("]", "") if server.startswith("[") else server
    host, _, port = server.rpartition(":")
    return f"{place.names.get(host, host)}:{port} resolvers cluster init-addr none"


def _default_backend(config: L7Config, place: HaproxyPlace) -> CfgLines:
    name = config.default_upstream
    if name is None:
        return [
            f"backend {DEFAULT}",
            f"http-request return status 404 content-type text/html file {page_file(404, PAGES)}",
        ]
    return [
        f"backend {DEFAULT}",
        *_served(config.policy, [(config.upstreams.get(name, Upstream()), 1)], place),
    ]


def _answer(status: int) -> str:
    """One of its own answers, with its page."""
    return f"http-request return status {status} content-type text/html file {page_file(status, PAGES)}"

"""The whole of nginx.conf. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from emulab.dataclass import dataclass
from emulab.servers.engines.nginx import access
from emulab.servers.engines.nginx.balancing import BALANCES
from emulab.servers.engines.nginx.choosing import choices, sticky_groups
from emulab.servers.engines.nginx.crossorigin import origins
from emulab.servers.engines.nginx.filters import DIRECTIVES
from emulab.servers.engines.nginx.lengths import has_place, shortened
from emulab.servers.engines.nginx.locations import (
    CERTIFICATES,
    UPSTREAM_FIELDS,
    answer_fields,
    locations,
    policy,
    said_by_routes,
    unsaid,
)
from emulab.servers.engines.nginx.logged import FORMAT
from emulab.servers.engines.nginx.names import told_apart, upstream_name
from emulab.servers.engines.nginx.reaching import groups
from emulab.servers.engines.nginx.text import ConfLines, block, directive, on, pattern, quoted, seconds
from emulab.servers.engines.shared import bounded, certificate_names, is_named, may_keep, places
from emulab.servers.l7.config import (
    ANY_HOST,
    Certificate,
    InTurn,
    L7Config,
    Match,
    Options,
    RequestRoute,
    Upstream,
)

FOLDER = "/etc/nginx"
CONNECTIONS = 16384
"""Of a worker."""
MOST_TRIES = 100
"""So many of one request an upstream's servers are asked, however many are wished: each is a line."""
_NAME_MAX = 1024
"""Octets of a field's name that nginx takes into that of a variable; no client says one that is as long."""
PLACES = places(FOLDER)


@dataclass(frozen=True, slots=True)
class NginxPlace:
    """What isn't in the configuration: the names of the sockets that are handed over, TLS or not, and a number that
    tells which configuration is in use."""

    sockets: Mapping[str, str]  # the key in `listen` → `10.244.1.3:80`
    workers: int
    generation: int
    user: str  # whose its workers are
    names: Mapping[str, str]  # servers that are names → what they are in full
    fake: str = "fake"  # the certificate of hosts that have none


def nginx_conf(config: L7Config, engine: NginxPlace) -> str:
    """The text of nginx.conf."""
    config = told_apart(shortened(config, http_lines))
    lines = [
        f"# Configuration {engine.generation}, of the Ingresses of the lab",
        directive("daemon", "off"),
        directive("user", engine.user),
        directive("pid", f"{PLACES.state}/nginx.pid"),
        directive("worker_processes", engine.workers),
        directive("worker_shutdown_timeout", "240s"),
        directive("error_log", "stderr", "error"),
        *block(
            "events",
            [
                directive("worker_connections", CONNECTIONS),
                directive("multi_accept", "on"),
                directive("use", "epoll"),
            ],
        ),
        *block("http", _http(config, engine)),
    ]
    return "\n".join(lines) + "\n"


def http_lines(config: L7Config) -> ConfLines:
    """What is written for whatever place."""
    return _http(config, NginxPlace({}, 1, 0, "", {}))


def _http(config: L7Config, engine: NginxPlace) -> ConfLines:
    options = config.options
    return [
        *_general(options),
        *_resolver(config.resolv_conf),
        *_maps(options),
        *access.zones(config),
        *origins(config.routes),
        "",
        *_upstreams(config, options),
        *choices(config.routes, config.upstreams),
        *_servers(config, engine),
        "",
        *block(
            "server",
            [
                directive("listen", f"unix:{PLACES.status}"),
                directive("access_log", "off"),
                *block("location = /generation", [directive("return", 200, engine.generation)]),
                *block("location = /status", [directive("stub_status")]),
            ],
        ),
    ]


def _general(options: Options) -> ConfLines:
    temporary = [
        directive(f"{name}_temp_path", f"{PLACES.state}/{name}")
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    ]
    return [
        *temporary,
        directive("log_format", "lab", "escape=json", FORMAT),
        directive("access_log", f"syslog:server=unix:{PLACES.log},nohostname", "lab"),
        directive("default_type", "text/html"),
        # It says its own name by itself, and with its version where a field of all answers is to say one.
        directive("server_tokens", on(any(one.name.lower() == "server" for one in options.fields))),
        directive("keepalive_timeout", seconds(options.keepalive_timeout)),
        directive("keepalive_requests", options.keepalive_requests),
        directive("http2_max_concurrent_streams", options.http2_streams),
        directive("client_header_timeout", seconds(options.header_timeout)),
        directive("client_header_buffer_size", options.header_buffer),
        # It doesn't begin with buffers that are smaller than its memory pool for a connection.
        directive("large_client_header_buffers", options.header_buffers, max(512, options.header_buffer_max)),
        directive("underscores_in_headers", on(options.underscores)),
        directive("ignore_invalid_headers", on(not options.invalid_names)),
        *([directive("proxy_pass_header", "Server")] if options.pass_server else []),
        directive("reset_timedout_connection", "on"),
        directive("tcp_nopush", "on"),
        directive("proxy_http_version", "1.1"),
        directive("proxy_redirect", "off"),
        directive("proxy_next_upstream", "error", "timeout"),
        directive("proxy_buffering", "off"),
        directive("server_names_hash_max_size", 65536),
        # nginx starts with no name that is longer than a bucket.
        directive("server_names_hash_bucket_size", 1024),
        directive("variables_hash_max_size", 2048),
        directive("variables_hash_bucket_size", 1024),
        directive("map_hash_max_size", 16384),
        directive("map_hash_bucket_size", 1024),
        directive("proxy_headers_hash_max_size", 2048),
        directive("proxy_headers_hash_bucket_size", 1024),
        directive("ssl_protocols", *options.ssl_protocols),
        *([directive("ssl_ciphers", quoted(options.ssl_ciphers))] if options.ssl_ciphers else []),
        directive("ssl_session_cache", "shared:SSL:10m"),
        directive("ssl_session_tickets", "off"),
    ]


def _resolver(resolv_conf: str) -> ConfLines:
    """Who resolves names of upstreams."""
    found = [line.split()[1] for line in resolv_conf.splitlines() if line.startswith("nameserver ")]
    addresses = [f"[{one}]" if ":" in one else one for one in found]
    return (
        [directive("resolver", *addresses, "valid=1s"), directive("resolver_timeout", "5s")]
        if addresses
        else []
    )


def _maps(options: Options) -> ConfLines:
    trusted = options.trust_forwarded
    lines = [
        *block("geo $literal_dollar", ['default "$";']),
        *block("map $http_upgrade $connection_upgrade", ["default upgrade;", "'' '';"]),
        *block("map $http_x_request_id $req_id", ["default $http_x_request_id;", "'' $request_id;"]),
        *block(
            "map $http_x_forwarded_proto $forwarded_scheme",
            [f"default {'$http_x_forwarded_proto' if trusted else '$scheme'};", "'' $scheme;"],
        ),
        # Whoever has ended TLS in front is believed, whatever a field says.
        *block(
            "map $proxy_protocol_server_port $pass_access_scheme",
            ["default $forwarded_scheme;", *(["443 https;"] if options.proxy_protocol else [])],
        ),
        *block(
            "map $http_x_forwarded_host $best_http_host",
            ["default $asked_host;", *(['"~^ *(?<first_host>[^,]*[^, ])" $first_host;'] if trusted else [])],
        ),
        # What ingress-nginx's Lua and OpenResty's modules have: nothing here escapes a URI.
        *block("map $request_uri $escaped_request_uri", ["default $request_uri;"]),
        *block("map $remote_addr $the_real_ip", ["default $remote_addr;"]),
        *block("map $http_host $asked_host", ["default $http_host;", "'' _;"]),
        *block("map $best_http_host $redirect_host", [r'"~^(?<without_port>.*?)(:\d+)?$" $without_port;']),
        *block(
            "map $request_uri $bare_uri",
            ["default $request_uri;", r'"~^(?<without_slash>.*)/$" $without_slash;'],
        ),
        *_forwarded_for(options),
        *_own_port(options),
        *block(
            "map $http_x_forwarded_port $pass_port",
            [f"default {'$http_x_forwarded_port' if trusted else '$own_port'};", "'' $own_port;"],
        ),
        *block(
            "map $scheme $strict_transport",
            [
                f"https {quoted(options.hsts) if options.hsts else chr(39) * 2};",
                "default $upstream_http_strict_transport_security;",
            ],
        ),
        *answer_fields(options),
    ]
    lines += [*access.real_ip(options), *access.blocked(options)]
    return lines


def _own_port(options: Options) -> ConfLines:
    """The port that clients came to; where a balancer is in front, which speaks the PROXY protocol, the balancer's."""
    if options.proxy_protocol:
        return block("map $scheme $own_port", ["default $proxy_protocol_server_port;"])
    return block("map $scheme $own_port", ["default $server_port;", "https 443;"])


def _forwarded_for(options: Options) -> ConfLines:
    """Who asked, as upstreams are told it: the address, or all in front; and what the field said that tells."""
    before = "$proxy_protocol_addr" if options.proxy_protocol else "$realip_remote_addr"
    told = [f'default "$http_x_forwarded_for, {before}";', f"'' {before};"]
    full = options.trust_forwarded and options.full_forwarded_for
    name = options.forwarded_for_header.replace("-", "_").lower()
    said = [f"default $http_{name};"] if len(name) <= _NAME_MAX else ['default "";']
    return [
        *block("map $http_x_forwarded_for $told_forwarded_for", told if full else ["default $remote_addr;"]),
        *block("map $remote_addr $original_forwarded_for", said),
    ]


def _upstreams(config: L7Config, options: Options) -> ConfLines:
    lines: ConfLines = []
    most = max(1, max((route.policy.tries for route in config.routes), default=0))  # 0: each once
    for name, end in groups(config):
        upstream = config.upstreams[name]
        servers = [one for one in upstream.servers if not is_named(one)]
        if servers:
            # nginx asks each line once; ingress-nginx asks a server again while there are tries left.
            balanced = BALANCES.get(type(upstream.balance), BALANCES[InTurn])(upstream.balance)
            times = min(-(-most // len(servers)), 1 + MOST_TRIES // len(servers)) if not balanced else 1
            kept = _kept(options) if options.upstream_keepalive and may_keep(upstream) else []
            all_of_it = [directive("server", one, "max_fails=0") for one in servers * times]
            lines += block(f"upstream {upstream_name(name)}{end}", [*balanced, *all_of_it, *kept])
            for single, own in sticky_groups(name, upstream):
                lines += block(f"upstream {single}{end}", [*own, *kept])
    return lines


def _kept(options: Options) -> ConfLines:
    """How long connections to an upstream are kept."""
    return [
        directive("keepalive", bounded(options.upstream_keepalive, CONNECTIONS)),
        directive("keepalive_timeout", seconds(options.upstream_keepalive_timeout)),
        directive("keepalive_requests", options.upstream_keepalive_requests),
    ]


def _servers(config: L7Config, engine: NginxPlace) -> ConfLines:
    hosts: dict[str, list[tuple[int, RequestRoute]]] = {"": []}
    for number, route in enumerate(config.routes):
        if not has_place(route.match):
            continue
        host = route.match.host
        hosts.setdefault(host if host.startswith("~") else host.lower(), []).append((number, route))
    certificates = certificate_files(config.certificates)
    lines: ConfLines = []
    # Of expressions nginx takes the first that is written, so they stay in the order of the routes.
    for host, routes in sorted(
        hosts.items(), key=lambda one: (one[0][:1] == "~", one[0] * (one[0][:1] != "~"))
    ):
        lines += ["", *_server(host, routes, config, engine, certificates)]
    return lines


def certificate_files(certificates: Sequence[Certificate]) -> Mapping[str, str]:
    """The file of the certificate of each host, without its folder and end; "" for the default certificate."""
    found: dict[str, str] = {}
    for name, one in zip(certificate_names(certificates), certificates, strict=True):
        for host in one.hosts:
            found.setdefault(host.lower(), name if one.certificate else "")
    return found


def _server(
    host: str,
    routes: Sequence[tuple[int, RequestRoute]],
    config: L7Config,
    engine: NginxPlace,
    certificates: Mapping[str, str],
) -> ConfLines:
    above = "*." + host.partition(".")[2]
    own = next((certificates[one] for one in (host, above) if one in certificates), None)
    name = host or "_"
    lines = [directive("server_name", _server_name(host))]
    for key in config.listen:
        if key not in engine.sockets or key in config.pages:
            continue
        tls = ["ssl", *(["http2"] if config.options.http2 else [])] if key in config.tls_listen else []
        tls += ["proxy_protocol"] if config.options.proxy_protocol else []
        lines.append(
            directive("listen", engine.sockets[key], *(["default_server"] if not host else []), *tls)
        )
    if config.tls_listen:
        file = own or certificates.get(ANY_HOST) or engine.fake
        lines += [
            directive("ssl_certificate", f"{CERTIFICATES}/{file}.pem"),
            directive("ssl_certificate_key", f"{CERTIFICATES}/{file}.pem"),
            *(
                [directive("ssl_reject_handshake", "on")]
                if config.options.reject_handshake and not host
                else []
            ),
        ]
    lines += [
        directive("set", "$proxy_upstream_name", '"-"'),
        directive("set", "$namespace", '""'),
        directive("set", "$ingress_name", '""'),
        directive("set", "$location_path", '""'),
        directive("set", "$route", '""'),
        *access.of_server(host, config),
        *block("if ($request_method = TRACE)", [directive("return", 405)]),
        *locations(routes, config, engine.names),
    ]
    if not any(route.match.path == "/" and route.match.path_type != "Exact" for _, route in routes):
        lines += ["", *block("location /", _default(config))]
    return [f"## start server {name}", *block("server", lines), f"## end server {name}"]


def _default(config: L7Config) -> ConfLines:
    """What no path of a host takes."""
    name, match = config.default_upstream, Match("", "/", "Prefix")
    upstream = config.upstreams.get(name or "", Upstream())
    lines = [
        *policy(config.policy),
        *(directive("proxy_set_header", *one) for one in UPSTREAM_FIELDS.items()),
    ]
    every = said_by_routes(config)
    if name is None:
        return [
            directive("set", "$proxy_upstream_name", "upstream-default-backend"),
            *lines,
            *every,
            directive("return", 404),
        ]
    filtered = [
        line
        for one in config.default_filters
        if type(one) in DIRECTIVES
        for line in DIRECTIVES[type(one)](one, match)
    ]
    lines = [directive("set", "$proxy_upstream_name", upstream_name(name)), *lines, *unsaid(every, filtered)]
    return [
        *lines,
        *filtered,
        directive("proxy_pass", f"http://{upstream_name(name)}")
        if upstream.servers
        else directive("return", 503),
    ]


def _server_name(host: str) -> str:
    """A wildcard stands for one label, which nginx's own doesn't."""
    if host.startswith("~"):
        return pattern(host)
    if host.startswith("*."):
        return pattern("~^[^.]+" + re.escape(host[1:]) + "$")
    if "*" in host:
        return pattern(
            f"~^{re.escape(host)}$"
        )  # which nginx takes at an end alone, where it would stand for labels
    return quoted(host) if host else "_"

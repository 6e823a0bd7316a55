"""The frontend: who asks for what, and which route's backend gets it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from emulab.servers.engines.haproxy.filters.access import among
from emulab.servers.engines.haproxy.filters.answers import UNREPLACED
from emulab.servers.engines.haproxy.logged import captures
from emulab.servers.engines.haproxy.maps import RouteMaps
from emulab.servers.engines.haproxy.pages import returned
from emulab.servers.engines.haproxy.places import CERTIFICATES, MAPS
from emulab.servers.engines.haproxy.text import CfgLines, in_format, looked_for, quoted
from emulab.servers.engines.haproxy.variants import choices
from emulab.servers.engines.haproxy.verifying import any_looks
from emulab.servers.l7.config import L7Config, Options
from emulab.servers.l7.personalities.ingress_nginx.pages import CLOSING, wire_status

DEFAULT = "default"
"""The backend of what no route takes."""
_CLOSING = sorted({wire_status(one) for one in CLOSING})
_DEPTH = 5
"""How many in front are looked at in a list of addresses, and how many fields with such lists."""


def frontend(config: L7Config, descriptors: Mapping[str, int], maps: RouteMaps) -> CfgLines:
    """The section; `descriptors` are those of the sockets that are handed over, by the key in `listen`."""
    options = config.options
    return [
        "frontend ingress",
        "option accept-invalid-http-request",  # characters that nginx takes in paths
        *_binds(config, descriptors),
        *captures(),
        *_asked(options),
        *_blocked(options),
        *_route(maps),
        *_forwarding(options),
        *choices(config.routes, config.upstreams),
        *_answers(options),
        "use_backend route-%[var(txn.route)]%[var(txn.to)] if { var(txn.route) -m found }",
        f"default_backend {DEFAULT}",
    ]


def _binds(config: L7Config, descriptors: Mapping[str, int]) -> Iterator[str]:
    options = config.options
    alpn = "h2,http/1.1" if options.http2 else "http/1.1"
    secure = [" ssl", f"crt-list {CERTIFICATES}/list.txt", f"alpn {alpn}", *_versions(options)]
    if options.reject_handshake:
        secure.append("strict-sni")
    if any_looks(config.verifications):
        secure += ["ca-ignore-err all", "crt-ignore-err all"]
    for key in config.listen:
        if key in descriptors and key not in config.pages:
            tls = " ".join(secure) if key in config.tls_listen else ""
            proxied = " accept-proxy" if options.proxy_protocol else ""
            yield f"bind fd@{descriptors[key]}{proxied}{tls}"


def _versions(options: Options) -> Iterator[str]:
    known = [
        one for one in ("SSLv3", "TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3") if one in options.ssl_protocols
    ]
    names = {"TLSv1": "TLSv1.0"}
    if known:
        yield f"ssl-min-ver {names.get(known[0], known[0])}"
        yield f"ssl-max-ver {names.get(known[-1], known[-1])}"
    if options.ssl_ciphers:
        yield f"ciphers {quoted(options.ssl_ciphers)}"


def _asked(options: Options) -> CfgLines:
    """Who asks, and for what."""
    lines = [
        "http-request set-var(txn.scheme) str(https) if { ssl_fc }",
        "http-request set-var(txn.scheme) str(http) if !{ ssl_fc }",
        "http-request set-var(txn.client) src",
        "http-request set-var(txn.port) dst_port",  # with the PROXY protocol the balancer's
        *([] if options.proxy_protocol else ["http-request set-var(txn.port) str(443) if { ssl_fc }"]),
        "http-request set-var(txn.host) var(txn.asked)",
    ]
    if options.trust_forwarded:
        lines += [
            *_joined("txn.scheme", "x-forwarded-proto"),
            *_joined("txn.port", "x-forwarded-port"),
            "http-request set-var(txn.host) req.hdr(x-forwarded-host,1) if { req.hdr(x-forwarded-host) -m found }",
        ]
    if options.proxy_protocol:  # whoever has ended TLS in front, whatever a field says
        lines.append("http-request set-var(txn.scheme) str(https) if { dst_port 443 }")
    lines.append(f"http-request set-var(txn.before) {'src' if options.proxy_protocol else 'fc_src'}")
    if options.trust_forwarded and options.proxy_protocol:
        # A list is read where the address of the PROXY header is believed, and from who sent that one on.
        known = f" if {{ {among(options.trusted)} }}" if options.trusted is not None else ""
        lines.append(f"http-request set-src fc_src{known}")
    if options.trust_forwarded or (options.real_ip and not options.proxy_protocol):
        lines += [*_address(options), "http-request set-var(txn.client) src"]
    return [
        *lines,
        # The one who asked decides about the route, whoever is believed about the host that is told.
        "http-request set-var(txn.name) var(txn.asked),regsub(:[^]:]*$,),regsub([.]$,),lower",
        "http-request set-var(txn.bare_host) var(txn.host),regsub(:[0-9]+$,)",
        *_refused(),
        f"{returned(400)} if {{ req.fhdr(host) -m reg {_NO_HOST} }}",
        *([] if options.invalid_names else [_nameless("" if not options.underscores else "_")]),
    ]


def _joined(variable: str, field: str) -> Iterator[str]:
    """Sets a variable to a field's values, joined where it is there several times, as nginx' variables are; without
    one, or of an empty one, the variable stays as it is."""
    said = f"{{ req.fhdr({field}) -m found }} !{{ req.fhdr({field}) -m len 0 }}"
    yield f"http-request set-var({variable}) req.fhdr({field},1) if {said}"
    for number in range(2, _DEPTH + 1):
        more = f'"%[var({variable})], %[req.fhdr({field},{number})]"'
        yield f"http-request set-var-fmt({variable}) {more} if {{ req.fhdr_cnt({field}) ge {number} }}"


_USUAL = "{ method GET HEAD POST PUT PATCH DELETE OPTIONS }"


def _refused() -> CfgLines:
    """What nginx's parser takes for no request, and HAProxy's does. What most requests aren't is asked first."""
    return [
        f"{returned(505)} if !{{ req.ver -m beg 1. }} !{{ fc_http_major 2 }}",
        f"{returned(405)} if METH_TRACE or METH_CONNECT",
        f"{returned(400)} if !{_USUAL} {{ method -m reg [^A-Z_-] }}",
        f"{returned(400)} if {{ var(txn.whole) -m found }} !{{ var(txn.whole) -m reg {_WHOLE} }}",
        f"{returned(400)} if HTTP_1.0 {{ req.hdr(transfer-encoding) -m found }}",
        f"{returned(400)} if {{ req.hdr_names -m reg {_NO_NAME} }} || {{ req.hdrs -m reg {_ZERO} }}",
    ]


_NO_NAME, _ZERO = quoted(r"[\x01-\x20\x7f]"), quoted(r"\x00")
"""What isn't in names of fields, and what is nowhere (`ngx_http_parse_header_line`)."""

_WHOLE = quoted(r"^[A-Za-z][A-Za-z0-9+.-]*://([A-Za-z0-9.-]+|\[[^]/?]*\])(:[0-9]*)?([/?]|$)")
"""What is asked for with its scheme and host (`ngx_http_parse_request_line`)."""

_NO_HOST = quoted(r"^[.]?(:.*)?$|[\x01-\x20/\x7f]|[.][.]")
"""A Host that nginx refuses (`ngx_http_validate_host`)."""


def _nameless(more: str) -> str:
    """Drops fields whose names have other characters than nginx takes (`ignore_invalid_headers`)."""
    return f"http-request del-header {quoted(f'[^A-Za-z0-9{more}-]')} -m reg"


def _address(options: Options) -> Iterator[str]:
    """A list is read from its end, as far as those are believed who are in it."""
    name = options.forwarded_for_header.lower()
    if options.trusted is None:
        yield f"http-request set-src req.hdr({name},1) if {{ req.hdr({name}) -m found }}"
        return
    for back in range(1, _DEPTH + 1):
        said = f"req.hdr({name},-{back})"
        yield f"http-request set-src {said} if {{ {among(options.trusted)} }} {{ {said} -m found }}"


def _blocked(options: Options) -> Iterator[str]:
    """As nginx's `map` reads them: texts, whatever their case, and expressions after `~`."""
    for field, said in (("user-agent", options.block_agents), ("referer", options.block_referers)):
        for one in said:
            how = "-m reg -i" if one.startswith("~*") else "-m reg" if one.startswith("~") else "-m str -i"
            text = looked_for(re.sub(r"^~\*?|^\\", "", one))
            yield f"{returned(403)} if {{ req.fhdr({field}) {how} {text} }}"


def _route(maps: RouteMaps) -> CfgLines:
    lines = [f"http-request set-var(txn.number) var(txn.name),map_str({MAPS}/hosts.map)"]
    missing = "!{ var(txn.number) -m found }"
    lines += [
        "http-request set-var(txn.wild) var(txn.name),regsub(^[^.]+,*)",
        f"http-request set-var(txn.number) var(txn.wild),map_str({MAPS}/hosts.map) if {missing}",
    ]
    for expression, number in maps.host_expressions:
        found = f"{{ var(txn.name) -m reg -i {looked_for(expression)} }}"
        lines.append(f"http-request set-var(txn.number) str({number}) if {missing} {found}")
    lines += [
        f"http-request set-var(txn.number) str(0) if {missing}",
        # The path as nginx compares it; what servers are asked for stays as it came.
        'http-request set-path "%[path,regsub(%2f,/,gi)]"',
        "http-request normalize-uri percent-decode-unreserved",
        "http-request normalize-uri path-strip-dot",
        "http-request normalize-uri path-strip-dotdot",
        "http-request normalize-uri path-merge-slashes",
        "http-request set-var(txn.path) path,url_dec",
        # What nginx refuses: a path above the root, a broken escape, a zero byte, no Host.
        f"{returned(400)} if {{ path -m beg /.. }} || {{ path -m sub -i %00 }} || !{{ var(txn.path) -m found }}",
        f"{returned(400)} if HTTP_1.1 !{{ req.hdr(host) -m found }}",
        "http-request set-pathq %[var(txn.target)]",
        "http-request set-var(txn.spaceless) var(txn.path),regsub(' ',%20,g)",
        "http-request set-var(txn.key) var(txn.number),concat(,txn.spaceless,)",
        f"http-request set-var(txn.route) var(txn.key),map_str({MAPS}/exact.map)",
    ]
    unknown = "!{ var(txn.route) -m found }"
    for host, expression, number in maps.expressions:
        lines.append(
            f"http-request set-var(txn.route) str({number}) if {unknown} {{ var(txn.number) -m str {host} }} "
            f"{{ var(txn.path) -m reg -i {quoted('^' + expression)} }}"
        )
    return [
        *lines,
        f"http-request set-var(txn.route) var(txn.key),map_beg({MAPS}/prefixes.map) if {unknown}",
    ]


def _forwarding(options: Options) -> CfgLines:
    """What servers are told of the client and its request."""
    chain = "%[var(txn.client)]"
    chained: CfgLines = []
    if options.trust_forwarded and options.full_forwarded_for:
        chain = "%[var(txn.chain)]"
        chained = [
            "http-request set-var-fmt(txn.chain) %[var(txn.before)]",
            'http-request set-var-fmt(txn.chain) "%[var(txn.forwarded)], %[var(txn.before)]" if forwarded',
        ]
    return [
        "acl forwarded var(txn.forwarded) -m found",
        "http-request set-var(txn.forwarded) req.fhdr(x-forwarded-for,1)",
        *(
            f'http-request set-var-fmt(txn.forwarded) "%[var(txn.forwarded)], %[req.fhdr(x-forwarded-for,{n})]" '
            f"if forwarded {{ req.fhdr_cnt(x-forwarded-for) ge {n} }}"
            for n in range(2, _DEPTH + 1)
        ),
        *chained,
        "http-request del-header X-Original-Forwarded-For",
        "http-request del-header X-Original-Forwarded-Host",
        *_joined("txn.original", options.forwarded_for_header.lower()),
        "http-request set-header X-Original-Forwarded-For %[var(txn.original)] if { var(txn.original) -m found }",
        *_joined("txn.asked_by_front", "x-forwarded-host"),
        "http-request set-header X-Original-Forwarded-Host %[var(txn.asked_by_front)] "
        "if { var(txn.asked_by_front) -m found }",
        "http-request set-header X-Request-ID %[uuid(),regsub(-,,g)] if !{ req.hdr(x-request-id) -m found }",
        "http-request set-var(txn.id) req.hdr(x-request-id)",
        "http-request set-header Host %[var(txn.host)]",
        "http-request set-header X-Real-IP %[var(txn.client)]",
        f"http-request set-header X-Forwarded-For {chain}",
        "http-request set-header X-Forwarded-Host %[var(txn.host)]",
        "http-request set-header X-Forwarded-Port %[var(txn.port)]",
        "http-request set-header X-Forwarded-Proto %[var(txn.scheme)]",
        "http-request set-header X-Forwarded-Scheme %[var(txn.scheme)]",
        "http-request set-header X-Scheme %[var(txn.scheme)]",
        "http-request del-header Proxy",
        # What is between the client and us alone, and what nginx says itself.
        "http-request del-header Keep-Alive",
        "http-request del-header Expect if !{ req.hdr(expect) -m str -i 100-continue }",
        "http-request del-header Connection",
        "http-request del-header Upgrade if { req.hdr(upgrade) -m len 0 }",
        "http-request set-header Connection upgrade if { req.hdr(upgrade) -m found }",
    ]


def _answers(options: Options) -> Iterator[str]:
    yield "http-request set-var(sess.requests) int(0) if !{ var(sess.requests) -m found }"
    yield "http-request set-var(sess.requests) var(sess.requests),add(1)"
    most = max(1, options.keepalive_requests) if options.keepalive_timeout > 0 else 1
    yield f"http-after-response set-header Connection close if {{ var(sess.requests) -m int ge {most} }}"
    # nginx ends a connection after answers of its own of which it isn't sure where the next request begins.
    ours = "!{ var(txn.answered) -m bool }"
    yield "http-response set-var(txn.answered) bool(true)"
    yield f"http-after-response set-header Connection close if {{ status {' '.join(map(str, _CLOSING))} }} {ours}"
    yield "http-response del-header X-Accel- -m beg"  # what servers say to nginx
    yield "http-response del-header Keep-Alive"
    yield (
        "http-request set-var(txn.pass_server) bool(true)"
        if options.pass_server
        else "http-response del-header Server"
    )
    for field in options.fields:
        yield f"http-after-response set-header {quoted(field.name)} {in_format(field.value)}"
    if options.hsts:
        value, located = in_format(options.hsts), "{ var(txn.located) -m bool }"
        yield f"http-after-response set-header Strict-Transport-Security {value} if {{ ssl_fc }} {located} {UNREPLACED}"

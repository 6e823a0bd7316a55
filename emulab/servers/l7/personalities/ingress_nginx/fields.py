"""Which header fields nginx passes on, and what ingress-nginx makes of it by its defaults. Pure.

Rules:

* Towards the upstream the `X-Forwarded-*` family is ours: what the client sent under these names is
  dropped unless `trust_forwarded` says otherwise (ingress-nginx: `use-forwarded-headers: false`). The
  X-Forwarded-For and -Host that came in are handed on as X-Original-Forwarded-For and -Host.
* nginx drops request fields with characters other than letters, digits and `-` in their names
  (`underscores_in_headers off`), and `Proxy` (httpoxy); nginx answers `Expect` itself.
* Towards the client `Date` is ours and `Server` is gone. Of what a response has but once the first counts.
"""

from __future__ import annotations

from emulab.servers.l7.messages.headers import (
    DROP,
    EXPECT,
    FORWARDED_FOR,
    FORWARDED_HOST,
    FORWARDED_PORT,
    FORWARDED_PROTO,
    HOP_BY_HOP,
    HOST,
    REAL_IP,
    REQUEST_ID,
    SINGLE,
    ActionTable,
    firsts,
)

_REQUEST = {
    **HOP_BY_HOP,
    # What nginx refuses to have twice (`ngx_http_process_unique_header_line`).
    b"host": HOST,
    b"expect": EXPECT,
    **dict.fromkeys((b"authorization", b"content-range", b"if-match", b"if-none-match", b"if-range"), SINGLE),
    **dict.fromkeys((b"if-modified-since", b"if-unmodified-since"), SINGLE),
    b"proxy": DROP,
    b"x-request-id": REQUEST_ID,
    b"x-real-ip": REAL_IP,
    b"x-forwarded-for": FORWARDED_FOR,
    b"x-forwarded-host": FORWARDED_HOST,
    b"x-forwarded-port": FORWARDED_PORT,
    b"x-forwarded-proto": FORWARDED_PROTO,
    b"x-forwarded-scheme": DROP,
    b"x-original-forwarded-for": DROP,
    b"x-original-forwarded-host": DROP,
    b"x-scheme": DROP,
}


def request_actions(underscores: bool = False, invalid: bool = False) -> ActionTable:
    """What to do with fields of requests, of which those with underscores or other characters may pass, too."""
    return ActionTable(_REQUEST, plain=None if invalid else b"_-" if underscores else b"-")


_RESPONSE = {
    **HOP_BY_HOP,
    # As `ngx_http_upstream_process_header_line` reads them since nginx 1.23.
    **firsts(b"content-type", b"etag", b"expires", b"last-modified", b"location", b"refresh", b"status"),
    b"date": DROP,
    b"server": DROP,
    b"x-pad": DROP,
    b"x-accel-expires": DROP,
    b"x-accel-redirect": DROP,
    b"x-accel-limit-rate": DROP,
    b"x-accel-buffering": DROP,
    b"x-accel-charset": DROP,
}


def response_actions(server: bool, own_transport: bool) -> ActionTable:
    """What to do with fields of responses.

    `server`: the upstream's Server is passed on (`allow-backend-server-header`). `own_transport`: we say
    Strict-Transport-Security in its place.
    """
    known = {**_RESPONSE, **({b"strict-transport-security": DROP} if own_transport else {})}
    return ActionTable({name: action for name, action in known.items() if not server or name != b"server"})

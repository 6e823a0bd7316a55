"""Annotations that set a field of the route's policy: sizes, times, tries."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from emulab.kinds.networking.enginelacks import HAPROXY, NGINX, never, partly
from emulab.kinds.networking.ingressview import Ingress
from emulab.kinds.networking.nginxvalues import (
    boolean,
    integer,
    next_upstream,
    redirect_port,
    seconds,
    size,
)
from emulab.plan.l7.annotations.table import Annotation, Beside, RouteDraft, Theme, Wishes


def _apply(values: Wishes, draft: RouteDraft) -> None:
    draft.policy = replace(draft.policy, **values)


def _wrong(values: Wishes, _ingress: Ingress, _world: Beside) -> Iterator[tuple[str, str]]:
    for name, field in (("proxy-connect-timeout", "connect_timeout"), ("proxy-read-timeout", "read_timeout")):
        if values.get(field) == 0:
            yield name, "0 is no time at all, not for ever: clients get 504"


def _has_unretried(conditions: tuple[str, ...]) -> bool:
    return not {"http_403", "http_429"}.isdisjoint(conditions)


SERVING = Theme(
    (
        Annotation(
            "ssl-redirect", boolean, "ssl_redirect", "a host with a certificate sends plain HTTP to HTTPS"
        ),
        Annotation(
            "force-ssl-redirect",
            boolean,
            "force_ssl_redirect",
            "every host sends plain HTTP to HTTPS, with a certificate or without",
        ),
        Annotation(
            "preserve-trailing-slash", boolean, "keep_slash", "a slash at the target's end is kept thereby"
        ),
        Annotation("use-port-in-redirects", redirect_port, "redirect_port", "and the port of HTTPS is said"),
        Annotation(
            "proxy-body-size",
            size,
            "body_max",
            "the largest body of a request; 0: any",
            lacks=(partly(HAPROXY, "a body in chunks is measured as far as it comes within 32 KB", bool),),
        ),
        Annotation(
            "proxy-buffer-size",
            size,
            "response_head_max",
            "the largest head of an answer",
            lacks=(never(HAPROXY, "its buffers are of one size, 32 KB"),),
        ),
        Annotation("proxy-connect-timeout", seconds, "connect_timeout", "for a connection to a backend"),
        Annotation("proxy-read-timeout", seconds, "read_timeout", "between two pieces of an answer"),
        Annotation(
            "proxy-send-timeout",
            seconds,
            "send_timeout",
            "for which a side may take nothing",
            lacks=(never(HAPROXY, "it has one time for both ways, which is proxy-read-timeout"),),
        ),
        Annotation(
            "proxy-next-upstream",
            next_upstream,
            "next_upstream",
            "after what another server is tried: `error timeout`, `invalid_header`, `http_502`, …, `non_idempotent`, "
            "`off`",
            lacks=(partly(HAPROXY, "it knows nothing of http_403 and http_429", _has_unretried),),
        ),
        Annotation(
            "proxy-next-upstream-tries",
            integer,
            "tries",
            "how many servers are tried; 0: each once",
            lacks=(partly(NGINX, "no more than 100 are tried", lambda tries: tries > 100),),
        ),
        Annotation(
            "proxy-next-upstream-timeout",
            seconds,
            "next_upstream_timeout",
            "for how long; 0: for ever",
            lacks=(never(HAPROXY, "it counts tries, not time"),),
        ),
    ),
    _apply,
    wrong=_wrong,
)

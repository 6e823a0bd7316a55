"""Annotations that say whose turn it is: among a Service's endpoints, and whether those are asked at all.

They are about an upstream and not about a route, and an upstream is one for all Ingresses that lead to a Service's
port: which of them decides, as in ingress-nginx, and what the texts come to is in
`emulab.plan.l7.wishes`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from emulab.kinds.networking.enginelacks import HAPROXY, NGINX, never, partly
from emulab.kinds.networking.ingressview import Ingress
from emulab.kinds.networking.nginxvalues import (
    basic_characters,
    boolean,
    integer,
    load_balance,
    matching,
    one_of,
    signed,
    url_characters,
)
from emulab.plan.l7.annotations.table import Annotation, Beside, RouteDraft, Theme, Wishes
from emulab.servers.l7.config import FAMILIES, VARIABLES, unknown_variables


def _hash_by(text: str) -> str:
    if not text or not re.fullmatch(r"[-\w${}]*", text, re.ASCII):
        raise ValueError("is no key: nginx' variables, letters, digits and -_ are")
    for name in unknown_variables(text, groups=False):
        raise ValueError(
            f"has ${name}, which isn't known here; known: {', '.join(sorted(VARIABLES))}, "
            + ", ".join(f"{family}NAME" for family in FAMILIES)
        )
    return text


def _subset_size(text: str) -> int:
    return integer(text) or 3


def _seconds(text: str) -> int:
    if not re.fullmatch(r"0|-?[1-9][0-9]*", text):
        raise ValueError("is no number of seconds")
    return signed(text)


def _same_site(text: str) -> str:
    if text not in ("None", "Lax", "Strict"):
        word = text.capitalize()
        meant = f"; write {word}" if word in ("None", "Lax", "Strict") else " but None, Lax or Strict"
        raise ValueError(f"is no attribute that the controller sets{meant}")
    return text


def _nothing(_values: Wishes, _draft: RouteDraft) -> None:
    """The route is as it is: the upstream has been made for it."""


def _give_cookie(values: Wishes, draft: RouteDraft) -> None:
    if values.get("affinity"):
        draft.policy = replace(draft.policy, affinity_cookie=True)


_NO_SUBSET = tuple(never(engine, "a key leads to one server") for engine in (NGINX, HAPROXY))


def _is_ewma(name: str) -> bool:
    return name == "ewma"


def _is_balanced(mode: str) -> bool:
    return mode == "balanced"


BALANCING = Theme(
    (
        Annotation(
            "load-balance",
            load_balance,
            "load_balance",
            "`round_robin`, or `ewma`: who answers faster",
            lacks=(
                partly(NGINX, "the endpoints are asked in turn: it measures nobody", _is_ewma),
                partly(HAPROXY, "the endpoints are asked in turn: it measures nobody", _is_ewma),
            ),
            lines=True,
        ),
        Annotation(
            "service-upstream",
            boolean,
            "service",
            "`true`: through the Service's cluster IP; `false`: its endpoints. Without it as the Cluster's "
            "`spec.ingress.upstream` says; where another annotation decides whose turn it is, the endpoints",
        ),
        Annotation(
            "upstream-hash-by", _hash_by, "hash_by", "the key that leads to an endpoint: `$request_uri`"
        ),
        Annotation(
            "upstream-hash-by-subset",
            boolean,
            "hash_subset",
            "a key leads to any of several endpoints",
            lacks=(*_NO_SUBSET,),
            needs=("upstream-hash-by",),
        ),
        Annotation(
            "upstream-hash-by-subset-size",
            _subset_size,
            "hash_size",
            "how many those are; 3",
            lacks=(*_NO_SUBSET,),
            needs=("upstream-hash-by-subset",),
        ),
    ),
    _nothing,
)

AFFINITY = Theme(
    (
        Annotation(
            "affinity", one_of("cookie"), "affinity", "`cookie`: a client stays with an endpoint", lines=True
        ),
        Annotation(
            "affinity-mode",
            one_of("balanced", "persistent"),
            "mode",
            "`balanced`: endpoints that come take over their share of clients; `persistent`: none",
            lacks=(
                partly(NGINX, "a cookie names a server, as with `persistent`", _is_balanced),
                partly(HAPROXY, "a cookie names a server, as with `persistent`", _is_balanced),
            ),
            needs=("affinity",),
            lines=True,
        ),
        Annotation(
            "affinity-canary-behavior",
            one_of("sticky", "legacy"),
            "canary_behavior",
            "of a canary. `sticky`: who was served by it stays with it; `legacy`: it knows no affinity",
            lines=True,
        ),
        Annotation(
            "session-cookie-name",
            basic_characters,
            "cookie",
            "the cookie's name; `INGRESSCOOKIE`",
            needs=("affinity",),
        ),
        Annotation(
            "session-cookie-path", url_characters, "path", "its Path; the location's", needs=("affinity",)
        ),
        Annotation("session-cookie-domain", basic_characters, "domain", "its Domain", needs=("affinity",)),
        Annotation(
            "session-cookie-samesite",
            _same_site,
            "same_site",
            "its SameSite: `None`, `Lax`, `Strict`",
            needs=("affinity",),
            lines=True,
        ),
        Annotation(
            "session-cookie-conditional-samesite-none",
            boolean,
            "unless_incompatible",
            "no `SameSite=None` for browsers that take it for `Strict`",
            needs=("session-cookie-samesite",),
        ),
        Annotation(
            "session-cookie-secure", boolean, "secure", "Secure over plain HTTP, too", needs=("affinity",)
        ),
        Annotation(
            "session-cookie-expires",
            _seconds,
            "expires",
            "its Expires: so many seconds from now",
            lacks=(never(NGINX, "it has no words for a time to come"),),
            needs=("affinity",),
        ),
        Annotation(
            "session-cookie-max-age", _seconds, "max_age", "its Max-Age in seconds", needs=("affinity",)
        ),
        Annotation(
            "session-cookie-change-on-failure",
            boolean,
            "change_on_failure",
            "after a failure it leads to another endpoint, and else to the same",
            needs=("affinity",),
        ),
    ),
    _give_cookie,
)

_header = matching(r"[-\w.~/:]+", "name of a header field")


_pattern = matching(
    r"[-./~\w:^$\[\](){}*+?|&=\\]+", "expression of letters, digits and -._~/:^$[](){}*+?|&=\\"
)


def wrong_pattern(text: str) -> str:
    """Why a text is no regular expression; "" where it is one."""
    try:
        re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        return f"is no regular expression: {error}"
    return ""


def _wrong_canary(values: Wishes, _ingress: Ingress, _world: Beside) -> Iterator[tuple[str, str]]:
    if why := wrong_pattern(text := values.get("header_pattern", "")):
        yield "canary-by-header-pattern", f"{text!r} {why}; it takes no value at all"


CANARY = Theme(
    (
        Annotation(
            "canary", boolean, "canary", "the Ingress' backends take some of another Ingress' requests"
        ),
        Annotation("canary-weight", integer, "weight", "so many of `canary-weight-total`"),
        Annotation("canary-weight-total", integer, "weight_total", "100, and no less"),
        Annotation("canary-by-header", _header, "header", "the header that decides first: `always`, `never`"),
        Annotation("canary-by-header-value", basic_characters, "header_value", "instead of `always`"),
        Annotation("canary-by-header-pattern", _pattern, "header_pattern", "instead of a value"),
        Annotation("canary-by-cookie", basic_characters, "cookie", "the cookie that decides next"),
    ),
    _nothing,
    _wrong_canary,
)
"""What becomes of it is in `emulab.plan.l7.wishes`, too: a canary has no routes of its own."""

"""Annotations that allow cross-origin requests."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from emulab.kinds.networking.ingressview import Ingress
from emulab.kinds.networking.nginxvalues import boolean, matching, signed, words
from emulab.plan.l7.annotations.table import Annotation, Beside, RouteDraft, Theme, Wishes
from emulab.servers.l7.config import CORS

METHODS = "GET, PUT, POST, DELETE, PATCH, OPTIONS"
HEADERS = "DNT,Keep-Alive,User-Agent,X-Requested-With,If-Modified-Since,Cache-Control,Content-Type,Range,Authorization"
_ORIGIN = re.compile(r"[a-z]+://(\*\.)?[A-Za-z0-9\-.]*(:[0-9]+)?|null")
_PARTS = re.compile(r"(?:[a-z]+://|\*\.|[A-Za-z0-9\-.]|:[0-9]+)*")


class _Origins(NamedTuple):
    allowed: tuple[str, ...]
    left: tuple[str, ...] = ()  # those that are none


def _origins(text: str) -> _Origins:
    """Origins between commas, of which ingress-nginx leaves those that are none; `*` is everybody.

    An expression of none at all takes any origin (`buildCorsOriginRegex`).
    """
    if text == "*":
        return _Origins(("*",))
    origins = words(text)
    for origin in origins:
        if _PARTS.fullmatch(origin.replace(" ", "")) is None:
            raise ValueError(
                f"has {origin!r}, which is no origin such as https://*.example.com: all are allowed"
            )
    allowed = tuple(origin for origin in origins if _ORIGIN.fullmatch(origin) is not None)
    return _Origins(allowed or ("",), tuple(origin for origin in origins if origin not in allowed))


def _wrong(values: Wishes, _ingress: Ingress, _world: Beside) -> Iterator[tuple[str, str]]:
    origins = values.get("origins", _Origins(()))
    for origin in origins.left:
        then = "any is allowed, as none is left" if origins.allowed == ("",) else "it isn't allowed"
        yield "cors-allow-origin", f"has {origin!r}, which is no origin such as https://*.example.com: {then}"


def _apply(values: Wishes, draft: RouteDraft) -> None:
    if not values.get("enabled"):
        return
    draft.filters.append(
        CORS(
            origins=values["origins"].allowed if "origins" in values else ("*",),
            methods=values.get("methods", METHODS),
            headers=values.get("headers", HEADERS),
            credentials=values.get("credentials", True),
            expose=values.get("expose", ""),
            max_age=values.get("max_age", 1728000),
        )
    )


CROSS_ORIGIN = Theme(
    (
        Annotation("enable-cors", boolean, "enabled", "answers preflights and allows other origins"),
        Annotation(
            "cors-allow-origin",
            _origins,
            "origins",
            "which ones; `*` for one label of a host",
            needs=("enable-cors",),
        ),
        Annotation(
            "cors-allow-methods",
            matching(r"([A-Za-z]+,?\s?)+", "list of methods"),
            "methods",
            "Access-Control-Allow-Methods",
            needs=("enable-cors",),
        ),
        Annotation(
            "cors-allow-headers",
            matching(r"[A-Za-z0-9\-_, ]*", "list of header fields"),
            "headers",
            "Access-Control-Allow-Headers",
            needs=("enable-cors",),
        ),
        Annotation(
            "cors-expose-headers",
            matching(r"(([A-Za-z0-9\-_]+|\*),?\s?)+", "list of header fields"),
            "expose",
            "Access-Control-Expose-Headers",
            needs=("enable-cors",),
        ),
        Annotation(
            "cors-allow-credentials",
            boolean,
            "credentials",
            "Access-Control-Allow-Credentials",
            needs=("enable-cors",),
        ),
        Annotation(
            "cors-max-age",
            signed,
            "max_age",
            "for how many seconds a preflight holds",
            needs=("enable-cors",),
        ),
    ),
    _apply,
    _wrong,
)

"""Annotations that allow cross-origin requests."""

from __future__ import annotations

import re

from emulab.kinds.networking.nginxvalues import boolean, integer, matching, words
from emulab.plan.l7.annotations.table import Annotation, RouteDraft, Theme, Wishes
from emulab.servers.l7.config import CORS

METHODS = "GET, PUT, POST, DELETE, PATCH, OPTIONS"
HEADERS = "DNT,Keep-Alive,User-Agent,X-Requested-With,If-Modified-Since,Cache-Control,Content-Type,Range,Authorization"
_ORIGIN = re.compile(r"[a-z]+://(\*\.)?[A-Za-z0-9\-.]*(:\d+)?|null")


def _origins(text: str) -> tuple[str, ...]:
    """Origins between commas; a `*` among them is everybody."""
    origins = words(text)
    if "*" in origins:
        return ("*",)
    wrong = [origin for origin in origins if _ORIGIN.fullmatch(origin) is None]
    if wrong:
        raise ValueError(f"has {wrong[0]!r}, which is no origin such as https://*.example.com")
    return origins


def _apply(values: Wishes, draft: RouteDraft) -> None:
    if not values.get("enabled"):
        return
    draft.filters.append(
        CORS(
            origins=values.get("origins", ("*",)),
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
            integer,
            "max_age",
            "for how many seconds a preflight holds",
            needs=("enable-cors",),
        ),
    ),
    _apply,
)

"""Annotations that send clients elsewhere."""

from __future__ import annotations

from emulab.kinds.networking.nginxvalues import (
    boolean,
    path_text,
    redirect_url,
    status_between,
    url_characters,
)
from emulab.plan.l7.annotations.table import Annotation, RouteDraft, Theme, Wishes
from emulab.servers.l7.config import DirectResponse


def _root(text: str) -> str:
    """A path of the same host."""
    if not path_text(text).startswith("/") or "$" in text:
        raise ValueError("is no path")
    return text


def _apply(values: Wishes, draft: RouteDraft) -> None:
    """The temporal one outranks the permanent one."""
    draft.keeps_relative = values.get("relative", False)
    for kind, status in (("temporal", 302), ("permanent", 301)):
        if kind in values:
            to, how = values[kind], values.get(f"{kind}_status", status)
            why = f"the rule redirects to {to}"
            draft.filters.append(DirectResponse(how, to, why=why, relative=draft.keeps_relative))
            break
    draft.root = values.get("root", "")
    draft.is_www = values.get("www", False)


REDIRECTS = Theme(
    (
        Annotation("temporal-redirect", redirect_url, "temporal", "all requests are sent to a URL: 302"),
        Annotation(
            "temporal-redirect-code",
            status_between(300, 307),
            "temporal_status",
            "another status for it",
            needs=("temporal-redirect",),
        ),
        Annotation(
            "permanent-redirect",
            url_characters,
            "permanent",
            "all requests are sent to a URL, or a path: 301",
        ),
        Annotation(
            "permanent-redirect-code",
            status_between(300, 308),
            "permanent_status",
            "another status for it",
            needs=("permanent-redirect",),
        ),
        Annotation("relative-redirects", boolean, "relative", "a place without a host stays so"),
        Annotation("app-root", _root, "root", "`/` of the host is sent to this path"),
        Annotation(
            "from-to-www-redirect", boolean, "www", "the host with or without www. is sent to the rule's"
        ),
    ),
    _apply,
)

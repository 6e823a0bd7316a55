"""Annotations that send clients elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from emulab.kinds.networking.ingressview import Ingress
from emulab.kinds.networking.keyvalues import boolean as key_boolean
from emulab.kinds.networking.nginxvalues import (
    boolean,
    path_text,
    redirect_url,
    status_between,
    url_characters,
    url_text,
)
from emulab.plan.l7.annotations.table import Annotation, Beside, RouteDraft, Theme, Wishes
from emulab.servers.l7.config import DirectResponse


def _root(text: str) -> str:
    """A path of the same host."""
    if not path_text(text).startswith("/") or "$" in text:
        raise ValueError("is no path")
    return text


class _OtherURL(str):
    """A URL of which ingress-nginx sees only once it has read the others that it can't be followed: with these."""


def _temporal(text: str) -> str:
    url_text(text)
    try:
        return redirect_url(text)
    except ValueError:
        return _OtherURL(text)


def _taken_along(values: Wishes) -> str:
    """What is wrong with the temporal redirect, and what isn't followed with it; "" where nothing is."""
    to = values.get("temporal")
    if not isinstance(to, _OtherURL):
        return ""
    beside = ("it", *(name for name, field in _BESIDE.items() if values.get(field)))
    return f"{str(to)!r} is no URL of http or https; requests are served as without {' and '.join(beside)}"


_BESIDE = {"permanent-redirect": "permanent", "from-to-www-redirect": "www", "relative-redirects": "relative"}


def _wrong(values: Wishes, _ingress: Ingress, _world: Beside) -> Iterator[tuple[str, str]]:
    if why := _taken_along(values):
        yield "temporal-redirect", why


def always_relative(settings: Mapping[str, str]) -> bool:
    """Whether the controller's ConfigMap says `relative-redirects`: nginx has it for all places then, those where
    clients sign in included, whatever an Ingress says of its own locations."""
    return is_on(settings, "relative-redirects")


def is_on(settings: Mapping[str, str], key: str) -> bool:
    """Whether the controller's ConfigMap says that a key is on."""
    try:
        return key_boolean(settings.get(key, ""))
    except ValueError:
        return False


def _apply(values: Wishes, draft: RouteDraft) -> None:
    """The temporal one outranks the permanent one; one that is wrong takes all the others along."""
    if why := _taken_along(values):
        draft.wrong.append(f"{draft.prefix}temporal-redirect: {why}")
        values = {"root": values["root"]} if "root" in values else {}
    draft.keeps_relative = values.get("relative", False) or always_relative(draft.world.settings)
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
        Annotation("temporal-redirect", _temporal, "temporal", "all requests are sent to a URL: 302"),
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
    _wrong,
)

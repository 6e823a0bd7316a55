"""Annotations that change fields of answers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from emulab.kinds.networking.controllerkeys import composed
from emulab.kinds.networking.ingressview import Ingress
from emulab.kinds.networking.nginxvalues import matching, replacement, url_text
from emulab.kinds.registry import CONFIG_MAP
from emulab.plan.l7.annotations.table import Annotation, Beside, RouteDraft, Theme, Wishes
from emulab.servers.l7.config import AnswerFields, CookieDomain, CookiePath, Field, LocationChange

_VALUE = re.compile(r"""[a-zA-Z0-9_ :;.,\\/"'?!(){}\[\]@<>=\-+*#$&`|~^%]+""")


def _apply(values: Wishes, draft: RouteDraft) -> None:
    if cookie := values.get("cookie_domain"):
        draft.filters.append(CookieDomain(*cookie))
    if cookie := values.get("cookie_path"):
        draft.filters.append(CookiePath(*cookie))
    old, new = values.get("redirect_from", "off"), values.get("redirect_to", "off")
    if old not in ("off", "default") and new != "off":
        draft.filters.append(LocationChange(old, new, draft.keeps_relative))
    if "custom_headers" in values:
        found = _custom_headers(values["custom_headers"], draft.ingress, draft.world)
        if isinstance(found, str):
            draft.denied = found
        elif found:
            draft.filters.append(AnswerFields(found))


def _custom_headers(name: str, ingress: Ingress, world: Beside) -> tuple[Field, ...] | str:
    """The fields of a ConfigMap, or why requests are denied, as ingress-nginx does where it can't follow it."""
    o = world.named(CONFIG_MAP, name, ingress.namespace) if "/" in name else None
    if o is None:
        more = "" if "/" in name else f": write {ingress.namespace}/{name}"
        return f'unable to find configMap "{name}"{more}'
    data: Mapping[str, object] = o.raw.get("data") or {}
    allowed = composed(world.settings).get("global-allowed-response-headers", ())
    for field, value in data.items():
        if re.fullmatch(r"[a-zA-Z0-9\-_]+", field) is None:
            return "invalid header name in configmap"
        if _VALUE.fullmatch(str(value)) is None:
            return "invalid header value in configmap"
        if field not in allowed:
            return f"header {field} is not allowed, defined allowed headers inside global-allowed-response-headers"
    return tuple(Field(field, str(value)) for field, value in data.items())


def _wrong(values: Wishes, ingress: Ingress, world: Beside) -> Iterator[tuple[str, str]]:
    if "custom_headers" in values:
        found = _custom_headers(values["custom_headers"], ingress, world)
        if isinstance(found, str):
            yield "custom-headers", f"{found}; requests are answered with 503"


ANSWERING = Theme(
    (
        Annotation("proxy-cookie-domain", replacement, "cookie_domain", "another domain for cookies"),
        Annotation("proxy-cookie-path", replacement, "cookie_path", "another path for cookies"),
        Annotation(
            "proxy-redirect-from",
            url_text,
            "redirect_from",
            "of Location and Refresh, what goes",
            needs=("proxy-redirect-to",),
        ),
        Annotation(
            "proxy-redirect-to",
            url_text,
            "redirect_to",
            "and what takes its place",
            needs=("proxy-redirect-from",),
        ),
        Annotation(
            "custom-headers",
            matching(r"[/\-._~a-zA-Z0-9:]+", "name of a ConfigMap"),
            "custom_headers",
            "fields of all answers, from a ConfigMap; those of global-allowed-response-headers alone",
        ),
    ),
    _apply,
    _wrong,
)

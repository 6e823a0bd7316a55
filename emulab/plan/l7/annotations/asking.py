"""Annotations that change what upstreams are told, and who is told besides."""

from __future__ import annotations

import re
from collections.abc import Callable

from emulab.kinds.networking.enginelacks import HAPROXY, partly
from emulab.kinds.networking.nginxvalues import matching, on_off, server_name
from emulab.plan.l7.annotations.table import Annotation, RouteDraft, Theme, Wishes, with_known
from emulab.servers.l7.config import Field, Mirror, UpstreamFields, unknown_variables

_KNOWN_HERE = frozenset({"namespace", "ingress_name", "service_name", "service_port", "proxy_upstream_name"})


def with_variables(read: Callable[[str], str]) -> Callable[[str], str]:
    """A text that may name variables of nginx."""

    def checked(text: str) -> str:
        unknown = [name for name in unknown_variables(read(text)) if name not in _KNOWN_HERE]
        if unknown:
            raise ValueError(f"names a variable that there isn't, ${unknown[0]}")
        return text

    return checked


def _mirror(text: str) -> str:
    if re.match(r"https?://[^/$]", with_variables(server_name)(text)) is None:
        raise ValueError("is no URL of http or https")
    return text


def _has_groups(text: str) -> bool:
    return re.search(r"\$\{?\d", text) is not None


def _apply(values: Wishes, draft: RouteDraft) -> None:
    fields = []
    if "host" in values:
        fields.append(Field("Host", with_known(values["host"], draft)))
    if "connection" in values:
        fields.append(Field("Connection", values["connection"]))
    if fields:
        draft.filters.append(UpstreamFields(tuple(fields)))
    if "mirror" in values:
        target, ingress = values["mirror"], draft.ingress
        host = re.sub(r"https?://", "", target.partition("$")[0]).partition("/")[0].partition(":")[0]
        mirror = Mirror(
            with_known(target, draft),
            values.get("mirror_host", host),
            f"/_mirror-{ingress.namespace}-{ingress.name}",
            values.get("mirror_body", True),
        )
        draft.filters.append(mirror)


ASKING = Theme(
    (
        Annotation(
            "upstream-vhost",
            with_variables(server_name),
            "host",
            "the Host that the upstream is told",
            lacks=(partly(HAPROXY, "the groups of an expression are empty in it", _has_groups),),
            lines=True,
        ),
        Annotation(
            "connection-proxy-header",
            matching("close|keep-alive", "close or keep-alive"),
            "connection",
            "the Connection that the upstream is told",
        ),
        Annotation("mirror-target", _mirror, "mirror", "a URL that gets every request, too", lines=True),
        Annotation(
            "mirror-host",
            server_name,
            "mirror_host",
            "the Host that it is told",
            needs=("mirror-target",),
            lines=True,
        ),
        Annotation(
            "mirror-request-body",
            on_off,
            "mirror_body",
            "whether bodies are sent there",
            lacks=(partly(HAPROXY, "of a body that is larger than 32 KB the beginning is sent", bool),),
            needs=("mirror-target",),
        ),
    ),
    _apply,
)

"""Annotations that have another Service answer for errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from emulab.kinds.core.serviceview import Service
from emulab.kinds.networking.controllerkeys import DEFAULTED
from emulab.kinds.networking.enginelacks import HAPROXY, partly
from emulab.kinds.networking.ingressview import Backend, Ingress
from emulab.kinds.networking.nginxvalues import boolean, matching, statuses_from
from emulab.kinds.registry import SERVICE
from emulab.model.objects import Object
from emulab.plan.l7.annotations.redirects import is_on
from emulab.plan.l7.annotations.table import Annotation, Beside, RouteDraft, Theme, Wishes, service_of
from emulab.servers.l7.config import ErrorPages, Field, UpstreamFields, WeightedUpstream

T = TypeVar("T")

_TOLD = (("X-Format", "$http_accept"), ("X-Request-ID", "$req_id"))


def told_of(draft: RouteDraft) -> tuple[Field, ...]:
    """What whoever answers for an error is told of the request that failed."""
    service, port = service_of(draft)
    known = [
        ("X-Namespace", draft.ingress.namespace),
        ("X-Ingress-Name", draft.ingress.name),
        ("X-Service-Name", service),
        ("X-Service-Port", port),
    ]
    return tuple(Field(name, value) for name, value in (*known, *_TOLD))


def error_pages(draft: RouteDraft, default: str | None) -> ErrorPages | None:
    """Who answers for the errors of a route; `default` is the upstream of what no route takes."""
    if not draft.errors:
        return None
    fields = (*told_of(draft), Field("X-Original-URI", "$request_uri"))
    return ErrorPages(draft.errors, draft.error_upstream or default or "", fields, draft.intercepts)


_STATUSES = statuses_from(400)


def _own(draft: RouteDraft, name: str, read: Callable[[str], T]) -> T | None:
    """What the Ingress itself says, if that can be read."""
    text = draft.ingress.annotations.get(draft.prefix + name, "")
    try:
        return read(text) if text.strip() else None
    except ValueError:
        return None


def _everywhere(settings: Mapping[str, str]) -> tuple[int, ...]:
    """`custom-http-errors` of the controller's ConfigMap."""
    statuses: tuple[int, ...] = DEFAULTED["custom-http-errors"](settings.get("custom-http-errors", ""))
    return statuses


def _intercepts_everywhere(settings: Mapping[str, str]) -> bool:
    return bool(_everywhere(settings)) and not is_on(settings, "disable-proxy-intercept-errors")


def _apply(values: Wishes, draft: RouteDraft) -> None:
    """Statuses of a location replace those of nginx as a whole. That upstreams' answers are looked at is said once for
    all, of which a location can't take anything back."""
    own = _own(draft, "custom-http-errors", _STATUSES)
    alone = _own(draft, "disable-proxy-intercept-errors", boolean)
    draft.errors = own or _everywhere(draft.world.settings)
    draft.intercepts = _intercepts_everywhere(draft.world.settings) or (bool(own) and not alone)
    is_own = bool(own)
    is_empty = bool(draft.backends) and not draft.world.has_servers(draft.backends[0].upstream)
    if "backend" not in values or not (is_empty or is_own):
        return
    backend = _backend(values["backend"], draft.ingress, draft.world)
    if backend is None:
        return
    upstream = draft.world.upstream(draft.ingress.namespace, backend)
    if not draft.world.has_servers(upstream):
        return
    if is_own:
        draft.error_upstream = upstream
    if is_empty:
        draft.filters.append(UpstreamFields((Field("X-Code", "503"), *told_of(draft))))
        draft.backends = (WeightedUpstream(upstream),)


def _backend(name: str, ingress: Ingress, world: Beside) -> Backend | None:
    """A Service by its name, at the first of its ports."""
    o: Object | None = world.named(SERVICE, name, ingress.namespace)
    ports = Service.of(o).ports if o is not None else ()
    return Backend(name, ports[0].port) if ports else None


def _wrong(values: Wishes, ingress: Ingress, world: Beside) -> Iterator[tuple[str, str]]:
    if "backend" in values and _backend(values["backend"], ingress, world) is None:
        name = f"{ingress.namespace}/{values['backend']}"
        yield "default-backend", f"there is no Service {name} with a port; requests are served as without it"
    if values.get("own_alone") and _intercepts_everywhere(world.settings):
        yield (
            "disable-proxy-intercept-errors",
            "has no effect beside custom-http-errors of the controller's ConfigMap, which are for all answers",
        )


ERRORS = Theme(
    (
        Annotation(
            "default-backend",
            matching(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", "name of a Service"),
            "backend",
            "the Service that answers where the rule's has no endpoint, and for custom-http-errors",
        ),
        Annotation(
            "custom-http-errors",
            _STATUSES,
            "statuses",
            "statuses that the default backend answers in the place of, without what the route says of answers: "
            "CORS and custom-headers",
            lacks=(
                partly(
                    HAPROXY,
                    "its own answers for servers that can't be reached keep their pages, and of a request who"
                    " answers is told Accept and User-Agent alone, without a body",
                ),
            ),
        ),
        Annotation(
            "disable-proxy-intercept-errors",
            boolean,
            "own_alone",
            "custom-http-errors are those of the ingress alone",
            needs=("custom-http-errors",),
        ),
    ),
    _apply,
    _wrong,
)

"""Annotations that say how often a client may come, and how fast it gets answers: nginx's phase before access."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from emulab.kinds.networking.accessvalues import kilobytes, networks, signed
from emulab.kinds.networking.enginelacks import HAPROXY, partly
from emulab.kinds.networking.ingressview import Ingress
from emulab.plan.l7.annotations.table import Annotation, Beside, RouteDraft, Theme, Wishes
from emulab.servers.l7.config import ClientLimits, ConnectionLimit, RequestLimit


def _wrong(values: Wishes, ingress: Ingress, world: Beside) -> Iterator[tuple[str, str]]:
    buffered = world.settings.get("proxy-buffering", "").strip() == "on"
    for name, text in ingress.annotations.items():
        if name.endswith("/proxy-buffering"):
            buffered = text.strip() == "on"
    if values.get("limit_rate") and not buffered:
        yield "limit-rate", "has no effect without proxy-buffering: on, as nginx has it"


_WINDOW = partly(HAPROXY, "requests are counted in a window of time, which is not nginx' bucket")


_RATES = (("rps", 1000), ("rpm", 1000 / 60))
"""In thousandths of a request a second, for one; nginx takes the whole number."""


def _apply(values: Wishes, draft: RouteDraft) -> None:
    draft.policy = replace(
        draft.policy,
        limit_rate=values.get("limit_rate", draft.policy.limit_rate),
        limit_rate_after=values.get("limit_rate_after", draft.policy.limit_rate_after),
    )
    name = f"{draft.ingress.namespace}_{draft.ingress.name}"
    multiplier = values.get("burst", 5)
    requests = tuple(
        RequestLimit(
            f"{name}_{unit}", max(1, int(values[unit] * rate)), values[unit] * multiplier, f"limit-{unit}"
        )
        for unit, rate in _RATES
        if values.get(unit, 0) > 0
    )
    most = values.get("connections", 0)
    connections = ConnectionLimit(f"{name}_conn", most, "limit-connections") if most > 0 else None
    if requests or connections is not None:
        exempt = values.get("allowlist") or values.get("whitelist") or ()
        statuses = {
            key: draft.world.defaults[key]
            for key in ("request_status", "connection_status")
            if key in draft.world.defaults
        }
        draft.filters.append(ClientLimits(requests, connections, exempt, **statuses))


LIMITS = Theme(
    (
        Annotation(
            "limit-rps",
            signed,
            "rps",
            "requests a second that a client may make, by its address",
            lacks=(_WINDOW,),
        ),
        Annotation(
            "limit-rpm",
            signed,
            "rpm",
            "requests a minute that a client may make, by its address",
            lacks=(_WINDOW,),
        ),
        Annotation(
            "limit-burst-multiplier",
            signed,
            "burst",
            "how many times the limit may come at once; 5 if not said",
            lacks=(_WINDOW,),
            needs=("limit-rps", "limit-rpm"),
        ),
        Annotation("limit-connections", signed, "connections", "requests of a client that may be under way"),
        Annotation(
            "limit-allowlist",
            networks,
            "allowlist",
            "networks whose clients are not counted",
            needs=("limit-rps", "limit-rpm", "limit-connections"),
            lines=True,
        ),
        Annotation(
            "limit-whitelist",
            networks,
            "whitelist",
            "the older name of limit-allowlist",
            needs=("limit-rps", "limit-rpm", "limit-connections"),
            lines=True,
        ),
        Annotation(
            "limit-rate",
            kilobytes,
            "limit_rate",
            "with proxy-buffering: KB of an answer a second; 0: as fast as it goes",
        ),
        Annotation(
            "limit-rate-after",
            kilobytes,
            "limit_rate_after",
            "KB of an answer that go before that",
            needs=("limit-rate",),
        ),
    ),
    _apply,
    _wrong,
)

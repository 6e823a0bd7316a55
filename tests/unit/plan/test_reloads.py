"""What ingress-nginx would have nginx read its configuration anew for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from emulab.plan.l7.reloads import is_reloaded
from emulab.servers.l7.config import (
    Canary,
    Certificate,
    CookieAffinity,
    HiddenFields,
    L7Config,
    Match,
    Notice,
    Options,
    Policy,
    RequestRoute,
    Upstream,
    WeightedUpstream,
)

ROUTE = RequestRoute(Match("a.test"), (WeightedUpstream("d/web/80"),), "Ingress d/i")
OLD = L7Config(
    ("tcp/10.0.0.1/80",),
    routes=(ROUTE,),
    upstreams={"d/web/80": Upstream(("10.0.0.2:80",))},
    certificates=(Certificate(("_",), "D", "K"), Certificate(("a.test",), "", "")),
)


def changed(**fields: object) -> bool:
    return is_reloaded(OLD, replace(OLD, **fields))  # type: ignore[arg-type]


def test_the_first_one_is() -> None:
    assert is_reloaded(None, OLD) and not is_reloaded(OLD, OLD) and not is_reloaded(OLD, replace(OLD))


@pytest.mark.parametrize(
    "fields",
    [
        {"upstreams": {"d/web/80": Upstream(("10.0.0.3:80",), CookieAffinity())}},
        {"routes": (replace(ROUTE, canary=Canary("d/new/80", 10), policy=Policy(affinity_cookie=True)),)},
        {"certificates": (OLD.certificates[0], Certificate(("a.test",), "C", "K", "d/tls"))},
        {"notices": (Notice("something"),)},
    ],
)
def test_what_lua_is_told(fields: dict[str, object]) -> None:
    """A real certificate in the place of the fake one among it."""
    assert not changed(**fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"routes": ()},
        {"routes": (replace(ROUTE, policy=Policy(body_max=1)),)},
        {"routes": (ROUTE, replace(ROUTE, match=Match("b.test")))},
        {"options": Options(hsts="")},
        {"default_filters": (HiddenFields(("X-A",)),)},
        {"certificates": (Certificate(("_",), "E", "K"), OLD.certificates[1])},
    ],
)
def test_what_is_in_nginx_conf(fields: dict[str, object]) -> None:
    assert changed(**fields)

"""What the ConfigMap of an ingress controller asks for: the defaults of all routes. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from emulab.kinds.networking.controllersettings import HSTS, SETTINGS
from emulab.plan.l7.annotations import DEFAULTS
from emulab.servers.l7.config import Options, Policy

_OF_POLICIES = frozenset(field.name for field in fields(Policy))


def settings(data: Mapping[str, str]) -> tuple[Policy, Options]:
    """The policy of routes that say nothing themselves, and the options."""
    policy: dict[str, Any] = {}
    options: dict[str, Any] = {"hsts": _hsts({**HSTS, **data})}
    for key, setting in SETTINGS.items():
        try:
            value = setting.read(data[key].strip()) if key in data else None
        except ValueError:
            continue
        if value is not None:
            (policy if setting.field in _OF_POLICIES else options)[setting.field] = value
    return replace(DEFAULTS, **policy), replace(Options(), **options)


def _hsts(data: Mapping[str, str]) -> str:
    if data["hsts"].lower() != "true":
        return ""
    more = [("includeSubDomains", "hsts-include-subdomains"), ("preload", "hsts-preload")]
    words = [word for word, key in more if data[key].lower() == "true"]
    return "; ".join([f"max-age={data['hsts-max-age']}", *words])

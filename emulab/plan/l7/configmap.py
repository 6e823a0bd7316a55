"""What the ConfigMap of an ingress controller asks for: the defaults of all routes. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from emulab.kinds.networking.controllersettings import HSTS, SETTINGS, Setting
from emulab.plan.l7.annotations import DEFAULTS
from emulab.servers.l7.config import Options, Policy

_OF_POLICIES = frozenset(field.name for field in fields(Policy))
_OF_OPTIONS = frozenset(field.name for field in fields(Options))


def settings(data: Mapping[str, str]) -> tuple[Policy, Options]:
    """The policy of routes that say nothing themselves, and the options."""
    policy: dict[str, Any] = {}
    options: dict[str, Any] = {"hsts": _hsts({**HSTS, **data})}
    for key, setting in SETTINGS.items():
        value = _value(data, key, setting)
        if value is not None and setting.field in _OF_POLICIES:
            policy[setting.field] = value
        elif value is not None and setting.field in _OF_OPTIONS:
            options[setting.field] = value
    return replace(DEFAULTS, **policy), replace(Options(), **options)


def of_upstreams(data: Mapping[str, str]) -> Mapping[str, Any]:
    """What is said of upstreams that no Ingress says otherwise of, by the fields of `annotations.balancing`."""
    others = {key: one for key, one in SETTINGS.items() if one.field not in _OF_POLICIES | _OF_OPTIONS}
    values = {one.field: _value(data, key, one) for key, one in others.items()}
    return {field: value for field, value in values.items() if value is not None}


def _value(data: Mapping[str, str], key: str, setting: Setting) -> Any:
    """What a key says; None where it says nothing."""
    try:
        return setting.read(data[key].strip()) if key in data else None
    except ValueError:
        return None


def _hsts(data: Mapping[str, str]) -> str:
    if data["hsts"].lower() != "true":
        return ""
    more = [("includeSubDomains", "hsts-include-subdomains"), ("preload", "hsts-preload")]
    words = [word for word, key in more if data[key].lower() == "true"]
    return "; ".join([f"max-age={data['hsts-max-age']}", *words])

"""What the ConfigMap of an ingress controller asks for: the defaults of all routes. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from emulab.kinds.networking.controllersettings import HSTS, SETTINGS
from emulab.plan.l7.annotations import DEFAULTS
from emulab.servers.l7.config import Options, Policy

_OF_POLICIES = frozenset(field.name for field in fields(Policy))


_OF_OPTIONS = frozenset(field.name for field in fields(Options))


def settings(data: Mapping[str, str]) -> tuple[Policy, Options]:
    """The policy of routes that say nothing themselves, and the options."""
    said = _read(data)
    policy = {field: value for field, value in said.items() if field in _OF_POLICIES}
    options = {field: value for field, value in said.items() if field in _OF_OPTIONS}
    return replace(DEFAULTS, **policy), replace(Options(), hsts=_hsts({**HSTS, **data}), **options)


def defaults(data: Mapping[str, str]) -> Mapping[str, Any]:
    """What is said besides, for themes of annotations, by the fields of the settings."""
    known = _OF_POLICIES | _OF_OPTIONS
    return {field: value for field, value in _read(data).items() if field not in known}


def _read(data: Mapping[str, str]) -> Mapping[str, Any]:
    found: dict[str, Any] = {}
    for key, setting in SETTINGS.items():
        try:
            value = setting.read(data[key].strip()) if key in data else None
        except ValueError:
            continue
        if value is not None:
            found[setting.field] = value
    return found


def _hsts(data: Mapping[str, str]) -> str:
    if data["hsts"].lower() != "true":
        return ""
    more = [("includeSubDomains", "hsts-include-subdomains"), ("preload", "hsts-preload")]
    words = [word for word, key in more if data[key].lower() == "true"]
    return "; ".join([f"max-age={data['hsts-max-age']}", *words])

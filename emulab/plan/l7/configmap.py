"""What the ConfigMap of an ingress controller asks for: the defaults of all routes. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any

from emulab.kinds.networking.controllerkeys import composed
from emulab.kinds.networking.controllersettings import HSTS, HSTS_AGE, SETTINGS, Setting
from emulab.kinds.networking.keyvalues import age, boolean
from emulab.plan.l7.annotations import DEFAULTS
from emulab.plan.l7.hosts import ForAll
from emulab.servers.l7.config import (
    AnswerFields,
    Field,
    Filter,
    Gzip,
    HiddenFields,
    Options,
    Policy,
    UpstreamFields,
    unknown_variables,
)

GZIP_TYPES = (
    "application/atom+xml application/javascript application/x-javascript application/json application/rss+xml "
    "application/vnd.ms-fontobject application/x-font-ttf application/x-web-app-manifest+json application/xhtml+xml "
    "application/xml font/opentype image/svg+xml image/x-icon text/css text/javascript text/plain text/x-component"
)
TOKENS = "nginx/1.27.1"
"""What `server-tokens` has ingress-nginx say in the field Server."""

_OF_POLICIES = frozenset(field.name for field in fields(Policy))
_OF_OPTIONS = frozenset(field.name for field in fields(Options))


def settings(data: Mapping[str, str]) -> tuple[Policy, Options]:
    """The policy of routes that say nothing themselves, and the options."""
    found = _read(data)
    policy = {field: value for field, value in found.items() if field in _OF_POLICIES}
    options: dict[str, Any] = {"hsts": _hsts(data), "log_default": False}
    options |= {field: value for field, value in found.items() if field in _OF_OPTIONS}
    said = composed(data)
    if said.get("disable-access-log") or said.get("disable-http-access-log"):
        policy["access_log"] = False
    if buffers := said.get("large-client-header-buffers"):
        options["header_buffers"], options["header_buffer_max"] = buffers
    return replace(DEFAULTS, **policy), replace(Options(), **options)


def defaults(data: Mapping[str, str]) -> Mapping[str, Any]:
    """What is said besides, for themes of annotations, by the fields of the settings."""
    known = _OF_POLICIES | _OF_OPTIONS
    return {field: value for field, value in _read(data).items() if field not in known}


def _read(data: Mapping[str, str]) -> Mapping[str, Any]:
    found: dict[str, Any] = {}
    for key, setting in SETTINGS.items():
        try:
            value = setting.read(data[key]) if key in data else None
        except ValueError:
            continue
        if value is not None:
            found[setting.field] = value
    return found


def for_all(
    data: Mapping[str, str], named: Callable[[str], Mapping[str, str]]
) -> tuple[ForAll, tuple[Field, ...]]:
    """What all routes have, and the fields of all answers; `named` finds the ConfigMaps that have fields."""
    said = composed(data)
    fields = _fields(named(said.get("add-headers", "")))
    if said.get("server-tokens"):
        fields = (Field("Server", TOKENS), *fields)
    before: list[Filter] = []
    if hidden := said.get("hide-headers"):
        before.append(HiddenFields(hidden))
    asked = _fields(named(said.get("proxy-set-headers", "")))
    if said.get("proxy-add-original-uri-header"):
        asked = (Field("X-Original-URI", "$request_uri"), *asked)
    if asked:
        before.append(UpstreamFields(asked))
    if fields:
        before.append(AnswerFields(fields, spoken=True))
    after = []
    if said.get("use-gzip"):
        types = tuple(said.get("gzip-types", GZIP_TYPES.split()))
        after.append(
            Gzip(
                types,
                said.get("gzip-level", 1),
                said.get("gzip-min-length", 256),
                said.get("gzip-disable", ""),
            )
        )
    plain = said.get("no-tls-redirect-locations", ForAll().plain_paths)
    # What no route takes is answered before anything is known that a variable could be.
    return ForAll(tuple(before), tuple(after), plain), tuple(one for one in fields if "$" not in one.value)


def _fields(data: Mapping[str, str]) -> tuple[Field, ...]:
    """The fields that a ConfigMap has; those that can't be are left."""
    return tuple(Field(name, value) for name, value in data.items() if can_be_field(name, value))


_VALUE_MAX = 3000
"""Octets of a field's value: nginx reads no word of more than 4,096 in its configuration, and some of it is escaped."""


def can_be_field(name: str, value: str) -> bool:
    """Whether it is a header field that isn't the proxy's own to write, with variables that there are."""
    framing = ("content-length", "transfer-encoding", "upgrade", "trailer", "te", "keep-alive", "connection")
    return (
        re.fullmatch(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+", name) is not None
        and name.lower() not in framing
        and re.search(r"[\x00-\x08\x0a-\x1f\x7f]", value) is None
        and not unknown_variables(value)
        and len(value.encode()) <= _VALUE_MAX
    )


def of_upstreams(data: Mapping[str, str]) -> Mapping[str, Any]:
    """What is said of upstreams that no Ingress says otherwise of, by the fields of `annotations.balancing`."""
    others = {key: one for key, one in SETTINGS.items() if one.field not in _OF_POLICIES | _OF_OPTIONS}
    values = {one.field: _value(data, key, one) for key, one in others.items()}
    return {field: value for field, value in values.items() if value is not None}


def _value(data: Mapping[str, str], key: str, setting: Setting) -> Any:
    """What a key says; None where it says nothing."""
    try:
        return setting.read(data[key]) if key in data else None
    except ValueError:
        return None


def _hsts(data: Mapping[str, str]) -> str:
    def says(key: str, read: Callable[[str], Any] = boolean) -> Any:
        try:
            return read(data.get(key, HSTS[key]))
        except ValueError:
            return read(HSTS[key])

    if not says("hsts"):
        return ""
    more = [("includeSubDomains", "hsts-include-subdomains"), ("preload", "hsts-preload")]
    return "; ".join([f"max-age={says(HSTS_AGE, age)}", *(word for word, key in more if says(key))])

"""The plug-ins of a Corefile that are followed: what each says, as configuration. Pure.

Each is told its line and those in its braces, adds to a `BlockDraft`, and says of what isn't followed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from emulab.model.addresses import is_address
from emulab.plan.coredns import arguments
from emulab.plan.coredns.access import acl
from emulab.plan.coredns.arguments import within, wrong
from emulab.plan.coredns.caching import cache
from emulab.plan.coredns.drafting import (
    BlockDraft,
    absolute,
    chosen,
    number,
    sayable,
    through,
    unfollowed,
    zones_of,
)
from emulab.plan.coredns.forwarding import forward
from emulab.plan.coredns.imports import path_of
from emulab.plan.coredns.lines import CorefileError
from emulab.plan.coredns.rewriting import rewrite
from emulab.plan.coredns.searching import autopath
from emulab.plan.coredns.serving import (
    Followed,
    any_type,
    bind,
    bufsize,
    errors,
    loadbalance,
    local,
    log,
    loop,
    minimal,
    page,
    reload,
)
from emulab.plan.coredns.syntax import Directive
from emulab.plan.coredns.templating import template
from emulab.plan.coredns.zonefiles import file
from emulab.plan.hostsfiles import MANAGED_HOSTS
from emulab.servers.dns.config import HostNames, HostsConfig


def hosts(draft: BlockDraft, told: Directive) -> None:
    file, zones = (told.words[0], told.words[1:]) if told.words else ("", ())
    text = draft.files.get(path_of(file), "")
    if file and not text and file != "/etc/hosts":
        draft.warn(
            told.line, f"hosts: there is no {file}: a key of that name in the ConfigMap is read for it"
        )
    if file in ("", "/etc/hosts") and not text:
        text = "\n".join(MANAGED_HOSTS)
    lines = [line.partition("#")[0].split() for line in text.splitlines()]
    found: dict[str, Any] = {}
    for option in told.inside:
        if option.name == "fallthrough":
            found["fallthrough"] = through(option)
        elif option.name == "ttl":
            arguments.between(1, 65535)(option)
            found["ttl"] = number(option, option.words[0])
        elif option.name == "no_reverse":
            found["reverse"] = False
        elif option.name == "reload":
            arguments.time(option)
        elif option.name == "fallthrough_unsupported":
            arguments.none(option)
            found["passes_types"] = True
        elif "fallthrough" in found:
            raise CorefileError(
                option.line, f"hosts: unknown property {option.name!r}: hosts stand above fallthrough"
            )
        elif is_address(option.name):
            lines.append([option.name, *option.words])
        else:
            unfollowed(draft, "hosts", option)
    if "passes_types" in found and "fallthrough" not in found:
        raise wrong(told, "fallthrough_unsupported requires fallthrough")
    entries = tuple(
        HostNames(line[0], tuple(filter(sayable, map(absolute, line[1:]))))
        for line in lines
        if line and is_address(line[0])
    )
    own = zones_of(told, zones) or draft.zones
    draft.block["hosts"] = HostsConfig(own, entries, **found)


def kubernetes(draft: BlockDraft, told: Directive) -> None:
    within(told, arguments.KUBERNETES)
    zones = zones_of(told, told.words) or draft.zones
    draft.own_names, draft.cluster_line = zones, told.line
    reverse = tuple(zone for zone in zones if zone.endswith(".arpa."))
    own = [zone for zone in zones if zone not in reverse]
    found: dict[str, Any] = {"reverse": reverse, "fallthrough": ()}
    if own:
        found["domain"] = own[0]
    else:
        raise CorefileError(told.line, "kubernetes: a zone is needed that is not one of reverse names")
    for zone in own[1:]:
        draft.warn(told.line, f"kubernetes: {zone} is not answered: the first zone alone is")
    for option in told.inside:
        said = " ".join(option.words)
        match option.name:
            case "pods":
                found["pods"] = said != "disabled"
                draft.verified |= said == "verified"
            case "ttl":
                found["ttl"] = number(option, said)
            case "fallthrough":
                found["fallthrough"] = through(option)
            case "ignore":
                found["ignore_empty"] = True
            case "namespaces":
                found["exposed"] = tuple(option.words)
            case "endpoint_pod_names":
                draft.pod_names = True
            case "noendpoints" | "labels" | "namespace_labels":
                draft.chosen = chosen(draft.chosen, option)
            case "upstream" | "resyncperiod" | "startup_timeout" | "transfer":
                pass  # without bearing, some for years
            case _:
                unfollowed(draft, "kubernetes", option)
    _check_together(told, zones)
    if draft.chosen.namespaces and "exposed" in found:
        raise CorefileError(told.line, "kubernetes: namespaces and namespace_labels cannot both be set")
    found.setdefault("pods", False)
    draft.cluster |= found
    draft.block["cluster"] = True


def _check_together(told: Directive, zones: tuple[str, ...]) -> None:
    """Options that go together with each other, or with the zones, or not at all."""
    options = {option.name for option in told.inside}
    if {"zonal", "noendpoints"} <= options:
        raise CorefileError(told.line, "kubernetes: zonal requires the endpoint cache; remove noendpoints")
    for option in told.inside:
        if option.name == "multicluster":
            for zone in zones_of(option, option.words):
                if zone not in zones:
                    why = f"kubernetes: is not authoritative for the multicluster zone {zone}"
                    raise CorefileError(option.line, why)


PLUGINS: Mapping[str, Followed] = {
    "hosts": hosts,
    "rewrite": rewrite,
    "autopath": autopath,
    "template": template,
    "file": file,
    "forward": forward,
    "cache": cache,
    "kubernetes": kubernetes,
    "any": any_type,
    "local": local,
    "acl": acl,
    "minimal": minimal,
    "loop": loop,
    "loadbalance": loadbalance,
    "reload": reload,
    "errors": errors,
    "log": log,
    "health": page("health", 8080, arguments.HEALTH),
    "ready": page("ready", 8181, arguments.READY),
    "prometheus": page("metrics", 9153, arguments.PROMETHEUS),
    "bufsize": bufsize,
    "bind": bind,
}
"""Plug-in → what is made of it. Others are warned of."""
PAGES = ("health", "ready", "prometheus")
"""Plug-ins of the whole process, whichever of its server blocks has them."""

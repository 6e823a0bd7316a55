"""The plug-ins of a Corefile that are followed: what each says, as configuration. Pure.

Each is told its line and those in its braces, adds to a `BlockDraft`, and says of what isn't followed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from emulab.model.addresses import is_address, parse_address, socket_name
from emulab.plan.coredns import arguments
from emulab.plan.coredns.access import acl
from emulab.plan.coredns.arguments import within, wrong
from emulab.plan.coredns.caching import cache
from emulab.plan.coredns.drafting import (
    BlockDraft,
    absolute,
    chosen,
    duration,
    number,
    sayable,
    through,
    unfollowed,
    zones_of,
)
from emulab.plan.coredns.imports import path_of
from emulab.plan.coredns.lines import CorefileError, is_port
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
from emulab.servers.dns.config import (
    ForwardConfig,
    HostNames,
    HostsConfig,
)


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


def forward(draft: BlockDraft, told: Directive) -> None:
    if len(told.words) < 2:
        raise CorefileError(told.line, "forward: a domain and a server are needed")
    origin, *servers = told.words
    addresses = [address for text in servers if (address := _server(draft, told, text))]
    apart: tuple[str, ...] = ()
    policy, stream = "random", False
    within(told, arguments.FORWARD)
    times = {
        option.name: duration(option, option.words[0]) for option in told.inside if option.name in _LIVES
    }
    if 0 < times.get("max_age", 0) < times.get("expire", _LIVES["expire"]):
        raise wrong(told, "max_age must not be less than expire")
    for option in told.inside:
        if option.name == "except":
            apart += zones_of(option, option.words)
        elif option.name == "policy":
            policy = option.words[0]
        elif option.name == "force_tcp":
            stream = True
        elif option.name in _FORWARD_UNFOLLOWED:
            unfollowed(draft, "forward", option)
    base, *others = zones_of(told, [origin])
    if others:
        draft.warn(told.line, f"forward: {origin} is several zones, of which {base} alone is forwarded")
    made = ForwardConfig(base, tuple(addresses), apart, policy != "sequential", stream)
    draft.block["forward"] = (*draft.block.get("forward", ()), made)


_LIVES = {"expire": 10.0, "max_age": 0.0}
"""How long connections live, in seconds, where nothing is said."""
_FORWARD_UNFOLLOWED = frozenset(
    {
        *("tls", "tls_servername", "doh_method", "next", "next_on_nodata", "failover", "resolver"),
        *("source_address", "failfast_all_unhealthy_upstreams", "max_connect_attempts", "read_timeout"),
    }
)
"""Other options are about connections and checks of servers: here one that didn't answer is asked last for a while."""


def _server(draft: BlockDraft, told: Directive, text: str) -> str:
    address = text.removeprefix("dns://")
    if text.startswith("/"):
        return draft.default
    if is_address(address):
        return socket_name(parse_address(address), 53)
    host, colon, port = address.rpartition(":")
    if colon and is_port(port) and is_address(host.strip("[]")):
        return socket_name(parse_address(host.strip("[]")), int(port))
    draft.warn(told.line, f"forward: {text} is not asked: plain DNS to an address alone is followed")
    return ""


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
    if draft.chosen.namespaces and "exposed" in found:
        raise CorefileError(told.line, "kubernetes: namespaces and namespace_labels cannot both be set")
    found.setdefault("pods", False)
    draft.cluster |= found
    draft.block["cluster"] = True


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

"""The configuration that a Corefile asks for, and what of it isn't followed. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from functools import lru_cache
from typing import Any, NamedTuple

from emulab.dataclass import dataclass, field
from emulab.kinds.registry import CONFIG_MAP
from emulab.model.findings import Finding
from emulab.model.keys import Key
from emulab.model.objects import Object
from emulab.plan.coredns.arguments import DIRECTIVES, ONCE
from emulab.plan.coredns.caching import check_uncached
from emulab.plan.coredns.drafting import BlockDraft, absolute, sayable
from emulab.plan.coredns.imports import CUSTOM
from emulab.plan.coredns.lines import CorefileError
from emulab.plan.coredns.plugins import PLUGINS
from emulab.plan.coredns.searching import check_verified
from emulab.plan.coredns.syntax import ServerBlock, parse
from emulab.servers.dns.config import BlockConfig, CacheLimits

COREFILE = "Corefile"
CONFIGURATION = CONFIG_MAP.key("kube-system", "coredns")
"""The ConfigMap that the cluster's DNS is configured by."""
BESIDE = CONFIG_MAP.key("kube-system", "coredns-custom")
"""What clouds mount beside it: AKS, k3s, DigitalOcean, Gardener and others import its keys."""
_PORT = 53
_TAKES_IN = re.compile(r"^\s*import\s+\S*custom", re.MULTILINE)
STOCK = """
.:53 {
    errors
    health
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
    }
    prometheus :9153
    forward . /etc/resolv.conf
    cache 30
    loop
    reload
    loadbalance
    import custom/*.override
}
import custom/*.server
"""
"""The Corefile of who has none of their own, but something beside it."""


@dataclass(frozen=True, slots=True)
class Corefile:
    """What is followed: server blocks, how the cluster's names are answered, and the cache. With `error` nothing is."""

    blocks: tuple[BlockConfig, ...] = ()
    cluster: Mapping[str, Any] = field(default_factory=dict)
    limits: CacheLimits = field(default_factory=CacheLimits)
    pages: Mapping[str, str] = field(default_factory=dict)  # by their ports
    verified: bool = False  # whether it is to be known which Pods there are
    pod_names: bool = False  # whether an endpoint without a hostname has its Pod's name
    warnings: tuple[tuple[int, str], ...] = ()
    error: str = ""


class Texts(NamedTuple):
    """A ConfigMap's texts by their names, in a form that can be remembered."""

    pairs: tuple[tuple[str, str], ...]

    @staticmethod
    def of(o: Object | None, custom: Object | None = None, domain: str = "cluster.local") -> Texts:
        """The texts of CoreDNS' ConfigMap, the stock ones where there is none, and those of the one beside it."""
        own = (
            (o.raw.get("data") or {}) if o is not None else {COREFILE: STOCK.replace("cluster.local", domain)}
        )
        more = (custom.raw.get("data") or {}) if custom is not None else {}
        return Texts((*own.items(), *((f"{CUSTOM}{name}", text) for name, text in more.items())))


@lru_cache(8)
def read(texts: Texts, default: str) -> Corefile:
    """What a ConfigMap says. `default`: the server that the pods' resolv.conf names."""
    files = dict(texts.pairs)
    warnings: list[tuple[int, str]] = []
    try:
        parsed = parse(files.get(COREFILE, ""), files, lambda line, what: warnings.append((line, what)))
        _check_apart(parsed)
        drafts = [_block(block, files, default) for block in parsed]
    except CorefileError as error:
        return Corefile(error=str(error))
    blocks = tuple(BlockConfig(draft.zones, **draft.block) for draft in drafts if draft.zones)
    warnings += [warning for draft in drafts for warning in draft.warnings]
    cluster: dict[str, Any] = {}
    for draft in drafts:
        cluster |= draft.cluster
    limits = [draft.limits for draft in drafts if draft.limits]
    if len({(bounds.size, bounds.stale, bounds.stale_ttl) for bounds in limits}) > 1:
        warnings.append((1, "cache: all server blocks have the size and serve_stale of the first"))
    if not any(block.cluster for block in blocks):
        warnings.append((1, "kubernetes: no server block has it, so the cluster has no names"))
    verified = any(draft.verified for draft in drafts)
    pages = {port: what for draft in drafts for port, what in draft.pages.items()}
    kept = limits[0] if limits else CacheLimits(size=0)
    by_pods = any(draft.pod_names for draft in drafts)
    return Corefile(blocks, cluster, kept, pages, verified, by_pods, tuple(warnings))


def _check_apart(blocks: Iterable[ServerBlock]) -> None:
    """Each zone of a port has one server block. Raises CorefileError."""
    seen: set[str] = set()
    for block in blocks:
        for key in block.keys:
            plain = key.lower().removeprefix("dns://").removesuffix(f":{_PORT}").rstrip(".")
            if plain in seen:
                raise CorefileError(block.line, f"cannot serve {key}: it is already defined")
            seen.add(plain)


def _block(block: ServerBlock, files: Mapping[str, str], default: str) -> BlockDraft:
    zones: list[str] = []
    draft = BlockDraft((), files, default)
    for key in block.keys:
        zone, colon, port = key.removeprefix("dns://").rpartition(":")
        zone, port = (zone, port) if colon else (port, str(_PORT))
        if "://" in key or port != str(_PORT) or "/" in zone or key.startswith("("):
            draft.warn(
                block.line, f"server block {key}: plain DNS for a zone on port {_PORT} alone is followed"
            )
        elif sayable(absolute(zone)):
            zones.append(absolute(zone))
        else:
            raise CorefileError(block.line, f"{zone!r} is no DNS zone")
    draft.zones = tuple(zones)
    seen: set[str] = set()
    for told in block.plugins:
        plugin = PLUGINS.get(told.name)
        if told.name not in DIRECTIVES:
            near = get_close_matches(told.name, DIRECTIVES, 1)
            guess = f"; did you mean {near[0]}?" if near else ""
            raise CorefileError(told.line, f"unknown directive {told.name!r}{guess}")
        if told.name in ONCE & seen:
            raise CorefileError(told.line, f"{told.name}: a server block has it once at most")
        seen.add(told.name)
        if plugin is None:
            draft.warn(told.line, f"{told.name} is not followed; what is: {', '.join(PLUGINS)}")
        elif zones:
            plugin(draft, told)
    check_verified(draft)
    check_uncached(draft)
    return draft


def unheeded(o: Object, get: Callable[[Key], Object | None]) -> Iterator[Finding]:
    """What of the cluster DNS' Corefile isn't followed, when `o` has a part in it."""
    if o.key not in (CONFIGURATION, BESIDE):
        return
    own, custom = (o if o.key == key else get(key) for key in (CONFIGURATION, BESIDE))
    text = _text(own)
    if o.key == BESIDE and text and not _TAKES_IN.search(text):
        yield Finding(
            o, ("data",), "nothing of it is read: the Corefile of ConfigMap coredns imports none of it"
        )
    if (own is not None and not text) or (o.key == BESIDE and text and not _TAKES_IN.search(text)):
        return
    made = read(Texts.of(own, custom), "")
    path = ("data", COREFILE) if o.key == CONFIGURATION else ("data",)
    if made.error:
        stays = "CoreDNS wouldn't start with it, so the stock configuration stays"
        yield Finding(o, path, f"{made.error}; {stays}")
    for line, what in made.warnings:
        if (o.key == BESIDE) == getattr(line, "file", "").startswith(CUSTOM):
            yield Finding(o, path, f"line {line}: {what}")


def _text(o: Object | None) -> str:
    return str((o.raw.get("data") or {}).get(COREFILE) or "") if o is not None else ""

"""The configuration that a Corefile asks for, and what of it isn't followed. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from emulab.dataclass import dataclass, field
from emulab.kinds.registry import CONFIG_MAP
from emulab.model.findings import Finding
from emulab.model.objects import Object
from emulab.plan.coredns.drafting import BlockDraft, absolute, sayable
from emulab.plan.coredns.plugins import PLUGINS
from emulab.plan.coredns.searching import check_verified
from emulab.plan.coredns.syntax import CorefileError, ServerBlock, parse
from emulab.servers.dns.config import BlockConfig, CacheLimits

COREFILE = "Corefile"
CONFIGURATION = CONFIG_MAP.key("kube-system", "coredns")
"""The ConfigMap that the cluster's DNS is configured by."""
_PORT = 53


@dataclass(frozen=True, slots=True)
class Corefile:
    """What is followed: server blocks, how the cluster's names are answered, and the cache. With `error` nothing is."""

    blocks: tuple[BlockConfig, ...] = ()
    cluster: Mapping[str, Any] = field(default_factory=dict)
    limits: CacheLimits = field(default_factory=CacheLimits)
    verified: bool = False  # whether it is to be known which Pods there are
    warnings: tuple[tuple[int, str], ...] = ()
    error: str = ""


class Texts(NamedTuple):
    """A ConfigMap's texts by their names, in a form that can be remembered."""

    pairs: tuple[tuple[str, str], ...]

    @staticmethod
    def of(o: Object) -> Texts:
        return Texts(tuple((o.raw.get("data") or {}).items()))


@lru_cache(8)
def read(texts: Texts, default: str) -> Corefile:
    """What a ConfigMap says. `default`: the server that the pods' resolv.conf names."""
    files = dict(texts.pairs)
    try:
        drafts = [_block(block, files, default) for block in parse(files.get(COREFILE, ""))]
    except CorefileError as error:
        return Corefile(error=str(error))
    blocks = tuple(BlockConfig(draft.zones, **draft.block) for draft in drafts if draft.zones)
    warnings = [warning for draft in drafts for warning in draft.warnings]
    cluster: dict[str, Any] = {}
    for draft in drafts:
        cluster |= draft.cluster
    limits = [draft.limits for draft in drafts if draft.limits]
    if len({(bounds.size, bounds.stale, bounds.stale_ttl) for bounds in limits}) > 1:
        warnings.append((1, "cache: all server blocks have the size and serve_stale of the first"))
    if not any(block.cluster for block in blocks):
        warnings.append((1, "kubernetes: no server block has it, so the cluster has no names"))
    verified = any(draft.verified for draft in drafts)
    return Corefile(blocks, cluster, limits[0] if limits else CacheLimits(size=0), verified, tuple(warnings))


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
    for told in block.plugins:
        plugin = PLUGINS.get(told.name)
        if plugin is None:
            draft.warn(told.line, f"{told.name} is not followed; what is: {', '.join(PLUGINS)}")
        elif zones:
            plugin(draft, told)
    check_verified(draft)
    return draft


def unheeded(o: Object) -> Iterator[Finding]:
    """What of a ConfigMap's Corefile isn't followed, when it is that of the cluster's DNS."""
    if o.key != CONFIGURATION or COREFILE not in (o.raw.get("data") or {}):
        return
    made, path = read(Texts.of(o), ""), ("data", COREFILE)
    if made.error:
        stays = "CoreDNS wouldn't start with it, so the stock configuration stays"
        yield Finding(o, path, f"{made.error}; {stays}")
    for line, text in made.warnings:
        yield Finding(o, path, f"line {line}: {text}")

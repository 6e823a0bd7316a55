"""The configuration that a Corefile asks for, and what of it isn't followed. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import lru_cache
from typing import Any, NamedTuple

from emulab.dataclass import dataclass, field
from emulab.kinds.core import coredns, secret
from emulab.kinds.core.coredns import CoreDnsFlags, FileSource
from emulab.kinds.installed import NODE_CACHE_NAME
from emulab.kinds.registry import CONFIG_MAP, SECRET
from emulab.model.findings import Finding
from emulab.model.keys import Key
from emulab.model.objects import Object
from emulab.plan.coredns.arguments import DIRECTIVES, ONCE
from emulab.plan.coredns.caching import check_uncached
from emulab.plan.coredns.clusters import differing, merged
from emulab.plan.coredns.drafting import BlockDraft, ChosenNames, zones_from
from emulab.plan.coredns.imports import CUSTOM, taken_in
from emulab.plan.coredns.kubedns import as_corefile, problems
from emulab.plan.coredns.lines import CorefileError, is_number
from emulab.plan.coredns.plugins import PAGES, PLUGINS
from emulab.plan.coredns.searching import check_verified
from emulab.plan.coredns.syntax import ServerBlock, parse
from emulab.servers.dns.config import BlockConfig, CacheLimits

COREFILE = coredns.COREFILE
_PORT = 53
CONFIGURATION = CONFIG_MAP.key(coredns.NAMESPACE, coredns.CONFIG_MAP)
"""The ConfigMap that the cluster's DNS is configured by."""
_TAKES_IN = re.compile(r"^\s*import\s+\S*custom", re.MULTILINE)
FORMER = CONFIG_MAP.key(coredns.NAMESPACE, "kube-dns")
"""What configured kube-dns: it counts where there is none of CoreDNS."""
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
    """What is followed: server blocks, how the cluster's names are answered, and the cache. With `error` nothing is.

    Nobody listens for queries where blocks were `told`, but none that is followed.
    """

    blocks: tuple[BlockConfig, ...] = ()
    told: bool = False
    reloads: bool = False  # whether a running server looks for changes
    cluster: Mapping[str, Any] = field(default_factory=dict)
    limits: CacheLimits = field(default_factory=CacheLimits)
    pages: Mapping[str, str] = field(default_factory=dict)  # by their ports
    verified: bool = False  # whether it is to be known which Pods there are
    pod_names: bool = False  # whether an endpoint without a hostname has its Pod's name
    chosen: ChosenNames = ChosenNames()
    warnings: tuple[tuple[int, str], ...] = ()
    error: str = ""
    port: int = _PORT
    lameduck: float = 0.0  # seconds that it answers after it was told to end


class Texts(NamedTuple):
    """A ConfigMap's texts by their names, in a form that can be remembered."""

    pairs: tuple[tuple[str, str], ...]

    @staticmethod
    def of(
        own: Mapping[str, str] | None,
        custom: Object | None = None,
        domain: str = "cluster.local",
        key: str = COREFILE,
    ) -> Texts:
        """The texts of CoreDNS' ConfigMap, the stock ones where there is none, and those of the one beside it."""
        texts = own if own is not None else {COREFILE: STOCK.replace("cluster.local", domain)}
        more = (custom.raw.get("data") or {}) if custom is not None else {}
        found = {**texts, COREFILE: texts.get(key, "")}
        return Texts((*found.items(), *((f"{CUSTOM}{name}", text) for name, text in more.items())))


FindObject = Callable[[Key], Object | None]
_PROBED = (
    ("ready", "8181", "their readiness probes fail, and after half a minute kube-dns has no endpoint"),
    ("health", "8080", "their liveness probes fail, and they are started anew again and again"),
)
"""What the probes of the cluster's DNS ask for, on which port, and what becomes of its pods where nobody answers."""
STAYS = "CoreDNS doesn't start with it; one that runs goes on by the last Corefile that was right"
_UNREAD = (
    "no server block has reload: a CoreDNS that runs reads a change of this only when it is restarted,"
    " as by emulab rollout restart"
)


def given_files(get: FindObject, flags: CoreDnsFlags) -> Mapping[str, str] | None:
    """The files in the Corefile's folder by their names; None where none of their objects is there."""
    own = FileSource(CONFIG_MAP.kind, flags.config_map)
    found: dict[str, str] | None = None
    for source in (*flags.beside, own):
        files = _paths(source, get, flags)
        found = {**(found or {}), **files} if files is not None else found
    return found


def _paths(source: FileSource, get: FindObject, flags: CoreDnsFlags) -> dict[str, str] | None:
    """The files that an object is in a volume, by their paths; None where it isn't there."""
    kind = SECRET if source.kind == SECRET.kind else CONFIG_MAP
    o = get(kind.key(flags.namespace, source.name)) if source.name else None
    if o is None:
        return None
    texts = (
        secret.texts_of(o)
        if source.kind == SECRET.kind
        else {k: str(v) for k, v in (o.raw.get("data") or {}).items()}
    )
    return {path: texts[key] for key, path in source.items if key in texts} if source.items else texts


def texts_of(get: FindObject, flags: CoreDnsFlags, domain: str) -> Texts | None:
    """What a server of CoreDNS reads; None where there is nothing of one's own."""
    given = given_files(get, flags)
    custom = get(CONFIG_MAP.key(flags.namespace, flags.custom))
    former = get(FORMER) if given is None and flags.own else None
    if given is None and custom is None and former is None:
        return None
    texts = Texts.of(given, custom, domain, flags.key)
    if former is None:
        return texts
    return Texts(tuple((k, _formerly(former, v) if k == COREFILE else v) for k, v in texts.pairs))


def _formerly(former: Object, stock: str) -> str:
    return as_corefile(former.raw.get("data") or {}, stock)


@lru_cache(8)
def read(
    texts: Texts,
    default: str,
    port: int = _PORT,
    usual: int = _PORT,
    variables: tuple[tuple[str, str], ...] = (),
) -> Corefile:
    """What a ConfigMap says. `default`: the server that the pods' resolv.conf names. Server blocks on `port` are
    followed; 0: on the usual one if there are any, else on that of the first."""
    files = dict(texts.pairs)
    warnings: list[tuple[int, str]] = []
    try:
        text = files.get(COREFILE, "")
        parsed = parse(text, files, lambda line, what: warnings.append((line, what)), dict(variables))
        _check_apart(parsed, usual)
        port = port or _chosen_port(parsed, usual)
        drafts = [_block(block, files, default, port, usual) for block in parsed]
    except CorefileError as error:
        return Corefile(error=str(error))
    blocks = tuple(BlockConfig(draft.zones, **draft.block) for draft in drafts if draft.zones)
    warnings += [warning for draft in drafts for warning in draft.warnings]
    cluster = merged(drafts)
    warnings += differing(drafts)
    limits = [draft.limits for draft in drafts if draft.limits]
    if len({(bounds.size, bounds.stale, bounds.stale_ttl) for bounds in limits}) > 1:
        warnings.append((1, "cache: all server blocks have the size and serve_stale of the first"))
    if not any(block.cluster for block in blocks):
        warnings.append((1, "kubernetes: no server block has it, so no name of the cluster is answered"))
    verified = next((draft.verified for draft in drafts if draft.cluster), False)
    pages = {port: what for draft in drafts for port, what in draft.pages.items()}
    kept = limits[0] if limits else CacheLimits(size=0)
    by_pods = next((draft.pod_names for draft in drafts if draft.cluster), False)
    chosen = next((draft.chosen for draft in drafts if draft.cluster), ChosenNames())
    reloads = any(told.name == "reload" for block in parsed for told in block.plugins)
    return Corefile(
        *(blocks, bool(parsed), reloads, cluster, kept, pages, verified, by_pods),
        warnings=tuple(warnings),
        port=port,
        chosen=chosen,
        lameduck=max((draft.lameduck for draft in drafts), default=0.0),
    )


def _key(key: str, usual: int) -> tuple[str, str, int]:
    """The protocol, the zone and the port that a server block is for."""
    scheme, _, rest = key.rpartition("://")
    zone, colon, port = rest.rpartition(":")
    if not colon or not is_number(port):
        return scheme or "dns", rest, usual
    return scheme or "dns", zone, int(port[:6])


def _chosen_port(blocks: Sequence[ServerBlock], usual: int) -> int:
    told = [_key(key, usual) for block in blocks for key in block.keys]
    ports = [port for scheme, _, port in told if scheme == "dns"]
    return usual if usual in ports or not ports else ports[0]


def _check_apart(blocks: Iterable[ServerBlock], usual: int) -> None:
    """Each zone of a port has one server block. Raises CorefileError."""
    seen: set[tuple[str, str, int]] = set()
    for block in blocks:
        for key in block.keys:
            scheme, zone, port = _key(key.lower(), usual)
            if (scheme, zone.rstrip("."), port) in seen:
                raise CorefileError(block.line, f"cannot serve {key}: it is already defined")
            seen.add((scheme, zone.rstrip("."), port))


def _block(block: ServerBlock, files: Mapping[str, str], default: str, port: int, usual: int) -> BlockDraft:
    zones: list[str] = []
    draft = BlockDraft((), files, default)
    for key in block.keys:
        scheme, zone, its = _key(key, usual)
        if scheme != "dns" or its != port or key.startswith("("):
            draft.warn(
                block.line, f"server block {key}: plain DNS for a zone on port {port} alone is followed"
            )
        else:
            zones += zones_from(block.line, zone)
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
        elif zones or told.name in PAGES:
            plugin(draft, told)
    check_verified(draft)
    check_uncached(draft)
    return draft


def _maps_of(flags: CoreDnsFlags) -> tuple[str, ...]:
    beside = (source.name for source in flags.beside if source.kind == CONFIG_MAP.kind)
    return (flags.config_map, flags.custom, *beside)


def unheeded(o: Object, get: FindObject, readers: Iterable[CoreDnsFlags]) -> Iterator[Finding]:
    """What of a ConfigMap isn't followed of which servers of CoreDNS, the `readers`, read a Corefile."""
    given = o.raw.get("data") or {}
    if o.key == FORMER:
        for key, why in problems(given):
            yield Finding(o, ("data", key), why)
        if get(CONFIGURATION) is not None:
            yield Finding(o, ("data",), "isn't followed beside a ConfigMap coredns")
    mine = [one for one in readers if one.namespace == o.namespace and o.name in _maps_of(one)]
    if not mine and (COREFILE in given and o.name != NODE_CACHE_NAME):
        where = f"the lab's own reads that of ConfigMap {coredns.NAMESPACE}/{coredns.CONFIG_MAP}"
        yield Finding(o, ("data", COREFILE), f"isn't read: no container of CoreDNS has it mounted; {where}")
    for flags in dict.fromkeys(mine):
        yield from _unheeded(o, get, flags)


def _unheeded(o: Object, get: FindObject, flags: CoreDnsFlags) -> Iterator[Finding]:
    """What of a ConfigMap one server of CoreDNS doesn't follow."""
    look: FindObject = lambda key: o if o.key == key else get(key)  # noqa: E731
    custom = look(CONFIG_MAP.key(flags.namespace, flags.custom))
    own = given_files(look, flags)
    text = str((own or {}).get(flags.key) or "")
    mine = [source for source in flags.beside if (source.kind, source.name) == (CONFIG_MAP.kind, o.name)]
    theirs = [source for source in flags.beside if source not in mine]
    others = {path for source in mine for path in _paths(source, look, flags) or ()}
    if flags.key in others:
        others = set()
    beside = (o is custom and o.name != flags.config_map) or bool(others)
    if o is custom and beside and text and not _TAKES_IN.search(text):
        what = f"nothing of it is read: the Corefile of ConfigMap {flags.config_map} imports none of it"
        yield Finding(o, ("data",), what)
        return
    if own is not None and not text:
        if o is not custom:
            yield Finding(o, ("data",), f"has no {flags.key}: {STAYS}")
        return
    port = flags.port if flags.own else 0
    texts = Texts.of(own, custom, key=flags.key)
    made = read(texts, "", port, flags.port, flags.env)
    path = ("data",) if beside else ("data", flags.key)
    if beside and not made.error:
        yield from _not_taken_in(o, dict(texts.pairs), dict(flags.env), others)
    if made.error:
        yield Finding(o, path, f"{made.error}; {STAYS}")
    elif not made.reloads and not beside:
        yield Finding(o, path, _UNREAD)
    if flags.own and not made.error and not beside:
        for name, at, fate in _PROBED:
            if made.pages.get(at) != name:
                yield Finding(
                    o, path, f"no server block has {name} on port {at}, where the pods are asked: {fate}"
                )
    for line, what in made.warnings:
        file = getattr(line, "file", "")
        elsewhere = any(file in (_paths(source, look, flags) or ()) for source in theirs)
        if file in others or (not others and not elsewhere and beside == file.startswith(CUSTOM)):
            yield Finding(o, path, f"line {line}: {what}")


def _not_taken_in(
    o: Object, files: Mapping[str, str], variables: Mapping[str, str], others: Iterable[str]
) -> Iterator[Finding]:
    """The keys of a ConfigMap beside the Corefile that it neither imports nor names."""
    taken = taken_in(files[COREFILE], files, variables)
    named = others or (f"{CUSTOM}{key}" for key in o.raw.get("data") or ())
    for path in named:
        key = path.rpartition("/")[2]
        if path not in taken and path != COREFILE and not any(key in text for text in files.values()):
            yield Finding(o, ("data", key), "isn't read: no import of the Corefile is of such a name")

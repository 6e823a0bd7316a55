"""nftables chains of Services with `sessionAffinity: ClientIP`, in kube-proxy's own form. Pure.

Each endpoint has a set of the clients that it served lately (a dynamic set whose elements time out), and a chain
that renews the client there and translates. A chain for each policy first asks the sets, then picks at random.
As in kube-proxy, a client is an address, and the affinity is to the Service port whichever of its addresses is used.
"""

from __future__ import annotations

from collections.abc import Sequence

from emulab.model.addresses import socket_name
from emulab.plan.proxy.filters import RuleWords
from emulab.plan.proxy.intents import Intent, ProxiedEndpoint
from emulab.plan.proxy.meanings import translates
from emulab.plan.state import Collection

_MARK = "meta mark set meta mark or 0x4000"


def entry(kind: str, intent: Intent) -> str:
    """The chain that traffic of a kind (cluster, external, local) enters by."""
    return f"{kind}/{_title(intent)}"


def affinity_chains(
    intent: Intent, words: RuleWords
) -> tuple[dict[str, tuple[str, ...]], dict[str, Collection]]:
    """The chains and the sets of clients of one Service port."""
    title = _title(intent)
    found: dict[str, tuple[str, ...]] = {}
    lists = {"balance": intent.cluster, "balance-local": intent.local}
    for kind, backends in lists.items():
        if backends:
            found[f"{kind}/{title}"] = ("", *_balance(title, backends, words))
    if intent.internal:
        kind = "balance-local" if intent.internal_local else "balance"
        found[entry("cluster", intent)] = (
            "",
            f"{words.source} != {words.pods} {_MARK}",
            f"goto {kind}/{title}",
        )
    if intent.externally_accessible and not intent.external_local and intent.cluster:
        found[entry("external", intent)] = ("", _MARK, f"goto balance/{title}")
    if intent.externally_accessible and intent.external_local:
        found[entry("local", intent)] = ("", *_local(intent, words))
    sets = {}
    for backend in intent.reachable:
        clients = f"clients/{title}/{_where(backend)}"
        timeout = f"type {words.family.nft_address} ; flags dynamic,timeout ; timeout {intent.affinity}s ;"
        sets[clients] = Collection("set", timeout, {})
        renew = f"update @{clients} {{ {words.source} }}"
        translate = f"meta l4proto {intent.protocol} dnat {words.ip} to {socket_name(*backend.target)}"
        found[f"endpoint/{title}/{_where(backend)}"] = ("", renew, translates(translate))
    return found, sets


def _local(intent: Intent, words: RuleWords) -> list[str]:
    title = _title(intent)
    lines = []
    if intent.cluster:
        lines += [
            f"{words.source} {words.pods} goto balance/{title}",
            f"fib saddr type local {_MARK}",
            f"fib saddr type local goto balance/{title}",
        ]
    if intent.local:
        lines.append(f"goto balance-local/{title}")
    return lines


def _balance(title: str, backends: Sequence[ProxiedEndpoint], words: RuleWords) -> list[str]:
    targets = [_where(b) for b in backends]
    lines = [f"{words.source} @clients/{title}/{t} goto endpoint/{title}/{t}" for t in targets]
    if len(targets) == 1:
        return [*lines, f"goto endpoint/{title}/{targets[0]}"]
    choices = ", ".join(f"{i} : goto endpoint/{title}/{t}" for i, t in enumerate(targets))
    return [*lines, f"numgen random mod {len(targets)} vmap {{ {choices} }}"]


def _title(intent: Intent) -> str:
    """A Service port in the letters that nftables takes in a name."""
    return f"{intent.protocol}-{intent.namespace}/{intent.name}/{intent.port.name or intent.port.port}"


def _where(backend: ProxiedEndpoint) -> str:
    """An endpoint in the letters that nftables takes in a name: there is no colon among them."""
    return f"{str(backend.address).replace(':', '-')}/{backend.port}"

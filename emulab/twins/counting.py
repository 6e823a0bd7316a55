"""How many rules of its proxy a node's kernel has, and of its programs' maps how many entries, read from the kernel."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from emulab.errors import UserError
from emulab.plan.cni import TABLES
from emulab.python import Lab

_LIST = ("sh", "-c", "nft -j list ruleset && cat /proc/net/ip_vs 2>/dev/null || true")

RuleCounts = Mapping[str, int]


async def count(lab: Lab, node: str) -> RuleCounts | None:
    """How many rules and elements a node has, by kind; None where the program that lists it is missing."""
    listing, _, virtual = (await lab.exec(node, *_LIST)).text.partition("\n")
    if not listing:
        return None
    with suppress(UserError):  # its mode has none
        frontends = await lab.frontends(node)
        ends = {e["number"] for one in frontends for e in one["endpoints"]}
        return counts(json.loads(listing), virtual) | {
            "bpfFrontends": len(frontends),
            "bpfEndpoints": len(ends),
        }
    return counts(json.loads(listing), virtual)


def counts(listing: Mapping[str, Any], virtual: str) -> dict[str, int]:
    """The numbers in `nft -j list ruleset` and in /proc/net/ip_vs; iptables' tables are those nft can't read."""
    found = dict.fromkeys(("nftRules", "nftElements", "iptablesRules", "ipvsServices", "ipvsServers"), 0)
    rules: dict[tuple[str, str], int] = {}
    foreign: set[tuple[str, str]] = set()
    for entry in listing["nftables"]:
        [(kind, body)] = entry.items()
        if body.get("table") in TABLES:
            continue
        if kind == "rule":
            table = body["family"], body["table"]
            rules[table] = rules.get(table, 0) + 1
            if any("xt" in expression for expression in body["expr"]):
                foreign.add(table)
        elif kind in ("set", "map"):
            found["nftElements"] += len(body.get("elem") or ())
    for table, number in rules.items():
        found["iptablesRules" if table in foreign else "nftRules"] += number
    for line in virtual.splitlines():
        word = line.split()[:1]
        found["ipvsServices"] += word in (["TCP"], ["UDP"], ["SCTP"], ["FWM"])
        found["ipvsServers"] += word == ["->"] and "RemoteAddress" not in line
    return found

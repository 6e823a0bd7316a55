"""Rules of policy routing as the kernel is told of them."""

from __future__ import annotations

from typing import Any

from emulab.kernel.links.encoding import CREATE, Encoding, Handles
from emulab.kernel.netlink.messages import FAMILIES, Message
from emulab.kernel.netlink.rtnetlink import RT_TABLE_UNSPEC, RTM_DELRULE, RTM_NEWRULE, RULE, RULE_ACTIONS
from emulab.plan.links import RoutingRule


def _payload(item: RoutingRule) -> bytes:
    source, destination = item.source, item.destination
    table = item.table if item.action == "lookup" else RT_TABLE_UNSPEC
    values: dict[str, Any] = {
        "family": FAMILIES[item.version],
        "src_len": source.prefixlen if source else 0,
        "dst_len": destination.prefixlen if destination else 0,
        "table": table if table < 256 else RT_TABLE_UNSPEC,
        "action": RULE_ACTIONS[item.action],
        "FRA_PRIORITY": item.priority,
        "FRA_SRC": source.network_address if source else None,
        "FRA_DST": destination.network_address if destination else None,
        "FRA_FWMARK": item.mark,
        "FRA_FWMASK": item.mask if item.mark is not None else None,
        "FRA_IIFNAME": item.input or None,
        "FRA_OIFNAME": item.output or None,
        "FRA_TABLE": table if table >= 256 else None,
    }
    return RULE.encode(values)


def _add(item: RoutingRule, _: Handles) -> Message:
    return Message(RTM_NEWRULE, CREATE, _payload(item))


def _remove(item: RoutingRule, _: Handles) -> Message:
    return Message(RTM_DELRULE, 0, _payload(item))


ENCODING = Encoding(_add, _remove)

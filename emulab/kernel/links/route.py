"""Routes as the kernel is told of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from emulab.kernel.links.encoding import CREATE, Encoding, Handles
from emulab.kernel.netlink.messages import FAMILIES, NLM_F_CREATE, NLM_F_REPLACE, Message
from emulab.kernel.netlink.rtnetlink import (
    ROUTE,
    ROUTE_TYPES,
    RT_SCOPE_HOST,
    RT_SCOPE_LINK,
    RT_SCOPE_NOWHERE,
    RT_SCOPE_UNIVERSE,
    RT_TABLE_UNSPEC,
    RTM_DELROUTE,
    RTM_NEWROUTE,
    RTNH_F_ONLINK,
    RTPROT_KERNEL,
    RTPROT_STATIC,
)
from emulab.kernel.netns import Handle
from emulab.plan.links import LOCAL, NextHop, Route

_CHECKSUM = 0x01  # TUNNEL_CSUM
_ENCAPSULATIONS = {4: 2, 6: 4}
"""LWTUNNEL_ENCAP_IP and LWTUNNEL_ENCAP_IP6 (linux/lwtunnel.h), by the version of the tunnel's ends."""


def _payload(item: Route, handles: Handles, scope: int) -> bytes:
    net, indexes = item.destination, handles[item.namespace].indexes
    values: dict[str, Any] = {
        "family": FAMILIES[net.version],
        "dst_len": net.prefixlen,
        "table": item.table if item.table < 256 else RT_TABLE_UNSPEC,
        "proto": RTPROT_STATIC,
        "scope": scope,
        "type": ROUTE_TYPES[item.type],
        "flags": RTNH_F_ONLINK if item.onlink else 0,
    }
    if net.prefixlen:
        values["RTA_DST"] = net.network_address
    if item.table >= 256:
        values["RTA_TABLE"] = item.table
    if item.priority:
        values["RTA_PRIORITY"] = item.priority
    if item.link:
        values["RTA_OIF"] = indexes[item.link]
    if item.gateway:
        values["RTA_GATEWAY"] = item.gateway
    if item.source:
        values["RTA_PREFSRC"] = item.source
    if item.tunnel:
        values["RTA_ENCAP_TYPE"] = _ENCAPSULATIONS[item.tunnel.end.version]
        values["RTA_ENCAP"] = {
            "LWTUNNEL_IP_ID": item.tunnel.number,
            "LWTUNNEL_IP_DST": item.tunnel.end,
            # UDP of IPv6 is dropped without (RFC 6936 lets devices allow it, and these don't).
            "LWTUNNEL_IP_FLAGS": _CHECKSUM if item.tunnel.end.version == 6 else None,
        }
    if item.hops:
        values["RTA_MULTIPATH"] = [_hop(hop, indexes[hop.link]) for hop in item.hops]
    return ROUTE.encode(values)


def _hop(hop: NextHop, index: int) -> dict[str, Any]:
    flags = RTNH_F_ONLINK if hop.onlink else 0
    return {"flags": flags, "hops": hop.weight - 1, "oif": index, "RTA_GATEWAY": hop.gateway}


def _scope(item: Route) -> int:
    """How far away the destination is, as iproute2 guesses it; IPv6 knows no scopes of routes."""
    if item.destination.version == 6:
        return RT_SCOPE_UNIVERSE
    if item.type == "local":
        return RT_SCOPE_HOST
    is_near = item.type == "unicast" and not item.gateway and not any(hop.gateway for hop in item.hops)
    return RT_SCOPE_LINK if is_near else RT_SCOPE_UNIVERSE


def _add(item: Route, handles: Handles) -> Message:
    flags = NLM_F_CREATE | NLM_F_REPLACE if item.replaces else CREATE
    return Message(RTM_NEWROUTE, flags, _payload(item, handles, _scope(item)))


def _remove(item: Route, handles: Handles) -> Message:
    # Nowhere: of any scope.
    return Message(RTM_DELROUTE, 0, _payload(item, handles, RT_SCOPE_NOWHERE))


def _finish(item: Route, handles: Handles) -> Iterable[tuple[Handle, Message]]:
    """The kernel's own route to an address of IPv6 has a metric that no other has (0), so it isn't replaced: it goes.
    It is there when the kernel's worker has looked at the address (addrconf_dad_work)."""
    if item.replaces and item.table == LOCAL and item.destination.version == 6:
        handle, net = handles[item.namespace], item.destination
        values = {
            "family": FAMILIES[net.version],
            "dst_len": net.prefixlen,
            "table": LOCAL,
            "proto": RTPROT_KERNEL,
            "scope": RT_SCOPE_NOWHERE,
            "type": ROUTE_TYPES[item.type],
            "RTA_DST": net.network_address,
            "RTA_OIF": handle.indexes[item.link],
        }
        yield handle, Message(RTM_DELROUTE, 0, ROUTE.encode(values), f"replace the {item.title()}")


ENCODING = Encoding(_add, _remove, _finish, late=True)

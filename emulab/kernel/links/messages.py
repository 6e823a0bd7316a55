"""From an item of the plan to the rtnetlink message that makes or removes it.

One function a kind in two tables (`ADD`, `REMOVE`), undo beside do. Constants are those of
linux/if_link.h, linux/neighbour.h and linux/rtnetlink.h.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Callable, Mapping
from typing import Any

from emulab.kernel.netlink.codec import (
    NLM_F_APPEND,
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    Message,
    attribute,
    nested,
    string,
    u8,
    u32,
)
from emulab.kernel.netns import Handle
from emulab.model.addresses import IPAddress
from emulab.plan.state import (
    Address,
    Bridge,
    Dummy,
    ForwardingEntry,
    Item,
    Link,
    Neighbour,
    Route,
    Veth,
    Vxlan,
)

RTM_NEWLINK, RTM_DELLINK, RTM_SETLINK = 16, 17, 19
RTM_NEWADDR, RTM_DELADDR = 20, 21
RTM_NEWROUTE, RTM_DELROUTE = 24, 25
RTM_NEWNEIGH, RTM_DELNEIGH = 28, 29
IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_MASTER, IFLA_LINKINFO, IFLA_NET_NS_FD = 1, 3, 4, 10, 18, 28
IFLA_AF_SPEC, IFLA_INET_CONF, IPV4_DEVCONF_FORWARDING = 26, 1, 1
IFLA_INFO_KIND, IFLA_INFO_DATA, VETH_INFO_PEER = 1, 2, 1
IFLA_BR_FORWARD_DELAY, IFLA_BR_STP_STATE, IFLA_BR_MCAST_SNOOPING = 1, 5, 23
IFLA_VXLAN_ID, IFLA_VXLAN_LINK, IFLA_VXLAN_LOCAL, IFLA_VXLAN_LEARNING = 1, 3, 4, 7
IFLA_VXLAN_PORT, IFLA_VXLAN_LOCAL6 = 15, 17
IFA_ADDRESS, IFA_LOCAL, IFA_BROADCAST, IFA_FLAGS = 1, 2, 4, 8
IFA_F_NODAD = 0x02
RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PREFSRC = 1, 4, 5, 7
RT_TABLE_MAIN, RTPROT_STATIC, RTN_UNICAST = 254, 4, 1
RT_SCOPE_UNIVERSE, RT_SCOPE_LINK, RT_SCOPE_NOWHERE = 0, 253, 255
RTNH_F_ONLINK = 4
NDA_DST, NDA_LLADDR = 1, 2
NUD_PERMANENT, NUD_NOARP, NTF_SELF = 0x80, 0x40, 0x02
AF_UNSPEC, AF_BRIDGE, AF_INET, AF_INET6 = 0, 7, 2, 10
IFF_UP = 1

Handles = Mapping[str, Handle]


def _family(address: IPAddress | ipaddress.IPv4Network | ipaddress.IPv6Network) -> int:
    return AF_INET if address.version == 4 else AF_INET6


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def _ifinfo(index: int = 0, flags: int = 0) -> bytes:
    return struct.pack("=BxHiII", AF_UNSPEC, 0, index, flags, flags)


def _link(
    handle: Handle, name: str, mac: str, kind: str, data: bytes, *more: bytes, flags: int = IFF_UP
) -> Message:
    payload = b"".join(
        (
            _ifinfo(handle.allocate_index(name), flags),
            string(IFLA_IFNAME, name),
            attribute(IFLA_ADDRESS, _mac(mac)),
            *more,
            nested(IFLA_LINKINFO, string(IFLA_INFO_KIND, kind), nested(IFLA_INFO_DATA, data)),
        )
    )
    return Message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, payload, f"add {kind} {name}")


def link_up(handle: Handle, name: str) -> Message:
    """Brings a link up, as `ip link set NAME up`."""
    return Message(RTM_SETLINK, 0, _ifinfo(handle.indexes[name], IFF_UP), f"set {name} up")


def link_forwarding(handle: Handle, name: str) -> Message:
    """Lets packets that come in by this link be forwarded: `net.ipv4.conf.NAME.forwarding`, without /proc/sys."""
    conf = nested(IFLA_AF_SPEC, nested(AF_INET, nested(IFLA_INET_CONF, u32(IPV4_DEVCONF_FORWARDING, 1))))
    return Message(RTM_SETLINK, 0, _ifinfo(handle.indexes[name]) + conf, f"set {name} forwarding")


def _add_bridge(item: Bridge, handles: Handles) -> Message:
    # No STP and no forwarding delay: a port passes frames from its first moment on.
    data = u32(IFLA_BR_FORWARD_DELAY, 0) + u32(IFLA_BR_STP_STATE, 0) + u8(IFLA_BR_MCAST_SNOOPING, 0)
    return _link(handles[item.namespace], item.name, item.mac, "bridge", data, u32(IFLA_MTU, item.mtu))


def _add_veth(item: Veth, handles: Handles) -> Message:
    handle, other = handles[item.namespace], handles[item.peer_namespace]
    peer = b"".join(
        (
            _ifinfo(
                other.allocate_index(item.peer)
            ),  # not up: the driver knows no pair yet (veth_open: ENOTCONN)
            string(IFLA_IFNAME, item.peer),
            attribute(IFLA_ADDRESS, _mac(item.peer_mac)),
            u32(IFLA_MTU, item.mtu),
            u32(IFLA_NET_NS_FD, other.fd),
        )
    )
    master = (u32(IFLA_MASTER, handle.indexes[item.master]),) if item.master else ()
    mtu = u32(IFLA_MTU, item.mtu)
    return _link(handle, item.name, item.mac, "veth", nested(VETH_INFO_PEER, peer), mtu, *master)


def _add_vxlan(item: Vxlan, handles: Handles) -> Message:
    handle = handles[item.namespace]
    local = IFLA_VXLAN_LOCAL if item.local.version == 4 else IFLA_VXLAN_LOCAL6
    data = b"".join(
        (
            u32(IFLA_VXLAN_ID, item.vni),
            u32(IFLA_VXLAN_LINK, handle.indexes[item.device]),
            attribute(local, item.local.packed),
            u8(IFLA_VXLAN_LEARNING, 0),
            attribute(IFLA_VXLAN_PORT, struct.pack("!H", item.port)),
        )
    )
    return _link(handle, item.name, item.mac, "vxlan", data, u32(IFLA_MTU, item.mtu))


def _add_dummy(item: Dummy, handles: Handles) -> Message:
    return _link(handles[item.namespace], item.name, item.mac, "dummy", b"", flags=0)


def _remove_link(item: Link, handles: Handles) -> Message:
    handle = handles[item.namespace]
    index = handle.indexes.pop(item.name)
    if isinstance(item, Veth) and item.peer_namespace in handles:
        handles[item.peer_namespace].indexes.pop(item.peer, None)
    return Message(RTM_DELLINK, 0, _ifinfo(index), f"remove link {item.name}")


def _address(kind: int, flags: int, item: Address, handles: Handles) -> Message:
    index = handles[item.namespace].indexes[item.link]
    interface = item.address
    packed, length = interface.ip.packed, interface.network.prefixlen
    payload = struct.pack("=BBBBI", _family(interface.ip), length, 0, 0, index)
    payload += attribute(IFA_LOCAL, packed) + attribute(IFA_ADDRESS, packed)
    if interface.version == 6:
        payload += u32(IFA_FLAGS, IFA_F_NODAD)
    elif length < 31:
        payload += attribute(IFA_BROADCAST, interface.network.broadcast_address.packed)
    verb = "add" if kind == RTM_NEWADDR else "remove"
    return Message(kind, flags, payload, f"{verb} address {interface} on {item.link}")


def _route(kind: int, flags: int, item: Route, handles: Handles) -> Message:
    index = handles[item.namespace].indexes[item.link]
    net = item.destination
    scope = RT_SCOPE_UNIVERSE if item.gateway or net.version == 6 else RT_SCOPE_LINK
    if kind == RTM_DELROUTE:
        scope = RT_SCOPE_NOWHERE  # any
    payload = struct.pack(
        "=BBBBBBBBI",
        *(_family(net), net.prefixlen, 0, 0, RT_TABLE_MAIN, RTPROT_STATIC, scope, RTN_UNICAST),
        RTNH_F_ONLINK if item.onlink else 0,
    )
    if net.prefixlen:
        payload += attribute(RTA_DST, net.network_address.packed)
    payload += u32(RTA_OIF, index)
    if item.gateway:
        payload += attribute(RTA_GATEWAY, item.gateway.packed)
    if item.source:
        payload += attribute(RTA_PREFSRC, item.source.packed)
    verb = "add" if kind == RTM_NEWROUTE else "remove"
    via = f" via {item.gateway}" if item.gateway else ""
    return Message(kind, flags, payload, f"{verb} route {net}{via} on {item.link}")


def _neighbour(kind: int, flags: int, item: Neighbour | ForwardingEntry, handles: Handles) -> Message:
    index = handles[item.namespace].indexes[item.link]
    if isinstance(item, Neighbour):
        family, state, entry, address = _family(item.address), NUD_PERMANENT, 0, item.address
    else:  # NTF_SELF: into the VXLAN device's own table, not that of a bridge above it
        family, state, entry, address = AF_BRIDGE, NUD_PERMANENT | NUD_NOARP, NTF_SELF, item.destination
    payload = struct.pack("=BxxxiHBB", family, index, state, entry, 0)
    payload += attribute(NDA_DST, address.packed) + attribute(NDA_LLADDR, _mac(item.mac))
    verb = "add" if kind == RTM_NEWNEIGH else "remove"
    name = "neighbour" if isinstance(item, Neighbour) else "forwarding entry"
    return Message(kind, flags, payload, f"{verb} {name} {address} {item.mac} on {item.link}")


_CREATE = NLM_F_CREATE | NLM_F_EXCL
_APPEND = NLM_F_CREATE | NLM_F_APPEND
# A neighbour may have been learnt before it was planned, so it is replaced; it is gone again with its removal.
_REPLACE = NLM_F_CREATE | NLM_F_REPLACE

Encoder = Callable[[Any, Handles], Message]

ADD: dict[type, Encoder] = {
    Bridge: _add_bridge,
    Veth: _add_veth,
    Vxlan: _add_vxlan,
    Dummy: _add_dummy,
    Address: lambda i, h: _address(RTM_NEWADDR, _CREATE, i, h),
    Neighbour: lambda i, h: _neighbour(RTM_NEWNEIGH, _REPLACE, i, h),
    ForwardingEntry: lambda i, h: _neighbour(RTM_NEWNEIGH, _APPEND, i, h),
    Route: lambda i, h: _route(RTM_NEWROUTE, _CREATE, i, h),
}
REMOVE: dict[type, Encoder] = {
    Bridge: _remove_link,
    Veth: _remove_link,
    Vxlan: _remove_link,
    Dummy: _remove_link,
    Address: lambda i, h: _address(RTM_DELADDR, 0, i, h),
    Neighbour: lambda i, h: _neighbour(RTM_DELNEIGH, 0, i, h),
    ForwardingEntry: lambda i, h: _neighbour(RTM_DELNEIGH, 0, i, h),
    Route: lambda i, h: _route(RTM_DELROUTE, 0, i, h),
}


def add(item: Item, handles: Handles) -> Message:
    """The message that makes `item`; interface indexes come from, and are noted in, `handles`."""
    return ADD[type(item)](item, handles)


def remove(item: Item, handles: Handles) -> Message:
    """The message that undoes `add`."""
    return REMOVE[type(item)](item, handles)

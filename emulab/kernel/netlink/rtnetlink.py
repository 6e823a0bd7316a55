"""rtnetlink: links, addresses, neighbours, routes and rules (linux/rtnetlink.h, if_link.h, neighbour.h, fib_rules.h).

What is true of one kind of link alone (IFLA_INFO_DATA) stands where that kind is made, in `kernel/links/`.
"""

from __future__ import annotations

import struct

from emulab.kernel.netlink.codec import (
    ADDRESS,
    ATTRIBUTES,
    BE16,
    BE64,
    MAC,
    STRING,
    U16,
    U32,
    AttributeTable,
    Converted,
    HeadedTable,
    HeadedTables,
    Header,
)

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK = 16, 17, 18, 19
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH = 28, 29, 30
RTM_NEWRULE, RTM_DELRULE = 32, 33
RTM_GETNETCONF = 82

IFF_UP, IFF_LOWER_UP = 0x1, 0x10000
IFA_F_NODAD, IFA_F_NOPREFIXROUTE = 0x02, 0x200
RTM_F_FIB_MATCH = 0x2000
RTNH_F_ONLINK = 4
RT_TABLE_UNSPEC = 0
RTPROT_KERNEL, RTPROT_STATIC = 2, 4
RT_SCOPE_UNIVERSE, RT_SCOPE_LINK, RT_SCOPE_HOST, RT_SCOPE_NOWHERE = 0, 253, 254, 255
NUD_NOARP, NUD_PERMANENT = 0x40, 0x80
NTF_SELF = 0x02

ROUTE_TYPES = {
    "unicast": 1,
    "local": 2,
    "broadcast": 3,
    "anycast": 4,
    "multicast": 5,
    "blackhole": 6,
    "unreachable": 7,
    "prohibit": 8,
}
"""By iproute2's words (RTN_…)."""

RULE_ACTIONS = {"lookup": 1, "blackhole": 6, "unreachable": 7, "prohibit": 8}
"""By iproute2's words (FR_ACT_…)."""

NEIGHBOUR_STATES = {
    0x00: "NONE",
    0x01: "INCOMPLETE",
    0x02: "REACHABLE",
    0x04: "STALE",
    0x08: "DELAY",
    0x10: "PROBE",
    0x20: "FAILED",
    NUD_NOARP: "NOARP",
    NUD_PERMANENT: "PERMANENT",
}

_INET_CONF = AttributeTable(
    {
        "IPV4_DEVCONF_FORWARDING": (1, U32),
        "IPV4_DEVCONF_PROXY_ARP": (3, U32),
        "IPV4_DEVCONF_RP_FILTER": (8, U32),
        "IPV4_DEVCONF_ARP_NOTIFY": (22, U32),
    }
)
_INET = AttributeTable({"IFLA_INET_CONF": (1, _INET_CONF)})

LINK_INFO = AttributeTable({"IFLA_INFO_KIND": (1, STRING), "IFLA_INFO_DATA": (2, ATTRIBUTES)})

_IFINFOMSG = Header("=BxHiII", "family", "type", "index", "flags", "change")

LINK = HeadedTable(
    _IFINFOMSG,
    {
        "IFLA_ADDRESS": (1, MAC),
        "IFLA_IFNAME": (3, STRING),
        "IFLA_MTU": (4, U32),
        "IFLA_LINK": (5, U32),
        "IFLA_MASTER": (10, U32),
        "IFLA_PROTINFO": (12, ATTRIBUTES),
        "IFLA_LINKINFO": (18, LINK_INFO),
        "IFLA_AF_SPEC": (26, AttributeTable({"AF_INET": (2, _INET)})),
        "IFLA_NET_NS_FD": (28, U32),
        "IFLA_GSO_MAX_SEGS": (40, U32),
    },
)

_STATISTICS = struct.Struct("=8Q")  # struct rtnl_link_stats64, as far as it is wanted

LINK_STATISTICS = HeadedTable(
    _IFINFOMSG,
    {"IFLA_IFNAME": (3, STRING), "IFLA_STATS64": (23, Converted(bytes, _STATISTICS.unpack_from))},
)
"""A link's numbers: packets received and sent, octets of each, errors of each, packets dropped of each."""

INTERFACE_ADDRESS = HeadedTable(
    Header("=BBBBI", "family", "prefixlen", "flags", "scope", "index"),  # struct ifaddrmsg
    {
        "IFA_ADDRESS": (1, ADDRESS),
        "IFA_LOCAL": (2, ADDRESS),
        "IFA_BROADCAST": (4, ADDRESS),
        "IFA_FLAGS": (8, U32),
    },
)

NEIGHBOUR = HeadedTable(
    Header("=BxxxiHBB", "family", "ifindex", "state", "flags", "ndm_type"),  # struct ndmsg
    {"NDA_DST": (1, ADDRESS), "NDA_LLADDR": (2, MAC)},
)

NETCONF = HeadedTable(
    Header("=Bxxx", "family"),  # struct netconfmsg
    {"NETCONFA_IFINDEX": (1, U32), "NETCONFA_FORWARDING": (2, U32), "NETCONFA_RP_FILTER": (3, U32)},
)
NETCONFA_IFINDEX_ALL = 0xFFFFFFFF
"""In place of an interface: the settings below `conf/all` (-1)."""

ENCAPSULATION = AttributeTable(
    {"LWTUNNEL_IP_ID": (1, BE64), "LWTUNNEL_IP_DST": (2, ADDRESS), "LWTUNNEL_IP_FLAGS": (6, BE16)}
)

NEXT_HOP = HeadedTable(
    Header("=HBBi", "len", "flags", "hops", "oif"),  # struct rtnexthop; `hops` is the weight, from 0
    {"RTA_GATEWAY": (5, ADDRESS)},
)

ROUTE = HeadedTable(
    # struct rtmsg
    Header("=BBBBBBBBI", "family", "dst_len", "src_len", "tos", "table", "proto", "scope", "type", "flags"),
    {
        "RTA_DST": (1, ADDRESS),
        "RTA_SRC": (2, ADDRESS),
        "RTA_IIF": (3, U32),
        "RTA_OIF": (4, U32),
        "RTA_GATEWAY": (5, ADDRESS),
        "RTA_PRIORITY": (6, U32),
        "RTA_PREFSRC": (7, ADDRESS),
        "RTA_MULTIPATH": (9, HeadedTables(NEXT_HOP)),
        "RTA_TABLE": (15, U32),
        "RTA_ENCAP_TYPE": (21, U16),
        "RTA_ENCAP": (22, ENCAPSULATION),
    },
)

RULE = HeadedTable(
    # struct fib_rule_hdr
    Header("=BBBBBxxBI", "family", "dst_len", "src_len", "tos", "table", "action", "flags"),
    {
        "FRA_DST": (1, ADDRESS),
        "FRA_SRC": (2, ADDRESS),
        "FRA_IIFNAME": (3, STRING),
        "FRA_PRIORITY": (6, U32),
        "FRA_FWMARK": (10, U32),
        "FRA_TABLE": (15, U32),
        "FRA_FWMASK": (16, U32),
        "FRA_OIFNAME": (17, STRING),
    },
)

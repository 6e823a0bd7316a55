"""Connections over nfnetlink (linux/netfilter/nfnetlink_conntrack.h)."""

from __future__ import annotations

from emulab.kernel.netlink.codec import ADDRESS_TEXT, BE16, BE32, U8, AttributeTable, HeadedTable
from emulab.kernel.netlink.nftables import NFGENMSG

SUBSYSTEM = 1
IPCTNL_MSG_CT_GET, IPCTNL_MSG_CT_DELETE = SUBSYSTEM << 8 | 1, SUBSYSTEM << 8 | 2
IPCTNL_MSG_CT_GET_STATS = SUBSYSTEM << 8 | 5

TUPLE = AttributeTable(
    {
        "CTA_TUPLE_IP": (
            1,
            AttributeTable(
                {
                    "CTA_IP_V4_SRC": (1, ADDRESS_TEXT),
                    "CTA_IP_V4_DST": (2, ADDRESS_TEXT),
                    "CTA_IP_V6_SRC": (3, ADDRESS_TEXT),
                    "CTA_IP_V6_DST": (4, ADDRESS_TEXT),
                }
            ),
        ),
        "CTA_TUPLE_PROTO": (
            2,
            AttributeTable(
                {
                    "CTA_PROTO_NUM": (1, U8),
                    "CTA_PROTO_SRC_PORT": (2, BE16),
                    "CTA_PROTO_DST_PORT": (3, BE16),
                }
            ),
        ),
    }
)

CONNECTION = HeadedTable(NFGENMSG, {"CTA_TUPLE_ORIG": (1, TUPLE), "CTA_TUPLE_REPLY": (2, TUPLE)})

STATS = HeadedTable(NFGENMSG, {"CTA_STATS_GLOBAL_ENTRIES": (1, BE32)})
"""How many entries a namespace has: the kernel counts them, and needs not look for them."""

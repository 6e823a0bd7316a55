"""All of a connection that another machine needs to go on with it (linux/netfilter/nfnetlink_conntrack.h)."""

from __future__ import annotations

from emulab.kernel.netlink.codec import ADDRESS_TEXT, BE16, BE32, BYTES, U8, AttributeTable, HeadedTable
from emulab.kernel.netlink.conntrack import SUBSYSTEM, TUPLE
from emulab.kernel.netlink.nftables import NFGENMSG

IPCTNL_MSG_CT_NEW = SUBSYSTEM << 8 | 0

IPS_SEEN_REPLY, IPS_ASSURED, IPS_CONFIRMED = 0x02, 0x04, 0x08
IP_CT_TCP_FLAG_BE_LIBERAL = 0x08

_PROTOINFO = AttributeTable(
    {
        "CTA_PROTOINFO_TCP": (
            1,
            AttributeTable(
                {
                    "CTA_PROTOINFO_TCP_STATE": (1, U8),
                    "CTA_PROTOINFO_TCP_WSCALE_ORIGINAL": (2, U8),
                    "CTA_PROTOINFO_TCP_WSCALE_REPLY": (3, U8),
                    "CTA_PROTOINFO_TCP_FLAGS_ORIGINAL": (4, BYTES),
                    "CTA_PROTOINFO_TCP_FLAGS_REPLY": (5, BYTES),
                }
            ),
        ),
        "CTA_PROTOINFO_SCTP": (3, AttributeTable({"CTA_PROTOINFO_SCTP_STATE": (1, U8)})),
    }
)
_NAT = AttributeTable(
    {
        "CTA_NAT_V4_MINIP": (1, ADDRESS_TEXT),
        "CTA_NAT_V4_MAXIP": (2, ADDRESS_TEXT),
        "CTA_NAT_PROTO": (
            3,
            AttributeTable({"CTA_PROTONAT_PORT_MIN": (1, BE16), "CTA_PROTONAT_PORT_MAX": (2, BE16)}),
        ),
        "CTA_NAT_V6_MINIP": (4, ADDRESS_TEXT),
        "CTA_NAT_V6_MAXIP": (5, ADDRESS_TEXT),
    }
)

FLOW = HeadedTable(
    NFGENMSG,
    {
        "CTA_TUPLE_ORIG": (1, TUPLE),
        "CTA_TUPLE_REPLY": (2, TUPLE),
        "CTA_STATUS": (3, BE32),
        "CTA_PROTOINFO": (4, _PROTOINFO),
        "CTA_NAT_SRC": (6, _NAT),
        "CTA_TIMEOUT": (7, BE32),
        "CTA_NAT_DST": (13, _NAT),
    },
)

"""WireGuard's generic netlink (linux/wireguard.h)."""

from __future__ import annotations

from emulab.kernel.netlink.codec import BYTES, U8, U16, U32, Array, AttributeTable, HeadedTable, Header

FAMILY, VERSION = "wireguard", 1
WG_CMD_SET_DEVICE = 1
WGDEVICE_F_REPLACE_PEERS = 1
WGPEER_F_REMOVE_ME, WGPEER_F_REPLACE_ALLOWEDIPS = 1, 2

ALLOWED = AttributeTable(
    {
        "WGALLOWEDIP_A_FAMILY": (1, U16),
        "WGALLOWEDIP_A_IPADDR": (2, BYTES),
        "WGALLOWEDIP_A_CIDR_MASK": (3, U8),
    }
)
PEER = AttributeTable(
    {
        "WGPEER_A_PUBLIC_KEY": (1, BYTES),
        "WGPEER_A_FLAGS": (3, U32),
        "WGPEER_A_ENDPOINT": (4, BYTES),  # struct sockaddr_in or sockaddr_in6
        "WGPEER_A_ALLOWEDIPS": (9, Array(0, ALLOWED)),
    }
)
DEVICE = HeadedTable(
    Header("=BBxx", "cmd", "version"),
    {
        "WGDEVICE_A_IFINDEX": (1, U32),
        "WGDEVICE_A_PRIVATE_KEY": (3, BYTES),
        "WGDEVICE_A_FLAGS": (5, U32),
        "WGDEVICE_A_LISTEN_PORT": (6, U16),
        "WGDEVICE_A_PEERS": (8, Array(0, PEER)),
    },
)

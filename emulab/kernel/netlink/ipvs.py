"""Generic netlink and IPVS (linux/genetlink.h, linux/ip_vs.h)."""

from __future__ import annotations

import struct

from emulab.kernel.netlink.codec import (
    BE16,
    BYTES,
    STRING,
    U16,
    U32,
    AttributeTable,
    Converted,
    HeadedTable,
    Header,
)

GENL_ID_CTRL = 16
CTRL_CMD_GETFAMILY = 3
NEW_SERVICE, SET_SERVICE, DEL_SERVICE, GET_SERVICE, NEW_DEST, SET_DEST, DEL_DEST, GET_DEST = range(1, 9)
IP_VS_SVC_F_PERSISTENT = 0x1
IP_VS_CONN_F_MASQ, IP_VS_CONN_F_TUNNEL = 0, 2

_GENLMSGHDR = Header("=BBxx", "cmd", "version")

CONTROL = HeadedTable(_GENLMSGHDR, {"CTRL_ATTR_FAMILY_ID": (1, U16), "CTRL_ATTR_FAMILY_NAME": (2, STRING)})

FLAGS = Converted(
    # struct ip_vs_flags: flags, and a mask of those that are set
    lambda flags: struct.pack("=II", flags, 0xFFFFFFFF),
    lambda data: int(struct.unpack_from("=I", data)[0]),
)

SERVICE = AttributeTable(
    {
        "IPVS_SVC_ATTR_AF": (1, U16),
        "IPVS_SVC_ATTR_PROTOCOL": (2, U16),
        "IPVS_SVC_ATTR_ADDR": (3, BYTES),  # 16 bytes, whatever the family
        "IPVS_SVC_ATTR_PORT": (4, BE16),
        "IPVS_SVC_ATTR_FWMARK": (5, U32),
        "IPVS_SVC_ATTR_SCHED_NAME": (6, STRING),
        "IPVS_SVC_ATTR_FLAGS": (7, FLAGS),
        "IPVS_SVC_ATTR_TIMEOUT": (8, U32),
        "IPVS_SVC_ATTR_NETMASK": (9, U32),
    }
)

DEST = AttributeTable(
    {
        "IPVS_DEST_ATTR_ADDR": (1, BYTES),
        "IPVS_DEST_ATTR_PORT": (2, BE16),
        "IPVS_DEST_ATTR_FWD_METHOD": (3, U32),
        "IPVS_DEST_ATTR_WEIGHT": (4, U32),
        "IPVS_DEST_ATTR_U_THRESH": (5, U32),
        "IPVS_DEST_ATTR_L_THRESH": (6, U32),
        "IPVS_DEST_ATTR_ACTIVE_CONNS": (7, U32),
        "IPVS_DEST_ATTR_INACT_CONNS": (8, U32),
        "IPVS_DEST_ATTR_ADDR_FAMILY": (11, U16),
    }
)

IPVS = HeadedTable(_GENLMSGHDR, {"IPVS_CMD_ATTR_SERVICE": (1, SERVICE), "IPVS_CMD_ATTR_DEST": (2, DEST)})

"""Queueing disciplines, their classes and filters (linux/pkt_sched.h, pkt_cls.h)."""

from __future__ import annotations

from emulab.kernel.netlink.codec import (
    ATTRIBUTES,
    BYTES,
    STRING,
    U16,
    U32,
    U64,
    AttributeTable,
    HeadedTable,
    Header,
)

RTM_NEWQDISC, RTM_DELQDISC, RTM_GETQDISC = 36, 37, 38
RTM_NEWTCLASS = 40
RTM_NEWTFILTER = 44

ROOT = 0xFFFF_FFFF
CLSACT, CLSACT_HANDLE = 0xFFFF_FFF1, 0xFFFF_0000
AT_INGRESS, AT_EGRESS = 0xFFFF_FFF2, 0xFFFF_FFF3
ETHERNET = 1  # TC_LINKLAYER_ETHERNET: the kernel works out costs itself, without a table of ours
HTB_VERSION = 3

SIZES = AttributeTable({"TCA_STAB_BASE": (1, BYTES), "TCA_STAB_DATA": (2, BYTES)})

TC = HeadedTable(
    Header("=BxxxiIII", "family", "index", "handle", "parent", "info"),  # struct tcmsg
    {"TCA_KIND": (1, STRING), "TCA_OPTIONS": (2, ATTRIBUTES), "TCA_STAB": (8, SIZES)},
)

HTB = AttributeTable(
    {
        "TCA_HTB_PARMS": (1, BYTES),
        "TCA_HTB_INIT": (2, BYTES),
        "TCA_HTB_RATE64": (6, U64),
        "TCA_HTB_CEIL64": (7, U64),
    }
)
TBF = AttributeTable({"TCA_TBF_PARMS": (1, BYTES), "TCA_TBF_RATE64": (4, U64), "TCA_TBF_BURST": (6, U32)})
NETEM = HeadedTable(
    # struct tc_netem_qopt
    Header("=IIIIII", "latency", "limit", "loss", "gap", "duplicate", "jitter"),
    {"TCA_NETEM_LATENCY64": (10, U64), "TCA_NETEM_JITTER64": (11, U64)},
)
BPF = AttributeTable(
    {
        "TCA_BPF_OPS_LEN": (4, U16),
        "TCA_BPF_OPS": (5, BYTES),
        "TCA_BPF_FD": (6, U32),
        "TCA_BPF_NAME": (7, STRING),
        "TCA_BPF_FLAGS": (8, U32),
    }
)

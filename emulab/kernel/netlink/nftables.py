"""nfnetlink and nftables: elements of sets, tables, rules and trace events (linux/netfilter/nf_tables.h).

A message's type is subsystem << 8 | message, a `struct nfgenmsg` with the family comes first, and the numbers in
attributes are big endian (linux/netfilter/nfnetlink.h).
"""

from __future__ import annotations

from emulab.kernel.netlink.codec import (
    BE32,
    BE64,
    BYTES,
    SIGNED_BE32,
    STRING,
    Array,
    AttributeTable,
    HeadedTable,
    Header,
)

SUBSYSTEM = 10
NFT_MSG_GETTABLE = SUBSYSTEM << 8 | 1
NFT_MSG_GETRULE = SUBSYSTEM << 8 | 7
NFT_MSG_NEWSETELEM, NFT_MSG_DELSETELEM = SUBSYSTEM << 8 | 12, SUBSYSTEM << 8 | 14
NFT_MSG_TRACE = SUBSYSTEM << 8 | 17
NFNLGRP_NFTRACE = 9

FAMILIES = {"inet": 1, "ip": 2, "arp": 3, "netdev": 5, "bridge": 7, "ip6": 10}
"""Of tables, by nft's words (NFPROTO_…)."""

VERDICTS = {"drop": 0, "accept": 1, "stolen": 2, "queue": 3, "repeat": 4, "stop": 5}
CONTROL = {"continue": -1, "break": -2, "jump": -3, "goto": -4, "return": -5}
VERDICT_MASK = 0xFF  # above it: the queue's number, or the errno of a drop

TRACE_TYPES = {1: "policy", 2: "return", 3: "rule"}

NFGENMSG = Header("=BBH", "nfgen_family", "version", "res_id")

VERDICT = AttributeTable({"NFTA_VERDICT_CODE": (1, SIGNED_BE32), "NFTA_VERDICT_CHAIN": (2, STRING)})
DATA = AttributeTable({"NFTA_DATA_VALUE": (1, BYTES), "NFTA_DATA_VERDICT": (2, VERDICT)})

ELEMENTS = Array(1, AttributeTable({"NFTA_SET_ELEM_KEY": (1, DATA), "NFTA_SET_ELEM_DATA": (2, DATA)}))

SET_ELEMENTS = HeadedTable(
    NFGENMSG,
    {
        "NFTA_SET_ELEM_LIST_TABLE": (1, STRING),
        "NFTA_SET_ELEM_LIST_SET": (2, STRING),
        "NFTA_SET_ELEM_LIST_ELEMENTS": (3, ELEMENTS),
    },
)

TABLE = HeadedTable(NFGENMSG, {"NFTA_TABLE_NAME": (1, STRING)})

RULE = HeadedTable(
    NFGENMSG,
    {"NFTA_RULE_TABLE": (1, STRING), "NFTA_RULE_CHAIN": (2, STRING), "NFTA_RULE_HANDLE": (3, BE64)},
)

TRACE = HeadedTable(
    NFGENMSG,
    {
        "NFTA_TRACE_TABLE": (1, STRING),
        "NFTA_TRACE_CHAIN": (2, STRING),
        "NFTA_TRACE_RULE_HANDLE": (3, BE64),
        "NFTA_TRACE_TYPE": (4, BE32),
        "NFTA_TRACE_VERDICT": (5, VERDICT),
        "NFTA_TRACE_ID": (6, BE32),
        "NFTA_TRACE_NETWORK_HEADER": (8, BYTES),
        "NFTA_TRACE_TRANSPORT_HEADER": (9, BYTES),
        "NFTA_TRACE_IIF": (10, BE32),
        "NFTA_TRACE_OIF": (12, BE32),
        "NFTA_TRACE_POLICY": (16, BE32),
    },
)

"""Connections that the kernel tracks, told to another machine's, which goes on with them: what conntrackd does.

What is told is the attributes of ctnetlink as they came. Who takes them makes an entry with the first direction, of
which the kernel works out the translation again, and is liberal with sequence numbers that it hasn't seen.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from emulab.kernel.netlink.conntrack import CONNECTION, IPCTNL_MSG_CT_DELETE, IPCTNL_MSG_CT_GET
from emulab.kernel.netlink.flowattributes import (
    FLOW,
    IP_CT_TCP_FLAG_BE_LIBERAL,
    IPCTNL_MSG_CT_NEW,
    IPS_ASSURED,
    IPS_CONFIRMED,
    IPS_SEEN_REPLY,
)
from emulab.kernel.netlink.messages import NLM_F_CREATE, NLM_F_EXCL, Message, open_socket, received
from emulab.kernel.netlink.requests import dump, send_batch

NETLINK_NETFILTER = 12
NEW, END = b"N", b"E"
"""What a copy begins with: a connection that is there, or is over."""

_GROUPS = 0b111  # NFNLGRP_CONNTRACK_NEW, _UPDATE and _DESTROY
_ROOM = 1 << 16
_KNOWN = IPS_CONFIRMED | IPS_SEEN_REPLY | IPS_ASSURED
_LIBERAL = bytes((IP_CT_TCP_FLAG_BE_LIBERAL, IP_CT_TCP_FLAG_BE_LIBERAL))


class FlowCopies:
    """The connections of the caller's own network namespace that were made to one of these addresses."""

    def __init__(self, addresses: Iterable[str]) -> None:
        self._addresses = frozenset(addresses)
        self._sock = open_socket(NETLINK_NETFILTER)
        self.news = open_socket(NETLINK_NETFILTER)
        self.news.setblocking(False)
        self.news.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.news.bind((0, _GROUPS))

    def close(self) -> None:
        self._sock.close()
        self.news.close()

    def heard(self) -> Iterator[bytes]:
        """Copies of what is new. What there was no room for comes with the next `everything`."""
        while True:
            try:
                data = self.news.recv(_ROOM)
            except BlockingIOError:
                return
            except OSError:
                continue
            for kind, _, body, _ in received(data):
                if self._concerns(body):
                    yield (END if kind == IPCTNL_MSG_CT_DELETE else NEW) + body

    def everything(self) -> list[bytes]:
        """Copies of all that there are. Raises KernelError."""
        found = dump(self._sock, IPCTNL_MSG_CT_GET, FLOW.encode({}), "list connections")
        return [NEW + body for body in found if self._concerns(body)]

    def _concerns(self, body: bytes) -> bool:
        addresses = CONNECTION.decode(body).get("CTA_TUPLE_ORIG", {}).get("CTA_TUPLE_IP", {})
        return (addresses.get("CTA_IP_V4_DST") or addresses.get("CTA_IP_V6_DST")) in self._addresses

    def take(self, copies: Iterable[bytes]) -> int:
        """Makes what others have told of; how many the kernel refused: one that has come here by itself is there."""
        messages = []
        for copy in copies:
            with suppress(ValueError, KeyError, struct.error):  # octets that are no copy
                if self._concerns(copy[1:]):
                    messages += _messages(copy[:1], FLOW.decode(copy[1:]))
        return len(send_batch(self._sock, messages)) if messages else 0


def _messages(kind: bytes, flow: Mapping[str, Any]) -> list[Message]:
    """What makes an entry, which the kernel refuses where it is there, and what changes one: translations can't be."""
    family = {"nfgen_family": flow["nfgen_family"]}
    original, reply = flow["CTA_TUPLE_ORIG"], flow["CTA_TUPLE_REPLY"]
    if kind == END:
        return [Message(IPCTNL_MSG_CT_DELETE, 0, FLOW.encode({**family, "CTA_TUPLE_ORIG": original}))]
    state: dict[str, Any] = {
        "CTA_STATUS": flow.get("CTA_STATUS", 0) & _KNOWN | IPS_CONFIRMED,
        "CTA_TIMEOUT": max(1, flow.get("CTA_TIMEOUT", 30)),
    }
    tcp = flow.get("CTA_PROTOINFO", {}).get("CTA_PROTOINFO_TCP")
    if tcp:
        liberal = {f"CTA_PROTOINFO_TCP_FLAGS_{side}": _LIBERAL for side in ("ORIGINAL", "REPLY")}
        state["CTA_PROTOINFO"] = {"CTA_PROTOINFO_TCP": {**tcp, **liberal}}
    known = {**family, "CTA_TUPLE_ORIG": original}
    made = {**known, "CTA_TUPLE_REPLY": _inverse(original), **state, **_translations(original, reply)}
    return [
        Message(IPCTNL_MSG_CT_NEW, NLM_F_CREATE | NLM_F_EXCL, FLOW.encode(made)),
        Message(IPCTNL_MSG_CT_NEW, 0, FLOW.encode({**known, **state})),
    ]


def _ends(tuple_: Mapping[str, Any]) -> tuple[str, int, str, int]:
    addresses, ports = tuple_["CTA_TUPLE_IP"], tuple_["CTA_TUPLE_PROTO"]
    version = 6 if "CTA_IP_V6_SRC" in addresses else 4
    source, destination = (addresses[f"CTA_IP_V{version}_{side}"] for side in ("SRC", "DST"))
    return source, ports.get("CTA_PROTO_SRC_PORT", 0), destination, ports.get("CTA_PROTO_DST_PORT", 0)


def _inverse(tuple_: Mapping[str, Any]) -> dict[str, Any]:
    """The answers as they would come if nothing were translated."""
    addresses, ports = tuple_["CTA_TUPLE_IP"], tuple_["CTA_TUPLE_PROTO"]
    turned = {
        name.replace("SRC", "X").replace("DST", "SRC").replace("X", "DST"): v for name, v in addresses.items()
    }
    _, source_port, _, port = _ends(tuple_)
    return {
        "CTA_TUPLE_IP": turned,
        "CTA_TUPLE_PROTO": {
            "CTA_PROTO_NUM": ports["CTA_PROTO_NUM"],
            "CTA_PROTO_SRC_PORT": port,
            "CTA_PROTO_DST_PORT": source_port,
        },
    }


def _translations(original: Mapping[str, Any], reply: Mapping[str, Any]) -> dict[str, Any]:
    """What was translated: answers come from elsewhere than was asked, or go elsewhere than who asked."""
    source, source_port, asked, asked_port = _ends(original)
    served, served_port, back, back_port = _ends(reply)
    found = {}
    if (served, served_port) != (asked, asked_port):
        found["CTA_NAT_DST"] = _to(served, served_port)
    if (back, back_port) != (source, source_port):
        found["CTA_NAT_SRC"] = _to(back, back_port)
    return found


def _to(address: str, port: int) -> dict[str, Any]:
    version = 6 if ":" in address else 4
    ends = {f"CTA_NAT_V{version}_{side}": address for side in ("MINIP", "MAXIP")}
    return {**ends, "CTA_NAT_PROTO": {"CTA_PROTONAT_PORT_MIN": port, "CTA_PROTONAT_PORT_MAX": port}}

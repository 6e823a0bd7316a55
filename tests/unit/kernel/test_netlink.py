"""rtnetlink as bytes: encoding, and what is read out of the kernel's answers."""

from __future__ import annotations

import os
import socket
import struct
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.ndmsg import ndmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from emulab.kernel.links import messages
from emulab.kernel.netlink import codec as netlink
from emulab.kernel.netlink.codec import Failure, Message
from emulab.kernel.netns import Handle
from emulab.plan.difference import RANKS
from emulab.plan.state import Address, Bridge, ForwardingEntry, Neighbour, Route, Veth, Vxlan


@given(st.integers(0, 0x7FFF), st.binary(max_size=40))
def test_attributes_are_padded_and_tell_their_own_length(kind: int, value: bytes) -> None:
    data = netlink.attribute(kind, value)
    length, found = struct.unpack_from("=HH", data)
    assert (length, found) == (4 + len(value), kind)
    assert data[4:length] == value
    assert len(data) % 4 == 0 and len(data) - length < 4 and set(data[length:]) <= {0}


def test_small_attributes() -> None:
    assert netlink.u8(1, 255) == b"\x05\0\x01\0\xff\0\0\0"
    assert netlink.u32(3, 1 << 31) == struct.pack("=HHI", 8, 3, 1 << 31)
    assert netlink.string(4, "abc") == struct.pack("=HH", 8, 4) + b"abc\0"
    inner = netlink.u8(1, 2) + netlink.u32(2, 3)
    assert netlink.nested(5, netlink.u8(1, 2), netlink.u32(2, 3)) == (
        struct.pack("=HH", 4 + len(inner), 5 | 0x8000) + inner
    )


# Messages, as an independent decoder reads them.


def handles() -> dict[str, Handle]:
    made = {name: Handle(name, fd, None) for name, fd in (("a", 70), ("b", 71))}
    made["a"].allocate_index("br")
    made["a"].allocate_index("eth0")
    return made


def decode(kind: Any, message: Message) -> dict[str, Any]:
    header = struct.pack("=IHHII", 16 + len(message.payload), message.type, message.flags, 1, 0)
    found = kind(header + message.payload)
    found.decode()
    return _plain(found)


def _plain(found: Any) -> dict[str, Any]:
    """The fields and attributes of a decoded message, nested ones too."""
    fields = {k: v for k, v in found.items() if k not in ("attrs", "header", "value")}
    return fields | {
        name: _plain(value) if hasattr(value, "get_attr") else value for name, value in found.get("attrs", ())
    }


def test_a_bridge() -> None:
    known = handles()
    message = messages.add(Bridge("b", "wire", "02:00:00:00:00:01", 1400), known)
    found = decode(ifinfmsg, message)
    assert (found["index"], found["flags"], found["change"]) == (10, 1, 1)
    assert (found["IFLA_IFNAME"], found["IFLA_ADDRESS"], found["IFLA_MTU"]) == (
        "wire",
        "02:00:00:00:00:01",
        1400,
    )
    info = found["IFLA_LINKINFO"]
    assert info["IFLA_INFO_KIND"] == "bridge"
    data = info["IFLA_INFO_DATA"]
    assert (data["IFLA_BR_FORWARD_DELAY"], data["IFLA_BR_STP_STATE"], data["IFLA_BR_MCAST_SNOOPING"]) == (
        0,
        0,
        0,
    )
    assert known["b"].indexes == {"lo": 1, "wire": 10} and message.what == "add bridge wire"


def test_a_veth_pair() -> None:
    known = handles()
    pair = Veth("a", "p1", "02:00:00:00:00:01", "b", "eth0", "02:00:00:00:00:02", 1450, "br")
    found = decode(ifinfmsg, messages.add(pair, known))
    assert (found["index"], found["IFLA_IFNAME"], found["IFLA_MASTER"]) == (12, "p1", 10)
    peer = found["IFLA_LINKINFO"]["IFLA_INFO_DATA"]["VETH_INFO_PEER"]
    assert (peer["index"], peer["flags"], peer["IFLA_IFNAME"]) == (10, 0, "eth0")
    assert (peer["IFLA_ADDRESS"], peer["IFLA_MTU"]) == ("02:00:00:00:00:02", 1450)
    assert struct.unpack("=I", _raw(messages.add(pair, handles()).payload, 28))[0] == 71
    assert known["b"].indexes["eth0"] == 10


def _raw(payload: bytes, kind: int) -> bytes:
    """The value of the only u32 attribute of a kind, wherever it is nested."""
    at = payload.index(struct.pack("=HH", 8, kind))
    return payload[at + 4 : at + 8]


def test_a_vxlan() -> None:
    item = Vxlan("a", "vx", "02:00:00:00:00:03", 1450, 7, ip_address("10.0.0.11"), 8472, "eth0")
    data = decode(ifinfmsg, messages.add(item, handles()))["IFLA_LINKINFO"]["IFLA_INFO_DATA"]
    assert data["IFLA_VXLAN_ID"] == 7 and data["IFLA_VXLAN_LINK"] == 11
    assert data["IFLA_VXLAN_LOCAL"] == "10.0.0.11" and data["IFLA_VXLAN_LEARNING"] == 0
    assert socket.htons(data["IFLA_VXLAN_PORT"]) in (8472, socket.htons(8472))


@pytest.mark.parametrize(
    ("text", "broadcast"), [("10.0.0.11/24", "10.0.0.255"), ("10.0.0.1/31", None), ("10.1.1.1/32", None)]
)
def test_an_address(text: str, broadcast: str | None) -> None:
    message = messages.add(Address("a", "eth0", ip_interface(text)), handles())
    found = decode(ifaddrmsg, message)
    assert (found["family"], found["prefixlen"], found["index"]) == (2, int(text[-2:].strip("/")), 11)
    assert found["IFA_LOCAL"] == found["IFA_ADDRESS"] == text.split("/")[0]
    assert found.get("IFA_BROADCAST") == broadcast


def test_an_ipv6_address_is_usable_at_once() -> None:
    found = decode(ifaddrmsg, messages.add(Address("a", "eth0", ip_interface("fd00::1/64")), handles()))
    assert (found["family"], found["prefixlen"], found["IFA_FLAGS"]) == (10, 64, 2)


def route(destination: str, gateway: str = "", source: str = "", onlink: bool = False) -> Route:
    via, own = (ip_address(t) if t else None for t in (gateway, source))
    return Route("a", ip_network(destination), "eth0", via, own, onlink)


def test_routes() -> None:
    plain = decode(rtmsg, messages.add(route("10.9.0.0/16"), handles()))
    assert (plain["dst_len"], plain["RTA_DST"], plain["RTA_OIF"]) == (16, "10.9.0.0", 11)
    assert (plain["table"], plain["type"], plain["scope"], plain["flags"]) == (254, 1, 253, 0)
    default = decode(rtmsg, messages.add(route("0.0.0.0/0", "10.0.0.1", "10.0.0.11"), handles()))
    assert "RTA_DST" not in default and default["dst_len"] == 0 and default["scope"] == 0
    assert (default["RTA_GATEWAY"], default["RTA_PREFSRC"]) == ("10.0.0.1", "10.0.0.11")
    onlink = decode(rtmsg, messages.add(route("10.9.0.0/16", "172.16.0.1", onlink=True), handles()))
    assert onlink["flags"] == 4


def test_a_route_is_removed_whatever_its_scope() -> None:
    """The kernel compares scopes unless the message says RT_SCOPE_NOWHERE (255), as iproute2 does."""
    for item in (route("10.9.0.0/16"), route("10.9.0.0/16", "10.0.0.1")):
        added, removed = (decode(rtmsg, f(item, handles())) for f in (messages.add, messages.remove))
        assert removed["scope"] in (255, added["scope"]), item


def test_neighbours_and_forwarding_entries() -> None:
    near = Neighbour("a", "eth0", ip_address("10.0.0.1"), "02:00:00:00:00:09")
    found = decode(ndmsg, messages.add(near, handles()))
    assert (found["family"], found["ifindex"], found["state"], found["flags"]) == (2, 11, 0x80, 0)
    assert (found["NDA_DST"], found["NDA_LLADDR"]) == ("10.0.0.1", "02:00:00:00:00:09")
    far = ForwardingEntry("a", "eth0", "02:00:00:00:00:09", ip_address("10.0.0.12"))
    found = decode(ndmsg, messages.add(far, handles()))
    assert (found["family"], found["state"], found["flags"]) == (7, 0xC0, 2)
    assert found["NDA_LLADDR"] == "02:00:00:00:00:09" and bytes(ip_address("10.0.0.12").packed) in (
        messages.add(far, handles()).payload
    )


def test_removing_a_link_forgets_both_its_ends() -> None:
    known = handles()
    pair = Veth("a", "p1", "02:00:00:00:00:01", "b", "eth0", "02:00:00:00:00:02", 1450)
    messages.add(pair, known)
    found = decode(ifinfmsg, messages.remove(pair, known))
    assert found["index"] == 12 and known["a"].indexes.keys() == {"lo", "br", "eth0"}
    assert known["b"].indexes == {"lo": 1}
    assert known["a"].allocate_index("p1") == 13, "an index is never used again"


def test_every_kind_of_item_can_be_added_and_removed() -> None:
    assert messages.ADD.keys() == messages.REMOVE.keys() == RANKS.keys()


# Batches


class Kernel:
    """Answers batches as rtnetlink does: an error for each message at fault, an acknowledgement of the last."""

    def __init__(self, errors: dict[int, tuple[int, str]], split: bool = False) -> None:
        self.errors = errors  # by number in all batches: errno, the kernel's words
        self.batches: list[list[tuple[int, int, int]]] = []  # sequence, type, flags
        self._answers: list[bytes] = []
        self._split = split
        self._seen = 0

    def setsockopt(self, *_: int) -> None:
        return

    def send(self, data: bytes) -> None:
        offset, batch, answers = 0, [], []
        while offset < len(data):
            length, kind, flags, sequence, _ = struct.unpack_from("=IHHII", data, offset)
            batch.append((sequence, kind, flags))
            code, text = self.errors.get(self._seen, (0, ""))
            if code or flags & netlink.NLM_F_ACK:
                answers.append(self._error(data[offset : offset + 16], sequence, code, text))
            self._seen += 1
            offset += (length + 3) & ~3
        self.batches.append(batch)
        self._answers += answers if self._split else [b"".join(answers)]

    @staticmethod
    def _error(header: bytes, sequence: int, code: int, text: str) -> bytes:
        body = struct.pack("=i", -code) + header
        flags = 0
        if text:
            body += netlink.u32(2, 7) + netlink.string(1, text)
            flags = netlink.NLM_F_ACK_TLVS
        return struct.pack("=IHHII", 16 + len(body), netlink.NLMSG_ERROR, flags, sequence, 0) + body

    def recv(self, _: int) -> bytes:
        return self._answers.pop(0)


def batch(number: int) -> list[Message]:
    return [Message(20, 0x600, netlink.u32(1, i), f"message {i}") for i in range(number)]


def send(kernel: Kernel, number: int) -> list[Failure]:
    return netlink.send_batch(kernel, batch(number))  # type: ignore[arg-type]


@pytest.mark.parametrize("split", [False, True])
def test_failures_are_those_of_their_messages(split: bool) -> None:
    errors = {0: (17, ""), 3: (101, "Nexthop has invalid gateway"), 4: (22, "")}
    assert send(Kernel(errors, split), 5) == [
        Failure(0, 17, os.strerror(17)),
        Failure(3, 101, "Nexthop has invalid gateway"),
        Failure(4, 22, os.strerror(22)),
    ]


def test_a_batch_asks_for_one_acknowledgement() -> None:
    kernel = Kernel({})
    assert send(kernel, 3) == []
    assert kernel.batches == [[(1, 20, 0x601), (2, 20, 0x601), (3, 20, 0x605)]]


def test_large_batches_are_sent_in_parts() -> None:
    last = 2 * netlink.CHUNK
    kernel = Kernel({netlink.CHUNK - 1: (1, "a"), netlink.CHUNK: (2, "b"), last: (3, "c")})
    assert [(f.index, f.text) for f in send(kernel, last + 1)] == [
        (netlink.CHUNK - 1, "a"),
        (netlink.CHUNK, "b"),
        (last, "c"),
    ]
    assert [len(b) for b in kernel.batches] == [netlink.CHUNK, netlink.CHUNK, 1]


def test_nothing_is_sent_for_nothing() -> None:
    kernel = Kernel({})
    assert send(kernel, 0) == [] and kernel.batches == []

"""Netlink: attributes as tables say them, what an independent library makes of them, and the kernel's answers."""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink import ctrlmsg
from pyroute2.netlink.generic.ipvs import ipvsmsg
from pyroute2.netlink.nfnetlink import nfctsocket, nftsocket
from pyroute2.netlink.rtnl.fibmsg import fibmsg
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.ndmsg import ndmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from emulab.errors import KernelError
from emulab.kernel.links import bridge, veth, vxlan
from emulab.kernel.netlink import codec, conntrack, ipvs, nftables, rtnetlink
from emulab.kernel.netlink.codec import STRING, U8, U32, AttributeTable, HeadedTable, HeadedTables, Header
from emulab.kernel.netlink.messages import NLM_F_ACK, NLM_F_ACK_TLVS, NLMSG_ERROR, Message
from emulab.kernel.netlink.requests import (
    CHUNK,
    MessageFailure,
    Refused,
    ask_kernel,
    dump,
    send_batch,
    transact,
)

ADDRESSES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))
VALUES: dict[codec.Type, st.SearchStrategy[Any]] = {
    codec.U8: st.integers(0, 2**8 - 1),
    codec.U16: st.integers(0, 2**16 - 1),
    codec.U32: st.integers(0, 2**32 - 1),
    codec.BE16: st.integers(0, 2**16 - 1),
    codec.BE32: st.integers(0, 2**32 - 1),
    codec.BE64: st.integers(0, 2**64 - 1),
    codec.SIGNED_BE32: st.integers(-(2**31), 2**31 - 1),
    codec.BYTES: st.binary(max_size=40),
    codec.ATTRIBUTES: st.binary(max_size=10).map(lambda data: data.ljust(-(-len(data) // 4) * 4, b"\0")),
    codec.STRING: st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=20),
    codec.MAC: st.binary(min_size=6, max_size=6).map(lambda data: data.hex(":")),
    codec.ADDRESS: ADDRESSES,
    codec.ADDRESS_TEXT: st.one_of(st.ip_addresses(v=4), st.just(ip_address("fd00::7"))).map(str),
    ipvs.FLAGS: st.integers(0, 2**32 - 1),
}
SIZES = {"B": 2**8, "H": 2**16, "I": 2**32, "i": 2**31}


def values(kind: codec.Type) -> st.SearchStrategy[Any]:
    """Anything that an attribute of a type, or a message, can hold."""
    match kind:
        case AttributeTable():
            optional = {name: values(type) for name, (_, type) in kind.attributes.items()}
            return st.fixed_dictionaries({}, optional=optional)
        case HeadedTable():
            codes = kind.header.struct.format.replace("x", "").lstrip("=!")
            fields = zip(kind.header.fields, codes, strict=True)
            own = {name: st.integers(0, SIZES[code] - 1) for name, code in fields if name != "len"}
            optional = {name: values(type) for name, (_, type) in kind.table.attributes.items()}
            return st.fixed_dictionaries(own, optional=optional)
        case codec.Array():
            return st.lists(values(kind.type), max_size=3)
        case HeadedTables():
            return st.lists(values(kind.body), max_size=3)
        case _:
            return VALUES[kind]


def plain(value: Any) -> Any:
    """Without the lengths that records tell, which are told when they are encoded."""
    if isinstance(value, Mapping):
        return {name: plain(v) for name, v in value.items() if name != "len"}
    return [plain(v) for v in value] if isinstance(value, list) else value


BODIES = {
    "link": (rtnetlink.LINK, ifinfmsg),
    "address": (rtnetlink.INTERFACE_ADDRESS, ifaddrmsg),
    "neighbour": (rtnetlink.NEIGHBOUR, ndmsg),
    "route": (rtnetlink.ROUTE, rtmsg),
    "rule": (rtnetlink.RULE, fibmsg),
    "elements": (nftables.SET_ELEMENTS, nftsocket.nft_set_elem_list_msg),
    "table": (nftables.TABLE, nftsocket.nft_table_msg),
    "nft rule": (nftables.RULE, nftsocket.nft_rule_msg),
    "connection": (conntrack.CONNECTION, nfctsocket.nfct_msg),
    "control": (ipvs.CONTROL, ctrlmsg),
    "ipvs": (ipvs.IPVS, ipvsmsg),
}
"""Messages, and what pyroute2 has for them. It knows no trace events; tests/kernel has those of a kernel."""

_INFO = ifinfmsg.ifinfo
_TUPLE = nfctsocket.nfct_msg.cta_tuple
_ELEMENT = nftsocket.nft_set_elem_list_msg.set_elem
TABLES = {
    **{name: (body.table, theirs) for name, (body, theirs) in BODIES.items()},
    "link info": (rtnetlink.LINK_INFO, _INFO),
    "bridge": (bridge.DATA, _INFO.data_map["bridge"]),
    "veth": (veth.DATA, _INFO.data_map["veth"]),
    "vxlan": (vxlan.DATA, _INFO.data_map["vxlan"]),
    "next hop": (rtnetlink.NEXT_HOP.table, rtmsg),
    "tuple": (conntrack.TUPLE, _TUPLE),
    "tuple's addresses": (conntrack.TUPLE.attributes["CTA_TUPLE_IP"][1], _TUPLE.cta_ip),
    "tuple's protocol": (conntrack.TUPLE.attributes["CTA_TUPLE_PROTO"][1], _TUPLE.cta_proto),
    "element": (nftables.ELEMENTS.type, _ELEMENT),
    "element's data": (nftables.DATA, _ELEMENT.data_attributes),
    "verdict": (nftables.VERDICT, _ELEMENT.data_attributes.verdict_attributes),
    "service": (ipvs.SERVICE, ipvsmsg.service),
    "real server": (ipvs.DEST, ipvsmsg.dest),
}


def numbers(theirs: Any) -> dict[str, int]:
    """pyroute2's numbers of attributes, which are places in a tuple or said."""
    return {entry[-2]: entry[0] if len(entry) == 3 else place for place, entry in enumerate(theirs.nla_map)}


@pytest.mark.parametrize("name", TABLES)
def test_numbers_are_those_of_another_library(name: str) -> None:
    table, theirs = TABLES[name]
    known = numbers(theirs)
    assert {n: number for n, (number, _) in table.attributes.items()} == {
        n: known[n] for n in table.attributes
    }


@pytest.mark.parametrize("name", [*BODIES, "trace"])
@given(st.data())
def test_what_is_encoded_is_decoded(name: str, data: st.DataObject) -> None:
    body = nftables.TRACE if name == "trace" else BODIES[name][0]
    chosen = data.draw(values(body))
    encoded = body.encode(chosen)
    assert len(encoded) % 4 == 0 and plain(body.decode(encoded)) == chosen


def framed(body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), 0, 0, 1, 0) + body


def theirs_of(kind: Any, body: bytes) -> Any:
    found = kind(framed(body))
    found.decode()
    return found


def attributes(found: Any) -> dict[str, Any]:
    """pyroute2's attributes as a mapping."""
    if isinstance(found, list):
        return [attributes(one) for one in found]  # type: ignore[return-value]
    if not hasattr(found, "get") or "attrs" not in found:
        return found  # type: ignore[no-any-return]
    return {name: attributes(value) for name, value in found["attrs"]}


EXAMPLES: dict[str, dict[str, Any]] = {
    "address": {
        "family": 2,
        "prefixlen": 24,
        "index": 7,
        "IFA_LOCAL": ip_address("10.0.0.1"),
        "IFA_ADDRESS": ip_address("10.0.0.1"),
        "IFA_BROADCAST": ip_address("10.0.0.255"),
        "IFA_FLAGS": 2,
    },
    "neighbour": {
        "family": 10,
        "ifindex": 7,
        "state": 0x80,
        "flags": 2,
        "NDA_DST": ip_address("fd00::1"),
        "NDA_LLADDR": "02:00:00:00:00:01",
    },
    "route": {
        "family": 10,
        "dst_len": 32,
        "proto": 4,
        "type": 1,
        "RTA_DST": ip_address("fd00::"),
        "RTA_OIF": 7,
        "RTA_GATEWAY": ip_address("fd00::9"),
        "RTA_PRIORITY": 1024,
        "RTA_TABLE": 70_000,
    },
    "rule": {"family": 2, "src_len": 8, "action": 1, "FRA_SRC": ip_address("10.0.0.0"), "FRA_FWMARK": 5},
    "link": {
        "index": 7,
        "flags": 1,
        "IFLA_IFNAME": "eth0",
        "IFLA_MTU": 1450,
        "IFLA_ADDRESS": "02:00:00:00:00:01",
    },
    "nft rule": {
        "nfgen_family": 2,
        "NFTA_RULE_TABLE": "nat",
        "NFTA_RULE_CHAIN": "services",
        "NFTA_RULE_HANDLE": 2**40,
    },
    "connection": {
        "nfgen_family": 2,
        "CTA_TUPLE_ORIG": {
            "CTA_TUPLE_IP": {"CTA_IP_V4_SRC": "10.0.0.1", "CTA_IP_V4_DST": "10.0.0.2"},
            "CTA_TUPLE_PROTO": {"CTA_PROTO_NUM": 6, "CTA_PROTO_SRC_PORT": 40000, "CTA_PROTO_DST_PORT": 80},
        },
        "CTA_TUPLE_REPLY": {"CTA_TUPLE_IP": {"CTA_IP_V6_SRC": "fd00::1", "CTA_IP_V6_DST": "fd00::2"}},
    },
    "control": {"cmd": 3, "version": 1, "CTRL_ATTR_FAMILY_ID": 33, "CTRL_ATTR_FAMILY_NAME": "IPVS"},
}


def as_text(value: Any) -> Any:
    """Addresses as pyroute2 has them."""
    if isinstance(value, Mapping):
        return {name: as_text(v) for name, v in value.items()}
    return str(value) if hasattr(value, "packed") else value


@pytest.mark.parametrize("name", EXAMPLES)
def test_another_library_reads_what_is_encoded_and_is_read(name: str) -> None:
    body, kind = BODIES[name]
    example = EXAMPLES[name]
    read = theirs_of(kind, body.encode(example))
    fields = {field: read[field] for field in body.header.fields if field in example}
    assert fields | attributes(read) == as_text(example)

    written = kind()
    for field, value in fields.items():
        written[field] = value
    written["attrs"] = listed({n: v for n, v in as_text(example).items() if n not in fields})
    written.encode()
    found = body.decode(bytes(written.data[16:]))
    assert {name: found[name] for name in example} == example


def listed(values: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Attributes as pyroute2 takes them."""
    return [(n, {"attrs": listed(v)} if isinstance(v, Mapping) else v) for n, v in values.items()]


def test_elements_as_another_library_reads_them() -> None:
    keys = [bytes([10, 0, 0, n]) for n in range(3)]
    verdict = {"NFTA_VERDICT_CODE": -4, "NFTA_VERDICT_CHAIN": "services"}
    body = nftables.SET_ELEMENTS.encode(
        {
            "nfgen_family": 2,
            "NFTA_SET_ELEM_LIST_TABLE": "t",
            "NFTA_SET_ELEM_LIST_SET": "s",
            "NFTA_SET_ELEM_LIST_ELEMENTS": [
                {
                    "NFTA_SET_ELEM_KEY": {"NFTA_DATA_VALUE": key},
                    "NFTA_SET_ELEM_DATA": {"NFTA_DATA_VERDICT": verdict},
                }
                for key in keys
            ],
        }
    )
    read = theirs_of(nftsocket.nft_set_elem_list_msg, body)
    assert (read.get_attr("NFTA_SET_ELEM_LIST_TABLE"), read.get_attr("NFTA_SET_ELEM_LIST_SET")) == ("t", "s")
    elements = read.get_attr("NFTA_SET_ELEM_LIST_ELEMENTS")
    assert len(elements) == 3
    for key, element in zip(keys, elements, strict=True):
        assert bytes(element.get_nested("NFTA_SET_ELEM_KEY", "NFTA_DATA_VALUE")) == key
        chosen = attributes(element.get_nested("NFTA_SET_ELEM_DATA", "NFTA_DATA_VERDICT"))
        assert chosen["NFTA_VERDICT_CHAIN"] == "services"
        assert chosen["NFTA_VERDICT_CODE"] in (-4, "NFT_GOTO", -4 & 0xFFFFFFFF)


# Compiled tables


def test_small_attributes() -> None:
    table = AttributeTable({"A": (1, U8), "B": (3, U32), "C": (4, STRING)})
    assert table.encode({"A": 255}) == b"\x05\0\x01\0\xff\0\0\0"
    assert table.encode({"B": 1 << 31}) == struct.pack("=HHI", 8, 3, 1 << 31)
    assert table.encode({"C": "abc"}) == struct.pack("=HH", 8, 4) + b"abc\0"
    inner = table.encode({"A": 2, "B": 3})
    outer = AttributeTable({"T": (5, table)})
    assert outer.encode({"T": {"A": 2, "B": 3}}) == struct.pack("=HH", 4 + len(inner), 5 | 0x8000) + inner
    assert outer.encode({"T": inner}) == outer.encode({"T": {"A": 2, "B": 3}}), (
        "bytes stand for what is encoded"
    )
    assert outer.encode({"T": {}}) == struct.pack("=HH", 4, 5 | 0x8000) and table.encode({}) == b""


def test_none_is_left_out_and_fields_are_zero() -> None:
    body = HeadedTable(Header("=BxH", "one", "two"), {"A": (1, U8), "B": (2, U8)})
    assert body.encode({"A": None, "two": 7}) == struct.pack("=BxH", 0, 7)
    assert body.encode({"A": None, "B": 1}) == bytes(4) + b"\x05\0\x02\0\x01\0\0\0"
    assert body.decode(body.encode({"B": 1, "one": 3})) == {"one": 3, "two": 0, "B": 1}


def test_a_name_that_no_table_has() -> None:
    with pytest.raises(KeyError, match="IFLA_MUT"):
        rtnetlink.LINK.encode({"IFLA_MUT": 1500})


def test_attributes_that_no_table_has_are_passed_over() -> None:
    known = AttributeTable({"A": (1, U8)})
    more = AttributeTable({"Z": (9, U8), "A": (1, U8), "Y": (1 << 12, STRING)})
    assert known.decode(more.encode({"Z": 1, "A": 2, "Y": "text"})) == {"A": 2}


@given(st.binary(max_size=60))
def test_any_bytes_are_decoded(data: bytes) -> None:
    """What is cut off, or says no length, ends the attributes."""
    AttributeTable({"A": (1, U32), "B": (2, STRING), "C": (3, AttributeTable({"A": (1, U8)}))}).decode(data)


# What the kernel answers


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
            if code or flags & NLM_F_ACK:
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
            body += U32.encoder(2)(7) + STRING.encoder(1)(text)
            flags = NLM_F_ACK_TLVS
        return struct.pack("=IHHII", 16 + len(body), NLMSG_ERROR, flags, sequence, 0) + body

    def recv(self, _: int) -> bytes:
        return self._answers.pop(0)


def batch(number: int) -> list[Message]:
    return [Message(20, 0x600, U32.encoder(1)(i), f"message {i}") for i in range(number)]


def send(kernel: Kernel, number: int) -> list[MessageFailure]:
    return send_batch(kernel, batch(number))  # type: ignore[arg-type]


@pytest.mark.parametrize("split", [False, True])
def test_failures_are_those_of_their_messages(split: bool) -> None:
    errors = {0: (17, ""), 3: (101, "Nexthop has invalid gateway"), 4: (22, "")}
    assert send(Kernel(errors, split), 5) == [
        MessageFailure(0, 17, os.strerror(17)),
        MessageFailure(3, 101, "Nexthop has invalid gateway"),
        MessageFailure(4, 22, os.strerror(22)),
    ]


def test_a_batch_asks_for_one_acknowledgement() -> None:
    kernel = Kernel({})
    assert send(kernel, 3) == []
    assert kernel.batches == [[(1, 20, 0x601), (2, 20, 0x601), (3, 20, 0x605)]]


def test_large_batches_are_sent_in_parts() -> None:
    last = 2 * CHUNK
    kernel = Kernel({CHUNK - 1: (1, "a"), CHUNK: (2, "b"), last: (3, "c")})
    assert [(f.index, f.text) for f in send(kernel, last + 1)] == [
        (CHUNK - 1, "a"),
        (CHUNK, "b"),
        (last, "c"),
    ]
    assert [len(b) for b in kernel.batches] == [CHUNK, CHUNK, 1]


def test_nothing_is_sent_for_nothing() -> None:
    kernel = Kernel({})
    assert send(kernel, 0) == [] and kernel.batches == []


class Answers:
    """Gives these messages (type, flags, body) with the sequence number of the question, and some of another's."""

    def __init__(self, *answers: tuple[int, int, bytes], each: bool = False) -> None:
        self._answers = answers
        self._each = each
        self._left: list[bytes] = []

    def send(self, data: bytes) -> None:
        (sequence,) = struct.unpack_from("=I", data, 8)
        stale = struct.pack("=IHHII", 20, 24, 0, sequence - 1, 0) + b"old!"
        parts = [stale, *(self._message(sequence, *answer) for answer in self._answers)]
        self._left += parts if self._each else [b"".join(parts)]

    @staticmethod
    def _message(sequence: int, kind: int, flags: int, body: bytes) -> bytes:
        return struct.pack("=IHHII", 16 + len(body), kind, flags, sequence, 0) + body + bytes(-len(body) % 4)

    def recv(self, _: int) -> bytes:
        return self._left.pop(0)


DONE = (3, 2, bytes(4))
REFUSED = (NLMSG_ERROR, 0, struct.pack("=i", -2) + bytes(16))


@pytest.mark.parametrize("each", [False, True])
def test_a_dump_ends_with_its_end(each: bool) -> None:
    found = dump(Answers((24, 2, b"one."), (24, 2, b"second"), DONE, each=each), 26, b"", "list")  # type: ignore[arg-type]
    assert found == [b"one.", b"second"]


def test_a_dump_that_was_torn_is_asked_for_again() -> None:
    sock = Answers((24, 2 | 0x10, b"one."), DONE)
    assert dump(sock, 26, b"", "list") == [b"one."]  # type: ignore[arg-type]
    assert not sock._left


@pytest.mark.parametrize("end", [REFUSED, (3, 2, struct.pack("=i", -2))])
def test_a_dump_may_fail_on_the_way(end: tuple[int, int, bytes]) -> None:
    with pytest.raises(KernelError, match="list the things: ENOENT"):
        dump(Answers((24, 2, b"one."), end), 26, b"", "list the things")  # type: ignore[arg-type]


def test_a_question_has_one_answer_or_is_refused() -> None:
    assert ask_kernel(Answers((24, 2, b"body")), 26, b"") == b"body"  # type: ignore[arg-type]
    with pytest.raises(Refused) as caught:
        ask_kernel(Answers(REFUSED), 26, b"")  # type: ignore[arg-type]
    assert caught.value.errno == 2


class Netfilter:
    """Answers a transaction as nfnetlink does: these errors by message, and an acknowledgement where it is asked."""

    def __init__(self, errors: dict[int, int]) -> None:
        self.errors = errors
        self.sent: list[tuple[int, int, bytes]] = []

    def getsockopt(self, *_: int) -> int:
        return 1 << 20

    def send(self, data: bytes) -> None:
        offset, self._answer = 0, b""
        while offset < len(data):
            length, kind, flags, sequence, _ = struct.unpack_from("=IHHII", data, offset)
            code = self.errors.get(len(self.sent), 0)
            if code or flags & NLM_F_ACK:
                body = struct.pack("=i", -code) + data[offset : offset + 16]
                self._answer += struct.pack("=IHHII", 16 + len(body), NLMSG_ERROR, 0, sequence, 0) + body
            self.sent.append((kind, flags, data[offset + 16 : offset + length]))
            offset += (length + 3) & ~3

    def recv(self, *_: int) -> bytes:
        return self._answer


def test_a_transaction_has_edges_and_one_acknowledgement() -> None:
    sock = Netfilter({})
    assert transact(sock, 10, [Message(7, 0x400, b"1"), Message(8, 0, b"22222")]) == 0  # type: ignore[arg-type]
    edge = struct.pack("!BBH", 0, 0, 10)
    assert sock.sent == [(16, 1, edge), (7, 0x401, b"1"), (8, 5, b"22222"), (17, 1, edge)]


@pytest.mark.parametrize(("errors", "code"), [({2: 17}, 17), ({1: 2, 2: 17}, 2), ({0: 1}, 1)])
def test_a_transaction_is_refused_with_its_first_error(errors: dict[int, int], code: int) -> None:
    messages = [Message(7, 0, b""), Message(8, 0, b"")]
    assert transact(Netfilter(errors), 10, messages) == code  # type: ignore[arg-type]

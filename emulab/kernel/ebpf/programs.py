"""What a packet meets at a node's links: three programs of tc, made for the maps of the node.

Requests are translated where they come in, answers where they go out:

    a pod's link    in     a request of the pod becomes one to an endpoint, before anything on the node sees it
                    out    an answer to the pod becomes one of whom the pod asked
    the uplink      in     a request from outside (node ports, external addresses)
                    out    an answer to outside; and requests of the node itself
    loopback        out    requests of the node itself to addresses that it has

So all rules in between judge what they see by the endpoint's address, and connection tracking knows only that. What a
request needs masqueraded is marked, and nftables does it.

A request of the node itself is translated when it is about to leave, by when its route is chosen. So it goes back in
by the loopback with a source that nobody has (`STAND_INS`), is forwarded and masqueraded like a pod's, and its answers
are led to the uplink by a route to that source, translated, and sent in by the loopback again.

A connection stays with its endpoint for as long as its flow is known, as in Cilium: one of TCP whatever becomes of the
endpoint, one of UDP until the endpoint is taken away or a minute has passed without a datagram. A SYN on an old
connection's ports begins a new one when that was closed, or its endpoint is gone. SCTP is as UDP here, and has one
endpoint for as long as its heartbeats come. Fragments follow the first one of their packet, and have to come after it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

from emulab.kernel.bpf import Code, Instruction
from emulab.kernel.ebpf import assembly
from emulab.kernel.ebpf.assembly import Assembly
from emulab.kernel.ebpf.frames import (
    BACKEND,
    CONTEXT,
    DIRECTION,
    FLAGS,
    INPUT,
    IS_IPV6,
    KIND,
    POINTER,
    PORTS,
    SEEN,
    SERVICE,
    SPILLED,
    STACK,
    TCP_FLAGS,
    TO,
    TO_PORT,
    apply,
    apply_to_error,
    parse,
)
from emulab.kernel.ebpf.layouts import (
    ENDED,
    ENDED_BY_CLIENT,
    ENDED_BY_ENDPOINT,
    FORWARD,
    GUARDED,
    INSIDE,
    LOCAL,
    MASQUERADE,
    OF_NODE,
    OPEN,
    OUTSIDE,
    PODS,
    PROTOCOLS,
    REPLY,
    packed,
)
from emulab.plan.links.translated import STAND_INS

REQUESTS, REPLIES, OWN = "requests", "replies", "own"
"""What a program translates; the node's own requests, where it is to tell them from what it forwards."""

_FIN, _SYN, _RST, _ACK = 0x01, 0x02, 0x04, 0x10
_IDLE = 56  # of 2^30 nanoseconds: a minute, as `flows.DATAGRAMS`
_SECOND = 1_000_000_000
_PASS, _DROP = 0, 2  # TC_ACT_OK, TC_ACT_SHOT
_EXACTLY = 160  # bits of a range that is one address

Maps = Mapping[str, int]
"""Descriptors by the maps' names."""


def program(maps: Maps, *does: str, scope: int = INSIDE) -> list[Instruction]:
    """What translates REQUESTS, REPLIES or both (replies first); with OWN the node's own requests alone."""
    a = Assembly(STACK)
    parse(a, maps["fragments"])
    a.load(0, "error", 0, 8)
    a.jump("an error", Code.JUMP_IF_NOT_EQUAL, 0)
    if REPLIES in does:
        _known_reply(a, maps)
        if OWN in does:
            a.put(Code.LOAD_32, 0, CONTEXT, INPUT)
            a.jump("pass", Code.JUMP_IF_NOT_EQUAL, 0)
    if REQUESTS in does:
        _known_request(a, maps)
        _find_service(a, maps, scope)
        _choose(a, maps)
        _remember(a, maps, own=OWN in does)
    else:
        a.jump("pass")
    apply(a)
    _known_error(a, maps, REPLIES in does, REQUESTS in does and OWN not in does)
    a.label("pass")
    a.leave(_PASS)
    if REQUESTS in does:
        a.label("lost")
        a.leave(_DROP)
    return a.program()


def _note(a: Assembly, ended: int, opened: int = 0) -> None:
    """Notes in the flow that r0 points to what TCP's flags say: that this side ends it, or with RST both at once, and
    that it is more than a SYN."""
    a.put(Code.LOAD_32, 1, 0, FLAGS)
    for flag, means in ((_FIN, ended), (_RST, ENDED)):
        without = a.fresh("without")
        a.move(2, TCP_FLAGS)
        a.put(Code.AND_IMMEDIATE, 2, immediate=flag)
        a.jump(without, Code.JUMP_IF_EQUAL, 2)
        a.put(Code.OR_IMMEDIATE, 1, immediate=means)
        a.label(without)
    if opened:
        begins = a.fresh("begins")
        a.move(2, TCP_FLAGS)
        a.jump(begins, Code.JUMP_IF_ANY_BIT, 2, value=_SYN)
        a.put(Code.OR_IMMEDIATE, 1, immediate=opened)
        a.label(begins)
    a.put(Code.STORE_32, 0, 1, FLAGS)


def _known_error(a: Assembly, maps: Maps, of_requests: bool, of_answers: bool) -> None:
    """An ICMP error about a packet that was translated becomes one about the packet that its sender knows (path MTU
    discovery needs it). `flow` is that of what goes the way of the error, so it is looked up as that."""
    a.label("an error")
    if of_requests:  # about what goes to an endpoint, back to who asked
        a.store_value("flow", DIRECTION, 1, REPLY)
        a.lookup(maps["flows"], "flow", missing="about no request")
        a.jump("known error")
        a.label("about no request")
    if of_answers:  # about what comes from an endpoint, to that one
        a.store_value("flow", DIRECTION, 1, FORWARD)
        a.lookup(maps["flows"], "flow", missing="pass")
    else:
        a.jump("pass")
    if not of_requests and not of_answers:
        return  # and the kernel wants no instruction that nobody comes to
    a.label("known error")
    a.take("becomes", 0, 0, 0, 56)
    apply_to_error(a)


def _turn_round(a: Assembly, direction: int) -> None:
    """Makes `reply` the key of what goes the other way than `becomes`."""
    a.copy("reply", 0, "becomes", TO, 16)
    a.copy("reply", 16, "becomes", 0, 16)
    a.copy("reply", PORTS, "becomes", TO_PORT, 2)
    a.copy("reply", TO_PORT, "becomes", PORTS, 2)
    a.copy("reply", KIND, "flow", KIND, 1)
    a.store_value("reply", DIRECTION, 1, direction)
    a.store_value("reply", 38, 2, 0)


def _known_reply(a: Assembly, maps: Maps) -> None:
    a.store_value("flow", DIRECTION, 1, REPLY)
    a.lookup(maps["flows"], "flow", missing="no reply")
    a.take("becomes", 0, 0, 0, 56)
    a.move(POINTER, 0)
    a.call(assembly.KTIME)
    a.put(Code.STORE_64, POINTER, 0, SEEN)
    a.move(1, TCP_FLAGS)
    a.put(Code.AND_IMMEDIATE, 1, immediate=_FIN | _RST)
    a.jump("apply", Code.JUMP_IF_EQUAL, 1)
    _turn_round(a, FORWARD)
    a.lookup(maps["flows"], "reply", missing="apply")
    _note(a, ENDED_BY_ENDPOINT)
    a.jump("apply")
    a.label("no reply")


def _known_request(a: Assembly, maps: Maps) -> None:
    """Goes on with the endpoint that a flow has, unless the flow is to have a new one."""
    a.store_value("flow", DIRECTION, 1, FORWARD)
    a.lookup(maps["flows"], "flow", missing="new")
    _note(a, ENDED_BY_CLIENT, OPEN)
    a.take("becomes", 0, 0, 0, 56)
    a.move(POINTER, 0)
    a.call(assembly.KTIME)
    a.put(Code.STORE_64, POINTER, 0, SEEN)
    a.load(1, "becomes", SEEN, 8)
    a.store("becomes", SEEN, 8, 0)
    a.put(Code.SUBTRACT, 0, 1)
    a.put(Code.SHIFT_RIGHT_IMMEDIATE, 0, immediate=30)
    a.store("kept", SPILLED, 8, 0)
    a.load(0, "flow", KIND, 1)
    a.jump("datagram", Code.JUMP_IF_NOT_EQUAL, 0, value=PROTOCOLS["tcp"])
    a.move(0, TCP_FLAGS)
    a.put(Code.AND_IMMEDIATE, 0, immediate=_SYN | _ACK)
    a.jump("apply", Code.JUMP_IF_NOT_EQUAL, 0, value=_SYN)
    a.load(0, "becomes", FLAGS, 4)
    a.jump("new", Code.JUMP_IF_ANY_BIT, 0, value=ENDED)
    _backend(a, maps, missing="new")
    a.jump("remember")  # again, in case that the answers' half is forgotten
    a.label("datagram")
    a.load(0, "kept", SPILLED, 8)
    a.jump("in time", Code.JUMP_IF_LESS, 0, value=_IDLE)
    a.jump("new")
    a.label("in time")
    _backend(a, maps, missing="new")
    a.jump("apply")
    a.label("new")


def _backend(a: Assembly, maps: Maps, missing: str) -> None:
    """Makes r0 point to the endpoint whose number `becomes` has."""
    a.map(1, maps["backends"])
    a.point(2, "becomes", BACKEND)
    a.call(assembly.LOOKUP)
    a.jump(missing, Code.JUMP_IF_EQUAL, 0)


def _in_range(a: Assembly, maps: Maps, offset: int, missing: str, whose: int | None = None) -> None:
    """Goes on at a label unless an address of the flow is in the ranges of somebody: of the Service in `becomes`, if
    not told whose."""
    a.store_value("range", 0, 4, _EXACTLY)
    if whose is None:
        a.copy("range", 4, "becomes", SERVICE, 4)
    else:
        a.store_value("range", 4, 4, whose)
    a.copy("range", 8, "flow", offset, 16)
    a.lookup(maps["ranges"], "range", missing)


def _find_service(a: Assembly, maps: Maps, scope: int) -> None:
    """Makes r9 point to the Service that is asked, by address or, at the node's own ones, by node port."""
    a.copy("service", 0, "flow", TO, 16)
    a.copy("service", 16, "flow", TO_PORT, 3)  # and the protocol
    a.store_value("service", 19, 1, scope)
    a.store_value("service", 20, 4, 0)
    if scope == OUTSIDE:  # a pod may come by there, too
        _in_range(a, maps, 0, "from outside", PODS)
        a.store_value("service", 19, 1, INSIDE)
        a.label("from outside")
    a.lookup(maps["services"], "service", missing="node port")
    a.jump("found")
    a.label("node port")
    _in_range(a, maps, TO, "pass", LOCAL)
    a.store_value("service", 0, 8, 0)
    a.store_value("service", 8, 8, 0)
    a.load(0, "kept", IS_IPV6, 8)
    a.jump("any address", Code.JUMP_IF_NOT_EQUAL, 0)
    a.store_value("service", 10, 2, 0xFFFF)
    a.label("any address")
    a.lookup(maps["services"], "service", missing="pass")
    a.label("found")
    a.move(POINTER, 0)
    a.put(Code.LOAD_16, 1, POINTER, 10)
    a.store("becomes", FLAGS, 4, 1)
    a.put(Code.LOAD_32, 1, POINTER, 4)
    a.store("becomes", SERVICE, 4, 1)
    a.load(1, "becomes", FLAGS, 4)
    a.put(Code.AND_IMMEDIATE, 1, immediate=GUARDED)
    a.jump("let in", Code.JUMP_IF_EQUAL, 1)
    _in_range(a, maps, 0, "pass")  # as it is: rules drop it, and say why
    a.label("let in")


def _choose(a: Assembly, maps: Maps) -> None:
    """Picks an endpoint: that of the client, where it is to stay, or any one."""
    a.copy("client", 0, "flow", 0, 16)
    a.copy("client", 16, "becomes", SERVICE, 4)
    a.store_value("client", 20, 4, 0)
    a.put(Code.LOAD_32, 1, POINTER, 0)
    a.jump("any", Code.JUMP_IF_EQUAL, 1)
    a.lookup(maps["clients"], "client", missing="any")
    a.store("kept", SPILLED, 8, 0)
    a.call(assembly.KTIME)
    a.load(2, "kept", SPILLED, 8)
    a.put(Code.LOAD_64, 1, 2)
    a.move(3, 0)
    a.put(Code.SUBTRACT, 3, 1)
    a.put(Code.LOAD_32, 4, POINTER, 0)
    a.put(Code.MULTIPLY_IMMEDIATE, 4, immediate=_SECOND)
    a.jump("stays", Code.JUMP_IF_LESS_THAN, 3, 4)
    a.jump("any")
    a.label("stays")
    a.put(Code.LOAD_32, 1, 2, 8)
    a.store("becomes", BACKEND, 4, 1)
    a.put(Code.LOAD_32, 1, POINTER, 12)
    a.store("service", 0, 4, 1)
    a.copy("service", 4, "becomes", BACKEND, 4)
    a.store_value("service", 8, 8, 0)
    a.store_value("service", 16, 8, 0)
    a.lookup(maps["services"], "service", missing="any")  # of this frontend: others may have more endpoints
    _backend(a, maps, missing="any")
    a.jump("chosen")
    a.label("any")
    a.call(assembly.RANDOM)
    a.put(Code.LOAD_16, 1, POINTER, 8)
    a.put(Code.MODULO, 0, 1)
    a.put(Code.ADD_IMMEDIATE, 0, immediate=1)
    a.store("service", 20, 2, 0)
    a.store_value("service", 0, 8, 0)
    a.store_value("service", 8, 8, 0)
    a.store_value("service", 16, 4, 0)
    a.put(Code.LOAD_32, 1, POINTER, 12)
    a.store("service", 0, 4, 1)
    # Endpoints change just now: its sender repeats it.
    a.lookup(maps["services"], "service", missing="lost")
    a.put(Code.LOAD_32, 1, 0, 0)
    a.store("becomes", BACKEND, 4, 1)
    _backend(a, maps, missing="lost")
    a.label("chosen")
    a.take("becomes", TO, 0, 0, 16)
    a.take("becomes", TO_PORT, 0, 16, 2)
    a.call(assembly.KTIME)
    a.store("becomes", SEEN, 8, 0)
    a.put(Code.LOAD_32, 1, POINTER, 0)
    a.jump("no affinity", Code.JUMP_IF_EQUAL, 1)
    a.store("seen", 0, 8, 0)
    a.copy("seen", 8, "becomes", BACKEND, 4)
    a.store_value("seen", 12, 4, 0)
    a.update(maps["clients"], "client", "seen")
    a.label("no affinity")


def _remember(a: Assembly, maps: Maps, own: bool) -> None:
    """Writes the flow down in both directions."""
    a.label("remember")
    a.copy("becomes", 0, "flow", 0, 16)
    a.copy("becomes", PORTS, "flow", PORTS, 2)
    a.load(1, "becomes", FLAGS, 4)
    a.put(Code.AND_IMMEDIATE, 1, immediate=MASQUERADE)
    if own:
        a.put(Code.OR_IMMEDIATE, 1, immediate=MASQUERADE | OF_NODE)
        _stand_in(a)
    else:  # a pod that reaches itself would answer itself
        for word in (0, 8):
            a.load(2, "flow", word, 8)
            a.load(3, "becomes", TO + word, 8)
            a.jump("another", Code.JUMP_IF_NOT_EQUAL_TO, 2, 3)
        a.put(Code.OR_IMMEDIATE, 1, immediate=MASQUERADE)
        a.label("another")
    a.store("becomes", FLAGS, 4, 1)
    _turn_round(a, REPLY)
    a.copy("answer", 0, "flow", TO, 16)
    a.copy("answer", 16, "flow", 0, 16)
    a.copy("answer", PORTS, "flow", TO_PORT, 2)
    a.copy("answer", TO_PORT, "flow", PORTS, 2)
    a.copy("answer", BACKEND, "becomes", BACKEND, 16)
    a.store_value("answer", FLAGS, 4, OF_NODE if own else 0)
    # Its sender repeats what is lost here; half a flow would be lost for good.
    for key, value in (("reply", "answer"), ("flow", "becomes")):
        a.update(maps["flows"], key, value)
        a.jump("lost", Code.JUMP_IF_NOT_EQUAL, 0)


def _stand_in(a: Assembly) -> None:
    """Gives a request of the node the source that stands for it, leaving r1 alone."""
    a.load(2, "kept", IS_IPV6, 8)
    for version, address in STAND_INS.items():
        other = a.fresh("other family")
        a.jump(other, Code.JUMP_IF_NOT_EQUAL, 2, value=int(version == 6))
        data = packed(address)
        for at in range(0, 16, 4):
            word = int.from_bytes(data[at : at + 4], sys.byteorder, signed=True)
            a.set(3, word)
            a.store("becomes", at, 4, 3)
        a.label(other)

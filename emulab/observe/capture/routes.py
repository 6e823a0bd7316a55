"""Routes, links and neighbours as the kernel of a place has them now, over rtnetlink (rtnetlink(7)).

A way is asked for twice: as a packet would be routed, which chooses the hop and the source address, and with
RTM_F_FIB_MATCH, which answers with the entry of the table that matched.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any, NamedTuple

from emulab.errors import KernelError
from emulab.kernel.netlink import messages
from emulab.kernel.netlink.messages import AF_UNSPEC, FAMILIES, NETLINK_ROUTE
from emulab.kernel.netlink.requests import Refused, ask_kernel, dump
from emulab.kernel.netlink.rtnetlink import (
    IFF_LOWER_UP,
    IFF_UP,
    LINK,
    NEIGHBOUR,
    NEIGHBOUR_STATES,
    NETCONF,
    NETCONFA_IFINDEX_ALL,
    ROUTE,
    ROUTE_TYPES,
    RTM_F_FIB_MATCH,
    RTM_GETLINK,
    RTM_GETNEIGH,
    RTM_GETNETCONF,
    RTM_GETROUTE,
    RTNH_F_ONLINK,
)
from emulab.observe.events import LinkState, RouteAnswer

_STRICT = 1  # of rp_filter: RFC 3704, section 2.2
_TYPES = {number: word for word, number in ROUTE_TYPES.items() if word != "unicast"}  # which isn't said


class NeighbourState(NamedTuple):
    """An entry of the neighbour table (ARP, NDP). `state` is one of the kernel's NUD_ names."""

    address: str
    interface: str
    state: str
    mac: str  # "" while unknown


def open_socket() -> socket.socket:
    """A socket for questions, of the calling thread's namespace. Raises KernelError."""
    try:
        return messages.open_socket(NETLINK_ROUTE)
    except OSError as error:
        raise KernelError("open an rtnetlink socket", errno=error.errno or 0) from None


def route(
    sock: socket.socket,
    place: str,
    destination: str,
    source: str = "",
    input_index: int = 0,
    names: Mapping[int, str] | None = None,
) -> RouteAnswer:
    """The way to an address: of a packet that is sent, or of one that came in by `input_index` from `source`.

    An answer "no" is a Route with an error. `names` are the interfaces' by index, asked for when not given.
    Raises KernelError.
    """
    if input_index and not source:
        raise ValueError("an input route needs a source")
    names = interface_names(sock) if names is None else names
    question = _question(destination, source, input_index)
    stopped = _stopped(sock, ip_address(destination).version, input_index, names) if input_index else ""
    try:
        way = _ask_route(sock, question)
        try:
            entry = _ask_route(sock, question | {"flags": RTM_F_FIB_MATCH})
        except Refused:  # a change in between, or an answer that no entry of a table stands for
            entry = way
    except Refused as error:
        code = error.errno or 0
        if input_index and (back := _other_way_back(sock, source, input_index, names)) is not None:
            return RouteAnswer(place, destination, "", "", "", back, errno.EXDEV, stopped)
        return RouteAnswer(place, destination, "", "", "", os.strerror(code), code, stopped)
    except OSError as error:
        raise KernelError(f"look up the route to {destination}", place, error.errno or 0) from None
    index = way.get("RTA_OIF", 0)
    interface = names.get(index, f"if{index}")
    gateway = str(way.get("RTA_GATEWAY", ""))
    prefix = _prefix(entry, destination)
    words = _words(entry, gateway, prefix, interface)
    return RouteAnswer(place, destination, interface, gateway, prefix, " ".join(words), stopped=stopped)


def _other_way_back(sock: socket.socket, source: str, index: int, names: Mapping[int, str]) -> str | None:
    """What the kernel drops a packet for that came in by an interface with a strict reverse path filter (IPv4's): that
    the way back to its source leads over another one. None where it leads over the same, or nothing is filtered."""
    version = ip_address(source).version
    settings = (_netconf(sock, version, one) for one in (NETCONFA_IFINDEX_ALL, index))
    if version != 4 or max(found.get("NETCONFA_RP_FILTER", 0) for found in settings) != _STRICT:
        return None
    try:
        way = _ask_route(sock, _question(source, "", 0))
    except (Refused, OSError):
        return None
    other, own = (names.get(i, f"if{i}") for i in (way.get("RTA_OIF", 0), index))
    return f"{own}, and its way back leads over {other}" if other != own else None


def _stopped(sock: socket.socket, version: int, index: int, names: Mapping[int, str]) -> str:
    """The setting by which what comes in by an interface isn't sent on: of IPv6 there is one for all interfaces."""
    if not _forwards(sock, version, NETCONFA_IFINDEX_ALL):
        return "net.ipv4.ip_forward" if version == 4 else "net.ipv6.conf.all.forwarding"
    if version == 4 and not _forwards(sock, version, index):
        return f"net.ipv4.conf.{names.get(index, index)}.forwarding"
    return ""


def _forwards(sock: socket.socket, version: int, index: int) -> bool:
    return bool(_netconf(sock, version, index).get("NETCONFA_FORWARDING", 1))


def _netconf(sock: socket.socket, version: int, index: int) -> dict[str, Any]:
    """A link's settings, or those of all; none where it has gone, or the kernel hasn't that family."""
    question = NETCONF.encode({"family": FAMILIES[version], "NETCONFA_IFINDEX": index})
    try:
        return NETCONF.decode(ask_kernel(sock, RTM_GETNETCONF, question))
    except OSError:
        return {}


def _question(destination: str, source: str, input_index: int) -> dict[str, Any]:
    to, of = ip_address(destination), ip_address(source) if source else None
    return {
        "family": FAMILIES[to.version],
        "dst_len": to.max_prefixlen,
        "src_len": of.max_prefixlen if of else 0,
        "RTA_DST": to,
        "RTA_SRC": of,
        "RTA_IIF": input_index or None,
    }


def _ask_route(sock: socket.socket, question: Mapping[str, Any]) -> dict[str, Any]:
    return ROUTE.decode(ask_kernel(sock, RTM_GETROUTE, ROUTE.encode(question)))


def _prefix(entry: Mapping[str, Any], destination: str) -> str:
    length = entry["dst_len"]
    if length == 0:
        return "default"
    address = entry.get("RTA_DST") or ip_address(destination)
    return str(address) if length == address.max_prefixlen else f"{address}/{length}"


def _words(entry: Mapping[str, Any], gateway: str, prefix: str, interface: str) -> list[str]:
    """A route as iproute2 prints it, without what is the same for all of a lab's routes (table, protocol, scope)."""
    words = [_TYPES[entry["type"]]] if entry["type"] in _TYPES else []
    words.append(prefix)
    if gateway:
        words += ["via", gateway]
    words += ["dev", interface]
    if "RTA_PREFSRC" in entry:
        words += ["src", str(entry["RTA_PREFSRC"])]
    if entry["flags"] & RTNH_F_ONLINK:
        words.append("onlink")
    return words


def links(sock: socket.socket, place: str) -> list[LinkState]:
    """All interfaces, in the order of their indexes. Raises KernelError."""
    found = []
    for link in _links(sock, f"list the links of {place}"):
        is_up, has_carrier = (bool(link["flags"] & flag) for flag in (IFF_UP, IFF_LOWER_UP))
        mac = link.get("IFLA_ADDRESS", "")
        found.append(LinkState(place, link["IFLA_IFNAME"], is_up, has_carrier, link["IFLA_MTU"], mac))
    return found


def interface_names(sock: socket.socket) -> dict[int, str]:
    """The names of all interfaces by their indexes. Raises KernelError."""
    return {link["index"]: link["IFLA_IFNAME"] for link in _links(sock, "list the links")}


def _links(sock: socket.socket, what: str) -> list[dict[str, Any]]:
    return [LINK.decode(body) for body in dump(sock, RTM_GETLINK, LINK.encode({}), what)]


def neighbours(sock: socket.socket, names: Mapping[int, str] | None = None) -> list[NeighbourState]:
    """The neighbour tables of all families. Raises KernelError."""
    names = interface_names(sock) if names is None else names
    found = []
    everything = NEIGHBOUR.encode({"family": AF_UNSPEC})
    for entry in map(NEIGHBOUR.decode, dump(sock, RTM_GETNEIGH, everything, "list the neighbours")):
        index, state = entry["ifindex"], entry["state"]
        found.append(
            NeighbourState(
                str(entry["NDA_DST"]),
                names.get(index, f"if{index}"),
                NEIGHBOUR_STATES.get(state, hex(state)),
                entry.get("NDA_LLADDR", ""),
            )
        )
    return found

"""What a WireGuard device is told: its key and port, and who its peers are. What differs alone is written."""

from __future__ import annotations

import socket
import struct
from base64 import b64decode
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from emulab.errors import KernelError
from emulab.kernel import netns
from emulab.kernel.netlink import messages
from emulab.kernel.netlink.ipvs import CONTROL, CTRL_CMD_GETFAMILY, GENL_ID_CTRL
from emulab.kernel.netlink.messages import FAMILIES, NETLINK_GENERIC, Message
from emulab.kernel.netlink.requests import ask_kernel, send_batch
from emulab.kernel.netlink.wireguard import (
    DEVICE,
    FAMILY,
    VERSION,
    WG_CMD_SET_DEVICE,
    WGDEVICE_F_REPLACE_PEERS,
    WGPEER_F_REMOVE_ME,
    WGPEER_F_REPLACE_ALLOWEDIPS,
)
from emulab.kernel.netns import Handle
from emulab.plan.state import WireguardPeer, WireguardPeers

_MANY = 100  # peers of a message, of which an attribute is 64 KiB at most


def write(handle: Handle, before: WireguardPeers | None, after: WireguardPeers | None) -> None:
    """Turns what a device is told into something else; with None there is, or will be, no device.

    Raises KernelError; the device then has what it had before.
    """
    if after is None or after.link not in handle.indexes:
        return
    with netns.inside(handle.fd, _open) as sock:
        try:
            family = _family(sock)
        except OSError as error:
            raise KernelError("ask for WireGuard", handle.name, error.errno or 0) from None
        try:
            _tell(sock, family, handle, before, after)
        except KernelError:
            if before is not None and before.link in handle.indexes:
                with suppress(KernelError):
                    _tell(sock, family, handle, None, before)
            raise


def _tell(
    sock: socket.socket, family: int, handle: Handle, before: WireguardPeers | None, after: WireguardPeers
) -> None:
    if before is not None and (before.port, before.private_key) != (after.port, after.private_key):
        before = None
    told = [Message(family, 0, body) for body in _bodies(handle.indexes[after.link], before, after)]
    for failure in send_batch(sock, told):
        raise KernelError(f"tell {after.link} its peers: {failure.text}", handle.name, failure.errno)


def _bodies(index: int, before: WireguardPeers | None, after: WireguardPeers) -> Iterator[bytes]:
    own = {"cmd": WG_CMD_SET_DEVICE, "version": VERSION, "WGDEVICE_A_IFINDEX": index}
    if before is None:
        yield DEVICE.encode(
            {
                **own,
                "WGDEVICE_A_PRIVATE_KEY": b64decode(after.private_key),
                "WGDEVICE_A_LISTEN_PORT": after.port,
                "WGDEVICE_A_FLAGS": WGDEVICE_F_REPLACE_PEERS,
            }
        )
    peers = [*_changes(before, after)]
    for start in range(0, len(peers), _MANY):
        yield DEVICE.encode({**own, "WGDEVICE_A_PEERS": peers[start : start + _MANY]})


def _changes(before: WireguardPeers | None, after: WireguardPeers) -> Iterator[Mapping[str, Any]]:
    old = dict(before.to_others()) if before is not None else {}
    new = dict(after.to_others())
    for name, peer in old.items():
        if name not in new or new[name].public_key != peer.public_key:
            yield {"WGPEER_A_PUBLIC_KEY": b64decode(peer.public_key), "WGPEER_A_FLAGS": WGPEER_F_REMOVE_ME}
    for name, peer in new.items():
        if old.get(name) != peer:
            yield _peer(peer, after.port)


def _peer(peer: WireguardPeer, port: int) -> Mapping[str, Any]:
    return {
        "WGPEER_A_PUBLIC_KEY": b64decode(peer.public_key),
        "WGPEER_A_FLAGS": WGPEER_F_REPLACE_ALLOWEDIPS,
        "WGPEER_A_ENDPOINT": _endpoint(peer, port),
        "WGPEER_A_ALLOWEDIPS": [
            {
                "WGALLOWEDIP_A_FAMILY": FAMILIES[peer.network.version],
                "WGALLOWEDIP_A_IPADDR": peer.network.network_address.packed,
                "WGALLOWEDIP_A_CIDR_MASK": peer.network.prefixlen,
            }
        ],
    }


def _endpoint(peer: WireguardPeer, port: int) -> bytes:
    """Where a peer is, as struct sockaddr_in or sockaddr_in6."""
    head = struct.pack("=H", FAMILIES[peer.address.version]) + struct.pack("!H", port)
    if peer.address.version == 4:
        return head + peer.address.packed + bytes(8)
    return head + bytes(4) + peer.address.packed + bytes(4)


def _open() -> socket.socket:
    sock = messages.open_socket(NETLINK_GENERIC)
    sock.bind((0, 0))
    return sock


def _family(sock: socket.socket) -> int:
    """The number that the kernel has given WireGuard. Raises OSError."""
    question = {"cmd": CTRL_CMD_GETFAMILY, "version": 1, "CTRL_ATTR_FAMILY_NAME": FAMILY}
    answer = CONTROL.decode(ask_kernel(sock, GENL_ID_CTRL, CONTROL.encode(question)))
    return int(answer["CTRL_ATTR_FAMILY_ID"])

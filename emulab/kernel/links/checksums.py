"""Links without an offload for checksums, as the kernel is told of them: `ethtool -K LINK tx off`.

rtnetlink has no message for it, so the message of such an item changes nothing.
"""

from __future__ import annotations

import ctypes
import fcntl
import socket
import struct
from collections.abc import Iterable

from emulab.errors import KernelError
from emulab.kernel import netns
from emulab.kernel.links.encoding import Encoding, Handles, index
from emulab.kernel.netlink.messages import Message
from emulab.kernel.netlink.rtnetlink import LINK, RTM_SETLINK
from emulab.kernel.netns import Handle
from emulab.plan.links import Checksums

# linux/sockios.h, linux/ethtool.h
_SIOCETHTOOL = 0x8946
_ETHTOOL_STXCSUM = 0x17


def _nothing(item: Checksums, handles: Handles) -> Message:
    return Message(RTM_SETLINK, 0, LINK.encode({"index": index(item, handles)}))


def _finish(item: Checksums, handles: Handles) -> Iterable[tuple[Handle, Message]]:
    netns.inside(handles[item.namespace].fd, lambda: _switch_off(item))
    return ()


def _switch_off(item: Checksums) -> None:
    value = ctypes.create_string_buffer(struct.pack("=II", _ETHTOOL_STXCSUM, 0))
    request = struct.pack("16sP16x", item.link.encode(), ctypes.addressof(value))  # struct ifreq
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            fcntl.ioctl(sock, _SIOCETHTOOL, request)
        except OSError as error:
            what = f"switch off checksum offload of {item.link}"
            raise KernelError(what, item.namespace, error.errno or 0) from None


ENCODING = Encoding(_nothing, _nothing, _finish)

"""Whether Services can be translated by BPF programs here: it is tried."""

from __future__ import annotations

import errno
import os

from emulab.errors import EmulabError, KernelError
from emulab.kernel.network import KernelNetwork
from emulab.kernel.networkneeds import NetworkNeed
from emulab.plan.links import Translated
from emulab.plan.links.translated import UPLINK
from emulab.plan.state import Namespace, Network

_REMEDY = (
    "run it as root: bpf(2) asks for CAP_BPF of the machine itself, which no user namespace has; "
    "or take proxy: {mode: nftables}"
)


def _attempt() -> None:
    """Loads a node's programs and attaches some. Raises EmulabError. For a process that may make namespaces."""
    network = KernelNetwork()
    try:
        network.apply(Network({"a": Namespace("a")}, frozenset({Translated("a", "lo", UPLINK)})))
    except KernelError as error:
        if error.errno == errno.EPERM:
            raise EmulabError("who runs the lab may not load BPF programs") from None
        why = f" ({os.strerror(error.errno)})" if error.errno else ""
        raise EmulabError(f"the kernel can't: {error.operation}{why}") from None
    finally:
        network.close()


NEED = NetworkNeed("ebpf", "proxy mode ebpf", _REMEDY, _attempt)

"""dnsmasq, as `engines.names.hosting` runs it."""

from __future__ import annotations

from emulab.servers.base import Emit, Server
from emulab.servers.engines.dnsmasq.conf import CONF, FOLDER, dnsmasq_files
from emulab.servers.engines.names.hosting import NameServerMake, ProgramNameServer

DNSMASQ = NameServerMake(
    "dnsmasq",
    FOLDER,
    command=("dnsmasq", "-C", CONF),
    test=("dnsmasq", "--test", "-C", CONF),
    reload=None,  # what a signal has it read again is no part of its configuration
    files=dnsmasq_files,
    operator="it shows it to nobody, and is empty when dnsmasq begins anew",
)


def create(emit: Emit) -> Server:
    """A dnsmasq that serves nothing until it is configured."""
    return ProgramNameServer(DNSMASQ)

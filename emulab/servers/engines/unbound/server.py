"""unbound, as `engines.names.hosting` runs it."""

from __future__ import annotations

import signal

from emulab.servers.base import Emit, Server
from emulab.servers.engines.names.hosting import NameServerMake, ProgramNameServer
from emulab.servers.engines.unbound.conf import CONF, FOLDER, unbound_files
from emulab.servers.engines.unbound.control import carry_out

UNBOUND = NameServerMake(
    "unbound",
    FOLDER,
    command=("unbound", "-d", "-p", "-c", CONF),
    test=("unbound-checkconf", CONF),
    reload=signal.SIGHUP,
    files=unbound_files,
    order=carry_out,
)


def create(emit: Emit) -> Server:
    """An unbound that serves nothing until it is configured."""
    return ProgramNameServer(UNBOUND)

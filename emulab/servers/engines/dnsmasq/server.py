"""dnsmasq, as `engines.names.hosting` runs it."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from typing import Any

from emulab.errors import UserError
from emulab.servers.base import Emit, Server
from emulab.servers.engines.dnsmasq.conf import CONF, FOLDER, dnsmasq_files
from emulab.servers.engines.names.hosting import NameServerMake, ProgramNameServer


async def _carry_out(order: Mapping[str, Any], send: Callable[[int], None]) -> dict[str, Any]:
    """What dnsmasq can do with its cache: SIGHUP empties it. It counts nothing then (dnsmasq(8))."""
    if order["do"] == "flush" and not order.get("name"):
        send(signal.SIGHUP)
        return {"flushed": None}
    raise UserError(f"its cache is dnsmasq's, {_UNABLE[str(order['do'])]}")


_UNABLE = {
    "flush": "which forgets all or nothing: emulab dns flush",
    "dump": "which shows it to nobody but its log, where it logs queries; see counts of it with"
    " emulab exec PLACE -- dig +short chaos txt insertions.bind @ADDRESS",
    "poison": "and nobody else writes to it",
}
DNSMASQ = NameServerMake(
    "dnsmasq",
    FOLDER,
    command=("dnsmasq", "-C", CONF),
    test=("dnsmasq", "--test", "-C", CONF),
    reload=None,  # what a signal has it read again is no part of its configuration
    files=dnsmasq_files,
    order=_carry_out,
)


def create(emit: Emit) -> Server:
    """A dnsmasq that serves nothing until it is configured."""
    return ProgramNameServer(DNSMASQ)

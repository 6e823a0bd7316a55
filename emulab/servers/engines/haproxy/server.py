"""HAProxy, as `hosting` runs it."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence

from emulab.servers.base import Emit, Server
from emulab.servers.engines.haproxy.conf import HaproxyPlace, haproxy_files
from emulab.servers.engines.haproxy.logged import entry, told
from emulab.servers.engines.haproxy.places import CFG, FOLDER
from emulab.servers.engines.hosting import EngineSettings, Make, ProgramIngress
from emulab.servers.l7.config import L7Config
from emulab.servers.l7.shell.tls import fake_certificate

_COMMAND = ("haproxy", "-W", "-db", "-q", "-f", CFG)


def create(emit: Emit) -> Server:
    """A HAProxy that serves nothing until it is configured; what it logs is reported through `emit`."""
    return ProgramIngress(emit, HAPROXY)


def _files(wanted: L7Config, around: EngineSettings) -> Mapping[str, str]:
    descriptors = {key: sock.fileno() for key, sock in around.sockets.items()}
    place = HaproxyPlace(descriptors, around.generation, around.names, around.workers)
    return haproxy_files(wanted, place, "\n".join(fake_certificate()))


def _environment(_descriptors: Sequence[int]) -> Mapping[str, str]:
    """Its configuration names the descriptors."""
    return {}


HAPROXY = Make(
    "haproxy",
    FOLDER,
    _COMMAND,
    test=("haproxy", "-c", "-f", CFG),
    reload=signal.SIGUSR2,
    leave=signal.SIGUSR1,
    leaves_late=False,  # its master stops them before it starts others
    files=_files,
    environment=_environment,
    told=told,
    entry=entry,
)

"""nginx, as `hosting` runs it."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from emulab.servers.base import Emit, Server, socket_name
from emulab.servers.engines.backendfiles import backend_files
from emulab.servers.engines.hosting import EngineSettings, Make, ProgramIngress
from emulab.servers.engines.nginx import access
from emulab.servers.engines.nginx.conf import FOLDER, NginxPlace, nginx_conf
from emulab.servers.engines.nginx.locations import CERTIFICATES
from emulab.servers.engines.nginx.logged import entry, told
from emulab.servers.engines.running import ProgramMake
from emulab.servers.engines.shared import certificate_names
from emulab.servers.l7.config import L7Config
from emulab.servers.l7.dated import dated
from emulab.servers.l7.shell.tls import fake_certificate

CONF = f"{FOLDER}/nginx.conf"
_COMMAND = ("nginx", "-c", CONF, "-e", "stderr")
_NOBODY = 65534


def create(emit: Emit) -> Server:
    """An nginx that serves nothing until it is configured; what it logs is reported through `emit`."""
    return ProgramIngress(emit, NGINX)


def _files(wanted: L7Config, around: EngineSettings) -> Mapping[str, str]:
    place = NginxPlace(
        {key: socket_name(sock.getsockname()) for key, sock in around.sockets.items()},
        workers=around.workers,
        generation=around.generation,
        user=_worker(),
        names={name: known.full for name, known in around.names.items()},
    )
    wanted = replace(wanted, certificates=dated(wanted.certificates))
    files = {CONF: nginx_conf(wanted, place)}
    names = certificate_names(wanted.certificates)
    for name, one in zip(names, wanted.certificates, strict=True):
        if not one.certificate:
            continue  # the default one's
        files[f"{CERTIFICATES}/{name}.pem"] = one.certificate.rstrip() + "\n" + one.key
    files |= {f"{CERTIFICATES}/{name}": text for name, text in backend_files(wanted.routes).items()}
    if wanted.tls_listen:
        files[f"{CERTIFICATES}/{place.fake}.pem"] = "\n".join(fake_certificate())
    return {**files, **access.files(wanted)}


def _environment(descriptors: Sequence[int]) -> Mapping[str, str]:
    """By this variable nginx is told which sockets it has inherited (src/core/nginx.c)."""
    return {"NGINX": "".join(f"{fd};" for fd in descriptors)}


def _worker() -> str:
    """Whose the workers are: nginx' default, unless this user namespace has no such user; then there is but one."""
    try:
        lines = Path("/proc/self/uid_map").read_text().splitlines()
    except OSError:
        return "root root"
    ranges = [tuple(map(int, line.split())) for line in lines]
    known = any(start <= _NOBODY < start + count for start, _, count in ranges)
    return "nobody nogroup" if known else "root root"


NGINX = Make(
    ProgramMake(
        "nginx",
        FOLDER,
        _COMMAND,
        test=(*_COMMAND, "-t", "-q"),
        reload=signal.SIGHUP,
        leave=signal.SIGQUIT,
        leaves_late=True,
        environment=_environment,
    ),
    files=_files,
    told=told,
    entry=entry,
)

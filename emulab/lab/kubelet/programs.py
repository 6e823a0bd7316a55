"""Which programs there are for containers: those of the host, whose file system they see."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence

from emulab.cluster.programs import missing
from emulab.kernel.processes.enter import NOT_FOUND, found_in
from emulab.kinds.core.podspec import Container, PodSpec
from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.images import server_of
from emulab.kinds.standins import files_of
from emulab.lab.kubelet.needs import Need, needs
from emulab.model.objects import Object

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where containers look for programs that don't say it themselves, whoever started the lab from wherever."""


def missing_program(container: Container) -> str:
    """The program that a container asks for, or what that one is to run, where it isn't here; "" where it is.

    What only its start can tell counts as there, and so do files of the volumes that it sees.
    """
    if not container.command:
        return ""
    if not (os.path.isdir(container.working_dir) or _is_mounted(container, container.working_dir)):
        return container.working_dir
    asked = (Need(container.command[0], program=True), *needs(container.command))
    return next((need.word for need in asked if not _is_here(container, need)), "")


def _is_here(container: Container, need: Need) -> bool:
    if need.nowhere:
        return False
    if "/" in need.word and _is_mounted(container, need.word):
        return True
    if need.program:
        return has_word(container, need.word)
    return os.path.exists(os.path.join(container.working_dir, need.word))


def _is_mounted(container: Container, path: str) -> bool:
    """Whether a volume is at the path, or above it."""
    whole = os.path.normpath(os.path.join(container.working_dir, path))
    tops = (mount.path.rstrip("/") for mount in container.mounts)
    return any(whole == top or whole.startswith(f"{top}/") for top in tops)


def has_word(container: Container, program: str) -> bool:
    """Whether a container finds a program of that name."""
    if "$(" in program or program in files_of(container.image):
        return True
    path = next((str(e["value"]) for e in container.env if e["name"] == "PATH" and e.get("value")), PATH)
    if "/" in program:
        whole = os.path.join(container.working_dir, program)
        return os.path.exists(whole) and not os.path.isdir(whole)
    return found_in(path, program) is not None


def stood_in_for(pod: Object, spec: PodSpec) -> Iterator[tuple[Container, str]]:
    """The containers of a Pod whose program isn't here, and what of it isn't."""
    words = missing(pod.annotations, pod.spec, Cluster(), missing_program)
    for container in (*spec.init_containers, *spec.containers):
        word = words.get(container.name)
        if word and not container.command and not server_of(container.image):
            yield container, word


_CLIENTS = frozenset(
    (
        *("cqlsh", "etcdctl", "mariadb", "mariadb-admin", "mongo", "mongosh", "mysql", "mysqladmin"),
        *("nodetool", "pg_isready", "psql", "rabbitmq-diagnostics", "rabbitmqctl", "redis-cli"),
        "valkey-cli",
    )
)
"""Programs that ask a server of their own protocol, which no stand-in speaks; this machine may have some."""


def client_in(command: Sequence[str]) -> str:
    """The first program in a command that asks such a server, "" where there is none."""
    words = re.findall(r"[\w./-]+", " ".join(command))
    return next((word for word in words if word.rpartition("/")[2] in _CLIENTS), "")


_NOT_FOUND = re.compile(
    r"^(?:.*[:\s])?([^\s:]+): (?:(?:command )?not found|(Permission denied))$", re.MULTILINE
)
"""How shells say that they don't find one: dash `sh: 1: x: not found`, bash `bash: line 1: x: command not found`.

Where they may not look into a folder of PATH, and it is in no other, they say `Permission denied`.
"""


def missing_word(container: Container, command: Sequence[str], status: int, output: str) -> str:
    """The program that a command, a shell most likely, hasn't found; "" where that isn't why it failed."""
    if status == 0:
        return ""
    said = _NOT_FOUND.search(output)
    if said and not (said[2] and has_word(container, said[1])):
        return said[1]
    return command[-1] if status == NOT_FOUND else ""

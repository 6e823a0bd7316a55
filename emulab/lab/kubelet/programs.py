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

    What only its start can tell counts as there, and so does what lies below its mounts: nobody knows what is in them.
    """
    if not container.command:
        return ""
    asked = (Need(container.command[0], program=True), *needs(container.command))
    return next((need.word for need in asked if not _is_here(container, need)), "")


def _is_here(container: Container, need: Need) -> bool:
    if need.nowhere:
        return False
    if need.program and has_word(container, need.word):
        return True
    if need.program and "/" not in need.word:
        return any(_is_mounted(container, folder) for folder in _path(container).split(":"))
    path = os.path.join(container.working_dir, need.word)
    is_here = os.path.exists(path) and not (need.program and os.path.isdir(path))
    return is_here or _is_mounted(container, path)


def _is_mounted(container: Container, path: str) -> bool:
    below = _absolute(path)
    tops = (_absolute(mount.path) for mount in container.mounts)
    return any(below == top or below.startswith(f"{top.rstrip('/')}/") for top in tops)


def _absolute(path: str) -> str:
    return os.path.normpath(f"/{path.lstrip('/')}")


def _path(container: Container) -> str:
    return next((str(e["value"]) for e in container.env if e["name"] == "PATH" and e.get("value")), PATH)


def has_word(container: Container, program: str) -> bool:
    """Whether a container finds a program of that name."""
    if "$(" in program or program in files_of(container.image):
        return True
    if "/" in program:
        whole = os.path.join(container.working_dir, program)
        return os.path.exists(whole) and not os.path.isdir(whole)
    return found_in(_path(container), program) is not None


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

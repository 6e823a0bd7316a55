"""Which programs there are for containers: those of the host, whose file system they see."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence

from emulab.kernel.processes.enter import NOT_FOUND, found_in
from emulab.kinds.core.podspec import Container, PodSpec
from emulab.model.objects import Object

PATH = os.environ.get("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
"""Where containers look for programs that don't say it themselves."""


def has_program(container: Container) -> bool:
    """Whether there is the program that a container asks for. What only its start can tell counts as there."""
    return not container.command or has_word(container, container.command[0])


def has_word(container: Container, program: str) -> bool:
    """Whether a container finds a program of that name."""
    if "$(" in program:
        return True
    path = next((str(e["value"]) for e in container.env if e["name"] == "PATH" and e.get("value")), PATH)
    if "/" in program:
        return os.path.exists(os.path.join(container.working_dir, program))
    return found_in(path, program) is not None


def stood_in_for(pod: Object, spec: PodSpec) -> Iterator[tuple[Container, str]]:
    """The containers of a Pod whose program isn't here, and that program."""
    asked = PodSpec.of(pod.spec)  # as the manifest has it
    pairs = zip(
        (*asked.init_containers, *asked.containers), (*spec.init_containers, *spec.containers), strict=True
    )
    for given, container in pairs:
        if given.command and not container.command and not has_program(given):
            yield container, given.command[0]


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

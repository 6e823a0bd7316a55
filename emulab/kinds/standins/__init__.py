"""Images that stand-ins play: at which sockets their programs answer, and what is said there. Pure.

An image that isn't here has the stand-in that has no image's manners (`servers.echo.answers`). Of one in `PLAYED` it is
known what its program does with its arguments and variables: its stand-in listens where the program would, and nowhere
else, and answers in its words, which are those of `servers.echo.images`. A module an image, and one line here.

What such a program is run for beside that, for which no stand-in can answer, is a program in the container
(`images.OWN_PROGRAMS`, `lab.kubelet.imagefiles`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from emulab.kinds.core.podspec import ECHO, PROGRAM, Container
from emulab.kinds.images import OWN_PROGRAMS, entry_of
from emulab.kinds.standins import agnhost, echo_basic, http_echo, nginx, whoami
from emulab.kinds.standins.asked import ImageArguments, Sockets, asked_of, pod_fields

PLAYED: Mapping[str, Callable[[ImageArguments], Sockets | None]] = {
    "agnhost": agnhost.sockets,
    "echo-basic": echo_basic.sockets,
    "http-echo": http_echo.sockets,
    "liveness": agnhost.liveness,  # what documents of Kubernetes called `agnhost liveness` before
    "nginx": nginx.sockets,
    "nginx-unprivileged": nginx.unprivileged,
    "whoami": whoami.sockets,
}
"""By the end of the repository's name. None is said where it isn't known what the program does."""


def sockets_of(container: Container, pod: Mapping[str, Any]) -> Sockets | None:
    """Where a container's stand-in listens because of its image; None where the image says nothing of that.

    `pod` is the Pod, or a template of Pods.
    """
    play = entry_of(container.image, PLAYED)
    annotations = (pod.get("metadata") or {}).get("annotations") or {}
    if play is None or annotations.get(PROGRAM) == ECHO:
        return None
    return play(asked_of(container, pod_fields(pod)))


def unread(container: Container) -> int | None:
    """Which of a container's mounts has the configuration of a program of which it is known what it does without one:
    what answers in its place doesn't read it."""
    if entry_of(container.image, PLAYED) not in (nginx.sockets, nginx.unprivileged):
        return None
    mounts = enumerate(container.mounts)
    return next((index for index, mount in mounts if nginx.is_configuration(mount.path)), None)


def is_played(container: Container) -> bool:
    """Whether a container's command is what its stand-in does: then nobody looks for such a program."""
    return entry_of(container.image, PLAYED) is agnhost.sockets and agnhost.serves(container.words)


def files_of(image: str) -> tuple[str, ...]:
    """The paths of the programs that a container of an image has beside those of the host."""
    own = entry_of(image, OWN_PROGRAMS)
    return own.paths if own is not None else ()

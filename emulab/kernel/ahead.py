"""Namespaces made ahead: by a process beside, while whoever is going to use them still plans.

The kernel takes a third of a millisecond for each. A thread would make them no sooner: it waits for the planner after
each system call (Python's global lock).
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Sequence

from emulab.errors import KernelError
from emulab.kernel import netns
from emulab.kernel.netns import Handle
from emulab.plan.state import Namespace

LOT = 100  # namespaces of a message: two descriptors each, and 253 go into one (SCM_MAX_FD)


def told(namespaces: Sequence[Namespace]) -> bytes:
    """What the process is told."""
    return json.dumps([(namespace.name, namespace.sysctls) for namespace in namespaces]).encode()


def serve(control: socket.socket) -> None:
    """Makes the namespaces of a memory file that comes over a control socket, and sends each one's descriptors.

    Ends at the first that can't be made: who makes it then tells why. Blocks.
    """
    _, (file, *_), _, _ = socket.recv_fds(control, 1, 1)
    with open(file, "rb") as listed:
        listed.seek(0)
        wanted = [Namespace(name, tuple(map(tuple, sysctls))) for name, sysctls in json.load(listed)]
    for begin in range(0, len(wanted), LOT):
        try:
            made = netns.create(wanted[begin : begin + LOT])
        except (KernelError, OSError):
            return
        by_link = [handle.forward_by_link for handle in made]
        held = [fd for handle in made if handle.rtnl for fd in (handle.fd, handle.rtnl.fileno())]
        try:
            socket.send_fds(control, [json.dumps(by_link).encode()], held)
        except OSError:  # nobody wants them any more, or too many descriptors are on their way (ETOOMANYREFS)
            return
        finally:
            for handle in made:
                handle.close()


def receive(control: socket.socket, expected: Sequence[Namespace]) -> list[Handle]:
    """The next of the expected namespaces, in order, that have come; none: there are no more. Raises OSError."""
    said, held, _, _ = socket.recv_fds(control, 1 << 12, 2 * LOT)
    by_link = json.loads(said) if said else []
    if len(held) != 2 * len(by_link):  # there was no room for all of them (EMFILE)
        for fd in held:
            os.close(fd)
        return []
    made = []
    for number, (namespace, linked) in enumerate(zip(expected, by_link, strict=False)):
        fd, rtnl = map(netns.lift, held[2 * number : 2 * number + 2])
        handle = Handle(namespace.name, fd, socket.socket(fileno=rtnl))
        handle.forward_by_link = linked
        made.append(handle)
    return made

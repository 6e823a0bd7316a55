"""Programs in a running lab, started by the lab with descriptors of who asks (`captured` takes what they write).

The asker's part is small, so that it is quick: it sends what the program is and three descriptors, and waits for its
exit status. The lab ends the program when the connection ends, however that comes.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType

from emulab.errors import EmulabError
from emulab.lab.client.client import LabClient

TYPE_CHECKING = False  # not from typing, which takes long to load
if TYPE_CHECKING:
    from typing import Any

_PASSED = (
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
)


def run(client: LabClient, target: str, namespace: str, container: str, argv: Sequence[str]) -> int:
    """Runs a program with this process's stdin, stdout and stderr, and returns its exit status.

    Signals that this process gets are passed on, but for those that it ignores (nohup(1)). Blocks. Raises EmulabError.
    """
    with passed_signals(client) as pass_on:
        client.send(request(target, namespace, container, argv))
        client.answer()
        client.send(START, (0, 1, 2))
        pass_on()
        (outcome, _) = client.answer()
    if why := outcome.get("failure"):
        os.write(2, complaint(why))
    status: int = outcome["status"]
    return status


START = {"op": "start"}
"""The line that `exec` waits for, which goes with stdin, stdout and stderr."""


def request(target: str, namespace: str, container: str, argv: Sequence[str]) -> dict[str, Any]:
    """The operation `exec`: see `wire`."""
    return {
        "op": "exec",
        "target": target,
        "namespace": namespace,
        "container": container,
        "argv": list(argv),
        "environment": dict(os.environ),
        "directory": os.getcwd(),
    }


def complaint(why: str) -> bytes:
    """What stderr has of a program that couldn't be started."""
    return f"emulab: {why}\n".encode(errors="replace")


@contextmanager
def passed_signals(client: LabClient) -> Iterator[Callable[[], None]]:
    """Passes signals on. They wait until the caller calls what it is given: there is something to pass them to then."""

    def pass_on(number: int, _: FrameType | None) -> None:
        with suppress(EmulabError):  # the lab has ended, which `answer` says
            client.send({"signal": number})

    def pass_them() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _PASSED)

    signal.pthread_sigmask(signal.SIG_BLOCK, _PASSED)
    before = {number: signal.getsignal(number) for number in _PASSED}
    try:
        for number, handler in before.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, pass_on)
        yield pass_them
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _PASSED)

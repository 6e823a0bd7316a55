"""A lab from nothing to Ready, which `up` and `run` share."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from emulab.cli import ending, manifests
from emulab.cli.output.progress import progress
from emulab.errors import EmulabError, UserError
from emulab.lab.client.client import LabClient
from emulab.lab.client.launch import start_lab
from emulab.lab.folders import rundir
from emulab.model.sources import Source

DEFAULT_TIMEOUT = 60.0
STARTING = 5.0  # seconds that a supervisor has until it can be talked to


class Leashed:
    """A lab that ends with whoever started it, until it is released."""

    def __init__(self, client: LabClient) -> None:
        self.client = client
        self.released = False

    def release(self) -> None:
        self.client.request("release")
        self.released = True


@contextmanager
def leashed(name: str) -> Iterator[Leashed]:
    """A fresh, empty lab that ends with this block or with this process. Raises EmulabError."""
    path = rundir.folder(name).absolute()  # found now: in a lab's user namespace we would look elsewhere
    with progress(f"starting lab {name}"), _later() as interrupted:
        client, leash = start_lab(name, leashed=True)
    lab = Leashed(client)
    try:
        if interrupted:
            raise KeyboardInterrupt
        yield lab
    finally:
        client.close()
        if not lab.released:
            with suppress(EmulabError):
                ending.end(path)
        os.close(leash)


@contextmanager
def _later() -> Iterator[list[int]]:
    """Ctrl-C is noted but not heard: who starts a lab must get hold of its leash. A second one is heard."""
    noted: list[int] = []

    def note(number: int, _: object) -> None:
        if noted:
            raise KeyboardInterrupt
        noted.append(number)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield noted
    finally:
        signal.signal(signal.SIGINT, before)


def attach_to_lab(name: str) -> LabClient | None:
    """A connection to the lab if it is up; one that is being started right now is waited for."""
    path = rundir.folder(name)
    deadline = time.monotonic() + STARTING
    while rundir.is_alive(path):
        try:
            return LabClient(path)
        except UserError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
    return None


def fill(
    client: LabClient,
    name: str,
    sources: Sequence[Source],
    timeout: float,
    wait: bool = True,
    **how: Any,
) -> dict[str, Any]:
    """Applies sources, prints what is to be said of them, and, if `wait`, awaits that everything is Ready; what `apply`
    said, which takes `how`.

    Raises NotReady when that takes longer than `timeout`, and EmulabError when nothing comes of it.
    """
    with progress(f"lab {name}") as tell:
        outcome: dict[str, Any] = client.request(
            "apply", tell, sources=manifests.pairs(sources), names=True, **how
        )
    manifests.warn(outcome["warnings"], outcome["notes"])  # now, as it may say why what follows takes so long
    if wait:
        with progress(f"lab {name}") as tell:
            client.request("ready", tell, timeout=timeout)
    return outcome

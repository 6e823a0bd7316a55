"""Folders of servers that have files for programs beside them: a control socket, say (`servers.base.Housed`)."""

from __future__ import annotations

import os
from pathlib import Path

from emulab.lab.folders.disk import writing
from emulab.model.shortened import NAME_MAX, shortened


def house_of(lab: Path, server: str) -> Path:
    """A server's folder in that of its lab."""
    return lab / "houses" / shortened(server.replace("/", "."), NAME_MAX)


def made_house(lab: Path, server: str) -> Path:
    """A server's folder, which is made where it isn't there. Raises KernelError."""
    folder = house_of(lab, server)
    with writing(folder):
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    return folder


def opened_house(lab: Path, server: str) -> int:
    """A descriptor of a server's folder, which is made where it isn't there. Raises KernelError."""
    folder = made_house(lab, server)
    with writing(folder):
        return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

"""Where programs of this machine are: in PATH, and where Debian has daemons, which isn't in everybody's PATH."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping

_SBIN = ("/usr/sbin", "/sbin")


def installed(name: str) -> str | None:
    """The path of a program, None where it isn't installed."""
    return shutil.which(name, path=_places(os.environ))


def finding_all(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment in which those programs are found, by whatever is started in it, too."""
    return {**environment, "PATH": _places(environment)}


def _places(environment: Mapping[str, str]) -> str:
    return os.pathsep.join((environment.get("PATH", os.defpath), *_SBIN))

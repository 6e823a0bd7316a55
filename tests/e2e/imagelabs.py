"""Labs of the command line whose containers run images: what tests of them do again and again."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from imagearchives import Image, archive, oci


def emulab(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "emulab", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def loaded(folder: Path, name: str, image: Image) -> None:
    """Has an image loaded under a name."""
    source = folder / f"{image.id[7:]}.tar"
    source.write_bytes(archive(oci({name: image})))
    done = emulab("image", "load", str(source))
    assert done.returncode == 0, done.stderr


def container(pod: str) -> dict[str, Any]:
    """The status of a pod's first container, and the pod's phase."""
    found = json.loads(emulab("get", "pod", pod, "-o", "json").stdout)
    return {"phase": found["status"]["phase"], **found["status"]["containerStatuses"][0]}


def eventually(pod: str, check: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The status of a pod's first container once it is like that."""
    end = time.monotonic() + 60
    while not check(status := container(pod)):
        assert time.monotonic() < end, status
        time.sleep(0.1)
    return status

"""What a container says of its own end, in a file that is there for that: `terminationMessagePath`.

pkg/kubelet/kuberuntime/kuberuntime_container.go. Where it says nothing, its last words do, which the kubelet takes with
the policy FallbackToLogsOnError alone.
"""

from __future__ import annotations

import os
from pathlib import Path

from emulab.kernel.containers.root import Bind

_MOST = 4096  # octets (`MaxContainerTerminationMessageLength`)


def fresh(file: Path, target: str) -> Bind:
    """An empty file, which a container sees at that path. Blocks. Raises OSError."""
    file.unlink(missing_ok=True)
    os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
    file.chmod(0o666)  # whoever the container runs as
    return Bind(str(file), target)


def read(file: Path | None) -> str:
    """What the container has written there. Blocks."""
    if file is None:
        return ""
    try:
        with open(file, "rb") as said:
            return said.read(_MOST).decode(errors="replace")
    except OSError:
        return ""

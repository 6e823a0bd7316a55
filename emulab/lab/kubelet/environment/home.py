"""The home of a container's user, which a runtime tells it as HOME (containerd, `WithUserID`)."""

from __future__ import annotations

import pwd
from collections.abc import Mapping
from typing import Any

from emulab.kinds.core.resources import containers
from emulab.model.objects import Object


def user_of(pod: Object, container: str) -> int:
    """`runAsUser` of the container, of its Pod, or root."""
    own: Mapping[str, Any] = next((c for c in containers(pod) if c["name"] == container), {})
    for given in (own, pod.spec):
        asked = (given.get("securityContext") or {}).get("runAsUser")
        if asked is not None:
            return int(asked)
    return 0


def home_of(uid: int) -> str:
    """What /etc/passwd says, `/` of a user who isn't in it."""
    if uid == 0:
        return "/root"  # also where the host's root has another one, of which a container sees nothing
    try:
        return pwd.getpwuid(uid).pw_dir or "/"
    except (KeyError, OverflowError):
        return "/"

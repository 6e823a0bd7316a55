"""Names under /run/netns: a namespace is an ordinary named one for `ip netns` and `nsenter`.

A name is a symbolic link to `/proc/PID/fd/N` of the supervisor that holds the namespace, so it costs no mount and
means nothing once the supervisor is gone. Beside it, `/etc/netns/NAME` (which `ip netns exec` binds over
/etc) is a link to a folder of the lab. Only links that point to where ours point are ever removed.
"""

from __future__ import annotations

import os
from pathlib import Path

NETNS = Path("/run/netns")
ETC_NETNS = Path("/etc/netns")


def publish(name: str, pid: int, fd: int, etc: Path | None) -> None:
    """Makes the name for descriptor `fd` of process `pid`; `etc` holds its files for /etc."""
    _link(NETNS / name, f"/proc/{pid}/fd/{fd}")
    if etc is not None:
        _link(ETC_NETNS / name, str(etc))


def _link(path: Path, target: str) -> None:
    try:
        os.symlink(target, path)
    except FileNotFoundError:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        os.symlink(target, path)
    except FileExistsError:
        if path.is_symlink() and not path.exists():  # of a lab that is gone
            path.unlink()
            os.symlink(target, path)


def retract(name: str, pid: int, folder: Path) -> None:
    """Removes a name, if it is one of process `pid`'s, and its files for /etc, if they are in the lab's folder."""
    _unlink_if(NETNS / name, f"/proc/{pid}/fd/")
    _unlink_if(ETC_NETNS / name, f"{folder}/")


def sweep(lab: str, pid: int, folder: Path) -> None:
    """Removes every name that points into process `pid` and begins with the lab's, and its files for /etc."""
    for directory, prefix in ((NETNS, f"/proc/{pid}/fd/"), (ETC_NETNS, f"{folder}/")):
        if directory.is_dir():
            for entry in os.scandir(directory):
                if entry.name.startswith(f"{lab}.") and entry.is_symlink():
                    _unlink_if(Path(entry.path), prefix)


def _unlink_if(path: Path, prefix: str) -> None:
    try:
        if os.readlink(path).startswith(prefix):
            path.unlink()
    except OSError:
        return  # gone already, or no link of ours

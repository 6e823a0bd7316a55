"""What a container sees as its file system. Values alone; `build` makes it.

A container without an image sees the host's own folders, copy-on-write: an overlay for each top-level folder, whose
upper layer lies in a tmpfs of the container's. One with an image sees the image's layers in their place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from emulab.dataclass import dataclass, field

MAPPED_USERS = 1 << 16
"""How many users a pod has of its own, as the kubelet gives each (KEP-127)."""


@dataclass(frozen=True, slots=True)
class Bind:
    """A file or folder of the lab's, or of the host's, that a container sees at a path of its own.

    Links in `target` are followed inside the container's root, and what is missing of it is made. `sub_path` lies below
    `source`, and no link in it leads out of that; it is made as a folder where it is missing. Without a `source` it is
    a folder of the container's own, with what its root has at `target`, that can be written to though the root can't.
    """

    source: str
    target: str
    read_only: bool = False
    sub_path: str = ""


@dataclass(frozen=True, slots=True)
class Root:
    """A container's root.

    `stage` is an empty folder of the lab's on which it is built, in a mount namespace of the container's own.
    `layers` are an image's unpacked layers, the top one first; without any the host's folders are what lies below, but
    for those `hidden`. `size` bounds what the container writes, as tmpfs takes it (`256m`, `25%`). `shared_memory` is
    the folder that all containers of the pod see as /dev/shm. `unmasked`: all of /proc is seen (`procMount`). `sysctls`
    are the kernel's settings of the namespaces that the container is in; with `network_settings` its programs may
    change those of its network. A `bare` root has nothing in it at all. `first_user` is the number that root of
    the container's own user namespace has on the host, 0 without such.
    """

    stage: str
    layers: Sequence[str] = ()
    hidden: Sequence[str] = ()
    skeleton: str = ""
    binds: Sequence[Bind] = ()
    read_only: bool = False
    size: str = "25%"
    shared_memory: str = ""
    unmasked: bool = False
    bare: bool = False
    first_user: int = 0
    sysctls: Mapping[str, str] = field(default_factory=dict)
    network_settings: bool = False

    @staticmethod
    def of(described: Mapping[str, Any]) -> Root:
        """A root as `dataclasses.asdict` has it."""
        binds = tuple(Bind(**bind) for bind in described.get("binds", ()))
        return Root(**{**described, "binds": binds})

"""What a kind of volume is asked, and what it says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from emulab.dataclass import dataclass
from emulab.errors import UserError
from emulab.kinds.core.podspec import PodSpec
from emulab.kinds.core.volumespec import Volume
from emulab.kinds.emulab.clusterview import Cluster
from emulab.lab.kubelet.volumes.files import WrittenFiles
from emulab.model.collection import Objects
from emulab.model.objects import Object


class NotMounted(UserError):
    """A volume isn't to be had, yet or at all: its Pod waits for it (FailedMount). In the kubelet's words."""


class NotProcessed(NotMounted):
    """What is behind the volume isn't to be found, so that nobody has tried to mount it."""


class MadeByNobody(NotMounted):
    """In a cluster somebody would make what isn't there, who doesn't here: only a program is held up."""


class NotInLabs(NotMounted):
    """A lab has no such volume: only a program would notice, which can't be started."""


@dataclass(frozen=True, slots=True)
class AskedVolume:
    """A volume of a Pod, and what there is: values alone, so that it can be made beside the loop.

    `folder` is the volume's alone; in `claims` is a folder for each PersistentVolume that is one.
    """

    volume: Volume
    pod: Object
    spec: PodSpec
    objects: Objects
    cluster: Cluster
    folder: Path
    claims: Path
    allocatable: Mapping[str, Any]
    own_folders: tuple[str, ...] = ()  # where emulab keeps what is no Pod's business

    @property
    def settings(self) -> Mapping[str, Any]:
        return self.volume.settings


class VolumeSource(NamedTuple):
    """Where a volume is. In `sub_path` may be links, which are followed below `path` alone."""

    path: str
    sub_path: str = ""
    read_only: bool = False
    owned: bool = True
    """Whether it gets the Pod's `fsGroup`."""


def nothing(_asked: AskedVolume, _source: VolumeSource) -> None:
    return


class VolumeKind(NamedTuple):
    """`source` says where a volume is, or raises NotMounted; it is pure. `make` makes it, if it isn't there; it blocks,
    and raises NotMounted, KernelError or OSError. `files` are those that the kubelet writes into it."""

    source: Callable[[AskedVolume], VolumeSource]
    make: Callable[[AskedVolume, VolumeSource], None] = nothing
    files: Callable[[AskedVolume], WrittenFiles] | None = None

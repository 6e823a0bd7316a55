"""What everything that runs in a lab shares."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from emulab.cluster.events import Recorder
from emulab.cluster.store import Store
from emulab.dataclass import dataclass, field
from emulab.kernel.netns import Handle
from emulab.lab.folders.disk import writing
from emulab.lab.hosts.logs import Logs
from emulab.lab.hosts.processes import Processes
from emulab.lab.hosts.serverhosts import ServerHosts
from emulab.lab.images.held import Images
from emulab.lab.kubelet.harmed import UNHARMED, Harmed
from emulab.model.shortened import NAME_MAX, shortened
from emulab.plan.state import Place, World

if TYPE_CHECKING:
    from emulab.lab.kubelet.runtime.interface import ContainerRuntime


@dataclass(slots=True)
class Surroundings:
    """`world` and `handles` are always those of the last application, which the reconciler alone writes. `changed` asks
    for a new one."""

    lab: str
    folder: Path
    store: Store
    processes: Processes
    logs: Logs
    servers: ServerHosts
    handles: dict[str, Handle]
    changed: Callable[[], None]
    events: Recorder
    images: Images
    world: World | None = None
    harmed: Harmed = UNHARMED  # by Faults, as of the last application
    runtimes: dict[str, ContainerRuntime] = field(default_factory=dict)  # those that were asked for, by name


def files_folder(around: Surroundings, place: Place) -> Path:
    """Where the files are that cover those of /etc in a place."""
    return around.folder / "etc" / shortened(place.name, NAME_MAX)


def _has(path: Path, content: bytes) -> bool:
    """Whether that is what a file has. A container may have made it as long as it likes, and of anything."""
    with suppress(OSError):
        return path.stat().st_size == len(content) and path.read_bytes() == content
    return False


def write_place_files(
    around: Surroundings, place: Place, folder: Path | None = None, everywhere: bool = False
) -> dict[str, str]:
    """Writes the files that cover those of /etc in a place, and returns them: target → source. Raises KernelError.

    Without `everywhere` only files that the host has are covered.
    """
    folder = folder or files_folder(around, place)
    files = {}
    texts = (("resolv.conf", place.resolv_conf), ("hosts", place.hosts), ("hostname", place.hostname + "\n"))
    with writing(folder):
        folder.mkdir(mode=0o755, exist_ok=True)
    for name, text in texts:
        path = folder / name
        if not _has(path, text.encode()):
            with writing(path):
                path.write_text(text)
                path.chmod(0o644)
        if everywhere or Path(f"/etc/{name}").exists():
            files[f"/etc/{name}"] = str(path)
    return files

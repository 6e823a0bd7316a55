"""Gives every place a name under /run/netns, and takes it back. Root only: nobody else may write there."""

from __future__ import annotations

from collections.abc import Mapping

from emulab.kernel import names
from emulab.kernel.netns import Handle
from emulab.lab.folders.disk import writing
from emulab.lab.supervisor.surroundings import Surroundings, files_folder, write_place_files
from emulab.model.shortened import NAME_MAX, shortened
from emulab.plan.state import Place


class Publisher:
    """The names of one lab's places: `LAB.PLACE` and `LAB.NAMESPACE.POD`, as far as a file's name is that long."""

    def __init__(self, around: Surroundings, pid: int) -> None:
        self._around = around
        self._pid = pid
        self._published: dict[str, int] = {}
        self._folders: dict[str, str] = {}  # of pods, by their resolv.conf

    def publish(self, places: Mapping[str, Place], handles: Mapping[str, Handle]) -> None:
        wanted = {p.name: handles[p.namespace].fd for p in places.values()}
        for name in [n for n, fd in self._published.items() if wanted.get(n) != fd]:
            names.retract(self._name(name), self._pid, self._around.folder)
            del self._published[name]
        for name, fd in wanted.items():
            if name not in self._published:
                etc = self._etc(places[name])
                self._published[name] = fd
                names.publish(self._name(name), self._pid, fd, etc)

    def _name(self, place: str) -> str:
        return shortened(f"{self._around.lab}.{place}", NAME_MAX)

    def _etc(self, place: Place) -> str:
        """The folder that `ip netns exec` binds over /etc; pods of a kind share one, made once."""
        if place.kind != "pod":
            write_place_files(self._around, place)
            return str(files_folder(self._around, place))
        if (known := self._folders.get(place.resolv_conf)) is not None:
            return known
        folder = self._around.folder / "etc" / f"resolv-{abs(hash(place.resolv_conf)):x}"
        if not folder.exists():
            new = folder.with_name(f"{folder.name}.new")
            with writing(new / "resolv.conf"):
                new.mkdir(mode=0o755, exist_ok=True)
                (new / "resolv.conf").write_text(place.resolv_conf)
                new.rename(folder)  # whole or not at all: a full disk may get room again
        self._folders[place.resolv_conf] = str(folder)
        return self._folders[place.resolv_conf]

    def retract_all(self) -> None:
        for name in self._published:
            names.retract(self._name(name), self._pid, self._around.folder)
        self._published.clear()

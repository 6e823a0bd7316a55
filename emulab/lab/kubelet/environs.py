"""What the containers of one pod see: their files, their environment, and the namespaces that their programs join."""

from __future__ import annotations

import os

from emulab.errors import EmulabError
from emulab.kernel.cgroups.cgroup import Cgroup
from emulab.kernel.processes.enter import Program
from emulab.kinds.core.expansion import expand
from emulab.kinds.core.podspec import Container, PodSpec
from emulab.kinds.core.serviceview import Service
from emulab.kinds.registry import CONFIG_MAP, SECRET, SERVICE
from emulab.lab.kubelet.downward import downward_fields, texts
from emulab.lab.kubelet.programs import PATH
from emulab.lab.kubelet.resources import cgroup_of, inner_cgroup
from emulab.lab.kubelet.variables import MASTER, environment, service_links
from emulab.lab.supervisor.surroundings import Surroundings, write_place_files
from emulab.model.members import Members
from emulab.model.objects import Object
from emulab.plan.pods import place_name
from emulab.plan.state import Place


class Environs:
    def __init__(self, around: Surroundings, pod: Object, spec: PodSpec) -> None:
        self._around = around
        self._pod = pod
        self._spec = spec
        self._services: dict[str, Members] = {}  # those that there were when each container last began

    @property
    def place(self) -> Place:
        world = self._around.world
        if world is None:
            raise EmulabError("the kubelet runs before the first plan was applied")
        return world.places[place_name(self._pod)]

    def begin(self, container: Container) -> None:
        """A life of the container begins: it is told of the Services that there are now alone."""
        self._services[container.name] = self._around.store.objects().members(SERVICE)

    def start(self, container: Container) -> Program:
        """The container's program at the begin of a life. Raises OSError, KernelError."""
        self.begin(container)
        cgroup = cgroup_of(self._around.lab, self._pod, container.name)
        return self._program(container, container.command, cgroup)

    def inner_cgroup(self, container: Container) -> Cgroup | None:
        """The cgroup that the container's program is in."""
        return inner_cgroup(self._around.lab, self._pod, container.name)

    def beside(self, container: Container, argv: tuple[str, ...]) -> Program:
        """Another program in the container's surroundings, in new namespaces of its own."""
        return self._program(container, argv, None, expanded=False)

    def _program(
        self, container: Container, argv: tuple[str, ...], cgroup: Cgroup | None, expanded: bool = True
    ) -> Program:
        place, known = self.place, self.environment(container)
        return Program(
            argv=tuple(expand(word, known) for word in argv) if expanded else argv,
            environment=known,
            working_directory=container.working_dir,
            join={"net": self._around.handles[place.namespace].fd},
            fresh=("mnt", "uts", "ipc"),
            hostname=place.hostname,
            files=write_place_files(self._around, place),
            remount_proc=True,
            cgroup=cgroup,
        )

    def environment(self, container: Container) -> dict[str, str]:
        pod = self._around.store.get(self._pod.key) or self._pod
        fields = downward_fields(pod, self._spec)
        own = environment(container, fields, self._sources(), self._links(container))
        return {"PATH": PATH, "HOSTNAME": self.place.hostname, "HOME": os.environ.get("HOME", "/"), **own}

    def _links(self, container: Container) -> dict[str, str]:
        if container.name not in self._services:
            self.begin(container)
        namespace = self._pod.namespace
        wanted = (
            o for k, o in self._services[container.name].items() if k[2] == namespace or k[2:] == MASTER
        )
        return service_links(map(Service.of, wanted), namespace, self._spec.service_links)

    def _sources(self) -> dict[tuple[str, str, str], str]:
        found: dict[tuple[str, str, str], str] = {}
        for container in (*self._spec.containers, *self._spec.init_containers):
            for entry in container.env:
                for field, kind in (("configMapKeyRef", CONFIG_MAP), ("secretKeyRef", SECRET)):
                    reference = (entry.get("valueFrom") or {}).get(field)
                    o = reference and self._around.store.get(kind.key(self._pod.namespace, reference["name"]))
                    if o:
                        found |= {(o.kind, o.name, k): v for k, v in texts(o).items()}
        return found

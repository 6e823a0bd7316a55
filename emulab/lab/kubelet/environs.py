"""What the containers of one pod see: their files, their environment, and the namespaces that their programs join."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from emulab.errors import EmulabError, KernelError
from emulab.kernel.processes import cgroups
from emulab.kernel.processes.enter import Program
from emulab.kinds.core.expansion import expand
from emulab.kinds.core.podspec import Container, PodSpec
from emulab.kinds.core.serviceview import Service
from emulab.kinds.registry import CONFIG_MAP, SECRET, SERVICE
from emulab.lab.kubelet.container import ContainerRunner
from emulab.lab.kubelet.downward import downward_fields, texts
from emulab.lab.kubelet.programs import PATH
from emulab.lab.kubelet.pulling import PodImages
from emulab.lab.kubelet.stopsignals import signal_number
from emulab.lab.kubelet.telling import Said
from emulab.lab.kubelet.variables import MASTER, environment, service_links
from emulab.lab.supervisor.surroundings import Surroundings, write_place_files
from emulab.model.members import Members
from emulab.model.objects import Object
from emulab.model.shortened import NAME_MAX, shortened
from emulab.plan.pods import place_name
from emulab.plan.state import Place


class Environs:
    def __init__(
        self,
        around: Surroundings,
        pod: Object,
        spec: PodSpec,
        tell: Callable[[Container, Said], None],
        changed: Callable[[], None],
    ) -> None:
        self._around = around
        self._pod = pod
        self._spec = spec
        self._images = PodImages(lambda: around.images, pod, tell, changed)
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

    async def start(self, container: Container, runner: ContainerRunner) -> Program:
        """The container's program at the begin of a life, once its image is there. Raises OSError, KernelError."""
        container = await self._images.ready(container, runner.state)
        image = self._images.of(container)
        runner.stop_signal = signal_number(container.stop_signal or (image.stop_signal if image else ""))
        self.begin(container)
        group = shortened(f"{place_name(self._pod)}.{container.name}", NAME_MAX)
        return self._program(container, container.command, cgroups.create(self._around.lab, group))

    def beside(self, container: Container, argv: tuple[str, ...]) -> Program:
        """Another program in the container's surroundings, in new namespaces of its own."""
        return self._program(container, argv, "", expanded=False)

    def _program(
        self, container: Container, argv: tuple[str, ...], cgroup: str, expanded: bool = True
    ) -> Program:
        place, told = self.place, self._variables(container)  # and of this alone, `$(NAME)` is expanded
        if self._images.of(container) is not None:
            raise KernelError("run an image", remedy="containers have no root of their own yet")
        return Program(
            argv=tuple(expand(word, told) for word in argv) if expanded else argv,
            environment=self._with_runtimes(container, told),
            working_directory=self.working_directory(container),
            join={"net": self._around.handles[place.namespace].fd},
            fresh=("mnt", "uts", "ipc"),
            hostname=place.hostname,
            files=write_place_files(self._around, place),
            remount_proc=True,
            cgroup=cgroup,
        )

    def working_directory(self, container: Container) -> str:
        """Where its programs begin: what its image says counts as well, which may have come later than its Pod."""
        image = self._images.of(container)
        return image.working_dir if image and not container.working_dir_given else container.working_dir

    def environment(self, container: Container) -> dict[str, str]:
        """The variables of a container's programs: those of the runtime, its image's, and those of its manifest."""
        return self._with_runtimes(container, self._variables(container))

    def _with_runtimes(self, container: Container, told: Mapping[str, str]) -> dict[str, str]:
        image = self._images.of(container)
        runtime = {"PATH": PATH, "HOSTNAME": self.place.hostname, "HOME": os.environ.get("HOME", "/")}
        return {**runtime, **(image.env if image else {}), **told}

    def _variables(self, container: Container) -> dict[str, str]:
        """What the kubelet tells a container."""
        pod = self._around.store.get(self._pod.key) or self._pod
        fields = downward_fields(pod, self._spec)
        return environment(container, fields, self._sources(), self._links(container))

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

"""What the containers of one pod see: their files, their environment, and the namespaces that their programs join."""

from __future__ import annotations

from contextlib import suppress

from emulab.errors import EmulabError
from emulab.kernel.processes import cgroups
from emulab.kernel.processes.enter import Program
from emulab.kinds.core.expansion import expand
from emulab.kinds.core.podspec import Container, PodSpec
from emulab.kinds.core.serviceview import Service
from emulab.kinds.registry import SERVICE
from emulab.lab.kubelet.environment.configs import ConfigError
from emulab.lab.kubelet.environment.downward import downward_fields, resource_value
from emulab.lab.kubelet.environment.home import home_of, user_of
from emulab.lab.kubelet.environment.machine import allocatable
from emulab.lab.kubelet.environment.variables import (
    MASTER,
    Sources,
    asks_for_configs,
    environment,
    service_links,
)
from emulab.lab.kubelet.programs import PATH
from emulab.lab.kubelet.volumes.podvolumes import PodVolumes
from emulab.lab.supervisor.surroundings import Surroundings, write_place_files
from emulab.model.members import Members
from emulab.model.objects import Object
from emulab.model.shortened import NAME_MAX, shortened
from emulab.plan.pods import place_name
from emulab.plan.state import Place


class Environs:
    def __init__(self, around: Surroundings, pod: Object, spec: PodSpec, volumes: PodVolumes) -> None:
        self._around = around
        self._pod = pod
        self._spec = spec
        self._volumes = volumes
        self._services: dict[str, Members] = {}  # those that there were when each container last began
        self._told: dict[str, dict[str, str]] = {}  # what it was told then

    @property
    def place(self) -> Place:
        world = self._around.world
        if world is None:
            raise EmulabError("the kubelet runs before the first plan was applied")
        return world.places[place_name(self._pod)]

    def begin(self, container: Container) -> None:
        """A life of the container begins: it is told of what there is now, and of nothing that comes later.

        Raises ConfigError when something isn't there that it has to be told. What nobody may ever ask for, a stand-in's
        variables, is made of that when somebody does.
        """
        self._services[container.name] = self._around.store.objects().members(SERVICE)
        self._told.pop(container.name, None)
        if asks_for_configs(container):
            self._told[container.name] = self._environment(container)

    def start(self, container: Container) -> Program:
        """The container's program at the begin of a life. Raises OSError, KernelError, ConfigError."""
        self.begin(container)
        group = shortened(f"{place_name(self._pod)}.{container.name}", NAME_MAX)
        return self._program(container, container.command, cgroups.create(self._around.lab, group))

    async def prepare(self) -> None:
        """Makes what a program sees that is run in a Pod of stand-ins."""
        await self._volumes.made()

    def beside(self, container: Container, argv: tuple[str, ...]) -> Program:
        """Another program in the container's surroundings, in new namespaces of its own."""
        return self._program(container, argv, "", expanded=False)

    def _program(
        self, container: Container, argv: tuple[str, ...], cgroup: str, expanded: bool = True
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
            binds=self._volumes.binds(container, known),
        )

    def environment(self, container: Container) -> dict[str, str]:
        """What the container was told when it began."""
        with suppress(ConfigError):
            if container.name not in self._services:
                self.begin(container)
            if container.name not in self._told:
                self._told[container.name] = self._environment(container)
        return self._told.get(container.name) or self._own(container)

    def _environment(self, container: Container) -> dict[str, str]:
        pod, get = self._around.store.get(self._pod.key) or self._pod, self._around.store.get
        node = allocatable(get, self._spec.node_name)
        sources = Sources(
            pod.namespace,
            get,
            downward_fields(pod, self._spec),
            lambda selector: resource_value(selector, pod, container.name, node),
            self._links(container),
        )
        return {**self._own(container), **environment(container, sources)}

    def _own(self, container: Container) -> dict[str, str]:
        """What a runtime tells every container."""
        home = home_of(user_of(self._pod, container.name))
        return {"PATH": PATH, "HOSTNAME": self.place.hostname, "HOME": home}

    def _links(self, container: Container) -> dict[str, str]:
        namespace = self._pod.namespace
        services = self._services[container.name].items()
        wanted = (o for k, o in services if k[2] == namespace or k[2:] == MASTER)
        return service_links(map(Service.of, wanted), namespace, self._spec.service_links)

"""What the containers of one pod see: their files, their environment, and the namespaces that their programs join."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress

from emulab.errors import EmulabError
from emulab.kernel import libc
from emulab.kernel.containers.rights import Rights
from emulab.kernel.containers.seccomp import has_filter
from emulab.kernel.processes import cgroups
from emulab.kernel.processes.enter import Program
from emulab.kinds.core import safesysctls
from emulab.kinds.core.expansion import expand
from emulab.kinds.core.podspec import Container, PodSpec
from emulab.kinds.core.serviceview import Service
from emulab.kinds.registry import SERVICE
from emulab.lab.kubelet import telling
from emulab.lab.kubelet.confinement import Machine, NotConfigured, check, rights_of, shortfalls
from emulab.lab.kubelet.environment.configs import ConfigError
from emulab.lab.kubelet.environment.downward import downward_fields, resource_value
from emulab.lab.kubelet.environment.machine import allocatable
from emulab.lab.kubelet.environment.variables import (
    MASTER,
    Sources,
    asks_for_configs,
    environment,
    service_links,
)
from emulab.lab.kubelet.programs import PATH
from emulab.lab.kubelet.sandbox import PodSandbox
from emulab.lab.kubelet.telling import Said
from emulab.lab.kubelet.volumes.podvolumes import PodVolumes
from emulab.lab.supervisor.surroundings import Surroundings
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
        volumes: PodVolumes,
        tell: Callable[[Container, Said], None],
    ) -> None:
        self._around = around
        self._pod = pod
        self._spec = spec
        self._volumes = volumes
        self._tell = tell
        self._told: set[str] = set()  # containers of which it was told what they don't get
        self.sandbox = PodSandbox(around, spec, place_name(pod))
        self._name = f"{pod.name}_{pod.namespace}({pod.metadata.get('uid')})"
        self._services: dict[str, Members] = {}  # those that there were when each container last began
        self._variables: dict[str, dict[str, str]] = {}  # what it was told then

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
        self._variables.pop(container.name, None)
        if asks_for_configs(container):
            self._variables[container.name] = self._environment(container)

    async def start(self, container: Container) -> Program:
        """The container's program at the begin of a life. Raises OSError, KernelError, NotConfigured."""
        self.begin(container)
        group = shortened(f"{place_name(self._pod)}.{container.name}", NAME_MAX)
        return await self._program(container, container.command, cgroups.create(self._around.lab, group))

    def _tell_shortfalls(self, container: Container) -> None:
        if container.name in self._told:
            return
        self._told.add(container.name)
        one_user, permitted = self.sandbox.one_user, libc.permitted_capabilities()
        machine = Machine(one_user, has_filter(), self.sandbox.has_proc, permitted)
        for what in shortfalls(container, self._spec, machine, self.sandbox.own_users):
            self._tell(container, telling.not_given(what))

    async def beside(self, container: Container, argv: tuple[str, ...]) -> Program:
        """Another program in the container's surroundings, in new namespaces of its own."""
        await self._volumes.made()  # a stand-in had no need of them
        return await self._program(container, argv, "", expanded=False)

    def inside(self, container: Container, argv: tuple[str, ...], joined: Mapping[str, int]) -> Program:
        """Another program of a container whose own one runs: in its namespaces, which are `joined`, with its rights."""
        return Program(
            argv=argv,
            environment=self.environment(container),
            working_directory=container.working_dir,
            join=joined,
            rights=self.rights(container),
        )

    def rights(self, container: Container) -> Rights:
        """What a container's programs may do."""
        return rights_of(container, self._spec, self.sandbox.one_user)

    async def close(self) -> None:
        """Ends what the pod's containers share, and removes its volumes."""
        await self.sandbox.close()
        await self._volumes.release()

    async def _program(
        self, container: Container, argv: tuple[str, ...], cgroup: str, expanded: bool = True
    ) -> Program:
        place, known = self.place, self.environment(container)
        check(container, self._name)
        if why := safesysctls.forbidden(self._pod.spec):  # of a controller's, which nobody has refused before
            raise NotConfigured(why)
        volumes = self._volumes.binds(container, known)
        shared = await self.sandbox.join(place)
        self._tell_shortfalls(container)
        return Program(
            argv=tuple(expand(word, known) for word in argv) if expanded else argv,
            environment=known,
            working_directory=container.working_dir,
            join={"net": self._around.handles[place.namespace].fd, **shared},
            fresh=("mnt", "cgroup") if "pid" in shared else ("mnt", "cgroup", "pid"),
            cgroup=cgroup,
            root=self.sandbox.root(container, place, volumes),
            rights=self.rights(container),
        )

    def environment(self, container: Container) -> dict[str, str]:
        """What the container was told when it began. HOME is told to it where its user is known."""
        with suppress(ConfigError):
            if container.name not in self._services:
                self.begin(container)
            if container.name not in self._variables:
                self._variables[container.name] = self._environment(container)
        return self._variables.get(container.name) or self._own()

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
        return {**self._own(), **environment(container, sources)}

    def _own(self) -> dict[str, str]:
        """What a runtime tells every container."""
        return {"PATH": PATH, "HOSTNAME": self.place.hostname}

    def _links(self, container: Container) -> dict[str, str]:
        namespace = self._pod.namespace
        services = self._services[container.name].items()
        wanted = (o for k, o in services if k[2] == namespace or k[2:] == MASTER)
        return service_links(map(Service.of, wanted), namespace, self._spec.service_links)

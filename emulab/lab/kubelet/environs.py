"""What the containers of one pod see: their files, their environment, and the namespaces that their programs join."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace

from emulab.errors import EmulabError
from emulab.kernel import libc
from emulab.kernel.cgroups.cgroup import Cgroup
from emulab.kernel.containers.rights import Rights
from emulab.kernel.containers.seccomp import has_filter
from emulab.kernel.processes.enter import Program
from emulab.kinds.core import safesysctls
from emulab.kinds.core.expansion import expand
from emulab.kinds.core.podspec import Container, PodSpec
from emulab.kinds.core.serviceview import Service
from emulab.kinds.registry import SERVICE
from emulab.lab.kubelet import imagefiles, telling
from emulab.lab.kubelet.confinement import Machine, NotConfigured, check, rights_of, shortfalls
from emulab.lab.kubelet.container import ContainerRunner
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
from emulab.lab.kubelet.pulling import PodImages
from emulab.lab.kubelet.resources import cgroup_of, inner_cgroup
from emulab.lab.kubelet.sandbox import PodSandbox
from emulab.lab.kubelet.stopsignals import signal_number
from emulab.lab.kubelet.telling import Said
from emulab.lab.kubelet.volumes.podvolumes import PodVolumes
from emulab.lab.supervisor.surroundings import Surroundings
from emulab.model.members import Members
from emulab.model.objects import Object
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
        changed: Callable[[], None],
    ) -> None:
        self._around = around
        self._pod = pod
        self._spec = spec
        self._volumes = volumes
        self._tell = tell
        self._told: set[str] = set()  # containers of which it was told what they don't get
        self.sandbox = PodSandbox(around, spec, place_name(pod))
        self._name = f"{pod.name}_{pod.namespace}({pod.metadata.get('uid')})"
        self._images = PodImages(lambda: around.images, pod, tell, changed)
        self._services: dict[str, Members] = {}  # those that there were when each container last began
        self._told_last: dict[str, dict[str, str]] = {}  # what it was told then

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
        self._told_last.pop(container.name, None)
        if asks_for_configs(container):
            self._told_last[container.name] = self._environment(container)

    async def start(self, container: Container, runner: ContainerRunner) -> Program:
        """The container's program at the begin of a life, once its image is there.

        Raises OSError, KernelError, NotConfigured.
        """
        container = await self._images.ready(container, runner.state)
        image = self._images.of(container)
        runner.stop_signal = signal_number(container.stop_signal or (image.stop_signal if image else ""))
        self.begin(container)
        cgroup = cgroup_of(self._around.lab, self._pod, container.name)
        return await self._program(container, container.command, cgroup)

    def _tell_shortfalls(self, container: Container) -> None:
        if container.name in self._told:
            return
        self._told.add(container.name)
        image, permitted = self._images.of(container), libc.permitted_capabilities()
        machine = Machine(self.sandbox.one_user, has_filter(), self.sandbox.has_proc, permitted)
        own = self.sandbox.own_users
        for what in shortfalls(container, self._spec, machine, own, image.user if image else ""):
            self._tell(container, telling.not_given(what))

    async def beside(self, container: Container, argv: tuple[str, ...]) -> Program:
        """Another program in the container's surroundings, in new namespaces of its own."""
        await self._volumes.made()  # a stand-in had no need of them
        return await self._program(container, argv, None, expanded=False)

    def inside(self, container: Container, argv: tuple[str, ...], joined: Mapping[str, int]) -> Program:
        """Another program of a container whose own one runs: in its namespaces, which are `joined`, with its rights."""
        return Program(
            argv=argv,
            environment=self.environment(container),
            working_directory=self.working_directory(container),
            join=joined,
            cgroup=inner_cgroup(self._around.lab, self._pod, container.name),
            rights=self.rights(container),
        )

    def rights(self, container: Container) -> Rights:
        """What a container's programs may do."""
        image = self._images.of(container)
        return rights_of(container, self._spec, self.sandbox.one_user, image.user if image else "")

    async def close(self) -> None:
        """Ends what the pod's containers share, and removes its volumes."""
        await self.sandbox.close()
        await self._volumes.release()

    async def _program(
        self, container: Container, argv: tuple[str, ...], cgroup: Cgroup | None, expanded: bool = True
    ) -> Program:
        place, told = self.place, self._variables(container)  # and of this alone, `$(NAME)` is expanded
        image = self._images.of(container)
        check(container, self._name, image.user if image else "")
        if why := safesysctls.forbidden(self._pod.spec):  # of a controller's, which nobody has refused before
            raise NotConfigured(why)
        volumes = self._volumes.binds(container, told)
        shared = await self.sandbox.join(place)
        self._tell_shortfalls(container)
        root = self.sandbox.root(container, place, volumes)
        own = () if image else await asyncio.to_thread(imagefiles.binds, container.image, self.sandbox.files)
        return Program(
            argv=tuple(expand(word, told) for word in argv) if expanded else argv,
            environment=self._with_runtimes(container, told),
            working_directory=self.working_directory(container),
            join={"net": self._around.handles[place.namespace].fd, **shared},
            fresh=("mnt", "cgroup") if "pid" in shared else ("mnt", "cgroup", "pid"),
            cgroup=cgroup,
            root=replace(root, layers=image.layers if image else (), binds=(*root.binds, *own)),
            rights=self.rights(container),
        )

    def working_directory(self, container: Container) -> str:
        """Where its programs begin: what its image says counts as well, which may have come later than its Pod."""
        image = self._images.of(container)
        return image.working_dir if image and not container.working_dir_given else container.working_dir

    def environment(self, container: Container) -> dict[str, str]:
        """The variables of a container's programs: those of the runtime, its image's, and those of its manifest.

        HOME is told to them where their user is known.
        """
        return self._with_runtimes(container, self._variables(container))

    def _with_runtimes(self, container: Container, told: Mapping[str, str]) -> dict[str, str]:
        image = self._images.of(container)
        runtime = {"PATH": PATH, "HOSTNAME": self.place.hostname}
        return {**runtime, **(image.env if image else {}), **told}

    def _variables(self, container: Container) -> Mapping[str, str]:
        """What the kubelet told a container when it began."""
        with suppress(ConfigError):
            if container.name not in self._services:
                self.begin(container)
            if container.name not in self._told_last:
                self._told_last[container.name] = self._environment(container)
        return self._told_last.get(container.name) or {}

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
        return environment(container, sources)

    def _links(self, container: Container) -> dict[str, str]:
        namespace = self._pod.namespace
        services = self._services[container.name].items()
        wanted = (o for k, o in services if k[2] == namespace or k[2:] == MASTER)
        return service_links(map(Service.of, wanted), namespace, self._spec.service_links)

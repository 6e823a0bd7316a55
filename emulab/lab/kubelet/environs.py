"""The containers of one pod as its runtime is told of them: what they see, what they run and what they may do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from emulab.cluster.makers import maker
from emulab.errors import EmulabError
from emulab.kernel.cgroups.cgroup import Cgroup
from emulab.kernel.containers.places import in_user_namespace
from emulab.kernel.containers.rights import Rights
from emulab.kernel.containers.root import Bind
from emulab.kinds.core import safesysctls
from emulab.kinds.core.expansion import expand
from emulab.kinds.core.podspec import Container, PodSpec
from emulab.kinds.core.serviceview import Service
from emulab.kinds.emulab.clusterview import cluster_of
from emulab.kinds.kind import Kind
from emulab.kinds.registry import SERVICE
from emulab.lab.folders import private
from emulab.lab.folders.disk import writing
from emulab.lab.kubelet import imagefiles, telling, termination
from emulab.lab.kubelet.confinement import NotConfigured, check, rights_of, shortfalls
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
from emulab.lab.kubelet.podstatus import ContainerState
from emulab.lab.kubelet.programs import PATH
from emulab.lab.kubelet.pulling import PodImages
from emulab.lab.kubelet.resources import cgroup_of
from emulab.lab.kubelet.runtime.interface import ContainerConfig, ContainerRuntime, PodSandboxConfig
from emulab.lab.kubelet.runtime.named import runtime_of
from emulab.lab.kubelet.stopsignals import signal_number
from emulab.lab.kubelet.telling import Said
from emulab.lab.kubelet.volumes.mounts import image_volumes
from emulab.lab.kubelet.volumes.podvolumes import PodVolumes
from emulab.lab.supervisor.surroundings import Surroundings, write_place_files
from emulab.model.members import Members
from emulab.model.objects import Object
from emulab.model.shortened import NAME_MAX, shortened
from emulab.plan.pods import place_name
from emulab.plan.state import Place
from emulab.plan.world import server_name


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
        self.one_user = in_user_namespace()
        self._sandbox = ""  # the id of the pod's, which is made when the first of its programs starts
        self._sandboxing = asyncio.Lock()
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
        self._services[container.name] = self._around.store.members(SERVICE)
        self._told_last.pop(container.name, None)
        if asks_for_configs(container):
            self._told_last[container.name] = self._environment(container)

    def forget(self, container: Container) -> None:
        """Nothing holds any more that was found out of a container's image."""
        self._images.forget(container)
        self._told.discard(container.name)

    @cached_property
    def runtime(self) -> ContainerRuntime:
        """The runtime of this pod, for as long as it lives."""
        return runtime_of(self._around)

    @cached_property
    def own_users(self) -> bool:
        """Whether the pod's users are its own: as root alone, who has users to give."""
        security = self._spec.security
        asked = security.own_users
        hosts = self._spec.host_network or security.host_pid or security.host_ipc
        default = not hosts and cluster_of(self._around.store.objects()).user_namespaces
        return not self.one_user and (default if asked is None else asked)

    async def sandbox(self) -> str:
        """The id of the pod's sandbox. Raises KernelError and OSError."""
        async with self._sandboxing:
            if not self._sandbox:
                place, security = self.place, self._spec.security
                config = PodSandboxConfig(
                    name=place.name,
                    hostname=place.hostname,
                    network=self._around.handles[place.namespace],
                    host_network=self._spec.host_network,
                    shares_processes=security.shares_processes,
                    own_users=self.own_users,
                    node=self._spec.node_name,
                    node_network=self._around.handles.get(self._spec.node_name),
                    host_pid=security.host_pid,
                    host_ipc=security.host_ipc,
                    sysctls=dict(security.sysctls),
                )
                self._sandbox = await self.runtime.run_pod_sandbox(config)
            return self._sandbox

    @property
    def stopped(self) -> bool:
        """Whether the pod's sandbox has been there, and isn't any more."""
        return bool(self._sandbox) and self.runtime.is_stopped(self._sandbox)

    async def create(self, container: Container, state: ContainerState) -> str:
        """Creates the container at the begin of a life, once its image is there; its id.

        Raises OSError, KernelError, NotConfigured.
        """
        container = await self._images.ready(container, state)
        self.begin(container)
        cgroup = cgroup_of(self._around.lab, self._pod, container.name)
        config = await self._config(container, container.command, cgroup)
        state.message_file = self._volumes.room.path / f"termination-{container.name}"
        message = await asyncio.to_thread(termination.fresh, state.message_file, container.message_path)
        config = replace(config, mounts=(*config.mounts, message))
        return await self.runtime.create_container(await self.sandbox(), config)

    async def _tell_shortfalls(self, container: Container) -> None:
        if container.name in self._told:
            return
        self._told.add(container.name)
        image, machine = self._images.of(container), (await self.runtime.status()).machine
        for what in shortfalls(container, self._spec, machine, self.own_users, image.user if image else ""):
            self._tell(container, telling.not_given(what))

    async def beside(self, container: Container, argv: tuple[str, ...]) -> ContainerConfig:
        """Another program in the container's surroundings, as a container of its own."""
        await self._volumes.made()  # a stand-in had no need of them
        config = await self._config(container, argv, None, expanded=False)
        served = await self._around.servers.files(server_name(self.place.name, container.name))
        if not served:
            return config
        binds = await asyncio.to_thread(
            _written, served, self._volumes.room.path / f"served-{container.name}"
        )
        return replace(config, mounts=(*config.mounts, *binds))

    def rights(self, container: Container) -> Rights:
        """What a container's programs may do."""
        image = self._images.of(container)
        return rights_of(container, self._spec, self.one_user, image.user if image else "", self.own_users)

    async def close(self) -> None:
        """Ends what the pod's containers share, and whatever runs of them, and removes its volumes."""
        async with self._sandboxing:
            if self._sandbox:
                await self.runtime.stop_pod_sandbox(self._sandbox)
                await self.runtime.remove_pod_sandbox(self._sandbox)
        await self._volumes.release()

    async def _config(
        self, container: Container, argv: tuple[str, ...], cgroup: Cgroup | None, expanded: bool = True
    ) -> ContainerConfig:
        told = self._variables(container)  # and of this alone, `$(NAME)` is expanded
        image = self._images.of(container)
        check(container, self._name, image.user if image else "")
        if why := safesysctls.forbidden(self._pod.spec):  # of a controller's, which nobody has refused before
            raise NotConfigured(why)
        volumes = self._volumes.binds(container, told)
        volumes = (*volumes, *image_volumes(image.volumes if image else (), volumes))
        await self.sandbox()
        await self._tell_shortfalls(container)
        own = (
            ()
            if image
            else await asyncio.to_thread(imagefiles.binds, container.image, self._folder / "files")
        )
        return ContainerConfig(
            name=container.name,
            argv=tuple(expand(word, told) for word in argv) if expanded else argv,
            environment=self._with_runtimes(container, told),
            working_directory=self.working_directory(container),
            layers=image.layers if image else (),
            mounts=(*_in_order((*await asyncio.to_thread(self._files), *volumes)), *own),
            rights=self.rights(container),
            read_only_root=container.security.read_only_root,
            unmasked=container.security.unmasked,
            cgroup=cgroup,
            stop_signal=signal_number(container.stop_signal or (image.stop_signal if image else "")),
        )

    @property
    def _folder(self) -> Path:
        return private.folder(self._around.folder)

    def _files(self) -> tuple[Bind, ...]:
        """What its containers see of the pod below /etc. Blocks. Raises KernelError and OSError."""
        folder = self._volumes.room.make() / "etc"
        files = write_place_files(self._around, self.place, folder, everywhere=True)
        return tuple(Bind(source, target) for target, source in files.items())

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
            lambda kind, name: not container.command and self._is_made_by_nobody(kind, name),
        )
        return environment(container, sources)

    def _is_made_by_nobody(self, kind: Kind, name: str) -> bool:
        """Whether somebody would make a ConfigMap or Secret in a cluster who isn't run here."""
        return bool(maker(self._around.store.objects(), self._pod.namespace, kind, name))

    def _links(self, container: Container) -> dict[str, str]:
        namespace = self._pod.namespace
        services = self._services[container.name].items()
        wanted = (o for k, o in services if k[2] == namespace or k[2:] == MASTER)
        return service_links(map(Service.of, wanted), namespace, self._spec.service_links)


def _written(texts: Mapping[str, str], folder: Path) -> tuple[Bind, ...]:
    """Files of a container's server, as what is beside it sees them. Raises KernelError."""
    with writing(folder):
        folder.mkdir(mode=0o755, exist_ok=True)
    binds = []
    for path, text in texts.items():
        file = folder / shortened(path.strip("/").replace("/", "-"), NAME_MAX)
        with writing(file):
            file.write_text(text)
        binds.append(Bind(str(file), path, read_only=True))
    return tuple(binds)


def _in_order(binds: Iterable[Bind]) -> tuple[Bind, ...]:
    """Outer folders before what is in them, as containerd mounts; of two at one place the last one is seen."""
    return tuple(sorted(binds, key=lambda bind: bind.target.rstrip("/").count("/")))

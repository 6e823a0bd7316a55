"""The typed view of a Pod's `spec`, and of a template's."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from emulab.dataclass import dataclass
from emulab.kinds.core.probespec import Hook, Probe
from emulab.kinds.core.restarts import RestartPolicy
from emulab.kinds.core.securityview import PodSecurity, Security
from emulab.kinds.core.volumespec import Volume, VolumeMount
from emulab.kinds.images import OWN_PROGRAMS, entry_of
from emulab.model.objects import Object

STAND_INS = "emulab.dev/stand-ins"
"""The annotation of a Pod that names the containers whose command isn't run: a stand-in answers for them."""

IMAGES = "emulab.dev/images"
"""The annotation of a Pod that says which containers run an image, and what of it: by name `PodImage` as JSON."""

PROGRAM = "emulab.dev/program"
"""The annotation of a Pod, or of a template, that says for all its containers what becomes of their `command`."""
REQUIRED, STANDIN, ECHO = "required", "standin", "echo"
"""Its values: the command is run even where there is no such program, or never; or it isn't, and the stand-in has no
image's manners. Without it what there is is run."""

FOREIGN = "emulab.dev/foreign"
"""The annotation of a Pod whose network namespace somebody else has made, and who runs his own programs in it:
`CONTAINER/INTERFACE`, as `emulab cni` was told them."""

LIMITED = "kubernetes.io/limit-ranger"
"""The annotation of a Pod that says which of its containers' resources are a LimitRange's."""

_SYSTEMS = frozenset(
    (
        *("almalinux", "alpine", "amazonlinux", "archlinux", "busybox", "centos", "debian", "fedora"),
        *("jessie-dnsutils", "netshoot", "oraclelinux", "photon", "rockylinux", "ubuntu"),
    )
)
"""Images with a CMD and no ENTRYPOINT: of these `args` are the program and its arguments (OCI image specification)."""

_LANGUAGES = frozenset(("bash", "node", "perl", "php", "python", "ruby"))
_MOST_VIEWS, _MOST_PODS = 1000, 8192  # views of containers and of Pods that are kept


def foreign_interface(pod: Object) -> str:
    """The interface that a Pod has in a namespace that somebody else has made; "" in one of the lab's."""
    return pod.annotations.get(FOREIGN, "").rpartition("/")[2]


UNKNOWN = "(the image's)"
"""The command of a container that runs an image's own program, as long as it isn't known what that is."""


class PodImage(NamedTuple):
    """What was found out of a container's image when its Pod was made; without `id` it isn't there yet.

    `run`: its program, before the container's `args` where it has any.
    """

    id: str = ""
    run: tuple[str, ...] = ()

    @staticmethod
    def all_of(annotations: Mapping[str, str]) -> Mapping[str, PodImage]:
        """Those of a Pod by container. A text that nobody of us has written says nothing."""
        text = annotations.get(IMAGES)
        if not text:
            return {}
        try:
            found = {name: PodImage(id, tuple(run)) for name, (id, run) in json.loads(text).items()}
        except (ValueError, TypeError, AttributeError, RecursionError):
            return {}
        texts = (text for image in found.values() for text in (image.id, *image.run))
        return found if all(isinstance(text, str) for text in texts) else {}

    @staticmethod
    def written(images: Mapping[str, PodImage]) -> str:
        """The annotation's text."""
        return json.dumps(images, separators=(",", ":"))

    def command(self, container: Mapping[str, Any]) -> tuple[str, ...]:
        """What a container of the image runs: `command` takes the place of all of it, `args` that of its CMD."""
        own, args = container.get("command") or (), container.get("args") or ()
        if own:
            return (*own, *args)
        # What an image says is taken as it stands: `$$` in a manifest's is one dollar sign.
        found = (*(word.replace("$", "$$") for word in self.run), *args) if self.id else ()
        return found or (UNKNOWN,)


@dataclass(frozen=True, slots=True)
class ContainerPort:
    name: str
    protocol: str  # TCP | UDP | SCTP
    port: int


@dataclass(frozen=True, slots=True)
class Container:
    name: str
    image: str
    command: tuple[str, ...]  # what is run, arguments included; empty: a stand-in of the image
    words: tuple[str, ...]  # `command` and `args`, be they run or the image's
    working_dir: str  # "/" where the manifest doesn't say it
    env: tuple[Mapping[str, Any], ...]  # as given: name, value or valueFrom
    env_from: tuple[Mapping[str, Any], ...]  # as given: prefix, configMapRef or secretRef
    mounts: tuple[VolumeMount, ...]
    ports: tuple[ContainerPort, ...]
    readiness: Probe | None
    liveness: Probe | None
    startup: Probe | None
    pre_stop: Hook | None
    post_start: Hook | None
    restart_policy: RestartPolicy  # its own
    security: Security
    pull_policy: str = ""  # of its image: Always | IfNotPresent | Never
    stop_signal: str = ""  # what ends it, where that isn't SIGTERM or its image's
    working_dir_given: bool = False  # by the manifest
    message_path: str = "/dev/termination-log"  # where it may say why it ends
    message_from_log: bool = False  # its log does, where it says nothing there and ends badly
    image_id: str | None = None  # of the image that it runs, "" while that isn't there; None: it runs none

    @staticmethod
    def of(
        container: Mapping[str, Any],
        stand_ins: Collection[str] = (),
        image: PodImage | None = None,
        security: Mapping[str, Any] | None = None,
    ) -> Container:
        """The view of one entry of `containers` or `initContainers`; those named in `stand_ins` run nothing.

        `security`: the Pod's `securityContext`.
        """
        hooks = container.get("lifecycle") or {}
        own = image.command(container) if image else asked_program(container)
        return Container(
            name=container["name"],
            image=container.get("image") or "",
            command=() if container["name"] in stand_ins else own,
            words=(*(container.get("command") or ()), *(container.get("args") or ())),
            working_dir=container.get("workingDir") or "/",  # as of images that say nothing
            env=tuple(container.get("env") or ()),
            env_from=tuple(container.get("envFrom") or ()),
            mounts=tuple(VolumeMount.of(m) for m in container.get("volumeMounts") or ()),
            ports=tuple(
                ContainerPort(p.get("name") or "", p.get("protocol") or "TCP", p["containerPort"])
                for p in container.get("ports") or ()
            ),
            readiness=Probe.of(container.get("readinessProbe")),
            liveness=Probe.of(container.get("livenessProbe")),
            startup=Probe.of(container.get("startupProbe")),
            pre_stop=Hook.of(hooks.get("preStop")),
            post_start=Hook.of(hooks.get("postStart")),
            restart_policy=RestartPolicy.of(container),
            pull_policy=container.get("imagePullPolicy") or "",
            stop_signal=hooks.get("stopSignal") or "",
            working_dir_given=bool(container.get("workingDir")),
            message_path=container.get("terminationMessagePath") or "/dev/termination-log",
            message_from_log=container.get("terminationMessagePolicy") == "FallbackToLogsOnError",
            image_id=image.id if image else None,
            security=Security.of(container, security),
        )

    @property
    def restarts(self) -> bool:
        """Whether it is always started again: of an init container, that it is a sidecar (KEP-753)."""
        return self.restart_policy.policy == "Always"

    @property
    def asked_ports(self) -> tuple[int, ...]:
        """The TCP ports that its probes and hooks ask: a program listens there, be it said in `ports` or not."""
        hooks = [hook.http.port for hook in (self.pre_stop, self.post_start) if hook and hook.http]
        probes = [p.port for p in (self.readiness, self.liveness, self.startup) if p]
        found = (self.port(port) for port in (*probes, *hooks) if port is not None)
        return tuple(number for number in dict.fromkeys(found) if number is not None)

    def names_port(self, number: int) -> bool:
        """Whether it is told of a port of that number: by its ports, of whatever protocol, its words or variables."""
        if any(port.port == number for port in self.ports):
            return True
        texts = (*self.words, *(str(entry.get("value") or "") for entry in self.env))
        return any(re.search(rf"(?<!\d){number}(?!\d)", text) for text in texts)

    def port(self, asked: int | str) -> int | None:
        """The number of a port that is given by it or by its name; None where there is no such port."""
        if isinstance(asked, int):
            return asked
        named = next((p.port for p in self.ports if p.name == asked), None)
        return int(asked) if named is None and asked.isdecimal() else named


def asked_program(container: Mapping[str, Any]) -> tuple[str, ...]:
    """The program that a container asks for, with its arguments: `command` and `args`, empty where only the image says.

    `args` alone are arguments of the image's own program, unless the image has none, or its program is here.
    """
    command, args = container.get("command") or (), container.get("args") or ()
    image = container.get("image") or ""
    if command or not args:
        return (*command, *args)
    own = entry_of(image, OWN_PROGRAMS)
    if own is not None and args[0] in own.words:
        return (own.paths[0], *args)
    return tuple(args) if runs_args(image) else ()


def runs_args(image: str) -> bool:
    """Whether the image is one whose `args` are the program."""
    return _short(image) in _SYSTEMS


def is_general(image: str) -> bool:
    """Whether the image is a system or a language, so that a script of somebody's own is all that is run in it."""
    return _short(image) in _SYSTEMS | _LANGUAGES


def _short(image: str) -> str:
    return image.partition("@")[0].rpartition("/")[2].partition(":")[0]


class _Views:
    """Views of containers that Pods of one template share, so that thousands of Pods cost one. An entry holds what it
    is the view of, whose identity is its key: objects are never changed in place."""

    def __init__(self) -> None:
        self._views: dict[tuple[int, int, bool], tuple[object, object, Container]] = {}

    def of(
        self, container: Mapping[str, Any], stands_in: bool, security: Mapping[str, Any] | None
    ) -> Container:
        """The view of a container that has no image with a program of its own."""
        key = id(container), id(security), stands_in
        known = self._views.get(key)
        if known is None:
            if len(self._views) >= _MOST_VIEWS:
                self._views = {}
            view = Container.of(container, (container["name"],) if stands_in else (), None, security)
            known = self._views[key] = container, security, view
        return known[2]


_views = _Views()


def _container(
    container: Mapping[str, Any],
    stand_ins: Collection[str],
    image: PodImage | None,
    security: Mapping[str, Any] | None,
) -> Container:
    if image is not None:
        return Container.of(container, stand_ins, image, security)
    return _views.of(container, container["name"] in stand_ins, security)


@dataclass(frozen=True, slots=True)
class PodSpec:
    containers: tuple[Container, ...]
    init_containers: tuple[Container, ...]
    node_name: str
    node_selector: Mapping[str, str]
    restart_policy: str  # Always | OnFailure | Never
    termination_grace: int  # seconds
    active_deadline: int | None  # seconds
    readiness_gates: tuple[str, ...]  # types of conditions
    service_links: bool
    hostname: str
    hostname_as_fqdn: bool
    hostname_override: str
    subdomain: str
    dns_policy: str
    dns_config: Mapping[str, Any]
    host_aliases: tuple[Mapping[str, Any], ...]
    host_network: bool
    volumes: tuple[Volume, ...]
    security: PodSecurity

    @property
    def sidecars(self) -> tuple[Container, ...]:
        """The init containers that go on running beside the containers (KEP-753)."""
        return tuple(c for c in self.init_containers if c.restarts)

    @property
    def lasting(self) -> tuple[Container, ...]:
        """All containers that the Pod's start doesn't wait to end."""
        return (*self.sidecars, *self.containers)

    @staticmethod
    def of_pod(pod: Object) -> PodSpec:
        """The view of a Pod's `spec`, with what has been found out of its programs. It is kept: a dozen parts of the
        lab look at each of thousands of Pods."""
        spec, annotations = pod.spec, pod.annotations
        found_out = annotations.get(STAND_INS, ""), annotations.get(IMAGES)
        known = _pods.get(id(spec))
        if known is None or known[0] is not spec or known[1] != found_out:
            if len(_pods) >= _MOST_PODS:
                _pods.clear()
            view = PodSpec.of(spec, found_out[0].split(","), PodImage.all_of(annotations))
            known = _pods[id(spec)] = spec, found_out, view
        return known[2]

    @staticmethod
    def of(
        spec: Mapping[str, Any],
        stand_ins: Collection[str] = (),
        images: Mapping[str, PodImage] = MappingProxyType({}),
    ) -> PodSpec:
        """The view of a Pod's `spec` or of a template's; containers that are named in `stand_ins` run nothing."""

        def containers(field: str) -> tuple[Container, ...]:
            found = spec.get(field) or ()
            return tuple(_container(c, stand_ins, images.get(c["name"]), shared) for c in found)

        grace = spec.get("terminationGracePeriodSeconds")
        links, shared = spec.get("enableServiceLinks"), spec.get("securityContext")
        return PodSpec(
            containers=containers("containers"),
            init_containers=containers("initContainers"),
            node_name=spec.get("nodeName") or "",
            node_selector=spec.get("nodeSelector") or {},
            restart_policy=spec.get("restartPolicy") or "Always",
            termination_grace=30 if grace is None else grace,
            active_deadline=spec.get("activeDeadlineSeconds"),
            readiness_gates=tuple(g["conditionType"] for g in spec.get("readinessGates") or ()),
            service_links=links is None or bool(links),
            hostname=spec.get("hostname") or "",
            hostname_as_fqdn=bool(spec.get("setHostnameAsFQDN")),
            hostname_override=spec.get("hostnameOverride") or "",
            subdomain=spec.get("subdomain") or "",
            dns_policy=spec.get("dnsPolicy") or "ClusterFirst",
            dns_config=spec.get("dnsConfig") or {},
            host_aliases=tuple(spec.get("hostAliases") or ()),
            host_network=bool(spec.get("hostNetwork")),
            volumes=tuple(Volume.of(v) for v in spec.get("volumes") or ()),
            security=PodSecurity.of(spec),
        )


_pods: dict[int, tuple[object, tuple[str, str | None], PodSpec]] = {}
"""Views of Pods by the identity of their `spec`, which an entry holds: objects are never changed in place."""

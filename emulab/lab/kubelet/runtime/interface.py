"""The interface between the kubelet and a container runtime, in the shape of CRI (runtime.v1).

CRI's calls keep their names, and what they take and tell has CRI's fields as far as a lab has a use for them. Where a
lab differs, it is said at the call: a log is a descriptor here and no path, and who executes something with a terminal
does so from the terminal's own process.

A sandbox and a container are known by their ids alone. Every call that makes or starts something raises KernelError,
StartError among them, when that can't be done; `stop_container` and all that removes something never fails for want of
what it is asked to end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from emulab.dataclass import dataclass, field
from emulab.kernel.cgroups.cgroup import Cgroup
from emulab.kernel.containers.rights import Rights
from emulab.kernel.containers.root import Bind
from emulab.kernel.netns import Handle
from emulab.lab.kubelet.confinement import Machine

CREATED, RUNNING, EXITED = "CONTAINER_CREATED", "CONTAINER_RUNNING", "CONTAINER_EXITED"
"""States of a container (`ContainerState`)."""
COMPLETED, FAILED, OOM_KILLED = "Completed", "Error", "OOMKilled"
"""Reasons of an end (`ContainerStatus.reason`), as containerd gives them."""

Stdio = tuple[int, int, int]
"""Descriptors of a program's stdin, stdout and stderr, which remain the caller's."""


@dataclass(frozen=True, slots=True)
class PodSandboxConfig:
    """`PodSandboxConfig`. `network` is the pod's network namespace, which the plan's application has made.
    `host_network`: that one is its node's. `host_pid` and `host_ipc`: its processes and IPC are those of all such
    pods of its `node`, whose network is `node_network`. `shares_processes`: namespace option `pid: POD`.
    `own_users`: namespace option `userns: POD`.
    """

    name: str
    hostname: str
    network: Handle
    host_network: bool = False
    shares_processes: bool = False
    own_users: bool = False
    node: str = ""
    node_network: Handle | None = None
    host_pid: bool = False
    host_ipc: bool = False
    sysctls: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ContainerConfig:
    """`ContainerConfig`. `layers` is the unpacked image, the top layer first; without one the host's folders are seen.

    `rights`, `read_only_root` and `unmasked` are what `LinuxContainerSecurityContext` says, `cgroup` what
    `LinuxContainerResources` does; without a `cgroup` nothing bounds it. `stop_signal` asks the container to end.
    """

    name: str
    argv: Sequence[str]
    environment: Mapping[str, str]
    working_directory: str = ""
    layers: Sequence[str] = ()
    mounts: Sequence[Bind] = ()
    rights: Rights = field(default_factory=Rights)
    read_only_root: bool = False
    unmasked: bool = False
    cgroup: Cgroup | None = None
    stop_signal: int = 15


class ContainerStatus(NamedTuple):
    """`ContainerStatus`. `pid`: the host's number of its program, 0 when none has been started.

    `exit_code` is 128 + signal for a program that was killed, and means nothing before its end.
    """

    state: str
    pid: int = 0
    exit_code: int = 0
    reason: str = ""

    @property
    def running(self) -> bool:
        return self.state == RUNNING


class RuntimeVersion(NamedTuple):
    """`VersionResponse`."""

    runtime_name: str
    runtime_version: str


class RuntimeStatus(NamedTuple):
    """`StatusResponse`: the condition RuntimeReady, and why it isn't true; `machine` is what containers get here."""

    ready: bool
    message: str
    machine: Machine


class ExecResult(NamedTuple):
    """`ExecSyncResponse`: an exit status, and the beginning of what was printed on stdout and stderr together."""

    exit_code: int
    output: str


class ContainerRuntime(Protocol):
    """`RuntimeService`."""

    async def version(self) -> RuntimeVersion: ...

    async def status(self) -> RuntimeStatus: ...

    async def run_pod_sandbox(self, config: PodSandboxConfig) -> str:
        """Makes what the containers of a pod share; the sandbox's id."""
        ...

    async def stop_pod_sandbox(self, sandbox: str) -> None:
        """Ends what is shared, and who came by `run`; containers' programs keep what they have."""
        ...

    async def remove_pod_sandbox(self, sandbox: str) -> None:
        """Forgets a sandbox that was stopped, and removes its files."""
        ...

    def is_stopped(self, sandbox: str) -> bool:
        """Whether its end has begun. Who has entered it by `run` since is to be killed."""
        ...

    async def create_container(self, sandbox: str, config: ContainerConfig) -> str:
        """The id of a container that can be started, once."""
        ...

    async def start_container(self, container: str, stdio: Stdio) -> None:
        """Returns when the program runs. CRI's runtimes open the log themselves."""
        ...

    async def wait_container(self, container: str) -> int:
        """The exit status, once the program has ended: CRI's `GetContainerEvents`."""
        ...

    async def stop_container(self, container: str, timeout: float) -> None:
        """The stop signal, and SIGKILL after `timeout` seconds, at once for 0; returns when the program has ended."""
        ...

    async def remove_container(self, container: str) -> None:
        """Ends a container that runs yet, and removes its cgroup."""
        ...

    async def container_status(self, container: str) -> ContainerStatus: ...

    def find_status(self, container: str) -> ContainerStatus:
        """`container_status` without a reason for the end, which takes a look at files; for who doesn't wait."""
        ...

    def is_enterable(self, container: str) -> bool:
        """Whether a program that has just entered a container ends with it; else it came too late, and is to be killed.

        Until the container's own program is said to have ended, those beside it may have been ended long since.
        """
        ...

    async def exec_sync(self, container: str, argv: Sequence[str], limit: int) -> ExecResult:
        """Runs a program in a container that runs; at most `limit` octets are kept of what it prints.

        Who is cancelled kills it.
        """
        ...

    def exec(self, container: str) -> Mapping[str, Any]:
        """What a process needs to execute something in a container that runs, as the fields of `enter.Entry`.

        CRI's runtimes answer with a URL to stream to; here, who has the three descriptors or a terminal enters.
        """
        ...

    async def run_sync(self, sandbox: str, config: ContainerConfig, limit: int) -> ExecResult:
        """Runs a container to its end, as `exec_sync` does in one. CRI has no such call, and no stand-ins."""
        ...

    async def run(self, sandbox: str, config: ContainerConfig) -> Mapping[str, Any]:
        """What a process needs to become a container's program itself, as `exec` tells it."""
        ...

"""From a description of namespaces to a program that runs in them.

Used by the spawner, and by `emulab exec` from a terminal in the caller's own process (`exec`), where no container is
entered. What isn't about `Entry` happens in a fresh child between fork and exec, in the
order of the functions here: `prepare`, `join_cgroup`, `join_namespaces`, `furnish`, `execute`.

A child that enters a container is among programs that nobody trusts before it is one of them. So it can't be looked
into (`hide_from_others`), and loads no code once it sees their files (`prepare`).
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import stat
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn

from emulab.dataclass import dataclass, field
from emulab.errors import KernelError
from emulab.kernel import libc
from emulab.kernel.cgroups import cgroup as cgroups
from emulab.kernel.cgroups.cgroup import Cgroup
from emulab.kernel.processes.mountpoint import make_room

if TYPE_CHECKING:
    from emulab.kernel.containers.bundle import OciRun
    from emulab.kernel.containers.rights import Rights
    from emulab.kernel.containers.root import Root

_NULL = os.makedev(1, 3)
NOT_FOUND, NOT_EXECUTABLE = 127, 126  # as shells say it
KINDS = {
    "user": libc.CLONE_NEWUSER,
    "pid": libc.CLONE_NEWPID,
    "net": libc.CLONE_NEWNET,
    "uts": libc.CLONE_NEWUTS,
    "ipc": libc.CLONE_NEWIPC,
    "cgroup": libc.CLONE_NEWCGROUP,
    "mnt": libc.CLONE_NEWNS,
}
"""In the order in which they are joined: the user namespace gives the right to join the others."""


USERS = "users"
"""A user namespace that a container's program joins last: its root is built by one who isn't in it yet."""
SHOWN = "shown"
"""A network namespace that a program finds at a path, in a mount namespace that it joins and has a copy of."""

OF_CONTAINER = "container-"
"""Before the kind of a namespace that a runtime's container joins, and the runtime itself doesn't."""


@dataclass(frozen=True, slots=True)
class Program:
    """What runs, and what it sees.

    `join` maps a kind of namespace to an open descriptor. `fresh` are kinds made anew; a new `pid` namespace is made by
    who forks. What a place's program sees beside the host's files are `files`, bind-mounted over their targets; what a
    container's sees is its `root`, and its `rights` are what it may do. Both need a fresh `mnt`, unless that of another
    program of the container is joined. With a fresh one beside the joined it is a copy, in which a network namespace
    (`SHOWN`) is mounted on the path that `files` has for it. With `runtime`, an OCI runtime is run that makes the
    program's container. A `terminal` of so many rows and columns is made for it, whose other end goes to its stdin.
    """

    argv: Sequence[str]
    environment: Mapping[str, str]
    working_directory: str = ""
    join: Mapping[str, int] = field(default_factory=dict)
    fresh: Sequence[str] = ()
    hostname: str = ""
    files: Mapping[str, str] = field(default_factory=dict)  # target: source
    cgroup: Cgroup | None = None
    root: Root | None = None
    rights: Rights | None = None
    runtime: OciRun | None = None
    terminal: Sequence[int] = ()

    @staticmethod
    def of(described: Mapping[str, Any], join: Mapping[str, int]) -> Program:
        """A program as `dataclasses.asdict` has it, but for what it joins."""
        return Program(**_with_values(described), join=join)


def _with_values(described: Mapping[str, Any]) -> dict[str, Any]:
    """What was described of a program or an entry, with cgroup, root and rights as the values that they are."""
    more: dict[str, Any] = {}
    if described.get("cgroup"):
        more["cgroup"] = Cgroup.of(described["cgroup"])
    if described.get("root"):
        from emulab.kernel.containers.root import Root

        more["root"] = Root.of(described["root"])
    if described.get("rights"):
        from emulab.kernel.containers.rights import Rights

        more["rights"] = Rights(**described["rights"])
    if described.get("runtime"):
        from emulab.kernel.containers.bundle import OciRun

        more["runtime"] = OciRun(**described["runtime"])
    return {**described, **more}


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a program is to run, as it is told beyond a process. `join` maps a kind of namespace to its path.

    Without an `environment` of its own a place has that of who asks.
    """

    join: Mapping[str, str]
    fresh: Sequence[str] = ()
    hostname: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    working_directory: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    cgroup: Cgroup | None = None
    root: Root | None = None
    rights: Rights | None = None

    @staticmethod
    def of(described: Mapping[str, Any]) -> Entry:
        """An entry as JSON has it."""
        return Entry(**_with_values(described))

    def open(self) -> dict[str, int]:
        """Descriptors of the namespaces, but for a user or mount one that this process is in. Raises KernelError."""
        opened: dict[str, int] = {}
        try:
            for kind, path in self.join.items():
                if kind in ("user", "mnt") and os.path.samefile(path, f"/proc/self/ns/{kind}"):
                    continue  # the kernel refuses to join a user namespace again, and a mount one needn't be
                opened[kind] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            for fd in opened.values():
                os.close(fd)
            raise KernelError(
                f"open {error.filename}", errno=error.errno or 0, remedy="has the lab or the container ended?"
            ) from None
        return opened

    def program(
        self,
        argv: Sequence[str],
        joined: Mapping[str, int],
        environment: Mapping[str, str],
        directory: str = "",
    ) -> Program:
        """A program here. `environment` is that of who asks, `directory` where a place's programs begin.

        A container has an environment of its own, as `kubectl exec` gives it, in which only TERM is the asker's.
        """
        terminal = {"TERM": environment["TERM"]} if "TERM" in environment else {}
        return Program(
            argv=argv,
            environment={**terminal, **self.environment} if self.environment else environment,
            working_directory=self.working_directory or ("" if self.environment else directory),
            join=joined,
            fresh=self.fresh,
            hostname=self.hostname,
            files=self.files,
            cgroup=self.cgroup,
            root=self.root,
            rights=self.rights,
        )


def hide_from_others() -> None:
    """Nobody looks into this process from now on: not at its memory, its files or its program (proc(5), ptrace(2))."""
    libc.prctl(libc.PR_SET_DUMPABLE, 0)


def prepare(program: Program) -> None:
    """Loads what the program's child will need, before it sees other files. Raises KernelError.

    Who forks it does so beforehand: the filter of system calls is made once.
    """
    if program.root is not None:
        import_module("emulab.kernel.containers.build")
    if program.runtime is not None:
        import_module("emulab.kernel.containers.bundle")
    elif program.rights is not None:
        from emulab.kernel.containers import confine

        confine.filter_of(program.rights)


def join_cgroup(program: Program) -> None:
    """Joins the program's cgroup, which is made where it isn't there. Raises KernelError.

    It comes before the namespaces, so that a fresh one of cgroups has this one as its root.
    """
    if program.cgroup is not None:
        cgroups.join(program.cgroup)


def join_namespaces(program: Program, kinds: Sequence[str] = tuple(KINDS)) -> None:
    """Joins the existing namespaces. Raises KernelError."""
    for kind in KINDS:
        if kind in kinds and kind in program.join:
            libc.setns(program.join[kind], KINDS[kind])


def furnish(program: Program) -> None:
    """Makes the fresh namespaces and what is to be seen in them. Raises KernelError and OSError."""
    flags = 0
    for kind in program.fresh:
        flags |= KINDS[kind] if kind != "pid" else 0
    if flags:
        libc.unshare(flags)
    if program.hostname and "uts" in (*program.fresh, *program.join):
        with suppress(OSError):  # a name that the kernel won't take isn't worth a program that doesn't start
            socket.sethostname(program.hostname)
    if program.runtime is not None:
        return  # the root is made when the runtime is run
    if program.root is not None:
        from emulab.kernel.containers.build import build

        build(program.root, program.join.get(USERS, -1))
        if not program.root.bare:
            _use_own_null()
    elif SHOWN in program.join:
        _show(program)
    elif "mnt" in program.fresh:
        _cover_files(program)
    elif program.rights is not None:
        _use_own_null()


def _show(program: Program) -> None:
    """Mounts a network namespace where the program looks for it; the file is made where it is missing."""
    libc.mount("none", "/", flags=libc.MS_REC | libc.MS_PRIVATE)
    (target,) = (target for target, source in program.files.items() if source == SHOWN)
    os.close(os.open(target, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o444))
    libc.mount(f"/proc/self/fd/{program.join[SHOWN]}", target, flags=libc.MS_BIND)


def _use_own_null() -> None:
    """The host's /dev/null as standard input or output is exchanged for the container's, which can't be changed.

    Where a volume has taken its place, it is exchanged for what ends at once.
    """
    for fd in range(3):
        if _is_null(fd):
            own = _own_null()
            os.dup2(own, fd)
            os.close(own)


def _own_null() -> int:
    with suppress(OSError):
        own = os.open("/dev/null", os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        if _is_null(own):
            os.set_blocking(own, True)
            return own
        os.close(own)
    reading, writing = os.pipe2(os.O_CLOEXEC)
    os.close(writing)
    return reading


def _is_null(fd: int) -> bool:
    found = os.fstat(fd)
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == _NULL


def _cover_files(program: Program) -> None:
    """What a place's program sees: the host's files, but for those of the place, and its own processes and network."""
    libc.mount("none", "/", flags=libc.MS_REC | libc.MS_SLAVE)
    for target, source in program.files.items():
        _bind(source, target)
    hardened = libc.MS_NOSUID | libc.MS_NODEV | libc.MS_NOEXEC
    with suppress(KernelError):  # refused where the container we run in masks parts of /proc
        libc.mount("proc", "/proc", "proc", hardened)
    with suppress(KernelError):  # /sys shows the interfaces of the namespace it was mounted in
        libc.mount("sysfs", "/sys", "sysfs", hardened)


def _bind(source: str, target: str) -> None:
    real = os.path.realpath(target)  # /etc/resolv.conf is often a link
    if not os.path.exists(real) and os.path.isdir(source):
        make_room(*os.path.split(real))
    if not os.path.exists(real):
        raise KernelError(
            f"bind {source} to {target}", remedy=f"create an empty {real}: it will be covered, not changed"
        )
    libc.mount(source, real, flags=libc.MS_BIND)


def execute(program: Program) -> NoReturn:
    """Replaces the process with the program, which has descriptors 0 to 2 alone.

    Raises what `start_failure` tells of: OSError when the program can't be started, ValueError for words that none can
    have, KernelError when the kernel refuses it its rights.
    """
    libc.close_on_exec_from(3)
    for name in (signal.SIGPIPE, signal.SIGXFSZ):  # which Python ignores, and programs would inherit
        signal.signal(name, signal.SIG_DFL)
    if program.runtime is not None:
        _become_runtime(program, program.runtime)
    environment = dict(program.environment)
    if program.rights is not None:
        environment = _confined(program, program.rights, environment)
    elif program.working_directory:
        os.chdir(program.working_directory)
    os.execve(_find_program(program), list(program.argv), environment)


def _become_runtime(program: Program, runtime: OciRun) -> NoReturn:
    from emulab.kernel.containers.bundle import become_runtime

    assert program.root is not None and program.rights is not None
    users = {USERS: program.join[USERS]} if USERS in program.join else {}
    joined = {
        k.removeprefix(OF_CONTAINER): fd for k, fd in program.join.items() if k.startswith(OF_CONTAINER)
    }
    become_runtime(
        runtime,
        program.root,
        program.rights,
        {**joined, **users},
        users=program.join.get(USERS, -1),
        argv=program.argv,
        environment=program.environment,
        directory=program.working_directory,
    )


def _confined(program: Program, rights: Rights, environment: dict[str, str]) -> dict[str, str]:
    """Makes this process have the rights of a container's program; the environment that it has then.

    A working directory that isn't there is made, as runtimes do.
    """
    from emulab.kernel.containers import confine

    sys.meta_path.clear()  # no module is found any more: whose they would be nobody knows
    identity = confine.identify(rights)
    directory = program.working_directory or "/"
    if program.root is not None and not os.path.lexists(directory):
        with suppress(OSError):
            os.makedirs(directory)
    if USERS in program.join:
        libc.setns(program.join[USERS], libc.CLONE_NEWUSER)
    confine.confine(rights, identity, confine.filter_of(rights))
    os.chdir(directory)
    return {"HOME": identity.home, **environment}


def _find_program(program: Program) -> str:
    """The file of a program, as a shell looks for it: one that can run comes first. Raises FileNotFoundError."""
    name = program.argv[0]
    if "/" in name:
        return name
    found = found_in(program.environment.get("PATH", os.defpath), name)
    if found is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
    return found


def found_in(folders: str, name: str) -> str | None:
    """The file of that name in one of the folders, which PATH has like that: one that can run comes first."""
    there = [
        path for folder in folders.split(":") if os.path.isfile(path := os.path.join(folder or ".", name))
    ]
    return next((path for path in there if os.access(path, os.X_OK)), there[0] if there else None)


def start_failure(error: BaseException, program: str, working_directory: str) -> tuple[int, str]:
    """A shell's exit status, and what it would say, of a program of this name that can't be started there."""
    if isinstance(error, ValueError):  # a null byte in a word, or a variable's name with `=`
        return NOT_EXECUTABLE, f"{program}: {error}"
    if not isinstance(error, OSError):
        return 1, str(error)
    status = NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE
    if working_directory and error.filename == working_directory:
        return status, f"working directory {error.filename}: {error.strerror}"
    if status == NOT_FOUND:
        return status, f"{program}: command not found"
    return status, f"{program}: {error.strerror}"

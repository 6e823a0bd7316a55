"""Network namespaces that live exactly as long as the file descriptors that hold them.

A socket belongs for ever to the namespace in which it was made. So one short-lived thread enters a
namespace, makes what must belong there (sockets, libnftables contexts), writes the sysctls that can only
be written from inside, and leaves; everybody else uses the results from outside.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import threading
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from emulab.errors import KernelError
from emulab.kernel import libc, machine
from emulab.kernel.netlink.messages import NETLINK_ROUTE, open_socket
from emulab.kernel.sysctls import SysctlWriter
from emulab.plan.state import Namespace

if TYPE_CHECKING:
    from emulab.kernel.ebpf.translator import Translator

T = TypeVar("T")

FD_SETSIZE = 1024
_HIGH = 1 << 16  # an interface index that the kernel doesn't give by itself, as it counts up from 1
_MANY = 200  # namespaces that are worth a second thread
_FORWARDING, _FORWARDING6 = "net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"

REMEDIES = {
    errno.EMFILE: "two files are open for each node and pod, thirteen for a node in proxy mode ebpf: "
    "start the lab from a shell with a higher `ulimit -Hn`",
    errno.ENFILE: "raise sysctl fs.file-max, or make the lab smaller",
    errno.ENOSPC: "raise sysctl user.max_net_namespaces, or make the lab smaller",  # namespaces(7)
    errno.ENOMEM: "make the lab smaller, or give the machine more memory",
}


class Handle:
    """An open network namespace; `rtnl` is an rtnetlink socket inside it while one is needed.

    `forward_by_link`: /proc/sys can't be written here (a container engine mounts it read-only), so forwarding
    is to be switched on link by link.
    """

    __slots__ = ("fd", "forward_by_link", "indexes", "name", "next_index", "rtnl", "translator")

    def __init__(self, name: str, fd: int, rtnl: socket.socket | None) -> None:
        self.name = name
        self.fd = fd
        self.rtnl = rtnl
        self.forward_by_link = False
        self.indexes: dict[str, int] = {"lo": 1}
        self.translator: Translator | None = None  # of Services, where BPF programs translate them
        self.next_index = 10  # above lo and the fallback tunnels that some kernels make in each namespace

    def allocate_index(self, link: str) -> int:
        """The interface index that a new link of this name will be born with."""
        index = self.indexes[link] = self.next_index
        self.next_index += 1
        return index

    def share(self) -> None:
        """Others make links here too, from now on: theirs take the kernel's next numbers, and ours higher ones."""
        self.next_index = max(self.next_index, _HIGH)

    def close_rtnl(self) -> None:
        if self.rtnl is not None:
            self.rtnl.close()
            self.rtnl = None

    def close(self) -> None:
        self.close_rtnl()
        if self.translator is not None:
            self.translator.close()
        fd, self.fd = self.fd, -1  # nobody who has the handle yet takes another's descriptor for it
        os.close(fd)


def in_thread(work: Callable[[], T]) -> T:
    """Runs `work` in a thread of its own, whose namespaces may change without anybody noticing."""
    return in_threads([work])[0]


def in_threads(works: Sequence[Callable[[], T]]) -> list[T]:
    """Runs each work in a thread of its own, side by side; results in order. Raises the first failure, once all have
    ended."""
    results: dict[int, T] = {}
    failures: list[BaseException] = []

    def run(number: int, work: Callable[[], T]) -> None:
        try:
            results[number] = work()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=one, name="netns") for one in enumerate(works)]
    begun: list[threading.Thread] = []
    try:
        for thread in threads:
            machine.start(thread)
            begun.append(thread)
    finally:
        for thread in begun:
            thread.join()
    if failures:
        raise failures[0]
    return [results[number] for number in range(len(works))]


def create(namespaces: Iterable[Namespace]) -> list[Handle]:
    """Makes network namespaces with their sysctls, each with an open rtnetlink socket. All or none.

    Two threads make many: the kernel sets up most of a namespace with no lock that the other would wait for.
    Raises KernelError.
    """
    wanted = list(namespaces)
    made: dict[str, Handle] = {}

    def make(some: Iterable[Namespace]) -> None:
        with SysctlWriter() as sysctls:
            for namespace in some:
                handle = made[namespace.name] = _born(namespace.name)
                sysctls.enter()
                _set_up(handle, namespace, sysctls)

    shares = [wanted] if len(wanted) < _MANY else [wanted[::2], wanted[1::2]]
    try:
        in_threads([partial(make, share) for share in shares])
    except BaseException:
        for handle in made.values():
            handle.close()
        raise
    return [made[namespace.name] for namespace in wanted]


def _born(name: str) -> Handle:
    """A new namespace, which the thread is in from now on."""
    try:
        libc.unshare(libc.CLONE_NEWNET)
        fd = lift(os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC))
        try:
            return Handle(name, fd, _rtnl())
        except OSError:
            os.close(fd)
            raise
    except (KernelError, OSError) as error:
        number = error.errno or 0
        if remedy := REMEDIES.get(number):
            raise KernelError("make a network namespace", name, number, remedy) from None
        raise


def _set_up(handle: Handle, namespace: Namespace, sysctls: SysctlWriter) -> None:
    # An address that follows another of its network must outlive it.
    sysctls.write(namespace.name, "net/ipv4/conf/all/promote_secondaries", "1")
    for key, value in namespace.sysctls:
        written = sysctls.write(namespace.name, key, value)
        if not written and key == _FORWARDING:
            handle.forward_by_link = True
        if not written and key == _FORWARDING6:  # no link can be told instead
            remedy = "mount /proc/sys writable (docker run --privileged)"
            raise KernelError(f"write sysctl {key}", namespace.name, errno.EROFS, remedy=remedy)


def adopt(name: str, fd: int) -> Handle:
    """The handle of a namespace that somebody else has made. `fd` is the handle's from now on. Raises KernelError."""
    handle = Handle(name, fd, None)
    handle.share()
    try:
        open_rtnl(handle)
    except KernelError as error:
        handle.close()
        remedy = "it is another user namespace's: run the lab and who made it as root"
        raise KernelError(
            "enter a network namespace that was handed over", name, error.errno, remedy
        ) from None
    return handle


def inside(fd: int, work: Callable[[], T]) -> T:
    """Runs `work` with the namespace of `fd` as the thread's network namespace. Raises KernelError."""
    return in_thread(lambda: _enter_and(fd, work))


def inside_each(jobs: Iterable[tuple[int, Callable[[], Any]]]) -> list[Any]:
    """Runs each job in its namespace, one after the other in one thread; results in order."""
    todo = list(jobs)
    return in_thread(lambda: [_enter_and(fd, work) for fd, work in todo])


def _enter_and(fd: int, work: Callable[[], T]) -> T:
    libc.setns(fd, libc.CLONE_NEWNET)
    return work()


def tune(handle: Handle, settings: Iterable[tuple[str, str]], sysctls: SysctlWriter | None = None) -> None:
    """Writes sysctls of a namespace that is there already, one of many that `sysctls` enters. Raises KernelError."""

    writer = SysctlWriter() if sysctls is None else sysctls  # one that has entered nothing writes below /proc

    def work() -> None:
        if sysctls is not None:
            sysctls.enter()
        for key, value in settings:
            writer.write(handle.name, key, value)

    inside(handle.fd, work)


def open_rtnl(handle: Handle) -> socket.socket:
    """The handle's rtnetlink socket, made again when it was closed."""
    if handle.rtnl is None:
        handle.rtnl = inside(handle.fd, _rtnl)
    return handle.rtnl


def _rtnl() -> socket.socket:
    sock = open_socket(NETLINK_ROUTE)
    sock.bind((0, 0))
    return socket.socket(fileno=lift(sock.detach()))


def lift(fd: int) -> int:
    """Moves a descriptor to a number above FD_SETSIZE, where the limit allows one.

    libnftables waits with select(2), so the low numbers are kept for its sockets; labs have thousands of ours.
    """
    try:
        high = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, FD_SETSIZE)
    except OSError:
        return fd
    os.close(fd)
    return high

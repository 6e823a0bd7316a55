"""Which system calls a container may make: containerd's default profile (contrib/seccomp/seccomp_default.go).

What isn't here is refused with EPERM. Names that a machine's libseccomp doesn't know are left out there. `shared` is
what even who asks for no profile may not do.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from emulab.kernel import libc

ALLOWED = """
_llseek _newselect accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod chown
chown32 clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64
clock_nanosleep clock_nanosleep_time64 close close_range connect copy_file_range creat dup dup2 dup3
epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd
eventfd2 execve execveat exit exit_group faccessat faccessat2 fadvise64 fadvise64_64 fallocate fanotify_mark
fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr flistxattr flock
fork fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futex
futex_requeue futex_time64 futex_wait futex_waitv futex_wake futimesat get_robust_list get_thread_area getcpu
getcwd getdents getdents64 getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getitimer
getpeername getpgid getpgrp getpid getppid getpriority getrandom getresgid getresgid32 getresuid getresuid32
getrlimit getrusage getsid getsockname getsockopt gettid gettimeofday getuid getuid32 getxattr getxattrat
inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel io_destroy io_getevents io_pgetevents
io_pgetevents_time64 io_setup io_submit ioctl ioprio_get ioprio_set ipc kill landlock_add_rule
landlock_create_ruleset landlock_restrict_self lchown lchown32 lgetxattr link linkat listen listmount
listxattr listxattrat llistxattr lremovexattr lseek lsetxattr lsm_get_self_attr lsm_list_modules
lsm_set_self_attr lstat lstat64 madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mkdir
mkdirat mknod mknodat mlock mlock2 mlockall mmap mmap2 mprotect mq_getsetattr mq_notify mq_open
mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink mremap mseal msgctl msgget
msgrcv msgsnd msync munlock munlockall munmap name_to_handle_at nanosleep newfstatat open openat openat2 pause
pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll ppoll_time64 prctl
pread64 preadv preadv2 prlimit64 process_mrelease process_vm_readv process_vm_writev pselect6 pselect6_time64
ptrace pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv recv recvfrom recvmmsg
recvmmsg_time64 recvmsg remap_file_pages removexattr removexattrat rename renameat renameat2 restart_syscall
rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend
rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min
sched_getaffinity sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval
sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield
seccomp select semctl semget semop semtimedop semtimedop_time64 send sendfile sendfile64 sendmmsg sendmsg
sendto set_robust_list set_thread_area set_tid_address setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32
setgroups setgroups32 setitimer setpgid setpriority setregid setregid32 setresgid setresgid32 setresuid
setresuid32 setreuid setreuid32 setrlimit setsid setsockopt setuid setuid32 setxattr setxattrat shmat shmctl
shmdt shmget shutdown sigaltstack signalfd signalfd4 sigprocmask sigreturn socketcall socketpair splice stat
stat64 statfs statfs64 statmount statx symlink symlinkat sync sync_file_range syncfs sysinfo tee tgkill time
timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64
timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 times tkill truncate
truncate64 ugetrlimit umask uname unlink unlinkat uretprobe utime utimensat utimensat_time64 utimes vfork
vmsplice wait4 waitid waitpid write writev
"""
"""Whatever the capabilities. `clone`, `clone3`, `personality` and `socket` have rules in `seccomp`."""

OF_MACHINE: Mapping[str, str] = {
    "x86_64": "arch_prctl modify_ldt",
    "aarch64": "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls",
    "ppc64le": "sync_file_range2 swapcontext",
    "riscv64": "riscv_flush_icache riscv_hwprobe",
    "s390x": "s390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr",
}
"""By what uname(2) calls a machine."""

OF_CAPABILITY: Mapping[str, str] = {
    "DAC_READ_SEARCH": "open_by_handle_at",
    "SYS_ADMIN": "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount mount_setattr "
    "move_mount open_tree perf_event_open quotactl quotactl_fd setdomainname sethostname setns syslog "
    "umount umount2 unshare",
    "SYS_BOOT": "reboot",
    "SYS_CHROOT": "chroot",
    "SYS_MODULE": "delete_module init_module finit_module",
    "SYS_PACCT": "acct",
    "SYS_PTRACE": "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace",
    "SYS_RAWIO": "iopl ioperm",
    "SYS_TIME": "settimeofday stime clock_settime clock_settime64",
    "SYS_TTY_CONFIG": "vhangup",
    "SYS_NICE": "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
    "SYSLOG": "syslog",
    "BPF": "bpf",
    "PERFMON": "perf_event_open",
}
"""By the capability with which the kernel lets a program make them."""

LESS, EQUAL, GREATER, MASKED = "LT", "EQ", "GT", "MASKED_EQ"
"""How an argument is compared, by the names that libseccomp and the runtime specification have behind SCMP_CMP_."""
_AF_ALG = 38
_PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)
_NAMESPACES = (
    *(libc.CLONE_NEWNS, libc.CLONE_NEWUTS, libc.CLONE_NEWIPC, libc.CLONE_NEWUSER),
    *(libc.CLONE_NEWPID, libc.CLONE_NEWNET, libc.CLONE_NEWCGROUP),
)


class Condition(NamedTuple):
    """Of a call, how one of its arguments compares; `value` of MASKED is the mask, and `masked` what is left."""

    name: str
    argument: int
    operation: str
    value: int
    masked: int = 0


SHARED = ("add_key", "keyctl", "request_key")
"""Calls that concern what no namespace divides: keys of a user, who is the host's user of that number."""


def shared(makes_users: bool, machine: str) -> Iterator[Condition]:
    """What is refused to a container without a profile, beside `SHARED`, as it reaches beyond its namespaces.

    In a user namespace of its own a container could mount the machine's cgroups, whose files are root's, as it is; it
    may make one where it is somebody else on the host (`makes_users`). Addresses of AF_VSOCK are the machine's.
    """
    yield Condition("socket", 0, EQUAL, socket.AF_VSOCK)
    if not makes_users:
        yield Condition("clone", _flags_of_clone(machine), MASKED, libc.CLONE_NEWUSER, libc.CLONE_NEWUSER)
        yield Condition("unshare", 0, MASKED, libc.CLONE_NEWUSER, libc.CLONE_NEWUSER)


def allowed(capabilities: Sequence[str], machine: str) -> list[str]:
    """The calls that are allowed whatever their arguments are. `machine`: as uname(2) calls it."""
    names = f"{ALLOWED} {OF_MACHINE.get(machine, '')}"
    return (names + "".join(f" {OF_CAPABILITY.get(capability, '')}" for capability in capabilities)).split()


def conditions(capabilities: Sequence[str], machine: str) -> Iterator[Condition]:
    """The calls whose arguments are looked at."""
    # Every family but AF_ALG and AF_VSOCK, as ranges: comparisons of one argument in one rule aren't to be had.
    yield Condition("socket", 0, LESS, _AF_ALG)
    yield Condition("socket", 0, EQUAL, _AF_ALG + 1)
    yield Condition("socket", 0, GREATER, socket.AF_VSOCK)
    for personality in _PERSONALITIES:
        yield Condition("personality", 0, EQUAL, personality)
    if makes_no_namespaces(capabilities):
        yield Condition("clone", _flags_of_clone(machine), MASKED, sum(_NAMESPACES))


def _flags_of_clone(machine: str) -> int:
    return 1 if machine == "s390x" else 0


def makes_no_namespaces(capabilities: Sequence[str]) -> bool:
    """Whether `clone3` isn't there (ENOSYS): its flags can't be looked at, and programs try `clone` then."""
    return "SYS_ADMIN" not in capabilities

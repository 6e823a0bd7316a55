"""What this kernel and this user may do: each feature is tried, none is guessed from a version.

Everything is tried in a throwaway process in namespaces of its own, through the very code that builds labs;
the host's namespaces see nothing of it. A check says whether it is required, what it is for and how to mend it.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from functools import partial
from ipaddress import ip_address, ip_interface
from pathlib import Path
from typing import NamedTuple

from emulab.errors import EmulabError, KernelError
from emulab.kernel import delaytrial, libc
from emulab.kernel.containers.attempts import attempts as containers
from emulab.kernel.ebpf import trial
from emulab.kernel.feature import KERNEL_MODULES, Feature, tried
from emulab.kernel.machinefeatures import machine_features
from emulab.kernel.network import KernelNetwork
from emulab.kernel.networkneeds import NEEDS
from emulab.kernel.processes import isolate
from emulab.kernel.rules import iptables, ipvs
from emulab.plan.links import Address, Bridge, Dummy, Item, Veth, Vxlan
from emulab.plan.proxy.modes import MODES
from emulab.plan.state import Ipvs, Namespace, Network, Ruleset, VirtualServer

NOBODY = 65534


def features(run_dir: Path) -> list[Feature]:
    """All features, tried; `run_dir` is where labs keep their files."""
    return [*_isolated(), *machine_features(run_dir)]


def proxy_modes(found: list[Feature]) -> dict[str, bool]:
    """Which of the modes of kube-proxy this machine could do."""
    there = {check.name for check in found if check.state == "ok"}
    return {
        name: all(there.issuperset(_NEEDS[need].features) for need in mode.needs)
        for name, mode in MODES.items()
    }


def missing_for(mode: str, scheduler: str = "rr") -> str:
    """What this kernel lacks for a proxy mode, and how to mend it, in one line; "" when nothing. Blocks.

    For a process that may make namespaces: a supervisor. `scheduler`: IPVS'. It takes a few milliseconds.
    """
    attempts = [attempt for need in MODES[mode].needs for attempt in _NEEDS[need].attempts(scheduler)]
    failed = [found for check, work in attempts if (found := tried(check, work)).problem]
    problems = " and ".join(check.problem for check in failed)
    remedies = dict.fromkeys(check.remedy for check in failed if check.remedy not in problems)
    return "; ".join([problems, *remedies])


def lack_of(mode: str, scheduler: str, ipv6: bool) -> str:
    """Why a lab of this proxy mode, with or without IPv6, can't work here, in one line; "" where it can. As above."""
    if missing := missing_for(mode, scheduler):
        return f"proxy mode {mode} can't work here: {missing}"
    check = tried(_IPV6, partial(_apply, _ipv6_network())) if ipv6 else _IPV6
    return f"IPv6 can't work here: {check.problem}; {check.remedy}" if check.problem else ""


Attempt = tuple[Feature, Callable[[], object]]


class _Need(NamedTuple):
    """Something that proxy modes need: the features that say whether it is there, and what tries it."""

    features: tuple[str, ...]
    attempts: Callable[[str], Iterable[Attempt]]  # IPVS' scheduler is given


def _nftables_attempts(_: str) -> Iterator[Attempt]:
    try:  # all rules at once
        _apply(_ruled(*((hook, rule) for _, hook, rule in _RULES.values())))
    except EmulabError:
        yield from ((check, partial(_apply, network)) for check, network in _rule_checks())


# in a throwaway process


def _isolated() -> list[Feature]:
    """The features that are tried in namespaces of their own, by a process that is gone afterwards."""
    read, write = os.pipe2(os.O_CLOEXEC)
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        try:
            os.write(write, json.dumps([asdict(check) for check in _try_all()]).encode())
        finally:
            os._exit(0)
    os.close(write)
    with open(read, "rb") as pipe:
        answer = pipe.read()  # ends with the last process that holds the other end
    os.waitpid(pid, 0)
    return [Feature(**fields) for fields in json.loads(answer or b"[]")]


def _try_all() -> Iterator[Feature]:
    yield tried(_USER_NAMESPACES, _user_namespaces)
    lab = tried(_NAMESPACES, isolate.isolate)  # this process goes on as its own grandchild
    yield lab
    for check, network in _networks():
        yield tried(check, partial(_apply, network)) if not lab.problem else _untried(check)
    for check, work in ((_IPVS, _ipvs), (_DUMMY, _dummy), (_IPTABLES, iptables.check), (_SCTP, _sctp)):
        yield tried(check, work) if not lab.problem else _untried(check)
    yield _delays() if not lab.problem else _untried(_DELAYS)
    for name, purpose, remedy, attempt in (*containers(), *NEEDS.values(), trial.NEED):
        check = Feature(name, purpose, False, remedy)
        yield tried(check, attempt) if not lab.problem else _untried(check)


def _untried(check: Feature) -> Feature:
    return replace(check, problem="not tried: there are no namespaces to try it in")


_USER_NAMESPACES = Feature(
    "user namespaces",
    "labs of ordinary users",
    os.geteuid() != 0,
    "sysctl -w kernel.unprivileged_userns_clone=1 user.max_user_namespaces=10000"
    " kernel.apparmor_restrict_unprivileged_userns=0, or run as root",
)
_NAMESPACES = Feature(
    "namespaces",
    "a lab apart from the host: PID, mount, network, IPC and UTS namespaces",
    True,
    "run as root, or allow user namespaces; in a container: docker run --privileged",
)
_DUMMY = Feature("dummy", "proxy mode ipvs", False, KERNEL_MODULES.format("CONFIG_DUMMY"))
_DELAYS = Feature(
    "delay line",
    "faults of wires: delay, rate, corrupt and the like",
    False,
    KERNEL_MODULES.format("CONFIG_NET_SCH_HTB, NET_SCH_TBF, NET_CLS_BPF, NFT_FWD_NETDEV and NFT_DUP_NETDEV"),
)
_IPVS = Feature("ipvs", "proxy mode ipvs", False, ipvs.REMEDY)
_IPV6 = Feature(
    "IPv6",
    "labs of that family",
    False,
    "boot the kernel without ipv6.disable=1; in a container: mount /proc/sys writable (docker run --privileged)",
)
_IPTABLES = Feature("iptables", "proxy mode iptables", False, "apt install iptables")
_EBPF = Feature(trial.NEED.name, trial.NEED.purpose, False, trial.NEED.remedy)
_SCTP = Feature(
    "sctp",
    "programs of pods that speak SCTP; nodes translate it without",
    False,
    KERNEL_MODULES.format("CONFIG_IP_SCTP"),
)


def _delays() -> Feature:
    try:
        held = delaytrial.measured()
    except (EmulabError, OSError) as error:
        return replace(_DELAYS, problem=str(error))
    return replace(_DELAYS, purpose=f"{_DELAYS.purpose} ({held.text})")


def _sctp() -> None:
    try:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_SCTP).close()
    except OSError:
        raise EmulabError("the kernel has no SCTP") from None


def _user_namespaces() -> None:
    """Whether an ordinary user may make user namespaces, whoever asks."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            libc.unshare(libc.CLONE_NEWUSER)
            code = 0
        finally:
            os._exit(code)
    if os.waitpid(pid, 0)[1]:
        raise EmulabError("an ordinary user may not make a user namespace")


def _apply(network: Network) -> None:
    kernel = KernelNetwork()
    try:
        kernel.apply(network)
    finally:
        kernel.close()


_MAC = "02:00:00:00:00:{:02x}"
_RULES = {
    "connection tracking": ("stateful rules", "filter hook input priority 0", "ct state new accept"),
    "reject": ("Services without endpoints", "filter hook input priority 0", "reject with tcp reset"),
    "fib": ("NodePorts", "filter hook input priority 0", "fib daddr type local accept"),
    "numgen": (
        "spreading connections",
        "nat hook prerouting priority -100",
        "dnat ip to numgen random mod 2 map { 0 : 10.0.0.1, 1 : 10.0.0.2 }",
    ),
    "dnat": ("Services", "nat hook prerouting priority -100", "dnat to 10.0.0.1"),
    "masquerade": (
        "pods' way out of the cluster",
        "nat hook postrouting priority 100",
        "masquerade fully-random",
    ),
}
"""nftables expressions: check → what it is for, a hook and a rule there that needs it."""

_NEEDS: Mapping[str, _Need] = {
    "nftables": _Need(("nftables", *_RULES), _nftables_attempts),
    # Its errors bring their own remedies.
    "iptables": _Need(("iptables",), lambda _: [(replace(_IPTABLES, remedy=""), iptables.check)]),
    "ipvs": _Need(("ipvs",), lambda scheduler: [(_IPVS, partial(_ipvs, scheduler))]),
    "ebpf": _Need(("ebpf",), lambda _: [(_EBPF, trial.NEED.attempt)]),
    "dummy": _Need(("dummy",), lambda _: [(_DUMMY, _dummy)]),
}
"""By the names that the proxy modes give them (`emulab.plan.proxy.modes`)."""


def _networks() -> Iterator[tuple[Feature, Network]]:
    """Small networks, each of which needs one feature more."""
    sysctls = (("net/ipv4/ip_forward", "1"), ("net/ipv4/ip_unprivileged_port_start", "0"))
    alone = {"a": Namespace("a", sysctls)}
    two = {**alone, "b": Namespace("b")}
    veth = Veth("a", "v0", _MAC.format(1), "b", "v0", _MAC.format(2), 1500)
    vxlan = Vxlan("a", "x0", _MAC.format(3), 1450, 1, ip_address("10.0.0.1"), 8472, "v0")
    address = Address("a", "v0", ip_interface("10.0.0.1/24"))
    links: list[tuple[str, str, tuple[Item, ...], str]] = [
        ("veth", "links", (veth,), "CONFIG_VETH"),
        ("bridge", "the underlay networks", (Bridge("a", "b0", _MAC.format(4), 1500),), "CONFIG_BRIDGE"),
        ("vxlan", "the overlay", (veth, address, vxlan), "CONFIG_VXLAN"),
    ]
    why = "in a container: mount /proc/sys writable (docker run --privileged)"
    yield Feature("network namespaces", "every place; with ip_forward writable", True, why), Network(alone)
    for name, purpose, items, option in links:
        remedy = KERNEL_MODULES.format(option)
        yield Feature(name, purpose, True, remedy), Network(two, frozenset(items))
    yield from _rule_checks()
    yield _IPV6, _ipv6_network()


def _ipv6_network() -> Network:
    """A node's way in IPv6: forwarding, an address, a rule of NAT66."""
    chain = "{ type nat hook postrouting priority 100 ; policy accept ; }"
    rules = Ruleset("ip6", "probe", {"c": (chain, "masquerade fully-random")})
    veth = Veth("a", "v0", _MAC.format(6), "b", "v0", _MAC.format(7), 1500)
    address = Address("a", "v0", ip_interface("2001:db8::1/64"))
    sysctls = (("net/ipv6/conf/default/disable_ipv6", "0"), ("net/ipv6/conf/all/forwarding", "1"))
    names = {name: Namespace(name, sysctls) for name in ("a", "b")}
    return Network(names, frozenset({veth, address}), {("a", "ip6 probe"): rules})


def _rule_checks() -> Iterator[tuple[Feature, Network]]:
    remedy = f"apt install python3-nftables; {KERNEL_MODULES.format('CONFIG_NF_TABLES and its NFT_ options')}"
    purpose = "Services and NAT; the binding python3-nftables"
    yield Feature("nftables", purpose, True, remedy), _ruled(("", "accept"))
    for name, (purpose, hook, rule) in _RULES.items():
        yield Feature(name, purpose, True, remedy), _ruled((hook, rule))


def _ruled(*rules: tuple[str, str]) -> Network:
    """A namespace with rules: hook and text of each."""
    chains = {
        f"c{number}": (f"{{ type {hook} ; policy accept ; }}" if hook else "", rule)
        for number, (hook, rule) in enumerate(rules)
    }
    return Network({"a": Namespace("a")}, rulesets={("a", "ip probe"): Ruleset("ip", "probe", chains)})


def _dummy() -> None:
    try:
        _apply(Network({"a": Namespace("a")}, frozenset({Dummy("a", "d0", _MAC.format(5))})))
    except KernelError:
        raise EmulabError("the kernel has no dummy devices") from None


def _ipvs(scheduler: str = "rr") -> None:
    """A virtual server, which also loads the modules where that is allowed."""
    table = Ipvs({VirtualServer("tcp", ip_address("10.0.0.1"), 80, scheduler): {}})
    try:
        _apply(Network({"a": Namespace("a")}, rulesets={("a", "ipvs"): table}))
    except KernelError as error:
        raise EmulabError(error.operation) from None  # the remedy is the check's

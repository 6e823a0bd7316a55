"""iptables in namespaces, through `iptables-nft-restore`: it needs no lock file and works in user namespaces.

A script is one table in one transaction. The program is started by a thread that has entered the namespace,
and a process is born in the network namespace of the thread that starts it.
"""

from __future__ import annotations

import errno
import re
import shlex
import socket
import subprocess
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from emulab.errors import KernelError
from emulab.kernel import netns
from emulab.kernel.processes.installed import installed
from emulab.plan.rules.iptables_script import BUILT_IN, Chains, script_stages, table_script
from emulab.plan.state import Iptables, Namespace

TOOL = "iptables"  # of IPv4; that of IPv6 is ip6tables
_INSTALL = "apt install iptables"
_KERNEL = "use a kernel with {} (Debian: linux-image-amd64, not -cloud-; containers use their host's)"
_LINE = re.compile(r"\bline:? (\d+)")
_OWN_NAME = re.compile(r"^[a-z-]*restore( v[\d.]+ \([a-z_]+\))?: ?")
_NETLINK_NETFILTER = 12
_COMMAND_BYTES = 1024  # of a rule in netlink at the most: its comment alone may take 256
_WITH_STATUS = '"$0" "$@"; echo "status $?"'


class _Feature(NamedTuple):
    """Something that kube-proxy's rules are made of, with a rule that needs it."""

    name: str
    table: str
    hook: str  # some extensions are for certain hooks only
    rule: str
    option: str  # of the kernel's configuration


_FEATURES = (
    _Feature("nf_tables", "filter", "FORWARD", "-j DROP", "NFT_COMPAT"),
    _Feature("-m comment", "filter", "FORWARD", "-m comment --comment x", "NETFILTER_XT_MATCH_COMMENT"),
    _Feature(
        "-m conntrack", "filter", "FORWARD", "-m conntrack --ctstate NEW", "NETFILTER_XT_MATCH_CONNTRACK"
    ),
    _Feature("-m mark", "filter", "FORWARD", "-m mark --mark 0x4000/0x4000", "NETFILTER_XT_MARK"),
    _Feature(
        "-m addrtype", "filter", "FORWARD", "-m addrtype --dst-type LOCAL", "NETFILTER_XT_MATCH_ADDRTYPE"
    ),
    _Feature("-j REJECT", "filter", "FORWARD", "-j REJECT", "IP_NF_TARGET_REJECT"),
    _Feature(
        "-m statistic",
        "nat",
        "PREROUTING",
        "-m statistic --mode random --probability 0.5",
        "NETFILTER_XT_MATCH_STATISTIC",
    ),
    _Feature(
        "-m recent",
        "nat",
        "PREROUTING",
        "-m recent --name KUBE-SEP-PROBE --rcheck --seconds 9 --reap",
        "NETFILTER_XT_MATCH_RECENT",
    ),
    _Feature("-j MARK", "nat", "PREROUTING", "-j MARK --or-mark 0x4000", "NETFILTER_XT_MARK"),
    _Feature(
        "-j DNAT",
        "nat",
        "PREROUTING",
        "-m tcp -p tcp -j DNAT --to-destination 10.0.0.1:80",
        "NETFILTER_XT_NAT",
    ),
    _Feature(
        "-j MASQUERADE",
        "nat",
        "POSTROUTING",
        "-j MASQUERADE --random-fully",
        "NETFILTER_XT_TARGET_MASQUERADE",
    ),
)


def program(name: str = f"{TOOL}-nft-restore") -> str:
    """The path of one of iptables' programs. Raises KernelError when it isn't installed."""
    found = installed(name)
    if found is None:
        raise KernelError(f"find {name}", remedy=_INSTALL)
    return found


def write(namespace: str, fd: int, before: Iptables | None, after: Iptables | None, tool: str = TOOL) -> None:
    """Turns chains into others in the namespace of `fd`: all of them or none. None: nothing is or shall be there.

    What is refused may follow from what somebody else did to the chains. So they are all written anew then, as
    kube-proxy does; what is wrong by itself is refused again. Blocks. Raises KernelError, having changed nothing.
    """
    old, new = (value.tables if value is not None else {} for value in (before, after))
    try:
        _write(namespace, fd, old, new, tool)
    except KernelError as error:
        for table in {**new, **old}:
            there = _left(fd, tool, table, old.get(table, {}), new.get(table, {}))
            _change(namespace, fd, tool, table, there, {})
        try:
            _write(namespace, fd, {}, new, tool)
        except KernelError:
            _write(namespace, fd, {}, old, tool)
            raise error from None


def _left(fd: int, tool: str, table: str, *planned: Chains) -> Chains:
    """What is there of these chains, whatever is in those that aren't built in."""
    listed = _run(fd, program(f"{tool}-nft"), "-t", table, "-S").stdout.splitlines()
    names = {line.removeprefix("-N ") for line in listed if line.startswith("-N ")}
    found: dict[str, tuple[str, ...]] = {name: () for chains in planned for name in chains if name in names}
    for hook in BUILT_IN:
        rules = dict.fromkeys(rule for chains in planned for rule in chains.get(hook, ()))
        found[hook] = tuple(rule for rule in rules if _has(fd, tool, table, hook, rule))
    return found


def _has(fd: int, tool: str, table: str, chain: str, rule: str) -> bool:
    done = _run(fd, program(f"{tool}-nft"), "-t", table, "-C", chain, *shlex.split(rule))
    return done.stdout.endswith("status 0\n")


def _write(namespace: str, fd: int, old: Mapping[str, Chains], new: Mapping[str, Chains], tool: str) -> None:
    """Turns chains into others, on the word that they are there as they are known; what failed is taken back."""
    done: list[str] = []
    try:
        for table in {**new, **old}:
            _change(namespace, fd, tool, table, old.get(table, {}), new.get(table, {}))
            done.append(table)
    except KernelError:
        for table in done:
            _change(namespace, fd, tool, table, new.get(table, {}), old.get(table, {}))
        raise


def _change(namespace: str, fd: int, tool: str, table: str, before: Chains, after: Chains) -> None:
    """Changes a table in one transaction, or in several if the kernel takes none of that size from us."""
    try:
        if script := table_script(table, before, after):
            restore(namespace, fd, script, tool)
        return
    except KernelError as error:
        if error.errno != errno.EMSGSIZE:
            raise
    limit = _buffer(fd) // _COMMAND_BYTES
    state = before
    try:
        for script, following in script_stages(table, before, after, limit):
            restore(namespace, fd, script, tool)
            state = following
    except KernelError:
        for script, _ in script_stages(table, state, before, limit):
            restore(namespace, fd, script, tool)
        raise


def _buffer(fd: int) -> int:
    """How many bytes a netlink message may have that isn't sent by the host's root (net.core.wmem_default)."""

    def ask() -> int:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER) as sock:
            return sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)

    return netns.inside(fd, ask)


def restore(namespace: str, fd: int, script: str, tool: str = TOOL) -> None:
    """Runs one table's script in the namespace of `fd`. Blocks. Raises KernelError, having changed nothing."""
    done = _run(fd, program(f"{tool}-nft-restore"), "--noflush", script=script)
    if done.stdout.endswith("status 0\n"):
        return
    problem, remedy = explain(done.stderr, script)
    number = errno.EMSGSIZE if "Message too long" in done.stderr else 0
    raise KernelError(f"{tool}-restore: {problem}", namespace, number, remedy)


def listed(namespace: str, fd: int, table: str, chain: str, tool: str = TOOL) -> list[str]:
    """The rules of a chain in their order, as iptables-save writes them behind `-A CHAIN`. Blocks.

    Raises KernelError. A rule that nft alone could write is shown without what iptables has no words for.
    """
    done = _run(fd, program(f"{tool}-nft"), "-t", table, "-S", chain)
    if not done.stdout.endswith("status 0\n"):
        problem, remedy = explain(done.stderr, "")
        raise KernelError(f"{tool} -S {chain}: {problem}", namespace, 0, remedy)
    begin = f"-A {chain} "
    return [line.removeprefix(begin) for line in done.stdout.splitlines() if line.startswith(begin)]


def _run(fd: int, *command: str, script: str = "") -> subprocess.CompletedProcess[str]:
    """Runs a program in the namespace of `fd`; its output ends with `status NUMBER`."""
    # A supervisor is PID 1 and collects every child, maybe before we do; so the shell says how the program ended.
    shell = ["/bin/sh", "-c", _WITH_STATUS, *command]

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(shell, input=script, capture_output=True, text=True, check=False)

    return netns.inside(fd, run)


def explain(output: str, script: str) -> tuple[str, str]:
    """What the program complains of, with the line of the script that it is about, and how to mend it."""
    said = [_OWN_NAME.sub("", line.strip()) for line in output.splitlines()]
    told = [line for line in said if line and not line.startswith(("Try `", "Error occurred at"))]
    problem = "; ".join(told) or "it was ended"
    number = _LINE.search(output)
    if number and 0 < int(number[1]) <= script.count("\n"):
        line = script.splitlines()[int(number[1]) - 1]
        problem += f": {line}" if line != "COMMIT" else ""
    if "Couldn't load" in output:
        return problem, _INSTALL
    if "missing kernel module" in output:
        return problem, _KERNEL.format("iptables' extensions (CONFIG_NETFILTER_XT_…)")
    if "Operation not permitted" in output or "Permission denied" in output:
        return problem, "run as root, or allow user namespaces"
    return problem, ""


def check() -> None:
    """Whether kube-proxy's rules can be loaded, tried in a namespace of its own. Blocks.

    For a process that may make namespaces: a supervisor, or the throwaway one of `emulab.kernel.probe`.
    Raises KernelError that names all that is missing, with its remedy.
    """
    program()
    (handle,) = netns.create([Namespace("iptables-probe")])
    try:
        failure = _attempt(handle.fd, _FEATURES)
        if failure is None:
            return
        alone = [(feature, _attempt(handle.fd, [feature])) for feature in _FEATURES]
    finally:
        handle.close()
    missing = [(feature, error) for feature, error in alone if error is not None]
    if len(missing) in (0, len(_FEATURES)):
        raise failure
    options = ", ".join(f"CONFIG_{feature.option}" for feature, e in missing if e.remedy != _INSTALL)
    remedies = [_KERNEL.format(options)] if options else []
    remedies += [_INSTALL] if any(e.remedy == _INSTALL for _, e in missing) else []
    raise KernelError(f"iptables lacks {', '.join(f.name for f, _ in missing)}", remedy="; ".join(remedies))


def _attempt(fd: int, features: Iterable[_Feature]) -> KernelError | None:
    """Loads rules that need these features, in chains that are reached from their hooks."""
    scripts: dict[str, list[str]] = {}
    for table, hook, rule in sorted((f.table, f.hook, f.rule) for f in features):
        lines = scripts.setdefault(table, [f"*{table}"])
        if f":TRIAL-{hook} - [0:0]" not in lines:
            lines += [f":TRIAL-{hook} - [0:0]", f"-I {hook} 1 -j TRIAL-{hook}"]
        lines.append(f"-A TRIAL-{hook} {rule}")
    try:
        for lines in scripts.values():
            restore("", fd, "\n".join([*lines, "COMMIT", ""]))
    except KernelError as error:
        return error
    return None

"""The features of the machine that are looked up, not tried (`emulab.kernel.probe`)."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from emulab.kernel import machine, plugins
from emulab.kernel.cgroups.hierarchies import NO_MOUNT, NOT_OURS, hierarchies
from emulab.kernel.feature import Feature, tried
from emulab.kernel.processes.installed import installed
from emulab.kernel.rules import nft

_FILES_WANTED = 4096  # descriptors: a few hundred pods
_PROCESSES_WANTED = 4096
_NODES_WANTED = 1000


def machine_features(run_dir: Path) -> Iterator[Feature]:
    """All of them; `run_dir` is where labs keep their files."""
    yield tried(Feature("nftables binding", "nftables", True, "apt install python3-nftables"), nft.binding)
    folder = next(p for p in (run_dir, *run_dir.absolute().parents) if p.exists())
    yield Feature(
        "run folder",
        f"state of labs in {run_dir}",
        True,
        "set EMULAB_RUN_DIR to a folder of yours",
        "" if os.access(folder, os.W_OK) else f"{folder} is not writable",
    )
    if os.geteuid() == 0:
        writable = os.access("/run", os.W_OK)
        yield Feature(
            "/run", "names for ip netns", True, "mount /run writable", "" if writable else "not writable"
        )
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = hard == resource.RLIM_INFINITY or hard >= _FILES_WANTED
    yield Feature(
        "open files",
        "a descriptor for each namespace and socket",
        False,
        f"ulimit -Hn {_FILES_WANTED}",
        "" if enough else f"the limit is {hard}, which is enough for some {hard // 8} pods",
    )
    yield from _neighbours()
    yield _processes()
    yield _cgroups()
    yield _PLUGINS if plugins.file_of("bridge") else replace(_PLUGINS, problem="there are none")
    yield _FILTERED if plugins.filters_bridges() else replace(_FILTERED, problem="br_netfilter isn't loaded")
    yield from (_tool(name, purpose, package) for name, purpose, package in _TOOLS)


def _neighbours() -> Iterator[Feature]:
    """As an ordinary lab needs them: of a few hundred nodes."""
    limits, wanted = machine.neighbour_limits(), machine.neighbours_wanted(_NODES_WANTED)
    for version in (4, 6):
        limit = limits.get(version)
        purpose = f"nodes that know each other in IPv{version}, of all labs together"
        remedy, problem = "", ""
        if limit is None:
            purpose += " (their limit isn't to be seen in this network namespace)"
        elif limit.most < wanted:
            nodes = limit.most // machine.neighbours_wanted(1)
            remedy = limit.remedy.format(wanted)
            problem = f"{limit.name} is {limit.most}, which is enough for some {nodes} nodes"
        yield Feature(f"neighbours, IPv{version}", purpose, False, remedy, problem)


def _processes() -> Feature:
    limit = machine.process_limit()
    remedy = problem = ""
    if limit is not None and limit.most < _PROCESSES_WANTED:
        remedy = limit.remedy.format(_PROCESSES_WANTED)
        problem = f"{limit.name} is {limit.most}, which is enough for some {limit.most // 4} containers"
    return Feature("processes", "programs of containers; stand-ins need none", False, remedy, problem)


def _cgroups() -> Feature:
    found = hierarchies()
    missing = "; ".join(f"{name}: {why}" for name, why in found.missing.items())
    remedies = {
        NOT_OURS: "mount it writable (docker run --privileged)"
        if os.geteuid() == 0
        else "start it with systemd-run --user --scope -p Delegate=yes, or as root",
        NO_MOUNT: "mount a writable cgroup2",
    }
    known = [remedy for why, remedy in remedies.items() if why in found.missing.values()]
    what = f"limits of cpu, memory and processes for containers (version {2 if found.unified else 1}"
    added = f", {', '.join(found.enable)} enabled in {found.folders[0]} meanwhile" if found.enable else ""
    remedy = known[0] if known else "write +cpu +memory +pids to that file, once no process is beside it"
    return Feature("cgroups", f"{what}{added})", False, remedy, missing)


_PLUGINS = Feature(
    "CNI plug-ins", "pods' networks by plug-ins of this machine", False, f"apt install {plugins.PACKAGE}"
)
_FILTERED = Feature(
    "bridge netfilter",
    "Services and policies from a pod to another one of its node, where these are on a bridge",
    False,
    "modprobe br_netfilter",
)
_TOOLS = (
    ("curl", "requests", "curl"),
    ("dig", "DNS questions", "bind9-dnsutils"),
    ("ip", "looking at links and routes", "iproute2"),
    ("nft", "looking at rules", "nftables"),
    ("conntrack", "looking at connections", "conntrack"),
    ("tcpdump", "looking at packets", "tcpdump"),
    ("ping", "reachability", "iputils-ping"),
)
"""Programs that are useful inside a lab: name, what for, Debian package."""


def _tool(name: str, purpose: str, package: str) -> Feature:
    return Feature(name, purpose, False, f"apt install {package}", "" if installed(name) else "not installed")

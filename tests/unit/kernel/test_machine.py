"""Limits of the machine: that who meets one is told which, and that what there is is found."""

from __future__ import annotations

import os
import resource
import threading
from collections.abc import Callable

import pytest
from worlds import plan

from emulab.errors import KernelError
from emulab.kernel import machine
from emulab.kernel.machinefeatures import machine_features
from emulab.kernel.processes.installed import installed
from emulab.kinds.registry import CLUSTER
from emulab.lab.cni.shortfalls import shortfalls
from emulab.lab.folders import rundir


def nobody() -> int:
    """A user with no process on this machine, where others test beside this, too."""
    return 20_000 + os.getpid() % 40_000


def among_no_others(work: Callable[[], str]) -> str:
    """What `work` says in a process of a user who may have no other one."""
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        if os.geteuid() == 0:
            os.setuid(nobody())
        resource.setrlimit(resource.RLIMIT_NPROC, (1, 2))
        try:
            said = work()
        except BaseException as error:
            said = repr(error)
        os.write(write, said.encode())
        os._exit(0)
    os.close(write)
    with open(read) as pipe:
        said = pipe.read()
    os.waitpid(pid, 0)
    return said


def a_thread() -> str:
    try:
        machine.start(threading.Thread(target=print))
    except KernelError as error:
        return str(error)
    return "started"


def threads_of_a_loop() -> str:
    try:
        machine.Threads().submit(print)
    except KernelError as error:
        return str(error)
    return "started"


def two_jobs_for_one_thread() -> str:
    resource.setrlimit(resource.RLIMIT_NPROC, (2, 2))
    pool, go = machine.Threads(2), threading.Event()
    first, second = pool.submit(go.wait, 30), pool.submit(str, "done")
    go.set()
    return f"{first.result(30)} {second.result(30)}"


@pytest.mark.parametrize("work", [a_thread, threads_of_a_loop])
def test_who_may_have_no_more_processes_is_told_why(work: Callable[[], str]) -> None:
    assert among_no_others(work) == (
        "start a thread: EAGAIN (Resource temporarily unavailable); "
        "the limit of this user's processes (ulimit -u) is 1, so raise it: ulimit -u 4"
    )


def test_threads_that_there_are_do_the_work_of_those_that_may_not_be() -> None:
    if os.geteuid():
        pytest.skip("this user has other processes already")
    assert among_no_others(two_jobs_for_one_thread) == "True done"


def test_a_lab_that_needs_more_neighbours_than_the_machine_knows_is_told_before() -> None:
    limit = machine.neighbour_limits().get(4)
    if limit is None:
        pytest.skip("the limit isn't to be seen here")
    for nodes, problems in ((limit.most // 4, 0), (limit.most // 4 + 1, 1)):
        text = f"""
apiVersion: emulab.dev/v1
kind: Cluster
metadata: {{name: c}}
spec: {{nodes: {nodes}, podCIDR: 10.128.0.0/9, network: {{underlay: 172.16.0.0/16}}, ingress: {{replicas: 0}}}}
"""
        objects, _ = plan(text)
        found = [finding.line() for finding in shortfalls([*objects.kind(CLUSTER)], objects)]
        assert len(found) == problems
    assert f": Cluster/c spec.nodes: {limit.most // 4 + 1} nodes are some " in found[0]
    assert found[0].endswith(f"{limit.name}={8 * (limit.most // 4 + 1)}")


def test_daemons_are_found_by_who_has_no_sbin_in_their_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    tools = {f.name: f.problem for f in machine_features(rundir.base()) if f.name in ("nft", "tcpdump", "ip")}
    assert tools == {name: "" if installed(name) else "not installed" for name in tools} and len(tools) == 3
    assert installed("nft") is None or not tools["nft"]

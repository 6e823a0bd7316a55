"""`emulab cni`: a lab's network as a CNI plug-in, which attaches containers that others run.

A container runtime calls it by its `type`, `emulab`, without any argument and with CNI_COMMAND in its environment; by
hand the command is an argument. Its answer is JSON on standard output, failures too.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from emulab.cli.attachments import (
    COMMANDS,
    CONFIGURATION,
    FAILED,
    IO,
    LATER,
    NETWORK,
    UNAVAILABLE,
    UNKNOWN_CONTAINER,
    VERSIONS,
    Call,
    CniError,
    call_of,
    differences,
    pod_of,
    result,
)
from emulab.errors import EmulabError, NotUp
from emulab.kernel.names import is_network_namespace
from emulab.kinds.core.podspec import FOREIGN
from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.registry import CLUSTER, NAMESPACE, POD
from emulab.lab.client.client import LabClient, connect
from emulab.model.objects import Object
from emulab.plan.cni.plugin import Node

_MOST = 1 << 20  # bytes of a configuration


def configure(parser: argparse.ArgumentParser) -> None:
    parser.usage = "emulab cni [-l LAB] [ADD|DEL|CHECK|GC|STATUS|VERSION] <CONFIGURATION"
    parser.add_argument(
        "cni_command",
        nargs="?",
        choices=COMMANDS,
        metavar="COMMAND",
        help="ADD, DEL, CHECK, GC, STATUS or VERSION (default: $CNI_COMMAND)",
    )


def run(options: argparse.Namespace) -> int:
    version = VERSIONS[-1]
    try:
        command = options.cni_command or os.environ.get("CNI_COMMAND", "")
        call = call_of(command, os.environ, sys.stdin.read(_MOST))
        version = call.version
        answer = _answer(call, options.lab if options.lab_given else "")
    except CniError as error:
        print(json.dumps(error.answer(version), indent=4))
        return 1
    except (EmulabError, OSError) as error:
        print(json.dumps(CniError(FAILED, str(error)).answer(version), indent=4))
        return 1
    if answer is not None:
        print(json.dumps(answer, indent=4))
    return 0


def _answer(call: Call, lab: str) -> dict[str, Any] | None:
    """What is printed of a call that succeeds. Raises EmulabError and OSError."""
    if call.command == "VERSION":
        return {"cniVersion": call.version, "supportedVersions": list(VERSIONS)}
    if folder := call.config.get("runDir"):
        os.environ["EMULAB_RUN_DIR"] = str(folder)
    name = lab or str(call.config.get("lab") or os.environ.get("EMULAB_LAB") or "default")
    try:
        with connect(name) as client:
            match call.command:
                case "ADD":
                    return _add(call, client)
                case "DEL":
                    _remove(client, [pod for pod in _attached(client) if _is_of(pod, call)])
                case "CHECK":
                    _check(call, client)
                case "GC":
                    _collect(call, client)
            return None
    except NotUp as error:
        if call.command in ("DEL", "GC"):
            return None  # it has gone with its lab
        raise CniError(UNAVAILABLE if call.command == "STATUS" else LATER, str(error)) from None


def _add(call: Call, client: LabClient) -> dict[str, Any]:
    cluster = _cluster(client)
    if cluster.chain:
        raise CniError(
            CONFIGURATION, "the lab's own pods have their network from plug-ins: use these (network.cni)"
        )
    if any(_is_of(pod, call) for pod in _attached(client)):
        raise CniError(
            CONFIGURATION, f"container {call.container} has been attached by {call.interface} already"
        )
    pod = pod_of(call, {o["metadata"]["name"]: o for o in _all(client, NAMESPACE)})
    namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
    if client.request("get", group="", kind="Pod", namespace=namespace, name=name):
        raise CniError(
            CONFIGURATION, f"the lab has a Pod {namespace}/{name} already; podName takes another name"
        )
    with _opened(call.namespace) as fd:
        client.send({"op": "give", "name": call.owner}, [fd])
        client.answer()
    try:
        client.request("apply", sources=[["cni", json.dumps(pod)]])
        [there] = client.request("get", group="", kind="Pod", namespace=namespace, name=name)
        if not there.get("status", {}).get("podIPs"):
            _remove(client, [Object(there)])
            raise CniError(LATER, f"Pod {namespace}/{name} has no network", _why(there))
    except EmulabError:
        client.request("give", name=call.owner)
        raise
    return result(call, Object(there), cluster, _node(client, there["spec"]["nodeName"]))


def _node(client: LabClient, name: str) -> Node:
    [there] = client.request("get", group="", kind="Node", namespace="", name=name)
    return Node.of(Object(there))


def _why(pod: dict[str, Any]) -> str:
    conditions = pod.get("status", {}).get("conditions") or ()
    return str(
        pod["status"].get("message") or next((c["message"] for c in conditions if c.get("message")), "")
    )


@contextmanager
def _opened(path: str) -> Iterator[int]:
    """A network namespace by its path. Raises CniError where there is none, or it is this machine's own."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise CniError(IO, f'failed to open netns "{path}": {error.strerror}') from None
    try:
        if not is_network_namespace(fd):
            raise CniError(IO, f'failed to open netns "{path}": it is no network namespace')
        if os.fstat(fd).st_ino in _own():
            raise CniError(CONFIGURATION, f'netns "{path}" is this machine\'s own, which no lab changes')
        yield fd
    finally:
        os.close(fd)


def _own() -> set[int]:
    found = set()
    for process in ("self", "1"):
        try:
            found.add(os.stat(f"/proc/{process}/ns/net").st_ino)
        except OSError:
            continue  # another user's
    return found


def _check(call: Call, client: LabClient) -> None:
    pod = next((pod for pod in _attached(client) if _is_of(pod, call)), None)
    if pod is None:
        raise CniError(UNKNOWN_CONTAINER, f"container {call.container} isn't attached by {call.interface}")
    if why := differences(call, pod):
        raise CniError(FAILED, why)


def _collect(call: Call, client: LabClient) -> None:
    """Lets go of the containers of this network that their runtime doesn't have any more."""
    valid = {f"{a['containerID']}/{a['ifname']}" for a in call.config.get("cni.dev/valid-attachments") or ()}
    pods = (pod for pod in _attached(client) if pod.annotations.get(NETWORK) == call.network)
    _remove(client, [pod for pod in pods if pod.annotations[FOREIGN] not in valid])


def _remove(client: LabClient, pods: list[Object]) -> None:
    for pod in pods:
        client.request("delete", keys=[[*pod.key]], ignore_missing=True, grace=0)


def _attached(client: LabClient) -> list[Object]:
    return [Object(o) for o in _all(client, POD) if FOREIGN in (o["metadata"].get("annotations") or {})]


def _is_of(pod: Object, call: Call) -> bool:
    return pod.annotations[FOREIGN] == call.owner


def _all(client: LabClient, kind: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.request("get", group=kind.group, kind=kind.kind)
    return found


def _cluster(client: LabClient) -> Cluster:
    found = _all(client, CLUSTER)
    return Cluster.of(Object(found[0])) if found else Cluster()

"""Names of places and pods, as users write them, and what it takes to run a program there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from emulab.errors import UserError
from emulab.kinds.core.podspec import FOREIGN, Container, PodSpec
from emulab.kinds.emulab.clusterview import cluster_of
from emulab.kinds.kind import WORKLOAD, Kind
from emulab.kinds.registry import KINDS, POD, SERVICE
from emulab.lab.kubelet.kubelet import Kubelet
from emulab.lab.supervisor.servedfiles import served_folders
from emulab.lab.supervisor.surroundings import Surroundings, write_place_files
from emulab.model.families import families_of
from emulab.model.objects import Object
from emulab.model.selectors import label_selector_of, matches_selector
from emulab.plan.pods import place_name
from emulab.plan.state import Place


def find_place(around: Surroundings, target: str, namespace: str) -> tuple[Place, Object | None]:
    """The place behind `client`, `node1`, `pod/NAME`, `deploy/NAME`, `svc/NAME` or a pod's bare name; the pod, if
    it is one.

    Raises UserError that says what there is.
    """
    world = around.world
    if world is None:
        raise UserError("the lab is still being built")
    place = world.places.get(target)
    if place is not None:
        pod = _pod_of(around, place)
    else:
        pod = find_pod(around, target, namespace)
        place = world.places.get(place_name(pod))
        if place is None:
            state = pod.status.get("message") or pod.status.get("phase", "Pending")
            raise UserError(f"pod {pod.name} has no network: {state}")
    if place.namespace not in around.handles:  # it goes just now, and the world without it is still to come
        raise UserError(f"{target}: its network is being taken away")
    return place, pod


def spoken_by(around: Surroundings, place: Place) -> list[int]:
    """The families that a place speaks, the primary one first, as sockets have them; those of the lab where it has no
    address."""
    families = cluster_of(around.store.objects()).families
    own = [family.number for family in families_of(place.addresses) if family in families]
    return own or [family.number for family in families]


def find_pod(around: Surroundings, target: str, namespace: str) -> Object:
    """The pod behind `pod/NAME`, `deploy/NAME`, `svc/NAME` or a bare name, running or not. Raises UserError."""
    word, slash, name = target.partition("/")
    kind = KINDS.named(word)
    if not slash:
        pod = around.store.get(POD.key(namespace, target))
    elif kind == POD:
        pod = around.store.get(POD.key(namespace, name))
    elif kind is not None and (kind == SERVICE or WORKLOAD in kind.categories):
        return _pod_behind(around, kind, namespace, name)
    else:
        raise UserError(f"{target}: a target is a place, pod/NAME, deploy/NAME or svc/NAME")
    if pod is None:
        raise UserError(
            f"{target}: {_no_such_pod(around, name if slash else target, bool(slash), namespace)}"
        )
    return pod


def _no_such_pod(around: Surroundings, name: str, asked: bool, namespace: str) -> str:
    """Why there is nothing of that name. `asked`: for a pod alone, and for no place."""
    places = around.world.places if around.world else {}
    if asked and name in places and places[name].kind != "pod":
        return f"no such pod in namespace {namespace}; {name} is a place, and sees the files of this machine"
    return f"no such place, and no such pod in namespace {namespace}; there are {_names(places)}"


def _pod_of(around: Surroundings, place: Place) -> Object | None:
    namespace, _, name = place.name.partition(".")
    return around.store.get(POD.key(namespace, name)) if place.kind == "pod" else None


def _names(places: Mapping[str, Place]) -> str:
    return ", ".join(p.name for p in places.values() if p.kind != "pod")


def _pod_behind(around: Surroundings, kind: Kind, namespace: str, name: str) -> Object:
    """A pod that a workload or a Service selects, a ready one first."""
    o = around.store.get(kind.key(namespace, name))
    if o is None:
        raise UserError(f"{kind.singular} {name!r} not found in namespace {namespace}")
    selector = label_selector_of(o.spec)
    if not selector:
        raise UserError(f"{kind.singular} {name!r} has no selector, so no pods are behind it")
    pods = [
        p
        for p in around.store.objects().kind(POD, namespace)
        if matches_selector(selector, p.labels)
        and p.status.get("podIPs")
        and not p.metadata.get("deletionTimestamp")
    ]
    pods.sort(key=lambda p: (not is_ready(p), p.name))
    if not pods:
        raise UserError(f"{kind.singular} {name!r} has no running pod")
    return pods[0]


def is_ready(pod: Object) -> bool:
    """Whether a Pod's condition Ready is True."""
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod.status.get("conditions") or ())


def is_contained(around: Surroundings, target: str, namespace: str) -> bool:
    """Whether a program there is in a container, with what that may do, and not the lab's own. Raises UserError.

    NAMESPACE.POD is the pod's network alone, with the lab's rights; of a foreign pod there is nothing else.
    """
    place, pod = find_place(around, target, namespace)
    return pod is not None and target != place.name and FOREIGN not in pod.annotations


async def describe_entry(
    around: Surroundings, kubelet: Kubelet, target: str, namespace: str, container: str, supervisor: int
) -> dict[str, Any]:
    """What a process needs to enter a target, as the fields of `enter.Entry`.

    Paths are below `/proc/PID` with numbers of the host, where PID is the supervisor or the container. The supervisor
    can open them as well, in the same turn of its loop: its /proc is the host's.
    """
    place, pod = find_place(around, target, namespace)
    process = f"/proc/{supervisor}"
    entry: dict[str, Any] = {
        "join": {
            "user": f"{process}/ns/user",
            "pid": f"{process}/ns/pid",
            "net": f"{process}/fd/{around.handles[place.namespace].fd}",
        },
        "fresh": ["mnt", "uts"],
        "hostname": place.hostname,
        "environment": {},
        "working_directory": "",
    }
    if pod is None or not is_contained(around, target, namespace):
        if container:
            raise UserError(f"{target} has no containers, and so no {container!r}")
        served = await served_folders(around, place)
        return {**entry, "files": {**write_place_files(around, place), **served}}
    spec = PodSpec.of_pod(pod)
    chosen = find_container(pod, (*spec.containers, *spec.sidecars), container)
    worker = kubelet.worker(pod)
    if worker is None:
        raise UserError(f"pod {pod.name} does not run: {pod.status.get('phase', 'Pending')}")
    runner = worker.runners.get(chosen.name)
    runtime = worker.environs.runtime
    if runner is None:
        beside = await worker.environs.beside(chosen, ())
        entered = await runtime.run(await worker.environs.sandbox(), beside)
    elif runner.running:
        entered = runtime.exec(runner.id)
    else:
        why = runner.state.waiting or "ContainerCreating"
        raise UserError(f"container {chosen.name} of pod {pod.name} does not run: {why}")
    return {**entered, "join": {**entry["join"], **entered["join"]}}


def has_ended(
    around: Surroundings, kubelet: Kubelet, target: str, namespace: str, container: str
) -> Callable[[], bool]:
    """What tells whether the container that runs there now has ended since. Raises UserError.

    Whoever enters it just then may come too late to end with it, where it isn't alone in its PID namespace.
    """
    _, pod = find_place(around, target, namespace)
    if pod is None or not is_contained(around, target, namespace):
        return lambda: False
    spec, worker = PodSpec.of_pod(pod), kubelet.worker(pod)
    name = find_container(pod, (*spec.containers, *spec.sidecars), container).name
    runner = worker.runners.get(name) if worker is not None else None
    if worker is None:
        return lambda: False
    runtime = worker.environs.runtime
    if runner is None:
        return lambda: worker.environs.stopped
    id = runner.id
    return lambda: not runtime.is_enterable(id)


def find_container(pod: Object, containers: Sequence[Container], name: str) -> Container:
    """The container of that name, the first one without a name. Raises UserError."""
    found = next((c for c in containers if c.name == name or not name), None)
    if found is None:
        names = ", ".join(c.name for c in containers)
        raise UserError(f"pod {pod.name} has no container {name!r}; it has {names}")
    return found

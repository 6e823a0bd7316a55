"""A store, a kubelet and short ways to write objects, as little of each as the controllers' tests need."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from emulab.cluster.controllers import reconcile
from emulab.cluster.controllers.world import rfc3339
from emulab.kinds.kind import Kind
from emulab.kinds.registry import KINDS, POD
from emulab.model.collection import Delete, Objects, Put, PutStatus, Tell
from emulab.model.facts import Facts
from emulab.model.objects import Key, Object

Raw = dict[str, Any]


def of_kind(name: str) -> Kind:
    kind = KINDS.named(name)
    assert kind is not None
    return kind


def make(kind: str, name: str, namespace: str = "default", **fields: Any) -> Object:
    metadata: Raw = {"name": name, **fields.pop("metadata", {})}
    if namespace:
        metadata["namespace"] = namespace
    return Object({"apiVersion": of_kind(kind).api_version, "kind": kind, "metadata": metadata, **fields})


def node(name: str, zone: str = "", pods: int | str = 110, **spec: Any) -> Object:
    labels = {"kubernetes.io/hostname": name} | ({"topology.kubernetes.io/zone": zone} if zone else {})
    status = {"allocatable": {"pods": pods}}
    return make("Node", name, "", metadata={"labels": labels}, spec=spec, status=status)


def template(app: str = "web", image: str = "v1", **spec: Any) -> Raw:
    container = {"name": "c", "image": image, "ports": [{"name": "http", "containerPort": 8080}]}
    return {"metadata": {"labels": {"app": app}}, "spec": {"containers": [container], **spec}}


def workload(kind: str, name: str, replicas: int = 1, **spec: Any) -> Object:
    pods = spec.pop("template", None) or template(name)
    selector = {"matchLabels": pods["metadata"]["labels"]}
    count = {} if kind == "DaemonSet" else {"replicas": replicas}
    return make(kind, name, spec={**count, "selector": selector, "template": pods, **spec})


def service(name: str, app: str = "web", **spec: Any) -> Object:
    ports = [{"name": "http", "port": 80, "targetPort": "http"}]
    return make("Service", name, spec={"selector": {"app": app}, "ports": ports, **spec})


class Store:
    """Keeps objects as the lab does: uids, generations, graceful ends; `kubelet` runs the Pods."""

    def __init__(self, *objects: Object, now: float = 1_700_000_000.0, graceful: bool = True) -> None:
        self.objects: dict[Key, Object] = {}
        self.now = now
        self.graceful = graceful
        self.told: list[Tell] = []
        self.seen: list[list[Any]] = []  # the changes of every call
        self._serial = 0
        self._kinds: dict[tuple[str, str], dict[Key, Object]] = {}
        self._facts = Facts()
        for o in objects:
            self.put(o)

    def put(self, o: Object) -> None:
        old = self.objects.get(o.key)
        metadata = dict(o.metadata)
        if old is None:
            self._serial += 1
            metadata.setdefault("uid", f"uid-{self._serial}")
            metadata.setdefault(
                "creationTimestamp", f"2023-11-14T22:{self._serial // 60:02}:{self._serial % 60:02}Z"
            )
            metadata["generation"] = 1
        else:
            metadata = {**{f: old.metadata[f] for f in ("uid", "creationTimestamp")}, **metadata}
            metadata["generation"] = old.metadata["generation"] + (old.spec != o.spec)
        let_go = old is not None and old.metadata.get("finalizers") and not o.metadata.get("finalizers")
        if let_go and "deletionTimestamp" in metadata and o.status.get("phase") != "Running":
            del self.objects[o.key]
            return
        self.objects[o.key] = o.replace(metadata=metadata)

    def delete(self, key: Key) -> None:
        o = self.objects[key]
        runs = self.graceful and o.status.get("phase") == "Running"
        if key.type == POD and (runs or o.metadata.get("finalizers")):
            assert "deletionTimestamp" not in o.metadata, f"{key} deleted twice"
            self.put(o.replace(metadata={**o.metadata, "deletionTimestamp": "2023-11-14T22:13:20Z"}))
        else:
            del self.objects[key]

    def snapshot(self) -> Objects:
        """The objects; those of a kind of which none has changed are the same mapping, as in the lab's store."""
        kinds: dict[tuple[str, str], dict[Key, Object]] = {}
        for key, o in self.objects.items():
            kinds.setdefault(key[:2], {})[key] = o
        for kind, members in kinds.items():
            old = self._kinds.get(kind, {})
            if [*map(id, old.values())] == [*map(id, members.values())]:
                kinds[kind] = old
        self._kinds = kinds
        return Objects.of_kinds(kinds, frozenset(), self._facts)

    def step(self) -> int:
        """One call of `reconcile`, applied; how many changes it made."""
        changes = reconcile(self.snapshot(), self.now)
        anew = reconcile(Objects(self.objects.values()), self.now)
        assert changes == anew, "what controllers remember of other calls makes a difference"
        self.seen.append(changes)
        for change in changes:
            match change:
                case Put(o):
                    old = self.objects.get(o.key)
                    asked = o.replace(status=old.status if old else {})
                    assert old != asked, f"{o.key} put although nothing changed"
                    self.put(asked)
                case PutStatus(key, status):
                    assert self.objects[key].status != status, f"{key} has that status already"
                    self.put(self.objects[key].replace(status=status))
                case Delete(key):
                    self.delete(key)
                case Tell():
                    self.told.append(change)
                    self.put(self._event(change))
        return len(changes)

    def _event(self, told: Tell) -> Object:
        about = {"kind": told.about.kind, "name": told.about.name, "uid": told.about.metadata["uid"]}
        fields = {"reason": told.reason, "message": told.message, "lastTimestamp": rfc3339(self.now)}
        return make("Event", f"{told.about.name}.{len(self.told)}", involvedObject=about, **fields)

    def settle(self, limit: int = 20) -> int:
        """Calls until nothing changes; the number of calls that changed something."""
        for calls in range(limit):
            if not self.step():
                return calls
        raise AssertionError(f"no fixpoint after {limit} calls: {self.seen[-1]}")

    def kubelet(self, start: Callable[[Object], bool] = lambda pod: True, end: bool = True) -> None:
        """Starts placed Pods that `start` picks, Ready and with an address; ends those that are ending."""
        for key, pod in list(self.objects.items()):
            if key.type != POD:
                continue
            if "deletionTimestamp" in pod.metadata:
                if end:
                    del self.objects[key]
            elif pod.spec.get("nodeName") and pod.status.get("phase", "Pending") == "Pending" and start(pod):
                self.run(pod)

    def run(self, pod: Object, ready: bool = True, ip: str = "") -> None:
        """Makes the Pod Running, with an address, and Ready or not."""
        self._serial += 1
        others = [c for c in pod.status.get("conditions", ()) if c["type"] != "Ready"]
        address = pod.status.get("podIP") or ip or f"10.244.{self._serial // 250}.{self._serial % 250 + 1}"
        at = "2023-11-14T22:13:20Z"  # now, when the store began
        condition = {"type": "Ready", "status": str(ready), "lastTransitionTime": at}
        status = {**pod.status, "phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}
        self.put(pod.replace(status={**status, "conditions": [*others, condition]}))

    def converge(self, limit: int = 60) -> None:
        """Reconciles and runs Pods until both have nothing to do."""
        for _ in range(limit):
            self.settle()
            before = dict(self.objects)
            self.kubelet()
            if self.objects == before:
                return
        raise AssertionError("no end in sight")

    def edit(self, kind: str, name: str, **spec: Any) -> None:
        o = self.get(kind, name)
        self.put(o.replace(spec={**o.spec, **spec}))

    def get(self, kind: str, name: str, namespace: str = "default") -> Object:
        return self.objects[of_kind(kind).key(namespace, name)]

    def all(self, kind: str) -> list[Object]:
        return [o for key, o in self.objects.items() if key.type == of_kind(kind)]

    def pods(self) -> list[Object]:
        """The Pods that are not ending."""
        return [pod for pod in self.all("Pod") if "deletionTimestamp" not in pod.metadata]

    def ready(self) -> list[Object]:
        return [pod for pod in self.pods() if {"Ready": "True"}.items() <= conditions(pod).items()]


def conditions(o: Object) -> dict[str, str]:
    return {c["type"]: c["status"] for c in o.status.get("conditions", ())}


def names(objects: Iterable[Object]) -> list[str]:
    return sorted(o.name for o in objects)


def images(pods: Iterable[Object]) -> set[str]:
    return {pod.spec["containers"][0]["image"] for pod in pods}

"""What ingress controllers tell of Ingresses, from one state of a lab's objects to the next. Pure but for what it
remembers.

* Each time that an Ingress which it serves is another one, or is served now, a controller says that it is scheduled for
  sync; what its ConfigMaps say anew it tells of these (internal/ingress/controller/store of ingress-nginx). Each
  change of an Ingress' status is one, too, so most have two of these at once.
* What is wrong with the certificate of a host is told of the Ingress by which the host has it, once as long as it stays
  wrong. Where ingress-nginx writes so into its log alone, here Events say it as well: in its words.

All replicas of a controller are one teller here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.networking.ingressclasses import IngressClasses
from emulab.kinds.networking.ingressview import Ingress, oldest_first
from emulab.kinds.networking.servernames import CertificateProblem, certificates_of, server_names
from emulab.kinds.registry import CONFIG_MAP, INGRESS, SECRET
from emulab.model.collection import NORMAL, WARNING, Objects, Tell
from emulab.model.keys import Key
from emulab.model.members import Members, changed_keys
from emulab.model.objects import Object

COMPONENT = "nginx-ingress-controller"
_Wrong = tuple[Key, CertificateProblem]


class IngressEvents:
    """What has been told of one lab's Ingresses."""

    def __init__(self) -> None:
        self._ingresses: Members = {}
        self._secrets: Members = {}
        self._config_maps: Members = {}
        self._classes: IngressClasses | None = None
        self._served: frozenset[Key] = frozenset()
        self._wrong: frozenset[_Wrong] = frozenset()

    def told(self, objects: Objects, cluster: Cluster, now: float) -> list[Tell]:
        """What is to be told of these objects; `now` is Unix time."""
        classes = IngressClasses.among(objects, cluster)
        ingresses, secrets = objects.members(INGRESS), objects.members(SECRET)
        found = [*self._of_config_maps(objects.members(CONFIG_MAP), classes)]
        changed = changed_keys(self._ingresses, ingresses)
        other_classes = classes != self._classes
        if changed or other_classes:
            served = frozenset(key for key, o in ingresses.items() if _telling(classes, o))
            found += [
                Tell(ingresses[key], NORMAL, "Sync", "Scheduled for sync", COMPONENT)
                for key in ingresses
                if key in served and (key in changed or key not in self._served)
            ]
            self._served = served
        if changed or other_classes or secrets is not self._secrets:
            wrong = frozenset(_wrong(objects, classes, now))
            for key, problem in sorted(wrong - self._wrong):
                found.append(Tell(ingresses[key], WARNING, problem.reason, problem.message, COMPONENT))
            self._wrong = wrong
        self._ingresses, self._secrets, self._classes = ingresses, secrets, classes
        return found

    def _of_config_maps(self, there: Members, classes: IngressClasses) -> Iterator[Tell]:
        before, self._config_maps = self._config_maps, there
        if there is before:
            return
        flags = [one.flags for one in classes.controllers if one.flags.sync_events]
        named = {name for f in flags for name in (f.config_map, f.tcp_services, f.udp_services) if name}
        for name in sorted(named):
            namespace, _, own = name.partition("/")
            key = CONFIG_MAP.key(namespace, own)
            o, old = there.get(key), before.get(key)
            if o is not None and o is not old:
                reason = "CREATE" if old is None else "UPDATE"
                yield Tell(o, NORMAL, reason, f"ConfigMap {name}", COMPONENT)


def _telling(classes: IngressClasses, o: Object) -> bool:
    """Whether somebody serves an Ingress, and tells of it."""
    return any(controller.flags.sync_events for controller in classes.serving(Ingress.of(o)))


def _wrong(objects: Objects, classes: IngressClasses, now: float) -> Iterator[_Wrong]:
    """What is wrong with the certificates of hosts, of each controller by itself."""

    def secret(namespace: str, name: str) -> Object | None:
        return objects.get(SECRET.key(namespace, name))

    there: Sequence[Ingress] = oldest_first(map(Ingress.of, objects.kind(INGRESS)))
    for controller in classes.controllers:
        if not controller.flags.sync_events:
            continue
        own = [one for one in there if classes.takes(controller.flags, one)]
        for certificate in certificates_of(server_names(own, secret)):
            problem = certificate.problem_at(now)
            if problem is not None:
                by = certificate.ingress
                yield INGRESS.key(by.namespace, by.name), problem

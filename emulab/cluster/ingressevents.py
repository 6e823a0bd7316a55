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

from collections.abc import Iterable, Iterator, Mapping
from math import inf

from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.networking.ingressclasses import IngressClasses
from emulab.kinds.networking.ingressview import Ingress, oldest_first
from emulab.kinds.networking.servernames import (
    CertificateProblem,
    HostCertificate,
    certificates_of,
    server_names,
)
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
        self._secured: Mapping[Key, Ingress] = {}
        self._wrong: frozenset[_Wrong] = frozenset()
        self.due = inf  # when the dates of a certificate make it another matter (Unix time)

    def told(self, objects: Objects, cluster: Cluster, now: float) -> list[Tell]:
        """What is to be told of these objects; `now` is Unix time."""
        classes = IngressClasses.among(objects, cluster)
        ingresses, secrets = objects.members(INGRESS), objects.members(SECRET)
        found = [*self._of_config_maps(objects.members(CONFIG_MAP), classes)]
        changed = set(changed_keys(self._ingresses, ingresses))
        other_classes = classes != self._classes
        if changed or other_classes:
            asked = ingresses.keys() if other_classes else changed & ingresses.keys()
            served = frozenset(key for key in asked if _telling(classes, ingresses[key]))
            served |= self._served & ingresses.keys() - asked
            found += [
                Tell(ingresses[key], NORMAL, "Sync", "Scheduled for sync", COMPONENT)
                for key in ingresses
                if key in served and (key in changed or key not in self._served)
            ]
            self._served = served
        secured = objects.facts(INGRESS, _with_tls)
        others = secured is not self._secured or secrets is not self._secrets
        if others or other_classes or now >= self.due:
            shown = [*_shown(objects, classes, secured.values())]
            wrong = frozenset(_wrong(shown, now))
            self.due = min((time for one in shown for time in one.turns if time > now), default=inf)
            for key, problem in sorted(wrong - self._wrong):
                found.append(Tell(ingresses[key], WARNING, problem.reason, problem.message, COMPONENT))
            self._wrong = wrong
        self._ingresses, self._secrets, self._classes = ingresses, secrets, classes
        self._secured = secured
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


def _wrong(shown: Iterable[HostCertificate], now: float) -> Iterator[_Wrong]:
    for one in shown:
        if (problem := one.problem_at(now)) is not None:
            yield INGRESS.key(one.ingress.namespace, one.ingress.name), problem


def _with_tls(o: Object) -> Ingress | None:
    """Of an Ingress with a TLS section: by no other one is a certificate decided."""
    return Ingress.of(o) if o.spec.get("tls") else None


def _shown(
    objects: Objects, classes: IngressClasses, secured: Iterable[Ingress]
) -> Iterator[HostCertificate]:
    """The certificates of hosts, of each controller by itself."""

    def secret(namespace: str, name: str) -> Object | None:
        return objects.get(SECRET.key(namespace, name))

    there = oldest_first(secured)
    for controller in classes.controllers:
        if controller.flags.sync_events:
            own = [one for one in there if classes.takes(controller.flags, one)]
            yield from certificates_of(server_names(own, secret))

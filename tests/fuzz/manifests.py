"""Hostile manifests: sound ones with things changed, and texts that are hardly YAML, up to the plan of a lab.

Whatever comes in, what comes out is a plan that can be printed, or errors of one line each that say where. Nothing
takes longer than a person would wait, however large the numbers in it.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from random import Random
from typing import Any

import yaml

from emulab.cluster.admission.loader import load
from emulab.errors import ManifestError, UserError
from emulab.lab.offline import offline_world
from emulab.lab.supervisor.readiness import not_ready
from emulab.model.sources import Source
from emulab.observe.telling.escapes import visible
from emulab.plan import render

_NAME = "fuzz.yaml"
_PATIENCE = (
    15.0  # seconds of the processor for one manifest: a plan of all that its nodes have room for takes two
)
_TOPOLOGIES = Path(__file__).resolve().parents[2] / "topologies"
_MOST_NODES = 8  # a plan of 200 full nodes takes a minute, as there is so much in it

_MORE = """
apiVersion: emulab.dev/v1
kind: Cluster
metadata: {name: c}
spec:
  nodes: [{name: node1, zone: a, labels: {disk: ssd}}, {name: node2}]
  podCIDR: 10.2.0.0/16
  serviceCIDR: 10.96.0.0/16
  network: {mode: routed, mtu: 1400}
  proxy: {mode: iptables}
  ingress: {replicas: 2, upstream: endpoints}
---
apiVersion: emulab.dev/v1
kind: LoadBalancer
metadata: {name: inner}
spec: {network: vpc, address: 10.0.0.100, ports: [80], target: {service: {namespace: default, name: db, port: 5432}},
       sourceRanges: [10.0.0.0/24]}
---
apiVersion: emulab.dev/v1
kind: Client
metadata: {name: office}
spec: {network: vpc}
---
apiVersion: emulab.dev/v1
kind: Zone
metadata: {name: example.org}
spec: {visibility: public, records: [{name: a, type: A, value: 203.0.113.99, ttl: 30}, {name: t, type: TXT, value: x}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  replicas: 2
  serviceName: db
  podManagementPolicy: Parallel
  ordinals: {start: 3}
  minReadySeconds: 1
  selector: {matchLabels: {app: db}}
  updateStrategy: {type: RollingUpdate, rollingUpdate: {partition: 1}}
  template:
    metadata: {labels: {app: db}}
    spec:
      nodeSelector: {disk: ssd}
      terminationGracePeriodSeconds: 3
      hostAliases: [{ip: 10.1.2.3, hostnames: [x.example]}]
      dnsConfig: {nameservers: [10.0.0.2], searches: [a.example], options: [{name: ndots, value: "2"}]}
      initContainers: [{name: i, image: x, restartPolicy: Always}]
      containers:
        - name: c
          image: x
          command: [sleep, "5"]
          env: [{name: A, value: b}, {name: N, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]
          ports: [{name: sql, containerPort: 5432, hostPort: 5432}]
          readinessProbe: {tcpSocket: {port: sql}, periodSeconds: 1, initialDelaySeconds: 1}
      topologySpreadConstraints:
        - {maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: ScheduleAnyway,
           labelSelector: {matchLabels: {app: db}}}
---
apiVersion: v1
kind: Service
metadata: {name: db, annotations: {a: b}}
spec: {clusterIP: None, selector: {app: db}, ports: [{name: sql, port: 5432, targetPort: sql}]}
---
apiVersion: v1
kind: Service
metadata: {name: lb}
spec: {type: LoadBalancer, externalTrafficPolicy: Local, sessionAffinity: ClientIP, selector: {app: db},
       sessionAffinityConfig: {clientIP: {timeoutSeconds: 10}}, loadBalancerSourceRanges: [198.51.100.0/24],
       externalIPs: [192.0.2.7], ports: [{port: 80, targetPort: 5432, nodePort: 30080, protocol: TCP}]}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent}
spec:
  selector: {matchLabels: {app: agent}}
  updateStrategy: {rollingUpdate: {maxUnavailable: 50%}}
  template:
    metadata: {labels: {app: agent}}
    spec: {hostNetwork: true, containers: [{name: a, image: x, ports: [{containerPort: 9100}]}]}
---
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: rs, annotations: {deployment.kubernetes.io/revision: "2", deployment.kubernetes.io/max-replicas: "3"}}
spec:
  replicas: 1
  selector: {matchExpressions: [{key: app, operator: In, values: [rs]}]}
  template: {metadata: {labels: {app: rs}}, spec: {containers: [{name: c, image: x}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: s, labels: {kubernetes.io/service-name: manual}}
addressType: IPv4
ports: [{name: "", port: 80}]
endpoints: [{addresses: [10.0.0.77], conditions: {ready: true}}]
---
apiVersion: v1
kind: Service
metadata: {name: manual}
spec: {ports: [{port: 80}]}
"""
_WORDS = """
    ~ null NaN None * - . / % 100% -1% 0x10 1e3 0o17 1_000 2024-01-01 12:30 99999999 80 true yes on << १२ ² 😀 ä.ö xn--a
    10.0.0.1 10.0.0.0/8 0.0.0.0/0 ::/0 fd00::1 fe80::1%eth0 10.0.0.300 1.2.3.4/33 ::ffff:1.2.3.4 A.b -a a- a..b
    *.example.com $(A) {{x}} `id` $(id) ';DROP ../../etc/passwd /dev/zero con
"""
_STRANGE = [
    "",
    " ",
    "\x1b]0;x\x07",
    "\x9b31m",
    "\u202etxt",
    "\x7f",
    "\r",
    "a\nb",
    "\t",
    "\x00",
    "\ufeff",
    "\u2028",
]
_LONG = [
    "9" * 30,
    "9" * 5000,
    "9" * 5000 + "%",
    "1" * 20 + "s",
    *("a" * n for n in (63, 64, 253, 254, 100_000)),
]
_SMALL = [0, -1, 1, 2, 80, 255, 65535, 65536, 100_000, 99_999_999, -(10**9)]
_LARGE = [(1 << 31) - 1, 1 << 31, 1 << 53, 1 << 63, (1 << 64) - 1, 10**19]
_REALS = [0.5, -0.0, 1e20, 1e308, float("inf"), float("nan")]
_NESTED = [
    [],
    {},
    ["a"],
    [None],
    [[]],
    [{}],
    [1, "a"],
    {"a": None},
    {"": ""},
    {"a": {"b": {"c": []}}},
    {1: 2},
]
_ODD: list[Any] = [
    None,
    True,
    False,
    "\ud800",
    *_WORDS.split(),
    *_STRANGE,
    *_LONG,
    *_SMALL,
    *_LARGE,
    *_REALS,
    *_NESTED,
]
_KEYS = [odd for odd in _ODD if not isinstance(odd, list | dict)]
_TEXTS = [odd for odd in _ODD if type(odd) is str]

_ANNOTATIONS = """
    nginx.ingress.kubernetes.io/rewrite-target nginx.ingress.kubernetes.io/ssl-redirect kubernetes.io/ingress.class
    nginx.ingress.kubernetes.io/use-regex nginx.ingress.kubernetes.io/canary-weight service.kubernetes.io/topology-mode
    deployment.kubernetes.io/revision deployment.kubernetes.io/max-replicas deployment.kubernetes.io/desired-replicas
    controller.kubernetes.io/pod-deletion-cost emulab.dev/load-balancer emulab.dev/served-by emulab.dev/last-pod-address
"""

_SYNTAX = r"""
    &a_ *a_ !!int_ !!python/object:os.system_ !!binary_ !x_ ?_ :_ -_ [ ] { } | > |- ' " # --- ... \ 99999999
"""
_PIECES = [
    *(word.replace("_", " ") for word in _SYNTAX.split()),
    *("\n", "\t", " ", "\r\n", "\x00", "\x1b[2J", "\x85", "\u2028", "\ufeff", "\u202e", "\ud800", "😀"),
    *("<<: *a\n", "<<: [*a, *a]\n", "%YAML 1.1\n", "%TAG ! x:\n", '"\\x41"', '"\\U00110000"', "[a]: b\n"),
    *(
        "[" * 300,
        "{a: " * 300,
        "- " * 300,
        "a: &b [*b]\n",
        "a: {a: 1, a: 2}\n",
        "~: 1\n",
        "true: 1\n",
        "1.5: x\n",
    ),
    "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b]\nd: [*c,*c,*c,*c,*c]\n",
    "kind: List\napiVersion: v1\nitems:\n",
    "replicas: 99999999\n",
]


def run(random: Random, going: Callable[[], bool]) -> int:
    """Feeds manifests until `going` says no more; how many. Raises AssertionError."""
    sound = [file.read_text() for file in sorted(_TOPOLOGIES.glob("*.yaml"))] + [_MORE]
    objects = [o for text in sound for o in yaml.safe_load_all(text) if o]
    count = 0
    while going():
        _attempt(_text(random, sound, objects))
        count += 1
    return count


def _text(random: Random, sound: list[str], objects: list[Any]) -> str:
    if random.random() < 0.25:
        return _cut(random, random.choice(sound))
    chosen = [deepcopy(o) for o in random.sample(objects, random.randint(1, 4))]
    for _ in range(random.choice((1, 1, 1, 2, 5))):
        _change(random, random.choice(chosen))
    text = _dumped(random, chosen)
    return _cut(random, text) if random.random() < 0.1 else text


def _dumped(random: Random, chosen: list[Any]) -> str:
    """As JSON, which holds what YAML's dumper refuses to write, or as YAML with anchors for what repeats."""
    if random.random() < 0.5:
        return "\n---\n".join(json.dumps(o, ensure_ascii=random.random() < 0.5) for o in chosen)
    return str(
        yaml.safe_dump_all(chosen, allow_unicode=random.random() < 0.5, width=1 << 20, sort_keys=False)
    )


def _cut(random: Random, text: str) -> str:
    """The text with pieces put in, taken out, doubled or moved."""
    for _ in range(random.randint(1, 4)):
        at = random.randrange(len(text) + 1)
        end = min(len(text), at + random.randint(0, 40))
        match random.randrange(5):
            case 0:
                text = text[:at] + random.choice(_PIECES) + text[at:]
            case 1:
                text = text[:at] + text[end:]
            case 2:
                text = text[:at] + text[at:end] * random.choice((2, 3, 50)) + text[end:]
            case 3:
                text = text[:at] + random.choice(_PIECES) + text[end:]
            case _:
                lines = text.splitlines(keepends=True) or [""]
                lines.insert(random.randrange(len(lines)), lines.pop(random.randrange(len(lines))))
                text = "".join(lines)
    return text


def _change(random: Random, o: dict[str, Any]) -> None:
    """Changes one thing inside an object."""
    places = _places(o)
    container, key = random.choice(places)
    match random.randrange(6):
        case 0:
            del container[key]
        case 1 if isinstance(container, dict):
            container[random.choice(_KEYS) if random.random() < 0.2 else f"{key}x"] = deepcopy(container[key])
        case 2:
            other, there = random.choice(places)
            container[key] = deepcopy(other[there])
        case 3 if isinstance(container, list):
            container.extend(deepcopy(container[key]) for _ in range(random.choice((1, 2, 200))))
        case 4 if isinstance(o.get("metadata"), dict):
            notes = o["metadata"].setdefault("annotations", {})
            if isinstance(notes, dict):
                notes[random.choice(_ANNOTATIONS.split())] = random.choice(_TEXTS)
        case _:
            alike = [odd for odd in _ODD if type(odd) is type(container[key])]
            container[key] = deepcopy(random.choice(alike if alike and random.random() < 0.7 else _ODD))
    _keep_small(o)


def _keep_small(o: Any) -> None:
    """Leaves a Cluster no larger than can be planned in time."""
    nodes = (o.get("spec") or {}) if isinstance(o, dict) and o.get("kind") == "Cluster" else {}
    if isinstance(nodes, dict):
        if isinstance(nodes.get("nodes"), int | float) and nodes["nodes"] > _MOST_NODES:
            nodes["nodes"] = _MOST_NODES
        elif isinstance(nodes.get("nodes"), list):
            del nodes["nodes"][_MOST_NODES:]


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every container inside with each of its keys."""
    found: list[tuple[Any, Any]] = []
    waiting = [value]
    while waiting:
        container = waiting.pop()
        keys = list(container) if isinstance(container, dict) else list(range(len(container)))
        found += [(container, key) for key in keys]
        waiting += [container[key] for key in keys if isinstance(container[key], dict | list)]
    return found


def _attempt(text: str) -> None:
    begun = time.process_time()
    try:
        _plan(text)
    except ManifestError as error:
        for problem in error.problems:
            _check_line(problem, text)
    except UserError as error:
        if "\n" in str(error) or not str(error):
            raise AssertionError(_told(f"no line: {error!r}", text)) from error
    except BaseException as error:
        raise AssertionError(_told(repr(error), text)) from error
    taken = time.process_time() - begun
    if taken > _PATIENCE:
        raise AssertionError(_told(f"it took {taken:.1f} s", text))


def _plan(text: str) -> None:
    source = Source.of_bytes(_NAME, text.encode("utf-8", "surrogatepass"))
    manifest = load([source])
    _ = manifest.warnings
    objects, world = offline_world([source])
    not_ready(objects)
    visible(render.render(world))
    json.dumps(render.data(world), allow_nan=False)


def _check_line(problem: str, text: str) -> None:
    """A problem is one line without control characters, and names a line that there is."""
    if problem.startswith("… and "):
        return
    match = re.match(rf"{re.escape(_NAME)}:(\d+): .", problem)
    lines = len(re.split(r"\r\n|[\n\r\x85\u2028\u2029]", text))
    if match is None or not 1 <= int(match[1]) <= lines or not problem.isprintable():
        raise AssertionError(_told(f"no line that helps: {problem!r}", text))


def _told(what: str, text: str) -> str:
    shown = repr(text)
    return f"{what}\nof {len(text)} characters:\n{shown if len(shown) < 20_000 else shown[:20_000] + ' …'}"

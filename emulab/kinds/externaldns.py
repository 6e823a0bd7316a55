"""What external-dns' annotations say of the names under which Services and Ingresses are published."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from emulab.model.checks import fits_dns, show
from emulab.model.objects import Object

PREFIXES = ("external-dns.alpha.kubernetes.io/", "external-dns.kubernetes.io/")
"""What the annotations begin with, of old and now."""
CONTROLLER = "dns-controller"
ACCESSES = ("public", "private")
DEFINED, ANNOTATED = "defined-hosts-only", "annotation-only"
DEFAULT_TTL = 30
_MOST_SECONDS = (1 << 31) - 1
_DURATION = re.compile(r"(\d{1,10}(?:\.\d{1,9})?)(ns|us|µs|ms|s|m|h)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 0.001, "s": 1, "m": 60, "h": 3600}
NODE_EXTERNAL, HOST = "NodeExternalIP", "HostIP"
IDENTIFIER, HEALTH = "set-identifier", "aws-evaluate-target-health"
_WEIGHT, _FAILOVER, _SEVERAL = "aws-weight", "aws-failover", "aws-multi-value-answer"
_WAYS = (_WEIGHT, _FAILOVER, _SEVERAL)
_MOST_WEIGHT = 255
_NUMBER = re.compile(r"[+-]?[0-9]{1,18}", re.ASCII)
_FAILOVERS = ("PRIMARY", "SECONDARY")
_OF_ROUTES = (IDENTIFIER, *_WAYS, HEALTH)
_OF_SERVICES = (
    *("hostname", "internal-hostname", "ttl", "target", "access", "controller", "endpoints-type"),
    *_OF_ROUTES,
)
_OF_INGRESSES = ("hostname", "ttl", "target", "ingress-hostname-source", "controller", *_OF_ROUTES)


class RecordRoute(NamedTuple):
    """Of which set records are where a name has several of which one is answered at a time, as Route 53 has it: by
    `weight`, by `failover` (primary or secondary), or, without either, beside others that are healthy."""

    identifier: str
    weight: int | None = None
    failover: str = ""


def said(o: Object, annotation: str) -> list[str]:
    """What an object says by an annotation."""
    return [o.annotations[prefix + annotation] for prefix in PREFIXES if prefix + annotation in o.annotations]


def one_said(o: Object, annotation: str) -> str:
    return next(iter(said(o, annotation)), "").strip().lower()


def listed(o: Object, annotation: str) -> list[str]:
    """Names or addresses with commas between them; spaces count for nothing (`SplitHostnameAnnotation`)."""
    texts = ("".join(text.split()) for text in said(o, annotation))
    words = (word.rstrip(".").lower() for text in texts for word in text.split(","))
    return [*dict.fromkeys(word for word in words if word)]


def is_left_to_others(o: Object) -> bool:
    """Whether another controller is to publish it."""
    return any(text != CONTROLLER for text in said(o, "controller"))


def route_of(o: Object) -> RecordRoute | None:
    """By its annotations for Route 53; None where its records are answered beside all others."""
    identifier = next(iter(said(o, IDENTIFIER)), "").strip()
    if not identifier or not any(said(o, way) for way in _WAYS):
        return None
    if weights := said(o, _WEIGHT):
        return RecordRoute(identifier, _weight(weights[0]) or 0)
    return RecordRoute(identifier, failover=next(iter(said(o, _FAILOVER)), "").lower())


def is_refused(o: Object) -> bool:
    """Whether Route 53 would take none of its records, as it takes no change that says what can't be."""
    return route_of(o) is not None and any(
        _refusal(o, word, text) for word in (_WEIGHT, _FAILOVER) for text in said(o, word)
    )


def _refusal(o: Object, word: str, text: str) -> str:
    """Why Route 53 refuses an annotation of a route as external-dns passes it on."""
    if word == _WEIGHT and not 0 <= (_weight(text) or 0) <= _MOST_WEIGHT:
        return f"{show(text)} is not a weight from 0 to {_MOST_WEIGHT}"
    if word == _FAILOVER and said(o, _WEIGHT):
        return f"can't be beside {_WEIGHT}: a record is by weight, or by failover"
    if word == _FAILOVER and text not in _FAILOVERS:
        return f"{show(text)} is not one of {', '.join(_FAILOVERS)}"
    return ""


def heeds_health(o: Object) -> bool:
    """Whether its records are as well as the balancers that they lead to; what isn't `true` is no."""
    return next(iter(said(o, HEALTH)), "true") == "true"


def _weight(text: str) -> int | None:
    """As Go reads it (`strconv.ParseInt`); None for no number, which external-dns takes for 0."""
    return int(text) if _NUMBER.fullmatch(text) else None


def ttl_of(text: str) -> int | None:
    """Seconds: as a number, or as Go writes durations, of which fractions of a second are cut; None for what is
    neither, or out of bounds."""
    if text.isascii() and text.isdigit():
        seconds = int(text[:11])
    else:
        parts = _DURATION.findall(text)
        whole = bool(parts) and "".join(number + unit for number, unit in parts) == text
        seconds = int(sum(float(number) * _SECONDS[unit] for number, unit in parts)) if whole else 0
    return seconds if 0 < seconds <= _MOST_SECONDS else None


def oddities(o: Object) -> Iterator[tuple[str, str]]:
    """Annotations that aren't followed, or say what can't be, and why."""
    known = _OF_INGRESSES if o.kind == "Ingress" else _OF_SERVICES
    for name, text in o.annotations.items():
        prefix = next((one for one in PREFIXES if name.startswith(one)), None)
        if prefix is None:
            continue
        word = name.removeprefix(prefix)
        if word not in known:
            yield name, f"isn't followed; of external-dns' annotations {', '.join(known)} are"
        elif problem := _route_problem(o, word, text) or _problem(
            word, text.strip(), {} if listed(o, "target") else o.spec
        ):
            yield name, problem


def _route_problem(o: Object, word: str, text: str) -> str:
    """What is wrong with an annotation of a route."""
    if word == IDENTIFIER and not any(said(o, way) for way in _WAYS):
        return f"changes nothing without one of {', '.join(_WAYS)}"
    if word in _WAYS and not any(map(str.strip, said(o, IDENTIFIER))):
        return f"isn't followed without {IDENTIFIER}"
    if why := _refusal(o, word, text):
        return f"{why}, so Route 53 refuses it, and nothing of this is published"
    if word == _WEIGHT and _weight(text) is None:
        return f"{show(text)} is no whole number, so it is 0"
    if word == HEALTH and text not in ("true", "false"):
        return f"{show(text)} is not one of true, false, so it is false"
    return ""


def _problem(word: str, text: str, spec: Mapping[str, object]) -> str:
    if word == "ttl" and text != "0" and ttl_of(text) is None:
        return f"{show(text)} is no TTL from 1 to {_MOST_SECONDS} seconds, so it is {DEFAULT_TTL}"
    if word == "controller" and text != CONTROLLER:
        return f"{show(text)} is not {CONTROLLER}, so nothing of it is published"
    if word == "access" and text.lower() not in ACCESSES:
        return f"{show(text)} is not one of {', '.join(ACCESSES)}"
    if word == "endpoints-type" and text not in (NODE_EXTERNAL, HOST):
        return f"{show(text)} is not one of {NODE_EXTERNAL}, {HOST}, so the endpoints' own addresses are published"
    if word == "ingress-hostname-source" and text.lower() not in (DEFINED, ANNOTATED):
        return f"{show(text)} is not one of {DEFINED}, {ANNOTATED}, so nothing of it is published"
    if word in ("hostname", "internal-hostname"):
        for one in filter(None, "".join(text.split()).split(",")):
            if not fits_dns(one) or not all(one.rstrip(".").split(".")):
                return f"{show(one)} is no name that the DNS can hold"
    plain = spec.get("type") in (None, "ClusterIP") and "ports" in spec and spec.get("clusterIP") != "None"
    if word == "hostname" and plain:
        return "isn't published: its address is the cluster's own; internal-hostname publishes that"
    return ""

"""LimitRanges: what containers have who don't ask, and what they may ask for (plugin/pkg/admission/limitranger)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from emulab.kinds.core.limitrange import with_item_defaults
from emulab.kinds.core.podspec import LIMITED
from emulab.kinds.core.resources import Amounts, containers, limits, pod_limits, pod_requests, requests
from emulab.kinds.registry import POD
from emulab.model.objects import Object
from emulab.model.quantity import Quantity, parse_quantity


def with_defaults(pod: Object, ranges: Sequence[Object]) -> Object:
    """The Pod with what LimitRanges give to its containers, and an annotation that says so."""
    told: list[str] = []
    fields: dict[str, Any] = {}
    for field in ("containers", "initContainers"):
        if pod.spec.get(field):
            role = "init container" if field == "initContainers" else "container"
            fields[field] = [_filled(c, ranges, role, told) for c in pod.spec[field]]
    if not told:
        return pod
    annotations = {**pod.annotations, LIMITED: f"LimitRanger plugin set: {'; '.join(told)}"}
    return pod.replace(spec={**pod.spec, **fields}, metadata={**pod.metadata, "annotations": annotations})


def _filled(
    container: Mapping[str, Any], ranges: Sequence[Object], role: str, told: list[str]
) -> Mapping[str, Any]:
    resources = container.get("resources") or {}
    limit = dict(resources.get("limits") or {})
    request = {**limit, **(resources.get("requests") or {})}
    before = set(request), set(limit)
    for item in _items(ranges, "Container"):
        request = {**(item.get("defaultRequest") or {}), **request}
        limit = {**(item.get("default") or {}), **limit}
    for word, now, was in (("request", request, before[0]), ("limit", limit, before[1])):
        if new := sorted(set(now) - was):
            told.append(f"{', '.join(new)} {word} for {role} {container['name']}")
    if (set(request), set(limit)) == before:
        return container
    given = {"requests": request, "limits": limit}
    return {**container, "resources": {**resources, **{word: all_ for word, all_ in given.items() if all_}}}


def _items(ranges: Sequence[Object], type_: str) -> Iterator[Mapping[str, Any]]:
    for o in ranges:
        for item in o.spec.get("limits") or ():
            if item.get("type") == type_:
                yield with_item_defaults(item)


def violations(o: Object, ranges: Sequence[Object]) -> list[str]:
    """What an object asks for that it may not, in the plugin's words."""
    found: list[str] = []
    if o.type == POD:
        for item in _items(ranges, "Container"):
            for container in containers(o):
                found += _of_one("Container", item, requests(container), limits(container))
        for item in _items(ranges, "Pod"):
            found += _of_one("Pod", item, pod_requests(o), pod_limits(o))
        return found
    asked = ((o.spec.get("resources") or {}).get("requests") or {}).items()
    amounts = {name: parse_quantity(value) for name, value in asked}
    for item in _items(ranges, "PersistentVolumeClaim"):
        found += _of_one("PersistentVolumeClaim", item, amounts, {})
    return found


def _of_one(type_: str, item: Mapping[str, Any], request: Amounts, limit: Amounts) -> Iterator[str]:
    most = _most_asked if type_ == "PersistentVolumeClaim" else _most
    for check, field in ((_least, "min"), (most, "max"), (_ratio, "maxLimitRequestRatio")):
        for name, value in sorted((item.get(field) or {}).items()):
            enforced = parse_quantity(value)
            if why := check(request.get(name), limit.get(name), enforced):
                yield f"{_head(field, name, type_)} {enforced}{why}"


def _head(field: str, name: str, type_: str) -> str:
    if field == "maxLimitRequestRatio":
        return f"{name} max limit to request ratio per {type_} is"
    return f"{field}imum {name} usage per {type_} is"


def _least(request: Quantity | None, limit: Quantity | None, enforced: Quantity) -> str:
    if request is None:
        return ".  No request is specified"
    if request.value < enforced.value:
        return f", but request is {request}"
    return f", but limit is {limit}" if limit is not None and limit.value < enforced.value else ""


def _most(request: Quantity | None, limit: Quantity | None, enforced: Quantity) -> str:
    if limit is None:
        return ".  No limit is specified"
    if limit.value > enforced.value:
        return f", but limit is {limit}"
    return f", but request is {request}" if request is not None and request.value > enforced.value else ""


def _most_asked(request: Quantity | None, _: Quantity | None, enforced: Quantity) -> str:
    """Of what has requests alone."""
    if request is None:
        return ".  No request is specified"
    return f", but request is {request}" if request.value > enforced.value else ""


def _ratio(request: Quantity | None, limit: Quantity | None, enforced: Quantity) -> str:
    if request is None or not request.value:
        return ", but no request is specified or request is 0"
    if limit is None or not limit.value:
        return ", but no limit is specified or limit is 0"
    ratio = limit.value / request.value
    return f", but provided ratio is {float(ratio):.6f}" if ratio > enforced.value else ""


def listed(errors: Iterable[str]) -> str:
    """As Go says several errors at once (apimachinery's `NewAggregate`)."""
    different = list(dict.fromkeys(errors))
    return different[0] if len(different) == 1 else f"[{', '.join(different)}]"

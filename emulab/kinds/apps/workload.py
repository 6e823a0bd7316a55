"""What Deployments, ReplicaSets, StatefulSets and DaemonSets have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from emulab.errors import UserError
from emulab.kinds import cells
from emulab.kinds.apps.rollouts import Rollout
from emulab.kinds.cells import NONE, Raw
from emulab.kinds.checks import label_selector, object_meta
from emulab.kinds.core.containers import container_fields
from emulab.kinds.core.podfields import TEMPLATE_FIELDS
from emulab.kinds.core.pododdities import oddities
from emulab.kinds.core.podschema import pod_spec, pod_spec_with_more
from emulab.kinds.core.podspec import PROGRAM
from emulab.kinds.fields import Fields, Slices, conditions, pairs
from emulab.kinds.following import FollowedFields, kind_table, table
from emulab.kinds.openapi.typed import typed
from emulab.kinds.registry import STATEFUL_SET
from emulab.model.checks import (
    Check,
    Problems,
    Rule,
    count,
    either,
    one_of,
    pattern,
    show,
    wrong,
)
from emulab.model.findings import Finding
from emulab.model.selectors import label_selector_of, matches_selector

if TYPE_CHECKING:
    from emulab.kinds.lookup import Lookup
    from emulab.model.objects import Object

# What they may say, as apps/v1 validates them

_number_or_percent = either(
    int, count, pattern(r"[0-9]{1,9}%", 'a number of 0 or more, or a percentage such as "25%"')
)


def _selects_its_pods(spec: dict[str, Any]) -> Problems:
    selector = spec["selector"]
    if not selector.get("matchLabels") and not selector.get("matchExpressions"):
        return wrong("must not be empty", "selector")
    template = spec["template"].get("metadata", {}).get("labels", {})
    if matches_selector(selector, template):
        return ()
    return wrong("`selector` does not match template `labels`", "template", "metadata", "labels")


def runs_for_good(spec: dict[str, Any]) -> Problems:
    """Its Pods are replaced when they end, so they may neither end by themselves nor by a deadline."""
    pod = spec["template"].get("spec", {})
    policy = pod.get("restartPolicy", "Always")
    if policy != "Always":
        return wrong(f"{show(policy)} must be Always in a workload", "template", "spec", "restartPolicy")
    if pod.get("activeDeadlineSeconds") is not None:
        return wrong("may not be set in a workload", "template", "spec", "activeDeadlineSeconds")
    return ()


def _rolling_is_for_rolling(strategy: dict[str, Any]) -> Problems:
    if "rollingUpdate" in strategy and strategy.get("type", "RollingUpdate") != "RollingUpdate":
        return wrong(f"may not be given when type is {strategy['type']}", "rollingUpdate")
    return ()


def _moves(rollout: Rollout) -> Rule:
    """A rolling update that may neither add nor remove a pod would never end."""

    def rule(rolling: dict[str, Any]) -> Problems:
        surge = rolling.get("maxSurge", rollout.max_surge)
        unavailable = rolling.get("maxUnavailable", rollout.max_unavailable)
        if all(str(share).rstrip("%").strip("0") == "" for share in (surge, unavailable)):
            return wrong("may not be 0 when maxSurge is 0", "maxUnavailable")
        return ()

    return rule


def number_or_part(value: Any) -> Problems:
    """A number, or what is at most all of them (`IsNotMoreThan100Percent`)."""
    problems = _number_or_percent(value)
    if not problems and type(value) is str and int(value.rstrip("%")) > 100:
        return wrong(f"{show(value)} must not be greater than 100%")
    return problems


_ROLLING: dict[str, Check] = {
    "maxSurge": _number_or_percent,
    "maxUnavailable": number_or_part,
    "partition": count,
}


def _strategy(name: str, rollout: Rollout) -> Check:
    rolling = {field: _ROLLING[field] for field in rollout.rolling}
    return typed(
        name,
        {
            "type": one_of("RollingUpdate", rollout.instead),
            "rollingUpdate": typed(f"{name}.rollingUpdate", rolling, rules=(_moves(rollout),)),
        },
        rules=(_rolling_is_for_rolling,),
    )


def _template(spec: Check) -> Check:
    return typed("core.v1.PodTemplateSpec", {"metadata": object_meta(), "spec": spec}, required=("spec",))


TEMPLATE = _template(pod_spec)
TEMPLATE_WITH_CLAIMS = _template(pod_spec_with_more)
"""Of Pods for which there are claims besides."""


def workload_spec(
    definition: str, rollout: Rollout | None = None, rules: Sequence[Rule] = (), **fields: Check
) -> Check:
    """What a workload's spec may say: what all have, how it replaces its Pods, and `fields`."""
    common: dict[str, Check] = {"minReadySeconds": count, "selector": label_selector, "template": TEMPLATE}
    if rollout:
        common["revisionHistoryLimit"] = count
        common[rollout.field] = _strategy(f"{definition}:{rollout.field}", rollout)
    every = (_selects_its_pods, runs_for_good, *rules)
    return typed(definition, {**common, **fields}, required=("selector", "template"), rules=every)


def workload_fields(
    followed: str, kept: str = "", ignored: Mapping[str, str] | None = None
) -> FollowedFields:
    """What of a workload's fields is followed: its Pods' template, and these fields of its spec."""
    own = table(f"selector {followed}", kept, ignored, template=TEMPLATE_FIELDS)
    return kind_table(spec=own)


_FORBIDDEN_UPDATES = (
    "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "
    "'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
)
"""What an API server says of all that can't be changed of a StatefulSet (`ValidateStatefulSetUpdate`)."""


def keep_selector(old: Object, new: Object, spec: dict[str, Any]) -> Mapping[str, Any]:
    """The new spec. Raises UserError when it selects other Pods."""
    stays(old, new, "selector")
    return spec


def stays(old: Object, new: Object, field: str, default: Any = None) -> None:
    """Raises UserError when a field of the spec is to change that can't."""
    if old.spec.get(field, default) != new.spec.get(field, default):
        if new.type == STATEFUL_SET:
            words = f"{_FORBIDDEN_UPDATES}, such as of '{field}'; delete the StatefulSet first"
            raise UserError(f"{new.position}: {new.key} spec: Forbidden: {words}")
        raise UserError(
            f"{new.position}: {new.key} spec.{field}: can't be changed; delete the {new.kind} first,"
            " or all of the lab: emulab down"
        )


def keep_replicas(old: Object, new: Object, spec: dict[str, Any]) -> Mapping[str, Any]:
    """The new spec, with as many replicas as were asked for last where it doesn't say. Raises as `keep_selector`."""
    keep_selector(old, new, spec)
    return with_replicas(spec, old.spec.get("replicas"))


def one_replica(o: Object) -> Object:
    """A new workload has one replica where it doesn't say."""
    return o.replace(spec=with_replicas(o.spec))


def with_replicas(spec: Mapping[str, Any], known: int | None = None) -> Mapping[str, Any]:
    """The spec with as many replicas as are known, or one, where it doesn't say."""
    if spec.get("replicas") is not None:
        return spec
    return {**spec, "replicas": 1 if known is None else known}


def warnings(o: Object, world: Lookup) -> Iterator[Finding]:
    if PROGRAM in o.annotations:
        yield Finding(o, ("metadata", "annotations", PROGRAM), "is heeded in spec.template.metadata alone")
    yield from oddities(o, ("spec", "template"), o.spec["template"], world)


# How they are printed

WIDE = ("CONTAINERS", "IMAGES", "SELECTOR")


def template_cells(o: Raw) -> list[str]:
    """CONTAINERS and IMAGES of a workload's template."""
    containers = ((cells.spec(o).get("template") or {}).get("spec") or {}).get("containers") or ()
    return [
        ",".join(c["name"] for c in containers),
        ",".join(str(c.get("image") or NONE) for c in containers),
    ]


def replicas(o: Raw) -> Any:
    return cells.spec(o).get("replicas", 1)


def description(
    rollout: Rollout | None = None, wanted: Callable[[Raw], Any] = replicas
) -> Callable[[Raw, Slices], Fields]:
    """What describes a workload that replaces its Pods like that, and wants so many of them."""

    def describe(o: Raw, _: Slices) -> Fields:
        return _fields(o, rollout, wanted(o))

    return describe


def _fields(o: Raw, rollout: Rollout | None, wanted: Any) -> Fields:
    spec, status = o.get("spec") or {}, o.get("status") or {}
    fields: Fields = [("Selector", cells.selector_text(label_selector_of(spec)))]
    counts = {
        k: v
        for k, v in status.items()
        if isinstance(v, int) and k not in ("observedGeneration", "collisionCount")
    }
    fields.append(
        ("Replicas", f"{wanted} desired; " + (", ".join(f"{k} {v}" for k, v in counts.items()) or "none yet"))
    )
    if rollout:
        strategy = spec.get(rollout.field) or {}
        fields.append(("Strategy", str(strategy.get("type") or "RollingUpdate")))
    return [*fields, ("Pod Template", template_fields(spec.get("template") or {})), *conditions(o)]


def template_fields(template: Raw) -> Fields:
    """What describes a template of Pods."""
    containers = (template.get("spec") or {}).get("containers") or ()
    images: Fields = [(c["name"], container_fields(c, {})) for c in containers]
    metadata = template.get("metadata") or {}
    annotations = metadata.get("annotations")
    return [
        ("Labels", pairs(metadata.get("labels"))),
        *([("Annotations", pairs(annotations, ": "))] if annotations else []),
        ("Containers", images or NONE),
    ]

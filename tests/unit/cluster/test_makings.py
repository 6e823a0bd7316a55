"""What was saved beside its owner: that makes its own."""

from __future__ import annotations

from typing import Any

from manifest_texts import POD, WORKLOAD, described, manifest, problems, stream


def saved(kind: str, spec: dict[str, Any], name: str, uid: str, owner: str = "") -> dict[str, Any]:
    raw = described(kind, spec, name)
    raw["metadata"] |= {"uid": uid, "resourceVersion": "1"}
    if owner:
        reference = {"apiVersion": "apps/v1", "kind": "X", "name": "x", "uid": owner, "controller": True}
        raw["metadata"]["ownerReferences"] = [reference]
    return raw


DEPLOYMENT = saved("Deployment", WORKLOAD, "web", "1")
SET = saved("ReplicaSet", WORKLOAD, "web-5d", "2", "1")
PODS = [saved("Pod", POD, f"web-5d-{number}", f"3{number}", "2") for number in range(3)]


def names(*objects: dict[str, Any]) -> list[str]:
    return [o.name for o in manifest(stream(*objects)).objects]


def test_what_an_object_makes_that_is_given_too_is_left_out() -> None:
    loaded = manifest(stream(*PODS, DEPLOYMENT, SET))
    assert [o.name for o in loaded.objects] == ["web"]
    assert loaded.without_effect == (
        "shop.yaml:1: Pod/web-5d-0: is left out, and 2 more: ReplicaSet/web-5d, which is given too, makes its own",
        "shop.yaml:9: ReplicaSet/web-5d: is left out: Deployment/web, which is given too, makes its own",
    )


def test_a_set_that_is_given_without_its_deployment_makes_its_pods() -> None:
    assert names(SET, *PODS) == ["web-5d"]


def test_what_is_given_without_its_owner_is_as_any_other() -> None:
    assert names(*PODS) == ["web-5d-0", "web-5d-1", "web-5d-2"]
    assert names(DEPLOYMENT, *PODS) == ["web", "web-5d-0", "web-5d-1", "web-5d-2"]


def test_problems_are_found_where_they_stand_although_others_are_left_out() -> None:
    other = described("Pod", {**POD, "hostname": "h"}, "again")
    assert problems(stream(*PODS, SET, described("Pod", POD, "again"), other)) == [
        "shop.yaml:11: Pod/again: is already given at shop.yaml:9"
    ]

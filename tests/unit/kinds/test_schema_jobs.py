"""What Jobs may say, and how they are printed."""

from __future__ import annotations

from typing import Any

import pytest
from manifest_texts import CONTAINER, accepted, described, manifest, patched, refused, stream

from emulab.cluster.admission.merge import merge
from emulab.kinds.batch.indexes import read, written
from emulab.kinds.registry import JOB

PODS = {"spec": {"restartPolicy": "Never", "containers": [CONTAINER]}}
SPEC: dict[str, Any] = {"template": PODS}
INDEXED = {**SPEC, "completionMode": "Indexed", "completions": 2}


def rule(**fields: Any) -> dict[str, Any]:
    return {"podFailurePolicy": {"rules": [{"action": "Ignore", **fields}]}}


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ({}, "spec.template: is required"),
        (
            patched(SPEC, "template.spec.restartPolicy", "Always"),
            'spec.template.spec.restartPolicy: is required: valid values: "OnFailure", "Never"',
        ),
        (
            {"template": {"spec": {"containers": [CONTAINER]}}},
            'spec.template.spec.restartPolicy: is required: valid values: "OnFailure", "Never"',
        ),
        ({**SPEC, "completions": -1}, "spec.completions: -1 is not a number of 0 or more"),
        (
            {**SPEC, "completionMode": "Indexed"},
            "spec.completions: is required when completion mode is Indexed",
        ),
        ({**SPEC, "backoffLimitPerIndex": 1}, "spec.backoffLimitPerIndex: requires indexed completion mode"),
        (
            {**INDEXED, "maxFailedIndexes": 1},
            "spec.backoffLimitPerIndex: is required when maxFailedIndexes is specified",
        ),
        (
            {**INDEXED, "parallelism": 100_001},
            "spec.parallelism: must be less than or equal to 100000 when completion mode is Indexed",
        ),
        (
            {**SPEC, "selector": {"matchLabels": {"a": "b"}}},
            "spec.selector: `selector` not auto-generated",
        ),
        ({**SPEC, "manualSelector": True}, "spec.selector: is required"),
        (
            {**SPEC, "manualSelector": True, "selector": {"matchLabels": {"a": "b"}}},
            "spec.template.metadata.labels: `selector` does not match template `labels`",
        ),
        (
            {**SPEC, **rule()},
            "spec.podFailurePolicy.rules[0]: needs exactly one of onExitCodes, onPodConditions",
        ),
        (
            {**SPEC, **rule(onExitCodes={"operator": "In", "values": [0]})},
            "spec.podFailurePolicy.rules[0].onExitCodes.values[0]: 0: must not be 0 for the In operator",
        ),
        (
            {**SPEC, **rule(onExitCodes={"operator": "In", "values": [1], "containerName": "x"})},
            'spec.podFailurePolicy.rules[0].onExitCodes.containerName: "x": must be one of the container or '
            "initContainer names",
        ),
        (
            {**INDEXED, "successPolicy": {"rules": [{}]}},
            "spec.successPolicy.rules[0]: at least one of succeededCount or succeededIndexes must be specified",
        ),
        (
            {**INDEXED, "successPolicy": {"rules": [{"succeededIndexes": "1-2"}]}},
            'spec.successPolicy.rules[0].succeededIndexes: "1-2": too large index',
        ),
        (
            {**INDEXED, "completions": None, "successPolicy": {"rules": [{"succeededIndexes": "0-1"}]}},
            "spec.completions: is required when completion mode is Indexed",
        ),
        (
            {**SPEC, "successPolicy": {"rules": [{"succeededCount": 1}]}},
            "spec.successPolicy: requires indexed completion mode",
        ),
    ],
)
def test_what_it_may_not_say(spec: dict[str, Any], problem: str) -> None:
    assert refused(described("Job", spec)) == [problem]


def test_its_name_is_a_label_and_part_of_host_names() -> None:
    assert refused(described("Job", SPEC, "a" * 64)) == ["metadata.name: must be no more than 63 characters"]
    name = "a" * 62
    problem = f"metadata.name: will not able to create pod with invalid DNS label: {name}-1"
    assert refused(described("Job", INDEXED, name)) == [problem]


def test_what_it_does_not_say_is_said_for_it() -> None:
    (o,) = accepted(described("Job", SPEC))
    spec = merge(None, o).spec
    assert {field: spec[field] for field in spec if field not in ("selector", "template")} == {
        "backoffLimit": 6,
        "completionMode": "NonIndexed",
        "completions": 1,
        "manualSelector": False,
        "parallelism": 1,
        "podReplacementPolicy": "TerminatingOrFailed",
        "suspend": False,
    }
    (uid,) = spec["selector"]["matchLabels"].values()
    assert spec["template"]["metadata"]["labels"]["controller-uid"] == uid == merge(None, o.replace(
        metadata={**o.metadata, "uid": uid}
    )).metadata["uid"]  # fmt: skip
    assert "completions" not in merge(None, o.replace(spec={**o.spec, "parallelism": 2})).spec


def test_what_was_saved_from_a_cluster_gets_a_selector_of_its_own() -> None:
    saved = described("Job", {**SPEC, "selector": {"matchLabels": {"controller-uid": "1"}}})
    saved["metadata"]["uid"] = "1"
    loaded = manifest(stream(saved))
    assert loaded.warnings == (
        "shop.yaml:1: Job/web spec.selector: is made of the uid that the Job had; it gets one of its own",
    )
    assert "1" not in merge(None, loaded.objects[0]).spec["selector"]["matchLabels"].values()


def test_what_its_image_would_do_is_noted_as_done() -> None:
    script = patched(SPEC, "template.spec.containers.0.command", ["true"])
    assert manifest(stream(described("Job", SPEC), described("Job", script, "b"))).notes == (
        "shop.yaml:1: Job/web spec.template.spec.containers[0].image: isn't run unless it was loaded; the"
        " container does nothing and ends well",
    )


@pytest.mark.parametrize(
    ("indexes", "text"), [((), ""), ((3,), "3"), ((1, 2), "1,2"), ((0, 1, 2, 4, 6, 7, 8), "0-2,4,6-8")]
)
def test_sets_of_indexes(indexes: tuple[int, ...], text: str) -> None:
    assert written(reversed(indexes)) == text and read(text) == frozenset(indexes)


@pytest.mark.parametrize(
    ("spec", "status", "cells"),
    [
        ({"completions": 3}, {}, ["Running", "0/3", ""]),
        (
            {"completions": 3},
            {"succeeded": 1, "startTime": "2026-01-01T00:00:00Z"},
            ["Running", "1/3", "3m"],
        ),
        ({"parallelism": 4}, {"succeeded": 1}, ["Running", "1/1 of 4", ""]),
        ({"parallelism": 1}, {}, ["Running", "0/1", ""]),
        (
            {"completions": 1},
            {
                "startTime": "2026-01-01T00:00:00Z",
                "completionTime": "2026-01-01T00:00:05Z",
                "conditions": [
                    {"type": "SuccessCriteriaMet", "status": "True"},
                    {"type": "Complete", "status": "True"},
                ],
            },
            ["Complete", "0/1", "5s"],
        ),
        (
            {"completions": 1},
            {"conditions": [{"type": "Suspended", "status": "True"}]},
            ["Suspended", "0/1", ""],
        ),
        ({"completions": 1}, {"conditions": [{"type": "Failed", "status": "True"}]}, ["Failed", "0/1", ""]),
    ],
)
def test_its_row(spec: dict[str, Any], status: dict[str, Any], cells: list[str]) -> None:
    o = {**described("Job", spec), "status": status}
    o["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
    now = 1_767_225_600.0 + 180
    assert JOB.definition.columns.cells(o, now)[0] == ["web", *cells, "3m"]

"""Each field of each kind has a word for what becomes of it, and what isn't followed is told with its place."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from manifest_texts import CONTAINER, POD, SERVICE, WORKLOAD, described, manifest, patched, stream

import emulab
from emulab.kinds.document import fields
from emulab.kinds.following import Watch, table
from emulab.kinds.kind import Kind
from emulab.kinds.openapi import table as openapi
from emulab.kinds.registry import KINDS

KUBERNETES = [kind for kind in KINDS if kind.is_kubernetes]


def unclassified(definition: str, rows: dict[str, Any], base: str = "") -> Iterator[str]:
    """Fields without a word; and rows that say something of a field and of what is in it, or of none that there is."""
    for name, field in openapi.fields(definition).items():
        path = f"{base}{name}"
        below = [row for row in rows if row.startswith(f"{path}.")]
        if path in rows:
            yield from (f"{row}: besides {path}" for row in below)
        elif below and field.definition:
            yield from unclassified(field.definition, rows, f"{path}.")
        else:
            yield path


def reached(definition: str, rows: dict[str, Any], base: str = "") -> Iterator[str]:
    for name, field in openapi.fields(definition).items():
        path = f"{base}{name}"
        if path in rows:
            yield path
        elif field.definition and any(row.startswith(f"{path}.") for row in rows):
            yield from reached(field.definition, rows, f"{path}.")


@pytest.mark.parametrize("kind", KUBERNETES, ids=lambda kind: str(kind.kind))
def test_every_field_has_a_word(kind: Kind) -> None:
    rows = kind.definition.fields
    if kind.definition.standing.name != "followed":
        assert not rows, "nothing follows it"
        return
    (structure,) = kind.structures
    assert not list(unclassified(structure, rows))
    there = set(reached(structure, rows))
    if "status" not in openapi.fields(structure):
        there.add("status")
    assert set(rows) == there


def test_what_lacks_a_word_is_found() -> None:
    rows = dict(KINDS.named("Service").definition.fields)  # type: ignore[union-attr]
    del rows["spec.selector"]
    assert list(unclassified("core.v1.Service", rows)) == ["spec.selector"]
    rows["spec.ports.port"] = rows["spec.ports"]
    assert list(unclassified("core.v1.Service", rows)) == [
        "spec.ports.port: besides spec.ports",
        "spec.selector",
    ]


def test_the_documentation_is_that_of_the_tables() -> None:
    written = Path(emulab.__file__).parents[1] / "docs/fields.md"
    assert written.read_text() == fields(), "run scripts/document"


def without_effect(*objects: dict[str, Any]) -> list[str]:
    return list(manifest(stream(*objects)).without_effect)


def test_what_is_not_followed_is_told_once_for_each_field_of_a_kind_with_the_first_place() -> None:
    text = """\
apiVersion: v1
kind: Pod
metadata: {name: a}
spec:
  containers:
  - name: web
    stdin: true
  - name: side
    resources: {claims: [{name: gpu}]}
    stdin: true
---
apiVersion: v1
kind: Pod
metadata: {name: b}
spec:
  containers:
  - {name: web, tty: true, stdin: true}
---
apiVersion: v1
kind: Pod
metadata: {name: c}
spec: {containers: [{name: web, stdin: true}]}
"""
    assert list(manifest(text).warnings) == [
        "shop.yaml:7: Pod/a spec.containers[0].stdin: isn't followed: programs read an empty standard input "
        "(nor in 2 more Pods)",
        "shop.yaml:9: Pod/a spec.containers[1].resources.claims: isn't followed: there are no such devices",
        "shop.yaml:17: Pod/b spec.containers[0].tty: isn't followed: programs have no terminal",
    ]


def test_a_template_is_as_a_pod() -> None:
    spec = patched(WORKLOAD, "template.spec", patched(POD, "runtimeClassName", "gvisor"))
    pod, workload = (
        described("Pod", patched(POD, "runtimeClassName", "gvisor")),
        described("Deployment", spec),
    )
    why = "programs run as all others"
    assert without_effect(pod, workload) == [
        f"shop.yaml:1: Pod/web spec.runtimeClassName: isn't followed: {why}",
        f"shop.yaml:3: Deployment/web spec.template.spec.runtimeClassName: isn't followed: {why}",
    ]


def test_what_says_nothing_is_not_missed() -> None:
    container = {**CONTAINER, "resources": {}, "securityContext": {}, "stdin": False, "envFrom": []}
    spec = {"containers": [container], "volumes": [], "hostPID": False, "priorityClassName": ""}
    assert not without_effect(described("Pod", spec), described("Service", SERVICE))


def test_what_an_api_server_fills_in_is_not_missed() -> None:
    filled = {"schedulerName": "default-scheduler", "preemptionPolicy": "PreemptLowerPriority", "priority": 0}
    assert not without_effect(described("Pod", {**POD, **filled}))
    asked = {"schedulerName": "volcano", "preemptionPolicy": "Never", "priority": 5}
    assert len(without_effect(described("Pod", {**POD, **asked}))) == 3


def test_a_token_is_missed_where_it_is_asked_for() -> None:
    assert not without_effect(described("Pod", {**POD, "automountServiceAccountToken": False}))
    assert len(without_effect(described("Pod", {**POD, "automountServiceAccountToken": True}))) == 1


def test_a_watch_finds_all_that_is_there() -> None:
    rows = table("a.b", ignored={"a.c": "x", "d": "y"}, e__f=table("g", ignored={"h": "z"}))
    assert [*rows] == ["a.b", "a.c", "d", "e.f.g", "e.f.h"]
    found = Watch(rows).found({"a": [{"b": 1, "c": 2}, {"c": 3}], "d": "", "e": {"f": {"g": 1, "h": 4}}})
    assert found == [
        (("a", 0, "c"), "a.c", "x"),
        (("a", 1, "c"), "a.c", "x"),
        (("e", "f", "h"), "e.f.h", "z"),
    ]

"""The table of Kubernetes' structures: its form, that it is whole, and what the checks of it say."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from manifest_texts import CONTAINER, POD, SERVICE, WORKLOAD, accepted, described, patched, refused

from emulab.kinds.kind import Kind
from emulab.kinds.openapi import table
from emulab.kinds.openapi.typed import _SCALARS, typed
from emulab.kinds.registry import KINDS
from emulab.kinds.schema import check_object

FOLDER = Path(table.__file__).parent
KUBERNETES = [kind for kind in KINDS if kind.is_kubernetes]
SAMPLES: dict[str, Any] = {
    "any": {},
    "boolean": True,
    "bytes": "YQ==",
    "double": 1.5,
    "int-or-string": 80,
    "int32": 1,
    "int64": 1,
    "quantity": "100m",
    "string": "a",
    "time": "2026-01-01T00:00:00Z",
}


def reached() -> set[str]:
    """The definitions that the registry's kinds lead to."""
    found: set[str] = set()
    waiting = [name for kind in KUBERNETES for name in kind.structures]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += [f.definition for f in table.fields(name).values() if f.definition]
    return found


def test_it_holds_what_the_kinds_reach_and_nothing_else() -> None:
    assert set(table.definitions()) == reached()


def test_its_lines_are_in_order_and_of_one_form() -> None:
    lines = (FOLDER / "structure.txt").read_text().splitlines()
    assert lines[0].startswith("# Kubernetes 1.35.")
    assert lines[1:] == sorted(lines[1:])
    for name in table.definitions():
        fields = table.fields(name)
        assert fields and list(fields) == sorted(fields), name
        for field in fields.values():
            scalar = field.type.strip("[]{}")
            assert field.definition or scalar in _SCALARS, (name, field)
            for suffix in field.merged:
                assert suffix.partition("=")[0] in ("atomic", "map", "merge", "retainKeys", "set"), suffix
            assert field.type.startswith("[") or not any(s.startswith("map=") for s in field.merged)


def test_every_definition_and_field_is_described() -> None:
    for name in table.definitions():
        assert table.described(name) is not None
        for field in table.fields(name):
            assert isinstance(table.described(name, field), str)
    assert table.described("core.v1.ServicePort", "port") == "The port that will be exposed by this service."


def test_how_lists_are_merged() -> None:
    ports = table.fields("core.v1.ServiceSpec")["ports"]
    assert ports == ("[core.v1.ServicePort]", False, ("map=port,protocol", "merge=port"))
    assert table.fields("core.v1.PodSpec")["containers"].merged == ("map=name", "merge=name")
    assert table.fields("core.v1.PodSpec")["volumes"].merged == ("map=name", "merge=name", "retainKeys")


def value(kind: str, seen: tuple[str, ...] = ()) -> Any:
    """A value of that type with every field, and each definition once on the way down."""
    if kind.startswith("["):
        return [value(kind[1:-1], seen)]
    if kind.startswith("{"):
        return {"a": value(kind[1:-1], seen)}
    if "." not in kind:
        return SAMPLES[kind]
    if kind in seen:
        return {}
    return {name: value(field.type, (*seen, kind)) for name, field in table.fields(kind).items()}


@pytest.mark.parametrize("kind", KUBERNETES, ids=lambda kind: str(kind.kind))
def test_what_is_laid_over_a_definition_is_in_it(kind: Kind) -> None:
    """Else a LookupError tells; that values are sound is another matter."""
    for api_version, name in zip((kind.api_version, *kind.also), kind.structures, strict=True):
        o = {**value(name), "apiVersion": api_version, "kind": kind.kind}
        assert not typed(name)(o)
        list(check_object(o))


@pytest.mark.parametrize(
    ("kind", "path", "given", "problem"),
    [
        ("Pod", "containers.0.image", 5, "containers[0].image: 5 is not a string; put it in quotes"),
        ("Pod", "containers.0.tty", "yes", 'containers[0].tty: "yes" is not true or false'),
        ("Pod", "priority", 1 << 31, "priority: 2147483648 is too large for 32 bits"),
        ("Pod", "priority", -(1 << 31) - 1, "priority: -2147483649 is too small for 32 bits"),
        ("Pod", "priority", "5", 'priority: "5" is not a whole number; write it without quotes'),
        ("Pod", "activeDeadlineSeconds", 1.5, "activeDeadlineSeconds: 1.5 is not a number of 1 or more"),
        ("Pod", "volumes", {"name": "a"}, "volumes: a mapping is not a list"),
        ("Pod", "volumes.0", {"emptyDir": {}}, "volumes[0].name: is required"),
        (
            "Pod",
            "containers.0.resources",
            {"limits": {"cpu": "lots"}},
            'containers[0].resources.limits.cpu: "lots": quantities must match the regular expression '
            "'^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
        ("Pod", "overhead", [1], "overhead: a list is not a mapping"),
        ("Service", "selector", ["a"], "selector: a list is not a mapping"),
    ],
)
def test_types_and_required_fields(kind: str, path: str, given: Any, problem: str) -> None:
    base = {"Pod": POD, "Service": SERVICE}[kind]
    assert refused(described(kind, patched(base, path, given))) == [f"spec.{problem}"]


def test_whatever_kubernetes_has_is_taken() -> None:
    container = {
        **CONTAINER,
        "resources": {"limits": {"cpu": 1, "memory": "1.5Gi"}, "requests": {"cpu": "100m"}},
        "securityContext": {"capabilities": {"add": ["NET_ADMIN"]}, "runAsUser": 1000},
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
        "envFrom": [{"configMapRef": {"name": "c", "optional": True}}],
    }
    pod = {
        "containers": [container],
        "volumes": [{"name": "data", "emptyDir": {"sizeLimit": "1Gi"}}],
        "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": []}},
        "tolerations": [{"operator": "Exists"}],
        "serviceAccountName": "web",
    }
    assert accepted(described("Deployment", patched(WORKLOAD, "template.spec", pod)))
    metadata = {"name": "web", "generateName": "web-", "ownerReferences": [{"controller": True}]}
    assert accepted({**described("Pod", pod), "metadata": metadata, "status": {"whatever": 1}})


def test_the_table_is_read_when_something_is_checked() -> None:
    """Who lists objects loads their kinds, and needs no structure of them."""
    program = (
        "import sys\n"
        "from emulab.kinds.registry import KINDS\n"
        "for kind in KINDS: kind.definition\n"
        "from emulab.kinds.openapi import table\n"
        "print(table._lines.cache_info().currsize, table.fields.cache_info().currsize)\n"
        "from emulab.kinds.schema import check_object\n"
        "check_object({'apiVersion': 'v1', 'kind': 'ConfigMap', 'metadata': {'name': 'a'}})\n"
        "print(table._lines.cache_info().currsize, table.fields.cache_info().currsize)\n"
    )
    told = subprocess.check_output([sys.executable, "-c", program], text=True).split("\n")
    assert told[:2] == ["0 0", "1 2"]


def test_what_is_installed_has_the_tables() -> None:
    text = (FOLDER.parents[2] / "pyproject.toml").read_text()
    assert '"kinds/openapi/*.txt"' in text
    assert json.dumps(sorted(p.name for p in FOLDER.glob("*.txt"))) == '["descriptions.txt", "structure.txt"]'

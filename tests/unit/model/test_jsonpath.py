"""JSONPath templates; what is expected was compared with kubectl 1.35.2 (`kubectl label --local -o jsonpath=…`)."""

from __future__ import annotations

from typing import Any

import pytest

from emulab.model.jsonpath import JSONPathError, text_of
from emulab.model.jsonpathtext import relaxed, template

POD: dict[str, Any] = {
    "metadata": {
        "name": "web-0",
        "namespace": "shop",
        "labels": {"app": "web", "app.kubernetes.io/name": "x"},
    },
    "spec": {
        "containers": [
            {"name": "a", "image": "nginx", "ports": [{"containerPort": 80}, {"containerPort": 443}]},
            {"name": "b", "image": "busybox<1>", "env": [{"name": "X", "value": "1"}]},
        ]
    },
    "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Init", "status": "False"}]},
    "nothing": None,
    "ratio": 1.5,
    "on": True,
}


def printed(text: str) -> str:
    return "".join(" ".join(map(text_of, found)) for found in template(text).find(POD))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{.metadata.name}", "web-0"),
        ("{$.metadata.name}", "web-0"),
        ("{@.metadata.name}", "web-0"),
        (".metadata.name", ".metadata.name"),
        ("a{.metadata.name}b", "aweb-0b"),
        ("{.metadata.name }{ .metadata.namespace}", "web-0shop"),
        ("{.foo}{.foo.bar}", ""),
        ("{.on} {.ratio} {.nothing}", "true 1.5 null"),
        ("{1}{'a'}{\"b\\n\"}", "1ab\n"),
        ('{"\\u00e9\\x41"}', "éA"),
        ("{.spec.containers[*].name}", "a b"),
        ("{.spec.containers[0].ports[0]}", '{"containerPort":80}'),
        ("{.spec.containers[1].image}{.spec.containers[1:]}", r'busybox<1>{"env":'),
        ("{.spec.containers[-1:].name}", "b"),
        ("{.spec.containers[-1].name}", "b"),
        ("{.spec.containers[::2].name}", "a"),
        ("{.spec.containers[0,1].name}", "a b"),
        ("{.metadata['name','namespace']}", "web-0 shop"),
        ("{.metadata.labels['app']}", "web"),
        (r"{.metadata.labels.app\.kubernetes\.io/name}", "x"),
        (r"{.metadata.labels['app\.kubernetes\.io/name']}", "x"),
        ("{..name}", "web-0 a b X"),
        ("{.spec..name}", "a b X"),
        ('{.status.conditions[?(@.type=="Ready")].status}', "True"),
        ("{.status.conditions[?(@.type!='Ready')].type}", "Init"),
        ("{.spec.containers[?(@.ports)].name}", "a"),
        ("{.spec.containers[0].ports[?(@.containerPort>100)].containerPort}", "443"),
        ('{.spec.containers[?(@.name=="a)")].name}', ""),
        ('{range .spec.containers[*]}{.name}{"\\t"}{.image}{"\\n"}{end}', "a\tnginx\nb\tbusybox<1>\n"),
        ("{range .spec.containers[*]}[{range .ports[*]}{.containerPort},{end}]{end}!", "[80,443,][]!"),
        ("{range .x[*]}{.a}{end}z", "z"),
        ("{range .spec.containers[*]}{.name}", "ab"),
    ],
)
def test_what_templates_print(text: str, expected: str) -> None:
    assert printed(text).startswith(expected)
    if not expected.endswith(":"):
        assert printed(text) == expected


def test_lists_are_json_that_is_safe_in_html() -> None:
    assert printed("{.spec.containers}").endswith('"image":"busybox\\u003c1\\u003e","name":"b"}]')


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("{.foo", "unclosed action"),
        ("{.spec.containers[x]}", "invalid array index x"),
        ("{.spec.containers[0}", "unterminated array"),
        ("{.a[?(@.b==1}", "unterminated filter"),
        ("{.a[?(@.b==1)x]}", "unclosed array expect ]"),
        ("{'a}", "unterminated quoted string"),
        ("{#}", "unrecognized character in action: U+0023 '#'"),
        ("{end}", "not in range, nothing to end"),
    ],
)
def test_templates_that_cannot_be_read(text: str, error: str) -> None:
    with pytest.raises(JSONPathError) as found:
        template(text)
    assert str(found.value) == error


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("{foo}", "unrecognized identifier foo"),
        ("{.spec.containers[5]}", "array index out of bounds: index 5, length 2"),
        ("{.spec.containers[0:5]}", "array index out of bounds: index 4, length 2"),
        ("{.spec.containers[1:0]}", "starting index 1 is greater than ending index 0"),
        ("{.spec.containers[0:2:0]}", "step must be > 0"),
        ("{.metadata.name[0]}", "string is not array or slice"),
        ("{.spec.containers[?(@.name!=5)].name}", "incompatible types for comparison"),
        ('{.spec.containers[?(@.name="a")].name}', "unrecognized filter operator ="),
    ],
)
def test_templates_that_do_not_go_with_the_object(text: str, error: str) -> None:
    with pytest.raises(JSONPathError) as found:
        printed(text)
    assert str(found.value) == error


@pytest.mark.parametrize("text", ["{.metadata.name}", ".metadata.name", "metadata.name", "{metadata.name}"])
def test_a_single_path_may_lack_braces_and_dot(text: str) -> None:
    assert relaxed(text).values(POD) == ["web-0"]


def test_a_missing_field_is_an_error_where_it_must_be_there() -> None:
    with pytest.raises(JSONPathError, match="foo is not found"):
        template("{.foo}").find(POD, missing_allowed=False)

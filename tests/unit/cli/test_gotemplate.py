"""`-o go-template=…`. What is expected is what kubectl's own printer made of the same object."""

from __future__ import annotations

import pytest

from emulab.cli.output.formats import parse_format
from emulab.cli.usage import UsageError
from emulab.errors import UserError

WEB = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web", "labels": {"app": "web", "tier": "front"}, "creationTimestamp": None},
    "spec": {"replicas": 3, "containers": [{"name": "b", "image": "a/b:1"}, {"name": "d", "image": "c/d"}]},
}


def made(template: str) -> str:
    write = parse_format(f"go-template={template}").write
    assert write is not None
    return write(WEB)


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{.metadata.name}} {{.spec.replicas}}", "web 3"),
        ('{{range .spec.containers}}{{.name}} {{.image}}{{"\\n"}}{{end}}', "b a/b:1\nd c/d\n"),
        ("{{range $i, $c := .spec.containers}}{{if $i}}, {{end}}{{$c.name}}{{end}}", "b, d"),
        ("{{range $k, $v := .metadata.labels}}{{$k}}={{$v}};{{end}}", "app=web;tier=front;"),
        ("{{range .nope}}a{{else}}none{{end}}", "none"),
        ('{{range .spec.containers}}{{if eq .name "b"}}{{continue}}{{end}}{{.name}}{{end}}', "d"),
        ("{{range .spec.containers}}{{.name}}{{break}}{{end}}", "b"),
        ('{{index .spec.containers 1 "image"}} {{(index .spec.containers 0).name}}', "c/d b"),
        ('{{index .metadata.labels "app"}} {{index .metadata.labels "zz"}}', "web <no value>"),
        ("{{.nope}} {{.nope.more}} {{.metadata.creationTimestamp}}", "<no value> <no value> <no value>"),
        ("{{with .nope}}x{{else with .kind}}{{.}}{{end}}", "Deployment"),
        ("{{with .metadata}}{{.name}} {{$.kind}}{{end}}", "web Deployment"),
        ("{{if eq .spec.replicas 3}}three{{else}}other{{end}}", "three"),
        ('{{if ne .kind "Deployment"}}a{{else if .metadata}}b{{end}}', "b"),
        ("{{$a := 1}}{{if true}}{{$a = 7}}{{end}}{{$a}}", "7"),
        (
            '{{eq .nope "x"}} {{not .nope}} {{and .kind .nope}} {{or .nope .kind}}',
            "false true <no value> Deployment",
        ),
        ('{{gt 2 1}} {{ge 2 2}} {{le 1 2}} {{lt "a" "b"}}', "true true true true"),
        ("{{len .spec.containers}} {{.kind | len}} {{len .metadata.labels}}", "2 10 2"),
        (
            "{{.metadata.labels}} {{.spec.containers}}",
            "map[app:web tier:front] [map[image:a/b:1 name:b] map[image:c/d name:d]]",
        ),
        (
            '{{ .kind | printf "%s-%s" "a" }} {{printf "%5.2f|%-4s|%04d|%q" 3.14159 "ab" 42 "x"}}',
            'a-Deployment  3.14|ab  |0042|"x"',
        ),
        ('{{printf "%d" .kind}} {{printf "%s" .spec.replicas}}', "%!d(string=Deployment) %!s(int64=3)"),
        ('{{printf "%d"}} {{printf "%v" 1 2}}', "%!d(MISSING) 1%!(EXTRA int=2)"),
        ("{{1000000.0}} {{123456.5}} {{0.00001}} {{0x1F}} {{'a'}}", "1e+06 123456.5 1e-05 31 97"),
        ('{{print 1 2 "a" "b" 3}} {{println "x" 1}}', "1 2ab3 x 1\n"),
        ('a  {{- " b " -}}  c {{/* not this */ -}}  d', "a b c d"),
        ('{{define "t"}}[{{.}}]{{end}}{{template "t" .kind}}', "[Deployment]"),
        (
            '{{"aGVsbG8=" | base64decode}} {{exists . "spec" "x"}} {{exists . "spec" "replicas"}}',
            "hello false true",
        ),
        (
            '{{html "<a>"}} {{js "it\'s"}} {{urlquery "a b&c"}} {{slice "abcdef" 1 3}}',
            "&lt;a&gt; it\\'s a+b%26c bc",
        ),
    ],
)
def test_makes_what_kubectl_makes(template: str, text: str) -> None:
    assert made(template) == text


@pytest.mark.parametrize(
    ("template", "why"),
    [
        (
            "{{.kind.x}}",
            'output:1:7: executing "output" at <.kind.x>: can\'t evaluate field x in type interface {}',
        ),
        ("a\n{{len 3}}", 'output:2:2: executing "output" at <len 3>: error calling len: len of type int'),
        ("{{eq .kind 1}}", "at <eq .kind 1>: error calling eq: incompatible types for comparison"),
        ("{{index .spec.containers 5}}", "error calling index: index out of range: 5"),
        ("{{index .nope 0}}", "error calling index: index of untyped nil"),
        ("{{range .kind}}{{end}}", "at <.kind>: range can't iterate over Deployment"),
        ("{{not 1 2}}", "at <not>: wrong number of args for not: want 1 got 2"),
        ("{{base64decode .nope}}", "at <.nope>: invalid value; expected string"),
        ('{{.kind "a"}}', "at <.kind>: kind is not a method but has arguments"),
        ('{{template "zz"}}', 'template "zz" not defined'),
    ],
)
def test_says_where_it_fails(template: str, why: str) -> None:
    with pytest.raises(UserError) as error:
        made(template)
    assert str(error.value).startswith("error executing template ")
    assert why in str(error.value)


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{{foo .kind}}", 'template: output:1: function "foo" not defined'),
        ("\n{{if}}x{{end}}", "template: output:2: missing value for if"),
        ("{{if .kind}}", "template: output:1: unexpected EOF"),
        ("{{end}}", "template: output:1: unexpected {{end}}"),
        ("{{.kind", "template: output:1: unclosed action"),
        ("{{(.kind}}", "template: output:1: unclosed left paren"),
        ("{{$x}}", 'template: output:1: undefined variable "$x"'),
        ('{{"abc}}', "template: output:1: unterminated quoted string"),
        ("{{break}}", "template: output:1: {{break}} outside {{range}}"),
        ("", "template format specified but no template given"),
    ],
)
def test_refuses_what_is_no_template(template: str, why: str) -> None:
    with pytest.raises(UsageError) as error:
        made(template)
    assert str(error.value).endswith(why)

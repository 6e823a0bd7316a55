"""YAML as kubectl reads it, its line numbers, and input meant to hurt; with libyaml and without."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from emulab.model.yaml_nodes import MAX_DEPTH, PARSER, MalformedYaml, PythonParser, documents

PARSERS = pytest.mark.parametrize("parser", [PARSER, PythonParser], ids=["libyaml", "python"])


def data(text: str, parser: Callable[[str], Any] = PARSER) -> Any:
    (document,) = documents(text, parser)
    return document.data


def malformed(text: str, parser: Callable[[str], Any] = PARSER) -> tuple[int, str]:
    with pytest.raises(MalformedYaml) as raised:
        list(documents(text, parser))
    return raised.value.line, raised.value.why


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", True),
        ("On", True),
        ("n", False),
        ("FALSE", False),
        ("80", 80),
        ("-1", -1),
        ("+5", 5),
        ("0644", 420),
        ("0o644", 420),
        ("0x1F", 31),
        ("-0b11", -3),
        ("1_000", 1000),
        ("08", 8),
        ("8.0", 8),
        ("1e3", 1000),
        ("0.5", 0.5),
        (".5", 0.5),
        ("18446744073709551615", 18446744073709551615),
        ("9" * 5000, "9" * 5000),
        ("1e999", "1e999"),
        (".inf", ".inf"),
        ("-", "-"),
        ("1:30", "1:30"),
        ("2020-01-01", "2020-01-01"),
        ("10.0.0.1", "10.0.0.1"),
        ("1.2.3", "1.2.3"),
        ("nothing", "nothing"),
        ('"80"', "80"),
        ("'yes'", "yes"),
        ("!!str 80", "80"),
        ('!!int "80"', 80),
        ("!!float 80", 80),
        ("! 80", "80"),
        ("|\n    80\n", "80\n"),
    ],
)
@PARSERS
def test_scalars(text: str, value: Any, parser: Callable[[str], Any]) -> None:
    if text == "-":
        text = "'-'"
    found = data(f"key: {text}", parser)["key"]
    assert (found, type(found)) == (value, type(value))


def test_keys_are_those_of_json() -> None:
    assert data("80: a\non: b\n1.5: c\n'x y': d") == {"80": "a", "true": "b", "1.5": "c", "x y": "d"}


def test_null_is_not_given() -> None:
    assert data("a:\nb: ~\nc: null\nd: ''\ne: [~]") == {"d": "", "e": [None]}


def test_anchors_and_merges() -> None:
    text = """
base: &base {image: web, ports: [80], debug: 1}
one: {<<: *base, debug: 2}
two:
  <<: [{image: first}, *base]
three: {debug: ~, <<: *base}
list: [*base]
"""
    found = data(text)
    assert found["one"] == {"image": "web", "ports": [80], "debug": 2}
    assert found["two"] == {"image": "first", "ports": [80], "debug": 1}
    assert found["three"] == {"image": "web", "ports": [80]}
    assert found["list"] == [found["base"]]


def test_an_anchor_may_be_given_again() -> None:
    assert data("a: &x 1\nb: *x\nc: &x 2\nd: *x") == {"a": 1, "b": 1, "c": 2, "d": 2}


@PARSERS
def test_lines(parser: Callable[[str], Any]) -> None:
    text = "# first\n---\na: 1\nb:\n  - x\n  - c: 2\n    d:\n      <<: {e: 1}\n    f:\n"
    (document,) = documents(text, parser)

    def line(*path: str | int) -> int:
        return document.line_of(document.data, path, 99)

    assert [line("a"), line("b"), line("b", 0), line("b", 1)] == [3, 4, 5, 6]
    assert [line("b", 1, "d"), line("b", 1, "d", "e")] == [7, 8]
    assert line("b", 1, "f") == 9, "a null value has a line, though it isn't there"
    assert line("b", 1, "g", "h") == 6, "what is missing is where its parent is"
    assert line("z") == 99


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        ("a: 1\nb: 2\na: 3", 3, 'the key "a" was already given on line 1; kubectl takes the last'),
        (
            *("apiVersion: v1\nkind: A\napiVersion: v1", 3),
            'the key "apiVersion" was already given on line 1; is a line with --- missing before it?',
        ),
        (
            *("kind: A\napiVersion: v1\nkind: B", 3),
            'the key "kind" was already given on line 1; is a line with --- missing before it?',
        ),
        ("a: {b: 1, 'b': 2}", 1, 'the key "b" was already given on line 1; kubectl takes the last'),
        ("on: 1\ntrue: 2", 2, 'the key "true" was already given on line 1; kubectl takes the last'),
        ("a:\n  ? [b]\n  : 1", 2, "a key must be a string"),
        ("~: 1", 1, "a key must be a string"),
        ("a: 1\nb: *x", 2, "the alias *x has no anchor before it"),
        ("---\na: &x 1\n---\nb: *x", 4, "the alias *x has no anchor before it"),
        ("a: &x\n  b: *x", 2, "the alias *x stands inside its own anchor"),
        ("a: 1\nb: !secret x", 2, "the tag !secret is not supported"),
        (
            "a: !!python/object/apply:os.system [ls]",
            1,
            "the tag !!python/object/apply:os.system is not supported",
        ),
        ("a: !!set {b}", 1, "the tag !!set is not supported"),
        ("a: !!binary aGk=", 1, "the tag !!binary is not supported"),
        ("a: !!int x", 1, '"x" does not fit the tag !!int'),
        ("a: {<<: 1}", 1, "<< merges mappings only"),
        ("a: {<<: [{b: 1}, c]}", 1, "<< merges mappings only"),
    ],
)
@PARSERS
def test_errors(text: str, line: int, why: str, parser: Callable[[str], Any]) -> None:
    assert malformed(text, parser) == (line, why)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: b: c", 1),
        ("a: 1\n  b: 2", 2),
        ("a: [1, 2", 1),
        ("a: 1\n\tb: 2", 2),
        ("a: 'x", 1),
        ("é: 1\n\n\x01", 3),
        ('a: "\\U00110000"', 1),
        ("\ud800", 1),
        ("%YAML 3.0\n---\na", 1),
        ("\x00", 1),
    ],
)
@PARSERS
def test_syntax_errors(text: str, line: int, parser: Callable[[str], Any]) -> None:
    found, why = malformed(text, parser)
    assert found == line
    assert why.startswith("not YAML: ")
    assert "\n" not in why


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? "])
def test_nesting_is_bounded_long_before_the_stack_is(opening: str) -> None:
    line, why = malformed(opening * 200_000)
    # libyaml 0.2.6 and later bound flow collections by themselves, and word it as they like.
    assert line == 1
    assert why.startswith((f"nested more than {MAX_DEPTH} levels deep", "not YAML: "))


def test_nesting_up_to_the_bound_works() -> None:
    assert data("[" * MAX_DEPTH + "]" * MAX_DEPTH)
    assert malformed("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1))[1].startswith("nested")


def test_nesting_through_aliases_is_bounded_too() -> None:
    chain = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 200))
    assert malformed(chain) == (MAX_DEPTH, f"nested more than {MAX_DEPTH} levels deep")


def test_an_alias_bomb_is_refused() -> None:
    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True):
        bomb += f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
    line, why = malformed(bomb)
    assert why == "the aliases expand to more than 100000 values"
    assert line == 6, "refused where it grows, not at the end"


def test_a_merge_bomb_is_refused() -> None:
    keys = ", ".join(f"k{n}: 1" for n in range(1000))
    assert malformed(f"- &a {{{keys}}}\n" + "- <<: *a\n" * 200)[1].startswith("the aliases expand")


@PARSERS
def test_a_bracket_left_open_is_named_where_it_opens(parser: Callable[[str], Any]) -> None:
    line, why = malformed("a: 1\nb: [\n  1,\n  2\nc: 3\n", parser)
    assert line == 5
    assert why.endswith("(while parsing a flow sequence from line 2)")


def test_empty_streams() -> None:
    assert list(documents("")) == []
    assert list(documents("# nothing\n")) == []
    assert [document.data for document in documents("---\n---\na: 1\n")] == [None, {"a": 1}]


def test_documents_before_an_error_are_read() -> None:
    stream = documents("a: 1\n---\nb: [\n")
    assert next(stream).data == {"a": 1}
    with pytest.raises(MalformedYaml):
        next(stream)


@pytest.mark.parametrize("between", ["\n", "", " ", "\n\n", "\r\n"])
def test_json_objects_may_follow_each_other(between: str) -> None:
    text = between.join(['{"a": 1}', '{\n  "b": [{}]\n}', '{"c": "---"}\n'])
    assert [d.data for d in documents(text)] == [{"a": 1}, {"b": [{}]}, {"c": "---"}]


def test_the_lines_of_json_objects_that_follow_each_other() -> None:
    text = '{\n  "a": 1\n}\n{\n  "b": 2\n}\n'
    first, second = documents(text)
    assert (first.line, second.line) == (1, 4)
    assert second.line_of(second.data, ("b",), 0) == 5


@pytest.mark.parametrize("text", ["{a: 1}\n{b: 2}\n", '{"a": 1}\n["b"]\n', '{"a": 1}\nb: 2\n'])
def test_other_text_behind_an_object_is_no_document(text: str) -> None:
    with pytest.raises(MalformedYaml, match="not YAML"):
        list(documents(text))

"""Nothing but the registry lists kinds: who adds one needs to find no other place."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import emulab
from emulab.kinds import registry
from emulab.kinds.kind import Kind

ROOT = Path(emulab.__file__).parent
MOST = 2  # a rule between two kinds may name both
WORDS = {word: kind for kind in registry.KINDS for word in (kind.kind, kind.plural)}
"""What a list of kinds would hold as strings. In lower case most are words for other things as well."""
CONSTANTS = {name: value for name, value in vars(registry).items() if isinstance(value, Kind)}

EXCEPTIONS = {
    "kinds/registry.py",
    # Explanations call a place by a kind: what kinds of places there are is the plan's word, not the registry's.
    "plan/owners.py",
    # Whose addresses the ways of a benchmark lead to.
    "bench/stage.py",
    # What a proxy's record counts, in kube-proxy's words.
    "lab/supervisor/proxysyncs.py",
}


def _said(node: ast.expr | None) -> Kind | None:
    """The kind that an element names, if it names one."""
    match node:
        case ast.Constant(value=str(word)):
            return WORDS.get(word)
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return CONSTANTS.get(name)
    return None


def _lists(tree: ast.AST) -> Iterator[tuple[int, list[str]]]:
    """The literal collections, and matches, that name more than MOST kinds, with their lines."""
    for node in ast.walk(tree):
        elements: list[ast.expr | None] = []
        match node:
            case ast.List() | ast.Tuple() | ast.Set():
                elements += node.elts
            case ast.Dict():
                elements += [*node.keys, *node.values]
            case ast.Match():
                values = [
                    v for case in node.cases for v in ast.walk(case.pattern) if isinstance(v, ast.MatchValue)
                ]
                elements += [v.value for v in values]
        kinds = {kind for element in elements if (kind := _said(element))}
        if len(kinds) > MOST:
            yield node.lineno, sorted(kind.kind for kind in kinds)  # type: ignore[attr-defined]


def test_nothing_else_lists_kinds() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {', '.join(kinds)}"
        for path in sorted(ROOT.rglob("*.py"))
        if path.relative_to(ROOT).as_posix() not in EXCEPTIONS
        for line, kinds in _lists(ast.parse(path.read_text()))
    ]
    assert not found, "\n".join(found)


def test_a_list_of_kinds_is_found() -> None:
    for text in (
        '("Pod", "Service", "Node")',
        '{"pods": 1, "x": registry.SERVICE, "Node": 2}',
        "match o:\n  case 'Pod' | 'Service': ...\n  case 'Node': ...",
        "[POD, *others, SERVICE, NODE]",
    ):
        assert [kinds for _, kinds in _lists(ast.parse(text))] == [["Node", "Pod", "Service"]], text
    assert not list(_lists(ast.parse('("Pod", "Service", "pod", POD, "x")')))

"""One name for one thing: no two types of emulab have the same name."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]

BY_DESIGN: dict[str, str] = {}
"""Names that several modules define because each has its own of the same thing, and why that is no confusion.

Nothing needs it now: what modules of a family have in common are values and functions (`create`, `run`, `MODE`,
`PERSONALITY`, `ENCODING`), which are asked for by their module.
"""


def types_of(tree: ast.Module) -> Iterator[str]:
    """The public classes and names of types of a module. A TypeVar is nobody's but the module's."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign) and not _is_type_variable(node.value):
            yield from (t.id for t in node.targets if isinstance(t, ast.Name) and _names_a_type(t.id))


def _is_type_variable(value: ast.expr) -> bool:
    called = value.func if isinstance(value, ast.Call) else None
    return isinstance(called, ast.Name) and called.id in ("TypeVar", "ParamSpec")


def _names_a_type(name: str) -> bool:
    return name[:1].isupper() and not name.isupper()


def doubled(sources: dict[str, str]) -> dict[str, list[str]]:
    """Public names of types that several modules define, with these."""
    found: dict[str, list[str]] = defaultdict(list)
    for module, text in sources.items():
        for name in types_of(ast.parse(text)):
            if not name.startswith("_"):
                found[name].append(module)
    return {name: modules for name, modules in found.items() if len(modules) > 1}


def test_no_two_types_have_one_name() -> None:
    files = sorted(ROOT.glob("emulab/**/*.py"))
    assert len(files) > 300
    found = doubled({str(path.relative_to(ROOT)): path.read_text() for path in files})
    assert {n: m for n, m in found.items() if n not in BY_DESIGN} == {}
    assert sorted(BY_DESIGN.keys() - found.keys()) == []  # told apart by now: take it out of the table


def test_what_is_looked_for() -> None:
    one = "class Rule: ...\nclass _Part: ...\nWord = str\nT = TypeVar('T')\nPORT = 1\n"
    other = "Rule = tuple[str, ...]\nclass _Part: ...\nclass Word: ...\nT = TypeVar('T')\nPORT = 2\n"
    assert doubled({"one": one, "other": other}) == {"Rule": ["one", "other"], "Word": ["one", "other"]}

"""Servers' modules run compiled where they have been, and as their sources say wherever that is not so."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from emulab import compiled

CONNECTION = "emulab.servers.l7.engine.connection"


def where_from(**environment: str) -> str:
    """The file that a fresh interpreter, which imports all that are compiled, has the module from."""
    program = f"import {', '.join(compiled.MODULES)}, {CONNECTION} as found; print(found.__file__)"
    own = {name: value for name, value in os.environ.items() if name != "EMULAB_COMPILED"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=own | environment,
        cwd=compiled.ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_tests_of_root_have_them_compiled() -> None:
    """scripts/test sees to that with scripts/setup; a share of the tests that is interpreted says so itself."""
    if os.environ.get("EMULAB_TEST_SHARE") == "root":
        assert compiled.look().why == "", "run scripts/compile"
    found = where_from()
    assert found.endswith(".py") == bool(compiled.look().why) or os.environ.get("EMULAB_COMPILED") == "0"


def test_all_are_interpreted_where_somebody_wants_it() -> None:
    assert where_from(EMULAB_COMPILED="0") == str(compiled.source(CONNECTION))


def test_what_is_made_of_other_sources_is_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("EMULAB_COMPILED", raising=False)
    monkeypatch.setattr(compiled, "folder", lambda: tmp_path)
    assert "haven't been compiled" in compiled.look().why
    (tmp_path / "made").write_text(f"{compiled.digest()}\n{CONNECTION} a.so\n")
    assert compiled.look() == ({CONNECTION: "a.so"}, "")
    monkeypatch.setattr(compiled, "MODULES", compiled.MODULES[1:])
    assert "changed" in compiled.look().why
    (tmp_path / "made").write_text("")
    assert "changed" in compiled.look().why


def test_what_cannot_be_compiled_stays_outside() -> None:
    """A dataclass and a subclass elsewhere fail when they are used, and not when they are compiled."""
    classes: dict[str, str] = {}
    for module in compiled.MODULES:
        for node in ast.walk(ast.parse(compiled.source(module).read_text())):
            if isinstance(node, ast.ClassDef):
                assert not any("dataclass" in ast.dump(one) for one in node.decorator_list), (
                    module,
                    node.name,
                )
                bases = {ast.unparse(base) for base in node.bases}
                assert not bases & {"asyncio.Protocol", "asyncio.Transport"}, (
                    module,
                    node.name,
                )
                classes[node.name] = module
    for path in (compiled.ROOT / "emulab").rglob("*.py"):
        tree = ast.parse(path.read_text())
        taken = {
            name.name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.module in compiled.MODULES
            for name in node.names
        }
        if taken and path not in map(compiled.source, compiled.MODULES):
            below = [n for n in ast.walk(tree) if isinstance(n, ast.ClassDef)]
            wrong = [n.name for n in below if taken & {ast.unparse(b) for b in n.bases} & classes.keys()]
            assert not wrong, f"{path}: {wrong} must be in compiled.MODULES, too"

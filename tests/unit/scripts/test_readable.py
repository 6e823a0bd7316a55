"""The copy of a checkout for those who can't read it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

TESTS = str(Path(__file__).resolve().parents[2])
FILES = {
    "README.md": "",
    "docs/README.md": "",
    "pyproject.toml": "",
    "emulab/__init__.py": "",
    "scripts/setup": "#!/bin/sh\n",
    "tests/test_it.py": "",
    "topologies/shop.yaml": "kind: Pod\n",
    ".venv/bin/emulab": "#!CHECKOUT/.venv/bin/python\n",
    ".venv/lib/python3/site-packages/__editable___finder.py": "MAPPING = {'emulab': 'CHECKOUT/emulab'}\n",
}
SOMEBODY = 65534


@pytest.fixture
def readable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module, for a checkout that is for its owner alone."""
    monkeypatch.syspath_prepend(TESTS)
    import readable

    root = tmp_path / "a checkout"
    for name, text in FILES.items():
        path = root / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_text(text.replace("CHECKOUT", str(root)))
        path.chmod(0o700 if text.startswith("#!") else 0o600)
    monkeypatch.setattr(readable, "ROOT", root)
    yield readable
    sys.modules.pop("readable", None)


def test_everybody_can_read_the_copy(readable: ModuleType) -> None:
    copied = readable.copy()
    try:
        for path in (copied, *copied.rglob("*")):
            wanted = 0o555 if path.is_dir() or path.read_text().startswith("#!") else 0o444
            assert path.stat().st_mode & wanted == wanted, path
        assert {str(p.relative_to(copied)) for p in copied.rglob("*") if p.is_file()} == set(FILES)
        if os.geteuid() == 0:  # who is nobody else already can't become so
            become = ("setpriv", f"--reuid={SOMEBODY}", f"--regid={SOMEBODY}", "--clear-groups")
            subprocess.run([*become, "cat", copied / "pyproject.toml"], check=True)
            assert not readable.is_readable(SOMEBODY)
    finally:
        shutil.rmtree(copied.parent)


def test_nobody_finds_the_copy_who_is_not_told(readable: ModuleType) -> None:
    copied = readable.copy()
    try:
        assert copied.parent.stat().st_mode & 0o777 == 0o711
    finally:
        shutil.rmtree(copied.parent)


def test_the_copy_knows_where_it_is(readable: ModuleType) -> None:
    copied = readable.copy()
    try:
        assert (copied / ".venv/bin/emulab").read_text() == f"#!{copied}/.venv/bin/python\n"
        finder = copied / ".venv/lib/python3/site-packages/__editable___finder.py"
        assert finder.read_text() == f"MAPPING = {{'emulab': '{copied}/emulab'}}\n"
    finally:
        shutil.rmtree(copied.parent)

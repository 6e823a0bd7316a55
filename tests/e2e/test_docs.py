"""Every command of every page is run, and prints what the page shows.

It is compared by its form (scripts/pages): addresses, times, names. A page has labs and a folder of its own.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from .tools import ROOT

sys.path.insert(0, str(ROOT / "scripts"))

from pages.blocks import steps
from pages.walk import walk

PAGES = sorted(p for p in (ROOT / "README.md", *ROOT.glob("docs/*.md")) if any(steps(p.read_text())))


@pytest.mark.parametrize("page", PAGES, ids=[page.stem for page in PAGES])
def test_a_page_does_what_it_shows(page: Path) -> None:
    outcomes = walk(page, f"e2e-{os.getpid()}-{page.stem.lower()[:12]}-")
    wrong = [f"{page.name}:{o.command.line}: {o.command.text}\n{o.wrong}" for o in outcomes if o.wrong]
    assert not wrong, "\n\n".join(wrong)

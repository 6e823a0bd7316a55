"""What scripts/tour makes of the README."""

from __future__ import annotations

import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[3]

README = """
Some words.

    $ emulab up \\
        shop.yaml
    lab default is up

    Try:
      emulab down

    $ emulab exec node1 -- true
    $ emulab trace http://x/     # perhaps
    …
    FAILED at router: no route

More words, and

    emulab get pods
"""


@pytest.fixture
def tour(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    loader = SourceFileLoader("tour", str(ROOT / "scripts/tour"))
    spec = spec_from_loader("tour", loader)
    assert spec is not None
    module = module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "tour", module)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    loader.exec_module(module)
    return module


def test_steps(tour: ModuleType) -> None:
    assert [(step.command, step.shown) for step in tour.steps(README)] == [
        ("emulab up shop.yaml", "lab default is up\nTry:\nemulab down\n"),
        ("emulab exec node1 -- true", ""),
        ("emulab trace http://x/     # perhaps", "…\nFAILED at router: no route\n"),
    ]


@pytest.mark.parametrize(
    ("number", "status", "output", "wrong"),
    [
        (0, 0, "lab default is up\n", ""),
        (0, 1, "emulab: no\n", "its status is 1"),
        (0, 0, " \n", "it says nothing"),
        (0, 0, "Traceback (most recent call last):\n", "it ends in a traceback"),
        (1, 0, "", ""),
        (2, 0, "200 in 2 ms\n", ""),
        (2, 1, "FAILED at router\n", ""),
        (2, 2, "usage\n", "its status is 2"),
    ],
)
def test_faults(tour: ModuleType, number: int, status: int, output: str, wrong: str) -> None:
    assert tour.fault(tour.steps(README)[number], status, output) == wrong


def test_the_readme_has_a_tour(tour: ModuleType) -> None:
    commands = [step.command for step in tour.steps((ROOT / "README.md").read_text())]
    assert len(commands) >= 15
    assert commands[0] == "emulab up topologies/shop.yaml"

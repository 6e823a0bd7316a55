"""`Lab` without a lab: the names that it takes, and what can be imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import emulab
from emulab import Lab, UserError


class _Asked(Lab):
    """A lab that notes what it is asked."""

    def __init__(self) -> None:
        super().__init__([], "asked")
        self.asked: list[dict[str, Any]] = []

    async def _ask(self, op: str, **arguments: Any) -> Any:
        self.asked.append({"op": op, **arguments})
        return {"refused": [], "warnings": []} if op in ("apply", "delete") else []


@pytest.mark.parametrize(
    "name", ["deploy", "Deployment", "deployments", "deployment.apps", "deployments.v1.apps"]
)
async def test_every_name_of_a_kind(name: str) -> None:
    lab = _Asked()
    await lab.get(name)
    await lab.delete(name, "web")
    await lab.scale("web", 2, kind=name)
    assert [(a.get("group"), a.get("kind")) for a in lab.asked[::2]] == [("apps", "Deployment")] * 2
    assert [tuple(key) for key in lab.asked[1]["keys"]] == [("apps", "Deployment", "default", "web")]


@pytest.mark.parametrize(
    ("name", "hint"), [("foo", "the kinds are Namespace, Pod"), ("deplyoment", "did you mean 'Deployment'")]
)
async def test_an_unknown_kind_is_an_error(name: str, hint: str) -> None:
    with pytest.raises(UserError, match=hint):
        await _Asked().get(name)


async def test_a_file_is_told_from_a_text(tmp_path: Path) -> None:
    lab, file = _Asked(), tmp_path / "web.yaml"
    file.write_text("kind: Pod\n")
    await lab.apply(str(file), file, "{kind: Pod}", "kind: Pod")
    texts = [text for _, text in lab.asked[0]["sources"]]
    assert texts == ["kind: Pod\n", "kind: Pod\n", "{kind: Pod}", "kind: Pod"]
    with pytest.raises(UserError, match=r"absent\.yaml"):
        await lab.apply("absent.yaml")
    await lab.apply("")  # no path: the folder where the test runs isn't meant
    wrong: Any = 3
    with pytest.raises(UserError, match="a manifest is a path, or YAML as str, not int"):
        await lab.apply(wrong)


def test_everything_that_is_promised_can_be_imported() -> None:
    for name in emulab.__all__:
        assert getattr(emulab, name).__name__ == name
    with pytest.raises(AttributeError, match="'emulab' has no attribute 'Foo'"):
        emulab.Foo  # type: ignore[attr-defined]  # noqa: B018
    assert (Path(emulab.__file__).parent / "py.typed").exists()
    assert repr(Lab.from_text(name="one")) == "<Lab one, down>"


def test_importing_emulab_loads_nothing_else() -> None:
    program = "import sys, emulab\nprint(*(m for m in sys.modules if m.startswith('emulab')))"
    assert subprocess.check_output([sys.executable, "-c", program], text=True).split() == ["emulab"]

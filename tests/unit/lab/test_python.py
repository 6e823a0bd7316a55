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


@pytest.mark.parametrize(
    ("method", "arguments", "why"),
    [
        ("get", (None,), "a kind is a str, not None"),
        ("get", ("",), "a kind is empty"),
        ("get", ("pods", None), "name is a str, not None"),
        ("get", ("pods", "", 5), "namespace is a str, not int"),
        ("delete", ("pod", ""), "name is empty"),
        ("scale", ("", 2), "name is empty"),
        ("scale", ("web", None), "replicas is a number from 0 on, not None"),
        ("scale", ("web", -1), "replicas is a number from 0 on, not -1"),
        ("wait", ("deploy", None, "delete"), "name is a str, not None"),
        ("wait", ("deploy", "web", ""), "condition is empty"),
        ("apply", (), "there is no manifest: give paths, or YAML as str"),
        ("apply", (None,), "a manifest is a path, or YAML as str, not NoneType"),
        ("logs", (), "logs takes a target or a selector: a pod's name, say"),
        ("logs", (None,), "target is a str, not None"),
        ("exec", ("client",), r"exec needs a command: lab\.exec"),
        ("exec", ("", "ip"), "target is empty"),
        ("request", (None,), "url is a str, not None"),
        ("request", ("http://n.test:99999/",), "http://n.test:99999/: not a URL: Port out of range 0-65535"),
        ("request", ("http://n.test:web/",), "not a URL: Port could not be cast"),
        ("request", ("http://n.test:0/",), "port 0 is out of range; ports are 1 to 65535"),
        ("request", ("http://[::1/",), "not a URL: Invalid IPv6 URL"),
    ],
)
async def test_what_cannot_be_meant_is_an_error(method: str, arguments: tuple[Any, ...], why: str) -> None:
    lab = _Asked()
    with pytest.raises(UserError, match=why):
        await getattr(lab, method)(*arguments)
    assert not lab.asked


def test_a_lab_of_nothing_that_is_a_file(tmp_path: Path) -> None:
    nothing: Any = None
    with pytest.raises(UserError, match="a file is a path, not None"):
        Lab.from_files(nothing)
    with pytest.raises(UserError, match="a manifest is a str, not None"):
        Lab.from_text(nothing)

"""`Lab` from Python: what programs ask of it, and the examples of docs/python.md, run as files."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from emulab import Lab, NotReady, UserError

from .tools import TOPOLOGIES, emulab

ROOT = TOPOLOGIES.parent
URL = "http://shop.example.com/products/42"


def examples() -> list[tuple[str, str]]:
    """Every Python block of the page, with where it is."""
    page = (ROOT / "docs" / "python.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.M | re.S)
    return [(f"python.md-{i}", text) for i, text in enumerate(blocks, 1)]


@pytest.mark.parametrize(("where", "text"), examples(), ids=[where for where, _ in examples()])
def test_an_example_runs_as_a_file(where: str, text: str, tmp_path: Path) -> None:
    file = tmp_path / f"{where}.py"
    file.write_text(text)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, str(file)], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    if "print(" in text:
        assert done.stdout


async def test_waiting(shop: Lab) -> None:
    await shop.wait("deploy", "product", "condition=Available")
    pod = (await shop.get("po", namespace="default"))[0]["metadata"]["name"]
    await shop.wait("pod", pod, "jsonpath={.status.phase}=Running")
    with pytest.raises(NotReady, match="timed out waiting for condition=Failed on deployments/product"):
        await shop.wait("deployments.apps", "product", "condition=Failed", timeout=0.1)
    with pytest.raises(UserError, match=r'deployments\.apps "absent" not found'):
        await shop.wait("deploy", "absent", "condition=Available")
    await shop.wait("deploy", "absent", "delete")


async def test_a_workload_is_scaled_by_its_kind_and_name(shop: Lab) -> None:
    for name, kind, replicas in (("deploy/product", "ignored", 2), ("product", "deploy", 3)):
        await shop.scale(name, replicas, kind=kind)
        (deployment,) = await shop.get("deploy", "product", "default")
        assert deployment["spec"]["replicas"] == replicas
    for name, why in (
        ("foo/product", "there is no kind 'foo'"),
        ("deploy/", "name is empty"),
        ("sts/db", 'statefulsets.apps "db" not found'),
    ):
        with pytest.raises(UserError, match=why):
            await shop.scale(name, 2)


SILENT = """
apiVersion: v1
kind: Pod
metadata: {name: asker}
spec:
  dnsPolicy: None
  dnsConfig: {nameservers: [192.0.2.1]}
  containers: [{name: app, image: echo}]
"""


async def test_the_time_of_a_request_is_that_of_its_name_too(shop: Lab) -> None:
    """A resolver that nobody is behind is waited for ten seconds (resolv.conf(5)), and no longer than was said."""
    await shop.apply(SILENT)
    await shop.wait("pod", "asker", "condition=Ready")
    begun = time.monotonic()
    with pytest.raises(TimeoutError):
        await shop.request(URL, source="pod/asker", timeout=0.5)
    assert 0.4 < time.monotonic() - begun < 5


async def test_events_and_logs(shop: Lab) -> None:
    pod = (await shop.get("pods", namespace="default"))[0]["metadata"]["name"]
    about = await shop.events(about=f"pod/{pod}")
    assert about and {e["involvedObject"]["name"] for e in about} == {pod}
    assert len(await shop.events()) > len(about)
    assert isinstance(await shop.logs(pod, tail=5), str)


async def test_a_path_is_the_ladder_that_the_command_prints(shop: Lab) -> None:
    path = await shop.trace(URL)
    printed = await emulab("-l", shop.name, "trace", URL)
    assert printed.status == 0, printed.stderr

    def forms(text: str) -> list[str]:
        return [re.sub(r"[\d.]+", "N", line.split("   ")[0])[:24] for line in text.splitlines()[:2]]

    assert forms(str(path)) == forms(printed.text) and str(path).startswith(f"GET {URL} from client: 200")
    assert repr(path).startswith(f"<Path of GET {URL} from client: status 200, answered, ")

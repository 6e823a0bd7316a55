"""`emulab cp`: files of containers, and what one that is not to be trusted packs."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from emulab import Lab

from .tools import INTERPRETER, emulab, output

pytestmark = pytest.mark.asyncio(loop_scope="module")

SLEEPS = {"image": "busybox", "command": ["sleep", "1000"]}
PODS = "\n---\n".join(
    json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace}, "spec": spec})
    for name, namespace, spec in (
        ("shell", "default", {"containers": [{"name": n, **SLEEPS} for n in "ab"]}),
        ("other", "shop", {"containers": [{"name": "c", **SLEEPS}]}),
        ("web", "default", {"containers": [{"name": "web", "ports": [{"containerPort": 80}]}]}),
    )
)  # fmt: skip


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def lab() -> AsyncIterator[Lab]:
    async with Lab.from_text(
        '{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}\n---\n' + PODS
    ) as made:
        yield made


async def cp(lab: Lab, *words: str, fails: bool = False) -> str:
    done = await emulab("-l", lab.name, "cp", *words)
    text = done.stderr.decode()
    assert (done.status != 0) is fails and done.stdout == b"", (done.status, text)
    return text


def files(top: Path) -> dict[str, bytes]:
    return {str(path.relative_to(top)): path.read_bytes() for path in top.rglob("*") if path.is_file()}


async def test_a_folder_goes_there_and_comes_back(lab: Lab, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    (whole / "deep" / "er").mkdir(parents=True)
    (whole / "large").write_bytes(os.urandom(3_000_000))
    (whole / "deep" / "er" / "a b").write_text("text")
    (whole / "run").write_text("#!/bin/sh\necho ran")
    (whole / "run").chmod(0o755)
    assert await cp(lab, str(whole), "shell:/opt") == ""
    assert await output(lab, "pod/shell", "/opt/whole/run") == "ran"
    assert await cp(lab, str(whole), "shell:/opt/renamed") == ""
    assert await cp(lab, "default/shell:/opt/renamed", str(tmp_path / "back")) == ""
    assert files(tmp_path / "back") == files(whole)
    await asyncio.to_thread((tmp_path / "into").mkdir)
    assert await cp(lab, "shell:/opt/whole/deep", str(tmp_path / "into")) == ""
    assert files(tmp_path / "into") == {"deep/er/a b": b"text"}


async def test_files_of_a_container_and_a_namespace(lab: Lab, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    await cp(lab, str(file), "shell:/tmp/x", "-c", "b")
    assert (await lab.exec("pod/shell", "cat", "/tmp/x", container="a")).status == 1
    assert await output(lab, "pod/shell", "cat", "/tmp/x", container="b") == "mine"
    await cp(lab, str(file), "shop/other:/tmp/y")
    await cp(lab, "-n", "shop", "other:/tmp/y", str(tmp_path / "y"))
    await cp(lab, "-n", "shop", "other:tmp/y", str(tmp_path))  # from where its programs begin
    assert files(tmp_path)["y"] == b"mine"


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("shell:/no/such", "DIR/x"), "No such file or directory"),
        (("DIR/nothing", "shell:/tmp"), "nothing doesn't exist in local filesystem"),
        (("DIR", "web:/tmp"), "pod/web runs no program but a stand-in, which keeps no files"),
        (("DIR", "DIR"), "one of SOURCE and TARGET must be a local path"),
        (("shell:/x", "web:/x"), "one of SOURCE and TARGET must be a local path"),
        (("nobody:/x", "DIR"), "no such pod in namespace default"),
        (("a/b/c:/x", "DIR"), "a path of a pod is [NAMESPACE/]POD:PATH"),
    ],
)
async def test_what_cannot_be_copied(lab: Lab, tmp_path: Path, words: tuple[str, ...], why: str) -> None:
    said = await cp(lab, *(word.replace("DIR", str(tmp_path)) for word in words), fails=True)
    assert why in said and "Traceback" not in said, said
    assert os.listdir(tmp_path) == []


TRICKS = """
import io, sys, tarfile
out = tarfile.open(fileobj=sys.stdout.buffer, mode="w|")
def add(name, type=tarfile.REGTYPE, link="", text=b"evil"):
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.size = type, link, len(text) if type == tarfile.REGTYPE else 0
    out.addfile(member, io.BytesIO(text) if member.size else None)
add("dir", tarfile.DIRTYPE)
add("dir/../../out", text=b"outside")
add("dir/link", tarfile.SYMTYPE, "AIM")
add("dir/link/through", text=b"through")
add("dir/hard", tarfile.LNKTYPE, "/etc/passwd")
add("dir/node", tarfile.CHRTYPE)
add("dir/good", text=b"good")
out.close()
"""


async def test_a_container_that_packs_tricks(lab: Lab, tmp_path: Path) -> None:
    """It has a tar of its own, first in its PATH."""
    aim, there = tmp_path / "aim", tmp_path / "there"
    aim.mkdir()
    script = f"#!{INTERPRETER}\n" + TRICKS.replace("AIM", str(aim))
    writes = "import sys; open('/usr/local/bin/tar', 'w').write(sys.argv[1])"
    await output(lab, "pod/shell", INTERPRETER, "-c", writes, script, container="b")
    await output(lab, "pod/shell", "chmod", "755", "/usr/local/bin/tar", container="b")
    said = await cp(lab, "-c", "b", "shell:/opt/dir", str(there))
    assert files(tmp_path) == {"there/good": b"good", "there/link/through": b"through"}
    for word in ("outside target destination", "skipping symlink", "skipping hard link", "which is no file"):
        assert word in said, said

"""The disk under the run folder is full: the file is named, nothing is left of a start, and a lab that runs goes on."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from readable import ROOT, checkout_for, python_for

from .crashes import ORDINARY, become_user
from .tools import TOPOLOGIES

pytestmark = pytest.mark.root  # only root can mount a small disk where others reach it

SHOP = str(TOPOLOGIES / "shop.yaml")
LAB = f"e2e-{os.getpid()}-full"
LONG = 120  # seconds that a command may take on a busy machine

MORE = """
apiVersion: v1
kind: Pod
metadata: {name: more, labels: {app: more}}
spec: {containers: [{name: c, image: x, command: [sleep, "1000"]}]}
"""


class Disk:
    """A small file system at a folder, in a mount namespace of its own, and commands of a user that are run there."""

    def __init__(self, folder: Path, uid: int) -> None:
        self.folder, self.uid = folder, uid
        self._holder = subprocess.Popen(["unshare", "-m", "--propagation", "private", "sleep", "inf"])
        own = os.readlink("/proc/self/ns/mnt")
        while os.readlink(f"/proc/{self._holder.pid}/ns/mnt") == own:
            time.sleep(0.01)
        self._inside = ("nsenter", f"--mount=/proc/{self._holder.pid}/ns/mnt", f"--wdns={folder.parent}")

    def mount(self, options: str) -> None:
        owned = f"uid={self.uid},mode=700,{options}"
        self.run("mount", "-t", "tmpfs", "-o", owned, "none", str(self.folder), check=True)

    def umount(self) -> None:
        self.run("umount", "-l", str(self.folder), check=True)

    def run(self, *command: str, check: bool = False) -> subprocess.CompletedProcess[str]:
        words = [*self._inside, *command]
        return subprocess.run(
            words, capture_output=True, text=True, check=check, timeout=LONG, env=self._env()
        )

    def emulab(self, *words: str) -> subprocess.CompletedProcess[str]:
        user = become_user(self.uid) if self.uid else ()
        readable = [word.replace(str(ROOT), str(checkout_for(self.uid))) for word in words]
        return self.run(*user, python_for(self.uid), "-m", "emulab", "-l", LAB, *readable)

    def _env(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(checkout_for(self.uid)), "EMULAB_RUN_DIR": str(self.folder)}

    def close(self) -> None:
        self._holder.kill()
        self._holder.wait()


@pytest.fixture(params=[0, ORDINARY], ids=["root", "ordinary"])
def disk(request: pytest.FixtureRequest) -> Iterator[Disk]:
    with tempfile.TemporaryDirectory(prefix="emulab-full-") as top:
        os.chmod(top, 0o755)
        folder = Path(top, "run")
        folder.mkdir()
        made = Disk(folder, request.param)
        yield made
        made.close()


def assert_named(disk: Disk, done: subprocess.CompletedProcess[str]) -> None:
    """One line that names a file of the lab and what is the matter with its disk."""
    assert done.returncode == 1 and done.stdout == ""
    assert re.fullmatch(
        rf"emulab: .*{re.escape(str(disk.folder))}\S* ?.*No space left on device.*\n", done.stderr
    ), done.stderr


@pytest.mark.parametrize(
    "options", ["size=4k", "size=16k", "size=64k", *(f"size=1m,nr_inodes={n}" for n in range(3, 13))]
)
def test_a_start_names_the_file_that_has_no_room(disk: Disk, options: str) -> None:
    disk.mount(options)
    try:
        done = disk.emulab("up", SHOP)
        if disk.uid and done.returncode == 0:
            # A user's lab writes so little that it finds room, but not in fewer files than these.
            assert not re.search("nr_inodes=[3-8]$", options)
        else:
            assert_named(disk, done)
            assert disk.emulab("labs").stdout.startswith("No labs are up")
    finally:
        assert disk.emulab("down").returncode == 0
        disk.umount()


def test_a_start_on_a_disk_without_any_room(disk: Disk) -> None:
    disk.mount("size=64k")
    fill(disk)
    assert_named(disk, disk.emulab("up", SHOP))
    assert disk.emulab("labs").stdout.startswith("No labs are up")
    disk.umount()


def fill(disk: Disk) -> None:
    disk.run("dd", "if=/dev/zero", f"of={disk.folder}/fill", "bs=4k")
    done = disk.run("sh", "-c", f"echo x >{disk.folder}/more")
    assert done.returncode != 0, "there is room left"


def test_a_lab_goes_on_while_its_disk_is_full_and_takes_up_what_it_could_not_do(disk: Disk) -> None:
    """What has no room is refused with the file's name and undone; all else answers as before."""
    disk.mount("size=1m")
    (disk.folder.parent / "more.yaml").write_text(MORE)
    more = str(disk.folder.parent / "more.yaml")
    try:
        up = disk.emulab("up", SHOP)
        assert up.returncode == 0, up.stderr
        url = "http://shop.example.com/products/42"
        assert disk.emulab("exec", "client", "--", "true").returncode == 0
        fill(disk)
        for _ in range(2):
            assert disk.emulab("get", "pods").returncode == 0
            assert '"product-service"' in disk.emulab("exec", "client", "--", "curl", "-s", url).stdout
            disk.emulab("apply", "-f", more)  # may find room, or none: the lab goes on
        assert disk.emulab("scale", "deploy/product", "--replicas", "40").returncode in (0, 1)
        assert '"product-service"' in disk.emulab("exec", "client", "--", "curl", "-s", url).stdout
        disk.run("rm", f"{disk.folder}/fill", f"{disk.folder}/more", check=True)
        done = disk.emulab("up", SHOP, more)
        assert done.returncode == 0, done.stderr
        assert disk.emulab("exec", "pod/more", "--", "true").returncode == 0
    finally:
        assert disk.emulab("down").returncode == 0
        disk.umount()

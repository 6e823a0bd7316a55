"""The table of mounts, in which anybody who may mount names folders as he likes."""

from __future__ import annotations

import os

import pytest

from emulab.kernel.mounttable import MountEntry, entries, read

ROOT = "23 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"


@pytest.mark.parametrize(
    ("written", "point"),
    [
        (rb"/home/a\040b", "/home/a b"),
        (rb"/home/a\134040\011\012", "/home/a\\040\t\n"),
        ("/home/ü\\040\u00a0\u2028\x85".encode(), "/home/ü \u00a0\u2028\x85"),
        (b"/home/a\x0b\x0c\x1c\r1", "/home/a\x0b\x0c\x1c\r1"),
        (b"/home/\xff\\040", os.fsdecode(b"/home/\xff ")),
    ],
)
def test_folders_of_any_name(written: bytes, point: str) -> None:
    text = ROOT + f"40 23 0:50 /at {os.fsdecode(written)} rw - fuse.x x\\040- rw,user_id=7\n" + ROOT
    first, odd, last = entries(text)
    assert first == last == MountEntry("/", "/", "ext4", "rw")
    assert odd == MountEntry("/at", point, "fuse.x", "rw,user_id=7")


def test_this_machine_has_a_root() -> None:
    assert "/" in {entry.point for entry in read()}

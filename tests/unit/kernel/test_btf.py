"""Fields of structures, from types made by hand and from those of this kernel."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from emulab.errors import KernelError
from emulab.kernel.btf import field_offsets

VMLINUX = Path("/sys/kernel/btf/vmlinux")
NAMES = b"\0packet\0head\0len\0mypacket\0int\0"
INT, STRUCT, UNION = 1, 4, 5


def at(name: str) -> int:
    return NAMES.index(b"\0" + name.encode() + b"\0") + 1


def kind(name: int, kind: int, size: int, *members: tuple[int, int, int]) -> bytes:
    return struct.pack("=III", name, kind << 24 | len(members), size) + b"".join(
        struct.pack("=III", *m) for m in members
    )


def btf(*types: bytes) -> bytes:
    body = b"".join(types)
    return struct.pack("=HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(body), len(body), len(NAMES)) + body + NAMES


TYPES = btf(
    kind(at("int"), INT, 4) + bytes(4),
    kind(0, UNION, 8, (at("head"), 1, 0), (at("len"), 1, 32)),  # without a name
    kind(at("packet"), STRUCT, 0),  # declared alone
    kind(at("mypacket"), STRUCT, 8, (at("head"), 1, 0)),
    kind(at("packet"), STRUCT, 16, (0, 2, 64)),
)


def test_fields_of_what_has_no_name_are_those_around_it() -> None:
    assert field_offsets([("packet", "len"), ("packet", "head")], TYPES) == {
        ("packet", "len"): 12,
        ("packet", "head"): 8,
    }
    with pytest.raises(KernelError, match=r"packet\.tail"):
        field_offsets([("packet", "tail")], TYPES)


@pytest.mark.parametrize("text", [b"", b"\0" * 24, TYPES[:40]])
def test_what_is_no_btf_is_an_error(text: bytes) -> None:
    with pytest.raises(KernelError):
        field_offsets([("packet", "len")], text)


@pytest.mark.skipif(not VMLINUX.exists(), reason="this kernel tells of no types")
def test_this_kernels_own() -> None:
    found = field_offsets([("list_head", "next"), ("list_head", "prev"), ("sk_buff", "dev")])
    word = struct.calcsize("P")
    assert (found["list_head", "next"], found["list_head", "prev"]) == (0, word)
    assert found["sk_buff", "dev"] == 2 * word  # next and prev are before it, on every kernel

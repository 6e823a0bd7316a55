"""Where the kernel's structures have their fields: BTF, which the kernel shows of itself.

Documentation/bpf/btf.rst has the form. Fields of structures and unions without a name are those of the one around them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from emulab.errors import KernelError

_VMLINUX = Path("/sys/kernel/btf/vmlinux")
_MAGIC = 0xEB9F
_HEADER = struct.Struct("=HBBIIIII")
_TYPE = struct.Struct("=III")  # name, information, size or type
_MEMBER = struct.Struct("=III")  # name, type, offset in bits
_STRUCT, _UNION = 4, 5
_BEHIND = {
    1: (4, 0),
    3: (12, 0),
    4: (0, 12),
    5: (0, 12),
    6: (0, 8),
    13: (0, 8),
    14: (4, 0),
    15: (0, 12),
    17: (4, 0),
    19: (0, 12),
}
"""What follows a type by its kind: so many bytes, and so many for each of its members."""


def field_offsets(
    wanted: Iterable[tuple[str, str]], text: bytes | None = None
) -> Mapping[tuple[str, str], int]:
    """The offsets in bytes of fields, by structure and field. Raises KernelError where the kernel tells of none."""
    try:
        kernel = _Types(_VMLINUX.read_bytes() if text is None else text)
    except (OSError, struct.error, ValueError) as error:
        raise KernelError(
            f"read the kernel's types ({error})", remedy="use a kernel with CONFIG_DEBUG_INFO_BTF"
        ) from None
    found = {}
    for structure, name in wanted:
        offset = kernel.offset(structure, name)
        if offset is None:
            raise KernelError(f"find {structure}.{name} among the kernel's types")
        found[structure, name] = offset
    return found


class _Types:
    def __init__(self, data: bytes) -> None:
        magic, _, _, header, types_at, size, strings_at, strings_size = _HEADER.unpack_from(data)
        if magic != _MAGIC:
            raise ValueError("no BTF of this machine's byte order")
        self._data = data
        strings = header + strings_at
        self._strings = data[strings : strings + strings_size]
        self._at = [0]  # of each type by its number; 0 is void
        at, end = header + types_at, header + types_at + size
        unpack = _TYPE.unpack_from
        behind = [_BEHIND.get(kind, (0, 0)) for kind in range(32)]
        append = self._at.append
        while at < end:
            append(at)
            information = unpack(data, at)[1]
            fixed, each = behind[information >> 24 & 0x1F]
            at += 12 + fixed + each * (information & 0xFFFF)

    def offset(self, structure: str, name: str) -> int | None:
        """Where the structure has the field, in bytes; None where it hasn't."""
        named, field = self._string(structure), self._string(name)
        for at in self._at[1:] if named and field else ():
            text, information, _ = _TYPE.unpack_from(self._data, at)
            if text in named and information >> 24 & 0x1F == _STRUCT and information & 0xFFFF:
                for member, offset in self._fields(at):
                    if member in field:
                        return offset // 8
        return None

    def _string(self, text: str) -> frozenset[int]:
        """Where a name stands: it may be the end of a longer one."""
        found, wanted = set(), text.encode() + b"\0"
        at = self._strings.find(wanted)
        while at >= 0:
            found.add(at)
            at = self._strings.find(wanted, at + 1)
        return frozenset(found)

    def _fields(self, at: int, base: int = 0) -> Iterator[tuple[int, int]]:
        """Names (where they stand) and offsets in bits."""
        _, information, _ = _TYPE.unpack_from(self._data, at)
        for number in range(information & 0xFFFF):
            name, kind, offset = _MEMBER.unpack_from(self._data, at + 12 + number * 12)
            offset = base + (offset & 0xFFFFFF if information >> 31 else offset)
            if name:
                yield name, offset
                continue
            inner = self._at[kind]
            what = _TYPE.unpack_from(self._data, inner)[1] >> 24 & 0x1F
            if what in (_STRUCT, _UNION):
                yield from self._fields(inner, offset)

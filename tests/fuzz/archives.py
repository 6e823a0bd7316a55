"""Hostile images: layers and archives that are nearly good. What isn't taken is refused; nothing else happens.

A layer is unpacked into a folder beside another one, which its links lead to, and which stays as it is.
"""

from __future__ import annotations

import io
import os
import shutil
import tempfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random

from imagearchives import Image, archive, device, file, folder, hard_link, layer, link, oci

from emulab.errors import UserError
from emulab.kernel.folders import knows_all_users
from emulab.kernel.layers.streams import Budget, Hashed, decompressed
from emulab.kernel.layers.unpack import Unpacker
from emulab.lab.images.loading import load
from emulab.lab.images.store import ImageStore

_BLOCK = 512
_FIELDS = (0, 1, 100, 108, 116, 124, 136, 156, 157, 158, 257, 265, 345)  # of a header, by where they begin
_VALUES = b"0123456789xgLKSV./\x00\x80\xff"
_JSON = b'{}[]",:0123456789abcdefnulltrue\xff'
_EVERY = 20  # layers to one archive


def _layer(outside: str) -> bytes:
    return layer(
        folder("."),
        folder("etc", 0o700),
        file("etc/passwd", "x" * 700),
        link("out", outside),
        link("up", "../../outside"),
        link("in", "etc"),
        file("in/hosts", "y"),
        hard_link("twin", "etc/passwd"),
        hard_link("far", f"{outside}/file"),
        file("with", "z", pax_headers={"SCHILY.xattr.user.x": "v", "mtime": "1.5"}),
        file("deep/er/file"),
        file(".wh.gone"),
        file("deep/.wh..wh..opq"),
        device("null"),
        file("l" * 120 + "/" + "m" * 90, "long"),
        file("out/file", "evil"),
    )


def _mangled(random: Random, data: bytes) -> bytes:
    """With octets, blocks or fields of headers changed. Most headers' sums are right all the same."""
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 5, 12))):
        at = random.randrange(len(changed))
        match random.randrange(6):
            case 0:
                changed[at] = random.randrange(256)
            case 1:
                del changed[at : at + random.choice((1, 10, _BLOCK, 3000))]
            case 2:
                changed[at:at] = changed[random.randrange(len(changed)) :][:_BLOCK]
            case 3:  # members in another order
                one, other = (random.randrange(len(changed) // _BLOCK or 1) * _BLOCK for _ in range(2))
                changed[one : one + _BLOCK] = changed[other : other + _BLOCK]
            case _:
                start = at // _BLOCK * _BLOCK
                field = min(start + random.choice(_FIELDS), len(changed) - 1)
                changed[field] = random.choice(_VALUES)
        if not changed:
            return b""
    for at in range(0, len(changed) - _BLOCK + 1, _BLOCK):
        block = changed[at : at + _BLOCK]
        if block[257:262] == b"ustar" and random.random() < 0.95:
            block[148:156] = b" " * 8
            changed[at + 148 : at + 156] = b"%06o\0 " % sum(block)
    return bytes(changed)


def _shown(data: bytes) -> str:
    """An input as `zlib.decompress(bytes.fromhex(…))` has it back: most of it is zeros."""
    return zlib.compress(data).hex()


def _unpack(data: bytes, where: Path) -> None:
    where.mkdir()
    fd = os.open(where, os.O_RDONLY)
    budget = Budget(1 << 22, 200)
    try:
        with suppress(UserError):
            stream = Hashed(decompressed(io.BytesIO(data)), "sha256", budget)
            Unpacker(fd, [], budget, os.geteuid() == 0 and knows_all_users()).unpack(stream)
    finally:
        os.close(fd)
        shutil.rmtree(where)


def _load(random: Random, folder: Path, good: bytes) -> None:
    files = oci({"web:1": Image(good, Cmd=["x"])})
    name = random.choice(list(files))
    if b"{" in files[name]:
        text = bytearray(files[name])
        for _ in range(random.choice((1, 3))):
            text[random.randrange(len(text))] = random.choice(_JSON)
        files[name] = bytes(text)
    source = folder / "archive"
    source.write_bytes(_mangled(random, archive(files)) if random.random() < 0.5 else archive(files))
    store = ImageStore(folder / "store")
    try:
        load(store, str(source))
    except UserError as refused:
        assert "\n" not in str(refused), _shown(source.read_bytes())
    assert os.listdir(store.folder / "loading") == [], _shown(source.read_bytes())


def run(random: Random, goes_on: Callable[[], bool]) -> int:
    done = 0
    with tempfile.TemporaryDirectory(prefix="emulab-fuzz-") as scratch:
        outside = Path(scratch) / "outside"
        outside.mkdir()
        (outside / "file").write_text("as it was")
        hostile, harmless = _layer(str(outside)), layer(folder("etc"), file("etc/passwd", "x"))
        while goes_on():
            done += 1
            data = _mangled(random, hostile)
            _unpack(data, Path(scratch) / "layer")
            assert os.listdir(outside) == ["file"] and (outside / "file").stat().st_nlink == 1, _shown(data)
            assert (outside / "file").read_text() == "as it was", _shown(data)
            if done % _EVERY == 0:
                _load(random, Path(scratch), harmless)
    return done

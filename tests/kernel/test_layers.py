"""Layers of images on a real file system: what is written, what an overlay makes of it, and what is refused."""

from __future__ import annotations

import gzip
import io
import os
import stat
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from imagearchives import device, file, folder, hard_link, layer, link, member

from emulab.kernel.layers.streams import ArchiveError, Budget, Hashed, decompressed
from emulab.kernel.layers.unpack import Unpacked, Unpacker

pytestmark = pytest.mark.privilege

ROOT = os.geteuid() == 0
TOPS = (os.geteuid(), os.getegid())


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A folder of somebody else's, which no layer may touch."""
    path = tmp_path / "outside"
    path.mkdir()
    (path / "file").write_text("as it was")
    yield path
    assert sorted(os.listdir(path)) == ["file"] and (path / "file").read_text() == "as it was"
    assert (path / "file").stat().st_nlink == 1


def unpack(data: bytes, where: Path, *below: Path, octets: int = 1 << 24, members: int = 1000) -> Unpacked:
    where.mkdir()
    fd = os.open(where, os.O_RDONLY)
    try:
        budget = Budget(octets, members)
        stream = Hashed(decompressed(io.BytesIO(data)), "sha256", budget)
        return Unpacker(fd, [str(path) for path in below], budget, ROOT).unpack(stream)
    finally:
        os.close(fd)


def refused(data: bytes, where: Path, **bounds: int) -> str:
    with pytest.raises(ArchiveError) as caught:
        unpack(data, where, **bounds)
    return str(caught.value)


def shown(tmp_path: Path, *layers: Path) -> str:
    """What an overlay of the layers shows, the top one first: a line for each file, with its text."""
    merged = tmp_path / "merged"
    merged.mkdir()
    userns = () if ROOT else ("-Ur",)
    option = "" if ROOT else "userxattr,"
    lower = ":".join(map(str, layers))
    script = f'mount -t overlay none -o "{option}lowerdir={lower}" "{merged}" && cd "{merged}" && grep -r "" . | sort'
    done = subprocess.run(
        ["unshare", *userns, "-m", "sh", "-c", script], capture_output=True, text=True, check=True
    )
    return done.stdout


def test_what_a_layer_has_is_there_with_its_attributes(tmp_path: Path) -> None:
    where = tmp_path / "layer"
    found = unpack(
        layer(
            folder(".", 0o711),
            folder("closed", 0o500, uid=5, gid=6),
            file("closed/program", "#!/bin/sh", 0o4755, uid=5, gid=6),
            hard_link("closed/other", "closed/program"),
            link("closed/absolute", "/etc/passwd", uid=7, gid=8),
            member("pipe", tarfile.FIFOTYPE, mode=0o640),
            file("without/a/folder", "text"),
            file("with/attributes", "x", pax_headers={"SCHILY.xattr.user.note": "kept"}),
        ),
        where,
    )
    assert (found.members, found.size, found.covers) == (8, 14, False)
    assert stat.S_IMODE(where.stat().st_mode) == 0o711 and where.stat().st_mtime == 1_700_000_000
    closed = (where / "closed").stat()
    assert stat.S_IMODE(closed.st_mode) == 0o500 and closed.st_mtime == 1_700_000_000
    program = (where / "closed/program").stat()
    assert stat.S_IMODE(program.st_mode) == 0o4755 and program.st_nlink == 2
    assert (program.st_uid, program.st_gid) == ((5, 6) if ROOT else TOPS)
    absolute = (where / "closed/absolute").lstat()
    assert (absolute.st_uid, absolute.st_gid) == ((7, 8) if ROOT else TOPS)
    assert os.readlink(where / "closed/absolute") == "/etc/passwd"
    assert stat.S_ISFIFO((where / "pipe").stat().st_mode)
    assert os.getxattr(where / "with/attributes", "user.note") == b"kept"


def test_a_program_keeps_its_capabilities_where_they_can_be_set(tmp_path: Path) -> None:
    raw = (
        b"\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"  # cap_net_raw=ep
    )
    headers = {"SCHILY.xattr.security.capability": raw.decode("latin-1")}
    assert raw.isascii()
    found = unpack(layer(file("ping", "x", 0o755, uid=1, pax_headers=headers)), tmp_path / "layer")
    if ROOT:
        assert os.getxattr(tmp_path / "layer/ping", "security.capability") == raw
    assert found.unset == (0 if ROOT else 1)


def test_an_overlay_shows_what_whiteouts_hide_no_more(tmp_path: Path) -> None:
    low, high = tmp_path / "low", tmp_path / "high"
    unpack(
        layer(
            *(
                file(name, name)
                for name in ("gone", "kept", "d/a", "d/b", "opaque/old", "new/old", "new2/old")
            )
        ),
        low,
    )
    unpack(
        layer(
            file(".wh.gone"),
            file("d/.wh.a"),
            file("opaque/.wh..wh..opq"),
            file("opaque/fresh", "fresh"),
            file(".wh.new"),  # a folder that was removed and made anew
            file("new/fresh", "fresh"),
            file("new2/fresh", "fresh"),
            file(".wh.new2"),
            file(".wh..wh.plnk", "aufs' own"),
            file("kept", "changed"),
            file(".wh.kept"),
        ),
        high,
    )
    lines = ["./d/b:d/b", "./kept:changed", "./new/fresh:fresh", "./new2/fresh:fresh", "./opaque/fresh:fresh"]
    assert shown(tmp_path, high, low).split() == lines


def test_a_layer_that_hides_all_below_says_so(tmp_path: Path) -> None:
    assert unpack(layer(file(".wh..wh..opq"), file("a")), tmp_path / "layer").covers


def test_a_folder_that_a_layer_does_not_say_is_as_below(tmp_path: Path) -> None:
    low, high = tmp_path / "low", tmp_path / "high"
    unpack(layer(folder(".", 0o750), folder("tmp", 0o1777), link("away", "/tmp")), low)
    unpack(layer(file("tmp/x"), file("away/x")), high, low)
    assert [stat.S_IMODE((high / name).stat().st_mode) for name in (".", "tmp", "away")] == [
        0o750,
        0o1777,
        0o755,
    ]


def test_what_comes_later_takes_the_place_of_what_was(tmp_path: Path) -> None:
    where = tmp_path / "layer"
    unpack(
        layer(
            file("a/b/c/file", "1"),
            file("a", "2"),
            link("b", "a"),
            file("b", "3"),
            link("d", "a"),
            folder("d"),
            file("d/e", "4"),
            link("usr", "d"),
            file("usr/through", "5"),  # a link that stays below is followed
            file("/absolute", "6"),
        ),
        where,
    )
    texts = {p.name: p.read_text() for p in where.rglob("*") if p.is_file()}
    assert texts == {"a": "2", "b": "3", "e": "4", "through": "5", "absolute": "6"}
    assert not (where / "b").is_symlink() and not (where / "d").is_symlink()


def test_nothing_is_written_outside(tmp_path: Path, outside: Path) -> None:
    up = "../outside"
    cases = {
        "climbs": layer(file(f"{up}/file", "evil")),
        "climbs in the middle": layer(file(f"a/../{up}/new", "evil")),
        "absolute link": layer(link("evil", str(outside)), file("evil/file", "evil")),
        "climbing link": layer(link("evil", up), file("evil/new", "evil")),
        "link to a link": layer(link("one", ".."), link("two", "one/outside"), file("two/new", "evil")),
        "whiteout": layer(link("evil", str(outside)), file("evil/.wh.file")),
        "opaque": layer(link("evil", str(outside)), file("evil/.wh..wh..opq")),
        "whiteout's name": layer(file(".wh...", "")),
        "hard link": layer(hard_link("evil", f"{up}/file")),
        "hard link by a link": layer(link("way", str(outside)), hard_link("evil", "way/file")),
    }
    for name, data in cases.items():
        said = refused(data, tmp_path / f"layer {name}")
        assert "leads out of the layer" in said or "hides nothing" in said, (name, said)
    where = tmp_path / "layer"
    said = refused(layer(hard_link("evil", str(outside / "file"))), where)
    assert said == f"evil: it is a hard link to {outside / 'file'}, which isn't in the layer"
    # the last member of a path is never followed
    unpack(layer(link("file", str(outside / "file")), file("file", "mine")), tmp_path / "replaced")
    assert (tmp_path / "replaced/file").read_text() == "mine"


def test_devices_are_refused(tmp_path: Path) -> None:
    kinds = {"character": tarfile.CHRTYPE, "block": tarfile.BLKTYPE}
    for name, kind in kinds.items():
        said = refused(layer(device("dev/x", kind=kind)), tmp_path / name)
        assert said.startswith(f"dev/x: is a {name} device")
    assert "device" in refused(layer(device("hides", 0, 0)), tmp_path / "0/0".replace("/", "-"))


def test_nothing_is_said_to_the_overlay_but_by_whiteouts(tmp_path: Path) -> None:
    headers = {f"SCHILY.xattr.{name}.overlay.redirect": "/etc" for name in ("trusted", "user")}
    found = unpack(layer(folder("d", pax_headers=headers)), tmp_path / "layer")
    assert found.unset == 2 and os.listxattr(tmp_path / "layer/d") == []


def test_bombs_are_refused_before_they_go_off(tmp_path: Path) -> None:
    assert "--max-size allows more" in refused(
        gzip.compress(layer(file("big", b"\0" * (2 << 20)))), tmp_path / "1", octets=1 << 20
    )
    assert (
        refused(layer(*(file(str(n)) for n in range(5))), tmp_path / "2", members=4)
        == "it has more than 4 members"
    )
    zeros = gzip.compress(b"\0" * (64 << 20))
    bomb = decompressed(io.BytesIO(zeros * 10))
    with pytest.raises(ArchiveError, match="as a bomb does"):
        while bomb.read(1 << 20):
            pass
    deep = file("/".join("a" * 2000), "deep")
    unpack(layer(deep, file("a", "and gone")), tmp_path / "deep")
    assert (tmp_path / "deep/a").read_text() == "and gone"


def test_damaged_archives_are_refused(tmp_path: Path) -> None:
    whole = layer(file("a", "x" * 5000), file("b", "y" * 5000))
    for number, (data, words) in enumerate(
        (
            (whole[:3000], "cut off"),
            (whole[:6000], "cut off"),
            (gzip.compress(whole)[:-20], "cut off"),
            (gzip.compress(whole)[:-8] + b"12345678", "damaged"),
            (b"\x28\xb5\x2f\xfd" + b"nonsense" * 100, "damaged"),
            (b"x" * 1024, "isn't a tar archive"),
            (whole[:300] + b"\xff" + whole[301:], "checksum"),
            (b"BZh91AY", "bzip2"),
            (layer(file("n" * 300, "x")), "File name too long"),
            (layer(member("s", tarfile.GNUTYPE_SPARSE)), "sparse"),
            (layer(file("f"), file("f/below")), "Not a directory"),
            (layer(file("a", uid=1 << 33)), "no user or group"),
        )
    ):
        assert words in refused(data, tmp_path / str(number))


def test_zstd_is_read(tmp_path: Path) -> None:
    plain = layer(*(file(f"file{n}", os.urandom(1000) * 50) for n in range(50)))
    packed = subprocess.run(["zstd", "-q", "-c"], input=plain, capture_output=True, check=True).stdout
    assert decompressed_whole(packed * 2) == plain * 2
    assert unpack(packed, tmp_path / "layer").size == 50 * 50_000
    assert "cut off" in refused(packed[:-100], tmp_path / "cut")


def decompressed_whole(data: bytes) -> bytes:
    stream, parts = decompressed(io.BytesIO(data)), []
    while part := stream.read(777):
        parts.append(part)
    return b"".join(parts)


def test_gzip_is_read_member_by_member() -> None:
    data = os.urandom(100_000) + b"\0" * 500_000
    assert decompressed_whole(gzip.compress(data) + gzip.compress(b"more") + b"\0" * 512) == data + b"more"
    assert decompressed_whole(data) == data

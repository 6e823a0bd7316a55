"""Images of archives of all forms in a user's store, whatever somebody does to it meanwhile."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from imagearchives import (
    CONFIG,
    INDEX,
    Image,
    archive,
    described,
    device,
    digest,
    docker,
    file,
    folder,
    layer,
    link,
    oci,
    spread,
)

from emulab.errors import UserError
from emulab.lab.images.loading import load
from emulab.lab.images.platforms import Platform, here
from emulab.lab.images.store import ImageStore

pytestmark = pytest.mark.privilege

BASE = layer(folder("etc"), file("etc/passwd", "root:x:0:0::/:/bin/sh\n"), file("gone", "x"))
APP = layer(file("app/run", "#!/bin/sh\n", 0o755), file(".wh.gone"))
WEB = Image(
    BASE,
    APP,
    Entrypoint=["/app/run"],
    Cmd=["serve"],
    Env=["A=b", "PATH=/app"],
    User="1000",
    WorkingDir="/app",
)
ELSEWHERE = ("linux", "s390x" if here().machine != "s390x" else "amd64")


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(tmp_path / "images")


def zstd(data: bytes) -> bytes:
    return subprocess.run(["zstd", "-q", "-c"], input=data, capture_output=True, check=True).stdout


def written(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    return str(path)


def refused(store: ImageStore, source: str, name: str = "web") -> str:
    with pytest.raises(UserError) as caught:
        load(store, source, name)
    assert store.images() == [] and os.listdir(store.folder / "loading") == [] == os.listdir(
        store.folder / "layers"
    )
    return str(caught.value)


def files_of(data: Mapping[str, bytes]) -> Callable[[Path], str]:
    return lambda path: written(path, archive(data))


FORMS: dict[str, Callable[[Path], str]] = {
    "a layout": lambda path: str(spread(oci({"acme/web:1": WEB}), path)),
    "an archive": files_of(oci({"acme/web:1": WEB})),
    "zstd layers": files_of(oci({"acme/web:1": WEB}, zstd)),
    "plain layers": files_of(oci({"acme/web:1": WEB}, bytes)),
    "a compressed archive": lambda path: written(path, gzip.compress(archive(oci({"acme/web:1": WEB})))),
    "docker save": files_of(docker(["acme/web:1"], WEB)),
    "docker save, compressed": lambda path: written(path, zstd(archive(docker(["acme/web:1"], WEB)))),
    "containerd's names": files_of(
        oci([({"annotations": {"io.containerd.image.name": "docker.io/acme/web:1"}}, WEB)])
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_an_image_is_the_same_whatever_its_archive(form: str, tmp_path: Path, store: ImageStore) -> None:
    (loaded,) = load(store, FORMS[form](tmp_path / "web"))
    image = store.find("acme/web:1")
    assert image is not None and image == loaded.image
    assert image.names == ("docker.io/acme/web:1",) and image.id == WEB.id
    assert image.config.program(has_args=False) == ("/app/run", "serve")
    assert image.config.program(has_args=True) == ("/app/run",)
    assert image.config.env == (("A", "b"), ("PATH", "/app"))
    assert (image.config.user, image.config.working_dir) == ("1000", "/app")
    top, low = store.paths(image)
    assert os.stat(f"{top}/gone").st_rdev == 0 and os.access(f"{top}/app/run", os.X_OK)
    assert sorted(os.listdir(low)) == ["etc", "gone"]
    assert store.folder.stat().st_mode & 0o777 == 0o700  # programs of other users don't get at setuid ones
    if "docker" not in form:
        assert image.reference("acme/web:1") == f"docker.io/acme/web@{image.digest}"
        assert store.find(image.reference("acme/web:1")) == image
        assert store.find(f"acme/other@{image.digest}") is None


def test_standard_input_is_read(tmp_path: Path, store: ImageStore, monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    with os.fdopen(write, "wb") as file:
        file.write(gzip.compress(archive(oci({"web": WEB}))))
    with os.fdopen(read, "rb") as pipe:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(pipe))
        (loaded,) = load(store, "-", "other:2")
    assert loaded.image.names == ("docker.io/library/other:2",)


def test_layers_are_shared_and_go_with_the_last_image(tmp_path: Path, store: ImageStore) -> None:
    other = Image(BASE, layer(file("other")))
    both = oci({"web:1": WEB}), oci({"other:1": other})
    first, second = (load(store, written(tmp_path / str(n), archive(one)))[0] for n, one in enumerate(both))
    assert (first.unpacked, second.unpacked) == (2, 1)
    load(store, str(tmp_path / "0"), "web:2")  # another name of the same
    assert (
        store.remove("web:1") is not None and store.find("web:2") is not None and store.find("web:1") is None
    )
    assert store.remove("web:1") is None
    assert store.remove(WEB.id[:20]) is not None
    assert [image.names for image in store.images()] == [("docker.io/library/other:1",)]
    assert len(os.listdir(store.folder / "layers")) == 2
    assert store.remove("other:1") is not None
    assert store.images() == [] and os.listdir(store.folder / "layers") == []


def test_a_name_means_what_was_loaded_last(tmp_path: Path, store: ImageStore) -> None:
    load(store, written(tmp_path / "1", archive(oci({"web": WEB}))))
    newer = Image(BASE, Cmd=["newer"])
    load(store, written(tmp_path / "2", archive(oci({"web": newer}))))
    assert [image.id for image in store.images()] == [newer.id]
    assert len(os.listdir(store.folder / "layers")) == 1


def test_what_a_lab_holds_stays(tmp_path: Path, store: ImageStore) -> None:
    load(store, written(tmp_path / "web", archive(oci({"web": WEB}))))
    held = store.hold(WEB.id)
    assert held is not None
    image, descriptors = held
    store.remove("web")
    assert store.find("web") is None and store.hold(WEB.id) is None
    assert all(map(os.path.isdir, store.paths(image)))
    for fd in descriptors:
        os.close(fd)
    store.sweep()
    assert not any(map(os.path.isdir, store.paths(image)))


def test_this_machine_s_image_is_taken(tmp_path: Path, store: ImageStore) -> None:
    foreign = Image(BASE, platform=ELSEWHERE)
    blobs, descriptors = {}, []
    for image, platform in ((foreign, ELSEWHERE), (WEB, (here().system, here().machine))):
        more, descriptor = image.blobs()
        blobs |= more
        descriptors.append({**descriptor, "platform": {"os": platform[0], "architecture": platform[1]}})
    attestation = {**descriptors[0], "platform": {"os": "unknown", "architecture": "unknown"}}
    index = json.dumps(
        {"schemaVersion": 2, "mediaType": INDEX, "manifests": [attestation, *descriptors]}
    ).encode()
    top = {**described(INDEX, index), "annotations": {"org.opencontainers.image.ref.name": "web:1"}}
    files = {f"blobs/{k.replace(':', '/')}": v for k, v in {**blobs, digest(index): index}.items()}
    files["index.json"] = json.dumps({"schemaVersion": 2, "manifests": [top]}).encode()
    load(store, written(tmp_path / "both", archive(files)))
    image = store.find("web:1")
    assert image is not None and image.id == WEB.id


def test_archives_that_can_not_be_taken(tmp_path: Path, store: ImageStore) -> None:
    whole = oci({"web": WEB})
    config = next(name for name in whole if whole[name] == WEB.config)
    blob = next(name for name in whole if whole[name] == gzip.compress(APP))
    foreign = Image(BASE, platform=ELSEWHERE)
    artifact = Image(BASE)
    manifest = next(n for n, d in whole.items() if b'"layers"' in d)
    cases: dict[str, Any] = {
        f"alone, and this machine is {here()}": oci({"web": foreign}),
        "has images for": docker(["web"], foreign),
        "neither an OCI layout nor a Docker archive": {"hello": b"x"},
        "it has no image": {**whole, "index.json": b'{"manifests":[]}'},
        "is no JSON": {**whole, "index.json": b"{"},
        "no list of manifests": {**whole, "index.json": b"{}"},
        f"there is no {blob}": {k: v for k, v in whole.items() if k != blob},
        f"{config} isn't what its digest says": {**whole, config: artifact.config},
        f"{manifest} isn't what its digest says": {**whole, manifest: whole[manifest] + b" "},
        "it isn't what its digest": {**whole, blob: gzip.compress(BASE)},
        "'sha256:../../x' is no digest": {
            **whole,
            "index.json": b'{"manifests":[{"digest":"sha256:../../x"}]}',
        },
        "evil^[[2J\\nline: it leads out": oci({"web": Image(layer(file("../evil\x1b[2J\nline")))}),
        "is a character device": oci({"web": Image(BASE, layer(device("null")))}),
        "leads out of the layer": oci({"web": Image(layer(link("a", "/etc"), file("a/x")))}),
        "it isn't a tar archive": oci({"web": Image(b"x" * 4096)}),
        "says no os": oci({"web": _with(WEB, b"{}")}),
        "no list of texts": oci({"web": Image(BASE, Entrypoint="/sh")}),
        "3 layers, its configuration 2": docker(["web"], _more_layers(WEB)),
        "there is no 0": docker(["web"], WEB) | {"manifest.json": b'[{"Config":"0","Layers":[]}]'},
    }
    for number, (words, files) in enumerate(cases.items()):
        said = refused(store, written(tmp_path / str(number), archive(files)))
        assert words in said and said.startswith(str(tmp_path / str(number))) and "\n" not in said, said
    data = archive(whole)
    for words, raw in {
        "cut off": gzip.compress(data)[:-1000],
        "bzip2": bz2.compress(data),
        "isn't a tar archive": b"text" * 1000,
    }.items():
        assert words in refused(store, written(tmp_path / "raw", raw))
    assert "no name" in refused(store, written(tmp_path / "unnamed", archive(oci([({}, WEB)]))), "")
    assert "tag alone, 'v1'" in refused(store, written(tmp_path / "tag", archive(oci({"v1": WEB}))), "")
    assert "2 images" in refused(store, written(tmp_path / "two", archive(oci({"a:1": WEB, "b:1": WEB}))))
    assert refused(store, str(tmp_path / "nothing")).endswith("nothing: No such file or directory")


def _with(image: Image, config: bytes) -> Image:
    other = Image(*image.layers)
    other.config = config
    return other


def _more_layers(image: Image) -> Image:
    other = Image(*image.layers)
    other.layers = (*image.layers, BASE + b"\0")
    return other


def test_a_layer_that_covers_all_below_is_the_lowest(tmp_path: Path, store: ImageStore) -> None:
    fresh = layer(file(".wh..wh..opq"), file("fresh"))
    load(store, written(tmp_path / "web", archive(oci({"web": Image(BASE, fresh, APP)}))))
    image = store.find("web")
    assert image is not None and image.layers == (digest(fresh), digest(APP))


LOADS = """
import sys
from pathlib import Path
from emulab.lab.images.loading import load
from emulab.lab.images.store import ImageStore
load(ImageStore(Path(sys.argv[1])), sys.argv[2], sys.argv[3])
"""


def _loader(store: ImageStore, source: str, name: str, **more: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", LOADS, str(store.folder), source, name], **more)


def test_many_loads_at_once(tmp_path: Path, store: ImageStore) -> None:
    big = Image(BASE, layer(*(file(f"f{n}", str(n)) for n in range(2000))))
    source = written(tmp_path / "big", archive(oci({"big": big})))
    loaders = [_loader(store, source, f"big:{n}") for n in range(4)]
    assert [one.wait(60) for one in loaders] == [0] * 4
    (image,) = store.images()
    assert len(image.names) == 4
    assert len(os.listdir(store.layer(image.layers[-1]))) == 2000


def test_a_killed_load_leaves_nothing_that_is_used(tmp_path: Path, store: ImageStore) -> None:
    read, write = os.pipe()
    killed = _loader(store, "/dev/stdin", "web", stdin=read)
    os.close(read)
    data = archive(oci({"web": Image(layer(file("big", os.urandom(4 << 20))))}, bytes))
    with os.fdopen(write, "wb", closefd=False) as pipe:
        pipe.write(data[:-1000])
    loading = store.folder / "loading"
    end = time.monotonic() + 20
    while not (loading.is_dir() and any(path.stat().st_size for path in loading.rglob("archive"))):
        assert time.monotonic() < end and killed.poll() is None
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    os.close(write)
    assert store.images() == [] and os.listdir(loading) != []
    load(store, written(tmp_path / "web", archive(oci({"web": WEB}))))
    assert os.listdir(loading) == [] and store.find("web") is not None


def test_a_store_of_others_is_refused(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    source = written(tmp_path / "web", archive(oci({"web": WEB})))
    with pytest.raises(UserError, match="EMULAB_IMAGE_DIR"):
        load(ImageStore(shared), source)


def test_older_variants_run_on_newer_machines() -> None:
    newer, older = Platform("linux", "arm", "v7"), Platform("linux", "arm", "v6")
    assert newer.runs(older) and not older.runs(newer)
    assert str(Platform.of({"os": "linux", "architecture": "arm64"})) == "linux/arm64"
    assert CONFIG.endswith("v1+json")

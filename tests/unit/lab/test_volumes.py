"""What volumes hold, how it is written, and where containers see it."""

from __future__ import annotations

import base64
import ctypes
import json
import os
import stat
import threading
from pathlib import Path
from typing import Any

import pytest
from lab_objects import obj, pod

from emulab.kernel.containers.root import Bind
from emulab.kinds.core.podspec import Container, PodSpec
from emulab.kinds.core.volumespec import Volume
from emulab.kinds.emulab.clusterview import Cluster, HostPath
from emulab.lab.kubelet.environment.configs import ConfigError
from emulab.lab.kubelet.volumes import hostpath, making, mounts
from emulab.lab.kubelet.volumes.atomicwriter import write
from emulab.lab.kubelet.volumes.files import WrittenFile
from emulab.lab.kubelet.volumes.kinds import kind_of
from emulab.lab.kubelet.volumes.ownership import OneUser, Ownership, own_folder
from emulab.lab.kubelet.volumes.volume import (
    AskedVolume,
    MadeByNobody,
    NotInLabs,
    NotMounted,
    NotProcessed,
    VolumeSource,
)
from emulab.model.collection import Objects
from emulab.model.objects import Object

CONFIG = obj("ConfigMap", "m", data={"a": "1", "b": "2"}, binaryData={"c": "AAE="})
SECRET = obj("Secret", "s", data={"k": base64.b64encode(b"\xff").decode()}, stringData={"t": "text"})
POD = pod(
    metadata={"uid": "u", "labels": {"b": "2", "a": '"1"'}, "annotations": {"n": "x\ny"}},
    spec={
        "nodeName": "node1",
        "containers": [
            {"name": "c", "image": "i", "resources": {"limits": {"cpu": "1500m", "memory": "1Gi"}}}
        ],
    },
)
ALLOWED = Cluster(host_paths=(HostPath("/srv", True), HostPath("/srv/data", False)))


def asked(
    volume: dict[str, Any], *objects: Object, folder: Path = Path("/v"), of: Object = POD
) -> AskedVolume:
    view = Volume.of({"name": "v", **volume})
    spec, room = PodSpec.of(of.spec), {"cpu": "4"}
    return AskedVolume(view, of, spec, Objects(objects), ALLOWED, folder, folder / "claims", room)


def files(volume: dict[str, Any], *objects: Object) -> dict[str, tuple[bytes, int]]:
    one = asked(volume, *objects)
    make = kind_of(one.volume.kind).files
    assert make is not None
    return {path: (file.content, file.mode) for path, file in make(one).items()}


def test_keys_are_files() -> None:
    assert files({"configMap": {"name": "m"}}, CONFIG) == {
        "a": (b"1", 0o644),
        "b": (b"2", 0o644),
        "c": (b"\x00\x01", 0o644),
    }
    assert files({"secret": {"secretName": "s", "defaultMode": 0o400}}, SECRET) == {
        "k": (b"\xff", 0o400),
        "t": (b"text", 0o400),
    }
    items = [{"key": "a", "path": "in/here"}, {"key": "b", "path": "b", "mode": 0o600}]
    assert files({"configMap": {"name": "m", "items": items}}, CONFIG) == {
        "in/here": (b"1", 0o644),
        "b": (b"2", 0o600),
    }


@pytest.mark.parametrize(
    ("volume", "message"),
    [
        ({"configMap": {"name": "x"}}, 'configmap "x" not found'),
        ({"secret": {"secretName": "x"}}, 'secret "x" not found'),
        (
            {"configMap": {"name": "m", "items": [{"key": "z", "path": "z"}]}},
            "configmap references non-existent config key: z",
        ),
        (
            {"secret": {"secretName": "s", "items": [{"key": "z", "path": "z"}]}},
            "references non-existent secret key: z",
        ),
        ({"projected": {"sources": [{"secret": {"name": "x"}}]}}, 'secret "x" not found'),
    ],
)
def test_what_is_missing_is_told_in_the_kubelets_words(volume: dict[str, Any], message: str) -> None:
    with pytest.raises(NotMounted) as raised:
        files(volume, CONFIG, SECRET)
    assert str(raised.value) == message
    kind = next(iter(volume))
    optional = {kind: {**volume[kind], "optional": True}}
    if kind != "projected":
        assert files(optional, CONFIG, SECRET) == {}


def test_what_somebody_would_make_who_isnt_run_is_missing_in_another_way() -> None:
    reference = {"kind": "ClusterRole", "name": "cluster-admin"}
    subjects = [{"kind": "ServiceAccount", "name": "certgen", "namespace": "jobs"}]
    may = obj("ClusterRoleBinding", "b", "", roleRef=reference, subjects=subjects)
    for volume in (
        {"secret": {"secretName": "none"}},
        {"configMap": {"name": "m", "items": [{"key": "z", "path": "z"}]}},
    ):
        with pytest.raises(MadeByNobody):
            files(volume, CONFIG, may)


def test_every_namespace_has_root_certificates() -> None:
    assert files({"configMap": {"name": "kube-root-ca.crt"}}) == {"ca.crt": (b"", 0o644)}


def test_a_pod_says_of_itself() -> None:
    items = [
        {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
        {"path": "notes", "fieldRef": {"fieldPath": "metadata.annotations"}},
        {"path": "one", "fieldRef": {"fieldPath": "metadata.labels['b']"}, "mode": 0o400},
        {"path": "cpu", "resourceFieldRef": {"containerName": "c", "resource": "limits.cpu"}},
        {
            "path": "mem",
            "resourceFieldRef": {"containerName": "c", "resource": "limits.memory", "divisor": "1Mi"},
        },
    ]
    assert files({"downwardAPI": {"items": items}}) == {
        "labels": (b'a="\\"1\\""\nb="2"', 0o644),
        "notes": (b'n="x\\ny"', 0o644),
        "one": (b"2", 0o400),
        "cpu": (b"2", 0o644),
        "mem": (b"1024", 0o644),
    }


def test_several_sources_in_one_volume() -> None:
    sources = [
        {"configMap": {"name": "m", "items": [{"key": "a", "path": "a"}]}},
        {"secret": {"name": "s", "items": [{"key": "t", "path": "a", "mode": 0o400}]}},
        {"serviceAccountToken": {"path": "token", "audience": "vault"}},
    ]
    found = files({"projected": {"sources": sources, "defaultMode": 0o640}}, CONFIG, SECRET)
    assert found["a"] == (b"text", 0o400)
    token, mode = found["token"]
    head, claims, signature = token.decode().split(".")
    told = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
    assert (told["aud"], told["sub"]) == (["vault"], "system:serviceaccount:default:default")
    assert mode == 0o640 and head and signature


# written at once


def seen(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(part.startswith("..") for part in path.relative_to(folder).parts)
    }


def test_files_are_exchanged_all_at_once(tmp_path: Path) -> None:
    write(tmp_path, {"a": WrittenFile(b"1", 0o600), "in/deep/b": WrittenFile(b"2", 0o444)})
    assert (tmp_path / "a").read_text() == "1" and (tmp_path / "in/deep/b").read_text() == "2"
    assert os.readlink(tmp_path / "a") == "..data/a" and os.readlink(tmp_path / "in") == "..data/in"
    old = os.readlink(tmp_path / "..data")
    assert stat.S_IMODE((tmp_path / "..data/a").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "..data/in/deep/b").stat().st_mode) == 0o444
    with open(tmp_path / "a") as opened:
        write(tmp_path, {"a": WrittenFile(b"3", 0o600), "c": WrittenFile(b"4", 0o600)})
        assert opened.read() == "1", "who has opened it still reads what was there"
    assert sorted(os.listdir(tmp_path)) == sorted(["..data", os.readlink(tmp_path / "..data"), "a", "c"])
    assert os.readlink(tmp_path / "..data") != old and (tmp_path / "a").read_text() == "3"
    write(tmp_path, {})
    assert seen(tmp_path) == {}


def test_what_cant_be_written_leaves_what_was_there(tmp_path: Path) -> None:
    write(tmp_path, {"a": WrittenFile(b"1", 0o644)})
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(OSError):
        write(tmp_path, {"a": WrittenFile(b"2", 0o644), "a/b": WrittenFile(b"3", 0o644)})
    assert sorted(os.listdir(tmp_path)) == before and (tmp_path / "a").read_text() == "1"


def test_nothing_is_written_behind_a_link(tmp_path: Path) -> None:
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    outside.mkdir()
    inside.mkdir()
    (inside / "..data").symlink_to(outside)
    (outside / "kept").write_text("kept")
    write(inside, {"a": WrittenFile(b"1", 0o644)})
    assert os.listdir(outside) == ["kept"] and (inside / "a").read_text() == "1"
    with pytest.raises(OSError):
        link = tmp_path / "link"
        link.symlink_to(outside)
        write(link, {"a": WrittenFile(b"1", 0o644)})


# whom it belongs to


def test_a_group_gets_all_that_is_in_a_volume(tmp_path: Path) -> None:
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    (inside / "deep").mkdir(parents=True, mode=0o700)
    outside.write_text("not ours")
    outside.chmod(0o600)
    (inside / "deep/file").write_text("x")
    (inside / "deep/file").chmod(0o600)
    (inside / "deep/link").symlink_to(outside)
    os.mkfifo(inside / "pipe")
    group = os.getegid() if os.geteuid() else 4321
    own_folder(str(inside), Ownership(group))
    assert stat.S_IMODE((inside / "deep").stat().st_mode) == 0o2770
    assert stat.S_IMODE((inside / "deep/file").stat().st_mode) == 0o660
    assert stat.S_IMODE(outside.stat().st_mode) == 0o600
    assert {(inside / name).lstat().st_gid for name in ("", "deep", "deep/file", "deep/link", "pipe")} == {
        group
    }
    assert outside.stat().st_gid == os.getegid()
    (inside / "deep/file").chmod(0o600)
    own_folder(str(inside), Ownership(group, if_root_differs=True))
    assert stat.S_IMODE((inside / "deep/file").stat().st_mode) == 0o600, "its top folder is as it should be"
    own_folder(str(inside), Ownership(group, read_only=True))
    assert stat.S_IMODE((inside / "deep/file").stat().st_mode) == 0o640
    assert issubclass(OneUser, Exception)


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_what_a_volume_is_exchanged_for_while_it_is_given_to_a_group(tmp_path: Path, kind: str) -> None:
    """Another Pod may have the claim, too: a folder of it is a link or a FIFO when it is looked at the next time."""
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    (inside / "folder").mkdir(parents=True)
    (outside / "deep").mkdir(parents=True)
    (outside / "deep").chmod(0o700)
    os.mkfifo(tmp_path / "pipe")
    (inside / "other").symlink_to(outside if kind == "link" else tmp_path / "pipe")
    over = threading.Event()
    renameat2 = ctypes.CDLL(None).renameat2

    def exchange() -> None:
        while not over.is_set():
            renameat2(-100, bytes(inside / "folder"), -100, bytes(inside / "other"), 2)  # RENAME_EXCHANGE

    before = os.stat(outside).st_gid, os.stat(outside / "deep").st_mode
    exchanging = threading.Thread(target=exchange)
    owning = threading.Thread(
        target=lambda: [own_folder(str(inside), Ownership(os.getegid())) for _ in range(3000)], daemon=True
    )
    exchanging.start()
    owning.start()
    owning.join(60)
    over.set()
    exchanging.join()
    assert not owning.is_alive(), "it waits for who never comes"
    assert (os.stat(outside).st_gid, os.stat(outside / "deep").st_mode) == before
    assert {stat.S_IMODE(p.lstat().st_mode) & 0o2000 for p in inside.iterdir() if not p.is_symlink()} == {
        0o2000
    }


@pytest.mark.parametrize("path", [".", "./", "a/..//b/."])
def test_a_file_of_no_name_cannot_be_written(tmp_path: Path, path: str) -> None:
    with pytest.raises(OSError):
        write(tmp_path, {path: WrittenFile(b"x", 0o644)})
    assert [*tmp_path.iterdir()] == []


# the host's


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("/srv", VolumeSource("/srv", "", True, owned=False)),
        ("/srv/a/b/", VolumeSource("/srv", "a/b", True, owned=False)),
        ("/srv/data/x", VolumeSource("/srv/data", "x", False, owned=False)),
        ("//srv//data", VolumeSource("/srv/data", "", False, owned=False)),
        ("/srv/database", VolumeSource("/srv", "database", True, owned=False)),
    ],
)
def test_the_closest_folder_that_is_allowed_decides(path: str, source: VolumeSource) -> None:
    assert kind_of("hostPath").source(asked({"hostPath": {"path": path}})) == source


@pytest.mark.parametrize("path", ["/", "/etc", "/srvs", "/srv/../etc"])
def test_what_isnt_allowed(path: str) -> None:
    with pytest.raises(NotInLabs, match=r"isn't allowed: name it in spec\.pods\.hostPaths of the Cluster"):
        kind_of("hostPath").source(asked({"hostPath": {"path": path}}))


@pytest.mark.parametrize(
    ("kind", "path", "made"),
    [
        ("", "new/deep", "folder"),
        ("DirectoryOrCreate", "new", "folder"),
        ("FileOrCreate", "there/file", "file"),
        ("FileOrCreate", "nowhere/file", "hostPath type check failed: {top}/nowhere/file is not a file"),
        ("Directory", "new", "hostPath type check failed: {top}/new is not a directory"),
        ("Directory", "file", "hostPath type check failed: {top}/file is not a directory"),
        ("Socket", "file", "hostPath type check failed: {top}/file is not a socket file"),
        ("BlockDevice", "file", "hostPath type check failed: {top}/file is not a block device"),
        ("File", "out/passwd", "hostPath type check failed: {top}/out/passwd is not a file"),
        ("File", "file", "file"),
    ],
)
def test_what_is_to_be_there(tmp_path: Path, kind: str, path: str, made: str) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "out").symlink_to("/etc")
    source = VolumeSource(str(tmp_path), path)
    if made not in ("file", "folder"):
        with pytest.raises(NotMounted) as raised:
            hostpath.make_at(kind, source)
        assert str(raised.value) == made.format(top=tmp_path)
        return
    hostpath.make_at(kind, source)
    assert (tmp_path / path).is_dir() is (made == "folder")


def test_nothing_is_made_where_pods_can_only_read(tmp_path: Path) -> None:
    for kind in ("", "DirectoryOrCreate", "FileOrCreate"):
        with pytest.raises(NotMounted):
            hostpath.make_at(kind, VolumeSource(str(tmp_path), "new", read_only=True))
    assert os.listdir(tmp_path) == []
    with pytest.raises(NotMounted):
        hostpath.make_at("", VolumeSource(f"{tmp_path}/gone", "", read_only=True))


# claims


def test_a_claim_leads_to_its_volumes_folder() -> None:
    claim = obj("PersistentVolumeClaim", "data", spec={"volumeName": "pv"}, status={"phase": "Bound"})
    folder = obj("PersistentVolume", "pv", "", metadata={"uid": "n"}, spec={"nfs": {"server": "s"}})
    on_host = obj(
        "PersistentVolume", "pv", "", metadata={"uid": "n"}, spec={"hostPath": {"path": "/srv/data/x"}}
    )
    volume = {"persistentVolumeClaim": {"claimName": "data", "readOnly": True}}
    source = kind_of("persistentVolumeClaim").source
    assert source(asked(volume, claim, folder)) == VolumeSource("/v/claims/n", read_only=True)
    assert source(asked(volume, claim, on_host)) == VolumeSource("/srv/data", "x", True, owned=False)
    for objects, message in (
        ((), 'failed to fetch PVC from API server: persistentvolumeclaims "data" not found'),
        ((claim,), "PVC is not bound"),
        ((claim.replace(status={"phase": "Pending"}), folder), "PVC is not bound"),
    ):
        with pytest.raises(NotProcessed) as raised:
            source(asked(volume, *objects))
        assert str(raised.value) == f"error processing PVC default/data: {message}"


def test_a_pods_own_claim_is_no_strangers() -> None:
    claim = obj("PersistentVolumeClaim", "p-v", spec={"volumeName": "pv"}, status={"phase": "Bound"})
    with pytest.raises(NotProcessed, match="PVC default/p-v was not created for pod default/p"):
        kind_of("ephemeral").source(asked({"ephemeral": {}}, claim))


def test_what_labs_have_not() -> None:
    for kind in ("csi", "nfs", "image", "gitRepo"):
        with pytest.raises(NotInLabs, match=f"a lab has no volumes of type {kind}"):
            kind_of(kind).source(asked({kind: {}}))


def test_a_volume_that_says_nothing_is_an_empty_folder(tmp_path: Path) -> None:
    one = asked({}, folder=tmp_path / "pods/u/v")
    kind = kind_of(one.volume.kind)
    source = kind.source(one)
    making.make(one, kind, source, None)
    assert stat.S_IMODE(os.stat(source.path).st_mode) == 0o777
    (Path(source.path) / "deep").mkdir()
    making.make(one, kind, source, None)
    assert os.listdir(source.path) == ["deep"], "it is made once"


# where containers see it

SOURCES = {
    "a": VolumeSource("/v/a"),
    "c": VolumeSource("/v/c", read_only=True),
    "h": VolumeSource("/srv", "x", owned=False),
}


def bound(*given: dict[str, Any], **environment: str) -> list[tuple[str, str, bool, str]]:
    container = Container.of({"name": "main", "volumeMounts": list(given)})
    found: tuple[Bind, ...] = mounts.binds(container, SOURCES, environment)
    return [(bind.source, bind.target, bind.read_only, bind.sub_path) for bind in found]


def test_a_container_sees_what_it_mounts() -> None:
    assert sorted(
        bound(
            {"name": "a", "mountPath": "/data/in/deep", "readOnly": True},
            {"name": "c", "mountPath": "/data"},
            {"name": "h", "mountPath": "relative", "subPath": "below/it"},
            {"name": "nobodys", "mountPath": "/n"},
        )
    ) == sorted(
        [
            ("/v/c", "/data", True, ""),
            ("/srv", "/relative", False, "x/below/it"),
            ("/v/a", "/data/in/deep", True, ""),
        ]
    )


def test_a_sub_path_may_name_variables() -> None:
    mount = {"name": "a", "mountPath": "/d"}
    assert bound({**mount, "subPathExpr": "$(POD)/$$(POD)"}, POD="p")[0][3] == "p/$(POD)"
    for expression, value, message in (
        ("$(NONE)", "", 'missing value for "NONE"'),
        ("$(POD)", "/etc", "error SubPath `/etc` must not be an absolute path"),
        ("$(POD)/x", "..", "unable to provision SubPath `../x`: must not contain '..'"),
    ):
        with pytest.raises(ConfigError) as raised:
            bound({**mount, "subPathExpr": expression}, POD=value)
        assert str(raised.value) == message


def test_no_folder_is_made_where_pods_can_only_read(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    container = Container.of(
        {"name": "main", "volumeMounts": [{"name": "r", "mountPath": "/r", "subPath": "none"}]}
    )
    source = {"r": VolumeSource(str(tmp_path), "there", read_only=True, owned=False)}
    with pytest.raises(ConfigError) as raised:
        mounts.binds(container, source, {})
    assert str(raised.value) == 'failed to create subPath directory for volumeMount "r" of container "main"'
    (tmp_path / "there/none").mkdir()
    assert mounts.binds(container, source, {})[0].sub_path == "there/none"


def test_an_images_volumes_are_there_where_the_pod_mounts_none() -> None:
    mounted = (Bind("/v/a", "/data/"), Bind("/v/b", "/srv/inner"))
    found = mounts.image_volumes(("/data", "/srv", "relative/../here", "/srv/", "//opt"), mounted)
    assert found == (Bind("", "/srv"), Bind("", "/here"), Bind("", "/opt"))
    assert mounts.image_volumes((), mounted) == ()

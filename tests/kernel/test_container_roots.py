"""Roots of containers, built in throwaway processes: what is below, beside and above them, and what leads nowhere."""

from __future__ import annotations

import json
import os
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from emulab.kernel import libc
from emulab.kernel.containers import build, confine, mounts, seccomp
from emulab.kernel.containers.places import in_user_namespace
from emulab.kernel.containers.rights import Rights
from emulab.kernel.containers.root import Bind, Root

pytestmark = pytest.mark.privilege

SCRATCH = "/mnt"


def inside(work: Callable[[], Any]) -> Any:
    """What `work` returns in a process that is the first of its PID namespace, with a tmpfs at SCRATCH.

    As an ordinary user it is root of a user namespace. Raises AssertionError with what it raised.
    """
    read, write = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        try:
            answer = {"value": _isolated(work)}
        except BaseException as error:
            answer = {"error": f"{error}", "kind": type(error).__name__, "trace": traceback.format_exc()}
        os.write(write, json.dumps(answer).encode())
        os._exit(0)
    os.close(write)
    with open(read, "rb") as pipe:
        answer = json.loads(pipe.read())
    os.waitpid(pid, 0)
    if "error" in answer:
        raise RuntimeError(f"{answer['kind']}: {answer['error']}\n{answer['trace']}")
    return answer["value"]


def _isolated(work: Callable[[], Any]) -> Any:
    uid, gid = os.geteuid(), os.getegid()
    if uid:
        libc.unshare(libc.CLONE_NEWUSER)
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
            Path(f"/proc/self/{name}").write_text(text)
    libc.unshare(libc.CLONE_NEWNS | libc.CLONE_NEWPID | libc.CLONE_NEWNET | libc.CLONE_NEWIPC)
    libc.mount("none", "/", flags=libc.MS_REC | libc.MS_PRIVATE)
    libc.mount("tmpfs", SCRATCH, "tmpfs", 0, "mode=755")
    os.mkdir(f"{SCRATCH}/stage")
    read, write = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        try:
            text = json.dumps({"value": work()})
        except BaseException as error:
            text = json.dumps({"error": str(error), "trace": traceback.format_exc()})
        os.write(write, text.encode())
        os._exit(0)
    os.close(write)
    with open(read, "rb") as pipe:
        answer = json.loads(pipe.read())
    os.waitpid(pid, 0)
    if "error" in answer:
        raise RuntimeError(f"{answer['error']}\n{answer['trace']}")
    return answer["value"]


def rooted(look: Callable[[], Any], prepare: Callable[[], object] = lambda: None, **root: Any) -> Any:
    """What `look` returns of a container's root, built after `prepare` has made files at SCRATCH."""

    def work() -> Any:
        in_user_namespace.cache_clear()
        prepare()
        build.mount_points.cache_clear()
        build.build(Root(stage=f"{SCRATCH}/stage", size="10m", **root))
        return look()

    return inside(work)


def write(path: str, text: str = "x") -> str:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)
    return path


def fails(work: Callable[[], object]) -> int:
    """The number of the error with which the kernel refuses something, 0 when it doesn't."""
    try:
        work()
    except OSError as error:
        return error.errno or -1
    return 0


def test_what_is_written_is_bounded() -> None:
    def look() -> list[int]:
        with open("/etc/large", "wb") as file:
            try:
                for _ in range(30):
                    file.write(b"x" * (1 << 20))
                file.flush()
            except OSError as error:
                return [error.errno or 0, os.stat("/etc/large").st_size <= 10 << 20]
        return []

    assert rooted(look) == [28, True]


def test_a_read_only_root_has_writable_volumes() -> None:
    def prepare() -> None:
        os.mkdir(f"{SCRATCH}/volume")

    def look() -> list[int]:
        places = ("/etc/x", "/tmp/x", "/x", "/var/tmp/x", "/data/deep/x", "/dev/shm/x")
        return [fails(lambda place=place: write(place)) for place in places]  # type: ignore[misc]

    binds = (Bind(f"{SCRATCH}/volume", "/data/deep"),)
    assert rooted(look, prepare, binds=binds, read_only=True) == [30, 30, 30, 30, 0, 0]


def test_no_device_works_but_those_of_dev() -> None:
    def prepare() -> None:
        os.mkdir(f"{SCRATCH}/volume")

    def look() -> list[int]:
        tried = []
        for folder in ("/tmp", "/etc", "/data", "/dev", "/dev/shm"):
            path = f"{folder}/null"
            if folder != "/dev" and fails(lambda path=path: os.mknod(path, 0o20666, os.makedev(1, 3))):  # type: ignore[misc]
                tried.append(13)  # an ordinary user may make none at all
                continue
            tried.append(fails(lambda path=path: os.close(os.open(path, os.O_RDONLY))))  # type: ignore[misc]
        return tried

    found = rooted(look, prepare, binds=(Bind(f"{SCRATCH}/volume", "/data"),))
    assert found == [13, 13, 13, 0, 13]


@pytest.mark.parametrize(
    ("link", "sub_path"),
    [("/etc", "link"), ("../../../etc", "link"), ("/etc", "link/passwd"), ("/proc/self/root/etc", "link")],
)
def test_no_link_leads_out_of_a_volume(link: str, sub_path: str) -> None:
    def prepare() -> None:
        os.mkdir(f"{SCRATCH}/volume")
        os.symlink(link, f"{SCRATCH}/volume/link")

    with pytest.raises(RuntimeError, match=r"leads out of its volume|No such file|Too many"):
        rooted(
            lambda: os.listdir("/data"),
            prepare,
            binds=(Bind(f"{SCRATCH}/volume", "/data", sub_path=sub_path),),
        )


def test_a_link_inside_a_volume_is_followed_and_what_is_missing_is_made() -> None:
    def prepare() -> None:
        write(f"{SCRATCH}/volume/real/file", "here")
        os.symlink("real", f"{SCRATCH}/volume/link")

    volume = f"{SCRATCH}/volume"
    binds = (
        Bind(volume, "/one", sub_path="link"),
        Bind(volume, "/two", sub_path="new/folder"),
        Bind(f"{volume}/real/file", "/srv/there/a.txt"),
    )
    look = lambda: [Path("/one/file").read_text(), os.listdir("/two"), Path("/srv/there/a.txt").read_text()]  # noqa: E731
    assert rooted(look, prepare, binds=binds) == ["here", [], "here"]


def image(*layers: dict[str, str]) -> Callable[[], Sequence[str]]:
    """Makes layers of files and links (`->` before their aim), the top one first."""

    def make() -> Sequence[str]:
        for number, files in enumerate(layers):
            for path, text in files.items():
                whole = f"{SCRATCH}/layer{number}{path}"
                if text.startswith("->"):
                    os.makedirs(os.path.dirname(whole), exist_ok=True)
                    os.symlink(text[2:], whole)
                else:
                    write(whole, text)
        return [f"{SCRATCH}/layer{number}" for number in range(len(layers))]

    return make


def test_an_image_is_all_that_is_seen() -> None:
    layers = [f"{SCRATCH}/layer0", f"{SCRATCH}/layer1"]
    make = image({"/app/file": "top"}, {"/app/file": "below", "/app/other": "other"})

    def look() -> list[Any]:
        write("/app/file", "mine")
        return [sorted(os.listdir("/")), Path("/app/file").read_text(), Path("/app/other").read_text()]

    found = rooted(look, make, layers=layers, binds=(Bind("/etc/hostname", "/etc/hostname"),))
    assert found == [["app", "dev", "etc", "proc", "sys"], "mine", "other"]


@pytest.mark.parametrize("name", ["dev", "proc", "sys"])
def test_an_image_with_a_link_in_place_of_a_folder(name: str) -> None:
    """What is mounted at a link that the image made would be mounted where the link leads on the host."""
    make = image({f"/{name}": f"->{SCRATCH}/aim", "/x": "x"})

    def prepare() -> None:
        make()
        os.mkdir(f"{SCRATCH}/aim")

    with pytest.raises(RuntimeError, match="the image has a link in its place"):
        rooted(lambda: os.listdir("/"), prepare, layers=[f"{SCRATCH}/layer0"])


def test_a_target_is_a_path_of_the_container() -> None:
    """A link that an image has leads to what it names in the container."""
    make = image({"/etc": "->/other/etc", "/other/etc/file": "x", "/x": "x"})

    def prepare() -> None:
        make()
        write(f"{SCRATCH}/mine", "mine")

    binds = (Bind(f"{SCRATCH}/mine", "/etc/resolv.conf"),)
    look = lambda: [Path("/other/etc/resolv.conf").read_text(), sorted(os.listdir("/other/etc"))]  # noqa: E731
    assert rooted(look, prepare, layers=[f"{SCRATCH}/layer0"], binds=binds) == [
        "mine",
        ["file", "resolv.conf"],
    ]


@pytest.mark.parametrize(
    ("link", "made"),
    [
        ("../run/resolve/stub.conf", "/run/resolve/stub.conf"),
        ("/run/stub.conf", "/run/stub.conf"),
        ("../../../../run/up.conf", "/run/up.conf"),
        ("other.conf", "/etc/other.conf"),
        ("/var/run/inner.conf", "/run/inner.conf"),
    ],
)
def test_a_link_to_what_is_not_there_has_its_aim_made_in_the_root(link: str, made: str) -> None:
    """As a runtime does it: images of systems with systemd-resolved have such an /etc/resolv.conf."""
    make = image({"/etc/resolv.conf": f"->{link}", "/var/run": "->/run"})

    def prepare() -> None:
        make()
        write(f"{SCRATCH}/mine", "mine")

    def look() -> list[str]:
        return [Path(path).read_text() for path in ("/etc/resolv.conf", made)]

    binds = (Bind(f"{SCRATCH}/mine", "/etc/resolv.conf"),)
    assert rooted(look, prepare, layers=[f"{SCRATCH}/layer0"], binds=binds) == ["mine", "mine"]
    assert not os.path.lexists(made) or made == "/etc/other.conf", "nothing is made on the host"


def test_a_link_of_the_hosts_is_followed_too() -> None:
    """systemd-resolved's link leads to /run, which is the container's own and empty."""

    def prepare() -> None:
        for name in ("upper", "work"):
            os.mkdir(f"{SCRATCH}/{name}")
        mounts.overlay("/etc", ["/etc"], f"{SCRATCH}/upper", f"{SCRATCH}/work")
        os.symlink("../run/systemd/resolve/stub-resolv.conf", "/etc/link.conf")
        write(f"{SCRATCH}/mine", "mine")

    def look() -> list[str]:
        return [
            Path(path).read_text() for path in ("/etc/link.conf", "/run/systemd/resolve/stub-resolv.conf")
        ]

    assert rooted(look, prepare, binds=(Bind(f"{SCRATCH}/mine", "/etc/link.conf"),)) == ["mine", "mine"]


def test_links_that_lead_round_are_refused() -> None:
    make = image({"/etc/hosts": "->/etc/more", "/etc/more": "->hosts"})
    binds = (Bind("/etc/hostname", "/etc/hosts"),)
    with pytest.raises(RuntimeError, match="Too many levels of symbolic links"):
        rooted(lambda: 0, make, layers=[f"{SCRATCH}/layer0"], binds=binds)


def volumes(*paths: str) -> tuple[Bind, ...]:
    """An image's own volumes."""
    return tuple(Bind("", path) for path in paths)


@pytest.mark.parametrize("read_only", [False, True])
def test_an_images_volumes_are_folders_of_its_own_with_what_is_there(read_only: bool) -> None:
    make = image({"/data/file": "top", "/srv": "->/data", "/x": "x"}, {"/data/inner/below": "below"})

    def look() -> list[Any]:
        write("/data/inner/mine", "mine")
        os.unlink("/data/file")
        os.mkdir("/new/folder/mine")
        points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        return [
            sorted(os.listdir("/data/inner")), os.listdir("/data"), os.listdir("/new/folder"),
            fails(lambda: write("/y")), [p for p in points if p.startswith(("/data", "/new"))],
            [Path(f"/data/inner/{name}").read_text() for name in ("below", "mine")],
        ]  # fmt: skip

    def prepare() -> None:
        make()
        os.chmod(f"{SCRATCH}/layer0/data", 0o1777)

    layers = [f"{SCRATCH}/layer0", f"{SCRATCH}/layer1"]
    found = rooted(look, prepare, layers=layers, binds=volumes("/data", "/new/folder"), read_only=read_only)
    assert found == [
        ["below", "mine"], ["inner"], ["mine"], 30 if read_only else 0, ["/data", "/new/folder"], ["below", "mine"]
    ]  # fmt: skip


def test_volumes_lie_in_each_other_as_they_are_given() -> None:
    """A volume below one of the pod's has what the image has there, and one of the pod's below an image's is seen."""
    make = image({"/data/inner/file": "image's", "/srv/file": "image's"})

    def prepare() -> None:
        make()
        write(f"{SCRATCH}/one/file", "pod's")
        write(f"{SCRATCH}/two/file", "pod's")

    binds = (
        Bind(f"{SCRATCH}/one", "/data"),
        *volumes("/srv", "/data/inner"),
        Bind(f"{SCRATCH}/two", "/srv/two"),
    )
    paths = ("/data/file", "/data/inner/file", "/srv/file", "/srv/two/file")
    look = lambda: [Path(path).read_text() for path in paths]  # noqa: E731
    found = rooted(look, prepare, layers=[f"{SCRATCH}/layer0"], binds=binds)
    assert found == ["pod's", "image's", "image's", "pod's"]


@pytest.mark.parametrize(
    ("path", "said"), [("/", "its root for a volume"), ("/file", "a file in the place of")]
)
def test_what_is_no_folder_is_no_volume(path: str, said: str) -> None:
    with pytest.raises(RuntimeError, match=said):
        rooted(lambda: 0, image({"/file": "x"}), layers=[f"{SCRATCH}/layer0"], binds=volumes(path))


def test_without_overlays_an_images_volumes_are_copies() -> None:
    make = image({"/data/file": "image's", "/data/link": "->file"})

    def prepare() -> None:
        make()
        for name in ("proc", "sys", "dev"):
            os.mkdir(f"{SCRATCH}/layer0/{name}")
        stack(f"{SCRATCH}/layer0")

    def look() -> list[Any]:
        write("/data/mine", "mine")
        return [fails(lambda: write("/x")), Path("/data/link").read_text(), sorted(os.listdir("/data"))]

    found = rooted(look, prepare, layers=[f"{SCRATCH}/layer0"], binds=volumes("/data"))
    assert found == [30, "image's", ["file", "link", "mine"]]


def stack(folder: str) -> None:
    """The kernel stacks two overlays and no third: what is such a stack already can't be written to."""
    for number in range(2):
        for name in ("upper", "work"):
            os.mkdir(f"{SCRATCH}/{name}{number}")
        mounts.overlay(folder, [folder], f"{SCRATCH}/upper{number}", f"{SCRATCH}/work{number}")


def test_without_overlays_what_is_the_hosts_is_read_only() -> None:
    def prepare() -> None:
        stack("/etc")

    def look() -> list[int]:
        return [fails(lambda: write("/etc/x")), fails(lambda: write("/usr/x")), len(os.listdir("/etc")) > 5]

    binds = (Bind("/proc/version", "/etc/passwd"),)
    found = rooted(look, prepare, binds=binds, skeleton="")
    assert found == [30, 0, True]


def test_the_filter_is_as_large_as_its_capabilities() -> None:
    small, large = seccomp.make_filter(()), seccomp.make_filter(("SYS_ADMIN", "SYS_CHROOT"))
    assert len(small) % 8 == len(large) % 8 == 0 and small != large


def test_a_user_is_looked_up_in_the_containers_own_files() -> None:
    make = image({"/etc/passwd": "root:x:0:0::/root:/bin/sh\nweb:x:7:8::/srv:/bin/sh\nbad:line\n",
                  "/etc/group": "web:x:8:\nextra:x:9:web,other\nodd:x:y:web\n"})  # fmt: skip

    def look() -> list[Any]:
        known = [confine.identify(Rights(user=user)) for user in ("web", "7", "web:extra", "12", "12:13")]
        known.append(confine.identify(Rights(user="web", groups=(5,), merges_groups=False)))
        refusals = []
        for user in ("nobody", "web:nobody"):
            try:
                confine.identify(Rights(user=user))
            except Exception as error:
                refusals.append(str(error))
        return [[*known], refusals]

    found, refusals = rooted(look, make, layers=[f"{SCRATCH}/layer0"])
    assert found == [
        [7, 8, [9], "/srv"],
        [7, 8, [9], "/srv"],
        [7, 9, [9], "/srv"],
        [12, 0, [], "/"],
        [12, 13, [], "/"],
        [7, 8, [5], "/srv"],
    ]
    assert refusals == [
        "unable to find user nobody: no matching entries in passwd file",
        "unable to find group nobody: no matching entries in group file",
    ]

"""Roots of containers, built in throwaway processes: what is below, beside and above them, and what leads nowhere."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import signal
import stat
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from emulab.kernel import libc
from emulab.kernel.containers import binds, build, confine, mounts, seccomp
from emulab.kernel.containers.places import in_user_namespace
from emulab.kernel.containers.rights import Rights
from emulab.kernel.containers.root import Bind, Root
from emulab.kernel.processes import enter

pytestmark = pytest.mark.privilege

SCRATCH = "/mnt"
AT_FDCWD, RENAME_EXCHANGE = -100, 2


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


def test_what_is_mounted_below_a_hidden_folder_is_hidden_too() -> None:
    prepare = lambda: libc.mount("/usr/share/doc", "/usr/share/doc", flags=libc.MS_BIND)  # noqa: E731
    look = lambda: [os.listdir("/usr/share"), fails(lambda: write("/usr/x"))]  # noqa: E731
    assert rooted(look, prepare, hidden=("/usr/share",), read_only=True) == [[], 30]


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

    why = rf"mount /data with subPath {sub_path}: (a link in it leads out of its volume|No such file)"
    with pytest.raises(RuntimeError, match=why):
        rooted(
            lambda: os.listdir("/data"),
            prepare,
            binds=(Bind(f"{SCRATCH}/volume", "/data", sub_path=sub_path),),
        )


@contextmanager
def beside(work: Callable[[], object]) -> Iterator[None]:
    """A process that does that again and again until the block ends."""
    pid = os.fork()
    if pid == 0:
        try:
            while True:
                work()
        finally:
            os._exit(1)
    try:
        yield
        assert os.waitpid(pid, os.WNOHANG) == (0, 0), "it could not go on"
    finally:
        with suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def test_a_folder_that_becomes_a_link_while_it_is_looked_up(tmp_path: Path) -> None:
    """A container exchanges a folder of its volume for a link, and back, while another one mounts its subPath."""
    inside, outside = tmp_path / "volume", tmp_path / "outside"
    (inside / "folder" / "deep").mkdir(parents=True)
    (outside / "deep").mkdir(parents=True)
    (inside / "link").symlink_to("../outside")
    ours = {os.stat(inside / "folder").st_ino, os.stat(inside / "folder" / "deep").st_ino}

    exchange = partial(ctypes.CDLL(None).renameat2, AT_FDCWD, bytes(inside / "folder"), AT_FDCWD)
    found, refused = set(), set()
    with beside(partial(exchange, bytes(inside / "link"), RENAME_EXCHANGE)):
        for number in range(4000):
            bind = Bind(str(inside), "/x", sub_path=("folder", "folder/deep")[number % 2])
            try:
                fd = binds._source(bind)
            except OSError as error:
                refused.add(error.errno)
                continue
            found.add(os.fstat(fd).st_ino)
            os.close(fd)
    assert refused == {errno.EXDEV} and found == ours, "it was a link and a folder now and then"


def test_a_mount_is_restricted_before_anybody_can_use_it() -> None:
    """Who tries without a pause to write to what is about to be a read-only mount never can."""
    rounds = 1500

    def look() -> list[Any]:
        source, targets = f"{SCRATCH}/source", f"{SCRATCH}/targets"
        os.mkdir(source)
        os.mkdir(f"{SCRATCH}/tried")
        for number in range(rounds):
            os.makedirs(f"{targets}/{number}")
        os.mknod(f"{source}/made")
        at = [0]

        def attempt() -> None:
            path = f"{targets}/{at[0]}"
            try:
                os.close(os.open(f"{path}/made", os.O_RDWR))  # which is there when it is mounted
            except FileNotFoundError:
                return
            except OSError as error:
                assert error.errno == errno.EROFS
                os.mkdir(f"{SCRATCH}/tried/{at[0]}")
                at[0] += 1
                return
            os.mknod(f"{source}/could-write")

        top = os.open(targets, os.O_PATH)
        with beside(attempt):
            for number in range(rounds):
                binds._bind(top, Bind(source, f"/{number}", read_only=True), -1, 0)
        return [os.listdir(source), len(os.listdir(f"{SCRATCH}/tried")) > rounds // 10]

    assert inside(look) == [["made"], True]


def test_links_that_lead_up_are_followed_while_everything_moves(tmp_path: Path) -> None:
    """The kernel answers EAGAIN to whoever goes up while anything on the machine is renamed or mounted."""
    (tmp_path / "root" / "a" / "b").mkdir(parents=True)
    (tmp_path / "root" / "up").symlink_to("/".join(["a/b/../.."] * 20))
    (tmp_path / "one").mkdir()
    names = [tmp_path / "one", tmp_path / "two"]
    root = os.open(tmp_path / "root", os.O_PATH)
    with beside(lambda: (os.rename(*names), os.rename(*reversed(names)))):
        for _ in range(5000):
            os.close(libc.open_below(root, "up", os.O_PATH, libc.RESOLVE_IN_ROOT))
    os.close(root)


def test_containers_that_make_one_folder_at_once(tmp_path: Path) -> None:
    """As the containers of a Pod do, all with one subPath that isn't there yet."""
    for round in range(50):
        with ThreadPoolExecutor(8) as pool:
            barrier = Barrier(8)

            def make(round: int = round, barrier: Barrier = barrier) -> int:
                barrier.wait()
                fd = binds._source(Bind(str(tmp_path), "/x", sub_path=f"{round}/a/b/c/d"))
                found = os.fstat(fd).st_ino
                os.close(fd)
                return found

            assert len({f.result() for f in [pool.submit(make) for _ in range(8)]}) == 1


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


def test_who_may_write_to_a_volume_may_write_to_what_is_made_of_a_sub_path() -> None:
    def prepare() -> None:
        for name, mode in (("free", 0o2777), ("kept", 0o750)):
            os.mkdir(f"{SCRATCH}/{name}")
            os.chmod(f"{SCRATCH}/{name}", mode)

    binds = (Bind(f"{SCRATCH}/free", "/free", sub_path="a/b"), Bind(f"{SCRATCH}/kept", "/kept", sub_path="c"))
    look = lambda: [oct(stat.S_IMODE(os.stat(path).st_mode)) for path in ("/free", "/kept")]  # noqa: E731
    assert rooted(look, prepare, binds=binds) == ["0o2777", "0o750"]


@pytest.mark.parametrize("target", ["/", "//", "/.", "/.."])
def test_a_volume_is_no_root(target: str) -> None:
    with pytest.raises(RuntimeError, match=f"mount {target}: it is the container's root"):
        rooted(lambda: 0, lambda: os.mkdir(f"{SCRATCH}/volume"), binds=(Bind(f"{SCRATCH}/volume", target),))


def test_what_cannot_be_mounted_there_is_told() -> None:
    with pytest.raises(RuntimeError, match=r"mount /dev/null: E\w+"):
        rooted(
            lambda: 0, lambda: os.mkdir(f"{SCRATCH}/volume"), binds=(Bind(f"{SCRATCH}/volume", "/dev/null"),)
        )


@pytest.mark.parametrize("made", ["", "pipe", "file", "node"])
def test_the_hosts_null_device_is_nobodys_whose_dev_is_a_volume(made: str) -> None:
    """It would be a file of the host's in the hands of a program there."""

    def prepare() -> None:
        os.mkdir(f"{SCRATCH}/volume")
        at = f"{SCRATCH}/volume/null"
        if made == "pipe":
            os.mkfifo(at)
        elif made == "file":
            write(at)
        elif made == "node" and os.geteuid() == 0:
            with suppress(PermissionError):
                os.mknod(at, 0o20666, os.makedev(1, 3))

    def look() -> list[Any]:
        with open("/proc/self/fd/0", "rb") as given:
            enter._use_own_null()
            found = os.fstat(0)
            return [stat.S_ISCHR(found.st_mode), os.read(0, 1) == b"" and given.read(1) == b""]

    null = os.open("/dev/null", os.O_RDWR)
    before = os.dup(0)
    os.dup2(null, 0)
    try:
        assert rooted(look, prepare, binds=(Bind(f"{SCRATCH}/volume", "/dev"),)) == [False, True]
    finally:
        os.dup2(before, 0)
        os.close(null)
        os.close(before)


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
    make = image({"/etc/passwd": "root:x:0:0::/root:/bin/sh\n7:x:0:0::/:\nweb:x:7:8::/srv:/bin/sh\nbad:line\n",
                  "/etc/group": "13:x:0:\nweb:x:8:\nextra:x:9:web,other\nodd:x:y:web\n"})  # fmt: skip

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


@pytest.mark.parametrize("number", ["4294967295", "4294967296", "2147483648", "9" * 5000])
@pytest.mark.parametrize("where", ["USER", "its group", "passwd", "the group in passwd", "group"])
def test_nobody_stays_root_by_a_number_that_is_none(number: str, where: str) -> None:
    """To the kernel 4294967295 is -1, which leaves who one is, and 4294967296 is 0: both would be root."""
    uid, gid = (number if where == name else "7" for name in ("passwd", "the group in passwd"))
    make = image(
        {
            "/etc/passwd": f"web:x:{uid}:{gid}::/srv:/bin/sh\n",
            "/etc/group": f"more:x:{number if where == 'group' else 8}:web\n",
        }
    )
    user = {"USER": number, "its group": f"web:{number}"}.get(where, "web")

    def look() -> str:
        try:
            return str(confine.identify(Rights(user=user)))
        except Exception as error:
            return str(error)

    refused = rooted(look, make, layers=[f"{SCRATCH}/layer0"])
    assert refused.startswith("uids and gids must be in range 0-2147483647"), refused

"""Run folders and control sockets that another user has prepared for us, or that aren't emulab's at all."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from otherusers import EXCHANGE, HOSTILE, emulab, program
from patience import LONG

from emulab.cli import ending, main
from emulab.cli.verbs import doctor
from emulab.errors import EmulabError, KernelError, UserError
from emulab.kernel import names, probe
from emulab.kernel.cgroups import sweeping
from emulab.lab.folders import basedir, rundir
from emulab.lab.folders.rundir import LabInfo

VICTIM = 54000 + os.getpid() % 1000  # a user that nobody else is
COMMANDS = [
    ("labs",),
    ("down",),
    ("down", "--all"),
    ("get", "pods"),
    ("exec", "client", "--", "true"),
    ("up",),
]
SHOP = str(Path(__file__).resolve().parents[3] / "topologies" / "shop.yaml")


def contents(top: Path) -> dict[str, tuple[int, int, bytes]]:
    """Everything below a folder: kind and mode, inode, and what is in it."""
    found = {}
    for path in sorted(top.rglob("*")):
        info = path.lstat()
        found[str(path)] = (
            info.st_mode,
            info.st_ino,
            path.read_bytes() if stat.S_ISREG(info.st_mode) else b"",
        )
    return found


def home(path: Path) -> Path:
    """A folder with a user's things in it, one of which looks like a lab of an earlier version."""
    (path / "documents" / "thesis").mkdir(parents=True)
    (path / "documents" / "thesis" / "one.tex").write_text("all of it")
    (path / "src").mkdir()
    (path / "lab" / "logs").mkdir(parents=True)
    (path / "lab" / "lock").write_text("")
    (path / "lab" / "lab.json").write_text('{"name": "lab", "pid": 1, "started": "t"}')
    return path


# a folder that isn't emulab's


@pytest.mark.parametrize("command", COMMANDS)
def test_a_home_is_refused_and_stays_as_it_is(
    command: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    top = home(tmp_path / "home")
    before = contents(top)
    monkeypatch.setenv("EMULAB_RUN_DIR", str(top))
    assert main(["-l", "documents", *command]) == 1
    assert capsys.readouterr().err == (
        f"emulab: {top} is no folder of labs: 'documents' and 2 more in it is something else; "
        f"set EMULAB_RUN_DIR to a folder of its own, such as {top}/emulab\n"
    )
    assert contents(top) == before


def test_what_needs_no_lab_needs_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    top = home(tmp_path / "home")
    before = contents(top)
    monkeypatch.setenv("EMULAB_RUN_DIR", str(top))
    assert main(["plan", SHOP]) == 0 and capsys.readouterr().err == ""
    assert contents(top) == before


def test_the_doctor_finds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check = probe.Feature("run folder", "state of labs", True, "set EMULAB_RUN_DIR to a folder of yours")
    monkeypatch.setenv("EMULAB_RUN_DIR", str(tmp_path / "run"))
    assert doctor._run_folder(check).state == "ok"
    monkeypatch.setenv("EMULAB_RUN_DIR", str(home(tmp_path / "home")))
    assert "'documents' and 2 more in it" in doctor._run_folder(check).problem


@pytest.mark.parametrize("command", [("labs",), ("down",), ("down", "--all"), ("get", "pods")])
def test_who_only_looks_makes_nothing(
    command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMULAB_RUN_DIR", str(tmp_path / "run"))
    main(list(command))
    assert not (tmp_path / "run").exists()
    (tmp_path / "run").mkdir()
    main(list(command))
    assert list((tmp_path / "run").iterdir()) == []


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EMULAB_RUN_DIR", str(tmp_path / "run"))
    monkeypatch.setattr(names, "NETNS", tmp_path / "netns")
    monkeypatch.setattr(names, "ETC_NETNS", tmp_path / "etc-netns")
    monkeypatch.setattr(sweeping, "swept_folders", tuple)
    return tmp_path / "run"


def test_what_a_user_puts_beside_his_labs_stays(base: Path) -> None:
    _, lock = rundir.claim("mine")
    home(base)
    (base / "mine.log").write_text("no log of emulab's")
    (base / "x").symlink_to(base / "documents")
    before = {path: what for path, what in contents(base).items() if "/mine" not in path}
    with pytest.raises(UserError, match=r"/documents is there and is no lab: use another name for the lab$"):
        rundir.claim("documents")
    with pytest.raises(UserError, match=r"/x is there and is no lab"):
        rundir.claim("x")
    for name in ("documents", "src", "lab", "x"):
        assert not rundir.is_alive(base / name) and not rundir.sweep(base / name)
    assert [path.name for path in rundir.labs()] == ["mine"]
    (base / "mine" / "supervisor.log").write_text("its last words\n")
    os.close(lock)
    rundir.sweep_dead()
    assert not (base / "mine").exists() and (base / "mine.log").read_text() == "no log of emulab's"
    del before[str(base / ".emulab")]
    assert {p: w for p, w in contents(base).items() if not p.endswith((".emulab", "mine.log"))} == before


def test_the_mark_goes_with_the_last_lab(base: Path) -> None:
    base.mkdir()
    (base / "shop.yaml").write_text("a file is in nobody's way")
    locks = [rundir.claim(name)[1] for name in ("a", "b")]
    assert (base / ".emulab").is_file()
    (base / "shop.yaml").unlink()
    for lock, left in zip(locks, ([".emulab", "b"], []), strict=True):
        os.close(lock)
        rundir.sweep_dead()
        assert sorted(os.listdir(base)) == left


def test_a_base_whose_mark_is_lost_is_known_by_its_labs(base: Path) -> None:
    path, lock = rundir.claim("a")
    (base / ".emulab").unlink()
    assert rundir.is_alive(path) and [p.name for p in rundir.labs()] == ["a"]
    other, second = rundir.claim("b")
    assert rundir.is_alive(other) and (base / ".emulab").is_file()
    os.close(lock)
    os.close(second)


def test_a_mark_of_somebody_else(base: Path) -> None:
    base.mkdir()
    (base / ".emulab").write_text("my settings")
    with pytest.raises(UserError, match=r"/\.emulab is no file of emulab's; set EMULAB_RUN_DIR"):
        rundir.claim("a")
    assert (base / ".emulab").read_text() == "my settings"
    (base / ".emulab").write_bytes(b"emulab keeps")  # of a process that was killed while it wrote it
    _, lock = rundir.claim("a")
    os.close(lock)


def test_what_a_killed_command_has_begun_is_taken_over(base: Path) -> None:
    (base / ".emulab-new" / "logs").mkdir(parents=True)
    base.chmod(0o700)
    (base / ".emulab-new").chmod(0o700)
    path, lock = rundir.claim("a")
    assert rundir.is_alive(path) and not (base / ".emulab-new").exists()
    os.close(lock)


def test_a_base_may_be_marked_while_somebody_looks_at_it(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another command has marked it meanwhile, and what is there is a lab that it is about to remove."""
    base.mkdir(mode=0o700)
    (base / "x").mkdir()
    looks = iter((False, False, True))
    monkeypatch.setattr(basedir, "_is_marked", lambda _: next(looks))
    assert basedir.lab_names(base) == []


def test_many_commands_claim_and_sweep_at_once(base: Path) -> None:
    """Each lab has one supervisor at a time, and nobody sees half a folder."""
    script = """
import os, sys
from emulab.errors import UserError
from emulab.kernel.cgroups import sweeping
from emulab.lab.folders import rundir
sweeping.swept_folders = tuple
for turn in range(60):
    rundir.sweep_dead()
    try:
        path, lock = rundir.claim("x")
    except UserError as error:
        assert "is up already" in str(error), error
        continue
    mine = path / "mine"
    os.close(os.open(mine, os.O_CREAT | os.O_EXCL))
    assert rundir.is_alive(path) and sorted(os.listdir(path)) == ["etc", "lock", "logs", "mine"]
    if turn % 2:
        rundir.remove(path, lock, keep_log=False)
    os.close(lock)
"""
    command = [sys.executable, "-c", script]
    running = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    for process in running:
        _, error = process.communicate(timeout=LONG)
        assert process.returncode == 0, error
    rundir.sweep_dead()
    assert os.listdir(base) == []


# what is written in files


def holder(path: Path) -> subprocess.Popen[bytes]:
    """A process that holds a lab's lock, as a supervisor that doesn't answer does."""
    lock = rundir.take_lock(path)
    assert lock is not None
    process = subprocess.Popen(["sleep", "600"], pass_fds=[lock])
    os.close(lock)
    return process


def test_a_process_that_is_only_written_down_is_not_killed(base: Path) -> None:
    """`lab.json` may be old, and its number another process's by now."""
    path = rundir.make("x")
    supervisor, innocent = holder(path), subprocess.Popen(["sleep", "600"])
    try:
        rundir.write_info(path, LabInfo("x", innocent.pid, "t"))
        with pytest.raises(EmulabError, match=f"process {innocent.pid}, which lab.json names, is another$"):
            ending.end(path, patience=0.1)
        assert innocent.poll() is None and supervisor.poll() is None
        rundir.write_info(path, LabInfo("x", supervisor.pid, "t"))
        assert ending.end(path, patience=0.1) is True
        assert supervisor.wait() == -9 and innocent.poll() is None
    finally:
        for process in (supervisor, innocent):
            process.kill()
            process.wait()


@pytest.mark.parametrize(
    "info",
    [
        '{"name": "x", "pid": "1", "started": "t"}',
        '{"name": "x", "pid": -1, "started": "t"}',
        '{"name": "x", "pid": true, "started": "t"}',
        '{"name": "x", "pid": 99999999999999999999, "started": "t"}',
        '{"name": "y", "pid": 1, "started": "t"}',
        '{"name": "x", "pid": 1, "started": 5}',
        "[" * 4000,
    ],
)
def test_what_is_no_info_is_none(info: str, base: Path) -> None:
    path = rundir.make("x")
    (path / "lab.json").write_text(info)
    assert rundir.read_info(path) is None


def test_info_is_neither_read_nor_written_through_a_link(base: Path, tmp_path: Path) -> None:
    path, victim = rundir.make("x"), tmp_path / "victim"
    victim.write_text('{"name": "x", "pid": 1, "started": "t"}')
    (path / "lab.json").symlink_to(victim)
    (path / "lab.json.new").symlink_to(victim)
    (path / "supervisor.log").symlink_to(victim)
    assert rundir.read_info(path) is None
    with pytest.raises(KernelError, match="Too many levels of symbolic links"):
        rundir.open_log(path)
    rundir.write_info(path, LabInfo("x", 7, "t"))
    assert rundir.read_info(path) == LabInfo("x", 7, "t") and '"pid": 1' in victim.read_text()


def test_names_of_a_living_lab_stay_though_a_dead_one_had_its_number(base: Path) -> None:
    """Process numbers come again: another run directory's lab of that name may have got it."""
    names.NETNS.mkdir()
    fd = os.open("/proc/self/ns/net", os.O_RDONLY)
    living, stale = names.NETNS / "x.client", names.NETNS / "x.gone"
    living.symlink_to(f"/proc/{os.getpid()}/fd/{fd}")
    stale.symlink_to(f"/proc/{os.getpid()}/fd/99999")
    path = rundir.make("x")
    rundir.write_info(path, LabInfo("x", os.getpid(), "t"))
    rundir.sweep(path)
    assert living.is_symlink() and not stale.is_symlink()
    os.close(fd)


def test_a_dangling_link_that_is_no_name_of_ours_stays(base: Path, tmp_path: Path) -> None:
    names.NETNS.mkdir()
    (names.NETNS / "x.client").symlink_to("/nowhere/at/all")
    names.publish([("x.client", 4711, 9, "")])
    assert os.readlink(names.NETNS / "x.client") == "/nowhere/at/all"


# another user


@pytest.fixture
def public() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="emulab-hostile-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def trap() -> Iterator[Path]:
    """The default base of the victim's labs, made by another user before."""
    path = Path(f"/tmp/emulab-{VICTIM}")
    path.mkdir()
    os.chown(path, HOSTILE, HOSTILE)
    yield path
    subprocess.run(["rm", "-rf", str(path)])  # which may be a link by now


def owned(path: Path, uid: int) -> Path:
    for each in (path, *path.rglob("*")):
        os.lchown(each, uid, uid)
    return path


@pytest.mark.root
@pytest.mark.parametrize(
    "command", [("labs",), ("down", "--all"), ("-l", "docs", "down"), ("-l", "docs", "up")]
)
def test_a_base_that_another_user_has_made_is_refused(
    command: tuple[str, ...], trap: Path, public: Path
) -> None:
    docs = owned(home(public / "docs"), VICTIM)
    docs.chmod(0o700)
    before = contents(docs)
    (trap / "docs").symlink_to(docs)
    ran = emulab(VICTIM, *command)
    assert ran.returncode == 1 and ran.stdout == ""
    assert ran.stderr == (
        f"emulab: {trap} belongs to another user (uid {HOSTILE}); set EMULAB_RUN_DIR to a folder of your own\n"
    )
    assert contents(docs) == before


IMPOSTOR = """
import fcntl, os, socket, sys, time
top = sys.argv[1]
os.makedirs(top + "/default", exist_ok=True)
lock = open(top + "/default/lock", "w")
lock.write(sys.argv[2])
lock.flush()
fcntl.flock(lock, fcntl.LOCK_EX)
listener = socket.socket(socket.AF_UNIX)
listener.bind(top + "/default/control.sock")
for path in (top, top + "/default"):
    os.chmod(path, 0o755)
os.chmod(top + "/default/control.sock", 0o777)
listener.listen()
print("ready", flush=True)
while True:
    sock, _ = listener.accept()
    print(sock.recv(1 << 16), flush=True)
    sock.sendall(b'{"result": {"join": {}, "environment": {"PATH": "/tmp/evil"}}}' + bytes([10]))
"""


@pytest.mark.root
def test_a_lab_that_another_user_plays_is_not_entered(trap: Path) -> None:
    with program(HOSTILE, IMPOSTOR, str(trap), basedir._LAB_TEXT.decode()) as impostor:
        for command in (("exec", "client", "--", "true"), ("labs",), ("down",), ("up",)):
            ran = emulab(VICTIM, *command)
            assert ran.returncode == 1 and "belongs to another user" in ran.stderr, ran
        assert impostor.stdout is not None
        impostor.kill()
        assert impostor.stdout.read() == "", "something was said to it"


@pytest.mark.root
def test_a_base_that_is_exchanged_for_a_link_while_commands_run(
    trap: Path, public: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The link leads to another folder of the victim's own labs, dead ones, which its commands would sweep there."""
    real = public / "labs"
    real.mkdir(mode=0o700)
    os.chown(real, VICTIM, VICTIM)
    made = emulab(VICTIM, "labs", EMULAB_RUN_DIR=str(real))
    assert made.returncode == 0
    script = "from emulab.lab.folders import rundir\nrundir.make('a')\nrundir.make('b')\nprint('ready', flush=True)"
    with monkeypatch.context() as changed:
        changed.setenv("EMULAB_RUN_DIR", str(real))
        with program(VICTIM, script):
            pass
    before = contents(real)
    assert len(before) == 9
    link = Path(f"{trap}-link")
    link.symlink_to(real)
    os.lchown(link, HOSTILE, HOSTILE)
    looking = """
import sys, time
from emulab.errors import UserError
from emulab.lab.folders import rundir
print("ready", flush=True)
end, refused = time.monotonic() + 30, 0
for _ in range(2000):
    try:
        rundir.sweep_dead()
        rundir.claim("a")
    except UserError as error:
        refused += 1
        assert "another user" in str(error) or "symbolic link" in str(error), error
    except FileNotFoundError:
        pass
    if time.monotonic() > end:
        break
print(refused)
"""
    try:
        with (
            program(HOSTILE, EXCHANGE, "/tmp", trap.name, link.name),
            program(VICTIM, looking) as victim,
        ):
            assert victim.stdout is not None
            assert int(victim.stdout.read()) > 100
        assert contents(real) == before
    finally:
        subprocess.run(["rm", "-rf", str(link)])


@pytest.mark.root
def test_root_is_not_led_astray_by_a_users_folder(public: Path) -> None:
    real = public / "labs"
    real.mkdir(mode=0o700)
    os.chown(real, VICTIM, VICTIM)
    for command in (("labs",), ("down", "--all"), ("up",)):
        ran = emulab(0, *command, EMULAB_RUN_DIR=str(real))
        assert ran.returncode == 1 and f"{real} belongs to another user" in ran.stderr

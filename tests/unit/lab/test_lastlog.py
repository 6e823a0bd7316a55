"""What a crashed lab said last is kept, bounded, and told."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from emulab.cli import main
from emulab.errors import UserError
from emulab.kernel.cgroups import sweeping
from emulab.lab.client.client import connect
from emulab.lab.folders import lastlog, rundir


@pytest.fixture(autouse=True)
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EMULAB_RUN_DIR", str(tmp_path / "run"))
    monkeypatch.setattr(sweeping, "swept_folders", tuple)
    return tmp_path / "run"


def crashed(name: str, log: str | bytes, at: int = 1_700_000_000) -> Path:
    path = rundir.make(name)
    text = log if isinstance(log, bytes) else log.encode()
    (path / "supervisor.log").write_bytes(text)
    os.utime(path / "supervisor.log", (at, at))
    return path


def test_the_next_command_tells_how_it_ended(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = crashed("x", "one\nMemoryError\n\n")
    for _ in range(2):
        assert main(["-l", "x", "get", "pods"]) == 1
        assert capsys.readouterr().err == (
            "emulab: lab 'x' is not up; it was last heard of at 2023-11-14T22:13:20Z, "
            "and the last line of its log is: MemoryError "
            f"(log: {base}/x.log); start it with: emulab -l x up\n"
        )
    assert not path.exists() and (base / "x.log").read_text().endswith("\none\nMemoryError\n\n")
    assert (base / "x.log").stat().st_mode & 0o777 == 0o600
    assert main(["-l", "y", "get", "pods"]) == 1
    assert capsys.readouterr().err == "emulab: lab 'y' is not up; start it with: emulab -l y up\n"


@pytest.mark.parametrize(
    ("meant", "begins"), [("", "emulab"), ("default", "emulab"), ("shop", "emulab -l default")]
)
def test_the_lab_that_is_meant_without_a_name_needs_none(
    base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], meant: str, begins: str
) -> None:
    monkeypatch.setenv("EMULAB_LAB", meant)
    assert main(["-l", "default", "get", "pods"]) == 1
    assert capsys.readouterr().err == f"emulab: lab 'default' is not up; start it with: {begins} up\n"


def test_down_tells_it_and_forgets_it(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    crashed("x", "MemoryError")
    assert main(["-l", "x", "down"]) == 0
    assert (
        capsys.readouterr().out
        == "lab x is down: it was last heard of at 2023-11-14T22:13:20Z, and the last line of its log is: MemoryError\n"
    )
    assert list(base.iterdir()) == []
    assert main(["-l", "x", "down"]) == 0
    assert capsys.readouterr().out == "lab x is not up: nothing to do\n"


def test_down_all_forgets_all(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("b", "a"):
        crashed(name, "MemoryError")
    main(["labs"])
    capsys.readouterr()
    assert main(["down", "--all"]) == 0
    assert re.findall(r"lab (\w) is down: ", capsys.readouterr().out) == ["a", "b"]
    assert list(base.iterdir()) == []


def test_starting_it_again_keeps_it_and_ending_in_order_does_not(base: Path) -> None:
    crashed("x", "MemoryError")
    path, lock = rundir.claim("x")
    assert (base / "x.log").exists() and not (path / "supervisor.log").exists()
    rundir.remove(path, lock, keep_log=False)
    os.close(lock)
    assert list(base.iterdir()) == []


def test_a_lab_without_a_word_leaves_no_log(base: Path) -> None:
    crashed("x", "\n \n")
    rundir.sweep_dead()
    assert list(base.iterdir()) == []


def test_only_the_end_of_it_and_only_the_newest_are_kept(base: Path) -> None:
    for number in range(30):
        crashed(f"lab-{number}", b"x" * 1_000_000 + b"\nlast line", at=1_700_000_000 + number)
        rundir.sweep_dead()
    left = sorted(p.name for p in base.iterdir() if p.suffix == ".log")
    assert left == sorted(f"lab-{number}.log" for number in range(10, 30))
    assert all((base / name).stat().st_size < 70_000 for name in left)
    assert lastlog.how_it_ended(base / "lab-29").startswith(
        "it was last heard of at 2023-11-14T22:13:49Z, and the last line of its log is: last line (log: "
    )


def test_what_a_terminal_would_obey_is_shown_as_text(base: Path) -> None:
    crashed("x", b"\x1b[2Jgone\x07 \xff \xe2\x80\xae" + b"y" * 1000)
    rundir.sweep_dead()
    told = lastlog.how_it_ended(base / "x")
    assert r": \x1b[2Jgone\x07 " in told and r"\u202e" in told and told.isprintable() and len(told) < 700


def test_a_file_of_somebody_else_is_no_log(base: Path) -> None:
    rundir.make("y")
    (base / "x.log").write_text("mine\n")
    assert lastlog.how_it_ended(base / "x") == "" and lastlog.kept(base) == []
    lastlog.forget(base / "x")
    with pytest.raises(UserError, match=r"^lab 'x' is not up; start it with"):
        connect("x")
    assert (base / "x.log").read_text() == "mine\n"


def test_a_dead_lab_that_nobody_has_swept_tells_it_too(base: Path) -> None:
    """From Python, nothing sweeps before it asks."""
    crashed("x", "MemoryError")
    with pytest.raises(
        UserError,
        match="it was last heard of at 2023-11-14T22:13:20Z, and the last line of its log is: MemoryError",
    ):
        connect("x")

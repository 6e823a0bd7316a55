"""Standard streams that are full, closed or no text, and files that are none: one line, status 1, no traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EMULAB = f"{sys.executable} -m emulab"
FULL, CLOSED = "No space left on device", "Bad file descriptor"
PRINTING = [
    "plan",
    "plan -o json",
    "labs",
    "labs -o json",
    "doctor",
    "down",
    "--help",
    "get --help",
    "--version",
]


@pytest.fixture(autouse=True)
def run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMULAB_RUN_DIR", str(tmp_path / "run"))


def shell(line: str, stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
    return subprocess.run(line, shell=True, capture_output=True, text=True, input=stdin.decode("latin-1"))


@pytest.mark.parametrize("words", PRINTING)
@pytest.mark.parametrize(("where", "why"), [(">/dev/full", FULL), (">&-", CLOSED)])
def test_what_cannot_be_written_is_one_line(words: str, where: str, why: str) -> None:
    done = shell(f"{EMULAB} {words} {where}")
    assert (done.returncode, done.stderr) == (1, f"emulab: standard output can't be written: {why}\n")


@pytest.mark.parametrize("words", ["labs", "plan", "plan /nowhere", "plan -o nonsense", "--help"])
def test_where_nobody_can_be_told_the_status_is_the_same(words: str) -> None:
    usual = shell(f"{EMULAB} {words}")
    for where in ("2>/dev/full", "2>&-"):
        done = shell(f"{EMULAB} {words} {where}")
        assert (done.returncode, done.stdout, done.stderr) == (usual.returncode, usual.stdout, "")
    for where in (">/dev/full 2>&1", ">&- 2>&-"):
        done = shell(f"{EMULAB} {words} {where}")
        assert (done.returncode, done.stdout + done.stderr) == (usual.returncode or 1, "")


def test_what_went_wrong_before_is_what_is_told() -> None:
    done = shell(f"{EMULAB} plan /nowhere >/dev/full")
    assert (done.returncode, done.stderr) == (1, "emulab: /nowhere: No such file or directory\n")


def test_what_the_encoding_lacks_is_written_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    (tmp_path / "a.yaml").write_text("apiVersion: v1\nkind: é\nmetadata: {name: x}\n")
    done = shell(f"{EMULAB} plan {tmp_path}")
    assert done.returncode == 1 and "Traceback" not in done.stderr and r"\xe9" in done.stderr


@pytest.mark.parametrize(
    ("stdin", "why"),
    [
        ("<&-", "it is closed"),
        ("</dev/zero", "larger than 64 MiB"),
        ("</dev/null", "there is no object in it"),
    ],
)
def test_odd_standard_input(stdin: str, why: str) -> None:
    done = shell(f"{EMULAB} plan - {stdin}")
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("emulab: (stdin):") and why in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("verb", "data", "why"),
    [
        ("plan", b"\xff\xfe\x00", "this is not text in UTF-8"),
        ("plan", b"kind: \xff\n", "this is not text in UTF-8"),
        ("plan", b"a: b\n\x00", "control characters are not allowed"),
        ("plan", b"\x7fELF\x02\x01\x01\x00", "control characters are not allowed"),
        ("plan", bytes(range(256)), "this is not text in UTF-8"),
        # All read files by the same function.
        ("up", b"\xff\xfe\x00", "this is not text in UTF-8"),
        ("run", b"a: b\n\x00", "control characters are not allowed"),
        ("apply -f", bytes(range(256)), "this is not text in UTF-8"),
        ("delete -f", b"\x7fELF\x02\x01\x01\x00", "control characters are not allowed"),
    ],
)
def test_files_that_are_no_text(verb: str, data: bytes, why: str, tmp_path: Path) -> None:
    file = tmp_path / "odd.yaml"
    file.write_bytes(data)
    done = shell(f"{EMULAB} {verb} {file} {'-- true' if verb == 'run' else ''}")
    assert done.returncode == 1 and done.stdout == "" and done.stderr.count("\n") == 1
    if verb in ("plan", "up", "run"):  # the others look for their lab first, or last
        assert done.stderr.startswith(f"emulab: {file}:") and why in done.stderr
    assert not (tmp_path / "run").exists() or not any((tmp_path / "run").glob("*/lock"))


def test_a_pipe_is_read_and_what_is_no_file_is_named(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.yaml"
    os.mkfifo(pipe)
    done = shell(
        f"cat {Path(__file__).resolve().parents[3]}/topologies/shop.yaml >{pipe} & {EMULAB} plan {pipe}"
    )
    assert done.returncode == 0 and "namespace client" in done.stdout
    (tmp_path / "socket.yaml").symlink_to("/nowhere")
    for name, why in (
        ("socket.yaml", "No such file"),
        ("", "no manifests"),
        ("pipe.yaml/x", "Not a directory"),
    ):
        done = shell(f"{EMULAB} plan {tmp_path / name}")
        assert done.returncode == 1 and done.stderr.count("\n") == 1
        assert done.stderr.startswith(f"emulab: {tmp_path / name}") and why in done.stderr

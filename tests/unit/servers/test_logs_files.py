"""One bounded log: real pipes, real files, and a file system that is full."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from emulab.servers.logs.files import LogFile
from emulab.servers.logs.marks import MarkFile, read_marks


class Printed:
    """A log in a folder, and the pipe that leads to it."""

    def __init__(self, folder: Path, **bounds: int) -> None:
        self.path = folder / "a.log"
        self._folder = os.open(folder, os.O_RDONLY)
        self.pipe, self.end = os.pipe()
        os.set_blocking(self.pipe, False)
        self.bounds = bounds
        self.file = LogFile(self._folder, "a.log", **bounds)

    def reopen(self) -> None:
        """What a process that was killed leaves to the next one."""
        self.file.close()
        self.file = LogFile(self._folder, "a.log", **self.bounds)

    def print(self, text: str) -> None:
        """Prints, and takes all of it."""
        os.write(self.end, text.encode())
        try:
            while True:
                self.file.take(self.pipe)
        except BlockingIOError:
            return

    def text(self, number: int = 0) -> str:
        return self.path.with_name(f"a.log.{number}" if number else "a.log").read_text()

    def names(self) -> list[str]:
        return sorted(path.name for path in self.path.parent.iterdir())

    def close(self) -> None:
        self.file.close()
        for fd in (self.end, self.pipe, self._folder):
            os.close(fd)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Printed]:
    printed = Printed(tmp_path, limit=1000, files=4)
    yield printed
    printed.close()


def lines(first: int, last: int) -> str:
    """Lines of ten octets each."""
    return "".join(f"{n:09}\n" for n in range(first, last))


def test_what_is_printed_is_there_and_goes_on_after_a_restart(log):
    log.print("one\n")
    log.reopen()
    log.print("two\n")
    assert log.text() == "one\ntwo\n" and log.path.stat().st_mode & 0o777 == 0o600


def test_a_full_log_makes_room_and_the_oldest_goes(log):
    log.print(lines(0, 1000))
    # each file is full, also the newest one: nothing more has come
    assert [log.text(n) for n in (3, 2, 1, 0)] == [lines(n, n + 100) for n in (600, 700, 800, 900)]
    assert log.names() == ["a.log", "a.log.1", "a.log.2", "a.log.3"]


def test_the_last_words_are_in_the_newest_file(log):
    os.write(log.end, lines(0, 100).encode())
    assert log.file.take(log.pipe) == 1000
    os.close(log.end)
    assert log.file.take(log.pipe) == 0 and log.text() == lines(0, 100)
    log.end = os.dup(log.pipe)


def test_a_line_is_whole_in_the_file_that_it_ends_in(log):
    log.print("x" * 9 + "\n" + lines(0, 98) + "a line that has no room")
    log.print(", which goes on\n")
    assert log.text(1) == "x" * 9 + "\n" + lines(0, 98)
    assert log.text() == "a line that has no room, which goes on\n"


def test_a_line_without_end_is_cut(log):
    log.print("x" * 2500)
    assert [len(log.text(n)) for n in (2, 1, 0)] == [1000, 1000, 500]


def test_the_newest_file_is_there_at_every_moment(log):
    found = []
    for n in range(300):
        log.print(lines(n, n + 1))
        found.append(log.path.exists())
    assert all(found)


def test_a_log_that_grew_beyond_its_limit_is_taken_on(log):
    log.path.write_text(lines(0, 500))
    log.print(lines(500, 510))
    assert log.text(1) == lines(0, 500) and log.text() == lines(500, 510)


def test_removing_takes_the_older_files_too(log):
    log.print(lines(0, 1000))
    log.file.remove()
    assert log.names() == []


def test_a_link_is_not_followed(log, tmp_path):
    other = tmp_path / "other"
    other.write_text("mine")
    log.path.symlink_to(other)
    log.print("one\n")
    assert other.read_text() == "mine"
    log.path.unlink()
    log.print("two\n")
    assert log.text() == "emulab: 1 lines were dropped: Too many levels of symbolic links\ntwo\n"


def test_where_the_file_system_can_not_splice_it_is_copied(log):
    log.file._splices = False
    log.print(lines(0, 150))
    assert log.text(1) == lines(0, 100) and log.text() == lines(100, 150)


FULL = """
import sys; sys.path[:0] = {path!r}
import os, pathlib
from test_logs_files import Printed, lines
folder = pathlib.Path({folder!r})
log = Printed(folder, limit=1 << 20, files=4)
log.file._splices = {splices}
(folder / "other").write_bytes(b"x" * (200 << 10))
for n in range(0, 50_000, 1000):
    log.print(lines(n, n + 1000))
size = log.path.stat().st_size
assert size < 100 << 10, size
(folder / "other").unlink()
log.print("there is room again\\n")
first, note, last = log.text().rpartition("emulab: ")[0], *log.text().splitlines()[-2:]
kept = first.count("\\n") + (not first.endswith("\\n"))
assert abs(50_000 - kept - int(note.rpartition("emulab: ")[2].split()[0])) <= 50, (kept, note)
assert note.endswith(" lines were dropped: No space left on device") and last == "there is room again", note
"""


@pytest.mark.parametrize("splices", [True, False])
def test_what_a_full_disk_has_no_room_for_is_dropped_and_counted(tmp_path: Path, splices: bool):
    code = FULL.format(path=sys.path, folder=str(tmp_path), splices=splices)
    mount = ("sh", "-c", f'mount -t tmpfs -o size=256k none {tmp_path} && exec "$0" "$@"')
    done = subprocess.run(
        ["unshare", "-Urm", *mount, sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_marks_say_when_it_came_and_where_lives_begin_in_whatever_file_is_the_newest(tmp_path: Path) -> None:
    folder = os.open(tmp_path, os.O_RDONLY)
    reading, end = os.pipe()
    os.set_blocking(reading, False)
    log = LogFile(folder, "a.log", limit=60, files=3, marks=MarkFile(folder, "a.log"))
    before = time.time_ns()
    for life in range(3):
        log.begin()
        os.write(end, f"life {life} of many\n".encode())
        log.take(reading)
        time.sleep(0.002)
    marks = read_marks(tmp_path / "a.log")
    assert [mark.offset for mark in marks if mark.begins] == [0, 15, 30]
    assert marks == sorted(marks) and before <= marks[0].time <= marks[-1].time <= time.time_ns()
    os.write(end, b"a line that begins here and ends behind it\n")  # which makes a new file of its beginning
    for _ in range(3):
        with suppress(BlockingIOError):
            log.take(reading)
    marks = read_marks(tmp_path / "a.log")
    assert marks[0].offset == 0 and not any(mark.begins for mark in marks)
    assert (tmp_path / "a.log").read_text() == "a line that begins here and ends behind it\n"
    older = read_marks(tmp_path / "a.log.1")
    assert [mark.offset for mark in older if mark.begins] == [0, 15, 30] and older == sorted(older)
    log.begin()
    assert read_marks(tmp_path / "a.log")[-1].offset == 43
    os.write(end, b"x" * 50 + b"\n")
    for _ in range(3):
        with suppress(BlockingIOError):
            log.take(reading)
    assert read_marks(tmp_path / "a.log.2") == older
    assert read_marks(tmp_path / "a.log.1") != older
    log.remove()
    assert not list(tmp_path.iterdir())
    for fd in (folder, reading, end):
        os.close(fd)

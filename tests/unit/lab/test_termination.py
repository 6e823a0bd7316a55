"""What the end of a container's log says of why it ended."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from emulab.lab.kubelet.termination import from_log, last_words
from emulab.servers.logs.marks import MarkFile


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "a.log"


def begin_life(log: Path) -> None:
    folder = os.open(log.parent, os.O_RDONLY)
    marks = MarkFile(folder, log.name)
    marks.begin(log.stat().st_size if log.exists() else 0)
    marks.close()
    os.close(folder)


def test_without_a_log_there_is_nothing(log: Path) -> None:
    assert (from_log(log), last_words(log)) == ("", "")


def test_as_much_as_a_kubelet_takes(log: Path) -> None:
    log.write_text("".join(f"{n}\n" for n in range(200)))
    assert from_log(log) == "".join(f"{n}\n" for n in range(120, 200))
    log.write_text("x" * 3000 + "\nand")
    assert from_log(log) == "x" * 2044 + "\nand"
    assert last_words(log) == "and"


def test_words_of_the_life_before_are_not_those_of_this_one(log: Path) -> None:
    begin_life(log)
    log.write_text("why\n")
    assert last_words(log) == "why"
    begin_life(log)
    assert (from_log(log), last_words(log)) == ("", "")
    with log.open("a") as more:
        more.write("because\n \n")
    assert (from_log(log), last_words(log)) == ("because\n \n", "because")

"""Exercises: however each is broken, its checks find that; and what is told as the solution mends it."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from emulab.exercises import library
from emulab.exercises.exercise import Exercise

from .tools import emulab, eventually

EXERCISES = {name: library.exercise(name) for name in library.names()}
WAYS = [(name, seed) for name, exercise in EXERCISES.items() for seed in range(len(exercise.breakages))]
LAB = f"e2e-{os.getpid()}-exercise"


@pytest.fixture
async def lab() -> AsyncIterator[str]:
    yield LAB
    await emulab("-l", LAB, "down")


async def checked(lab: str) -> bool:
    done = await emulab("-l", lab, "lab", "check", "-o", "json")
    found = json.loads(done.stdout)
    assert done.status == (0 if found["mended"] else 1) and len(found["checks"]) >= 1
    return bool(found["mended"])


@pytest.mark.parametrize(("name", "seed"), WAYS)
async def test_what_is_broken_is_found_and_mended(lab: str, name: str, seed: int, tmp_path: Path) -> None:
    exercise: Exercise = EXERCISES[name]
    begun = await emulab("-l", lab, "lab", "start", name, "--seed", str(seed))
    assert begun.status == 0, begun.stderr
    assert exercise.task.splitlines()[0].encode() in begun.stdout

    async def broken() -> bool:
        return not await checked(lab)

    await eventually(broken)
    told = json.loads((await emulab("-l", lab, "lab", "solution", "-o", "json")).stdout)
    file = tmp_path / "mended.yaml"
    file.write_text(told["manifest"])
    assert told["mend"], "somebody has to be able to mend it"
    for line in told["mend"]:
        done = await emulab("-l", lab, *shlex.split(line.format(file=file)))
        assert done.status == 0, done.stderr

    async def mended() -> bool:
        return await checked(lab)

    await eventually(mended)


async def test_hints_come_one_after_the_other(lab: str) -> None:
    assert (await emulab("-l", lab, "lab", "start", "closed-port", "--seed", "1")).status == 0
    hints = EXERCISES["closed-port"].hints
    for number in range(len(hints)):
        done = await emulab("-l", lab, "lab", "hint")
        assert done.stdout.decode().startswith(f"Hint {number + 1} of {len(hints)}: ")
    done = await emulab("-l", lab, "lab", "hint")
    assert (done.status, done.stdout) == (
        1,
        b"There are no more hints; `emulab lab solution` tells what is wrong\n",
    )
    task = await emulab("-l", lab, "lab", "task")
    assert task.stdout.decode().strip() == EXERCISES["closed-port"].task
    shown = (await emulab("-l", lab, "lab", "check")).stdout.decode()
    assert (
        shown.startswith("no   a client gets the shop: http://shop.test/ from client: 50")
        and "Not yet." in shown
    )


async def test_what_is_no_exercise_says_so(lab: str) -> None:
    done = await emulab("-l", lab, "lab", "check")
    assert (done.status, b"is no exercise; begin one" in done.stderr) == (1, True)
    done = await emulab("-l", lab, "lab", "start", "closed-prot")
    assert (done.status, b"did you mean closed-port?" in done.stderr) == (1, True)
    for said in ("start", "check now", "check --seed 3", "start closed-port --seed -1"):
        assert (await emulab("-l", lab, "lab", *said.split())).status == 2
    listed = (await emulab("lab", "list")).stdout.decode()
    assert [line.split()[0] for line in listed.splitlines()[1:]] == list(EXERCISES)


def test_there_are_enough_and_each_is_told_of_well() -> None:
    assert len(EXERCISES) >= 10
    for exercise in EXERCISES.values():
        assert exercise.hints and exercise.checks and all(b.solution for b in exercise.breakages)

"""`emulab lab`: exercises: labs that are broken, to be found out and mended."""

from __future__ import annotations

import argparse
import secrets
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from emulab.cli.output.table import table
from emulab.cli.usage import UsageError, add_output
from emulab.errors import UserError
from emulab.lab.client import commandline
from emulab.observe.telling.escapes import as_json

if TYPE_CHECKING:
    from emulab.exercises.exercise import Breakage, Exercise
    from emulab.exercises.progress import ExerciseProgress


def configure(parser: argparse.ArgumentParser) -> None:
    parser.usage = "emulab lab [-l LAB] list | start NAME [--seed N] | task | hint | check | solution"
    add = parser.add_argument
    add("action", choices=_ACTIONS, metavar="|".join(_ACTIONS), help="what to do")
    add("names", nargs="*", metavar="NAME", help="of start: the exercise")
    add("--seed", type=int, metavar="N", help="of start: draws what is broken (default: anything)")
    add_output(parser, "json")


def run(options: argparse.Namespace) -> int:
    if options.seed is not None and options.action != "start":
        raise UsageError("--seed is of lab start alone")
    if options.seed is not None and options.seed < 0:
        raise UsageError("--seed is a number from 0 on")
    if len(options.names) != (options.action == "start"):
        raise UsageError(f"lab {options.action} takes {'a NAME' if options.action == 'start' else 'no NAME'}")
    return _ACTIONS[options.action](options)


def _list(options: argparse.Namespace) -> int:
    from emulab.exercises.library import exercise, names

    found = [exercise(name) for name in names()]
    if options.output == "json":
        print(as_json([{"name": e.name, "title": e.title, "ways": len(e.breakages)} for e in found]))
    else:
        print(table(("NAME", "WHAT IT IS ABOUT"), [[e.name, e.title] for e in found]))
    return 0


def _start(options: argparse.Namespace) -> int:
    import asyncio

    from emulab.exercises import progress
    from emulab.exercises.library import exercise

    chosen = exercise(options.names[0])
    seed = secrets.randbelow(1 << 16) if options.seed is None else options.seed
    asyncio.run(_build(options.lab, chosen, chosen.drawn(seed)))
    progress.write(options.lab, progress.ExerciseProgress(chosen.name, seed))
    if options.output == "json":
        print(as_json({"lab": options.lab, "exercise": chosen.name, "seed": seed, "task": chosen.task}))
    else:
        print(f"exercise {chosen.name} (seed {seed}) is in lab {options.lab}\n\n{chosen.task}\n\nThen:")
        for word in ("hint", "check", "solution"):
            print(f"  {commandline.begun(options.lab)} lab {word}")
    return 0


async def _build(lab: str, exercise: Exercise, broken: Breakage) -> None:
    from emulab.python import Lab

    async with Lab.from_text(exercise.world, name=lab) as built:
        if broken.apply:
            await built.apply(broken.apply, ready=False)
        for place, command in broken.run:
            done = await built.exec(place, "sh", "-c", command)
            if done.status:
                raise UserError(f"{exercise.name}: {command!r} at {place}: {done.stderr.decode()}")
        if broken.then:
            await built.apply(broken.then, ready=False)
        await built.keep()


def _of(options: argparse.Namespace) -> tuple[Exercise, ExerciseProgress]:
    from emulab.exercises import progress
    from emulab.exercises.library import exercise

    known = progress.read(options.lab)
    return exercise(known.name), known


def _task(options: argparse.Namespace) -> int:
    exercise, _ = _of(options)
    print(as_json({"exercise": exercise.name, "task": exercise.task}) if options.output else exercise.task)
    return 0


def _hint(options: argparse.Namespace) -> int:
    from emulab.exercises import progress

    exercise, known = _of(options)
    if known.hints >= len(exercise.hints):
        print("There are no more hints; `emulab lab solution` tells what is wrong")
        return 1
    hint = exercise.hints[known.hints]
    progress.write(options.lab, known._replace(hints=known.hints + 1))
    number = f"{known.hints + 1} of {len(exercise.hints)}"
    print(as_json({"hint": hint, "number": known.hints + 1}) if options.output else f"Hint {number}: {hint}")
    return 0


def _check(options: argparse.Namespace) -> int:
    import asyncio

    from emulab.exercises.checks import holds
    from emulab.python import Lab

    exercise, _ = _of(options)
    lab = Lab([], name=options.lab)

    async def all_of_them() -> list[str]:
        return await asyncio.gather(*(holds(lab, check) for check in exercise.checks))

    found = asyncio.run(all_of_them())
    mended = not any(found)
    if options.output == "json":
        checks = [{"text": c.text, "why": why or None} for c, why in zip(exercise.checks, found, strict=True)]
        print(as_json({"mended": mended, "checks": checks}))
        return 0 if mended else 1
    for check, why in zip(exercise.checks, found, strict=True):
        print(f"{'no ' if why else 'yes'}  {check.text}" + (f": {why}" if why else ""))
    print("\nMended." if mended else "\nNot yet.")
    return 0 if mended else 1


def _solution(options: argparse.Namespace) -> int:
    exercise, known = _of(options)
    broken = exercise.drawn(known.seed)
    if options.output == "json":
        print(as_json({"solution": broken.solution, "mend": broken.mend, "manifest": broken.manifest}))
        return 0
    print(broken.solution)
    if broken.manifest:
        print(f"\n{broken.manifest.strip()}")
    for line in broken.mend:
        print(f"\n  {commandline.begun(options.lab)} {line.format(file='FILE')}")
    return 0


_ACTIONS: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "list": _list,
    "start": _start,
    "task": _task,
    "hint": _hint,
    "check": _check,
    "solution": _solution,
}

"""The tests of real packets are shared out: nothing is lost, and within two days each has run as both users."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import shares
from shares import Share

TESTS = Path(shares.__file__).parent
FILES = [f"tests/e2e/test_{number}.py" for number in range(400)]
NAMES = [f"{file}::test_a" for file in FILES]
DAYS = range(20_000, 20_040)


def taken(user: str, day: int, *marks: str, place: str = "e2e", both: bool = False) -> set[str]:
    share = Share(user, day, both)
    return {name for name in NAMES if share.takes(place, name, marks)}


@pytest.mark.parametrize("day", DAYS)
def test_a_test_is_either_users(day: int) -> None:
    root, user = taken("root", day), taken("user", day)
    assert root | user == set(NAMES) and not root & user
    assert 150 < len(root) < 250


@pytest.mark.parametrize("day", range(20_000, 20_040, 2))
def test_within_two_days_a_test_is_both_users(day: int) -> None:
    assert taken("root", day) == taken("user", day + 1)


def test_whoever_tests_at_each_other_day_meets_both_too() -> None:
    for days in (DAYS[::2], DAYS[1::2], DAYS[::7]):
        halves = [frozenset(taken("root", day)) for day in days]
        assert len(set(halves)) == len(halves)
    assert set.union(*(taken("root", day) for day in DAYS[::2])) == set(NAMES)


def test_the_choice_is_the_same_everywhere() -> None:
    """Python's own hash() differs from process to process."""
    ours = [shares.chosen(file, 7) for file in FILES]
    code = "import shares; print(*(shares.chosen(f'tests/e2e/test_{n}.py', 7) for n in range(400)))"
    theirs = subprocess.check_output([sys.executable, "-c", code], text=True, cwd=TESTS).split()
    assert theirs == ours and {*ours} == {*shares.SHARES}


def test_a_file_is_not_divided() -> None:
    """Its labs are built once."""
    names = [f"{FILES[0]}::test_{number}[{number}]" for number in range(20)]
    assert {Share("root", 7).takes("e2e", name, ()) for name in names} in ({True}, {False})


def test_what_depends_on_privilege_is_both_users() -> None:
    assert taken("root", 1, "privilege") == taken("user", 1, "privilege") == set(NAMES)


@pytest.mark.parametrize("mark", ["root", "both_users"])
@pytest.mark.parametrize("both", [False, True])
def test_what_an_ordinary_user_can_not_have_or_has_had_is_roots(mark: str, both: bool) -> None:
    assert taken("root", 1, mark, both=both) == set(NAMES)
    assert taken("user", 1, mark, both=both) == set()
    assert taken("user", 1, mark, "privilege", both=both) == set()


@pytest.mark.parametrize("place", ["unit", "vm"])
def test_what_is_not_of_real_packets_here_is_roots(place: str) -> None:
    assert taken("root", 1, place=place) == set(NAMES)
    assert taken("user", 1, place=place) == set()


def test_what_needs_the_virtual_machine_is_left_to_it_whole() -> None:
    assert taken("root", 1, "vm") == taken("user", 1, "vm", "privilege") == set(NAMES)


def test_all_may_be_asked_for_as_both_users() -> None:
    assert taken("root", 1, both=True) == taken("user", 1, both=True) == set(NAMES)


def test_without_a_share_nothing_is_left_out() -> None:
    for place, marks in (("unit", ()), ("e2e", ()), ("e2e", ("both_users",)), ("kernel", ("privilege",))):
        assert taken("", 0, *marks, place=place) == set(NAMES)


@pytest.mark.parametrize("day", [20_000, 20_001])
def test_two_users_of_one_test_have_its_parts_by_turns(day: int) -> None:
    for count in (5, 12):
        root, ordinary = ({*Share("root", day).parts(count, who)} for who in (True, False))
        assert root | ordinary == {*range(count)} and not root & ordinary
        assert min(len(root), len(ordinary)) == count // 2
        assert root == {*Share("root", day + 1).parts(count, False)}
        for whole in (Share(), Share("root", day, both=True)):
            assert {*whole.parts(count, True)} == {*whole.parts(count, False)} == {*range(count)}


def test_the_environment_says_which() -> None:
    assert shares.given({}) == Share()
    assert shares.given({"EMULAB_TEST_DAY": "7", "EMULAB_TEST_BOTH": "0"}) == Share()
    asked = {"EMULAB_TEST_SHARE": "user", "EMULAB_TEST_DAY": "20420"}
    assert shares.given(asked) == Share("user", 20420)
    assert shares.given({**asked, "EMULAB_TEST_BOTH": "1"}) == Share("user", 20420, both=True)


@pytest.mark.parametrize(
    ("user", "day", "says"),
    [
        ("nobody", "7", "EMULAB_TEST_SHARE=nobody: must be root or user"),
        ("root", "", "EMULAB_TEST_DAY=: EMULAB_TEST_SHARE=root needs the number of the day"),
        ("user", "Monday", "EMULAB_TEST_DAY=Monday: EMULAB_TEST_SHARE=user needs the number of the day"),
        ("user", "²", "EMULAB_TEST_DAY=²: EMULAB_TEST_SHARE=user needs the number of the day"),
    ],
)
def test_nonsense_is_refused(user: str, day: str, says: str) -> None:
    with pytest.raises(shares.BadShare) as refused:
        shares.given({"EMULAB_TEST_SHARE": user, "EMULAB_TEST_DAY": day})
    assert str(refused.value) == says


SOME_TESTS = """
import pytest

def test_any(): pass

@pytest.mark.privilege
def test_privilege(): pass

@pytest.mark.root
def test_root(): pass

@pytest.mark.both_users
def test_both_users(): pass
"""


def test_pytest_with_workers_leaves_the_others_share_out_and_says_how_many(tmp_path: Path) -> None:
    folder = tmp_path / "tests"
    files = [f"tests/e2e/test_{number}.py" for number in range(6)]
    for file in (*files, "tests/unit/test_unit.py"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(SOME_TESTS)
    for file in ("conftest.py", "shares.py"):
        shutil.copy(TESTS / file, folder)
    shutil.copy(TESTS.parent / "pyproject.toml", tmp_path)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-v",
        "-p",
        "xdist.plugin",
        "-n",
        "1",
        "-p",
        "no:cacheprovider",
    ]
    asked = {"EMULAB_TEST_SHARE": "user", "EMULAB_TEST_DAY": "20420", "EMULAB_TEST_BOTH": ""}
    environment = {**os.environ, **asked, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    ours = {file for file in files if shares.chosen(file, 20420) == "user"}
    assert 0 < len(ours) < 6
    expected = {f"{file}::test_any" for file in ours} | {f"{file}::test_privilege" for file in files}
    assert set(re.findall(r"PASSED (\S+)", done.stdout)) == expected
    says = f"the share of an ordinary user on day 20420: {7 * 4 - len(expected)} tests left to the other user"
    assert says in done.stdout


def test_what_failed_is_written_down_but_not_what_tests_start_themselves(tmp_path: Path) -> None:
    """scripts/test tries those of the file a second time."""
    (tmp_path / "tests" / "unit").mkdir(parents=True)
    (tmp_path / "tests" / "unit" / "test_some.py").write_text(
        "import os, pytest\n"
        "def test_passes(): assert 'EMULAB_TEST_FAILED' not in os.environ\n"
        "@pytest.mark.parametrize('a', ['x y'])\n"
        "def test_fails(a): assert a == 'z'\n"
        "@pytest.fixture\ndef broken(): raise OSError\n"
        "def test_has_no_place(broken): pass\n"
    )
    for file in ("conftest.py", "shares.py"):
        shutil.copy(TESTS / file, tmp_path / "tests")
    shutil.copy(TESTS.parent / "pyproject.toml", tmp_path)
    command = [sys.executable, "-m", "pytest", "-p", "xdist.plugin", "-n", "1", "-p", "no:cacheprovider"]
    environment = {**os.environ, "EMULAB_TEST_FAILED": str(tmp_path / "failed"), "EMULAB_TEST_SHARE": ""}
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 1, done.stdout + done.stderr
    prefix = "tests/unit/test_some.py::"
    assert (tmp_path / "failed").read_text().splitlines() == [
        f"{prefix}test_fails[x y]",
        f"{prefix}test_has_no_place",
    ]

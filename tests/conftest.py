"""Shares the tests of real packets out between root and an ordinary user, and says how many were left to the other.

What failed is written into the file that EMULAB_TEST_FAILED names, a test a line.
"""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import Any

import pytest
import shares

TESTS = Path(__file__).resolve().parent
SHARE = pytest.StashKey[shares.Share]()
LEFT_OUT = pytest.StashKey[int]()
FAILED = pytest.StashKey[str]()
LONGEST = (
    *("test_docs.py", "test_exercises.py", "test_crash.py", "test_full_disk.py", "test_unanswered.py"),
    *(
        "test_crash_starting.py",
        "test_runtimes.py",
        "test_compare.py",
        "test_trace_modes.py",
        "test_benchmarks.py",
    ),
    *("test_trace_evidence.py", "test_proxy_modes.py", "test_trace_wires.py", "test_trace_objects.py"),
    *("test_kubelet.py", "test_cni.py", "test_containers.py"),
)
"""Files that take a quarter of a minute and more. They are begun with, so that no worker has one left at the end."""


gc.set_threshold(100_000, 10, 10)
"""As `python -m emulab` has it. Eleven thousand tests that were collected are all looked through for cycles else, again
and again."""


def pytest_configure(config: pytest.Config) -> None:
    # What somebody has loaded on this machine is run in the place of stand-ins: tests load their own.
    os.environ["EMULAB_IMAGE_DIR"] = f"/nonexistent/images-of-tests-{os.getpid()}"
    try:
        config.stash[SHARE] = shares.given(os.environ)
    except shares.BadShare as bad:
        raise pytest.UsageError(str(bad)) from None
    config.stash[LEFT_OUT] = 0
    # Not for those that tests start.
    config.stash[FAILED] = os.environ.pop("EMULAB_TEST_FAILED", "")


@pytest.hookimpl(trylast=True)  # what is left out by -m and -k is nobody's
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what the other user has today; and, whoever shares, what an ordinary user can't have, and what a
    lab has nothing of (`not_in`)."""
    share = config.stash[SHARE]
    taken, left = [], []
    for item in items:
        marks = {mark.name for mark in item.iter_markers()}
        place, *_ = item.path.relative_to(TESTS).parts
        able = (os.geteuid() == 0 or "root" not in marks) and not _is_empty(item)
        (taken if able and share.takes(place, item.nodeid, marks) else left).append(item)
    config.hook.pytest_deselected(items=left)
    items[:] = sorted(
        taken, key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else 99
    )
    config.stash[LEFT_OUT] = len(left)
    if hasattr(config, "workeroutput"):  # xdist's way to its controller, which collects nothing itself
        config.workeroutput["left_out"] = len(left)


def pytest_collection_finish() -> None:
    """What is collected stays, so nobody needs to look whether it could go."""
    gc.collect()
    gc.freeze()


def _is_empty(item: pytest.Item) -> bool:
    """Whether there is nothing to test in the lab that the case would have."""
    return any(mark.args[0](item.callspec.params["lab"]) for mark in item.iter_markers("not_in"))  # type: ignore[attr-defined]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Every worker of xdist has left out the same."""
    config: pytest.Config = node.config
    config.stash[LEFT_OUT] = max(config.stash[LEFT_OUT], getattr(node, "workeroutput", {}).get("left_out", 0))


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    share = config.stash[SHARE]
    stats = terminalreporter.stats
    names = {report.nodeid for word in ("failed", "error") for report in stats.get(word, ())}
    if config.stash[FAILED] and names:  # scripts/test tries them a second time
        Path(config.stash[FAILED]).write_text("".join(f"{name}\n" for name in sorted(names)))
    if share.user:
        number = config.stash[LEFT_OUT]
        terminalreporter.write_sep("=", f"{share}: {number} tests left to the other user")

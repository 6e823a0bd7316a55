"""What pytest sees of emulab: options, the marker, fixtures and what a report says (docs/pytest.md).

Every run of pytest loads this where emulab is installed: nothing of emulab is imported until a lab is asked for.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from emulab.testing import watched

FIXTURES = {"emulab_lab": pytest.Item, "emulab_module_lab": pytest.Module}
"""Whose marker is meant: a test's closest one, or its module's `pytestmark`."""

_LOOP = pytest.StashKey["watched.Loop"]()
_KEPT = pytest.StashKey[list[str]]()
_PROBLEMS = pytest.StashKey[dict[str, str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("emulab")
    group.addoption(
        "--emulab-keep", action="store_true", help="leave labs up, and say how to get at them and end them"
    )
    group.addoption(
        "--emulab-require",
        action="store_true",
        help="where the kernel refuses labs: fail instead of skipping",
    )
    parser.addini("emulab_require", "as --emulab-require", type="bool", default=False)


def pytest_configure(config: pytest.Config) -> None:
    _leave_unrewritten(config)
    config.stash[_KEPT] = []
    config.stash[_PROBLEMS] = {}
    config.addinivalue_line(
        "markers",
        "emulab(*manifests, proxy=None, timeout=60): the manifests of a test's lab (paths from the test file, YAML"
        " texts or dicts); proxy: a mode, a list of modes or 'all', one test each",
    )


def _leave_unrewritten(config: pytest.Config) -> None:
    """Has modules of emulab imported as they are.

    pytest reads and rewrites all modules of a package that has a plugin, for the sake of their asserts. Those of emulab
    are loaded when they are asked for, by several threads at once, and in Python 3.11 two threads can't read syntax
    trees at a time: "AST constructor recursion depth mismatch" (https://github.com/python/cpython/issues/106905).
    """
    hook = getattr(config.pluginmanager, "rewrite_hook", None)
    marked: set[str] = getattr(hook, "_must_rewrite", set())
    known: dict[str, bool] = getattr(hook, "_marked_for_rewrite_cache", {})
    marked.discard("emulab")
    for name in [name for name in known if name.partition(".")[0] == "emulab"]:
        del known[name]


# --- which lab ------------------------------------------------------------------------------------------------


def _marker(node: Any, fixture: str) -> pytest.Mark:
    where = node.getparent(pytest.Module) if FIXTURES[fixture] is pytest.Module else node
    found: pytest.Mark | None = where.get_closest_marker("emulab") if where is not None else None
    mark = found or pytest.mark.emulab().mark
    unknown = mark.kwargs.keys() - {"proxy", "timeout"}
    if unknown:
        names = ", ".join(sorted(unknown))
        pytest.fail(
            f"{node.nodeid}: the marker emulab has no {names}; it has proxy and timeout", pytrace=False
        )
    timeout = mark.kwargs.get("timeout", 60)
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or timeout < 0:
        pytest.fail(
            f"{node.nodeid}: the timeout of the marker emulab is a number of seconds, not {timeout!r}",
            pytrace=False,
        )
    return mark


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each proxy mode that is asked for."""
    fixture = next((name for name in FIXTURES if name in metafunc.fixturenames), None)
    if fixture is None:
        return
    asked = _marker(metafunc.definition, fixture).kwargs.get("proxy")
    if asked is None:
        return
    from emulab.errors import UserError
    from emulab.testing.manifests import modes

    try:
        found = modes(asked)
    except UserError as error:
        # not `pytest.fail`, whose report would have this error besides
        raise pytest.fail.Exception(f"{metafunc.definition.nodeid}: {error}", pytrace=False) from None
    if isinstance(asked, str) and asked != "all":
        return
    metafunc.parametrize("emulab_proxy", found, ids=found, indirect=True, scope="module")


@pytest.fixture(scope="module")
def emulab_proxy(request: pytest.FixtureRequest) -> str:
    """The proxy mode of a test that runs in several; "" in others."""
    return str(getattr(request, "param", ""))


@pytest.fixture
def emulab_lab(request: pytest.FixtureRequest, emulab_proxy: str) -> Iterator[watched.WatchedLab]:
    """A lab of the test's own, of the manifests in its marker `emulab`."""
    yield from _lab(request, "emulab_lab", emulab_proxy)


@pytest.fixture(scope="module")
def emulab_module_lab(request: pytest.FixtureRequest, emulab_proxy: str) -> Iterator[watched.WatchedLab]:
    """A lab that the tests of a module share, of the manifests in the module's `pytestmark`."""
    yield from _lab(request, "emulab_module_lab", emulab_proxy)


def _lab(request: pytest.FixtureRequest, fixture: str, proxy: str) -> Iterator[watched.WatchedLab]:
    from emulab.errors import EmulabError
    from emulab.testing import manifests, watched

    mark, config = _marker(request.node, fixture), request.config
    if _LOOP not in config.stash:
        config.stash[_LOOP] = watched.Loop()
    loop, mode = config.stash[_LOOP], proxy or str(mark.kwargs.get("proxy") or "")
    if mode:
        _refuse(config, mode)
    try:
        given = manifests.read(mark.args, request.path.parent, mode)
        lab = watched.WatchedLab(given, _name(), float(mark.kwargs.get("timeout", 60)))
        lab.blocking = watched.Blocking(lab, loop)
        loop.run(lab.__aenter__())
    except EmulabError as error:
        _refuse(config, mode)
        told = lab.unready if "lab" in locals() else ""
        pytest.fail(f"the lab didn't come up: {error}" + (f"\n{told}" if told else ""), pytrace=False)
    try:
        yield lab
    finally:
        if config.getoption("--emulab-keep"):
            loop.run(lab.keep())
            config.stash[_KEPT].append(watched.how_to_enter(lab))
        loop.run(lab.__aexit__(None, None, None))


def _name() -> str:
    """A name that no other worker or run of this machine has."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    return f"py-{os.getpid()}-{worker}-{secrets.token_hex(3)}"


def _refuse(config: pytest.Config, mode: str) -> None:
    """Skips, or fails where labs are required, when the kernel refuses them. It is asked once for each mode."""
    from emulab.testing.watched import problem

    known = config.stash[_PROBLEMS]
    if mode not in known:
        known[mode] = config.stash[_LOOP].run(problem(mode))
    if not known[mode]:
        return
    if config.getoption("--emulab-require") or config.getini("emulab_require"):
        pytest.fail(f"emulab: {known[mode]}", pytrace=False)
    pytest.skip(f"emulab: {known[mode]}")


# --- what a report says -----------------------------------------------------------------------------------------


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Adds to a failed test's report what its labs know, while they are still up."""
    outcome: Any = yield
    report: pytest.TestReport = outcome.get_result()
    if report.when != "call" or not report.failed:
        return
    names = [name for name in FIXTURES if name in getattr(item, "funcargs", {})]
    if not names:
        return
    from emulab.testing.watched import evidence

    for name in names:
        lab: watched.WatchedLab = item.funcargs[name]  # type: ignore[attr-defined]
        for title, text in item.config.stash[_LOOP].run(evidence(lab)):
            report.sections.append((f"emulab lab {lab.name}: {title}", text))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hands what a worker of xdist has kept to its controller, which alone writes a summary."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["emulab_kept"] = session.config.stash[_KEPT]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    node.config.stash[_KEPT] += getattr(node, "workeroutput", {}).get("emulab_kept", [])


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if config.stash[_KEPT]:
        terminalreporter.section("emulab: labs that were kept")
        for line in config.stash[_KEPT]:
            terminalreporter.write_line(line)

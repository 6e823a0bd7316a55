"""The pytest plugin, in runs of pytest of its own with real labs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from emulab.kernel.processes.launch import import_path

from .tools import TOPOLOGIES

pytest_plugins = ["pytester"]

PLUGIN = "emulab.testing.plugin"
INSTALLED = any(e.value == PLUGIN for e in entry_points(group="pytest11"))
SHOP = f'"{TOPOLOGIES}/shop.yaml"'


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.setenv("PYTHONPATH", import_path())
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    loaded = "" if INSTALLED else f"addopts = -p {PLUGIN}\n"
    pytester.makeini(
        f"[pytest]\n{loaded}asyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n"
    )
    return pytester


def labs() -> list[str]:
    return sorted(p.name for p in Path(os.environ["EMULAB_RUN_DIR"]).iterdir() if p.is_dir())


def test_it_is_declared() -> None:
    declared = tomllib.loads((TOPOLOGIES.parent / "pyproject.toml").read_text())
    assert declared["project"]["entry-points"]["pytest11"] == {"emulab": PLUGIN}


def test_it_loads_nothing_until_a_lab_is_asked_for() -> None:
    program = f"import sys, pytest, {PLUGIN}\nprint(*(m for m in sys.modules if m.startswith('emulab')))"
    loaded = subprocess.check_output([sys.executable, "-c", program], text=True).split()
    assert loaded == ["emulab", "emulab.testing", PLUGIN]


def test_modules_of_emulab_are_imported_as_they_are(run: pytest.Pytester) -> None:
    """Threads import them, too, and two can't rewrite at a time in Python 3.11."""
    run.makepyfile(
        """
        import emulab.model.quantity as late

        def test_it():
            assert "Rewriting" not in type(late.__spec__.loader).__name__, late.__spec__.loader
            assert late.__cached__ is None or "pytest" not in late.__cached__
        """
    )
    run.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)


def test_a_failure_is_told_with_its_evidence(run: pytest.Pytester) -> None:
    run.makepyfile(f"""
        import pytest

        @pytest.mark.emulab({SHOP})
        def test_it(emulab_lab):
            assert emulab_lab.blocking.request("http://shop.example.com/absent", source="node1").status == 200
    """)
    outcome = run.runpytest_subprocess("-p", "xdist", "-n", "1")
    outcome.assert_outcomes(failed=1)
    outcome.stdout.fnmatch_lines(
        [
            "*emulab lab py-*-gw0-*: last failed request*",
            "*GET http://shop.example.com/absent from node1: 404*",
        ]
    )
    outcome.stdout.fnmatch_lines(["*emulab lab py-*: events*", "*Pod default/product-*"])
    outcome.stdout.fnmatch_lines(["* LoadBalancer public-lb: *"])
    assert labs() == []


def test_a_lab_that_does_not_get_ready_says_why(run: pytest.Pytester) -> None:
    run.makepyfile("""
        import pytest

        POD = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": {"containers": [
            {"name": "web", "image": "web", "ports": [{"containerPort": 80}],
             "readinessProbe": {"exec": {"command": ["false"]}}}]}}

        @pytest.mark.emulab(POD, timeout=1)
        def test_it(emulab_lab):
            pass

        @pytest.mark.emulab("absent.yaml")
        def test_absent(emulab_lab):
            pass
    """)
    outcome = run.runpytest_subprocess()
    outcome.assert_outcomes(errors=2)
    outcome.stdout.fnmatch_lines(
        ["the lab didn't come up: *default/web*", "*the lab didn't come up: *absent.yaml*"]
    )
    assert labs() == []


def test_a_refusal_is_a_skip_or_a_failure(run: pytest.Pytester) -> None:
    run.makeconftest("""
        from emulab.testing import watched

        async def problem(mode):
            return "no such thing; buy one" if mode == "iptables" else ""

        watched.problem = problem
    """)
    run.makepyfile("""
        import pytest

        @pytest.mark.emulab(proxy=["nftables", "iptables"])
        def test_it(emulab_lab, emulab_proxy):
            assert emulab_lab.blocking.get("cluster")[0]["spec"]["proxy"]["mode"] == emulab_proxy
    """)
    outcome = run.runpytest_subprocess("-rs")
    outcome.assert_outcomes(passed=1, skipped=1)
    outcome.stdout.fnmatch_lines(["SKIPPED*emulab: no such thing; buy one"])
    run.runpytest_subprocess("--emulab-require").assert_outcomes(passed=1, errors=1)
    run.runpytest_subprocess("-o", "emulab_require=true").assert_outcomes(passed=1, errors=1)


def test_a_kept_lab(run: pytest.Pytester) -> None:
    run.makepyfile("def test_it(emulab_lab):\n    pass\n")
    outcome = run.runpytest_subprocess("--emulab-keep", "-p", "xdist", "-n", "1")
    (name,) = labs()
    try:
        outcome.stdout.fnmatch_lines(
            [f"{name}: *emulab exec -l {name} client -- bash; end it: *emulab down -l {name}"]
        )
        answered = subprocess.run(
            [sys.executable, "-m", "emulab", "exec", "-l", name, "client", "--", "true"]
        )
        assert answered.returncode == 0
    finally:
        subprocess.run([sys.executable, "-m", "emulab", "down", "-l", name], check=True)
    assert labs() == []


def test_nothing_is_left_of_a_run_that_is_killed(run: pytest.Pytester) -> None:
    run.makepyfile(
        "import time\n\ndef test_it(emulab_lab):\n    open('up', 'w').close()\n    time.sleep(600)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-m", "pytest", "-q"], cwd=run.path, stdout=subprocess.DEVNULL
    ) as process:
        end = time.monotonic() + 60
        while not (run.path / "up").exists() and time.monotonic() < end:
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    while time.monotonic() < end and labs():
        subprocess.run([sys.executable, "-m", "emulab", "labs"], stdout=subprocess.DEVNULL, check=True)
    assert (run.path / "up").exists() and labs() == []


def test_a_wrong_marker(run: pytest.Pytester) -> None:
    run.makepyfile("""
        import pytest

        @pytest.mark.emulab(proxy="iptable")
        def test_it(emulab_lab):
            pass
    """)
    outcome = run.runpytest_subprocess()
    assert outcome.ret != 0
    outcome.stdout.fnmatch_lines(["*proxy='iptable': the modes are nftables*"])
    outcome.stdout.no_fnmatch_line("*During handling of the above exception*")


def test_a_timeout_that_is_no_number_of_seconds(run: pytest.Pytester) -> None:
    run.makepyfile("""
        import pytest

        @pytest.mark.emulab(timeout="60s")
        def test_it(emulab_lab):
            pass
    """)
    outcome = run.runpytest_subprocess()
    assert outcome.ret != 0
    outcome.stdout.fnmatch_lines(
        ["*::test_it: the timeout of the marker emulab is a number of seconds, not '60s'*"]
    )

"""The command line: what is accepted, what is wrong usage, and what it costs to ask for help."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import pytest

from emulab import cli
from emulab.cli import VERBS, main
from emulab.cli.elsewhere import ELSEWHERE
from emulab.cli.usage import duration, natural
from emulab.errors import KernelError, ManifestError, UserError

HEAVY = ("yaml", "rich", "asyncio", "pyroute2")


@pytest.fixture(autouse=True)
def run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EMULAB_RUN_DIR", str(tmp_path / "run"))
    monkeypatch.delenv("EMULAB_LAB", raising=False)
    return tmp_path / "run"


def status(*argv: str) -> int | str | None:
    """The exit status, whether returned or raised as argparse does."""
    try:
        return main(argv)
    except SystemExit as end:
        return end.code


@pytest.mark.parametrize(
    "argv",
    [
        (),
        ("nonsense",),
        ("--nonsense",),
        ("-l",),
        ("-l", "No Good", "labs"),
        ("labs", "extra"),
        ("labs", "-o", "yaml"),
        ("up", "--timeout", "soon"),
        ("up", "--time", "3"),
        ("exec", "client"),
        ("exec", "client", "--"),
        ("exec", "--", "true"),
        ("exec", "client", "true"),
        ("run", "--", "true"),
        ("run", "a.yaml"),
        ("apply",),
        ("delete",),
        ("delete", "pod"),
        ("delete", "pod", "x", "-f", "a.yaml"),
        ("get",),
        ("get", "nonsense"),
        ("get", "pods", "x", "-A"),
        ("get", "pod/x", "y"),
        ("get", "pod/"),
        ("describe", "pod/x/y/z", "svc"),
        ("scale", "deploy/web"),
        ("scale", "deploy/web", "--replicas", "-1"),
        ("scale", "deploy/web", "--replicas", "many"),
        ("logs",),
        ("logs", "web", "--tail", "x"),
    ],
)
def test_wrong_usage_exits_2_and_says_why_first(
    argv: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert status(*argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[0].startswith("emulab")
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "argv",
    [
        ("get", "pods"),
        ("exec", "client", "--", "true"),
        ("trace", "http://shop.example.com"),
        ("logs", "web"),
        ("scale", "deploy", "web", "--replicas", "2"),
        ("delete", "pod", "x"),
        ("describe", "pod", "x"),
    ],
)
def test_a_lab_that_is_not_up_is_a_failure(argv: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert status("-l", "nobody", *argv) == 1
    assert "lab 'nobody' is not up" in capsys.readouterr().err


@pytest.mark.parametrize(
    "argv",
    [
        ("-n", "shop", "get", "pods"),
        ("-l", "nobody", "--namespace=shop", "get", "pods"),
        ("--namespace", "get", "get", "pods"),
    ],
)
def test_the_namespace_may_stand_before_the_verb(
    argv: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert status(*argv) == 1
    assert "is not up" in capsys.readouterr().err
    assert status("-n", "shop", "labs") == 2
    assert "unrecognized arguments: -n shop" in capsys.readouterr().err


def test_a_command_stands_behind_dashes(capsys: pytest.CaptureFixture[str]) -> None:
    assert status("exec", "client", "bash") == 2
    assert capsys.readouterr().err == (
        "emulab: exec [POD] [COMMAND] is not supported anymore. Use exec [POD] -- [COMMAND] instead\n"
    )


def test_a_verb_that_is_misspelt_is_guessed(capsys: pytest.CaptureFixture[str]) -> None:
    assert status("desribe", "pod") == 2
    assert "there is no command 'desribe'; did you mean describe? the commands are" in capsys.readouterr().err


def test_a_verb_of_kubectl_is_told_what_does_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert not ELSEWHERE.keys() & VERBS.keys()
    for verb, instead in ELSEWHERE.items():
        assert status(verb, "pod", "web") == 2
        assert (
            capsys.readouterr().err == f"emulab: there is no command {verb!r}; it is kubectl's: {instead}\n"
        )


@pytest.mark.parametrize("argv", [("-l", "one", "down"), ("down", "-l", "one"), ("--lab=one", "down")])
def test_the_lab_is_named_before_or_after_the_verb(
    argv: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert status(*argv) == 0
    assert capsys.readouterr().out == "lab one is not up: nothing to do\n"


def test_the_lab_comes_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EMULAB_LAB", "two")
    assert status("down") == 0
    assert status("down", "-l", "three") == 0
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines()] == ["two", "three"]


def test_without_labs_there_is_nothing_to_list_or_end(capsys: pytest.CaptureFixture[str]) -> None:
    assert status("labs", "-o", "json") == 0
    assert capsys.readouterr().out == "[]\n"
    assert status("down", "--all") == 0


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert status(verb, "--help") == 0
    assert "usage: emulab " in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert status("--version") == 0
    assert capsys.readouterr().out.startswith("emulab ")


@pytest.mark.parametrize("argv", [["--help"], ["labs"], ["exec", "client", "--", "true"], ["down"]])
def test_light_commands_import_nothing_heavy(argv: list[str]) -> None:
    code = f"""
import sys
from emulab.cli import main
try:
    main({argv!r})
except SystemExit:
    pass
print([m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("text", "seconds"), [("60s", 60), ("2m", 120), ("500ms", 0.5), ("60", 60), ("1.5s", 1.5), ("1h", 3600)]
)
def test_durations(text: str, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "1 s", "-1s", "1d", "1s2"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        duration(text)


def test_numbers_begin_at_zero() -> None:
    assert natural("0") == 0
    with pytest.raises(argparse.ArgumentTypeError):
        natural("-1")
    with pytest.raises(argparse.ArgumentTypeError):
        natural("²")


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (UserError("no such thing"), 1, "emulab: no such thing\n"),
        (ManifestError(["a.yaml:1: one", "a.yaml:2: two"]), 1, "emulab: a.yaml:1: one\na.yaml:2: two\n"),
        (KernelError("add veth x", "node1", 17), 1, "emulab: add veth x in node1: EEXIST (File exists)\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_errors_become_lines_and_statuses(
    error: BaseException,
    code: int,
    text: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(_: list[str]) -> int:
        raise error

    monkeypatch.setattr(cli, "_run", fail)
    assert main(["labs"]) == code
    assert capsys.readouterr().err == text


def test_nobody_reads_what_is_printed() -> None:
    command = [sys.executable, "-m", "emulab", "plan"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""

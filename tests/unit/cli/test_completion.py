"""What a shell is told when somebody presses Tab."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from emulab.cli import main


def completed(line: str, tmp_path: Path) -> list[str]:
    """The words that argcomplete hands to the shell, as its shell code asks for them."""
    answer = tmp_path / "answer"
    environment = {
        **os.environ,
        "EMULAB_RUN_DIR": str(tmp_path / "run"),
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_IFS": "\n",
        "_ARGCOMPLETE_STDOUT_FILENAME": str(answer),
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
        "COMP_TYPE": "9",
    }
    subprocess.run([sys.executable, "-m", "emulab"], env=environment, timeout=30, check=False)
    return [word.strip() for word in answer.read_text().split("\n")]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("emulab ge", ["get"]),
        ("emulab port-", ["port-forward"]),
        ("emulab -l some ro", ["rollout"]),
        ("emulab get ingressc", ["ingressclasses"]),
        ("emulab get pods --watch", ["--watch", "--watch-only"]),
        ("emulab rollout st", ["status"]),
        ("emulab rollout status dep", ["deployments"]),
        ("emulab completion ", ["bash", "zsh", "fish"]),
        ("emulab get pods nobody-is-up", [""]),
    ],
)
def test_words(line: str, words: list[str], tmp_path: Path) -> None:
    assert completed(line, tmp_path) == words


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_what_a_shell_needs(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    assert "emulab" in capsys.readouterr().out

"""`emulab completion`: what a shell needs to complete emulab's command lines."""

from __future__ import annotations

import argparse

SHELLS = ("bash", "zsh", "fish")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "For this shell: source <(emulab completion bash); for all of them, put that line into ~/.bashrc."
    )
    parser.add_argument("shell", choices=SHELLS, help="the shell")


def run(options: argparse.Namespace) -> int:
    from argcomplete.shell_integration import shellcode

    print(shellcode(["emulab"], shell=options.shell))
    return 0
